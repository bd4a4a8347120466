"""What a caller may see on a page: the same as the API shows the caller, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from plugind.acl import Authorizer, Decision
from plugind.acl.authorizer import ANY_NAMESPACE
from plugind.api.endpoints import Asked, any_of


@dataclass(frozen=True, slots=True)
class Sight:
    """The rights of a caller that pages depend on; each is False unless a policy grants it.

    ``lists`` are the plugin types whose plugins the caller may list, and ``reads`` those whose
    plugins it may read, in any namespace: as with ``namespace=*`` in the API. ``shows`` are the
    types in both: pages that are not about one plugin show only the instances of these types.
    """

    lists: frozenset[str]
    reads: frozenset[str]
    nodes: bool
    agent: bool
    manages: bool

    @classmethod
    def of(cls, authorizer: Authorizer, types: Collection[str]) -> Sight:
        """Return what an authorizer lets its caller see."""
        may_list, may_read = authorizer.may_list, authorizer.may_read
        return cls(
            frozenset(each for each in types if may_list(each, ANY_NAMESPACE).allowed),
            frozenset(each for each in types if may_read(each, ANY_NAMESPACE).allowed),
            authorizer.may_read_nodes().allowed,
            authorizer.may_read_agent().allowed,
            authorizer.may_manage().allowed,
        )

    @property
    def shows(self) -> frozenset[str]:
        return self.lists & self.reads


def list_plugins(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-list-plugin` in any namespace, or the `plugin` policy `list` or
    `read`."""
    type_ = asked.path["type_"]
    types = [type_] if type_ in asked.types else asked.types
    return any_of(authorizer.may_list(each, ANY_NAMESPACE) for each in types)


def read_plugin(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-read-plugin` in any namespace, or the `plugin` policy `read`."""
    return authorizer.may_read(asked.path["type_"], ANY_NAMESPACE)


def see_anything(authorizer: Authorizer, asked: Asked) -> Decision:
    """Require the capability `TYPE-list-plugin` or `TYPE-read-plugin` of any type in any namespace,
    the `plugin` policy `list` or `read`, or the `node` policy `read` or `write`."""
    each_may = (authorizer.may_list, authorizer.may_read)
    plugins = (may(type_, ANY_NAMESPACE) for type_ in asked.types for may in each_may)
    return any_of([*plugins, authorizer.may_read_nodes()])
