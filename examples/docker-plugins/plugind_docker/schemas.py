"""The schemas of the fingerprints, rows and bodies of Docker's plugins."""

from __future__ import annotations

from marshmallow import fields, validate

from plugind.fields import Text
from plugind.plugin_type import WireSchema

IMPLEMENTS_MAXIMUM = 64
SUBSYSTEM_MAXIMUM = 128


class ImplementsSchema(WireSchema):
    """The Docker subsystems that the plugin implements: VolumeDriver, NetworkDriver, authz ..."""

    Implements = fields.List(
        Text(maximum=SUBSYSTEM_MAXIMUM),
        load_default=list,
        validate=validate.Length(max=IMPLEMENTS_MAXIMUM),
    )


class DockerFingerprintSchema(ImplementsSchema):
    """``Address`` is the plugin's address, as a URL."""

    Address = Text(load_default="", maximum=4_096)
