"""The command line on a terminal of a given width, which is a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
from types import TracebackType
from typing import Self

from tests.processes import PLUGIND
from tests.promises import PATIENCE

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CLEAR = "\x1b[2J"


class Terminal:
    """A plugind command on a terminal, and its output there."""

    def __init__(self, *words: str, columns: int, address: str) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        unset = ("COLUMNS", "LINES", "NO_COLOR")
        environ = {key: value for key, value in os.environ.items() if key not in unset}
        self.process = subprocess.Popen(
            [PLUGIND, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environ, "PLUGIND_ADDR": address, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(theirs)
        self._text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        received = b""
        while True:
            try:
                part = os.read(self._ours, 1 << 16)
            except OSError:  # nobody has the other end open any more
                return
            received += part
            self._text = received.decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        os.close(self._ours)

    @property
    def screens(self) -> list[str]:
        """Return the contents of the terminal before each time it was cleared, and the current
        ones."""
        parts = self._text.split(CLEAR)
        return [_ESCAPES.sub("", part).replace("\r", "") for part in parts]

    @property
    def screen(self) -> str:
        return self.screens[-1]

    def screen_with(self, text: str) -> str:
        """Return the first complete screen that contains the text; "" until there is one."""
        return next((screen for screen in self.screens[:-1] if text in screen), "")

    def interrupt(self) -> int:
        """Send SIGINT, as Ctrl-C does; return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        """Wait for the command to end; return its exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status
