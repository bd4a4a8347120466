"""Reads the configuration with the plugin types and stores that are installed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugind.config import PluginTypeChoice, Settings, load
from plugind.errors import PlugindError
from plugind.registry import Registry, load_registry

Blocks = dict[str, Mapping[str, Any]]


def working_folder() -> Path:
    """What relative paths on the command line count from. Raises PlugindError."""
    try:
        return Path.cwd()
    except OSError as error:
        text = f"the working directory is not to be had: {error.strerror}; change into another"
        raise PlugindError(text) from error


def load_settings(
    paths: Sequence[Path],
    flags: Mapping[str, str],
    dev_folder: Path | None,
    folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Settings, Registry]:
    """The configuration, and the plugin types and stores that it lets be used.

    ``folder`` is the working directory when the process started, which may be gone by now. Raises
    ConfigError.
    """
    folder = folder or working_folder()
    installed = load_registry()
    chosen: list[Registry] = []

    def choose(choice: PluginTypeChoice, asked: Collection[str]) -> Registry:
        chosen.append(installed.choose(choice.enabled, choice.disabled))
        return chosen[-1]

    settings = load(
        paths,
        environ=environ,
        flags=flags,
        plugins=choose,
        dev_folder=dev_folder,
        folder=folder,
    )
    (registry,) = chosen
    return settings, registry.without(settings.type_problems)


def agent_blocks(settings: Settings) -> Blocks:
    """The block of each type; with what the agent itself must know also where it is a default."""
    return {
        name: {**block, "memory_limit": settings.types[name].memory_limit}
        for name, block in settings.type_blocks.items()
    }
