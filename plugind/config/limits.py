"""The settings of ``server`` that limit clients, so that no client can starve the others."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from marshmallow import ValidationError, fields

from plugind.config.settings import ServerLimits
from plugind.model.times import INT64_MAX
from plugind.wire.fields import Duration, Number, Record, Text

KIBIBYTE = 2**10
MEBIBYTE = 2**20


class Network(fields.Field[IPv4Network | IPv6Network]):
    """An address or a network, such as 10.0.0.1 or 10.0.0.0/8."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> IPv4Network | IPv6Network:
        try:
            return ip_network(Text()._deserialize(value, attr, data))
        except ValueError as error:
            raise ValidationError(
                'must be an address or a network, such as "10.0.0.1" or "10.0.0.0/8".'
            ) from error


class Several(fields.List[Any]):
    """A list that loads into a tuple."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(value, attr, data, **kwargs))


def _number(default: int, help: str, *, minimum: int = 1, maximum: int = INT64_MAX) -> Number:
    return Number(minimum=minimum, maximum=maximum, load_default=default, metadata={"help": help})


def _duration(default: float, help: str, *, minimum: float = 0.1) -> Duration:
    return Duration(minimum=minimum, load_default=default, metadata={"help": help})


class ServerLimitsSchema(Record):
    max_connections = _number(
        ServerLimits.max_connections,
        "how many connections may be open at once; beyond that, of the address with the most, "
        "those that have been idle longest are closed",
        minimum=16,
        maximum=50_000,
    )
    head_timeout = _duration(
        ServerLimits.head_timeout,
        "how long a client may take to send a request's line and headers",
    )
    body_timeout = _duration(
        ServerLimits.body_timeout,
        "how long a client may take to send a body, and a second more per 64 KiB of it",
    )
    send_timeout = _duration(
        ServerLimits.send_timeout,
        "how long a client may read nothing of a response that waits for it",
    )
    idle_timeout = _duration(
        ServerLimits.idle_timeout,
        "how long a connection stays open without a request",
    )
    max_body_memory = _number(
        ServerLimits.max_body_memory,
        "bytes of bodies over 64 KiB in memory at once; further ones wait",
        minimum=8 * MEBIBYTE,
    )
    max_send_memory = _number(
        ServerLimits.max_send_memory,
        "bytes of responses that wait to be sent; beyond that the connections that have read "
        "nothing for longest are closed",
        minimum=MEBIBYTE,
    )
    max_receive_memory = _number(
        ServerLimits.max_receive_memory,
        "bytes of requests in memory at once, but for bodies over 64 KiB; beyond that a "
        "connection that has sent more than 8 KiB is closed",
        minimum=MEBIBYTE,
    )
    max_reports = _number(
        ServerLimits.max_reports,
        "how many small reports may be in work at once, and a quarter as many large ones, three "
        "quarters of either for one token; more are answered 503, and a second one of a node 429",
        minimum=2,
        maximum=1_000,
    )
    max_large_reports = _number(
        ServerLimits.max_large_reports,
        "how many reports of more than 256 KiB or 256 instances are worked on at once; further "
        "ones wait for their turn",
        maximum=64,
    )
    max_parked_share = _number(
        ServerLimits.max_parked_share,
        "percent of max_parked that blocking queries of one token may take",
        maximum=100,
    )
    max_list_size = _number(
        ServerLimits.max_list_size,
        "bytes of a list that is answered as a whole; a larger one is read with per_page",
        minimum=2**16,
    )
    max_view_memory = _number(
        ServerLimits.max_view_memory,
        "bytes of filtered, indented and packed answers that are kept for the next client that "
        "asks for the same",
        minimum=0,
    )
    max_costly_reads = _number(
        ServerLimits.max_costly_reads,
        "reads with a filter, pages, pretty or gzip that are in work at once; further ones take "
        "turns",
        maximum=64,
    )
    max_waiting_reads = _number(
        ServerLimits.max_waiting_reads,
        "such reads that may wait for their turn; more are answered 429",
        maximum=4_000,
    )
    trusted_proxies = Several(
        Network(),
        load_default=ServerLimits.trusted_proxies,
        metadata={
            "help": "addresses and networks of reverse proxies, whose X-Forwarded-For names the "
            "client",
            "example": ["127.0.0.1", "10.0.0.0/8"],
        },
    )
    max_nodes = _number(
        ServerLimits.max_nodes,
        "how many nodes may be registered; further ones are answered 403",
    )
    max_nodes_per_token = _number(
        ServerLimits.max_nodes_per_token,
        "how many nodes may be registered with one token",
    )
    max_instances = _number(
        ServerLimits.max_instances,
        "how many instances may be stored; further ones are rejected",
    )
    max_instances_per_token = _number(
        ServerLimits.max_instances_per_token,
        "how many instances may be stored of nodes that report with one token",
    )
    max_storage = _number(
        ServerLimits.max_storage,
        "bytes of all nodes and instances, each counting as 2 KiB at least; instances that "
        "would exceed it are rejected",
        minimum=MEBIBYTE,
    )
    max_storage_per_token = _number(
        ServerLimits.max_storage_per_token,
        "bytes of the nodes that report with one token, and of their instances",
        minimum=MEBIBYTE,
    )
    max_instance_size = _number(
        ServerLimits.max_instance_size,
        "bytes of one instance; a larger one is rejected",
        minimum=4 * KIBIBYTE,
    )
    node_secret_keep = _duration(
        ServerLimits.node_secret_keep,
        "how long the ID of a node that left or was lost is kept for the agent that has its secret",
        minimum=0,
    )
    max_heartbeats_per_second = _number(
        ServerLimits.max_heartbeats_per_second,
        "how many heartbeats all agents together may send in a second; beyond that each is "
        "given a longer time to live than heartbeat_ttl, and beats less often",
    )
    write_timeout = Duration(
        minimum=0.1,
        load_default=ServerLimits.write_timeout,
        metadata={
            "help": "how long a request waits for the store; then it is answered 503, and may be "
            "repeated"
        },
    )
    max_waiting_writes = Number(
        minimum=16,
        load_default=ServerLimits.max_waiting_writes,
        metadata={"help": "how many changes may wait to be written; more are answered 503"},
    )
