"""The HTTP client that the command line and the agent use."""

from plugind.client.client import (
    ACKNOWLEDGEMENT_MAXIMUM,
    DEFAULT_ADDRESS,
    NODE_SECRET_HEADER,
    Answer,
    Client,
)
from plugind.client.tls import Tls

__all__ = [
    "ACKNOWLEDGEMENT_MAXIMUM",
    "DEFAULT_ADDRESS",
    "NODE_SECRET_HEADER",
    "Answer",
    "Client",
    "Tls",
]
