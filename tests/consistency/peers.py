"""The links between members of etcd; each link can be cut or stalled separately.

A member of etcd has one address, which all other members use. The proxy at that address therefore
distinguishes them by the process that has the other end of a connection.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence

from tests.consistency.proxy import Proxies, Proxy
from tests.store.etcd.members import Member

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST = 1  # NLM_F_REQUEST
_INODE_AT = 84  # its offset in the answer: after nlmsghdr and most of inet_diag_msg
_LOOPBACK = socket.inet_aton("127.0.0.1")


class PeerLinks:
    """Links from each member to each other one. ``members`` is set once the members are running."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._links: dict[tuple[str, str], Proxy] = {}
        self.members: Sequence[Member] = ()

    def front(self, name: str, port: int, others: Sequence[str]) -> str:
        """Return the address at which the other members find the named one, which listens on
        ``port``."""
        for each in others:
            self._links[each, name] = self._proxies.link("127.0.0.1", port)
        return self._proxies.front(self._chosen(name))

    def between(self, one: str, other: str) -> list[Proxy]:
        """Return the links between two members, one in each direction."""
        return [self._links[one, other], self._links[other, one]]

    def _chosen(self, name: str) -> Callable[[int, int], Proxy | None]:
        def chosen(port: int, front: int) -> Proxy | None:
            inode = _inode(port, front)
            for each in self.members:
                if each.name != name and _has(each.pid, inode):
                    return self._links[each.name, name]
            return None

        return chosen


def _inode(port: int, beyond: int) -> int:
    """Return the inode of the socket whose connection goes from one port to another, 0 if there is
    none (sock_diag(7)). Reading /proc/net/tcp, which lists all connections of the machine, would be
    slow."""
    ends = struct.pack(">HH4s12x4s12x", port, beyond, _LOOPBACK, _LOOPBACK)
    any_one = struct.pack("=I8s", 0, b"\xff" * 8)  # any interface, any cookie
    head = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 2**32 - 1)
    body = head + ends + any_one
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asked:
        asked.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _REQUEST, 0, 0) + body)
        answer = asked.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    return int(struct.unpack_from("=I", answer, _INODE_AT)[0]) if kind == _BY_FAMILY else 0


def _has(process: int, inode: int) -> bool:
    """Return whether a process has a socket open."""
    wanted, folder = f"socket:[{inode}]", f"/proc/{process}/fd"
    try:
        return any(_target(f"{folder}/{each}") == wanted for each in os.listdir(folder))
    except FileNotFoundError:  # it has ended
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # it was closed just now
        return ""
