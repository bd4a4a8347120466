"""What a scrape of a large fleet costs: its series, and the pauses for other threads."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from plugind.catalogue import Catalogue
from plugind.config.settings import ALL_INSTANCES, UNHEALTHY_INSTANCES
from plugind.metrics.catalogue import CatalogueMetrics
from plugind.metrics.metrics import Metrics
from plugind.model import Beat, Fingerprint, Instance, InstanceKey, Node, PluginKey, Stamp, node_of
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.store.base import Contents
from plugind.types.registry import load_registry

T = TypeVar("T")

PLUGINS, NODES = 20, 1_000
STAMP = Stamp(1, 1, 1, 1)


class Standing:
    """A feed of a single state."""

    def __init__(self, state: State) -> None:
        self.state = state

    def subscribe(self, subscriber: object) -> None:
        """Notify no subscriber: nothing changes."""


class Nothing:
    """A server without metrics of its own."""

    def read(self) -> list[Any]:
        return []


class Pace:
    """Count the values that pass."""

    count = 0

    def __call__(self, values: Iterable[T], /) -> Iterator[T]:
        for value in values:
            self.count += 1
            yield value


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    """Return a catalogue of 20,000 instances; one in a hundred is unhealthy."""
    schemas = {name: PluginSchemas.of(each) for name, each in load_registry().types.items()}
    details = schemas["csi"].nothing_known("node")
    nodes = [Node(str(uuid.UUID(int=number)), f"vm{number}") for number in range(NODES)]
    keys = [PluginKey("csi", f"driver-{number}") for number in range(PLUGINS)]
    instances = [
        Instance(
            InstanceKey(node.id, *key, "node"),
            Fingerprint((at * NODES + number) % 100 != 0, "", 1, details=details),
        )
        for at, key in enumerate(keys)
        for number, node in enumerate(nodes)
    ]
    resources = ["nodes", "plugins/csi", *(key.resource for key in keys)]
    resources += [node_of(node.id) for node in nodes]
    state = State.of(Contents(1, nodes, instances, [], dict.fromkeys(resources, STAMP)))
    made = Catalogue(Standing(state), schemas)  # type: ignore[arg-type]
    yield made
    made.end()


def scraper(catalogue: Catalogue, instances: str, pace: Any) -> Callable[[], bytes]:
    """Return a function that makes a whole scrape."""
    schemas = {name: PluginSchemas.of(each) for name, each in load_registry().types.items()}
    beats = {node_id: Beat(1) for node_id in catalogue.state.nodes}
    of_state = CatalogueMetrics(catalogue, schemas, lambda: beats, instances, pace)
    made = Metrics(of_state, Nothing(), pace)  # type: ignore[arg-type]
    return lambda: made.text(has_names=True)


def count(scrape: bytes) -> int:
    return sum(not line.startswith(b"#") for line in scrape.splitlines())


def cost(call: Callable[[], object]) -> float:
    """Return the seconds of processor time of a call, the least of several."""
    found = []
    for _ in range(3):
        began = time.thread_time()
        call()
        found.append(time.thread_time() - began)
    return min(found)


def test_every_series_and_every_instance_is_paced(catalogue: Catalogue) -> None:
    """Let other threads run after each of them, since nothing is made as a whole."""
    pace = Pace()
    scrape = scraper(catalogue, ALL_INSTANCES, pace)
    series = count(scrape())
    assert series > PLUGINS * NODES
    assert pace.count >= series + PLUGINS * NODES
    pace.count = 0
    assert count(scrape()) == series
    assert series <= pace.count < series + PLUGINS * NODES, "the figures of plugins are kept"


def test_help_and_type_come_once_however_many_series_there_are(catalogue: Catalogue) -> None:
    text = scraper(catalogue, ALL_INSTANCES, Pace())()
    assert text.count(b"# HELP plugind_instance_healthy ") == 1
    assert text.count(b"\nplugind_instance_healthy{") == PLUGINS * NODES


def test_by_default_a_scrape_costs_the_unhealthy_instances_only(catalogue: Catalogue) -> None:
    few = scraper(catalogue, UNHEALTHY_INSTANCES, Pace())
    every = scraper(catalogue, ALL_INSTANCES, Pace())
    assert count(every()) - count(few()) == PLUGINS * NODES * 0.99
    seconds, all_seconds = cost(few), cost(every)
    assert seconds < all_seconds / 3
    each, of_all = seconds / count(few()), all_seconds / count(every())
    assert each < 3 * of_all, "a series costs about the same in both"
