"""The health of the process: its results, and the limits that were reached."""

from plugind.health.health import Finding, Health
from plugind.health.hits import Hits

__all__ = ["Finding", "Health", "Hits"]
