"""Changes and stored values as JSON, for logs and exports.

Only the result of each step is written: the new value, or the key of a value that was removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from plugind.model import (
    Change,
    Declaration,
    Fingerprint,
    Forgotten,
    Instance,
    InstanceKey,
    KeptSecret,
    Node,
    PluginKey,
    Session,
    Step,
    Transition,
)

T = TypeVar("T")


class WrittenInstance(msgspec.Struct):
    """An instance in its JSON form."""

    key: InstanceKey
    fingerprint: Fingerprint
    digest: str = ""
    missing_since: int | None = None

    @classmethod
    def of(cls, one: Instance) -> WrittenInstance:
        return cls(one.key, one.fingerprint, one.digest, one.missing_since)

    def instance(self) -> Instance:
        return Instance(self.key, self.fingerprint, self.digest, self.missing_since)


def to_json(value: Any) -> Any:
    """Return the JSON form of a value that msgspec does not know: its ``enc_hook``."""
    if isinstance(value, Instance):
        return WrittenInstance.of(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def from_json(kind: type[Any], found: Any) -> Any:
    """Return a value of a kind that msgspec does not know from its JSON form: its ``dec_hook``."""
    if kind is Instance:
        return msgspec.convert(found, WrittenInstance).instance()
    raise TypeError(f"{kind.__name__} has no form in JSON")


class _Logged(msgspec.Struct, omit_defaults=True):
    """A change in its JSON form: an object for each value, and a string or a list for the key of
    each value that was removed."""

    time: int
    nodes: tuple[Node | str, ...] = ()
    instances: tuple[WrittenInstance | InstanceKey, ...] = ()
    declarations: tuple[Declaration | PluginKey, ...] = ()
    touched: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    forgotten: tuple[Forgotten | InstanceKey, ...] = ()
    transitions: tuple[Transition, ...] = ()
    kept_secrets: tuple[KeptSecret | str, ...] = ()
    sessions: tuple[Session | str, ...] = ()
    id: str = ""
    base: int = 0
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Logged)


def encode(change: Change) -> bytes:
    """Return a change as JSON."""
    return _encoder.encode(
        _Logged(
            change.time,
            _after(change.nodes, lambda gone: gone.id),
            tuple(
                step.some.key if step.after is None else WrittenInstance.of(step.after)
                for step in change.instances
            ),
            _after(change.declarations, lambda gone: gone.key),
            change.touched,
            change.removed,
            _after(change.forgotten, lambda gone: gone.key),
            change.transitions,
            _after(change.kept_secrets, lambda gone: gone.node_id),
            _after(change.sessions, lambda gone: gone.key),
            change.id,
            change.base,
            change.reads,
            change.writes,
        )
    )


def decode(text: bytes) -> Change:
    """Return the change that was given to ``encode``, as ``as_logged`` returns it. Raise ValueError
    for any other text."""
    found = _decoder.decode(text)
    return Change(
        found.time,
        _steps(found.nodes, Node, lambda key: Node(key, "")),
        tuple(map(_instance_step, found.instances)),
        _steps(found.declarations, Declaration, lambda key: Declaration(key, {})),
        found.touched,
        found.removed,
        _steps(found.forgotten, Forgotten, lambda key: Forgotten(key, 0)),
        found.transitions,
        _steps(found.kept_secrets, KeptSecret, lambda key: KeptSecret(key, "", "", 0)),
        _steps(found.sessions, Session, lambda key: Session(key, "", "", 0, 0)),
        found.id,
        found.base,
        found.reads,
        found.writes,
    )


def as_logged(change: Change) -> Change:
    """Return as much of a change as a log keeps: steps have no value before them, except that a
    removal has an empty value with the key of the removed one."""
    return decode(encode(change))


def _after(steps: Iterable[Step[T]], key: Callable[[T], Any]) -> tuple[Any, ...]:
    return tuple(key(step.some) if step.after is None else step.after for step in steps)


def _steps(found: Iterable[Any], kind: type[T], gone: Callable[[Any], T]) -> tuple[Step[T], ...]:
    return tuple(
        Step(None, each) if isinstance(each, kind) else Step(gone(each), None) for each in found
    )


def _instance_step(found: WrittenInstance | InstanceKey) -> Step[Instance]:
    if isinstance(found, WrittenInstance):
        return Step(None, found.instance())
    return Step(Instance(found, Fingerprint(False, "", 0)), None)
