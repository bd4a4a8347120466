"""A small JSON file for a prober's state that must survive a restart of the agent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from plugind import logs
from plugind.errors import BadRequest, PlugindError
from plugind.wire import strict_json

SIZE_MAXIMUM = 4 << 20
"""The most bytes that a state file may have."""

_log = logs.get("prober")


class StateFile:
    """One JSON object in the file ``name`` below ``folder``, which is a prober's ``state_dir``.

    If ``folder`` is None, nothing is kept.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._path = folder / name if folder else None

    def load(self) -> dict[str, Any]:
        """Return the state that was last saved; {} if none was.

        A file that cannot be read, or that holds anything but one JSON object of at most
        SIZE_MAXIMUM bytes, is logged as a warning and counts as empty; the next save replaces it.
        """
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                data = file.read(SIZE_MAXIMUM + 1)
            return _object(data)
        except FileNotFoundError:
            return {}
        except (OSError, PlugindError) as error:
            _log.warning("state is lost", file=str(self._path), reason=str(error))
            return {}

    def save(self, state: Mapping[str, Any]) -> bool:
        """Replace the saved state atomically, even if the machine loses power.

        Return False, after logging why, if the file could not be written or would be longer than
        SIZE_MAXIMUM bytes.
        """
        if self._path is None:
            return True
        data = json.dumps(state, separators=(",", ":"), sort_keys=True).encode()
        try:
            if len(data) > SIZE_MAXIMUM:
                raise OSError(0, f"it would take {len(data):,} bytes")
            _replace(self._path, data)
        except OSError as error:
            reason = error.strerror or str(error)
            _log.warning("state cannot be saved", file=str(self._path), reason=reason)
            return False
        return True


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > SIZE_MAXIMUM:
        raise PlugindError(f"the file is longer than {SIZE_MAXIMUM:,} bytes")
    try:
        value = strict_json.parse(data)
    except BadRequest as error:
        raise PlugindError("the file is damaged: it is not JSON") from error
    if not isinstance(value, dict):
        raise PlugindError("the file is damaged: it is not a JSON object")
    return value


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with suppress(FileNotFoundError):
        part.unlink()
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
