"""Quick dumping gives the same result as dumping by the schemas."""

from __future__ import annotations

from typing import Any

import pytest

from plugind.model import Allocation, Fingerprint, InstanceKey, Node, Stamp
from plugind.schemas.allocations import AllocationStubSchema, allocation_document
from plugind.schemas.dumping import Dumper
from plugind.schemas.nodes import Wanted, node_document, row_schema
from plugind.schemas.plugins import ShownSchema, fingerprint_document, stamp_fields

NODE = Node(
    "id", "vm1", "dc2", "0.1", "10.0.0.1:80", {"os.name": "debian", "node.class": "c"}, {"a": "b"}
)
TOLD = Fingerprint(
    False, "on fire", 10**18 + 7, "alloc", {"Provider": "p"}, Allocation("n", "j", "g", 10**18)
)


@pytest.mark.parametrize("wanted", list(Wanted.all()))
def test_a_row_of_a_node_is_what_its_schema_dumps(wanted: Wanted) -> None:
    document = {**node_document(NODE, "down since"), **stamp_fields(Stamp(1, 2, 3, 4))}
    schema = row_schema(wanted)
    found = Dumper(schema)(document)
    assert found == schema.dump(document)
    assert ("Attributes" in found) is wanted.os
    assert ("NodeResources" in found) is wanted.resources


def test_a_process_is_what_its_schema_dumps() -> None:
    document = allocation_document(InstanceKey("id", "csi", "a", "node"), NODE, TOLD)
    schema = AllocationStubSchema()
    assert Dumper(schema)(document) == schema.dump(document)


@pytest.mark.parametrize("name", ["HealthDescription", "UpdateTime", "Healthy", "AllocID"])
def test_a_fingerprint_is_what_its_schema_dumps(name: str) -> None:
    document: dict[str, Any] = {
        "PluginID": "a",
        "AllocID": "alloc",
        "Healthy": False,
        "HealthDescription": "on fire",
        "UpdateTime": TOLD.updated,
    }
    dumped = ShownSchema().dump(document)
    assert fingerprint_document("a", TOLD) == {"Provider": "p", **dumped}
    assert name in dumped
