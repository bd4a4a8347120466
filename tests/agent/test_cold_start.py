"""Targets whose probes have not succeeded yet: the plugin under which they are shown, if any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plugind.agent.report import report
from tests.agent.conftest import HANGS, ORIGIN, SCHEDULE, Scripted, StartSupervisor
from tests.promises import eventually

TORN = (False, "the page is torn")
NAMELESS = "a target fails, and no ID of a plugin is known for it"


def attributes(made: Scripted) -> Any:
    return report.build(ORIGIN, {"scripted": made.supervisor.state})["Attributes"]


def start(
    scripted: StartSupervisor, block: Mapping[str, str] = SCHEDULE, **orders: str
) -> Scripted:
    made = scripted(block=block)
    for name, text in orders.items():
        (made.folder / name.replace("_as_", "@as-").replace("_and_", "+")).write_text(text)
    made.supervisor.start()
    return made


def test_a_target_that_fails_from_the_start_is_shown_as_its_type_names_it(
    scripted: StartSupervisor,
) -> None:
    made = start(scripted, vol_as_node="fail", net_as_node_and_controller="error", plain="fail")
    broken = (False, "KeyError: 'ink'")
    failing = {
        "net": {"controller": broken, "node": broken},
        "plain": {"*": TORN},
        "vol": {"node": TORN},
    }
    made.shows(failing)
    assert made.supervisor.trouble == ""
    made.order("vol@as-node", "healthy node controller")
    made.order("net@as-node+controller", "healthy node")
    both = {"controller": (True, "healthy"), "node": (True, "healthy")}
    made.shows(
        {
            **failing,
            "net": {"controller": None, "node": (True, "healthy")},
            "vol": both,
        }
    )
    made.order("vol@as-node", "fail")
    made.shows(
        {
            **failing,
            "net": {"controller": None, "node": (True, "healthy")},
            "vol": {"controller": TORN, "node": TORN},
        }
    )


def test_a_target_that_hangs_from_the_start_is_shown_too(scripted: StartSupervisor) -> None:
    made = start(scripted, HANGS, vol_as_node="hang")
    made.shows({"vol": {"node": (False, "no answer within 200ms")}})
    (made.folder / "vol@as-node").write_text("")  # ends the hanging probe


def test_a_target_that_ends_the_process_at_its_first_probe_is_shown(
    scripted: StartSupervisor,
) -> None:
    made = start(scripted, vol="die")
    reason = "the prober of scripted ended (status 7) and is being restarted"
    made.shows({"vol": {"*": (False, reason)}})


@pytest.mark.parametrize("how", ["none", "raise", "text"])
def test_a_target_without_a_known_id_is_in_health_and_once_in_the_log(
    scripted: StartSupervisor, log: list[Any], how: str
) -> None:
    made = start(scripted, **{f"a b_as_{how}": "fail", "fine": "healthy node"})
    name = f"a b@as-{how}"
    made.shows({"fine": {"node": (True, "healthy")}})
    eventually(lambda: attributes(made) != {}, what=lambda: attributes(made))
    assert attributes(made) == {"plugin_type.scripted.nameless": f"{name}: the page is torn"}
    assert f"{name}: the page is torn" in made.supervisor.trouble
    wrong = {"raise": "instances_of failed: KeyError: 'register'", "text": "instances_of returned"}
    eventually(lambda: wrong.get(how, "") in made.supervisor.trouble)
    (entry,) = eventually(lambda: [each for each in log if each["event"] == NAMELESS])
    assert (entry["type"], entry["target"], entry["reason"]) == ("scripted", name, TORN[1])
    made.order(name, "error")
    eventually(
        lambda: attributes(made) == {"plugin_type.scripted.nameless": f"{name}: KeyError: 'ink'"}
    )
    assert len([each for each in log if each["event"] == NAMELESS]) == 1
    made.remove(name)
    eventually(lambda: attributes(made) == {})


def test_a_wrong_role_or_id_is_in_health_until_it_is_corrected(scripted: StartSupervisor) -> None:
    made = start(scripted, desk="healthy pilot node", _hall="healthy node")
    made.shows({"desk": {"node": (True, "healthy")}})
    expected = (
        "_hall: '_hall' is no plugin ID; desk: 'pilot' is no role; there are controller, node"
    )
    eventually(lambda: made.supervisor.trouble == expected, what=lambda: made.supervisor.trouble)
    made.order("desk", "healthy node")
    eventually(lambda: made.supervisor.trouble == "_hall: '_hall' is no plugin ID")
    made.remove("_hall")
    eventually(lambda: made.supervisor.trouble == "")


def test_discover_and_schedule_that_return_something_else(scripted: StartSupervisor) -> None:
    made = start(scripted, lazy="healthy node")
    made.shows({"lazy": {"node": (True, "healthy")}})
    (made.folder / ".discover").write_text("list")
    made.poke()
    expected = "discover failed: discover returned list instead of a mapping from names to targets"
    eventually(lambda: made.supervisor.trouble == expected, what=lambda: made.supervisor.trouble)
    assert made.plugins() == {"lazy": {"node": (True, "healthy")}}, "what was found stays"


def test_output_of_a_prober_is_logged_at_once(
    scripted: StartSupervisor, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = start(scripted, talker="print")
    made.shows({"talker": {"node": (True, None)}})
    seen: list[str] = []

    def has_printed() -> bool:
        seen.append(capfd.readouterr().err)
        return "a print() of the type's" in "".join(seen)

    eventually(has_printed)
