"""The health that readers are shown: an instance is healthy only while its node confirms it."""

from __future__ import annotations

from plugind.model.instances import Fingerprint, Instance
from plugind.model.nodes import DOWN, Node
from plugind.model.times import time_text


def seen(instance: Instance, node: Node) -> Fingerprint:
    """Return the fingerprint that readers are shown: it is healthy only while the node reports it.

    A report is valid only while the node is heard and goes on reporting the same. Each reason why
    the instance is not healthy is given with its own time, the newest first; the fingerprint's time
    is that of the oldest, because the instance has been unhealthy since then.
    """
    reported, missing_since = instance.fingerprint, instance.missing_since
    if node.status != DOWN and missing_since is None:
        is_back = reported.healthy and node.back_since > reported.updated
        return reported.changed(updated=node.back_since) if is_back else reported
    reasons: list[tuple[str, int]] = []
    if node.status == DOWN:
        reasons.append((f"nothing heard of node {node.name}", node.heard))
    if missing_since is not None:
        reasons.append((f"not reported by {node.name}", missing_since))
    if not reported.healthy:
        reasons.append((reported.description, reported.updated))
    (newest, since), *earlier = reasons
    text = f"{newest} since {time_text(since)}"
    for reason, since in earlier:
        text += f"; before that, since {time_text(since)}: {reason}"
    ended = reported.allocation and reported.allocation.changed(runs=False)
    return reported.changed(healthy=False, description=text, updated=since, allocation=ended)
