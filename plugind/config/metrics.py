"""The block ``metrics``: who may read metrics, and how many metrics are shown."""

from __future__ import annotations

from marshmallow import validate

from plugind.config.settings import INSTANCES_SHOWN, MetricsSettings
from plugind.wire.fields import Flag, Record, Text


class MetricsSchema(Record):
    record = MetricsSettings

    public = Flag(
        load_default=MetricsSettings.public,
        metadata={
            "help": "whether /v1/metrics needs no token; without one that may read the agent it "
            "then has totals only, and no names of plugins, instances and nodes"
        },
    )
    instances = Text(
        validate=validate.OneOf(
            INSTANCES_SHOWN, error=f"must be one of {', '.join(INSTANCES_SHOWN)}."
        ),
        load_default=MetricsSettings.instances,
        metadata={
            "help": f"which instances have a metric of their own: {', '.join(INSTANCES_SHOWN)}"
        },
    )
