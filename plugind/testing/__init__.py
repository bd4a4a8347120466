"""For authors of plugin types: what a type is tested with.

``conformance`` holds a type that is registered to every rule there is, as ``plugind type check``
does; ``plugind.testing.fixtures`` has it for pytest. ``registered`` has a class registered without
a package, ``live_server`` and ``run_agent`` are the real ones, in the test's process.
"""

from plugind.testing.conformance import RULES, conformance
from plugind.testing.registering import registered
from plugind.testing.rules import Rule, Subject, Verdict
from plugind.testing.serving import LiveServer, eventually, live_server, run_agent

__all__ = [
    "RULES",
    "LiveServer",
    "Rule",
    "Subject",
    "Verdict",
    "conformance",
    "eventually",
    "live_server",
    "registered",
    "run_agent",
]
