"""The behaviour of the sample driver, and the commands that change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from plugin_types.csi.roles import ROLES
from plugind.errors import BadRequest
from plugind.fields import SECOND, parse_duration

COMMANDS = """\
ok                      end fail, not-ready, slow and hang
fail TEXT               fail every Probe with FAILED_PRECONDITION and the text
not-ready               answer Probe with ready = false
slow DURATION           wait this long before every answer, such as 1500ms
hang                    give no answer any more
lack controller|node    have no such service from now on
have controller|node    have it again
topology KEY=VALUE ...  report this topology; without arguments: none
version TEXT            report this version"""


@dataclass(frozen=True)
class Behaviour:
    """What the driver reports about itself, and its condition; ``delay`` is in seconds."""

    name: str
    version: str
    node_id: str
    max_volumes: int = 0
    roles: frozenset[str] = frozenset(ROLES)
    topology: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    ready: bool = True
    delay: float = 0.0
    hang: bool = False

    def after(self, command: str) -> Behaviour:
        """Return the behaviour after a command (COMMANDS). Raise BadRequest for any other text."""
        verb, _, text = command.strip().partition(" ")
        if verb not in _VERBS:
            raise BadRequest(f"no command {verb[:40]!r}; there are: {', '.join(_VERBS)}")
        return _VERBS[verb](self, text.strip())


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Return the topology in ``KEY=VALUE`` texts.

    Raise BadRequest for one without a key or a value.
    """
    split = {pair: pair.partition("=") for pair in pairs}
    for pair, (key, _, value) in split.items():
        if not (key and value):
            raise BadRequest(f"{pair[:40]!r} is not of the form KEY=VALUE")
    return {key: value for key, _, value in split.values()}


def parse_delay(text: str) -> float:
    """Return the seconds of a duration, at most an hour. Raise BadRequest for any other text."""
    try:
        seconds = parse_duration(text) / SECOND
    except ValueError as error:
        raise BadRequest(f"{text[:40]!r} is not a duration such as 1500ms") from error
    if not 0 <= seconds <= 3600:
        raise BadRequest("a duration here must be from 0s to 1h")
    return seconds


def _role(text: str) -> str:
    if text not in ROLES:
        raise BadRequest(f"{text[:40]!r} is not a half of a driver; there are: {', '.join(ROLES)}")
    return text


_VERBS: Mapping[str, Callable[[Behaviour, str], Behaviour]] = {
    "ok": lambda now, text: replace(now, failure="", ready=True, delay=0.0, hang=False),
    "fail": lambda now, text: replace(now, failure=text or "failed on purpose"),
    "not-ready": lambda now, text: replace(now, ready=False),
    "slow": lambda now, text: replace(now, delay=parse_delay(text)),
    "hang": lambda now, text: replace(now, hang=True),
    "lack": lambda now, text: replace(now, roles=now.roles - {_role(text)}),
    "have": lambda now, text: replace(now, roles=now.roles | {_role(text)}),
    "topology": lambda now, text: replace(now, topology=parse_pairs(text.split())),
    "version": lambda now, text: replace(now, version=text),
}
