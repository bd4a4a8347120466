"""Random reports: good, partial and bad ones, few enough that the same ones occur again."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from plugind.model.times import format_time
from tests.model.naive import ROLES, TYPE
from tests.support import down, up

NODES = [f"11111111-2222-4333-8444-55555555000{number}" for number in range(3)]
PLUGINS = ["a", "b", "c"]

_GOOD = st.sampled_from(
    [up(), up(Provider="p1"), up(Provider="p2"), up(AllocID="a1"), up(AllocID="a2", Provider="p1")]
)
_SICK = st.sampled_from(
    [
        down("fire"),
        down("flood"),
        down("fire", Provider="p3"),
        down("fire", AllocID="a1"),
        down("fire", Configured=True),
        down("fire", Configured=False),
    ]
)
_BAD = st.sampled_from(
    [
        {"Healthy": "yes"},
        {"Healthy": "yes", "Configured": True},
        {},
        up(Provider=7),
        up(Configured=7),
        "no object",
    ]
)
_FINGERPRINTS = st.one_of(_GOOD, _GOOD, _GOOD, _SICK, _BAD, st.none())

_BY_ROLE = st.one_of(
    st.dictionaries(st.sampled_from(list(ROLES)), _FINGERPRINTS, min_size=1),
    st.builds(lambda fingerprint: {"*": fingerprint}, _FINGERPRINTS),
)
_JUNK = st.dictionaries(
    st.sampled_from(["-x", "a b", "d"]),
    st.sampled_from([{"king": up()}, {"king": up(), "*": up()}, [1]]),
    max_size=1,
)
_STRANGE = st.sampled_from([{}, {}, {}, {"warp": {"a": {"node": up()}}}, {"": 5}])

REPORTS: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda strange, junk, plugins: {**strange, TYPE: {**junk, **plugins}},
    _STRANGE,
    _JUNK,
    st.dictionaries(st.sampled_from(PLUGINS), _BY_ROLE, min_size=1),
)

JOBS = st.sampled_from(["j1", "j1", "j2"])
"""The jobs to which a report says that its processes belong."""

DECLARED = st.dictionaries(
    st.sampled_from(PLUGINS),
    st.dictionaries(st.sampled_from(list(ROLES)), st.integers(0, 3)),
)


def probed_at(plugins: Any, time: int) -> Any:
    """Return the report with a probe time in each fingerprint."""
    if not isinstance(plugins, dict):
        return plugins
    if "Healthy" in plugins:
        return {**plugins, "UpdateTime": format_time(time)}
    return {key: probed_at(value, time) for key, value in plugins.items()}
