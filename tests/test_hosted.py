"""``plugind.asgi:app`` and ``plugind.wsgi:app`` in servers started with their own commands."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from plugind import logs
from plugind.hosted import Hosted
from tests.processes import Machine, Process, alive, machine
from tests.promises import PATIENCE, SOON, eventually, promised
from tests.serve import raw

BIN = Path(sys.executable).parent
LIST = "/v1/plugins?type=csi"
NODE = "/v1/node/11111111-2222-3333-4444-555555555555"
REPORT = {"Name": "vm1", "Plugins": {"csi": {"ebs0": {"node": {"Healthy": True}}}}}
ASGI = ["granian", "uvicorn"]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as found:
        yield found


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as found:
        yield found


def command(kind: str, *listen: str) -> list[str]:
    """Return the command for a server with one worker, as docs/servers.md gives it."""
    if kind == "granian":
        options = ["--interface", "asgi", "--http", "1", "--backpressure", "2300"]
        return [*options, *listen, "plugind.asgi:app"]
    if kind == "uvicorn":
        return ["--no-proxy-headers", *listen, "plugind.asgi:app"]
    return [*listen, "--threads=300", "plugind.wsgi:app"]


def on_port(kind: str, port: int) -> list[str]:
    """Return the options that make a server listen on a port."""
    if kind in ASGI:
        return ["--host", "127.0.0.1", "--port", str(port)]
    return [f"--listen=127.0.0.1:{port}"]


def start(
    made: Machine, kind: str, config: str = "", options: Sequence[str] = ()
) -> tuple[Process, str]:
    """Start a server with additional options; return it and its URL."""
    port, file = made.port(), made.folder / "server.hcl"
    file.write_text(
        config
        or f'data_dir = "{made.folder}/data"\nserver {{ enabled = true }}\n'
        f"ports {{ http = {port} }}\n"
    )
    environ = {"PLUGIND_CONFIG": str(file)}
    words = command(kind, *on_port(kind, port), *options)
    process = made.start(*words, environ=environ, program=BIN / kind)
    return process, f"http://127.0.0.1:{port}"


def served(made: Machine, kind: str, *options: str) -> tuple[Process, str]:
    """Start a server with additional options; return it and its URL once it answers."""
    process, url = start(made, kind, options=options)
    eventually(lambda: process.popen.poll() is not None or _answers(url))
    assert process.popen.poll() is None, process.logged
    return process, url


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/v1/agent/health", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def report(url: str) -> int:
    headers = {"X-Plugind-Node-Secret": "a secret of the first node's agent"}
    answer = requests.put(url + NODE, json=REPORT, headers=headers, timeout=PATIENCE)
    return int(answer.json()["Index"])


def park(pool: ThreadPoolExecutor, url: str, count: int) -> list[Future[requests.Response]]:
    """Send blocking queries; return once all are waiting."""
    query = f"{url}{LIST}&index={report(url)}&wait=10m"
    asked = [pool.submit(requests.get, query, timeout=PATIENCE) for _ in range(count)]
    eventually(lambda: _parked(url) == count)
    return asked


def _parked(url: str) -> int:
    metrics = requests.get(f"{url}/v1/metrics?format=prometheus", timeout=PATIENCE).text
    (line,) = [each for each in metrics.splitlines() if each.startswith("plugind_parked_queries ")]
    return int(float(line.partition(" ")[2]))


@pytest.mark.parametrize("kind", [*ASGI, "waitress-serve"])
def test_a_server_takes_reports_and_parks_queries(
    made: Machine, pool: ThreadPoolExecutor, kind: str
) -> None:
    process, url = served(made, kind)
    asked = park(pool, url, 4)
    requests.delete(url + NODE, timeout=PATIENCE)
    assert {each.result(PATIENCE).headers["X-Nomad-Index"] for each in asked} == {"3"}
    assert requests.get(f"{url}//v1/plugins", timeout=PATIENCE).status_code == 404
    process.stop()


@pytest.mark.parametrize("kind", [*ASGI, "waitress-serve"])
def test_a_unix_socket(made: Machine, kind: str) -> None:
    path, file = made.folder / "http.sock", made.folder / "server.hcl"
    file.write_text(f'data_dir = "{made.folder}/data"\nserver {{ enabled = true }}\n')
    listen = ["--uds", str(path)] if kind in ASGI else [f"--unix-socket={path}"]
    environ = {"PLUGIND_CONFIG": str(file)}
    process = made.start(*command(kind, *listen), environ=environ, program=BIN / kind)
    eventually(lambda: process.popen.poll() is not None or path.is_socket())
    assert process.popen.poll() is None, process.logged
    assert raw.statuses(eventually(lambda: _exchange(path, raw.head("GET", LIST)))) == [200]
    assert raw.statuses(_exchange(path, raw.head("HEAD", LIST))) == [200]
    process.stop()


def _exchange(path: Path, data: bytes) -> bytes:
    """Return the answer of a server on a Unix socket, empty while it does not listen."""
    try:
        return raw.exchange(path, data)
    except (ConnectionRefusedError, FileNotFoundError):
        return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ASGI)
def test_parked_queries_do_not_hold_the_stop(
    made: Machine, pool: ThreadPoolExecutor, kind: str, number: signal.Signals
) -> None:
    process, url = served(made, kind)
    asked = park(pool, url, 4)
    with promised(SOON):
        process.stop(number)
    assert {each.result(PATIENCE).status_code for each in asked} == {200}
    assert "stopped" in process.logged  # the services were closed in order
    assert "Traceback" not in process.logged


@pytest.mark.parametrize("kind", [*ASGI, "waitress-serve"])
def test_a_mistake_in_the_configuration_is_one_line(made: Machine, kind: str) -> None:
    process, _ = start(made, kind, "server { enabled = tru }\n")
    assert process.popen.wait(PATIENCE) != 0
    (line,) = [each for each in process.logged.splitlines() if "cannot start" in each]
    assert "server.hcl:1" in line
    assert "Traceback" not in process.logged


def test_no_configuration_is_one_line(made: Machine) -> None:
    options = command("uvicorn", *on_port("uvicorn", made.port()))
    process = made.start(*options, environ={"PLUGIND_CONFIG": ""}, program=BIN / "uvicorn")
    assert process.popen.wait(PATIENCE) == 3
    assert "the configuration enables no server" in process.logged


def test_uvicorn_reads_the_configuration_again_on_sighup(made: Machine) -> None:
    process, url = served(made, "uvicorn")
    with (made.folder / "server.hcl").open("a") as file:
        file.write('plugin "csi" "declared" { nodes_expected = 2 }\n')
    process.send(signal.SIGHUP)
    eventually(lambda: "reloaded" in process.logged or "mistake" in process.logged)
    assert "reloaded" in process.logged
    assert requests.get(f"{url}/v1/plugin/csi/declared", timeout=PATIENCE).status_code == 200
    process.stop()


class Counted:
    """A lock that counts how often it was requested."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.asked.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_the_later_of_two_reloads_reads_after_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure", lambda *given, **named: None)
    (file := tmp_path / "server.hcl").write_text(
        f'data_dir = "{tmp_path}/data"\nserver {{ enabled = true }}\n'
    )
    steps: list[str] = []
    lock = Counted()
    with closing(Hosted({"PLUGIND_CONFIG": str(file)})) as made, ThreadPoolExecutor(2) as pool:
        read, force = made._read, made.services.reload

        def slow() -> Any:
            steps.append("read")
            found = read()
            if len(steps) == 1:
                pool.submit(made.reload)
                for _ in range(2):  # both reloads have asked for the lock
                    assert lock.asked.acquire(timeout=PATIENCE)
            return found

        def noted(settings: Any) -> None:
            steps.append("in force")
            force(settings)

        monkeypatch.setattr(made, "_read", slow)
        monkeypatch.setattr(made, "_reloading", lock)
        monkeypatch.setattr(made.services, "reload", noted)
        pool.submit(made.reload).result(PATIENCE)
        pool.shutdown()
    assert steps == ["read", "in force"] * 2


def test_granian_starts_its_workers_anew_on_sighup(made: Machine) -> None:
    process, url = served(made, "granian")
    index = report(url)
    (before,) = process.children
    process.send(signal.SIGHUP)
    eventually(lambda: not alive(before))
    eventually(lambda: _answers(url))
    (after,) = process.children
    assert after != before
    answer = requests.get(f"{url}{LIST}", timeout=PATIENCE)
    assert int(answer.headers["X-Nomad-Index"]) >= index
    process.stop()


@pytest.mark.parametrize("kind", ASGI)
def test_workers_share_the_store(made: Machine, kind: str) -> None:
    process, url = served(made, kind, "--workers", "2")
    index = report(url)
    for _ in range(20):  # each over a connection of its own, which either worker may accept
        answer = requests.get(f"{url}{LIST}", timeout=PATIENCE)
        assert int(answer.headers["X-Nomad-Index"]) == index
        assert [row["ID"] for row in answer.json()] == ["ebs0"]
    process.stop()
