"""Badges: their texts, which are always escaped, and how long clients may keep them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from plugind.api.badge import LABEL_MAXIMUM, badge
from tests.hostile_texts import HOSTILE, unsafe
from tests.support import Api, FakeAgent, down, up

PATH = "/v1/plugin/csi/ebs0/badge.svg"
SVG = "{http://www.w3.org/2000/svg}"


def said(body: bytes) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(body).iter(f"{SVG}text")]


def test_a_badge_counts_the_healthy_of_the_expected(api: Api, agent: FakeAgent) -> None:
    colours = set()
    for plugins, value in (
        ({"node": up(), "controller": up()}, "2 of 2"),
        ({"node": down(), "controller": up()}, "1 of 2"),
        ({"node": down(), "controller": down()}, "0 of 2"),
    ):
        agent.report({"ebs0": plugins})
        answer = api.call("GET", PATH)
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.headers["content-security-policy"] == "default-src 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert said(answer.body) == ["ebs0", value]
        colours.add(answer.text.partition('fill="#')[2].partition('fill="')[2][:7])
    assert len(colours) == 3


def test_a_badge_is_kept_until_the_plugin_changes(api: Api, agent: FakeAgent) -> None:
    agent.report({"ebs0": {"node": up()}})
    tag = api.call("GET", PATH).headers["etag"]
    assert api.call("GET", PATH, headers={"If-None-Match": tag}).status == 304
    agent.report({"ebs0": {"node": up()}, "other": {"node": up()}})
    assert api.call("GET", PATH, headers={"If-None-Match": tag}).status == 304
    agent.report({"ebs0": {"node": down()}})
    assert api.call("GET", PATH, headers={"If-None-Match": tag}).status == 200


def test_no_plugin_has_no_badge(api: Api) -> None:
    for path in (PATH, "/v1/plugin/nothing/ebs0/badge.svg"):
        answer = api.call("GET", path)
        assert (answer.status, answer.text) == (404, "plugin not found")


@pytest.mark.parametrize("name", [*HOSTILE, "long"])
def test_a_hostile_name_is_only_text(name: str) -> None:
    hostile = {"long": "W" * 5_000, **HOSTILE}[name]
    drawn = badge(hostile, [(1, 1)])
    assert not unsafe(drawn.decode())
    tags = {each.tag.removeprefix(SVG) for each in ElementTree.fromstring(drawn).iter()}
    assert tags == {"svg", "title", "clipPath", "rect", "g", "text"}
    assert len(said(drawn)[0]) <= LABEL_MAXIMUM
