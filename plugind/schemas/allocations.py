"""The wire shapes of allocations, as agents report them and as Nomad's tools decode them.

An allocation is Nomad's word for a workload on a node; here it is the process of a driver. Fields
that only a scheduler could know have the values of a workload that was never scheduled, because
clients dereference them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import EXCLUDE, fields

from plugind.model import DOWN, Allocation, Fingerprint, InstanceKey, Node
from plugind.plugin_type import WireSchema
from plugind.wire.fields import Number, Record, Text, Time

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
_TASK = "driver"  # the task of a process whose agent names no task group
_NAMESPACE = "default"
_NO_METRICS: Mapping[str, Any] = {
    "NodesEvaluated": 0,
    "NodesFiltered": 0,
    "NodesAvailable": None,
    "ClassFiltered": None,
    "ConstraintFiltered": None,
    "NodesExhausted": 0,
    "ClassExhausted": None,
    "DimensionExhausted": None,
    "QuotaExhausted": None,
    "Scores": None,
    "ScoreMetaData": None,
    "AllocationTime": 0,
    "CoalescedFailures": 0,
}
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
    """The fields of an allocation in every list; times in nanoseconds."""

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
    """One allocation of a node, with its job and resources."""

    AllocModifyIndex = fields.Constant(0)
    AllocatedResources: fields.Field[Any] = fields.Constant(None)
    Job = fields.Dict(fields.String(), fields.Raw())
    Metrics: fields.Field[Any] = fields.Constant(None)
    Resources = fields.Constant(NO_RESOURCES)
    SharedResources = fields.Constant(NO_RESOURCES)
    TaskResources: fields.Field[Any] = fields.Constant({})


class TaskEventSchema(WireSchema):
    """An event of a process; Time in nanoseconds since the epoch."""

    Type = fields.String()
    Time = fields.Integer()
    Message = fields.String()
    DisplayMessage = fields.String()
    Details: fields.Field[Any] = fields.Constant({})


class TaskStateSchema(WireSchema):
    """The state of the process that an allocation stands for; unknown times are null."""

    State = fields.String()
    Failed = fields.Boolean()
    Restarts = fields.Constant(0)
    LastRestart = fields.Constant(None)
    StartedAt = Time(allow_none=True)
    FinishedAt = Time(allow_none=True)
    Events = fields.List(fields.Nested(TaskEventSchema))


class AllocationBodySchema(NodeAllocationSchema):
    """One allocation, read by itself, as ``nomad alloc status`` decodes it."""

    TaskStates = fields.Dict(fields.String(), fields.Nested(TaskStateSchema))
    AllocatedResources: fields.Field[Any] = fields.Constant(
        {"Shared": {"DiskMB": 0, "Networks": None}, "Tasks": {}, "TaskLifecycles": {}}
    )
    Metrics: fields.Field[Any] = fields.Constant(_NO_METRICS)
    DeploymentID = fields.Constant("")
    DeploymentStatus = fields.Constant(None)
    DesiredDescription = fields.Constant("")
    DesiredTransition = fields.Constant(_UNMOVED)
    FollowupEvalID = fields.Constant("")
    NextAllocation = fields.Constant("")
    PreemptedAllocations = fields.Constant(None)
    PreemptedByAllocation = fields.Constant("")
    PreviousAllocation = fields.Constant("")
    RescheduleTracker = fields.Constant(None)


def allocation_document(key: InstanceKey, node: Node, shown: Fingerprint) -> dict[str, Any]:
    """Return the values that the schemas dump for the process behind an instance."""
    allocation = shown.allocation
    assert allocation is not None
    # "failed" means that the process ended by itself.
    status = "running" if allocation.runs else "failed"
    return {
        "ID": shown.alloc_id,
        "Name": allocation.name,
        "NodeID": key.node_id,
        "NodeName": node.name,
        "JobID": allocation.job_id,
        "TaskGroup": allocation.task_group,
        "ClientStatus": "lost" if node.status == DOWN else status,
        "ClientDescription": shown.description,
        "CreateTime": allocation.created,
        "ModifyTime": shown.updated,
        "Job": _job(allocation, node),
    }


def allocation_body(key: InstanceKey, node: Node, shown: Fingerprint) -> dict[str, Any]:
    """Return the values that ``AllocationBodySchema`` dumps.

    They are those of ``allocation_document``, with the process as the only task of its group:
    Nomad's tools look up the task by name in the job and in the states.
    """
    allocation = shown.allocation
    assert allocation is not None
    document = allocation_document(key, node, shown)
    name = allocation.task_group or _TASK
    status = document["ClientStatus"]
    started = allocation.created or None
    state = {
        "State": "running" if status == "running" else "dead",
        "Failed": status == "failed",
        "StartedAt": started,
        "FinishedAt": None if status == "running" else shown.updated,
        "Events": [
            *([_event("Started", allocation.created, "process started")] if started else []),
            _event(
                f"Plugin became {'healthy' if shown.healthy else 'unhealthy'}",
                shown.updated,
                shown.description or f"plugin: {key.id}",
            ),
        ],
    }
    task = {"Name": name, "Driver": "", "Lifecycle": None, "VolumeMounts": None}
    (group,) = document["Job"]["TaskGroups"]
    job = {**document["Job"], "TaskGroups": [{**group, "Tasks": [task]}]}
    return {**document, "Job": job, "TaskStates": {name: state}}


def _event(type_: str, time: int, text: str) -> dict[str, Any]:
    return {"Type": type_, "Time": time, "Message": text, "DisplayMessage": text}


def _job(allocation: Allocation, node: Node) -> dict[str, Any]:
    """Return the part of a job that Nomad's tools look at."""
    return {
        "ID": allocation.job_id,
        "Name": allocation.job_id,
        "Namespace": _NAMESPACE,
        "Type": _JOB_TYPE,
        "Version": 0,
        "Datacenters": [node.datacenter],
        "TaskGroups": [{"Name": allocation.task_group, "Volumes": None, "Tasks": None}],
    }
