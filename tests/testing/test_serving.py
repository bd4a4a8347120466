"""The live server and agent for authors' tests, used as authors would."""

from __future__ import annotations

import pytest

from plugind.errors import ConfigError
from plugind.testing import eventually, live_server, registered, run_agent
from tests.testing.lamps import Lamp
from tests.testing.odd_lamps import Dark


def test_a_type_is_served_by_real_parts() -> None:
    with registered(Lamp) as name, live_server() as server:
        config = 'plugin_type "lamp" { watts = 40 }'
        with run_agent(server.address, config, types=name, name="vm1") as agent:
            (row,) = eventually(lambda: server.client.plugins(name).value)
            assert (row["ID"], row["NodesHealthy"], row["Watts"]) == ("desk", 1, 40)
            assert eventually(lambda: agent.health() == (True, "ok"))
            (node,) = server.client.nodes().value
            assert node["Name"] == "vm1"


def test_a_target_that_never_answered_is_shown_by_its_name_or_with_its_node() -> None:
    with (
        registered(Dark) as name,
        live_server() as server,
        run_agent(server.address, types=name, name="vm1") as agent,
    ):
        (row,) = eventually(lambda: server.client.plugins(name).value)
        assert (row["ID"], row["NodesHealthy"], row["NodesExpected"]) == ("desk", 0, 1)
        (one,) = server.client.plugin(name, "desk").value["Nodes"].values()
        assert one["HealthDescription"] == "it is dark"
        (node,) = server.client.nodes().value
        message = eventually(
            lambda: (
                server.client.node(node["ID"]).value["Attributes"].get("plugin_type.lamp.nameless")
            )
        )
        assert message == "/lamps/?: it is dark"
        assert "/lamps/?: it is dark" in agent.health()[1]


def test_settings_are_checked_as_always() -> None:
    with pytest.raises(ConfigError, match="no setting has this name"), live_server(nonsense="1"):
        pass
    with (
        pytest.raises(ConfigError, match='no plugin type "lamp"'),
        run_agent("http://127.0.0.1:1", types="lamp"),
    ):
        pass
