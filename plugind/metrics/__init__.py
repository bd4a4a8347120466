"""The metrics of a server, derived from its state and parts when they are read."""
