"""Discovery: the sockets on a machine and their plugins; changes are noticed."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plugin_types.csi import CsiType
from plugin_types.csi.finding import (
    Target,
    find_targets,
    folders_to_watch,
)
from plugin_types.csi.settings import DEFAULT_SOCKETS
from plugin_types.csi.sockets import plugin_id, unreachable
from plugind.wire.fields import ID_PATTERN
from tests.csi.drivers import Kit, sample
from tests.promises import PATIENCE

ALLOC = "94f62a35-eb38-46a9-2c2b-71b3313fe12f"
OTHER_ALLOC = "bea04984-e834-4c36-b6f2-0c17eb350131"


def make_socket(path: Path) -> Path:
    """Create a socket that no process listens on, as a killed driver leaves it behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    return path


def globs_below(root: Path) -> list[str]:
    """Return the default globs, as if ``root`` were ``/``."""
    return [f"{root}{pattern}" for pattern in DEFAULT_SOCKETS]


def ids(root: Path, **block: Any) -> dict[str, str]:
    """Return the plugins' IDs by the path of the socket below ``root``."""
    settings = CsiType.settings_schema().load({"sockets": globs_below(root), **block})
    return {
        str(Path(path).relative_to(root)): target.id
        for path, target in find_targets(settings).items()
    }


def test_the_default_layouts(folder: Path) -> None:
    for path in (
        "run/csi/ebs0.sock",
        "run/csi/nfs/csi.sock",
        "var/lib/nomad/client/csi/controller/ebs1/csi.sock",
        "opt/nomad/data/client/csi/monolith/hostpath-plugin0/csi.sock",
        "var/lib/kubelet/plugins/ebs.csi.aws.com/csi.sock",
    ):
        make_socket(folder / path)
    make_socket(folder / "run/csi/deeper/down/csi.sock")
    (folder / "run/csi/file.sock").touch()
    (folder / "run/csi/gone.sock").symlink_to(folder / "nowhere")
    assert ids(folder) == {
        "run/csi/ebs0.sock": "ebs0",
        "run/csi/file.sock": "file",
        "run/csi/nfs/csi.sock": "nfs",
        "var/lib/nomad/client/csi/controller/ebs1/csi.sock": "ebs1",
        "opt/nomad/data/client/csi/monolith/hostpath-plugin0/csi.sock": "hostpath-plugin0",
        "var/lib/kubelet/plugins/ebs.csi.aws.com/csi.sock": "ebs.csi.aws.com",
    }


def test_the_samples_control_socket_is_no_driver(folder: Path) -> None:
    with sample(folder / "run/csi/disks.sock"):
        assert ids(folder) == {"run/csi/disks.sock": "disks"}


def test_newer_nomad_with_one_plugin(folder: Path) -> None:
    csi = folder / "opt/nomad/client/csi"
    path = make_socket(csi / "plugins" / ALLOC / "csi.sock")
    assert ids(folder) == {str(path.relative_to(folder)): ALLOC}
    (csi / "node" / "ebs0" / "staging").mkdir(parents=True)
    assert ids(folder) == {str(path.relative_to(folder)): "ebs0"}
    (csi / "controller" / "ebs0").mkdir(parents=True)
    make_socket(csi / "plugins" / OTHER_ALLOC / "csi.sock")
    assert set(ids(folder).values()) == {"ebs0"}


def test_newer_nomad_with_two_plugins_takes_the_drivers_names(
    folder: Path, kit: Callable[..., Kit]
) -> None:
    csi = folder / "opt/nomad/client/csi"
    for id in ("ebs0", "nfs0"):
        (csi / "node" / id).mkdir(parents=True)
    path = csi / "plugins" / ALLOC / "csi.sock"
    on = kit(sockets=globs_below(folder), probe_timeout="20s")
    make_socket(path)
    (((id, _), health),) = on.health().items()
    assert id == ALLOC
    assert "nothing listens" in health
    with sample(path, "--name", "ebs.csi/aws", "--no-controller"):
        assert on.health() == {("ebs.csi-aws", "node"): "healthy"}


def test_names_without_usable_characters_get_different_ids(folder: Path) -> None:
    for name in ("é", "ü", "__"):
        make_socket(folder / f"run/csi/{name}.sock")
    found = ids(folder)
    assert len(set(found.values())) == 3
    assert all(re.fullmatch("unnamed-[0-9a-f]{8}", id) for id in found.values())
    assert ids(folder) == found


def test_an_instance_block_names_a_socket_that_globs_find_too(folder: Path) -> None:
    path = make_socket(folder / "run/csi/disks.sock")
    block = {"endpoint": f"unix://{path}", "role": "node", "unhealthy_after": 3}
    settings = CsiType.settings_schema().load(
        {"sockets": globs_below(folder), "instance": {"ebs0": block}}
    )
    (target,) = find_targets(settings).values()
    (named,) = settings.instance["ebs0"]
    assert replace(target, file=None) == Target(str(path), "ebs0", role="node", schedule=named)
    assert named.over(settings) == replace(settings, unhealthy_after=3)
    assert target.file


def test_a_socket_under_two_spellings_is_one_target(folder: Path) -> None:
    path = make_socket(folder / "run/csi/ebs0.sock")
    (folder / "varrun").symlink_to(folder / "run")
    elsewhere = folder / "varrun/csi/ebs0.sock"
    both = {"sockets": [str(folder / "run/csi/*.sock"), str(folder / "varrun/csi/*.sock")]}
    assert list(find_targets(CsiType.settings_schema().load(both))) == [str(path)]
    named = both | {"instance": {"ebs0": {"endpoint": f"unix://{elsewhere}"}}}
    assert list(find_targets(CsiType.settings_schema().load(named))) == [str(elsewhere)]


def test_a_symlink_and_its_target_are_one_socket(folder: Path) -> None:
    """Name the socket by its target's rule, wherever the link comes in the order of paths."""
    csi = folder / "opt/nomad/client/csi"
    path = make_socket(csi / "node/ebs0/csi.sock")
    (folder / "run/csi").mkdir(parents=True)
    for name in ("run/csi/aaa.sock", "run/csi/zzz.sock"):
        (folder / name).symlink_to(path)
    (target,) = find_targets(
        CsiType.settings_schema().load({"sockets": globs_below(folder)})
    ).values()
    assert (target.path, target.id) == (str(path), "ebs0")
    assert target.layout is not None
    assert target.layout.roles == {"node"}


def test_a_folder_that_may_not_be_read_is_trouble(folder: Path, kit: Callable[..., Kit]) -> None:
    """Report a folder that the agent may not read, such as Nomad's folders of mode 0700."""
    csi = folder / "opt/nomad/client/csi"
    make_socket(csi / "plugins" / ALLOC / "csi.sock")
    folder.chmod(0o755)
    prober = kit(sockets=globs_below(folder)).prober
    assert prober.trouble() == ""
    (folder / "opt/nomad/client").chmod(0o700)
    os.seteuid(65_534)
    try:
        assert prober.trouble() == f"the agent may not read {folder}/opt/nomad/client"
        os.seteuid(0)
        (folder / "opt/nomad/client").chmod(0o711)
        (csi / "plugins").chmod(0o711)
        os.seteuid(65_534)
        assert prober.trouble() == f"the agent may not read {csi}/plugins"
    finally:
        os.seteuid(0)


def test_another_socket_in_its_place_is_another_target(folder: Path) -> None:
    path = make_socket(folder / "run/csi/ebs0.sock")
    settings = CsiType.settings_schema().load({"sockets": [str(path)]})
    before = find_targets(settings)
    assert find_targets(settings) == before
    make_socket(folder / "new.sock").rename(path)
    assert find_targets(settings) != before


@given(st.text(max_size=200))
def test_every_name_gives_an_id(name: str) -> None:
    assert ID_PATTERN.fullmatch(plugin_id(name))
    if ID_PATTERN.fullmatch(name):
        assert plugin_id(name) == name


def test_reasons_of_unreachable_sockets(folder: Path) -> None:
    stale = make_socket(folder / "stale.sock")
    assert "connection refused (is the driver running?)" in unreachable(str(stale))
    assert unreachable(str(folder / "none.sock")) == f"no socket at {folder}/none.sock"
    assert unreachable(str(stale / "below")) == f"no socket at {stale}/below"
    (folder / "loop").symlink_to(folder / "loop")
    assert "too many levels" in unreachable(str(folder / "loop"))
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(folder / "full"))
        full.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(folder / "full"))
            assert unreachable(str(folder / "full")) == ""


def test_folders_to_watch(folder: Path) -> None:
    def watched(pattern: str) -> set[str]:
        return {
            str(Path(path).relative_to(folder))
            for path in folders_to_watch([f"{folder}/{pattern}"])
        }

    assert watched("plugins/*/csi.sock") == {"."}
    (folder / "plugins/ebs/csi.sock/globalmount/deep").mkdir(parents=True)
    (folder / "plugins/nfs").mkdir()
    (folder / "plugins/file").touch()
    assert watched("plugins/*/csi.sock") == {"plugins", "plugins/ebs", "plugins/nfs"}
    assert watched("plugins/*.sock") == {"plugins"}
    assert watched("plugins/nfs/csi.sock") == {"plugins/nfs"}
    assert watched("*/*/csi.sock") == {".", "plugins", "plugins/ebs", "plugins/nfs"}
    assert watched("nothing/here/*.sock") == {"."}


class Watched:
    """A prober that watches a folder, and looks when it is woken, as the core does."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        kit.watch()

    def sees(self, *names: str) -> bool:
        """Return whether a wake leads to exactly these IDs."""
        for _ in range(50):
            found = sorted(target.id for target in self.kit.prober.discover().values())
            if found == sorted(names):
                return True
            if not self.kit.wakes.comes(None):
                return False
            self.kit.wakes.forget()
        return False


def test_sockets_are_noticed_as_they_come_and_go(folder: Path, kit: Callable[..., Kit]) -> None:
    watched = Watched(kit(sockets=globs_below(folder)))
    assert watched.kit.wakes.comes(None)  # it watches
    path = make_socket(folder / "run/csi/disks.sock")
    assert watched.sees("disks")
    plugin = make_socket(folder / "var/lib/kubelet/plugins/ebs/csi.sock")
    assert watched.sees("disks", "ebs")
    path.unlink()
    assert watched.sees("ebs")
    plugin.unlink()
    assert watched.sees()
    make_socket(plugin)
    assert watched.sees("ebs")
    shutil.rmtree(folder / "var")
    assert watched.sees()
    make_socket(plugin)
    assert watched.sees("ebs")


def test_a_prober_without_globs_watches_nothing(kit: Callable[..., Kit]) -> None:
    watching = kit().watch()
    watching.join(PATIENCE)
    assert not watching.is_alive()
