"""The names that servers and their clients agree on."""

from __future__ import annotations

DEFAULT_ADDRESS = "http://127.0.0.1:4646"
NODE_SECRET_HEADER = "X-Plugind-Node-Secret"
