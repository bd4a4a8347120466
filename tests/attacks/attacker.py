"""Attacks in separate processes: how one starts, reports what it has done, and ends.

An attacker calls ``at_it`` once its attack is under way. It then prints its counts for each line
that it reads, and ends when its standard input ends, so it never outlives the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = "127.0.0.66"
"""The default source address of attacks, different from that of the test's own clients."""

TOKEN = os.environ.get("ATTACK_TOKEN", "")
"""The token that this process attacks with, "" for none."""

_ROOT = Path(__file__).parent.parent.parent


def at_it(counts: Counter[str]) -> None:
    """Announce that the attack is under way, and print ``counts`` when asked."""
    print("at it", flush=True)
    threading.Thread(target=_answer, args=(counts,), daemon=True).start()


def _answer(counts: Counter[str]) -> None:
    while sys.stdin.readline():
        print(json.dumps(counts.copy()), flush=True)
    os._exit(0)


@dataclass
class Attack:
    """An attack that is under way."""

    popen: subprocess.Popen[str]

    @property
    def goes_on(self) -> bool:
        return self.popen.poll() is None

    def counts(self) -> Counter[str]:
        """Return the counts so far."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return Counter(json.loads(self.popen.stdout.readline()))


@contextmanager
def attack(module: str, *words: object, token: str = "") -> Iterator[Attack]:
    """Let a module of this package attack until the block ends."""
    command = [sys.executable, "-m", f"tests.attacks.{module}", *map(str, words)]
    pipe, environ = subprocess.PIPE, {**os.environ, "ATTACK_TOKEN": token}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, cwd=_ROOT, env=environ
    ) as popen:
        try:
            assert popen.stdout is not None
            assert popen.stdout.readline() == "at it\n"
            yield Attack(popen)
        finally:
            popen.kill()
