"""``/v1/plugins``, ``/v1/plugin/TYPE/ID`` and ``/v1/plugin-types``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ALLOWED, ANY_NAMESPACE
from plugind.api.endpoints import (
    Asked,
    Call,
    Endpoints,
    Given,
    Source,
    any_of,
    management,
)
from plugind.api.reply import Reply, json_reply
from plugind.api.shapes import FORGOTTEN, TYPES, plugin_body, plugin_rows, plugin_type
from plugind.catalogue import Catalogue, Reading
from plugind.errors import BadRequest
from plugind.filtering import Fields
from plugind.intake import Intake
from plugind.model import SETTLED, PluginKey, plugins_of

NOT_FOUND = "plugin not found"


@dataclass(frozen=True, slots=True)
class PluginParts:
    """The parts that the plugin endpoints need.

    ``row_fields`` is keyed by plugin type; ``type_rows`` returns the rows that describe the types.
    """

    catalogue: Catalogue
    intake: Intake
    row_fields: Mapping[str, Fields]
    type_rows: Callable[[], Sequence[Mapping[str, Any]]]


endpoints = Endpoints(PluginParts)


def _may_list(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-list-plugin` in the namespace, or the `plugin` policy `list` or
    `read`.

    A request without `type` needs no right: its answer is empty. A request for an unknown type
    needs the right to list one of the known types.
    """
    type_ = asked.query.get("type", "")
    if not type_:
        return ALLOWED
    types = [type_] if type_ in asked.types else asked.types
    return any_of([authorizer.may_list(each, asked.namespace) for each in types])


def may_read_plugin(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-read-plugin` in the namespace, or the `plugin` policy `read`."""
    return authorizer.may_read(asked.path["type_"], asked.namespace)


def _may_know_types(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-list-plugin` or `TYPE-read-plugin` of any type in any namespace,
    the `plugin` policy `list` or `read`, or the `node` policy `read` or `write`."""
    decisions = [
        decide(type_, ANY_NAMESPACE)
        for type_ in asked.types
        for decide in (authorizer.may_list, authorizer.may_read)
    ]
    return any_of([*decisions, authorizer.may_read_nodes()])


@endpoints.read(
    "/v1/plugins",
    need=_may_list,
    answer=plugin_rows,
    parameters={"type": Given("without one the answer is an empty list", plugin_type)},
)
def list_plugins(call: Call[PluginParts]) -> Source:
    """List the plugins of a type."""
    parts, type_ = call.parts, call.asked.query.get("type", "")
    if not type_:
        return _settled(call, b"[]")
    if type_ not in call.asked.types:
        known = ", ".join(sorted(call.asked.types)) or "none"
        raise BadRequest(f"unknown plugin type {type_[:64]!r}; there are: {known}")
    catalogue, fields = parts.catalogue, parts.row_fields[type_]
    return Source(plugins_of(type_), lambda: catalogue.plugins(type_), fields=fields)


@endpoints.read("/v1/plugin/<type_>/<id_>", need=may_read_plugin, answer=plugin_body, errors=(404,))
def read_plugin(call: Call[PluginParts], type_: str, id_: str) -> Source:
    """Read one plugin with all its instances.

    Nomad's command line cuts the IDs that it prints to 8 or 36 characters, and sends them like
    that. So an ID of that length that no plugin has stands for the plugin whose ID begins with it,
    if there is only one.
    """
    catalogue = call.parts.catalogue
    if type_ not in call.asked.types:
        return _settled(call, None)
    key = catalogue.named(PluginKey(type_, id_))
    # Which plugin an abbreviated ID stands for may change while that plugin does not.
    is_whole = key.id == id_
    return Source(key.resource, lambda: catalogue.plugin(key), NOT_FOUND, is_kept=is_whole)


def _settled(call: Call[PluginParts], body: bytes | None) -> Source:
    """Return the source of a body that never changes; ``body`` is None if it does not exist."""
    return Source(SETTLED, lambda: Reading(call.parts.catalogue.index, body), NOT_FOUND)


@endpoints(
    "DELETE", "/v1/plugin/<type_>/<id_>", need=management, answer=FORGOTTEN, errors=(404, 503)
)
def forget_plugin(call: Call[PluginParts], type_: str, id_: str) -> Reply:
    """Forget the unhealthy instances of a plugin; each comes back when it is reported healthy."""
    return json_reply({"Index": call.parts.intake.forget_plugin(PluginKey(type_, id_))})


@endpoints("GET", "/v1/plugin-types", need=_may_know_types, answer=TYPES)
def list_types(call: Call[PluginParts]) -> Reply:
    """List the plugin types that the server has.

    `Schemas` has self-contained JSON Schemas: of a row of the list, of a single plugin, and of the
    type's block of settings.
    """
    return json_reply(call.parts.type_rows())
