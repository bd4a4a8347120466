"""The HTTP client that the command line and the agent use.

Everything that needs the package ``requests`` is imported on first use: a server, which needs only
the constants in ``names``, starts sooner and takes less memory without it. ``__init__.pyi`` has the
types.
"""

from plugind.client.names import DEFAULT_ADDRESS, NODE_SECRET_HEADER
from plugind.lazy import lazy_attributes

__all__ = [
    "ACKNOWLEDGEMENT_MAXIMUM",
    "DEFAULT_ADDRESS",
    "NODE_SECRET_HEADER",
    "Answer",
    "Client",
    "Tls",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "ACKNOWLEDGEMENT_MAXIMUM": "plugind.client.client:ACKNOWLEDGEMENT_MAXIMUM",
        "Answer": "plugind.client.client:Answer",
        "Client": "plugind.client.client:Client",
        "Tls": "plugind.client.tls:Tls",
    },
)
