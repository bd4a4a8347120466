"""Threads that live as long as their owner. If one dies, that is noticed and reported, and if it is
safe, the thread is restarted.

A Python thread that ends with an exception is simply gone: nothing restarts it, and its work is no
longer done. An ``OwnedThread`` catches any exception that ends its work, logs it (the traceback
only if its kind is not that of the last one), counts it for health, and starts the work again if
its owner says that this is safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from plugind import logs
from plugind.health.health import Finding, Health

RESTART_AFTER = 0.1
"""Seconds from a death to the restart; doubled after each further death in a row."""

RESTART_AFTER_MAXIMUM = 10.0

STEADY = 60.0
"""Seconds of work after which the next death counts as the first in a row again."""

_log = logs.get("threads")


class OwnedThread:
    """Calls ``run`` in a thread of its own, from ``start`` until ``run`` returns.

    ``restarts``: ``run`` may be called again after it has raised an exception; it must cope with
    what the previous call left behind. ``died`` is called with the exception, before any restart,
    and must not raise. ``name`` is in plugind's own words, for the log and health.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], object],
        *,
        restarts: bool,
        died: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self.name = name
        self._run = run
        self._restarts = restarts
        self._died = died
        self._ended = threading.Event()
        self._returned = False
        self._is_gone = False
        self._is_down = False  # from the end of the work by an exception until it begins again
        self._deaths = 0
        self._killer = ""
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    @property
    def native_id(self) -> int | None:
        """Return the kernel's ID of the thread; None before it is started."""
        return self._thread.native_id

    @property
    def ident(self) -> int | None:
        """Return Python's ID of the thread; None before it is started."""
        return self._thread.ident

    @property
    def is_dead(self) -> bool:
        """Return whether the work has stopped although its owner did not end it."""
        # A thread that has just been started may not be alive yet.
        is_gone = self._is_gone or (self._is_down and not self._restarts)
        return is_gone and not self._returned and not self._ended.is_set()

    @property
    def is_working(self) -> bool:
        """Return whether the work is being done, or was ended by its owner."""
        return not (self.is_dead or self._is_down) or self._ended.is_set()

    @property
    def trouble(self) -> str:
        """Return how often an exception ended the work, and its kind; "" if none did."""
        if self.is_dead:
            return f"the thread {self.name} died{self._by()}; restart the process"
        if not self._deaths:
            return ""
        times = "once" if self._deaths == 1 else f"{self._deaths:,} times"
        then = "was restarted" if self.is_working else "is started again"
        return f"the thread {self.name} died {times}{self._by()} and {then}"

    def start(self) -> None:
        """Begin the work. Raise RuntimeError if the process may have no more threads."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether the thread is alive."""
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait at most ``timeout`` seconds for the end of the work, which is not restarted from now
        on. The owner must have asked ``run`` to return."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _main(self) -> None:
        try:
            self._work()
        finally:
            self._is_gone = True

    def _work(self) -> None:
        in_a_row = 0
        while True:
            began = time.monotonic()
            self._is_down = False
            try:
                self._run()
            except BaseException as error:
                self._note(error)
            else:
                self._returned = True
                return
            in_a_row = 0 if time.monotonic() - began > STEADY else in_a_row + 1
            delay = min(RESTART_AFTER * 2 ** min(in_a_row, 10), RESTART_AFTER_MAXIMUM)
            if not self._restarts or self._ended.wait(delay):
                return

    def _note(self, error: BaseException) -> None:
        kind = type(error).__name__
        is_known = kind == self._killer
        self._killer = kind
        self._is_down = True  # before the count: once that is above 0, the state is reported
        self._deaths += 1
        _log.error(
            "a thread died by a fault of plugind's own",
            thread=self.name,
            error=kind,
            deaths=self._deaths,
            restarts=self._restarts,
            exc_info=None if is_known else error,
        )
        self._died(error)

    def _by(self) -> str:
        return f" ({self._killer})" if self._killer else ""


def threads_health(threads: Iterable[OwnedThread]) -> Health:
    """Return the health of threads: not ok as long as the work of any of them is not being done."""
    troubled = [each for each in threads if each.trouble]
    if not troubled:
        return Health()
    details = "; ".join(each.trouble for each in troubled)
    finding = Finding("threads that died", details, len(troubled))
    return Health(all(each.is_working for each in troubled), (finding,))
