"""The metrics of a server, derived from its state and parts when they are read."""

from plugind.metrics.metrics import Metrics

__all__ = ["Metrics"]
