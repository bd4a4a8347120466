"""``--watch``: run one blocking query after another, and show each change."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, Protocol, TypeVar

from plugind.client import Answer, Client
from plugind.errors import ClientError, Refused, Unreachable

WAIT = 50.0
"""Seconds; the maximum wait that a query asks for.

The server adds up to a sixteenth, and proxies give up after 60 s (nginx's proxy_read_timeout).
"""

_REFRESH_EVERY = 4.0
"""Seconds after which the display is refreshed, so that ages are right."""

_RETRY_EVERY = 1.0
"""Seconds between two attempts to reach a server."""

_PASSING = {429, 502, 503, 504}
"""Statuses of a server, or of a proxy, after which the same request may succeed."""

T = TypeVar("T")
Shown = TypeVar("Shown", contravariant=True)
Look = Callable[[Client, int], Answer]
"""A read that blocks until the index is greater than the given one; with 0 it does not block."""
Values = Mapping[str, Any]


def list_look(type_: str) -> Look:
    """Return a read of the list of a type's plugins."""
    return lambda client, index: client.plugins(type_, index=index, wait=WAIT)


class Show(Protocol[Shown]):
    """Prints one state.

    ``away`` says why the server cannot be reached; it is "" when the server can be reached.
    ``is_new`` is False when only ages and ``away`` may have changed since the last call.
    """

    def __call__(self, picture: Shown, away: str, is_new: bool) -> None: ...


def watch(
    client: Client, looks: Mapping[str, Look], gather: Callable[[Values], T], show: Show[T]
) -> NoReturn:
    """Show the result of ``gather`` on the values of all ``looks``, now and after each change.

    It is also shown every few seconds, so that ages are right. The value of a plugin that is gone
    is None until it comes back. Raise ClientError when one of the first reads fails, and later for
    errors that are not temporary.
    """
    answers = {name: look(client, 0) for name, look in looks.items()}
    changes: queue.SimpleQueue[tuple[str, Answer | ClientError]] = queue.SimpleQueue()
    for name, look in looks.items():
        arguments = (client.copy(), name, look, answers[name].index, changes)
        threading.Thread(target=_follow, args=arguments, daemon=True).start()
    picture = gather(_values(answers))
    show(picture, "", True)
    away, is_stale = "", False
    while True:
        found = _next(changes, _RETRY_EVERY if is_stale else _REFRESH_EVERY)
        answers |= {name: change for name, change in found if isinstance(change, Answer)}
        for error in (change for _, change in found if isinstance(change, ClientError)):
            away = _away(error)
        is_new = False
        if is_stale or any(isinstance(change, Answer) for _, change in found):
            try:
                picture = gather(_values(answers))
            except ClientError as error:
                away, is_stale = _away(error), True
            else:
                away, is_stale, is_new = "", False, True
        show(picture, away, is_new)


def _follow(
    client: Client,
    name: str,
    look: Look,
    index: int,
    changes: queue.SimpleQueue[tuple[str, Answer | ClientError]],
) -> None:
    """Put each new answer to one read, and the first error after an answer, into ``changes``."""
    is_lost = is_gone = False
    pause = threading.Event()  # It is never set, because the thread ends with the process.
    while True:
        try:
            answer = _look(client, look, index)
        except ClientError as error:
            if not is_lost:
                changes.put((name, error))
            is_lost = True
            pause.wait(_RETRY_EVERY)
        else:
            was_gone, is_gone = is_gone, answer.value is None
            if is_lost or (answer.index != index and not (was_gone and is_gone)):
                changes.put((name, answer))
            is_lost, index = False, answer.index


def _look(client: Client, look: Look, index: int) -> Answer:
    """Return the answer to a read; for a missing plugin its value is None, with an index to wait
    on.
    """
    try:
        return look(client, index)
    except Refused as error:
        if error.status == 404 and error.index:
            return Answer(None, error.index)
        raise


def _next(
    changes: queue.SimpleQueue[tuple[str, Answer | ClientError]], seconds: float
) -> list[tuple[str, Answer | ClientError]]:
    """Return all changes so far, after waiting at most ``seconds`` for the first."""
    found = []
    with suppress(queue.Empty):
        found.append(changes.get(timeout=seconds))
        while True:
            found.append(changes.get_nowait())
    return found


def _away(error: ClientError) -> str:
    """Return a line that says why the server cannot be reached. Raise errors that are not
    temporary.
    """
    if isinstance(error, Refused) and error.status not in _PASSING:
        raise error
    if not isinstance(error, Refused | Unreachable):
        raise error
    return f"{error}; trying again"


def _values(answers: Mapping[str, Answer]) -> Values:
    return {name: answer.value for name, answer in answers.items()}
