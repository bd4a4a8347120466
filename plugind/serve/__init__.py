"""Serve the application over HTTP: the listening socket, and waitress with the rules on connections
that it lacks.

What makes a server is imported when it is first asked for: the parent of worker processes needs
nothing of it, and each HTTP server only its own application. ``__init__.pyi`` has the types.
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
