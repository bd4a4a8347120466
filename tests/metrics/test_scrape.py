"""``/v1/metrics``: what a scrape contains, for whom; its names follow Prometheus' rules."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugind import tally
from plugind.api import TABLE
from plugind.api.openapi import template_of
from plugind.health.hits import Hits
from plugind.metrics import metrics
from plugind.metrics.families import COUNTER, FAMILIES, GAUGE, Family, table
from plugind.model import Contact
from plugind.tally import INTERVAL
from tests.api.gate import gate
from tests.hostile_texts import SENDABLE, unsafe
from tests.metrics.clock import Clock
from tests.metrics.scrapes import PROMTOOL, ROOT, SCRAPE, families, scrape, series, values
from tests.processes import PLUGIND
from tests.promises import PATIENCE
from tests.support import Api, FakeAgent, Live, down, eventually, needs, serving, up

DECLARED = """
plugin "csi" "declared" {
  controllers_expected = 3
  nodes_expected       = 16
}
"""
UNITS = ("_seconds", "_bytes")


@pytest.fixture(params=["in-process", "live"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=request.param == "live", config=DECLARED) as served:
        yield served


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serve a catalogue in which each metric has a value."""
    folder = tmp_path_factory.mktemp("filled")
    with serving(folder, live=True, config=DECLARED) as api:
        assert isinstance(api, Live)
        FakeAgent(api).report({"ebs0": {"node": up(), "controller": down()}, "bad": {"node": 7}})
        api.services.hits.add("max_parked")
        scrape(api)
        yield api


def test_figures_of_plugins_are_those_of_the_list(api: Api) -> None:
    first, second = FakeAgent(api), FakeAgent(api, name="vm2")
    one, other = up(ProviderVersion="1"), down(ProviderVersion="2")
    attaches = {"RequiresControllerPlugin": True, "ControllerInfo": {"SupportsAttachDetach": True}}
    first.report({"ebs0": {"node": one, "controller": one | attaches}, "nfs": {"node": down()}})
    second.report({"ebs0": {"node": other}})
    api.services.intake.silence([first.node_id])
    found = scrape(api)
    rows = {row["ID"]: row for row in api.call("GET", "/v1/plugins?type=csi").json}
    for what in ("expected", "healthy"):
        counts = values(found[f"plugind_plugin_instances_{what}"], "plugin", "role")
        assert counts == {
            (id_, role): row[f"{plural}{what.title()}"]
            for id_, row in rows.items()
            for role, plural in (("controller", "Controllers"), ("node", "Nodes"))
        }
    assert values(found["plugind_plugin_instances_expected"], "plugin", "role") == {
        ("declared", "controller"): 3,
        ("declared", "node"): 16,
        ("ebs0", "controller"): 1,
        ("ebs0", "node"): 2,
        ("nfs", "controller"): 0,
        ("nfs", "node"): 1,
    }
    node_down = values(found["plugind_plugin_instances_node_down"], "plugin", "role")
    assert (node_down["ebs0", "node"], node_down["nfs", "node"]) == (1, 1)
    unhealthy = values(found["plugind_plugin_instances_unhealthy"], "plugin", "role")
    assert (unhealthy["ebs0", "node"], unhealthy["nfs", "node"]) == (1, 0)
    versions = values(found["plugind_plugin_versions"], "plugin", "role")
    assert (versions["ebs0", "node"], versions["ebs0", "controller"]) == (2, 1)
    required = values(found["plugind_plugin_controller_required"], "plugin")
    assert (required["ebs0",], required["nfs",]) == (1, 0)
    assert values(found["plugind_plugins"], "type")["csi",] == 3
    assert values(found["plugind_plugins_unhealthy"], "type")["csi",] == 3
    assert values(found["plugind_instances_expected"], "type", "role")["csi", "node"] == 19
    assert values(found["plugind_nodes"], "status") == {("ready",): 1, ("down",): 1}


def test_they_follow_each_change(api: Api) -> None:
    """Compute the kept part of a plugin again after a change of an instance, node or count."""

    def healthy() -> float:
        return values(scrape(api)["plugind_plugin_instances_healthy"], "plugin", "role")[
            "ebs0", "node"
        ]

    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    assert healthy() == 1
    agent.report({"ebs0": {"node": down()}})
    assert healthy() == 0
    agent.report({"ebs0": {"node": up()}})
    assert healthy() == 1
    api.services.intake.silence([agent.node_id])
    assert healthy() == 0
    agent.beat()
    assert healthy() == 1
    agent.report({})
    assert healthy() == 0
    api.services.intake.forget_plugin(next(iter(api.services.feed.state.by_plugin)))
    names = values(scrape(api)["plugind_plugin_instances_healthy"], "plugin", "role")
    assert {id_ for id_, _ in names} == {"declared"}


@pytest.mark.parametrize(
    ("instances", "expected"),
    [("none", set()), ("unhealthy", {"nfs"}), ("all", {"ebs0", "nfs"})],
)
def test_instances_have_series_of_their_own(
    tmp_path: Path, instances: str, expected: set[str]
) -> None:
    config = f'metrics {{ instances = "{instances}" }}'
    with serving(tmp_path, live=False, config=config) as api:
        FakeAgent(api).report({"ebs0": {"node": up()}, "nfs": {"node": down()}})
        shown = values(scrape(api)["plugind_instance_healthy"], "plugin")
    assert shown == {(id_,): float(id_ == "ebs0") for id_ in expected}


def test_nodes(api: Api) -> None:
    agent, other = FakeAgent(api), FakeAgent(api, name="vm2")
    began = time.time()
    for each in (agent, other):
        each.report({}, RunID="one")
    found = scrape(api)
    assert values(found["plugind_node_up"], "node", "datacenter") == {
        ("vm1", "dc1"): 1,
        ("vm2", "dc1"): 1,
    }
    heard = values(found["plugind_node_last_heard_timestamp_seconds"], "node_id")
    assert all(began <= at <= time.time() for at in heard.values())
    assert set(heard) == {(agent.node_id,), (other.node_id,)}
    api.services.intake.silence([other.node_id], lambda node_id: 7_000_000_000)
    found = scrape(api)
    assert values(found["plugind_node_up"], "node")["vm2",] == 0
    assert values(found["plugind_node_last_heard_timestamp_seconds"], "node")["vm2",] == 7.0
    assert values(found["plugind_node_cloned"], "node")["vm1",] == 0
    agent.report({}, RunID="two")
    agent.report({}, RunID="one")
    found = scrape(api)
    assert values(found["plugind_node_cloned"], "node")["vm1",] == 1
    assert values(found["plugind_nodes_cloned"])[()] == 1


def test_events_are_counted(api: Api) -> None:
    agent = FakeAgent(api)
    agent.report({"ebs0": {"node": up()}})
    agent.report({"ebs0": {"node": down()}, "bad": {"node": 7}})
    api.services.hits.add("max_parked")
    found = scrape(api)
    transitions = values(found["plugind_transitions"], "type", "kind")
    assert {key: count for key, count in transitions.items() if count} == {
        ("csi", "appeared"): 2,
        ("csi", "unhealthy"): 1,
        ("csi", "expected"): 1,
    }
    assert transitions["", "down"] == 0, "an alert sees the first event only if 0 came before it"
    assert values(found["plugind_rejected_items"], "type")["csi",] == 1
    assert values(found["plugind_limit_hits"], "limit") == {("max_parked",): 1}
    commits = found["plugind_store_commit_duration_seconds"].samples
    assert [each.value for each in commits if each.name.endswith("_count")] == [3]


def test_a_store_that_cannot_be_written_shows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert values(scrape(api)["plugind_store_writable"])[()] == 1
    store = api.services.store

    def full(changes: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(store, "commit", full)
    FakeAgent(api).report({})
    assert values(scrape(api)["plugind_store_writable"])[()] == 0
    monkeypatch.undo()
    eventually(lambda: values(scrape(api)["plugind_store_writable"])[()] == 1)


def test_the_lag_is_no_less_than_the_time_since_the_store_was_heard(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(api.services.store), "contact", Contact(False, 12.5))
    assert values(scrape(api)["plugind_follow_lag_seconds"])[()] == 12.5
    monkeypatch.setattr(type(api.services.store), "contact", Contact(True, 2.5))
    assert values(scrape(api)["plugind_follow_lag_seconds"])[()] == 0


def test_the_lag_is_the_age_of_the_oldest_change_that_is_not_shown(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert values(scrape(api)["plugind_follow_lag_seconds"])[()] == 0
    index = api.services.feed.state.index
    with api.services.feed._lock:  # the feed applies no changes meanwhile
        store = api.services.store
        change = store.read(index - 1)[0].change
        late = type(change)(time.time_ns() - 7_000_000_000, id="late")
        monkeypatch.setattr(store, "wait", lambda after, timeout: after == index)
        committed = type(store.read(index - 1)[0])(index + 1, late)
        monkeypatch.setattr(store, "read", lambda after, limit: [committed])
        assert 7 <= values(scrape(api)["plugind_follow_lag_seconds"])[()] < 60
        monkeypatch.undo()


def test_requests_are_counted_by_template(api: Api) -> None:
    FakeAgent(api).report({"ebs0": {"node": up()}})
    for path in ("/v1/plugin/csi/ebs0", "/v1/plugin/csi/none", "/nothing/at/all", "/"):
        api.call("GET", path)
    api.call("GET", "/v1/plugin/csi/ebs0")
    api.call("PATCH", "/v1/nodes")
    api.call("GET", "/v1/nodes?index=x")
    found = values(scrape(api)["plugind_http_requests"], "method", "endpoint", "code")
    del found["PUT", "/v1/node/{node_id}", "200"]
    assert found == {
        ("GET", "/v1/plugin/{type}/{id}", "200"): 2,
        ("GET", "/v1/plugin/{type}/{id}", "404"): 1,
        ("GET", "", "404"): 1,
        ("GET", "/", "200"): 1,
        ("other", "", "405"): 1,
        ("GET", "/v1/nodes", "400"): 1,
    }
    templates = {template_of(each.path) for each in TABLE}
    assert {endpoint for _, endpoint, _ in found} <= templates | {"", "/"}


def test_the_wait_of_a_blocking_query_is_not_counted(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api:

        def took() -> float:
            (found,) = [
                each.value
                for each in scrape(api)["plugind_http_request_duration_seconds"].samples
                if each.name.endswith("_sum") and each.labels["endpoint"] == "/v1/nodes"
            ]
            return found

        index = api.call("GET", "/v1/nodes").index
        before, began = took(), time.monotonic()
        api.call("GET", f"/v1/nodes?index={index}&wait=1s")
        whole = time.monotonic() - began
        assert 0 < took() - before <= whole - 1


def test_without_a_format_it_is_the_json_of_nomads_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, live=False) as api:
        clock = Clock()
        monkeypatch.setattr(tally, "time", clock)
        monkeypatch.setattr(metrics, "time", clock)
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        agent.report({"ebs0": {"node": down()}})
        assert api.call("GET", "/v1/metrics").json["Samples"] == [], "the interval is not over"
        clock.now += INTERVAL
        whole = api.call("GET", "/v1/metrics").json
        clock.now += INTERVAL
        assert "plugind.transitions" not in api.call("GET", "/v1/metrics").text
    assert sorted(whole) == ["Counters", "Gauges", "Points", "Samples", "Timestamp"]
    assert (whole["Points"], whole["Timestamp"]) == ([], "1970-01-01 00:16:40 +0000 UTC")
    gauges = {each["Name"]: each for each in whole["Gauges"]}
    assert gauges["plugind.instance_healthy"]["Labels"]["node_id"] == agent.node_id
    writable = {"Name": "plugind.store_writable", "Labels": {}, "Value": 1.0}
    assert gauges["plugind.store_writable"] == writable
    samples = {each["Name"]: each for each in whole["Samples"]}
    commits = samples["plugind.store_commit_duration_seconds"]
    assert commits["Count"] == 2
    assert 0 < commits["Min"] <= commits["Mean"] <= commits["Max"]
    assert commits["Rate"] == commits["Sum"] / INTERVAL
    figures = ("Count", "Sum", "Min", "Max", "Mean", "Rate", "Stddev")
    assert {
        each["Labels"]["kind"]: tuple(each[figure] for figure in figures)
        for each in whole["Counters"]
        if each["Name"] == "plugind.transitions"
    } == dict.fromkeys(("appeared", "unhealthy"), (1, 1, 1, 1, 1, 1 / INTERVAL, 0))


def test_another_format_is_refused(api: Api) -> None:
    answer = api.call("GET", "/v1/metrics?format=xml")
    assert (answer.status, answer.text) == (
        400,
        "Invalid format: it is prometheus, or left out for JSON",
    )


@pytest.mark.parametrize("form", ["/v1/metrics", SCRAPE])
def test_public_metrics_have_no_names(tmp_path: Path, form: str) -> None:
    made = gate(tmp_path, "agent-read", "csi-list", "plugin-read")
    config = made.config + 'metrics {\n  public = true\n  instances = "all"\n}\n' + DECLARED
    with serving(tmp_path, live=False, config=config) as api:
        agent = FakeAgent(api, name="secret-machine", token=made.secrets["management"])
        agent.report({"secret-driver": {"node": down("secret reason")}}, Datacenter="secret-dc")
        assert api.call("GET", form, headers=made.headers("unknown")).status == 403
        for caller in ("nobody", "csi-list", "plugin-read"):
            answer = api.call("GET", form, headers=made.headers(caller))
            assert answer.status == 200
            for name in ("secret", "declared", agent.node_id):
                assert name not in answer.text
            assert "plugind" in answer.text
        for caller in ("agent-read", "management"):
            answer = api.call("GET", form, headers=made.headers(caller))
            for name in ("secret-driver", "secret-machine", "declared", agent.node_id):
                assert name in answer.text
        public = series(families(api.call("GET", SCRAPE)))
    assert {each.name for each in FAMILIES if each.is_named}.isdisjoint(public)
    assert {"plugind_instances_healthy", "plugind_nodes", "plugind_http_requests_total"} <= public


@pytest.mark.parametrize("text", SENDABLE.values(), ids=SENDABLE)
def test_hostile_names_stay_in_their_labels(tmp_path: Path, text: str) -> None:
    name = f'vm"}} 7\n{text}\\'
    with serving(tmp_path, live=False) as api:
        FakeAgent(api, name=name).report({"ebs0": {"node": down()}}, Datacenter=text)
        answer = api.call("GET", SCRAPE)
        assert api.call("GET", "/v1/metrics").status == 200
    assert not unsafe(answer.text)
    found = families(answer)
    (((shown,), _),) = values(found["plugind_node_up"], "node").items()
    assert shown.startswith('vm"} 7\\x0a')
    lines = [each for each in answer.text.splitlines() if not each.startswith("#")]
    assert {re.split("[{ ]", each)[0] for each in lines} <= series(found)
    needs(PROMTOOL, "prometheus")
    assert promtool("check", "metrics", given=answer.text) == ""


def promtool(*words: str | Path, given: str = "") -> str:
    """Return promtool's complaints; if it fails, it must print some."""
    done = subprocess.run(
        [PROMTOOL, *words], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 or done.stdout + done.stderr, "promtool failed"
    return done.stdout + done.stderr if done.returncode else done.stderr


def test_promtool_finds_nothing_to_complain_about(filled: Live) -> None:
    needs(PROMTOOL, "prometheus")
    assert promtool("check", "metrics", given=filled.call("GET", SCRAPE).text) == ""
    assert "no help text" in promtool("check", "metrics", given="plugind_x 1\n")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_keep_the_rules_that_promtool_does_not_check(family: Family) -> None:
    name = family.name
    assert re.fullmatch(r"plugind(_[a-z]+)+", name)
    assert name.endswith("_total") is (family.kind == COUNTER)
    assert family.help.endswith(".")
    assert "\n" not in family.help
    assert family.help[0].isupper()
    for unit in ("millis", "micro", "nanos", "minutes", "hours", "percent", "kilo", "mega"):
        assert unit not in name, "base units only"
    for word in ("duration", "age", "lag", "timestamp", "size"):
        if f"_{word}" in name:
            unit = "_bytes" if word == "size" else "_seconds"
            assert name.removesuffix("_total").endswith(unit)
    if "timestamp" in name:
        assert (family.kind, name.endswith("_timestamp_seconds")) == (GAUGE, True)
    for part in ("_count", "_sum", "_bucket"):
        assert not name.endswith(part), "these are parts of histograms"
    for label in family.labels:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label)
        assert label not in ("le", "quantile", "job", "instance", "__name__")
        assert label not in name.split("_") or label in ("type", "plugin", "node", "limit")
    assert not any(kind in name.split("_") for kind in ("gauge", "counter", "histogram", "summary"))


def test_a_scrape_has_every_metric_of_the_table_and_no_other(filled: Live) -> None:
    """Check that each metric has a value here, and that docs/metrics.md has the same table."""
    found = scrape(filled)
    own = {name for name in found if not name.startswith("process_")}
    assert own == {each.name.removesuffix("_total") for each in FAMILIES}
    for each in FAMILIES:
        metric = found[each.name.removesuffix("_total")]
        assert (metric.type, metric.documentation) == (each.kind, each.help)
        assert metric.samples, each.name
        for sample in metric.samples:
            assert sample.labels.keys() - {"le"} == set(each.labels)
    assert table() in (ROOT / "docs/metrics.md").read_text()


def test_a_scrape_takes_a_turn_of_its_own_kind(api: Api) -> None:
    """Take a turn, as a costly read does, but do not wait behind a flood of others."""
    assert api.call("HEAD", SCRAPE).status == 200
    got = api.call("GET", SCRAPE, headers={"Accept-Encoding": "gzip"})
    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_limits_are_counted_by_name() -> None:
    hits = Hits()
    for _ in range(3):
        hits.add("max_nodes", node_id="x")
    assert hits.counts == {"max_nodes": 3}
    assert hits.tally.totals()["max_nodes",].count == 3


def test_requests_that_the_http_server_refuses_are_counted(tmp_path: Path) -> None:
    with serving(tmp_path, live=True) as api:
        assert isinstance(api, Live)
        host, port = api.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n")
            assert client.recv(1_000).startswith(b"HTTP/1.1 400 ")
        found = values(scrape(api)["plugind_http_requests"], "endpoint", "code")
    assert found["", "400"] == 1


def test_acl_explain_knows_of_public_metrics(tmp_path: Path) -> None:
    made = gate(tmp_path, "csi-list")
    for public, status in (("true", 0), ("false", 1)):
        (tmp_path / "config.hcl").write_text(f"{made.config}metrics {{ public = {public} }}\n")
        config = ("--config", str(tmp_path / "config.hcl"))
        command = [PLUGIND, "acl", "explain", "GET", "/v1/metrics", *config]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert "the agent policy read or write, or that metrics.public is set" in done.stdout


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ('instances = "some"', "must be one of none, unhealthy, all"),
        ("public = 1", "true or false"),
    ],
)
def test_a_mistake_in_the_settings_is_named(tmp_path: Path, setting: str, reason: str) -> None:
    file = tmp_path / "config.hcl"
    file.write_text(f'data_dir = "/tmp"\nmetrics {{\n  {setting}\n}}\n')
    command = [PLUGIND, "config", "validate", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(rf"config.hcl:3:\d+: metrics\.{setting.split()[0]}.*{reason}", done.stderr)
