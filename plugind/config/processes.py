"""The settings of ``server`` that select the processes that answer requests."""

from __future__ import annotations

from marshmallow import validate

from plugind.config.limits import ServerLimitsSchema
from plugind.config.settings import HTTP_SERVERS, ServerSettings
from plugind.wire.fields import Number, Text

WORKERS_MAXIMUM = 64


class ServerProcessesSchema(ServerLimitsSchema):
    workers = Number(
        minimum=1,
        maximum=WORKERS_MAXIMUM,
        load_default=ServerSettings.workers,
        metadata={
            "help": "how many processes answer requests; the limits on clients hold for each of "
            "them",
            "short": "workers",
        },
    )
    http = Text(
        validate=validate.OneOf(HTTP_SERVERS, error=f"must be one of {', '.join(HTTP_SERVERS)}."),
        load_default=ServerSettings.http,
        metadata={
            "help": f"the HTTP server in each of them: {', '.join(HTTP_SERVERS)}; all but the "
            "first come with the extra plugind[fast]",
            "short": "http",
        },
    )
