"""``/v1/problems``: all current problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugind.api.endpoints import Call, Endpoints
from plugind.api.history import may_read_any, types_read
from plugind.api.reply import Reply, json_reply
from plugind.api.yielding import in_slices
from plugind.catalogue import Catalogue
from plugind.schemas.problems import ProblemsSchema
from plugind.state.problems import Overview, Problem, Wrong, overview

MAXIMUM = 500
"""Most problems in an answer."""

_ANSWER = ProblemsSchema()


@dataclass(frozen=True, slots=True)
class ProblemParts:
    """The parts that the endpoint for problems needs."""

    catalogue: Catalogue


endpoints = Endpoints(ProblemParts)


@endpoints(
    "GET",
    "/v1/problems",
    need=may_read_any,
    answer=_ANSWER,
    parameters={"namespace": "the namespace whose capabilities count; * for any"},
)
def list_problems(call: Call[ProblemParts]) -> Reply:
    """List the current problems that the caller may read, grouped.

    A node that is down is one problem, with the number of its instances. A plugin's instances that
    are unhealthy for the same reason are one problem, with the number of their nodes. Reasons
    beyond the plugin's 5 most frequent ones are one problem together.
    """
    call.parts.catalogue.refresh()
    state = call.parts.catalogue.state
    nodes = call.authorizer.may_read_nodes().allowed
    found = overview(Wrong(state, in_slices), types_read(call), with_nodes=nodes)
    reply = json_reply(_ANSWER.dump(_shown(found)), state.index)
    return reply.changed(headers={"Cache-Control": "no-store"})


def _shown(found: Overview) -> Mapping[str, Any]:
    return {
        "Severity": found.severity,
        "Plugins": found.plugins,
        "PluginsDegraded": found.degraded,
        "PluginsDown": found.down,
        "Nodes": found.nodes,
        "NodesDown": found.nodes_down,
        "ProblemCount": len(found.problems),
        "Problems": [_row(each) for each in found.problems[:MAXIMUM]],
    }


def _row(problem: Problem) -> Mapping[str, Any]:
    return {
        "Kind": problem.kind,
        "Severity": problem.severity,
        "Type": problem.type,
        "ID": problem.id,
        "Roles": problem.roles,
        "Reason": problem.reason,
        "Since": problem.since or None,
        "NodeCount": problem.nodes,
        "Nodes": [{"Name": name, "ID": node_id} for name, node_id in problem.named],
        "InstanceCount": problem.instances,
    }
