"""The text of a 403: ``Permission denied``, as Nomad's clients expect, and the right needed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from plugind.acl.authorizer import ANY_NAMESPACE, NAME_MAXIMUM
from plugind.api.endpoints import Asked, Need, requirements
from plugind.errors import Forbidden

_CAPABILITY = re.compile(r"\bTYPE-([a-z]+)-plugin\b")


def denied(need: Need, asked: Asked, types: Collection[str] = ()) -> Forbidden:
    """Return the error for a request whose ``need`` was not met.

    ``types`` are the plugin types that the request is about, if its body names them.
    """
    return Forbidden(f"Permission denied: it needs {needed(need, asked, types)}")


def needed(need: Need, asked: Asked, types: Collection[str] = ()) -> str:
    """Return what a request needs, in the words of its endpoint's ``need`` and with the plugin type
    and namespace of the request: ``the capability csi-read-plugin in namespace "default", or ...``.
    """
    known = sorted(types)
    type_ = asked.path.get("type_") or asked.query.get("type") or ""
    if not known and type_ in asked.types:  # an unknown type is not echoed
        known = [type_]
    place = "in any namespace"
    if asked.namespace != ANY_NAMESPACE:
        place = f"in namespace {json.dumps(asked.namespace[:NAME_MAXIMUM])}"

    def capabilities(found: re.Match[str]) -> str:
        return " or ".join(f"{type_}-{found[1]}-plugin" for type_ in known) or found[0]

    words = requirements(need)[0].replace("`", "").removesuffix(".")
    words = words.replace("in the namespace", place)
    return _CAPABILITY.sub(capabilities, words[:1].lower() + words[1:])
