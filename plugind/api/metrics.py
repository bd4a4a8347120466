"""``/v1/metrics``: what Prometheus scrapes, and the same as JSON in Nomad's format."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import Schema, fields

from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ALLOWED
from plugind.api.endpoints import Asked, Call, Endpoints, Given
from plugind.api.reply import Reply
from plugind.api.shapes import TEXT
from plugind.errors import BadRequest
from plugind.metrics.metrics import CONTENT_TYPE, Metrics

PROMETHEUS = "prometheus"
_FORMATS = {**TEXT, "enum": [PROMETHEUS]}


class GaugeSchema(Schema):
    """The current value of a metric."""

    Name = fields.String()
    Labels = fields.Dict(fields.String(), fields.String())
    Value = fields.Float()


class AggregateSchema(Schema):
    """A metric over the last full 10 seconds. Rate is Sum per second."""

    Name = fields.String()
    Labels = fields.Dict(fields.String(), fields.String())
    Count = fields.Integer()
    Rate = fields.Float()
    Sum = fields.Float()
    Min = fields.Float()
    Max = fields.Float()
    Mean = fields.Float()
    Stddev = fields.Float()


class MetricsSchema(Schema):
    """All metrics; Timestamp is the start of the 10 seconds of Counters and Samples."""

    Timestamp = fields.String()
    Gauges = fields.List(fields.Nested(GaugeSchema))
    Points = fields.List(fields.Dict())
    Counters = fields.List(fields.Nested(AggregateSchema))
    Samples = fields.List(fields.Nested(AggregateSchema))


@dataclass(frozen=True, slots=True)
class MetricsParts:
    """The part that the metrics endpoint needs."""

    metrics: Metrics


endpoints = Endpoints(MetricsParts)


def may_read_metrics(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the `agent` policy `read` or `write`, or that `metrics.public` is set."""
    decision = authorizer.may_read_agent()
    return ALLOWED if asked.has_public_metrics and not decision.allowed else decision


@endpoints(
    "GET",
    "/v1/metrics",
    need=may_read_metrics,
    answer=MetricsSchema(),
    other_types=(CONTENT_TYPE,),
    parameters={"format": Given("the text that Prometheus reads, instead of JSON", _FORMATS)},
    errors=(400,),
)
def read_metrics(call: Call[MetricsParts]) -> Reply:
    """Read the metrics of the server and of all plugins.

    If metrics are public, a caller that may not read the agent gets totals by plugin type, without
    the names of plugins, instances and nodes. Any other caller sees these names, even those of
    plugins and nodes that it may not read.
    """
    form, metrics = call.request.query.get("format", ""), call.parts.metrics
    has_names = call.authorizer.may_read_agent().allowed
    if form == PROMETHEUS:
        return Reply(metrics.text(has_names=has_names), content_type=CONTENT_TYPE)
    if form:
        raise BadRequest(f"Invalid format: it is {PROMETHEUS}, or left out for JSON")
    return Reply(metrics.summary(has_names=has_names))
