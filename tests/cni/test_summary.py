from __future__ import annotations

from typing import Any

from plugin_types.cni import CniType
from plugind.model import Fingerprint


def fingerprint(healthy: bool = True, **details: Any) -> Fingerprint:
    return Fingerprint(healthy, "", 0, "", details)


def summary(*executables: Fingerprint, networks: tuple[Fingerprint, ...] = ()) -> dict[str, Any]:
    return dict(CniType().summary({"executable": executables, "network": networks}))


def test_a_plugin_that_is_only_declared() -> None:
    assert summary() == {"CNIVersion": "", "SupportedVersions": [], "UsedBy": [], "Needs": []}


def test_versions_that_every_healthy_executable_supports() -> None:
    old = fingerprint(SupportedVersions=["0.4.0", "1.9.0"], UsedBy=["b"])
    new = fingerprint(SupportedVersions=["1.9.0", "1.10.0", "0.4.0"], UsedBy=["a", "b"])
    broken = fingerprint(False, SupportedVersions=["0.1.0"])
    found = summary(new, broken, old)
    assert found["SupportedVersions"] == ["0.4.0", "1.9.0"]
    assert (found["CNIVersion"], found["UsedBy"]) == ("1.9.0", ["a", "b"])
    assert summary(broken)["CNIVersion"] == "0.1.0", "what was known of it last"
    assert summary(old, fingerprint())["SupportedVersions"] == ["0.4.0", "1.9.0"], (
        "one that never said"
    )
    assert summary(old, fingerprint(SupportedVersions=["1.1.0"]))["CNIVersion"] == ""


def test_networks() -> None:
    found = summary(
        networks=(
            fingerprint(CNIVersion="0.4.0", Needs=["bridge"]),
            fingerprint(False, CNIVersion="1.0.0", Needs=["a", "bridge"]),
        )
    )
    assert (found["CNIVersion"], found["Needs"]) == ("1.0.0", ["a", "bridge"])
