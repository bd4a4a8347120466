"""Runs the checks that configuration names, and reads what they print."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from plugin_types.exec import outputs
from plugin_types.exec.outputs import Findings
from plugin_types.exec.program import Program
from plugin_types.exec.settings import JSON, Check, ExecSettings
from plugind.errors import ProbeFailed
from plugind.plugin_type import Prober

OUTPUT_MAXIMUM = 1 << 19
"""Bytes that a check may print. What becomes of it must fit a line of a prober's, 1 MiB."""

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_EARLY = 0.05  # seconds before its time that a check may be run: whoever waits wakes a bit off


class ExecProber(Prober):
    """Each check is a target of its own; the core runs them side by side."""

    def __init__(self, settings: ExecSettings) -> None:
        self._runners = {id: Runner(id, check) for id, check in settings.check.items()}

    def discover(self) -> Mapping[str, Runner]:
        return self._runners

    def probe(self, target: Runner) -> Findings:
        return target.probe()


class Runner:
    """One check: when it is run next, and what it last gave."""

    def __init__(self, id: str, check: Check) -> None:
        assert check.probe_interval is not None
        assert check.probe_timeout is not None
        self._id = id
        self._check = check
        self._interval = check.probe_interval
        self._timeout = check.probe_timeout
        self._program = Program(check.command, check.environment, maximum=OUTPUT_MAXIMUM)
        self._due = 0.0  # by the monotonic clock
        self._last: Findings | str = {}  # or why there are none

    def probe(self) -> Findings:
        """What the check says now; what it last said while it is not its time yet."""
        now = time.monotonic()
        if now >= self._due - _EARLY:
            self._due = now + self._interval
            found = self._run()
            if not self._is_old_news(found):
                self._last = found
        if isinstance(self._last, str):
            raise ProbeFailed(self._last)
        return self._last

    def _run(self) -> Findings | str:
        lines = self._check.format == JSON
        try:
            ended = self._program.run(self._timeout)
            return outputs.read_json(ended) if lines else outputs.read_nagios(self._id, ended)
        except ProbeFailed as flaw:
            # Only a check of one plugin knows whose failure this is.
            return str(flaw) if lines else outputs.failed(self._id, str(flaw))

    def _is_old_news(self, found: Findings | str) -> bool:
        """Most of Nagios' checks print other numbers each time. Were that news, since-when would
        never be older than a probe, and whoever waits for changes would be woken by each."""
        if self._check.format == JSON or self._check.report_numbers:
            return False
        return _without_numbers(found) == _without_numbers(self._last)


def _without_numbers(found: object) -> str:
    return _NUMBER.sub("0", repr(found))
