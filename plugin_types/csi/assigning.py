"""Decides which half of a plugin each of its sockets is: pure functions of the evidence.

Most drivers serve both of CSI's services in every process. If Nomad runs one process as the
controller and another as the node, the driver does not know which of them it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from plugin_types.csi.roles import ROLES

Roles = frozenset[str]

ALL: Roles = frozenset(ROLES)
NONE: Roles = frozenset()

_ANSWERED, _UNANSWERED, _DEAD = range(3)


@dataclass(frozen=True)
class Evidence:
    """The evidence on one socket of a plugin on this machine.

    ``said`` are the roles that something outside the driver gives the socket: a block, its folder,
    or its process's mounts; NONE if nothing does. ``whole`` says that the socket has all roles that
    its driver serves, because no second process of the driver is expected. ``served`` are the
    halves that the driver implements; None until it has answered. ``stored_task`` and
    ``stored_path`` are the roles stored for the socket's task and for its path. ``task`` is the
    same for all allocations of one task. ``born`` orders sockets by age.
    """

    path: str
    said: Roles = NONE
    whole: bool = False
    served: Roles | None = None
    stored_task: Roles = NONE
    stored_path: Roles = NONE
    task: str = ""
    listens: bool = True
    born: int = 0


@dataclass(frozen=True)
class Assignment:
    """The roles that a socket has.

    ``standby`` means that each role belongs to another live socket, so this socket counts only once
    the other one is gone. ``certain`` means that the roles should be stored.
    """

    roles: Roles
    standby: bool = False
    certain: bool = False


def decided(one: Evidence) -> Assignment | None:
    """Return the roles that follow from the evidence on one socket alone; None if none follow."""
    if one.said:
        return Assignment(one.said, certain=True)
    if one.served is not None and len(one.served) == 1:
        return Assignment(one.served, certain=True)
    if one.whole:
        return Assignment(ALL)
    if stored := one.stored_task or one.stored_path:
        return Assignment(stored, certain=True)
    return None


def assign(sockets: Collection[Evidence]) -> dict[str, Assignment]:
    """Return the roles of all sockets of one plugin, by path.

    A socket whose own evidence decides nothing gets the halves that no live socket has. If it is
    the only such socket, it gets all of them; several share them, the oldest first, controller
    before node. Allocations of one task have the same roles. Sockets whose driver never answered,
    and dead sockets, get the rest: they may be leftovers, so they must not take a half from a
    process that serves both.
    """
    found = {one.path: sure for one in sockets if (sure := decided(one))}
    free = ALL.difference(
        *(
            found[one.path].roles & (ALL if one.served is None else one.served)
            for one in sockets
            if one.listens and one.path in found
        )
    )
    open_ = [one for one in sockets if one.path not in found]
    for standing in (_ANSWERED, _UNANSWERED, _DEAD):
        units = _units(one for one in open_ if _standing(one) == standing)
        for unit, roles in zip(units, _shares(len(units), free), strict=True):
            free -= roles
            given = Assignment(roles, certain=standing == _ANSWERED and len(roles) == 1)
            if not roles and standing == _ANSWERED:
                given = Assignment(ALL, standby=True)
            found |= dict.fromkeys((one.path for one in unit), given)
    return found


def _standing(one: Evidence) -> int:
    if not one.listens:
        return _DEAD
    return _UNANSWERED if one.served is None else _ANSWERED


def _units(sockets: Iterable[Evidence]) -> list[list[Evidence]]:
    """Return the sockets in groups of one task each, the oldest first."""
    units: dict[str, list[Evidence]] = {}
    for one in sorted(sockets, key=lambda one: (one.born, one.path)):
        units.setdefault(one.task or one.path, []).append(one)
    return list(units.values())


def _shares(number: int, free: Roles) -> list[Roles]:
    """Return the free roles divided into ``number`` shares.

    A single share gets all roles; of several shares, the first get one role each.
    """
    if number == 1:
        return [free]
    each = [frozenset({role}) for role in ROLES if role in free]
    return (each + [NONE] * number)[:number]
