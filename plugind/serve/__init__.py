"""Serve the application over HTTP: the listening socket, and waitress with the connection rules
that it lacks.

The modules of a server are imported on first use: the parent of worker processes needs none of
them, and each HTTP server needs only its own application. ``__init__.pyi`` has the types.
"""

from plugind.lazy import lazy_attributes

__all__ = ["Services", "create_app", "create_asgi", "waitress_server"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Services": "plugind.serve.services:Services",
        "create_app": "plugind.serve.application:create_app",
        "create_asgi": "plugind.serve.asgi_application:create_asgi",
        "waitress_server": "plugind.serve.wiring:waitress_server",
    },
)
