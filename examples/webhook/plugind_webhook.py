"""Posts changes of plugind's catalogue to a webhook.

An example of the hook ``plugind_changed``: plugind finds it by its entry point, and nothing else is
needed. It has no plugin type, hence no block in plugind's configuration; the URL is taken from the
environment of the server, as secrets often are.
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
    """The reason why a change could not be posted, without the URL: anyone who knows it may post
    there."""


@hookimpl
def plugind_changed(change: CatalogueChange) -> None:
    """Post the change as JSON. plugind logs an exception and counts it in its health."""
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
