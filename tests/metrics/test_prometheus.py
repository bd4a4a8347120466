"""A real Prometheus with the rules in conf/ scrapes a live server, and fires."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.api.gate import gate
from tests.metrics.scrapes import PROMETHEUS, ROOT
from tests.metrics.test_rules import dashboard_expressions, rules
from tests.ports import reserved_port
from tests.processes import Machine, Process, machine
from tests.promises import PATIENCE
from tests.support import eventually, needs

CONF = ROOT / "conf/prometheus"
_TIME = re.compile(r"(for|_interval): (\w+)$", re.MULTILINE)
SOON = {"15s": "1s", "30s": "1s", "1m": "1s", "2m": "1s"}
"""Times in the configuration and rules that are too long for a test, with their replacements."""


@dataclass
class Prometheus:
    """A running Prometheus, and what it scrapes."""

    address: str
    machine: Machine
    server: Process
    driver: Process
    agent: Process

    def ask(self, path: str, **query: str) -> Any:
        answer = requests.get(f"{self.address}/api/v1/{path}", query, timeout=PATIENCE).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, query: str) -> float | None:
        """Return the only value of a query; None while there is none."""
        found = self.ask("query", query=query)["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return the firing alerts of a name."""
        return [
            each
            for each in self.ask("alerts")["alerts"]
            if each["labels"]["alertname"] == name and each["state"] == "firing"
        ]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    needs(PROMETHEUS, "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    made = gate(folder, "agent-read", "csi-register")
    tokens = {name: folder / name / "token" for name in ("agent-read", "csi-register")}
    for name, file in tokens.items():
        file.parent.mkdir()
        file.write_text(made.secrets[name])
        file.chmod(0o600)
    acl = {
        "acl_enabled": "true",
        "acl_policies": str(folder / "policies"),
        "acl_tokens": str(folder / "tokens.hcl"),
    }
    with machine(folder) as here, reserved_port() as port:
        server, client = here.server(server_heartbeat_ttl="1s", **acl)
        driver = here.driver("vm1/ebs0.sock")
        agent = here.agent("vm1", client.address, client_token_file=str(tokens["csi-register"]))
        config = _configuration(folder, client.address, tokens["agent-read"])
        command = [
            *(PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
        ]
        with (folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            eventually(lambda: _answers(address))
            yield Prometheus(address, here, server, driver, agent)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _configuration(folder: Path, server: str, token: Path) -> Path:
    """Write the configuration and rules of conf/, for this server and with short times."""
    config = (CONF / "prometheus.yml").read_text().replace("127.0.0.1:4646", server[7:])
    config = config.replace("# authorization:", "authorization:")
    config = re.sub(r"#   credentials_file: .*", f"  credentials_file: {token}", config)
    found = (CONF / "plugind.rules.yml").read_text()
    for name, text in {"prometheus.yml": config, "plugind.rules.yml": found}.items():
        made = _TIME.sub(lambda found: f"{found[1]}: {SOON.get(found[2], found[2])}", text)
        assert made != text
        (folder / name).write_text(made)
    return folder / "prometheus.yml"


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/-/ready", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def test_it_scrapes_and_has_no_alert(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.value('up{job="plugind"}') == 1)
    query = 'plugind_plugin_instances_healthy{plugin="ebs0", role="node"}'
    eventually(lambda: prometheus.value(query) == 1)
    eventually(lambda: prometheus.value("plugind_node_up") == 1)
    names = {rule["name"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]}
    assert names == {rule["alert"] for rule in rules()}
    for alert in ("PlugindAbsent", "PlugindServerDown", "PlugindStoreNotWritable"):
        eventually(lambda alert=alert: not prometheus.alerts(alert))


def test_it_understands_all_that_the_dashboard_asks(prometheus: Prometheus) -> None:
    for expr in dashboard_expressions():
        if not expr.startswith("label_values"):
            query = expr.replace("$__rate_interval", "1m").replace("$type", ".*")
            prometheus.ask("query", query=query)


def test_a_lost_node_fires_an_alert_and_its_drivers_do_not(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.value('plugind_instances_healthy{role="node", type="csi"}') == 1)
    prometheus.agent.send_all(signal.SIGSTOP)
    (found,) = eventually(lambda: prometheus.alerts("PlugindNodeDown"))
    assert found["labels"]["node"] == "vm1"
    assert prometheus.value('plugind_plugin_instances_healthy{role="node"}') == 0
    assert not prometheus.alerts("PlugindDriverDown")
    prometheus.agent.send_all(signal.SIGCONT)
    eventually(lambda: not prometheus.alerts("PlugindNodeDown"))


def test_the_alert_fires_when_a_driver_is_killed_and_ends_when_it_is_back(
    prometheus: Prometheus,
) -> None:
    eventually(lambda: prometheus.value('plugind_instances_healthy{role="node", type="csi"}') == 1)
    prometheus.driver.kill()
    found = eventually(lambda: prometheus.alerts("PlugindDriverDown"))
    assert {each["labels"]["plugin"] for each in found} == {"ebs0"}
    assert all("instance" not in each["labels"] for each in found)
    texts = [each["annotations"]["description"] for each in found]
    assert all("plugind plugin status ebs0" in text for text in texts)
    (healthy,) = prometheus.ask("query", query='plugind_instance_healthy{role="node"}')["result"]
    assert (healthy["value"][1], healthy["metric"]["node"]) == ("0", "vm1")
    driver = prometheus.machine.driver("vm1/ebs0.sock")
    eventually(lambda: not prometheus.alerts("PlugindDriverDown"))
    assert driver.stop() == 0


def test_no_server_fires(prometheus: Prometheus) -> None:
    prometheus.server.kill()
    (found,) = eventually(lambda: prometheus.alerts("PlugindAbsent"))
    assert found["labels"]["severity"] == "critical"
    eventually(lambda: prometheus.alerts("PlugindServerDown"))  # of a group that is evaluated later
