"""The table of all metrics: the source of the exposition, Nomad's JSON and docs/metrics.md."""

from __future__ import annotations

from typing import NamedTuple

GAUGE, COUNTER, HISTOGRAM, SUMMARY = "gauge", "counter", "histogram", "summary"

_PLUGIN = ("type", "plugin", "role")
_NODE = ("node", "node_id")
_HTTP = ("method", "endpoint", "code")


OWN, SUM, LEAST, MOST = "own", "sum", "least", "most"
"""How the values of several processes of a server are combined: the value of the process that
answers, because all have the same; the sum; the minimum; or the maximum."""


class Family(NamedTuple):
    """One metric: its name, kind, meaning and labels. ``is_named``: a label names a node, an
    instance or a plugin, so the metric is not public. ``across`` is how the values of several
    processes are combined."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    is_named: bool = False
    across: str = OWN


FAMILIES = (
    # Plugins, their instances and nodes: all derived from the state.
    Family(
        "plugind_plugin_instances_expected",
        GAUGE,
        "Instances that should be healthy: those declared, else those known.",
        _PLUGIN,
        True,
    ),
    Family(
        "plugind_plugin_instances_healthy",
        GAUGE,
        "Instances that are healthy.",
        _PLUGIN,
        True,
    ),
    Family(
        "plugind_plugin_instances_node_down",
        GAUGE,
        "Instances that are unhealthy because their node is down.",
        _PLUGIN,
        True,
    ),
    Family(
        "plugind_plugin_instances_unhealthy",
        GAUGE,
        "Instances that are unhealthy while their node is up.",
        _PLUGIN,
        True,
    ),
    Family(
        "plugind_plugin_versions",
        GAUGE,
        "Versions that the instances have.",
        _PLUGIN,
        True,
    ),
    Family(
        "plugind_plugin_controller_required",
        GAUGE,
        "Whether the plugin needs a controller.",
        ("type", "plugin"),
        True,
    ),
    Family(
        "plugind_instance_healthy",
        GAUGE,
        "Whether an instance is healthy; by default only those that are not are shown.",
        (*_PLUGIN, *_NODE),
        True,
    ),
    Family(
        "plugind_node_up",
        GAUGE,
        "Whether the node is heard within its time to live.",
        (*_NODE, "datacenter"),
        True,
    ),
    Family(
        "plugind_node_last_heard_timestamp_seconds",
        GAUGE,
        "When the node was last heard.",
        _NODE,
        True,
    ),
    Family(
        "plugind_node_cloned",
        GAUGE,
        "Whether two agents report as the node.",
        _NODE,
        True,
    ),
    Family("plugind_plugins", GAUGE, "Plugins.", ("type",)),
    Family(
        "plugind_plugins_unhealthy",
        GAUGE,
        "Plugins with fewer healthy instances than expected.",
        ("type",),
    ),
    Family(
        "plugind_instances_expected",
        GAUGE,
        "Instances of all plugins that should be healthy.",
        ("type", "role"),
    ),
    Family(
        "plugind_instances_healthy",
        GAUGE,
        "Instances of all plugins that are healthy.",
        ("type", "role"),
    ),
    Family(
        "plugind_instances_node_down",
        GAUGE,
        "Instances of all plugins that are unhealthy because their node is down.",
        ("type", "role"),
    ),
    Family("plugind_nodes", GAUGE, "Nodes that are up (ready) or down.", ("status",)),
    Family("plugind_nodes_cloned", GAUGE, "Nodes as which two agents report each."),
    # Events.
    Family(
        "plugind_transitions_total",
        COUNTER,
        "Transitions of instances, nodes (without a type) and declarations.",
        ("type", "kind"),
        across=MOST,
    ),
    Family(
        "plugind_rejected_items_total",
        COUNTER,
        "Items of agents' reports that were not taken.",
        ("type",),
        across=SUM,
    ),
    Family(
        "plugind_probe_duration_seconds",
        SUMMARY,
        "How long probes took, as agents report it.",
        ("type",),
        across=SUM,
    ),
    Family(
        "plugind_probe_failures_total",
        COUNTER,
        "Probes that found something unhealthy, or failed themselves, as agents report it.",
        ("type",),
        across=SUM,
    ),
    # The store, and how changes are written to it and read from it.
    Family(
        "plugind_store_writable", GAUGE, "Whether the last change could be written.", across=LEAST
    ),
    Family("plugind_store_size_bytes", GAUGE, "Bytes of the store's files."),
    Family(
        "plugind_store_commit_duration_seconds",
        HISTOGRAM,
        "How long commits took; several changes may share one.",
        across=SUM,
    ),
    Family("plugind_intake_queue_length", GAUGE, "Changes that wait to be written.", across=SUM),
    Family(
        "plugind_intake_queue_oldest_age_seconds",
        GAUGE,
        "For how long the oldest of them has waited.",
        across=MOST,
    ),
    Family("plugind_state_index", GAUGE, "Index of the last change that answers show."),
    Family(
        "plugind_follow_lag_seconds",
        GAUGE,
        "Age of the oldest change that is stored and not shown yet; infinite if that is unknown.",
        across=MOST,
    ),
    # Requests.
    Family(
        "plugind_http_requests_total", COUNTER, "Requests that were answered.", _HTTP, across=SUM
    ),
    Family(
        "plugind_http_request_duration_seconds",
        HISTOGRAM,
        "How long answers took to be made, without the waits of blocking queries.",
        _HTTP,
        across=SUM,
    ),
    Family("plugind_parked_queries", GAUGE, "Blocking queries that wait for a change.", across=SUM),
    Family("plugind_streams", GAUGE, "Event streams that are open.", across=SUM),
    Family(
        "plugind_limit_hits_total",
        COUNTER,
        "Times that clients reached a limit.",
        ("limit",),
        across=SUM,
    ),
    # The process.
    Family(
        "plugind_log_messages_total", COUNTER, "Lines that were logged.", ("level",), across=SUM
    ),
    Family("plugind_build_info", GAUGE, "Always 1.", ("version", "python")),
)

BY_NAME = {each.name: each for each in FAMILIES}


def table() -> str:
    """Return the metrics as a Markdown table, which docs/metrics.md contains."""
    rows = [("metric", "kind", "labels", "public", "meaning"), ("---",) * 5]
    for each in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        public = "" if each.is_named else "yes"
        rows.append((f"`{each.name}`", each.kind, labels, public, each.help))
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)
