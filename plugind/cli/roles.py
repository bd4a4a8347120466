"""The roles of a process, server and client, started, reloaded and stopped together."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

from plugind import __version__, logs
from plugind.agent import Agent
from plugind.app import Services, create_app
from plugind.cli.running import announced
from plugind.client import DEFAULT_ADDRESS
from plugind.config.settings import Settings
from plugind.configured import Blocks, agent_blocks
from plugind.errors import PlugindError
from plugind.registry import Registry
from plugind.server import Server, listen

_log = logs.get("main")


def enabled_roles(settings: Settings) -> tuple[tuple[str, ...], Path]:
    """The roles that the settings enable, by name, and where they keep their data.

    Raises PlugindError when there are none, or no such place.
    """
    is_enabled = {"server": settings.server.enabled, "client": settings.client.enabled}
    names = tuple(name for name, enabled in is_enabled.items() if enabled)
    if not names:
        raise PlugindError(
            "neither server.enabled nor client.enabled is set: there is nothing to run; "
            "try --dev, or --config with a file like those in conf/"
        )
    if settings.data_dir is None:
        raise PlugindError("data_dir is not set: say where to keep data, or try --dev")
    return names, settings.data_dir


class Roles:
    """The roles that the settings enable, running from ``start`` until ``stop``."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        _, self._data_dir = enabled_roles(settings)
        self._settings = settings
        self._registry = registry
        self._services: Services | None = None
        self._agent: Agent | None = None
        self._blocks = agent_blocks(settings)
        self._leave = settings.client.leave_on_terminate
        self._until_stop = ExitStack()

    def start(self) -> None:
        """Raises PlugindError for what keeps a role from starting; those started are stopped."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            sock = self._listen() if self._settings.server.enabled else None
            if self._settings.client.enabled:
                self._agent = self._make_agent(sock)
            if sock is not None:
                self._start_server(sock)
            if self._agent is not None:
                self._agent.start()
                self._until_stop.callback(self._stop_agent, self._agent)
                self._announce("client")
            undo.pop_all()

    def reload(self, settings: Settings, registry: Registry) -> None:
        """Puts in force what can change while it runs: declarations, policies and tokens, the
        plugin types' blocks, and whether the node leaves at the end. Everything else is read at
        start only.

        Raises ConfigError for mistakes, which change nothing. Where another PlugindError is raised
        it says what is in force.
        """
        blocks = self._reloaded_blocks(settings, registry) if self._agent else self._blocks
        if self._services is not None:
            self._services.reload(settings)
        if self._agent is not None:
            self._blocks = blocks
            self._agent.reload(blocks)
        self._leave = settings.client.leave_on_terminate

    def _reloaded_blocks(self, settings: Settings, registry: Registry) -> Blocks:
        """A type that is away though nobody disabled it, as while its package is being upgraded,
        stays as it was."""
        blocks = agent_blocks(settings)
        for name in self._blocks.keys() - blocks.keys():
            if settings.plugin_types.allows(name):
                blocks[name] = self._blocks[name]
                reason = registry.problems.get(name, "it is not installed any more")
                _log.warning("a plugin type stays as it was", name=name, reason=reason)
        return blocks

    def refuse_reload(self, reason: str) -> None:
        """What is in force stays so, and health says why."""
        for role in (self._services, self._agent):
            if role is not None:
                role.refuse_reload(reason)

    def stop(self) -> None:
        """Finishes what is in flight, then ends everything. Again does nothing."""
        self._until_stop.close()

    def _stop_agent(self, agent: Agent) -> None:
        agent.stop(leave=self._leave)

    def _announce(self, role: str) -> None:
        """Once the role has its data_dir for itself, and before it is said to be there."""
        self._until_stop.enter_context(announced(self._data_dir, role))

    def _listen(self) -> socket.socket:
        sock = listen(self._settings.bind_addr, self._settings.ports.http)
        return self._until_stop.enter_context(sock)

    def _start_server(self, sock: socket.socket) -> None:
        settings = self._settings
        self._services = Services(settings, self._registry, self._data_dir)
        self._until_stop.callback(self._services.close)
        checks = {"client": self._agent.health} if self._agent else {}
        stats = {"client": self._agent.stats} if self._agent else {}
        app = create_app(self._services, _address(sock), checks, stats)
        server = Server(app, sock, max_parked=settings.server.max_parked)
        self._until_stop.callback(server.stop)
        self._until_stop.callback(self._services.wake)
        self._announce("server")
        server.start()
        url = f"http://{_address(sock)}"
        _log.info("serving", version=__version__, address=url, pid=os.getpid())

    def _make_agent(self, sock: socket.socket | None) -> Agent:
        settings, client = self._settings, self._settings.client
        servers = client.servers
        # A client beside a server reports to it, unless other servers are named.
        if sock is not None and servers == (DEFAULT_ADDRESS,):
            servers = (f"http://{_reachable(_address(sock))}",)
        return Agent(
            name=settings.name,
            datacenter=client.datacenter,
            data_dir=self._data_dir,
            servers=servers,
            token_file=client.token_file,
            ca_file=client.ca_file,
            types=self._blocks,
            log_level=settings.log_level,
            log_json=settings.log_json,
        )


def _address(sock: socket.socket) -> str:
    """HOST:PORT as it stands in a URL."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reachable(address: str) -> str:
    """An address to connect to, for one that is listened on."""
    return address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
