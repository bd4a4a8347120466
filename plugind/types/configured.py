"""Reads the configuration with the installed plugin types and stores."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugind.config.loading import load
from plugind.config.settings import PluginTypeChoice, Settings
from plugind.errors import PlugindError
from plugind.types.registry import Registry, load_registry
from plugind.types.stray_output import stdout_to_stderr

Blocks = dict[str, Mapping[str, Any]]


def working_folder() -> Path:
    """Return the folder that relative paths on the command line start from. Raise PlugindError."""
    try:
        return Path.cwd()
    except OSError as error:
        text = f"the working directory cannot be used: {error.strerror}; change into another"
        raise PlugindError(text) from error


def load_settings(
    paths: Sequence[Path],
    flags: Mapping[str, str],
    dev_folder: Path | None,
    folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Settings, Registry]:
    """Return the configuration, and the plugin types and stores that it enables.

    ``folder`` was the working directory when the process started; it may have been removed since.
    Raise ConfigError.
    """
    folder = folder or working_folder()
    installed = load_registry()
    chosen: list[Registry] = []

    def choose(choice: PluginTypeChoice, asked: Collection[str]) -> Registry:
        chosen.append(installed.choose(choice.enabled, choice.disabled))
        return chosen[-1]

    with stdout_to_stderr():  # loading the settings of a type runs its package's code
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
    """Return the block of each type, with the settings that the agent itself needs, defaults
    included."""
    return {
        name: {**block, "memory_limit": settings.types[name].memory_limit}
        for name, block in settings.type_blocks.items()
    }
