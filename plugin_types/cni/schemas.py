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
    """An executable's fingerprint; ``UsedBy`` are the networks on its node that need it."""

    Path = Text(load_default="", maximum=4_096)
    SupportedVersions = _texts(VERSION_MAXIMUM)
    UsedBy = _texts()


class NetworkFingerprintSchema(WireSchema):
    """A network's fingerprint; ``Needs`` are the executables that its configuration names, in the
    order in which they are run."""

    Path = Text(load_default="", maximum=4_096)
    CNIVersion = Text(load_default="", maximum=VERSION_MAXIMUM)
    Needs = _texts()


class RowSchema(WireSchema):
    """The type's part of a row. ``SupportedVersions`` are the versions that its executables support
    on every node; ``CNIVersion`` is the newest of them, or the version of a network's
    configuration."""

    CNIVersion = Text(load_default="")
    SupportedVersions = _texts()


class BodySchema(RowSchema):
    """The type's part of a body; ``UsedBy`` and ``Needs`` are those of all nodes."""

    UsedBy = _texts()
    Needs = _texts()
