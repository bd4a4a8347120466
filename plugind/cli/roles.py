"""The roles of a process, server and client, started, reloaded and stopped together."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, suppress

from plugind import __version__, logs, serve
from plugind import agent as agent_role
from plugind import client as http_client
from plugind.cli.running import announced
from plugind.client import DEFAULT_ADDRESS
from plugind.config.reading import forget_parser
from plugind.config.restart import changed, fixed
from plugind.config.settings import CLIENT, SERVER, Settings
from plugind.metrics.snapshot import Client
from plugind.processes.crew import Crew
from plugind.serve.allocator import collect_seldom, lasting
from plugind.serve.listening import listen
from plugind.types.configured import Blocks, agent_blocks
from plugind.types.registry import Registry
from plugind.wire import addresses

WORKER = (sys.executable, "-P", "-m", "plugind.cli.worker")
"""The command of a worker process."""

_log = logs.get("main")


class Roles:
    """The enabled roles, running from ``start`` until ``stop``.

    The settings must have passed ``plugind.cli.checking.check``.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        assert settings.data_dir is not None
        self._data_dir = settings.data_dir
        self._settings = settings
        self._fixed = fixed(settings)
        self._registry = registry
        self._services: serve.Services | Crew | None = None
        self._agent: agent_role.Agent | None = None
        self._blocks = agent_blocks(settings)
        self._leave = settings.client.leave_on_terminate
        self._until_stop = ExitStack()

    def start(self) -> None:
        """Start the roles.

        If one cannot start, stop those that have started and raise PlugindError.
        """
        with ExitStack() as undo, lasting():
            undo.callback(self.stop)
            sock = None
            if self._settings.server.enabled:
                sock = listen(self._settings.bind_addr, self._settings.ports.http)
                self._until_stop.enter_context(sock)
            else:
                forget_parser()  # a server still needs it, to read policies and tokens
            if self._settings.client.enabled:
                self._agent = self._make_agent(sock)
            if sock is not None and self._settings.server.has_workers:
                self._start_workers(sock)
            elif sock is not None:
                self._start_server(sock)
            if self._agent is not None:
                orphans = agent_role.Orphans(self._agent.probers)
                orphans.start()
                self._agent.threads.append(orphans.thread)
                self._until_stop.callback(orphans.stop)
                self._agent.start()
                stop = self._agent.stop
                self._until_stop.callback(lambda: stop(leave=self._leave))
                self._announce(CLIENT)
            undo.pop_all()

    def reload(self, settings: Settings, registry: Registry) -> None:
        """Apply the settings that can change at run time, and log any others that have changed.

        The settings that can change are declarations, policies and tokens, the plugin types'
        blocks, and whether the node leaves at the end; all others are read only at start. Raise
        ConfigError for mistakes; nothing has changed then. Any other PlugindError says which
        settings are in force.
        """
        blocks = self._reloaded_blocks(settings, registry) if self._agent else self._blocks
        if self._services is not None:
            self._services.reload(settings)
        if self._agent is not None:
            self._blocks = blocks
            self._agent.reload(blocks)
        self._leave = settings.client.leave_on_terminate
        for name, place in changed(self._fixed, settings):
            _log.warning("a changed setting needs a restart", setting=name, place=place)

    def _reloaded_blocks(self, settings: Settings, registry: Registry) -> Blocks:
        """Return the blocks of plugin types after a reload.

        A type that is missing but not disabled, for example while its package is being upgraded,
        keeps its block.
        """
        blocks = agent_blocks(settings)
        for name in self._blocks.keys() - blocks.keys():
            if settings.plugin_types.allows(name):
                blocks[name] = self._blocks[name]
                reason = registry.problems.get(name, "it is not installed any more")
                _log.warning("a plugin type stays as it was", name=name, reason=reason)
        return blocks

    def refuse_reload(self, reason: str) -> None:
        """Keep the current settings in force, and show the reason in health."""
        for role in (self._services, self._agent):
            if role is not None:
                role.refuse_reload(reason)

    def stop(self) -> None:
        """Finish requests in progress, then end everything. A second call does nothing."""
        self._until_stop.close()

    def kill(self) -> None:
        """Kill the worker processes, because this process is about to exit."""
        if isinstance(self._services, Crew):
            self._services.kill()

    def _announce(self, role: str) -> None:
        """Write the role's process file.

        This happens after the role has locked data_dir and before the role is announced.
        """
        self._until_stop.enter_context(announced(self._data_dir, role, self._fixed))

    def _start_server(self, sock: socket.socket) -> None:
        collect_seldom()
        settings = self._settings
        self._services = serve.Services(settings, self._registry, self._data_dir)
        self._until_stop.callback(self._services.close)
        checks = {"client": self._agent.condition} if self._agent else {}
        stats = {"client": self._agent.stats} if self._agent else {}
        app = serve.create_app(self._services, _advertised(settings, sock), checks, stats)
        server = serve.waitress_server(self._services, app, sock)
        self._until_stop.callback(server.stop)
        self._until_stop.callback(self._services.wake)
        self._announce(SERVER)
        server.start()
        url = f"http://{_address(sock)}"
        _log.info("serving", version=__version__, address=url, pid=os.getpid())

    def _start_workers(self, sock: socket.socket) -> None:
        settings = self._settings
        with suppress(OSError):  # creating files in it reports the reason
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Before the workers start, so that a second server on this data_dir starts none.
        self._announce(SERVER)
        address = _advertised(settings, sock)
        self._services = crew = Crew(
            settings, self._registry, sock, address, WORKER, self._state_of_client
        )
        self._until_stop.callback(crew.stop)
        self._until_stop.callback(sock.close)  # only the workers accept further connections
        crew.start()
        server, url = settings.server, f"http://{_address(sock)}"
        _log.info(
            "serving",
            version=__version__,
            address=url,
            pid=os.getpid(),
            workers=server.workers,
            http=server.http,
        )

    def _state_of_client(self) -> Client | None:
        """Return the state of the client role, which the workers show."""
        agent = self._agent
        return Client(agent.condition(), agent.stats()) if agent else None

    def _make_agent(self, sock: socket.socket | None) -> agent_role.Agent:
        settings, client = self._settings, self._settings.client
        servers = client.servers
        # A client in the same process as a server reports to it, unless other servers are named.
        if sock is not None and servers == (DEFAULT_ADDRESS,):
            address = _address(sock).replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
            servers = (f"http://{address}",)
        return agent_role.Agent(
            name=settings.name,
            datacenter=client.datacenter,
            data_dir=self._data_dir,
            servers=servers,
            token_file=client.token_file,
            tls=http_client.Tls(client.ca_file, client.cert_file, client.key_file),
            meta=client.meta,
            node_class=client.node_class,
            advertise=client.advertise,
            port=sock.getsockname()[1] if sock else settings.ports.http or addresses.HTTP_PORT,
            types=self._blocks,
            log_level=settings.log_level,
            log_json=settings.log_json,
        )


def _address(sock: socket.socket) -> str:
    """Return the socket's HOST:PORT as written in a URL."""
    return addresses.join(*sock.getsockname()[:2])


def _advertised(settings: Settings, sock: socket.socket) -> str:
    """Return the HOST:PORT at which others reach the server."""
    host, port = sock.getsockname()[:2]
    if settings.advertise.http:
        return addresses.with_port(settings.advertise.http, port)
    if addresses.is_unspecified(host):
        host = addresses.of_this_machine(host)
    return addresses.join(host, port)
