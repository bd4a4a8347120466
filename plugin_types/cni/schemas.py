"""The roles of CNI, and the schemas of fingerprints, rows and bodies."""

from __future__ import annotations

from marshmallow import fields, validate

from plugind.fields import Text
from plugind.plugin_type import WireSchema

EXECUTABLE = "executable"
NETWORK = "network"
ROLES = {EXECUTABLE: "Executables", NETWORK: "Networks"}

VERSION_MAXIMUM = 64
LIST_MAXIMUM = 1_000


def _texts(maximum: int = 255) -> fields.List[str]:
    return fields.List(
        Text(maximum=maximum), load_default=list, validate=validate.Length(max=LIST_MAXIMUM)
    )


class ExecutableFingerprintSchema(WireSchema):
    """``UsedBy`` are the networks of its node that need it."""

    Path = Text(load_default="", maximum=4_096)
    SupportedVersions = _texts(VERSION_MAXIMUM)
    UsedBy = _texts()


class NetworkFingerprintSchema(WireSchema):
    """``Needs`` are the executables that its configuration names, in the order they are run."""

    Path = Text(load_default="", maximum=4_096)
    CNIVersion = Text(load_default="", maximum=VERSION_MAXIMUM)
    Needs = _texts()


class RowSchema(WireSchema):
    """``SupportedVersions`` are those that its executables support on every node; ``CNIVersion`` is
    the newest of these, or the version of a network's configuration."""

    CNIVersion = Text(load_default="")
    SupportedVersions = _texts()


class BodySchema(RowSchema):
    """``UsedBy`` and ``Needs`` are those of all nodes."""

    UsedBy = _texts()
    Needs = _texts()
