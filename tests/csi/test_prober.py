"""Fingerprinting, with real drivers and other programs behind real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from plugin_types.csi import CsiType, csi_pb2, csi_pb2_grpc
from plugin_types.csi.control import send
from plugind.model.times import INT64_MAX
from plugind.plugin_type import ANY_ROLE
from plugind.toolbox import processes
from tests.csi.drivers import Kit, sample
from tests.promises import PATIENCE, promised

Make = Callable[..., Kit]
BOTH = ("controller", "node")


def healthy(id: str, *roles: str) -> dict[tuple[str, str], str]:
    return {(id, role): "healthy" for role in roles}


def sick(id: str, reason: str, *roles: str) -> dict[tuple[str, str], str]:
    return {(id, role): reason for role in roles}


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "disks.sock"


@pytest.fixture
def on(kit: Make, path: Path) -> Kit:
    """Return a prober with a long timeout that looks for sockets next to ``path``."""
    return kit(sockets=[str(path.parent / "*.sock")], probe_timeout="20s")


def test_a_driver_with_both_halves(on: Kit, path: Path) -> None:
    options = ("--node-id", "vm1", "--topology", "zone=z1", "--topology", "rack=7")
    with sample(path, *options) as driver:
        found = on.probe()
        process = processes.of_pid(driver.pid)
        assert on.probe() == found
    common = {
        "Healthy": True,
        "HealthDescription": "healthy",
        "Provider": "sample.csi.plugind",
        "ProviderVersion": "1.0.0",
        "RequiresControllerPlugin": True,
        "RequiresTopologies": True,
        "Process": process,
        "Succession": found["disks", "node"]["Succession"],
    }
    assert process is not None
    assert found["disks", "controller"] == {
        **common,
        "ControllerInfo": {
            **dict.fromkeys(found["disks", "controller"]["ControllerInfo"], False),
            "SupportsAttachDetach": True,
            "SupportsListVolumes": True,
            "SupportsCreateDelete": True,
        },
    }
    assert found["disks", "node"] == {
        **common,
        "NodeInfo": {
            "ID": "vm1",
            "MaxVolumes": INT64_MAX,
            "AccessibleTopology": {"Segments": {"zone": "z1", "rack": "7"}},
            "RequiresNodeStageVolume": True,
            "SupportsStats": True,
            "SupportsExpand": False,
            "SupportsCondition": False,
        },
    }
    assert found.keys() == {("disks", "controller"), ("disks", "node")}


def test_fingerprints_fit_the_schemas(on: Kit, path: Path) -> None:
    with sample(path, "--max-volumes", "5"):
        found = on.probe()
    for (_, role), fingerprint in found.items():
        core = ("Healthy", "HealthDescription", "Process", "Succession")
        details = {k: v for k, v in fingerprint.items() if k not in core}
        assert CsiType.fingerprint_schemas[role]().load(details) == details
    assert found["disks", "node"]["NodeInfo"]["MaxVolumes"] == 5
    assert found["disks", "node"]["NodeInfo"]["AccessibleTopology"] is None


@pytest.mark.parametrize(
    ("option", "role"), [("--no-node", "controller"), ("--no-controller", "node")]
)
def test_a_driver_with_one_half(on: Kit, path: Path, option: str, role: str) -> None:
    with sample(path, option):
        found = on.probe()
    assert found.keys() == {("disks", role)}
    assert found["disks", role]["RequiresControllerPlugin"] is (role == "controller")


def test_a_driver_with_neither_half(on: Kit, path: Path) -> None:
    with sample(path, "--no-node", "--no-controller"):
        assert on.health() == sick(
            "disks", "the driver has neither the Controller nor the Node service", ANY_ROLE
        )
        send(str(path), "have node")
        assert on.health() == healthy("disks", "node")


def test_a_driver_that_fails_from_its_first_second(on: Kit, path: Path) -> None:
    words = "Probe failed: FAILED_PRECONDITION: disk on fire"
    with sample(path, "--no-controller", "--fail", "disk on fire"):
        assert on.health() == sick("disks", words, "node")
        send(str(path), "ok")
        assert on.health() == healthy("disks", "node")
        send(str(path), "fail disk\t on  fire")
        assert on.health() == sick("disks", words, "node")


def test_a_long_complaint_is_cut(on: Kit, path: Path) -> None:
    with sample(path, "--fail", "ü" * 1_000):
        (text, _) = on.health().values()
    assert len(text) < 600
    assert text.endswith("ü…")


def test_a_driver_that_is_not_ready(on: Kit, path: Path) -> None:
    with sample(path, "--not-ready"):
        assert on.health() == sick("disks", "the driver says it is not ready", *BOTH)
        send(str(path), "ok")
        assert on.health() == healthy("disks", *BOTH)


@pytest.mark.alone
def test_a_slow_driver_is_healthy(kit: Make, path: Path) -> None:
    """Make six calls of 400 ms each in 400 ms altogether."""
    on = kit(sockets=[str(path)], probe_timeout="20s")
    with sample(path, "--slow", "400ms"):
        with promised(2):
            assert on.health() == healthy("disks", *BOTH)
        send(str(path), "fail but slowly")
        assert "but slowly" in str(on.health())


def test_a_driver_that_hangs(kit: Make, path: Path) -> None:
    on = kit(sockets=[str(path)], probe_timeout="500ms")
    reason = "no answer to Probe within 500ms (the driver hangs)"
    with sample(path) as driver:
        assert on.until(lambda health: health == healthy("disks", *BOTH))
        send(str(path), "hang")
        assert on.health() == sick("disks", reason, *BOTH)
        send(str(path), "ok")
        assert on.until(lambda health: health == healthy("disks", *BOTH))
        driver.send_signal(signal.SIGSTOP)  # which takes its time, as signals do
        assert on.until(lambda health: health == sick("disks", reason, *BOTH))
        driver.send_signal(signal.SIGCONT)
        assert on.until(lambda health: health == healthy("disks", *BOTH))


def test_a_driver_that_hangs_from_the_start(kit: Make, path: Path) -> None:
    on = kit(sockets=[str(path)], probe_timeout="500ms")
    with sample(path, "--hang"):
        assert on.until(
            lambda health: (
                health
                == sick("disks", "no answer to Probe within 500ms (the driver hangs)", ANY_ROLE)
            )
        )


def test_a_killed_driver_is_seen_at_once_and_so_is_its_return(on: Kit, path: Path) -> None:
    on.watch()
    with sample(path) as driver:
        assert on.health() == healthy("disks", *BOTH)
        on.wakes.forget()
        driver.kill()
        assert on.wakes.comes(str(path))
    reason = f"nothing listens on {path}: connection refused (is the driver running?)"
    assert on.health() == sick("disks", reason, *BOTH)
    assert on.health() == sick("disks", reason, *BOTH)
    with sample(path, "--version", "2.0.0", "--no-controller"):
        assert on.health() == healthy("disks", "node")
        assert on.probe()["disks", "node"]["ProviderVersion"] == "2.0.0"


def test_an_upgrade_is_seen(on: Kit, path: Path) -> None:
    with sample(path):
        assert on.health() == healthy("disks", *BOTH)
    with sample(path, "--version", "2.0.0"):
        on.until(
            lambda health: (
                health == healthy("disks", *BOTH)
                and on.probe()["disks", "node"]["ProviderVersion"] == "2.0.0"
            )
        )


def test_a_healthy_driver_is_asked_for_its_capabilities_again(kit: Make, path: Path) -> None:
    on = kit(sockets=[str(path)], refresh_interval="10ms", probe_timeout="20s")
    with sample(path):
        assert on.health() == healthy("disks", *BOTH)
        send(str(path), "lack controller")
        assert on.until(lambda health: health == healthy("disks", "node"))
        send(str(path), "version 2")
        assert on.until(lambda _: on.probe()["disks", "node"]["ProviderVersion"] == "2")
        send(str(path), "topology zone=b")
        segments = {"Segments": {"zone": "b"}}
        assert on.until(
            lambda _: on.probe()["disks", "node"]["NodeInfo"]["AccessibleTopology"] == segments
        )


def named(path: Path, **more: str) -> dict[str, Any]:
    return {"instance": {"nfs": {"endpoint": f"unix://{path}", **more}}, "probe_timeout": "20s"}


def test_a_named_driver_is_listed_before_it_ever_ran(kit: Make, path: Path) -> None:
    reason = f"no socket at {path}"
    assert kit(**named(path)).health() == sick("nfs", reason, ANY_ROLE)
    assert kit(**named(path, role="controller")).health() == sick("nfs", reason, "controller")


def test_a_configured_role_is_the_only_one(kit: Make, path: Path) -> None:
    on = kit(**named(path, role="node"), sockets=[str(path)])
    with sample(path):
        assert on.health() == healthy("nfs", "node")
    with sample(path, "--no-node"):
        reason = "the driver has no Node service, but configuration says it has"
        assert on.until(lambda health: health == sick("nfs", reason, "node"))
        send(str(path), "have node")
        assert on.health() == healthy("nfs", "node")


def test_a_path_that_no_socket_can_have(kit: Make, folder: Path) -> None:
    (reason,) = kit(**named(folder / ("x" * 108))).health().values()
    assert "longer than the 107 bytes" in reason


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_file_that_is_no_socket(
    kit: Make, on: Kit, path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    assert kit(**named(path)).health() == sick("nfs", f"{path} is not a socket", ANY_ROLE)
    assert on.health() == sick("disks", f"{path} is not a socket", ANY_ROLE)


def test_grpc_logs_only_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CsiType.settings_schema().load({})
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    CsiType().prober(settings)
    assert os.environ["GRPC_VERBOSITY"] == "NONE"
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    CsiType().prober(settings)
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG"


def test_odd_characters_in_a_path(kit: Make, folder: Path) -> None:
    path = folder / "a b#%41?ü.sock"
    on = kit(sockets=[str(folder / "*.sock")], probe_timeout="20s")
    with sample(path):
        assert on.health() == healthy("a-b--41--", *BOTH)


@contextlib.contextmanager
def listening(path: Path, greet: Callable[[socket.socket], None]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                with connection:
                    greet(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_is_not_grpc(on: Kit, path: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.recv(1)
            connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    reason = f"the server on {path} is not a CSI driver: it does not speak gRPC"
    with listening(path, refuse):
        assert on.until(lambda health: health == sick("disks", reason, ANY_ROLE))


def test_a_server_that_says_nothing(kit: Make, path: Path) -> None:
    on = kit(sockets=[str(path)], probe_timeout="300ms")
    over = threading.Event()
    reason = f"no answer to Probe within 300ms: the server on {path} hangs, or does not speak gRPC"
    with listening(path, lambda connection: over.wait() and None):
        assert on.health() == sick("disks", reason, ANY_ROLE)
        over.set()


@contextlib.contextmanager
def serving(path: Path, driver: Any = None, *, identity: bool = True) -> Iterator[None]:
    """Serve gRPC in this process, with the driver's services, or with none."""
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool)
        if driver and identity:
            csi_pb2_grpc.add_IdentityServicer_to_server(driver, server)
        if driver:
            csi_pb2_grpc.add_ControllerServicer_to_server(driver, server)
            csi_pb2_grpc.add_NodeServicer_to_server(driver, server)
        server.add_insecure_port(f"unix:{path}")
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()


class Odd(
    csi_pb2_grpc.IdentityServicer, csi_pb2_grpc.ControllerServicer, csi_pb2_grpc.NodeServicer
):
    """A driver that refuses the calls in ``refuses``."""

    def __init__(self, **refuses: tuple[grpc.StatusCode, str]) -> None:
        self.refuses = refuses
        self.name = "odd.example"

    def _answer(self, call: str, context: Any, answer: Any) -> Any:
        if call in self.refuses:
            context.abort(*self.refuses[call])
        return answer

    def Probe(self, request: Any, context: Any) -> Any:
        return self._answer("Probe", context, csi_pb2.ProbeResponse())

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        answer = csi_pb2.GetPluginInfoResponse(name=self.name, vendor_version="1")
        return self._answer("GetPluginInfo", context, answer)

    def GetPluginCapabilities(self, request: Any, context: Any) -> Any:
        answer = csi_pb2.GetPluginCapabilitiesResponse(capabilities=[{"service": {"type": 99}}])
        return self._answer("GetPluginCapabilities", context, answer)

    def ControllerGetCapabilities(self, request: Any, context: Any) -> Any:
        answer = csi_pb2.ControllerGetCapabilitiesResponse(capabilities=[{"rpc": {"type": 99}}])
        return self._answer("ControllerGetCapabilities", context, answer)

    def NodeGetCapabilities(self, request: Any, context: Any) -> Any:
        return self._answer("NodeGetCapabilities", context, csi_pb2.NodeGetCapabilitiesResponse())

    def NodeGetInfo(self, request: Any, context: Any) -> Any:
        answer = csi_pb2.NodeGetInfoResponse(node_id="vm1", max_volumes_per_node=-1)
        return self._answer("NodeGetInfo", context, answer)


def test_a_grpc_server_that_is_no_driver(on: Kit, path: Path) -> None:
    with serving(path):
        reason = (
            f"the server on {path} is not a CSI driver: "
            "it speaks gRPC but has no service csi.v1.Identity"
        )
        assert on.health() == sick("disks", reason, ANY_ROLE)


def test_a_driver_without_an_identity_service(on: Kit, path: Path) -> None:
    driver = Odd()
    with serving(path, driver, identity=False):
        reason = "the driver has no Identity service (csi.v1.Identity)"
        assert on.health() == sick("disks", reason, ANY_ROLE)
        assert on.health() == sick("disks", reason, ANY_ROLE)


def test_a_driver_without_a_name(on: Kit, path: Path) -> None:
    driver = Odd()
    with serving(path, driver):
        assert on.health() == healthy("disks", *BOTH)
    driver.name = ""
    with serving(path, driver):
        reason = "the driver gives itself no name"
        assert on.until(lambda health: health == sick("disks", reason, *BOTH))
        assert on.health() == sick("disks", reason, *BOTH)
        driver.name = "odd.example"
        assert on.health() == healthy("disks", *BOTH)


def test_a_listener_whose_backlog_is_full_hangs(on: Kit, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as full, contextlib.ExitStack() as clients:
        full.bind(str(path))
        full.listen(0)
        clients.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        reason = f"the server on {path} hangs: it accepts no connection (its backlog is full)"
        assert on.health() == sick("disks", reason, ANY_ROLE)


def test_absent_readiness_and_unknown_capabilities(on: Kit, path: Path) -> None:
    with serving(path, Odd()):
        found = on.probe()
    assert {key: one["Healthy"] for key, one in found.items()} == {
        ("disks", "controller"): True,
        ("disks", "node"): True,
    }
    assert not any(found["disks", "controller"]["ControllerInfo"].values())
    assert found["disks", "node"]["NodeInfo"]["MaxVolumes"] == INT64_MAX


def test_node_info_that_is_not_implemented_has_zeros(on: Kit, path: Path) -> None:
    with serving(path, Odd(NodeGetInfo=(grpc.StatusCode.UNIMPLEMENTED, ""))):
        fingerprint = on.probe()["disks", "node"]
    assert fingerprint["Healthy"]
    assert fingerprint["NodeInfo"]["ID"] == ""
    assert fingerprint["NodeInfo"]["MaxVolumes"] == 0


@pytest.mark.parametrize(
    ("call", "role", "other"),
    [
        ("NodeGetInfo", "node", "controller"),
        ("NodeGetCapabilities", "node", "controller"),
        ("ControllerGetCapabilities", "controller", "node"),
    ],
)
def test_a_half_that_fails_leaves_the_other_alone(
    on: Kit, path: Path, call: str, role: str, other: str
) -> None:
    driver = Odd(**{call: (grpc.StatusCode.INTERNAL, "no metadata\nservice")})
    with serving(path, driver):
        reason = f"{call} failed: INTERNAL: no metadata service"
        assert on.health() == sick("disks", reason, role) | healthy("disks", other)
        assert on.probe()["disks", role]["Provider"] == "odd.example"
        driver.refuses.clear()
        assert on.health() == healthy("disks", *BOTH)


def test_a_driver_that_does_not_say_who_it_is(on: Kit, path: Path) -> None:
    with serving(path, Odd(GetPluginInfo=(grpc.StatusCode.UNKNOWN, ""))):
        assert on.health() == sick("disks", "GetPluginInfo failed: UNKNOWN", ANY_ROLE)


def test_a_driver_may_say_unavailable_itself(on: Kit, path: Path) -> None:
    driver = Odd(Probe=(grpc.StatusCode.UNAVAILABLE, "the array is down"))
    with serving(path, driver):
        reason = "Probe failed: UNAVAILABLE: the array is down"
        assert on.health() == sick("disks", reason, *BOTH)
        driver.refuses["Probe"] = (grpc.StatusCode.DEADLINE_EXCEEDED, "the array is slow")
        reason = "Probe failed: DEADLINE_EXCEEDED: the array is slow"
        assert on.health() == sick("disks", reason, *BOTH)


def test_a_sick_driver_keeps_the_halves_it_had(on: Kit, path: Path) -> None:
    driver = Odd()
    with serving(path, driver):
        assert on.health() == healthy("disks", *BOTH)
        refusal = (grpc.StatusCode.FAILED_PRECONDITION, "no")
        driver.refuses |= dict.fromkeys(("Probe", "NodeGetCapabilities", "NodeGetInfo"), refusal)
        reason = "Probe failed: FAILED_PRECONDITION: no"
        assert on.health() == sick("disks", reason, *BOTH)
        assert on.probe()["disks", "node"]["NodeInfo"]["ID"] == "vm1"


def test_close_ends_a_probe_that_hangs(on: Kit, path: Path) -> None:
    with sample(path) as driver:
        ((_, target),) = on.prober.discover().items()
        on.prober.probe(target)
        send(str(path), "hang")
        probe = threading.Thread(target=on.prober.probe, args=(target,))
        probe.start()
        on.prober.close(target)
        probe.join(PATIENCE)
        assert not probe.is_alive()
        driver.kill()
        driver.wait()
        os.unlink(path)
        assert on.prober.discover() == {}
        assert on.prober.probe(target) == {}


@pytest.mark.alone
def test_many_drivers_are_probed_at_once(kit: Make, folder: Path) -> None:
    on = kit(sockets=[str(folder / "*.sock")], probe_timeout="20s")
    with sample(folder / "a.sock", "--slow", "1s"), sample(folder / "b.sock", "--slow", "1s"):
        targets = on.prober.discover().values()
        with promised(1.9), ThreadPoolExecutor() as pool:
            found = list(pool.map(on.prober.probe, targets))
    assert [sorted(each) for each in found] == [
        [("a", "controller"), ("a", "node")],
        [("b", "controller"), ("b", "node")],
    ]
    for target in targets:
        on.prober.close(target)
