"""A list is answered as a whole up to a certain size, and page by page above it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Api, FakeAgent, serving, up

LIST = "/v1/plugins?type=csi"
MAXIMUM = 2**16


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, live=False, server_max_list_size=str(MAXIMUM)) as served:
        yield served


def fill(api: Api, plugins: int) -> None:
    reported = {f"p{number:04}": {"node": up(Provider="p" * 64)} for number in range(plugins)}
    assert FakeAgent(api).report(reported).status == 200


def test_up_to_the_size_a_list_is_answered_as_a_whole(api: Api) -> None:
    fill(api, 260)
    answer = api.call("GET", LIST)
    assert (answer.status, len(answer.json)) == (200, 260)
    assert MAXIMUM * 0.9 < len(answer.body) <= MAXIMUM


def test_beyond_it_is_400_and_pages_are_answered(api: Api) -> None:
    fill(api, 300)
    for path in (LIST, f"{LIST}&pretty", f"{LIST}&reverse", f"{LIST}&index=2&wait=1ms"):
        refused = api.call("GET", path)
        assert refused.status == 400
        assert refused.text.endswith("read it page by page, with per_page")
        assert "server.max_list_size" in refused.text
    assert api.services.hits.counts == {"max_list_size": 4}
    for few in (f"{LIST}&prefix=p00", f"{LIST}&filter=ID+==+p0007"):
        assert api.call("GET", few).status == 200
    found, token = [], ""
    while token is not None:
        page = api.call("GET", f"{LIST}&per_page=100&next_token={token}")
        found += [row["ID"] for row in page.json]
        token = page.headers.get("x-nomad-nexttoken")
    assert found == [f"p{number:04}" for number in range(300)]


def test_the_read_of_one_plugin_is_not_bounded_by_it(api: Api) -> None:
    reason = "x" * 400
    for number in range(200):
        agent = FakeAgent(api, name=f"vm{number}")
        agent.report({"big": {"node": up(HealthDescription=reason)}})
    answer = api.call("GET", "/v1/plugin/csi/big")
    assert answer.status == 200
    assert len(answer.body) > MAXIMUM
