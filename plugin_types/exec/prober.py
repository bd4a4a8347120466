"""Runs the checks that configuration names, and reads what they print."""

from __future__ import annotations

import re
from collections.abc import Mapping

from plugin_types.exec import outputs
from plugin_types.exec.outputs import Findings
from plugin_types.exec.settings import JSON, Check, ExecSettings
from plugind.errors import ProbeFailed
from plugind.plugin_type import Prober, Schedule
from plugind.toolbox.programs import Program

OUTPUT_MAXIMUM = 1 << 19
"""Bytes that a check may print. What becomes of it must fit a line of a prober's, 1 MiB."""

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


class ExecProber(Prober):
    """Each check is a target of its own; the core runs them side by side."""

    def __init__(self, settings: ExecSettings) -> None:
        self._runners = {
            id: Runner(id, check, check.over(settings).probe_timeout)
            for id, check in settings.check.items()
        }

    def discover(self) -> Mapping[str, Runner]:
        return self._runners

    def schedule(self, target: Runner) -> Schedule:
        return target.check

    def probe(self, target: Runner) -> Findings:
        return target.probe()


class Runner:
    """One check, which may take ``timeout`` seconds, and what it last gave."""

    def __init__(self, id: str, check: Check, timeout: float) -> None:
        self.check = check
        self._id = id
        self._timeout = timeout
        self._program = Program(check.command, check.environment, maximum=OUTPUT_MAXIMUM)
        self._last: Findings = {}

    def probe(self) -> Findings:
        """What the check says now."""
        if self.check.format == JSON:
            return outputs.read_json(self._program.run(self._timeout))
        try:
            found = outputs.read_nagios(self._id, self._program.run(self._timeout))
        except ProbeFailed as flaw:
            found = outputs.failed(self._id, str(flaw))
        if not self._is_old_news(found):
            self._last = found
        return self._last

    def _is_old_news(self, found: Findings) -> bool:
        """Most of Nagios' checks print other numbers each time. Were that news, since-when would
        never be older than a probe, and whoever waits for changes would be woken by each."""
        if self.check.report_numbers:
            return False
        return _without_numbers(found) == _without_numbers(self._last)


def _without_numbers(found: object) -> str:
    return _NUMBER.sub("0", repr(found))
