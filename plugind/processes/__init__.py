"""Several worker processes that form one server, and the parent process that keeps them running."""
