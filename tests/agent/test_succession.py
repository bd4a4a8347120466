"""What a prober may report besides health: successions, and targets named by the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugind.agent.prober.results import examine
from plugind.agent.protocol import Found, Targets
from plugind.agent.report import report
from plugind.agent.state import TypeState
from tests.agent.conftest import ORIGIN

KEY = ("x", "node")


def claim(rank: int | None = None, of: str = "p", *, healthy: bool = True) -> dict[str, Any]:
    succession = {} if rank is None else {"Succession": {"Of": of, "Rank": rank}}
    return {"Healthy": healthy, "Rank": rank, **succession}


def reported(*claims: dict[str, Any], configured: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the report of the instance that the targets t0, t1 ... provide."""
    names = frozenset(f"t{number}" for number in range(len(claims)))
    state = TypeState().after(Targets(names, configured=configured))
    for number, each in enumerate(claims):
        state = state.after(Found(f"t{number}", number, {KEY: each}))
    fingerprint: dict[str, Any] = report.build(ORIGIN, {"t": state})["Plugins"]["t"]["x"]["node"]
    return fingerprint


def test_only_the_highest_rank_is_reported() -> None:
    assert reported(claim(1), claim(3, healthy=False), claim(2))["Rank"] == 3
    assert not reported(claim(1), claim(3, healthy=False))["Healthy"]
    assert "HealthDescription" not in reported(claim(2), claim(1))
    assert "Succession" not in reported(claim(1))


def test_a_claim_without_a_succession_yet_belongs_to_any() -> None:
    assert reported(claim(1, ""), claim(2))["Rank"] == 2
    assert reported(claim(3, "", healthy=False), claim(2))["Rank"] == 3
    assert reported(claim(1, ""), claim(2, ""))["Rank"] == 2


@pytest.mark.parametrize("second", [claim(2, "q"), claim()], ids=["other", "without"])
def test_others_dispute_as_ever(second: dict[str, Any]) -> None:
    reason = "claimed by two targets: t0 and t1"
    assert reported(claim(1), second)["HealthDescription"] == reason
    assert (
        reported(claim(1), claim(0), second)["HealthDescription"]
        == "claimed by two targets: t0 and t2"
    )
    sick = {**second, "Healthy": False, "HealthDescription": "gone"}
    assert reported(claim(1), sick)["HealthDescription"] == "healthy; also claimed by t1 (gone)"


@given(
    st.lists(
        st.builds(claim, st.none() | st.integers(0, 3), st.sampled_from(["", "p", "q"])), min_size=1
    )
)
def test_someone_always_speaks(claims: list[dict[str, Any]]) -> None:
    assert isinstance(reported(*claims)["Healthy"], bool)
    alone = [each for each in claims if "Succession" not in each]
    groups = {each["Succession"]["Of"] for each in claims if "Succession" in each} - {""}
    if len(alone) + len(groups) == 1 and not (alone and len(claims) > 1):
        assert reported(*claims)["Healthy"]


@pytest.mark.parametrize(
    "bad",
    [
        1,
        {},
        {"Of": 1, "Rank": 1},
        {"Of": "", "Rank": True},
        {"Of": "", "Rank": 2**70},
        {"Of": "", "Rank": 1, "X": 1},
    ],
)
def test_a_bad_succession_is_a_bad_fingerprint(bad: Any) -> None:
    found, _ = examine({KEY: {"Healthy": True, "Succession": bad}}, ["node"])
    assert 'Succession must be {"Of": TEXT, "Rank": NUMBER}' in found[KEY]["HealthDescription"]


def test_configured_is_the_cores_to_say() -> None:
    assert reported(claim(1), claim(2), configured=frozenset({"t0"}))["Configured"] is True
    assert "Configured" not in reported(claim(1), configured=frozenset({"t7"}))
    found, _ = examine({KEY: {"Healthy": True, "Configured": True}}, ["node"])
    assert found[KEY] == {"Healthy": True}
