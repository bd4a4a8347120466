"""``/v1/allocations`` and ``/v1/allocation/ID``: the processes behind instances, in Nomad's shapes.

Nomad's command line requests them when it is given one of the allocation IDs that it printed for a
plugin or a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plugind import filtering
from plugind.acl import Authorizer, Decision
from plugind.api.endpoints import Asked, Call, Endpoints, Source, any_of, node_read
from plugind.catalogue import Catalogue
from plugind.catalogue.rendering import Types
from plugind.model import NODES
from plugind.schemas.allocations import AllocationBodySchema, AllocationStubSchema

NOT_FOUND = "alloc not found"

_STUBS = AllocationStubSchema(many=True)
_FIELDS = filtering.fields_of(AllocationStubSchema())


@dataclass(frozen=True, slots=True)
class AllocationParts:
    """The parts that the allocation endpoints need."""

    catalogue: Catalogue


endpoints = Endpoints(AllocationParts)


def may_see_allocations(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the `node` policy `read` or `write`, or the right to read plugins of any type.

    With only the right to read plugins, the caller sees only processes behind plugins of those
    types.
    """
    reads = [authorizer.may_read(type_, asked.namespace) for type_ in asked.types]
    return any_of([node_read(authorizer, asked), *reads])


def types_seen(call: Call[Any]) -> Types:
    """Return the plugin types whose processes the caller may see; None for all."""
    if node_read(call.authorizer, call.asked).allowed:
        return None
    may = call.authorizer.may_read
    return frozenset(name for name in call.asked.types if may(name, call.asked.namespace).allowed)


@endpoints.read("/v1/allocations", need=may_see_allocations, answer=_STUBS)
def list_all_allocations(call: Call[AllocationParts]) -> Source:
    """List the processes behind the instances of all nodes."""
    catalogue, types = call.parts.catalogue, types_seen(call)
    return Source(NODES, lambda: catalogue.all_allocations(types), fields=_FIELDS, personal=True)


@endpoints.read(
    "/v1/allocation/<alloc_id>",
    need=may_see_allocations,
    answer=AllocationBodySchema(),
    errors=(404,),
)
def read_allocation(call: Call[AllocationParts], alloc_id: str) -> Source:
    """Read the process behind an instance, with its state."""
    catalogue, types = call.parts.catalogue, types_seen(call)
    resource, _ = catalogue.allocation(alloc_id, types)
    return Source(
        resource, lambda: catalogue.allocation(alloc_id, types)[1], NOT_FOUND, personal=True
    )
