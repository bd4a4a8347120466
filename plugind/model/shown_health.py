"""What readers are shown of an instance: only what its node still confirms is healthy."""

from __future__ import annotations

from plugind.model.instances import Fingerprint, Instance
from plugind.model.nodes import DOWN, Node
from plugind.model.times import time_text


def seen(instance: Instance, node: Node) -> Fingerprint:
    """Return the fingerprint that readers are shown: it is healthy only while the node reports it.

    What a node reported holds only while the node is heard and goes on reporting it. Each reason
    why the instance is not healthy is given with its own time, the newest first; the fingerprint's
    time is that of the oldest, for the instance has been unhealthy since then.
    """
    told, missing_since = instance.fingerprint, instance.missing_since
    if node.status != DOWN and missing_since is None:
        is_back = told.healthy and node.back_since > told.updated
        return told.changed(updated=node.back_since) if is_back else told
    reasons: list[tuple[str, int]] = []
    if node.status == DOWN:
        reasons.append((f"nothing heard of node {node.name}", node.heard))
    if missing_since is not None:
        reasons.append((f"not reported by {node.name}", missing_since))
    if not told.healthy:
        reasons.append((told.description, told.updated))
    (newest, since), *earlier = reasons
    text = f"{newest} since {time_text(since)}"
    for reason, since in earlier:
        text += f"; before that, since {time_text(since)}: {reason}"
    ended = told.allocation and told.allocation.changed(runs=False)
    return told.changed(healthy=False, description=text, updated=since, allocation=ended)
