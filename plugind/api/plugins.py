"""``/v1/plugins``, ``/v1/plugin/TYPE/ID`` and ``/v1/plugin-types``."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, request

from plugind.api.query import read_query
from plugind.api.reads import read
from plugind.api.reply import Reply, error_reply, json_reply, replies
from plugind.catalogue import Catalogue
from plugind.errors import BadRequest
from plugind.intake import Intake
from plugind.model import PluginKey, plugins_of
from plugind.plugin_schemas import node_keys
from plugind.registry import Registry

NOT_FOUND = "plugin not found"


def plugins_blueprint(
    catalogue: Catalogue, intake: Intake, registry: Registry, region: str
) -> Blueprint:
    """Lists, reads and forgets plugins."""
    blueprint = Blueprint("plugins", __name__)

    @blueprint.get("/v1/plugins")
    @replies
    def list_plugins() -> Reply:
        query = read_query(region)
        type_ = request.args.get("type", "")
        if not type_:
            return json_reply([], catalogue.index)
        if type_ not in registry.types:
            known = ", ".join(sorted(registry.types)) or "none"
            raise BadRequest(f"unknown plugin type {type_[:64]!r}; there are: {known}")
        return read(
            catalogue, query, plugins_of(type_), lambda: catalogue.plugins(type_), NOT_FOUND
        )

    @blueprint.get("/v1/plugin/<type_>/<id_>")
    @replies
    def read_plugin(type_: str, id_: str) -> Reply:
        query = read_query(region)
        if type_ not in registry.types:
            return error_reply(NOT_FOUND, 404, catalogue.index)
        key = PluginKey(type_, id_)
        return read(catalogue, query, key.resource, lambda: catalogue.plugin(key), NOT_FOUND)

    @blueprint.delete("/v1/plugin/<type_>/<id_>")
    @replies
    def forget_plugin(type_: str, id_: str) -> Reply:
        return json_reply({"Index": intake.forget_plugin(PluginKey(type_, id_))})

    @blueprint.get("/v1/plugin/<path:rest>")
    @replies
    def no_plugin(rest: str) -> Reply:
        return error_reply("resource not found", 404)

    @blueprint.get("/v1/plugin-types")
    @replies
    def list_types() -> Reply:
        return json_reply([_type_row(registry, name) for name in sorted(registry.types)])

    return blueprint


def _type_row(registry: Registry, name: str) -> Mapping[str, object]:
    type_ = registry.types[name]
    return {
        "Name": name,
        "Title": type_.title,
        "Roles": dict(type_.roles),
        "NodeKeys": node_keys(type_),
        "Distribution": registry.origins[name],
    }
