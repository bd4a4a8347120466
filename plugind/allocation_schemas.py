"""The wire shapes of allocations: what an agent reports, and what Nomad's tools decode of one.

An allocation is Nomad's word for what runs on a node; here it is the process of a driver. What only
a scheduler could know has the value that it has of what was never scheduled, for clients
dereference it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import EXCLUDE, fields

from plugind.fields import Number, Record, Text
from plugind.model import DOWN, Allocation, Fingerprint, InstanceKey, Node
from plugind.plugin_type import WireSchema

ID_MAXIMUM = 128
NO_RESOURCES: Mapping[str, Any] = {
    "CPU": 0,
    "MemoryMB": 0,
    "DiskMB": 0,
    "IOPS": 0,
    "Networks": None,
    "Devices": None,
}

_JOB_TYPE = "system"
_NAMESPACE = "default"
_UNMOVED = {"Migrate": None, "Reschedule": None, "ForceReschedule": None}


class ReportedAllocationSchema(Record):
    """One process, as an agent reports it; CreateTime in nanoseconds since the epoch."""

    record: ClassVar[type[Any] | None] = Allocation

    class Meta:
        unknown = EXCLUDE

    name = Text(load_default="", data_key="Name", maximum=512)
    job_id = Text(load_default="", data_key="JobID", maximum=256)
    task_group = Text(load_default="", data_key="TaskGroup", maximum=256)
    created = Number(load_default=0, data_key="CreateTime")


class AllocationSchema(WireSchema):
    """What a list has of an allocation, whichever list it is; times in nanoseconds."""

    ID = fields.String()
    Name = fields.String()
    Namespace = fields.Constant(_NAMESPACE)
    NodeID = fields.String()
    NodeName = fields.String()
    JobID = fields.String()
    TaskGroup = fields.String()
    EvalID = fields.Constant("")
    DesiredStatus = fields.Constant("run")
    ClientStatus = fields.String()
    ClientDescription = fields.String()
    TaskStates: fields.Field[Any] = fields.Constant({})
    CreateIndex = fields.Constant(0)
    ModifyIndex = fields.Constant(0)
    CreateTime = fields.Integer()
    ModifyTime = fields.Integer()


class AllocationStubSchema(AllocationSchema):
    """One allocation of a plugin."""

    JobType = fields.Constant(_JOB_TYPE)
    JobVersion = fields.Constant(0)
    DesiredDescription = fields.Constant("")
    DesiredTransition = fields.Constant(_UNMOVED)
    DeploymentStatus = fields.Constant(None)
    FollowupEvalID = fields.Constant("")
    PreemptedAllocations = fields.Constant(None)
    PreemptedByAllocation = fields.Constant("")
    RescheduleTracker = fields.Constant(None)


class NodeAllocationSchema(AllocationSchema):
    """One allocation of a node, which has its job and resources."""

    AllocModifyIndex = fields.Constant(0)
    AllocatedResources = fields.Constant(None)
    Job = fields.Dict(fields.String(), fields.Raw())
    Metrics = fields.Constant(None)
    Resources = fields.Constant(NO_RESOURCES)
    SharedResources = fields.Constant(NO_RESOURCES)
    TaskResources: fields.Field[Any] = fields.Constant({})


def allocation_document(key: InstanceKey, node: Node, shown: Fingerprint) -> dict[str, Any]:
    """What the schemas dump, of the process behind an instance as readers are shown it."""
    allocation = shown.allocation
    assert allocation is not None
    return {
        "ID": shown.alloc_id,
        "Name": allocation.name,
        "NodeID": key.node_id,
        "NodeName": node.name,
        "JobID": allocation.job_id,
        "TaskGroup": allocation.task_group,
        "ClientStatus": _status(allocation, node),
        "ClientDescription": shown.description,
        "CreateTime": allocation.created,
        "ModifyTime": shown.updated,
        "Job": _job(allocation, node),
    }


def _status(allocation: Allocation, node: Node) -> str:
    """As Nomad tells of it: what ran on a silent node is lost, what ended by itself has failed."""
    if node.status == DOWN:
        return "lost"
    return "running" if allocation.runs else "failed"


def _job(allocation: Allocation, node: Node) -> dict[str, Any]:
    """The part of a job that Nomad's tools look at."""
    return {
        "ID": allocation.job_id,
        "Name": allocation.job_id,
        "Namespace": _NAMESPACE,
        "Type": _JOB_TYPE,
        "Version": 0,
        "Datacenters": [node.datacenter],
        "TaskGroups": [{"Name": allocation.task_group, "Volumes": None, "Tasks": None}],
    }
