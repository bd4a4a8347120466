"""The alert rules pass their own tests, and rules and dashboard name only existing metrics."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator
from typing import Any

import pytest
import yaml

from plugind.metrics.families import FAMILIES
from tests.metrics.scrapes import PROMTOOL, ROOT, scrape, series
from tests.processes import PLUGIND
from tests.support import FakeAgent, down, needs, serving, up

RULES = ROOT / "conf/prometheus/plugind.rules.yml"
TESTS = ROOT / "conf/prometheus/plugind.rules.test.yml"
DASHBOARD = ROOT / "conf/grafana/plugind.json"

_NAME = re.compile(r"\b(?:plugind|process)_[a-z_]+\b")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    """Return all queries of the dashboard, including those for the values of its variables."""
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [each for panel in dashboard["panels"] for each in panel.get("targets", ())]
    panels = [each["expr"] for each in targets]
    variables = [each["query"] for each in dashboard["templating"]["list"]]
    return panels + [query for query in variables if query != "prometheus"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from dashboard_expressions()


def unknown(known: Collection[str]) -> set[str]:
    """Return the metrics in rules and dashboard that are unknown."""
    return {name for expr in expressions() for name in _NAME.findall(expr)} - set(known)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of the series of a live server."""
    with serving(tmp_path_factory.mktemp("server"), live=True) as api:
        FakeAgent(api).report({"ebs0": {"node": up(), "controller": down()}})
        api.services.hits.add("max_parked")
        scrape(api)
        return series(scrape(api))


def test_every_metric_that_rules_and_dashboard_name_exists(known: set[str]) -> None:
    assert unknown(known) == set()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_metric_that_is_renamed_or_unused_is_found(family: Any, known: set[str]) -> None:
    """Require each metric in the dashboard or a rule, so that its absence is noticed."""
    left = {name for name in known if not name.startswith(family.name)}
    assert {name for name in unknown(left) if name.startswith(family.name)}


def test_promtool_accepts_rules_and_configuration() -> None:
    needs(PROMTOOL, "prometheus")
    config = RULES.with_name("prometheus.yml")
    for words in (["check", "rules", RULES], ["check", "config", config]):
        done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_pass_their_tests() -> None:
    needs(PROMTOOL, "prometheus")
    done = subprocess.run(
        [PROMTOOL, "test", "rules", TESTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_and_a_row_in_the_document() -> None:
    tested = {
        case["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    names = [rule["alert"] for rule in rules()]
    assert set(names) == tested
    document = (ROOT / "docs/metrics.md").read_text()
    assert re.findall(r"^\| `(Plugind\w+)` \|", document, re.MULTILINE) == names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description"}
    assert "\n" not in annotations["summary"]
    assert len(annotations["description"].splitlines()) >= 2
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    of_a_server = re.search(r"\bup\b|follow_lag|store_writable", rule["expr"])
    assert bool(of_a_server) is not ("without (instance)" in rule["expr"])


def test_commands_in_alerts_exist() -> None:
    """Check that each command that an alert suggests to operators is a command of plugind."""
    texts = "".join(rule["annotations"]["description"] for rule in rules())
    words = [found.split() for found in re.findall(r"plugind ((?:plugin|node) \w+)", texts)]
    assert len(words) >= 4
    for group, name in words:
        done = subprocess.run([PLUGIND, group, name, "--help"], capture_output=True, check=False)
        assert done.returncode == 0, (group, name)


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers) > 20
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert [target["expr"] for target in panel["targets"]]
