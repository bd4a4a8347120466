"""A server of several worker processes: real processes on a free port."""

from __future__ import annotations

import os
import re
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from plugind.acl.tokens import block, draw
from plugind.cli.running import left_behind, running
from plugind.client import Client
from plugind.errors import PlugindError
from plugind.model.changes import APPEARED
from tests.crews import SMALL, Crew, counted, crew, health
from tests.processes import Machine, alive, machine
from tests.promises import PATIENCE, SOON, promised
from tests.support import SECRET, eventually, up
from tests.test_cli import plugind

NODE = {"X-Plugind-Node-Secret": SECRET}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def report(*ids: str) -> dict[str, object]:
    return {"Name": "vm1", "Plugins": {"csi": {each: {"node": up()} for each in ids}}}


def ids(answer_json: list[dict[str, str]]) -> list[str]:
    return [row["ID"] for row in answer_json]


def test_a_report_to_one_worker_is_read_from_the_other(here: Machine) -> None:
    made = crew(here)
    first, second = made.each()
    node = f"/v1/node/{uuid.uuid4()}"
    for number, (one, other) in enumerate([(first, second), (second, first)] * 3):
        done = one.call("PUT", node, report(*(f"p{each}" for each in range(number + 1))), NODE)
        assert done.status == 200, done.text
        got = other.call("GET", "/v1/plugins?type=csi")
        assert ids(got.json) == [f"p{each}" for each in range(number + 1)]
        assert got.body == one.call("GET", "/v1/plugins?type=csi").body
    assert made.process.stop() == 0
    for number in range(6):
        line = rf"event=appeared .*\bid=p{number}\b"
        assert len(re.findall(line, made.process.logged)) == 1, "one worker informs packages"


@pytest.mark.alone
def test_a_query_parked_in_one_worker_wakes_for_a_report_to_the_other(here: Machine) -> None:
    made = crew(here)
    first, second = made.each()
    index = first.call("GET", "/v1/plugins?type=csi").index
    first.send("GET", f"/v1/plugins?type=csi&index={index}&wait=10m")
    eventually(lambda: counted(second, "plugind_parked_queries") == {(): 1.0})
    with promised(1.0):
        second.call("PUT", f"/v1/node/{uuid.uuid4()}", report("a"), NODE)
        assert ids(first.receive().json) == ["a"]
    assert made.process.stop() == 0


def test_a_killed_worker_is_replaced_and_requests_go_on(here: Machine) -> None:
    made = crew(here)
    other = made.connection(made.workers[1])
    killed = made.workers[0]
    os.kill(killed, signal.SIGKILL)
    for _ in range(50):  # no connection is lost in a queue of the worker: all share one
        assert Client(made.client.address).plugins("csi").value == []
    made.replaced(killed)
    eventually(lambda: "worker 1 died once (SIGKILL) and was restarted" in health(other)[1])
    assert health(other)[0]
    assert 'event="a worker ended and is started again"' in made.process.logged
    assert made.process.logged.count("reason=SIGKILL") == 1
    assert made.process.stop() == 0


def test_a_stop_ends_parked_queries_and_all_workers_in_time(here: Machine) -> None:
    made = crew(here)
    connections, workers = made.each(), made.workers
    index = connections[0].call("GET", "/v1/plugins?type=csi").index
    for each in connections:
        each.send("GET", f"/v1/plugins?type=csi&index={index}&wait=10m")
    asked = made.connection(workers[0])
    eventually(lambda: counted(asked, "plugind_parked_queries") == {(): 2.0})
    with promised(SOON):
        made.process.send(signal.SIGTERM)
        assert [each.receive().status for each in connections] == [200, 200]
        assert made.process.popen.wait(PATIENCE) == 0
    assert not any(alive(each) for each in workers)
    assert "died" not in made.process.logged


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_it_in_order(
    here: Machine, number: signal.Signals
) -> None:
    """Signal all processes at once, as a terminal and systemd do."""
    made = crew(here)
    workers = made.workers
    made.process.send_all(number)
    assert made.process.popen.wait(PATIENCE) == 0
    assert not any(alive(each) for each in workers)
    assert "is started again" not in made.process.logged


def test_a_worker_ends_only_when_its_parent_says_so(here: Machine) -> None:
    made = crew(here)
    workers = made.workers
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for each in workers:
            os.kill(each, number)
    for each in made.each():
        assert each.call("GET", "/v1/plugins?type=csi").status == 200
    assert made.workers == workers
    assert made.process.stop() == 0
    assert "is started again" not in made.process.logged


def test_what_a_worker_starts_inherits_no_descriptor(here: Machine) -> None:
    made = crew(here, workers=2)
    for worker in made.workers:
        for file in Path(f"/proc/{worker}/fdinfo").iterdir():
            with suppress(FileNotFoundError):  # it was open for a moment
                flags = re.search(r"^flags:\s*(\w+)$", file.read_text(), re.MULTILINE)
                assert flags is not None
                assert int(file.name) <= 2 or int(flags[1], 8) & os.O_CLOEXEC, file.name
    assert made.process.stop() == 0


def test_workers_end_with_their_parent(here: Machine) -> None:
    made = crew(here)
    workers = made.workers
    made.process.kill()
    with promised(SOON):
        eventually(lambda: not any(alive(each) for each in workers))
    again = crew(here)
    assert again.client.plugins("csi").value == []
    assert again.process.stop() == 0


def test_a_worker_that_is_stopped_shows_in_health_and_is_killed_at_the_end(here: Machine) -> None:
    made = crew(here)
    first, second = made.workers
    asked = made.connection(second)
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: not health(asked)[0])
    ok, message = health(asked)
    assert not ok
    assert f"nothing is heard of worker 1 (process {first}) for " in message
    os.kill(first, signal.SIGCONT)
    eventually(lambda: health(asked)[0])
    os.kill(first, signal.SIGSTOP)
    made.process.send(signal.SIGTERM)
    assert made.process.popen.wait(PATIENCE) in (0, 1)
    eventually(lambda: not alive(first))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_server_on_the_same_data_is_refused(here: Machine, workers: str) -> None:
    made = crew(here)
    second = here.start(
        *("agent", "--server-enabled", "true", "--ports-http", "0", "--workers", workers),
        *("--data-dir", here.folder / "server"),
    )
    assert second.popen.wait(PATIENCE) == 1
    assert f"on data_dir {here.folder / 'server'}: stop it first" in second.logged
    assert made.client.plugins("csi").value == []
    assert made.process.stop() == 0


def test_workers_are_refused_where_one_process_serves(here: Machine) -> None:
    single, client = here.server(**SMALL)
    second = here.start(
        *("agent", "--server-enabled", "true", "--ports-http", "0", "--workers", "2"),
        *("--data-dir", here.folder / "server"),
    )
    assert second.popen.wait(PATIENCE) == 1
    assert "stop it first" in second.logged
    assert client.plugins("csi").value == []
    assert single.stop() == 0


def test_a_store_that_cannot_be_opened_stops_the_start(here: Machine) -> None:
    (here.folder / "server").mkdir()
    (here.folder / "server/plugind.db").write_text("no database")
    process = here.start(
        *("agent", "--server-enabled", "true", "--ports-http", "0", "--workers", "2"),
        *("--data-dir", here.folder / "server"),
    )
    assert process.popen.wait(PATIENCE) == 1
    last = process.logged.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "plugind.db" in last
    assert "Traceback" not in process.logged
    assert "is started again" not in process.logged


@pytest.mark.parametrize("http", ["granian", "uvicorn"])
def test_workers_with_another_http_server_are_kept_in_the_same_way(
    here: Machine, http: str
) -> None:
    pytest.importorskip(http)
    made = crew(here, workers=1, server_http=http)
    parked = made.connection(made.workers[0])
    index = parked.call("GET", "/v1/plugins?type=csi").index
    parked.send("GET", f"/v1/plugins?type=csi&index={index}&wait=10m")
    reporting = made.connection(made.workers[0])
    reporting.call("PUT", f"/v1/node/{uuid.uuid4()}", report("a"), NODE)
    assert ids(parked.receive().json) == ["a"]
    killed = made.workers[0]
    os.kill(killed, signal.SIGKILL)
    made.replaced(killed, count=1)
    parked = made.connection(made.workers[0])
    # A worker may answer before its parent process has noticed that the worker is ready.
    eventually(lambda: "worker 1 died once (SIGKILL) and was restarted" in health(parked)[1])
    index = parked.call("GET", "/v1/plugins?type=csi").index
    parked.send("GET", f"/v1/plugins?type=csi&index={index}&wait=10m")
    asked = made.connection(made.workers[0])
    eventually(lambda: counted(asked, "plugind_parked_queries") == {(): 1.0})
    with promised(SOON):
        made.process.send(signal.SIGTERM)
        assert parked.receive().status == 200
        assert made.process.popen.wait(PATIENCE) == 0


# Metrics.


def lists(made: Crew, worker: int) -> float:
    """Return how many lists of plugins were requested in all, as one worker reports it."""
    connection = made.connection(worker)
    found = counted(connection, "plugind_http_requests", "endpoint")
    connection.close()
    return found.get(("/v1/plugins",), 0.0)


def test_counters_are_sums_and_never_fall_when_a_worker_is_killed(here: Machine) -> None:
    made = crew(here)
    first, second = made.workers
    for connection in made.each():
        for _ in range(10):
            connection.call("GET", "/v1/plugins?type=csi")
    eventually(lambda: lists(made, first) == lists(made, second) == 20.0)
    last = made.connection(first)
    last.call("GET", "/v1/plugins?type=csi")
    shown = counted(last, "plugind_http_requests", "endpoint")["/v1/plugins",]
    cpu = counted(last, "process_cpu_seconds")[()]
    assert shown == 21.0, "of its own it shows the newest"
    os.kill(first, signal.SIGKILL)
    asked = made.connection(second)
    for _ in range(20):
        assert counted(asked, "plugind_http_requests", "endpoint")["/v1/plugins",] == shown
        assert counted(asked, "process_cpu_seconds")[()] >= cpu
    made.replaced(first)
    (new,) = set(made.workers) - {second}
    assert lists(made, new) == shown
    assert made.process.stop() == 0


def test_queries_that_wait_in_a_killed_worker_are_not_counted(here: Machine) -> None:
    made = crew(here)
    first, second = made.workers
    parked, asked = made.connection(first), made.connection(second)
    index = parked.call("GET", "/v1/plugins?type=csi").index
    parked.send("GET", f"/v1/plugins?type=csi&index={index}&wait=10m")
    eventually(lambda: counted(asked, "plugind_parked_queries") == {(): 1.0})
    stats = asked.call("GET", "/v1/agent/self").json["stats"]["plugind"]
    assert stats["parked"] == "1"
    os.kill(first, signal.SIGKILL)
    eventually(lambda: counted(asked, "plugind_parked_queries") == {(): 0.0})
    assert made.process.stop() == 0


def test_what_all_workers_know_is_not_summed(here: Machine) -> None:
    made = crew(here)
    first, second = made.each()
    done = first.call("PUT", f"/v1/node/{uuid.uuid4()}", report("a", "b"), NODE)
    second.call("GET", "/v1/plugins?type=csi")  # which waits for the change
    for each in (first, second):
        assert counted(each, "plugind_plugins", "type")["csi",] == 2.0
        assert counted(each, "plugind_state_index") == {(): float(done.json["Index"])}
        transitions = counted(each, "plugind_transitions", "type", "kind")
        assert transitions["csi", APPEARED] == 2.0
    assert made.process.stop() == 0


# Reloads.

CONFIG = """
data_dir = "data"
ports {{ http = 0 }}
server {{
  enabled = true
  workers = 2
  max_parked = 8
  max_streams = 2
  max_waiting_reads = 4
  max_reports = 8
}}
acl {{
  enabled = true
  tokens = "tokens.hcl"
}}
{}
"""


def started(here: Machine) -> Crew:
    """Start two workers with ACLs and a configuration in files."""
    (here.folder / "server.hcl").write_text(CONFIG.format(""))
    process = here.start("agent", "--config", here.folder / "server.hcl")
    eventually(lambda: "event=serving" in process.logged)
    address = process.logged.partition("address=")[2].split()[0]
    made = Crew(process, Client(address))
    here.places.callback(made.close)
    return made


def token(here: Machine) -> dict[str, str]:
    """Write a file that has only a new management token; return the header with it."""
    secret, drawn = draw("boss", "management", (), None)
    (here.folder / "tokens.hcl").write_text(block(drawn))
    return {"X-Nomad-Token": secret}


def statuses(made: Crew, headers: dict[str, str]) -> list[int]:
    """Return the status of a read from each worker."""
    return [
        each.call("GET", "/v1/plugins?type=csi", headers=headers).status for each in made.each()
    ]


def test_a_reload_reaches_all_workers_and_those_that_follow(here: Machine) -> None:
    old = token(here)
    made = started(here)
    data = here.folder / "data"
    assert running(data, "server") == made.process.pid
    assert left_behind(data, "server") == str(made.process.pid)
    assert statuses(made, old) == [200, 200]
    new = token(here)
    assert statuses(made, new) == [403, 403], "no reload, no change"
    (here.folder / "server.hcl").write_text(
        CONFIG.format('plugin "csi" "ebs0" { nodes_expected = 2 }')
    )
    done = plugind("reload", "--config", here.folder / "server.hcl")
    assert done.returncode == 0, done.stderr
    eventually(lambda: "event=reloaded" in made.process.logged)
    assert statuses(made, old) == [403, 403]
    assert statuses(made, new) == [200, 200]
    for each in made.each():
        assert ids(each.call("GET", "/v1/plugins?type=csi", headers=new).json) == ["ebs0"]

    token(here)  # not reloaded
    killed = made.workers[0]
    os.kill(killed, signal.SIGKILL)
    made.replaced(killed)
    assert statuses(made, new) == [200, 200], "what is in force, not what the files say now"
    assert made.process.stop() == 0


def test_a_mistake_in_a_reload_changes_nothing_and_shows(here: Machine) -> None:
    boss = token(here)
    made = started(here)
    (here.folder / "tokens.hcl").write_text('token "x" {}\n')
    made.process.send(signal.SIGHUP)
    eventually(lambda: 'event="the configuration has a mistake' in made.process.logged)
    assert statuses(made, boss) == [200, 200]
    refused = "ok; the configuration was not reloaded: "
    for each in made.each():
        eventually(lambda each=each: health(each, boss)[1].startswith(refused))
        assert health(each, boss)[0]
    (here.folder / "server.hcl").write_text(
        CONFIG.format('plugin "nonesuch" "x" { nodes_expected = 2 }')
    )
    boss = token(here)
    made.process.send(signal.SIGHUP)
    eventually(lambda: made.process.logged.count("the configuration has a mistake") >= 2)
    assert statuses(made, boss) == [403, 403], "not even the tokens"
    (here.folder / "server.hcl").write_text(CONFIG.format(""))
    made.process.send(signal.SIGHUP)
    eventually(lambda: "event=reloaded" in made.process.logged)
    assert statuses(made, boss) == [200, 200]
    for each in made.each():
        assert health(each, boss) == (True, "ok")
    assert made.process.stop() == 0


def test_a_worker_that_takes_no_reload_is_replaced_by_one_that_has_it(here: Machine) -> None:
    """Check that a worker that was stopped does not return with tokens revoked in the meantime."""
    old = token(here)
    made = started(here)
    stopped = made.workers[0]
    os.kill(stopped, signal.SIGSTOP)
    new = token(here)
    made.process.send(signal.SIGHUP)
    eventually(lambda: "event=reloaded" in made.process.logged)
    made.replaced(stopped)
    assert statuses(made, old) == [403, 403]
    assert statuses(made, new) == [200, 200]
    assert made.process.stop() == 0


def test_nothing_secret_is_in_arguments_or_variables(here: Machine) -> None:
    boss = token(here)
    made = started(here)
    digest = (here.folder / "tokens.hcl").read_text().partition("hash")[2].split('"')[1]
    for worker in made.workers:
        for file in ("cmdline", "environ"):
            text = Path(f"/proc/{worker}/{file}").read_text()
            assert boss["X-Nomad-Token"] not in text
            assert digest not in text
    assert made.process.stop() == 0


# With the client role in the same process.


def test_a_client_beside_workers_runs_in_the_parent_and_shows_in_health(here: Machine) -> None:
    (here.folder / "sockets").mkdir()
    here.driver("vm/a.sock")
    made = crew(
        here,
        client_enabled="true",
        plugin_types_enabled="csi",
        plugin_type_csi_sockets=str(here.folder / "sockets/vm/*.sock"),
    )
    eventually(lambda: len(made.client.plugins("csi").value) == 1)
    asked = made.connection(made.workers[0])
    eventually(lambda: asked.call("GET", "/v1/agent/health").json["client"]["ok"])
    assert running(here.folder / "server", "client") == made.process.pid
    stats = asked.call("GET", "/v1/agent/self").json["stats"]["client"]
    assert stats["known_servers"] == made.client.address
    assert made.process.stop() == 0


def test_requests_during_kills_fail_for_a_moment_only(here: Machine) -> None:
    """Check that only the connections that a killed worker had accepted are lost."""
    made = crew(here)
    failures: list[PlugindError] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                Client(made.client.address).plugins("csi")
            except PlugindError as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(3):
            killed = made.workers[0]
            os.kill(killed, signal.SIGKILL)
            made.replaced(killed)
    finally:
        ended.set()
        thread.join()
    assert len(failures) <= 3, "at most the one request that was in work at each kill"
    assert made.process.stop() == 0
