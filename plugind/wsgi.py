"""``plugind.wsgi:app``: the application for WSGI servers, which hold a thread per parked query.

PLUGIND_CONFIG names the configuration. Importing this module starts the services, so it must be
imported in the process that serves, not before a fork.
"""

from __future__ import annotations

import atexit
import sys

import plugind.without_rich  # noqa: F401 - before structlog is imported
from plugind import logs
from plugind.errors import PlugindError
from plugind.hosted import Hosted
from plugind.printable import one_line
from plugind.serve.application import create_app
from plugind.serve.stop_signals import heed

_CANNOT_START = 3
"""The exit status after which gunicorn's parent ends, too, instead of starting workers forever."""

try:
    _hosted = Hosted()
except PlugindError as error:
    logs.get("main").error("the server cannot start", reason=one_line(str(error)))
    sys.exit(_CANNOT_START)

atexit.register(_hosted.close)
heed(_hosted.services.wake, _hosted.reload)
app = create_app(_hosted.services, _hosted.address)
