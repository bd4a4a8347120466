"""Tests for plugin types, for their authors.

``conformance`` checks a registered type against every rule, as ``plugind type check`` does;
``plugind.testing.fixtures`` does so with pytest. ``registered`` registers a class without a
package; ``live_server`` and ``run_agent`` run a real server and agent in the test's process.
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
