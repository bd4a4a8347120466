"""The block ``store "etcd" { }``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from plugind.wire.fields import Duration, Flag, Number, Record, Text

_ENDPOINT = re.compile(r"(https?://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")


@dataclass(frozen=True)
class EtcdSettings:
    """How etcd is reached and how long the log is; ``log_keep`` is in seconds, ``log_max_size`` in
    bytes."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    prefix: str = "plugind"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    compact: bool = True
    log_keep: float = 600.0
    log_max_size: int = 64 * 2**20

    @property
    def is_secure(self) -> bool:
        """Return whether the endpoints use TLS."""
        return self.endpoints[0].startswith("https://")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the endpoints as HOST:PORT."""
        return tuple(each.rpartition("//")[2].rstrip("/") for each in self.endpoints)


class _Endpoints(fields.List[Any]):
    """A list of 1 to 16 addresses; it loads into a tuple."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found = tuple(super()._deserialize(value, attr, data, **kwargs))
        if not 1 <= len(found) <= 16:
            raise ValidationError("must have from 1 to 16 endpoints.")
        if len({str(each).startswith("https://") for each in found}) > 1:
            raise ValidationError("must be all with https:// or all without.")
        return found


def _endpoint(text: str) -> None:
    found = _ENDPOINT.fullmatch(text)
    if found is None or not 0 < int(found[3]) < 65536:
        raise ValidationError('must be HOST:PORT, such as "https://etcd1.example:2379".')


def _file(help: str) -> Text:
    return Text(load_default="", metadata={"help": help, "path": True})


class EtcdSettingsSchema(Record):
    record: ClassVar[type[Any] | None] = EtcdSettings

    endpoints = _Endpoints(
        Text(validate=_endpoint),
        load_default=EtcdSettings.endpoints,
        metadata={
            "help": "the members of etcd, HOST:PORT; https:// before each of them asks for TLS"
        },
    )
    prefix = Text(
        validate=validate.Regexp(
            r"[A-Za-z0-9][A-Za-z0-9._/-]{0,30}(?<!/)\Z",
            error="must be 1 to 31 letters, digits, and any of . _ / -, with no / at its end.",
        ),
        load_default=EtcdSettings.prefix,
        metadata={"help": "what the names of all keys begin with; the same for all servers"},
    )
    username = Text(load_default="", metadata={"help": "user of etcd, if it has any"})
    password_file = _file("file with the password of that user, and nothing else")
    ca_file = _file(
        "file with the certificates to verify the members with; else those that gRPC brings along"
    )
    cert_file = _file("file with the certificate that this server shows to etcd")
    key_file = _file("file with the key of that certificate")
    compact = Flag(
        load_default=EtcdSettings.compact,
        metadata={
            "help": "whether a server compacts etcd each minute, to what it was log_keep ago; "
            "false where another program does"
        },
    )
    log_keep = Duration(
        minimum=60.0,
        load_default=EtcdSettings.log_keep,
        metadata={"help": "how far back the log of whole changes reaches"},
    )
    log_max_size = Number(
        minimum=2**20,
        load_default=EtcdSettings.log_max_size,
        metadata={"help": "bytes of that log; beyond that it reaches less far back"},
    )

    @validates_schema
    def _fits(self, data: Mapping[str, Any], **_: Any) -> None:
        if bool(data.get("username")) != bool(data.get("password_file")):
            raise ValidationError("username and password_file go together.", "username")
        if bool(data.get("cert_file")) != bool(data.get("key_file")):
            raise ValidationError("cert_file and key_file go together.", "cert_file")
        endpoints: Sequence[str] = data["endpoints"]
        has_tls = any(data.get(name) for name in ("ca_file", "cert_file"))
        if has_tls and not endpoints[0].startswith("https://"):
            text = "must begin with https:// where certificates are given."
            raise ValidationError(text, "endpoints")
