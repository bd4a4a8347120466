"""Posts changes of plugind's catalogue to a webhook.

An example of the hook ``plugind_changed``: plugind finds the package by its entry point, and
nothing else is needed. The package has no plugin type and so no block in plugind's configuration;
it takes the URL from the server's environment, as is common for secrets.
"""

from __future__ import annotations

import os
from dataclasses import asdict

import requests

from plugind.model import CatalogueChange
from plugind.plugin_type import hookimpl

URL = "WEBHOOK_URL"
TIMEOUT = 5.0


class NotTaken(Exception):
    """The reason why a change could not be posted. It never contains the URL, because anyone who
    knows the URL can post to it."""


@hookimpl
def plugind_changed(change: CatalogueChange) -> None:
    """Post the change as JSON. plugind logs exceptions and counts them in its health."""
    if not (url := os.environ.get(URL)):
        return
    try:
        status = requests.post(
            url, json=asdict(change), timeout=TIMEOUT, allow_redirects=False
        ).status_code
    except requests.RequestException as error:
        raise NotTaken(f"the webhook could not be reached: {type(error).__name__}") from None
    if not 200 <= status < 300:
        raise NotTaken(f"the webhook answered with {status}")
