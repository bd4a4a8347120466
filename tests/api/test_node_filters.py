"""A filter on the list of nodes sees a whole node, as a read shows it, though no row has it all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from plugind import filtering
from plugind.api import rows
from plugind.api.nodes import fields_of_nodes
from plugind.api.query import read_query
from plugind.catalogue import Catalogue
from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, down, eventually, up

ONE, TWO = (f"{number}0000000-0000-4000-8000-000000000000" for number in "12")


@pytest.fixture
def nodes(api: Api) -> tuple[FakeAgent, FakeAgent]:
    one, two = FakeAgent(api, ONE, name="n1"), FakeAgent(api, TWO, name="n2")
    info = {"NodeInfo": {"ID": "i-1", "MaxVolumes": 7, "SupportsExpand": True}}
    one.report(
        {"aws-ebs0": {"node": up(Provider="ebs.example", **info)}, "nfs": {"controller": up()}},
        Attributes={"kernel.name": "linux", "os.name": "debian", "cpu.numcores": "16"},
        Meta={"rack": "r1", "a.b": "x"},
    )
    two.report({"aws-ebs0": {"node": down("on fire")}}, Attributes={"kernel.name": "freebsd"})
    return one, two


def get(api: Api, expression: str, more: str = "") -> Answer:
    return api.call("GET", f"/v1/nodes?filter={quote(expression)}{more}")


def found(api: Api, expression: str, more: str = "") -> list[str]:
    answer = get(api, expression, more)
    assert answer.status == 200, answer.text
    return [row["Name"] for row in answer.json]


SEES = [
    ('Meta["rack"] == "r1"', ["n1"]),
    ("Meta.rack == r1", ["n1"]),
    ('Meta["a.b"] == x', ["n1"]),
    ("rack in Meta", ["n1"]),
    ("Meta is empty", ["n2"]),
    ('Meta["row"] is nil', ["n1", "n2"]),
    ('Attributes["kernel.name"] == "linux"', ["n1"]),
    ('"/Attributes/kernel.name" matches "bsd$"', ["n2"]),
    ('Attributes["cpu.numcores"] >= 8', ["n1"]),
    ("LastDrain is nil", ["n1", "n2"]),
    ("LastDrain is not nil", []),
    ("NodeResources.Cpu.CpuShares == 0", ["n1", "n2"]),
    ('NodeResources["Networks"] is nil', ["n1", "n2"]),
    ("StatusUpdatedAt > 1", ["n1", "n2"]),
    ('CSINodePlugins["aws-ebs0"].Healthy == true', ["n1"]),
    ('CSINodePlugins["aws-ebs0"].HealthDescription contains fire', ["n2"]),
    ('CSINodePlugins["aws-ebs0"].NodeInfo.MaxVolumes == 7', ["n1"]),
    ('CSINodePlugins["aws-ebs0"].NodeInfo.MaxVolumes > 7', []),
    ('"aws-ebs0" in CSINodePlugins', ["n1", "n2"]),
    ("nfs in CSIControllerPlugins", ["n1"]),
    ("any CSINodePlugins as id, it { it.Healthy == false and id matches `^aws` }", ["n2"]),
    ("CNINetworks is empty and ExecChecks is empty", ["n1", "n2"]),
    ("Name == n1 and Datacenter == dc1 or Meta is nil", ["n1"]),
]


@pytest.mark.parametrize("more", ["", "&os=true", "&resources=true"])
def test_a_filter_sees_the_node(api: Api, nodes: object, more: str) -> None:
    plain = {row["Name"]: row for row in api.call("GET", f"/v1/nodes?{more}").json}
    for expression, names in SEES:
        assert found(api, expression, more) == names, expression
        assert get(api, expression, more).json == [plain[name] for name in names]


def test_a_filter_sees_every_field_of_a_read(api: Api, nodes: object) -> None:
    """Give filters every field of a node with the value that a read shows."""
    body = api.call("GET", f"/v1/node/{ONE}").json
    catalogue: Catalogue = api.services.catalogue
    fields = fields_of_nodes(api.services.schemas.values())
    assert body.keys() == fields.by_name.keys()
    for name, value in body.items():
        kept = found(api, f"{name} is not nil")
        assert ("n1" in kept) == (value is not None), name
        assert orjson.loads(orjson.dumps(catalogue.node_field(ONE, name))) == value, name
    assert catalogue.node_field("none", "Meta") is None


def test_dots_are_steps_as_in_go_bexpr(api: Api, nodes: object) -> None:
    assert get(api, "Meta.a.b == x").text == "filter:1:1: Meta.a is text, which has no b"
    assert found(api, "CSINodePlugins.nfs.Healthy == true") == []
    assert "'-ebs0.Hea" in get(api, "CSINodePlugins.aws-ebs0.Healthy == true").text


def test_a_secret_is_no_field(api: Api, nodes: object) -> None:
    for name in ("SecretID", "secret_hash", "SecretHash"):
        assert "no field" in get(api, f"{name} is not nil").text


def test_a_change_beyond_the_row_wakes_and_is_another_version(
    api: Api, nodes: tuple[FakeAgent, FakeAgent]
) -> None:
    expression = 'CSINodePlugins["aws-ebs0"].Healthy == false'
    before = get(api, expression)
    assert [row["Name"] for row in before.json] == ["n2"]
    got: list[Answer] = []
    path = f"/v1/nodes?filter={quote(expression)}&index={before.headers['x-nomad-index']}&wait=5m"
    waiting = threading.Thread(target=lambda: got.append(api.call("GET", path)))
    waiting.start()
    eventually(lambda: api.services.catalogue.parked == 1)
    nodes[0].report({"aws-ebs0": {"node": down("on fire, too")}, "nfs": {"controller": up()}})
    waiting.join(PATIENCE)
    assert [row["Name"] for row in got[0].json] == ["n1", "n2"]
    tag = {"If-None-Match": before.headers["etag"]}
    assert api.call("GET", f"/v1/nodes?filter={quote(expression)}", None, tag).status == 200


class Asked:
    """A source of nodes' fields that records which fields filters request beyond the rows'."""

    def __init__(self, find: Callable[[str, str], Any]) -> None:
        self.names: list[str] = []
        self._find = find

    def __call__(self, id_: str, name: str) -> Any:
        self.names.append(name)
        return self._find(id_, name)


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("Name == n1", []),
        ("Name == n1 and Meta.rack == r1", ["Meta"]),
        (
            "Meta.rack == r1 and Meta.rack != r2 and any Meta as k, v { v == Meta.rack }",
            ["Meta"] * 2,
        ),
        ("Name == none and Attributes is empty", []),
    ],
)
def test_only_what_a_filter_asks_for_is_rendered(
    api: Api, nodes: object, expression: str, asked: list[str]
) -> None:
    catalogue: Catalogue = api.services.catalogue
    fields = fields_of_nodes(api.services.schemas.values())
    find = Asked(catalogue.node_field)
    beyond = rows.Beyond(frozenset({"Meta", "Attributes"}), find)
    query = read_query({"filter": expression}, "global")
    rows.select(catalogue.nodes().found, query, filtering.compile(expression, fields), beyond)
    assert find.names == asked


@pytest.mark.alone
def test_the_cost_of_a_filter_of_many_nodes(api: Api) -> None:
    count = 500
    for number in range(count):
        agent = FakeAgent(api, f"{number:08d}-0000-4000-8000-000000000000", name=f"n{number}")
        plugins = {f"p{each}": {"node": up(Provider="p" * 50)} for each in range(4)}
        agent.report(plugins, Meta={"rack": f"r{number % 10}"}, Attributes={"kernel.name": "linux"})
    for expression, kept, bound in (
        ('Meta["rack"] == "r1"', count // 10, 0.1),
        ("CSINodePlugins.p0.Healthy == true", count, 0.3),
        ("any CSINodePlugins as id, it { it.Healthy == false and id == p1 }", 0, 0.3),
    ):
        used = []
        for _ in range(3):
            begun = time.process_time()
            answer = get(api, expression)
            used.append(time.process_time() - begun)
            assert len(answer.json) == kept
        assert min(used) < bound, (expression, min(used))
