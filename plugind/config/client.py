"""The block ``client``: the agent's servers, how its node is described to them, and its secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

from plugind.config.limits import Several
from plugind.config.settings import CLIENT, SERVER, ClientSettings
from plugind.config.values import FilePath, not_blank, own_address
from plugind.schemas.nodes import (
    META_KEY_MAXIMUM,
    META_MAXIMUM,
    META_SIZE_MAXIMUM,
    META_VALUE_MAXIMUM,
    NODE_CLASS_MAXIMUM,
    size_of_labels,
)
from plugind.wire.fields import Flag, Record, Text


def server_address(text: str) -> None:
    """Raise ValidationError for a text other than ``http://HOST:PORT`` or https.

    A user and password are refused because they would appear in logs.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and "@" not in text
    except ValueError:
        good = False
    if not good:
        raise ValidationError(f"must be a server's address, such as {ClientSettings.servers[0]}.")


def meta_key(text: str) -> None:
    """Raise ValidationError for an invalid name of an entry in a node's meta."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", text) or len(text) > META_KEY_MAXIMUM:
        raise ValidationError(
            f"must have a name of 1 to {META_KEY_MAXIMUM} letters, digits, dots, dashes, "
            "slashes or underscores, the first a letter, digit or underscore."
        )


def bounded_meta(meta: Mapping[str, str]) -> None:
    """Raise ValidationError for a meta so large that reports have no room for node attributes."""
    if size_of_labels(meta) > META_SIZE_MAXIMUM:
        raise ValidationError(f"must have at most {META_SIZE_MAXIMUM:,} bytes in all.")


class ClientSchema(Record):
    record = ClientSettings

    enabled = Flag(
        load_default=ClientSettings.enabled,
        metadata={"help": "whether this process is an agent: watches this machine's plugins"},
    )
    servers = Several(
        Text(validate=server_address),
        load_default=ClientSettings.servers,
        metadata={
            "help": "the servers to report to; the next one is tried when one cannot be reached"
        },
    )
    datacenter = Text(
        validate=not_blank,
        load_default=ClientSettings.datacenter,
        metadata={"help": "the datacenter that this node is shown in"},
    )
    node_class = Text(
        load_default=ClientSettings.node_class,
        maximum=NODE_CLASS_MAXIMUM,
        metadata={"help": "a class of machines that this node belongs to", "example": "storage"},
    )
    meta = fields.Dict(
        Text(validate=meta_key),
        Text(maximum=META_VALUE_MAXIMUM),
        load_default=dict,
        validate=[
            validate.Length(max=META_MAXIMUM, error=f"must have at most {META_MAXIMUM} entries."),
            bounded_meta,
        ],
        metadata={
            "help": 'names and texts to know this node by, as in `meta { rack = "r7" }`',
            "block": True,
            "default": "none",
        },
    )
    advertise = Text(
        validate=own_address,
        load_default=ClientSettings.advertise,
        metadata={
            "help": "this node's address, HOST or HOST:PORT; by default the one from which it "
            "reaches the server",
            "example": "10.0.0.7",
        },
    )
    token_file = FilePath(
        load_default=ClientSettings.token_file,
        metadata={
            "help": "file with the token that reports are sent with",
            "example": "/etc/plugind/agent.token",
        },
    )
    ca_file = FilePath(
        load_default=ClientSettings.ca_file,
        metadata={
            "help": "file with the certificates to verify https servers with",
            "example": "/etc/plugind/ca.pem",
        },
    )
    cert_file = FilePath(
        load_default=ClientSettings.cert_file,
        metadata={
            "help": "file with the certificate to show https servers that ask for one, and those "
            "between it and its authority; it needs key_file",
            "example": "/etc/plugind/agent.crt",
        },
    )
    key_file = FilePath(
        load_default=ClientSettings.key_file,
        metadata={
            "help": "file with the private key of cert_file, without a passphrase",
            "example": "/etc/plugind/agent.key",
        },
    )
    leave_on_terminate = Flag(
        load_default=ClientSettings.leave_on_terminate,
        metadata={
            "help": "whether this node and its plugins leave the catalogue when the agent is "
            "stopped; otherwise they stay expected",
            "reload": (SERVER, CLIENT),
        },
    )
