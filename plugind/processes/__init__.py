"""Several worker processes that are one server, and the parent process that keeps them running."""
