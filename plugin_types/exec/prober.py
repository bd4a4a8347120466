"""Runs the checks of the configuration, and reads their output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plugin_types.exec import outputs
from plugin_types.exec.outputs import Results
from plugin_types.exec.settings import JSON, Check, ExecSettings
from plugind.errors import ProbeFailed
from plugind.plugin_type import Prober, Schedule
from plugind.toolbox.programs import Program

OUTPUT_MAXIMUM = 1 << 19
"""Bytes that a check may print. Its fingerprints must fit into one message of the prober, 1 MiB."""

_NUMBER = re.compile(
    r"""
    (?<!\w) [-+\u2212]?                          # a sign, but not the dash of web-1 or 2026-01-31
    (?: (?:nan|inf(?:inity)?) (?= (?:[num]?s|[kmgt]?i?b|c)? \b )
      | (?: \d{1,3} (?:[ \u00a0\u2009\u202f'_]\d{3})+ (?!\d)  # digit groups: 1 234 567, 1'234'567
          | \.? \d+ )
        (?: [.,:] \d+ )*                          # 1,234.5 and 12:30:59
        (?: e [-+]? \d+ )?
    )
    | (?<==) U (?![^\W_])                         # a value of performance data that is not known
    | \d+ (?: [.,:] \d+ )* (?: e [-+]? \d+ )?     # a number within a word: v1.2
    """,
    re.VERBOSE | re.IGNORECASE,
)


class ExecProber(Prober):
    """Each check is a target of its own; the core runs them in parallel."""

    def __init__(self, settings: ExecSettings) -> None:
        self._runners = {
            id: Runner(id, check, check.over(settings).probe_timeout)
            for id, check in settings.check.items()
        }

    def discover(self) -> Mapping[str, Runner]:
        return self._runners

    def schedule(self, target: Runner) -> Schedule:
        return target.check

    def is_configured(self, target: Runner) -> bool:
        return True

    def probe(self, target: Runner) -> Results:
        return target.probe()


class Runner:
    """One check, which may take ``timeout`` seconds, and its last results."""

    def __init__(self, id: str, check: Check, timeout: float) -> None:
        self.check = check
        self._id = id
        self._timeout = timeout
        self._program = Program(check.command, check.environment, maximum=OUTPUT_MAXIMUM)
        self._last: Results = {}

    def probe(self) -> Results:
        """Return the check's results."""
        if self.check.format == JSON:
            return outputs.read_json(self._program.run(self._timeout))
        try:
            found = outputs.read_nagios(self._id, self._program.run(self._timeout))
        except ProbeFailed as error:
            found = outputs.failed(self._id, str(error))
        # Most Nagios checks print different numbers each time. If those counted as changes, every
        # update time would be that of the last probe, and every probe would wake all blocking
        # queries.
        if self.check.report_numbers or _without_numbers(found) != _without_numbers(self._last):
            self._last = found
        return self._last


def _without_numbers(found: Results) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the results with every number in their texts replaced by 0."""
    return {
        key: {
            name: _NUMBER.sub("0", value) if isinstance(value, str) else value
            for name, value in fingerprint.items()
        }
        for key, fingerprint in found.items()
    }
