"""A small real CSI driver without volumes, whose behaviour can be changed by commands.

It is for trying plugind out, and for its tests.
"""

# mypy: allow-untyped-calls
# The code that grpcio-tools generates has no types.

from __future__ import annotations

import os
import signal
import socketserver
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf.wrappers_pb2 import BoolValue

from plugin_types.csi import csi_pb2, csi_pb2_grpc
from plugin_types.csi.behaviour import Behaviour
from plugin_types.csi.control import control_path
from plugin_types.csi.roles import CONTROLLER, NODE
from plugin_types.csi.sockets import PATH_MAXIMUM, unreachable
from plugind.errors import PlugindError

_WORKERS = 64  # each call that hangs takes one
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_PluginCan = csi_pb2.PluginCapability.Service
_ControllerCan = csi_pb2.ControllerServiceCapability.RPC
_NodeCan = csi_pb2.NodeServiceCapability.RPC
_CONTROLLER_CAN = (
    _ControllerCan.CREATE_DELETE_VOLUME,
    _ControllerCan.PUBLISH_UNPUBLISH_VOLUME,
    _ControllerCan.LIST_VOLUMES,
)
_NODE_CAN = (_NodeCan.STAGE_UNSTAGE_VOLUME, _NodeCan.GET_VOLUME_STATS)


def serve(path: str, behaviour: Behaviour, *, exit_with_stdin: bool) -> None:
    """Serve at the socket ``path`` until SIGTERM, SIGINT or, with ``exit_with_stdin``, the end of
    standard input.

    Raise PlugindError when that is impossible.
    """
    # The signals are awaited below, so no thread may handle them. A signal that is ignored, as
    # SIGINT is in a shell's background jobs, would never arrive, so each signal gets a handler.
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with ExitStack() as until_end:
        driver = Sample(behaviour)
        _make_room(path)
        until_end.callback(_remove, path)
        server = _start(path, driver)
        until_end.callback(lambda: server.stop(None).wait())
        until_end.callback(driver.end)
        until_end.enter_context(_control(path, driver))
        if exit_with_stdin:
            threading.Thread(target=_end_with_stdin, daemon=True).start()
        halves = " and ".join(sorted(behaviour.roles)) or "neither half"
        print(f"{behaviour.name} {behaviour.version}: {halves} at unix://{path}", flush=True)
        signal.sigwait(_SIGNALS)


class Sample(
    csi_pb2_grpc.IdentityServicer, csi_pb2_grpc.ControllerServicer, csi_pb2_grpc.NodeServicer
):
    """The three services of CSI, which behave as the last command demanded."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._ended = False
        self._changed = threading.Condition()

    def obey(self, command: str) -> None:
        """Change the behaviour. Raise BadRequest for an unknown command."""
        with self._changed:
            self._behaviour = self._behaviour.after(command)
            self._changed.notify_all()

    def end(self) -> None:
        """Release the calls that hang."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def Probe(self, request: Any, context: Any) -> Any:
        now = self._pace(context)
        if now.failure:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, now.failure)
        return csi_pb2.ProbeResponse(ready=BoolValue(value=now.ready))

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        now = self._pace(context)
        return csi_pb2.GetPluginInfoResponse(name=now.name, vendor_version=now.version)

    def GetPluginCapabilities(self, request: Any, context: Any) -> Any:
        now = self._pace(context)
        services = []
        if CONTROLLER in now.roles:
            services.append(_PluginCan.CONTROLLER_SERVICE)
        if now.topology:
            services.append(_PluginCan.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        return csi_pb2.GetPluginCapabilitiesResponse(
            capabilities=[{"service": {"type": service}} for service in services]
        )

    def ControllerGetCapabilities(self, request: Any, context: Any) -> Any:
        self._pace(context, CONTROLLER)
        return csi_pb2.ControllerGetCapabilitiesResponse(
            capabilities=[{"rpc": {"type": number}} for number in _CONTROLLER_CAN]
        )

    def NodeGetCapabilities(self, request: Any, context: Any) -> Any:
        self._pace(context, NODE)
        return csi_pb2.NodeGetCapabilitiesResponse(
            capabilities=[{"rpc": {"type": number}} for number in _NODE_CAN]
        )

    def NodeGetInfo(self, request: Any, context: Any) -> Any:
        now = self._pace(context, NODE)
        topology = {"segments": dict(now.topology)} if now.topology else None
        return csi_pb2.NodeGetInfoResponse(
            node_id=now.node_id, max_volumes_per_node=now.max_volumes, accessible_topology=topology
        )

    def _pace(self, context: Any, role: str = "") -> Behaviour:
        """Wait as the behaviour demands, then return the behaviour. Abort a call to a half that the
        driver lacks."""
        context.add_callback(self._wake)
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or not context.is_active(), self._behaviour.delay
            )
            self._changed.wait_for(
                lambda: self._ended or not context.is_active() or not self._behaviour.hang
            )
            now = self._behaviour
        if role and role not in now.roles:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"this driver has no {role} service")
        return now

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _make_room(path: str) -> None:
    """Remove a socket that a killed driver left behind.

    Raise PlugindError for a socket that a process serves, for another kind of file, and for a path
    that is too long.
    """
    if len(os.fsencode(control_path(path))) > PATH_MAXIMUM:
        most = PATH_MAXIMUM - len(control_path(""))
        raise PlugindError(f"{path} is too long a path: the sample's has {most} bytes at most")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PlugindError(f"cannot serve at {path}: {error.strerror}") from error
    if not is_socket:
        raise PlugindError(f"{path} is not a socket: remove it, or serve elsewhere")
    if not unreachable(path):
        raise PlugindError(f"{path} is served already: end that driver, or serve elsewhere")
    _remove(path)


def _start(path: str, driver: Sample) -> Any:
    server = grpc.server(ThreadPoolExecutor(_WORKERS), options=(("grpc.so_reuseport", 0),))
    csi_pb2_grpc.add_IdentityServicer_to_server(driver, server)
    csi_pb2_grpc.add_ControllerServicer_to_server(driver, server)
    csi_pb2_grpc.add_NodeServicer_to_server(driver, server)
    try:
        server.add_insecure_port(f"unix:{quote(path)}")
    except RuntimeError as error:
        raise PlugindError(f"cannot serve at {path}: {error}") from error
    server.start()
    return server


class _Control(socketserver.ThreadingUnixStreamServer):
    """Takes commands: reads one line, and answers with one line, empty or with the problem."""

    daemon_threads = True
    driver: Sample

    class Handler(socketserver.StreamRequestHandler):
        server: _Control

        def handle(self) -> None:
            answer = ""
            try:
                self.server.driver.obey(self.rfile.readline(4096).decode(errors="replace"))
            except PlugindError as error:
                answer = str(error)
            with suppress(OSError):  # the client need not wait for the answer
                self.wfile.write(f"{answer}\n".encode())


def _control(path: str, driver: Sample) -> ExitStack:
    """Take commands until the returned context ends."""
    until_end = ExitStack()
    place = control_path(path)
    _remove(place)
    until_end.callback(_remove, place)
    server = until_end.enter_context(_Control(place, _Control.Handler))
    server.driver = driver
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    until_end.callback(server.shutdown)
    return until_end


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
