"""``--watch``: blocking queries one after the other, and what they find whenever it changed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from plugind.client import Answer, Client
from plugind.errors import ClientError, Refused, Unreachable

_RETRY_EVERY = 1.0  # seconds between two tries to reach a server that went away

Look = Callable[[Client, int], Answer]
"""A read that blocks until the index is greater than the one given (0: it does not block)."""


def follow(client: Client, looks: Mapping[str, Look]) -> Iterator[dict[str, Any]]:
    """The values of all looks, by their names, now and after each change of any of them.

    What goes has the value None until it is back. A server that goes away is waited for, and that
    is told once; other errors are raised.
    """
    answers = {name: look(client, 0) for name, look in looks.items()}
    changes: queue.SimpleQueue[tuple[str, Answer | ClientError]] = queue.SimpleQueue()
    for name, look in looks.items():
        arguments = (client.copy(), name, look, answers[name].index, changes)
        threading.Thread(target=_follow_one, args=arguments, daemon=True).start()
    while True:
        yield {name: answer.value for name, answer in answers.items()}
        name, change = changes.get()
        while isinstance(change, Unreachable):
            click.echo(f"{change}; trying again", err=True)
            name, change = changes.get()
        if isinstance(change, ClientError):
            raise change
        answers[name] = change


def _follow_one(
    client: Client,
    name: str,
    look: Look,
    index: int,
    changes: queue.SimpleQueue[tuple[str, Answer | ClientError]],
) -> None:
    is_lost = is_gone = False
    while True:
        try:
            answer = _look(client, look, index)
        except Unreachable as error:
            if not is_lost:
                changes.put((name, error))
            is_lost = True
            time.sleep(_RETRY_EVERY)
        except ClientError as error:
            changes.put((name, error))
            return
        else:
            was_gone, is_gone = is_gone, answer.value is None
            if is_lost or (answer.index != index and not (was_gone and is_gone)):
                changes.put((name, answer))
            is_lost, index = False, answer.index


def _look(client: Client, look: Look, index: int) -> Answer:
    """What is found; None for what is not there, with the index to wait on from."""
    try:
        return look(client, index)
    except Refused as error:
        if error.status == 404 and error.index:
            return Answer(None, error.index)
        raise
