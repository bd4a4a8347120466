"""SIGHUP: which changes of its configuration a running process applies."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from hcl2.parser import parser

from plugind import logs
from plugind.cli.agent import _reload
from plugind.cli.roles import Roles
from plugind.client import Client
from plugind.config.reading import parse_file
from plugind.config.settings import Ports
from plugind.hosted import VARIABLE, Hosted
from plugind.types.configured import load_settings
from tests.processes import Machine, counts, instance, machine
from tests.support import eventually

DECLARED = 'plugin "csi" "ebs0" {{ nodes_expected = {} }}\n'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def test_declarations_follow_the_configuration_and_mistakes_change_nothing(here: Machine) -> None:
    file = here.folder / "server.hcl"
    file.write_text(DECLARED.format(3))
    process = here.start(
        *("agent", "--config", file, "--server-enabled", "true"),
        *("--ports-http", "0", "--data-dir", here.folder / "data"),
    )
    client = Client(eventually(lambda: re.search(r"address=(http://\S+)", process.logged))[1])
    assert counts(client, "ebs0") == (0, 0, 0, 3)
    created = client.plugin("csi", "ebs0").value["CreateIndex"]

    file.write_text(DECLARED.format(4))
    process.send(signal.SIGHUP)
    eventually(lambda: counts(client, "ebs0") == (0, 0, 0, 4))
    assert client.plugin("csi", "ebs0").value["CreateIndex"] == created

    file.write_text('plugin "csi" "ebs0" { nodes_expected = "many" }\n')
    process.send(signal.SIGHUP)
    message = eventually(lambda: _message(client) != "ok" and _message(client))
    assert message == "ok; the configuration was not reloaded: 1 mistake, see the log"
    assert f"{file}:1:" in process.logged
    assert counts(client, "ebs0") == (0, 0, 0, 4)

    file.write_text("")
    process.send(signal.SIGHUP)
    eventually(lambda: counts(client, "ebs0") is None)
    eventually(lambda: _message(client) == "ok")
    assert process.stop() == 0


def test_a_types_settings_follow_the_configuration(here: Machine) -> None:
    _, client = here.server()
    one, two = here.driver("one.sock", "--no-controller"), here.driver("two.sock")
    file = here.folder / "agent.hcl"

    def configure(*instances: str, more: str = "") -> None:
        blocks = "".join(
            f'instance "{id}" {{ endpoint = "unix://{here.folder}/sockets/{id}.sock" }}\n'
            for id in instances
        )
        file.write_text(
            'plugin_types { enabled = ["csi"] }\n'  # the machine may have plugins of other types
            f'plugin_type "csi" {{\nsockets = []\n{more}\n{blocks}}}\n'
        )

    configure("one", "two")
    agent = here.start(
        *("agent", "--config", file, "--client-enabled", "true"),
        *("--client-servers", client.address, "--data-dir", here.folder / "data"),
    )
    eventually(lambda: counts(client, "two") == (1, 1, 1, 1))
    index = client.plugin("csi", "one").index
    (prober,) = agent.children

    configure("one", "two", more="nonsense = 1")
    agent.send(signal.SIGHUP)
    eventually(lambda: "the configuration has a mistake" in agent.logged)
    configure("one", "two")
    agent.send(signal.SIGHUP)
    eventually(lambda: "reloaded" in agent.logged)
    assert agent.children == [prober], "nothing changed"

    configure("one", more='probe_interval = "1s"')
    agent.send(signal.SIGHUP)
    eventually(lambda: counts(client, "two") is None)
    eventually(lambda: len(agent.children) == 1 and agent.children != [prober])
    assert client.plugin("csi", "one").index == index, "it was never said to be ill"
    one.kill()
    eventually(lambda: counts(client, "one") == (0, 0, 0, 1))

    file.write_text("plugin_types { enabled = [] }")
    agent.send(signal.SIGHUP)
    eventually(lambda: counts(client, "one") is None)
    eventually(lambda: not agent.children)
    configure("two", more="unhealthy_after = 1000")
    agent.send(signal.SIGHUP)
    eventually(lambda: counts(client, "two") == (1, 1, 1, 1))
    assert two.stop() == 0
    eventually(lambda: "no socket at" in instance(client, "two")["HealthDescription"])
    assert counts(client, "two") == (1, 1, 1, 1), "its socket went, which is a failure like others"
    assert agent.stop() == 0


def test_a_working_directory_that_is_gone_does_not_matter(here: Machine) -> None:
    file, gone = here.folder / "server.hcl", here.folder / "gone"
    file.write_text(DECLARED.format(3))
    gone.mkdir()
    process = here.start(
        *("agent", "--config", file, "--server-enabled", "true"),
        *("--ports-http", "0", "--data-dir", here.folder / "data"),
        folder=gone,
    )
    client = Client(eventually(lambda: re.search(r"address=(http://\S+)", process.logged))[1])
    gone.rmdir()
    file.write_text(DECLARED.format(4))
    process.send(signal.SIGHUP)
    eventually(lambda: counts(client, "ebs0") == (0, 0, 0, 4))
    assert process.stop() == 0


def test_a_reload_that_fails_stops_nothing(tmp_path: Path) -> None:
    """Check that the process goes on when a third-party plugin type's code fails in a reload."""

    def read() -> NoReturn:
        raise RuntimeError("a fault")

    settings, registry = load_settings([], {"server_enabled": "true", "data_dir": "x"}, None)
    roles = Roles(replace(settings, data_dir=tmp_path, ports=Ports(http=0)), registry)
    roles.start()
    try:
        _reload(roles, read)
        assert roles._services is not None
        assert roles._services.health() == (
            True,
            "ok; the configuration was not reloaded: see the log",
        )
    finally:
        roles.stop()


def test_the_parser_of_files_is_forgotten_though_a_reload_fails(tmp_path: Path) -> None:
    (file := tmp_path / "server.hcl").write_text(f'data_dir = "{tmp_path}/data"\n')
    settings, registry = load_settings([file], {"client_enabled": "true"}, None)
    roles = Roles(settings, registry)
    for mistake in ("server { enabled = 5 }\n", 'policy = "x"\n', ""):
        file.write_text(mistake)
        parse_file(file)
        assert parser.cache_info().currsize == 1
        _reload(roles, lambda: load_settings([file], {"client_enabled": "true"}, None))
        assert parser.cache_info().currsize == 0


def test_a_hosted_server_forgets_the_parser_though_a_reload_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure", lambda *given, **named: None)
    (tokens := tmp_path / "tokens.hcl").write_text("")
    (file := tmp_path / "server.hcl").write_text(
        f'data_dir = "{tmp_path}/data"\nserver {{ enabled = true }}\n'
        f'acl {{\n  enabled = true\n  tokens = "{tokens}"\n}}\n'
    )
    with closing(Hosted({VARIABLE: str(file)})) as made:
        for mistaken in (tokens, file):
            mistaken.write_text("nothing {}\n")
            made.reload()
            assert "not reloaded" in made.services.health()[1]
            assert parser.cache_info().currsize == 0


def _message(client: Client) -> str:
    return str(client.health().value["server"]["message"])
