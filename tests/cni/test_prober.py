"""The executables and networks of a machine, with real executables of Debian's package."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from plugin_types.cni import CniType
from plugin_types.cni.prober import CniProber
from plugind.errors import ProbeFailed
from tests.cni.conftest import Host
from tests.support import eventually

PODS = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}],
}
POD_NETWORK = ("pods", "network")


def one(name: str, type: str, version: str = "1.0.0") -> dict[str, Any]:
    return {"cniVersion": version, "name": name, "type": type}


def test_a_network_and_what_it_needs(host: Host) -> None:
    host.install("bridge", "host-local", "portmap", "vlan")
    path = host.configure("10-pods.conflist", PODS)
    found = host.probe(host.prober(allow=["vlan"]))
    assert found.keys() == {
        POD_NETWORK,
        *((name, "executable") for name in ("bridge", "host-local", "portmap", "vlan")),
    }
    assert found[POD_NETWORK] == {
        "Healthy": True,
        "HealthDescription": "healthy",
        "Path": str(path),
        "CNIVersion": "1.0.0",
        "Needs": ["bridge", "host-local", "portmap"],
    }
    bridge = dict(found["bridge", "executable"])
    assert "1.0.0" in bridge.pop("SupportedVersions")
    assert bridge == {
        "Healthy": True,
        "HealthDescription": "healthy",
        "Path": str(host.bin / "bridge"),
        "UsedBy": ["pods"],
    }
    assert found["vlan", "executable"]["UsedBy"] == []


def test_fingerprints_fit_the_schemas(host: Host) -> None:
    host.install("bridge")
    host.configure("10-a.conf", one("a", "bridge"))
    for (_, role), fingerprint in host.probe().items():
        details = {k: v for k, v in fingerprint.items() if not k.startswith("Health")}
        assert CniType.fingerprint_schemas[role]().load(details) == details


def test_an_executable_and_a_network_of_one_name(host: Host) -> None:
    host.install("bridge")
    host.configure("bridge.conf", one("bridge", "bridge"))
    assert set(host.health()) == {("bridge", "executable"), ("bridge", "network")}


def test_a_missing_executable_is_named(host: Host) -> None:
    host.install("bridge")
    host.configure("10-pods.conflist", PODS)
    (host.bin / "portmap").write_text("not executable")
    reported = host.health()[POD_NETWORK]
    assert reported == (
        f"there is no host-local in {host.bin}, and the network needs it; "
        f"{host.bin}/portmap cannot be run, and the network needs it"
    )


def test_an_executable_that_fails_takes_its_networks_along(host: Host) -> None:
    path = host.script("broken", "echo out of order >&2; exit 1")
    host.configure("10-a.conf", one("a", "broken"))
    problem = "VERSION failed: exit status 1: out of order"
    assert host.health() == {
        ("broken", "executable"): problem,
        ("a", "network"): f"{path} is unhealthy: {problem}",
    }


def test_a_text_file_is_not_run_by_a_shell(host: Host) -> None:
    mark = host.folder / "mark"
    (host.bin / "notes").write_text(f"touch {mark}\n")
    (host.bin / "notes").chmod(0o755)
    host.configure("10-a.conf", one("a", "notes"))
    assert "exec format error" in host.health()["notes", "executable"]
    assert not mark.exists()


def test_a_version_that_an_executable_lacks(host: Host) -> None:
    path = host.script("old", 'echo \'{"supportedVersions": ["0.3.1", "0.4.0"]}\'')
    host.configure("10-new.conf", one("new", "old"))
    host.configure("20-fits.conf", one("fits", "old", "0.4.0"))
    host.configure("30-some.conf", {**one("some", "old"), "cniVersions": ["0.4.0", "1.1.0"]})
    health = host.health()
    assert health["new", "network"] == f"{path} supports CNI 0.3.1, 0.4.0, not 1.0.0"
    assert health["fits", "network"] == health["some", "network"] == "healthy"


def test_the_first_of_two_folders_counts(host: Host) -> None:
    host.install("bridge")
    other = host.folder / "other"
    other.mkdir()
    (other / "bridge").symlink_to("/bin/false")
    (other / "vlan").symlink_to("/bin/false")
    folders = [str(host.bin), str(other), str(host.folder / "none")]
    prober = host.prober(bin_dirs=folders, allow=["*"])
    assert host.health(prober) == {
        ("bridge", "executable"): "healthy",
        ("vlan", "executable"): "VERSION failed: exit status 1",
    }


NEVER = (".hidden", "vendor-support.sh", "SUPPORT.SH", "dump.py", "calico.tmp", "install", "mine")


@pytest.mark.parametrize("allow", [[], ["*"], list(NEVER)])
def test_executables_that_are_never_run(host: Host, allow: list[str]) -> None:
    """Run none of these executables, whatever settings and networks say."""
    for name in (*NEVER, "bridge.dpkg-new", "old~"):
        host.script(name, f"touch {host.folder}/ran")
    (host.bin / "LICENSE").write_text("")
    (host.bin / "folder").mkdir()
    ignore = [*CniType.settings_schema().fields["ignore"].load_default, "mi*"]
    prober = host.prober(ignore=ignore, allow=allow)
    assert host.health(prober) == {}
    host.configure("10-a.conflist", {"name": "a", "plugins": [{"type": name} for name in NEVER]})
    assert host.health(prober) == {("a", "network"): "healthy"}, "what they support is not known"
    assert not (host.folder / "ran").exists()


def test_an_executable_that_no_network_needs_is_not_run(host: Host) -> None:
    for name in ("vendor-support", "bridge", "dhcp"):
        host.script(name, f"touch {host.folder}/{name}.ran; exit 1")
    host.configure("10-a.conf", one("a", "bridge"))
    assert {id for id, role in host.health(host.prober(allow=["dh*"])) if role == "executable"} == {
        "bridge",
        "dhcp",
    }
    assert {path.name for path in host.folder.glob("*.ran")} == {"bridge.ran", "dhcp.ran"}


def test_an_executable_that_no_network_needs_any_more_leaves_the_lists(host: Host) -> None:
    """Keep its target but find nothing, which means that the executable left on purpose."""
    host.install("bridge")
    path = host.configure("10-a.conf", one("a", "bridge"))
    prober = host.prober()
    assert set(host.health(prober)) == {("bridge", "executable"), ("a", "network")}
    path.unlink()
    (target,) = prober.discover().values()
    assert prober.probe(target) == {}


def test_a_delegate_s_version_counts_for_its_executables(host: Host) -> None:
    host.script("multus", 'echo \'{"supportedVersions": ["1.0.0"]}\'')
    old = host.script("old", 'echo \'{"SupportedVersions": ["0.3.1"]}\'')
    delegate = {"type": "old", "cniVersion": "0.3.1"}
    host.configure("10-a.conf", {**one("a", "multus"), "delegates": [delegate]})
    host.configure("20-b.conf", {**one("b", "multus"), "delegates": [{"type": "old"}]})
    found = host.probe()
    assert found["a", "network"]["HealthDescription"] == "healthy"
    assert found["a", "network"]["Needs"] == ["multus", "old"]
    assert found["b", "network"]["HealthDescription"] == f"{old} supports CNI 0.3.1, not 1.0.0"
    assert found["old", "executable"]["UsedBy"] == ["a", "b"]


def test_names_that_are_no_ids(host: Host) -> None:
    host.script("my plugin", "exit 1")
    host.configure("10-a.conf", one("my net", "x"))
    health = host.health(host.prober(allow=["my*"]))
    assert ("my-plugin", "executable") in health
    assert "CNI allows no such name" in health["my-net", "network"]


def test_a_configuration_that_breaks_is_reported_as_the_network_it_was(host: Host) -> None:
    """Let the core show the last network of the broken file as unhealthy."""
    prober = host.prober()
    host.configure("10-a.conf", "{")
    (target,) = prober.discover().values()
    with pytest.raises(ProbeFailed, match="conf is not JSON"):
        prober.probe(target)
    assert list(prober.discover()) == ["10-a.conf"], "the network's ID where it never had a name"


def test_a_change_of_any_input_of_health_makes_another_target(host: Host) -> None:
    host.install("bridge", "vlan")
    host.configure("10-a.conf", one("a", "bridge"))
    prober = host.prober()

    def changed() -> set[str]:
        before, after = seen[0], dict(prober.discover())
        seen[0] = after
        return {Path(name).name for name in before | after if before.get(name) != after.get(name)}

    seen = [dict(prober.discover())]
    assert changed() == set()
    os.replace(host.bin / "vlan", host.bin / "bridge")
    assert changed() == {"10-a.conf", "bridge", "vlan"}
    host.configure("20-b.json", one("b", "bridge"))
    assert changed() == {"20-b.json", "bridge"}
    (host.bin / "bridge").unlink()
    assert changed() == {"10-a.conf", "20-b.json", "bridge"}
    assert host.health(prober) == {
        (name, "network"): f"there is no bridge in {host.bin}, and the network needs it"
        for name in ("a", "b")
    }


def test_networks_are_probed_when_an_executable_that_they_need_changes(host: Host) -> None:
    host.script("plugin", "exit $(cat $0.status)")
    (host.bin / "plugin.status").write_text("3")
    host.configure("10-a.conf", one("a", "plugin"))
    prober = host.prober()
    watch = Watch(host, prober)
    assert "status 3" in host.health(prober)["a", "network"]
    (host.bin / "plugin.status").write_text("4")
    prober.probe(prober.discover()[str(host.bin / "plugin")])
    eventually(lambda: "10-a.conf" in watch.names)
    assert "status 4" in host.health(prober)["a", "network"]


class Watch:
    """Record the changes that a prober notices, from now on until the process ends."""

    def __init__(self, host: Host, prober: CniProber) -> None:
        self.names: list[str | None] = []
        threading.Thread(target=prober.watch, args=(self.names.append,), daemon=True).start()
        eventually(lambda: host.script("first", "") and self.names)

    def is_quiet_for(self, seconds: float) -> bool:
        self.names.clear()
        time.sleep(seconds)  # no event marks a change that must not come
        return not self.names


def test_files_are_noticed_also_in_folders_that_come_later(host: Host) -> None:
    host.conf.rmdir()
    watch = Watch(host, host.prober())
    eventually(lambda: watch.is_quiet_for(0.3))
    host.conf.mkdir()
    eventually(lambda: watch.names)
    eventually(lambda: watch.is_quiet_for(0.3))
    eventually(lambda: host.configure("10-a.conf", one("a", "bridge")) and watch.names)


def test_looking_is_no_change(host: Host) -> None:
    """Check that a probe is not noticed as a change, or each probe would cause the next."""
    host.install("bridge")
    host.configure("10-a.conf", one("a", "bridge"))
    prober = host.prober()
    watch = Watch(host, prober)
    eventually(lambda: watch.is_quiet_for(0.3))
    for _ in range(20):
        host.probe(prober)
    assert watch.is_quiet_for(0.3)


def test_a_machine_without_cni(tmp_path: Path) -> None:
    host = Host(tmp_path / "none")
    assert host.probe() == {}
