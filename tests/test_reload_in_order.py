"""Which changes a reload of a server may make, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from plugind.errors import ConfigError, StoreError
from plugind.model import Declaration, PluginKey
from tests.api.gate import MANAGEMENT, Gate, gate
from tests.promises import PATIENCE
from tests.support import Api, eventually, serving

LIST = "/v1/plugins?type=csi"


@pytest.fixture
def made(tmp_path: Path) -> Gate:
    return gate(tmp_path, "csi-list")


@pytest.fixture
def api(tmp_path: Path, made: Gate) -> Iterator[Api]:
    with serving(tmp_path, live=False, config=made.config) as served:
        yield served


def declare(api: Api, type: str = "csi") -> None:
    """Reload with a new declaration."""
    declaration = Declaration(PluginKey(type, "new"), {"node": 1})
    api.services.reload(replace(api.services.settings, declarations=(declaration,)))


def revoke(folder: Path) -> None:
    (folder / "tokens.hcl").write_text("")


def test_a_reload_turns_acls_neither_off_nor_on(tmp_path: Path, api: Api) -> None:
    settings = api.services.settings
    with pytest.raises(ConfigError, match=r"acl\.enabled: is read at start only"):
        api.services.reload(replace(settings, acl=replace(settings.acl, enabled=False)))
    assert api.call("GET", LIST).status == 403
    (tmp_path / "open").mkdir()
    with serving(tmp_path / "open", live=False) as other:
        with pytest.raises(ConfigError, match=r"acl\.enabled: is read at start only"):
            other.services.reload(settings)
        assert other.call("GET", LIST).status == 200


def test_a_revoked_caller_does_not_see_what_changes_with_it(
    tmp_path: Path, made: Gate, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = made.headers("csi-list")
    index = api.call("GET", LIST, headers=headers).index
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.call, "GET", f"{LIST}&index={index}&wait=5m", None, headers)
        eventually(lambda: api.services.catalogue.parked)
        rights: list[int] = []
        services = api.services
        monkeypatch.setattr(
            services.announcer, "follow", lambda *given: rights.append(len(services.acl.tokens))
        )
        revoke(tmp_path)
        declare(api)
        assert waiting.result(PATIENCE).status == 403
    assert rights == [0], "what was revoked is so before anybody is woken"


def test_revoking_does_not_depend_on_the_disk(tmp_path: Path, made: Gate, api: Api) -> None:
    revoke(tmp_path)
    api.services.intake.close()
    with pytest.raises(StoreError, match="policies and tokens are in force, the declarations"):
        declare(api)
    assert api.call("GET", LIST, headers=made.headers(MANAGEMENT)).status == 403


def test_a_type_that_the_server_has_not_is_a_mistake(tmp_path: Path, made: Gate, api: Api) -> None:
    revoke(tmp_path)
    with pytest.raises(ConfigError, match='plugin "later": the running server does not have'):
        declare(api, "later")
    assert api.call("GET", LIST, headers=made.headers(MANAGEMENT)).status == 200, "all is as before"
