"""Several worker processes that are one server, and the parent process that keeps them running."""

from plugind.processes.crew import Crew
from plugind.processes.orders import Failed, Ready, Start
from plugind.processes.serving import serve

__all__ = ["Crew", "Failed", "Ready", "Start", "serve"]
