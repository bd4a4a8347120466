"""The schemas of a check's fingerprints, rows and bodies."""

from __future__ import annotations

from marshmallow import fields, validate

from plugind.fields import Text
from plugind.plugin_type import WireSchema

CHECK = "check"
ROLES = {CHECK: "Checks"}

OK, WARNING, CRITICAL, UNKNOWN = STATUSES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
"""The statuses in the order of the exit statuses that stand for them, from 0."""

PERF_DATA_MAXIMUM = 8_192
DETAILS_MAXIMUM = 64
DETAIL_MAXIMUM = 1_024


class CheckFingerprintSchema(WireSchema):
    """A check's fingerprint; ``Details`` has the further fields of a line of JSON."""

    Status = Text(load_default="", validate=validate.OneOf(("", *STATUSES)))
    PerfData = Text(load_default="", maximum=PERF_DATA_MAXIMUM)
    Details = fields.Dict(
        keys=Text(maximum=DETAIL_MAXIMUM),
        values=Text(maximum=DETAIL_MAXIMUM),
        load_default=dict,
        validate=validate.Length(max=DETAILS_MAXIMUM),
    )


class SummarySchema(WireSchema):
    """The type's part of a row and a body: the worst status on any node."""

    Status = Text(load_default="")
