"""Serve the application over HTTP: the listening socket, and waitress with the rules on connections
that it lacks."""
