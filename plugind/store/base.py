"""What a store is: it keeps the changes of the catalogue, and gives each its index.

The store is the truth; the catalogue is derived from it. A store is registered by name through the
hook ``plugind_stores``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from plugind.fields import Record
from plugind.model import Change, Declaration, Instance, Node, Stamp

FIRST_INDEX = 1
"""The index of an empty store: X-Nomad-Index is never 0, for a client that sends 0 would spin."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a store holds, as of ``index``. ``stamps`` are by resource, lists included."""

    index: int
    nodes: Sequence[Node]
    instances: Sequence[Instance]
    declarations: Sequence[Declaration]
    stamps: Mapping[str, Stamp]


class Store(ABC):
    """Keeps changes for good. Methods are called from one thread at a time.

    Every method raises StoreError, with what an operator can do about it, when the store cannot do
    what is asked; then nothing of it was done.
    """

    settings_schema: ClassVar[type[Record]]
    """The ``store "NAME" { }`` block of the configuration."""

    @abstractmethod
    def __init__(self, settings: Any, data_dir: Path) -> None:
        """Opens the store, making or migrating it first where that is needed."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """A UUID drawn when the store was made: an index means something within one store only."""

    @abstractmethod
    def load(self) -> Contents:
        """Everything there is."""

    @abstractmethod
    def commit(self, changes: Sequence[Change]) -> Sequence[int]:
        """Makes changes durable, all of them or none, before it returns the index of each.

        An index is greater than all that came before. The stamps of what a change touched get its
        index; a resource that was not there before is created by it. With no changes it only proves
        that it could write some.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of the store. Nothing is called after it."""
