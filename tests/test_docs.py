"""The documents show what really happens: every command in them is run and its output compared.

A ```console block has commands after "$ " and their output. A ```sh block is for commands that
cannot be run in a test; each is in UNTESTED, with what runs it instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
import requests

from plugind.config.hcl import parse_text
from plugind.config.tree import Place
from tests.certificates import certificate
from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM, PATIENCE, Watch
from tests.support import eventually

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

UNTESTED = {
    "etcd --config-file conf/three-servers/etcd-1.yml": "tests/test_three_servers.py runs it",
    "plugind agent --config conf/three-servers/server.hcl "
    "--config conf/three-servers/server-1.hcl": "tests/test_three_servers.py runs it",
    "plugind store import /var/backups/plugind.jsonl --config /etc/plugind-etcd": (
        "tests/store/etcd/test_moving.py moves a store so"
    ),
    "make run": "tests/test_processes.py runs what it runs",
    "make test": "continuous integration",
    "make bench": "takes minutes; tests/test_benchmarks.py tries figures out",
    ".venv/bin/python -m benchmarks --list": "tests/test_benchmarks.py tries figures out",
    ".venv/bin/python -m benchmarks --only list-1000 --only 'reports-*' --on granian --runs 9": (
        "takes a minute; tests/test_benchmarks.py tries figures out"
    ),
    "make bench BENCH='--json' > /tmp/bench.json": "tests/test_benchmarks.py reads the JSON",
    "make bench BENCH='--write docs/performance.md'": "tests/test_benchmarks.py writes a file so",
    "python3 -m venv /opt/plugind": "writes outside of the checkout",
    "/opt/plugind/bin/pip install .": "writes outside of the checkout; make test installs the same",
    'eval "$(_PLUGIND_COMPLETE=bash_source plugind)"': "tests/test_cli.py runs it in a shell",
    "export NOMAD_ADDR=http://127.0.0.1:4646": "needs a Nomad",
    "nomad plugin status": "needs a Nomad",
    "plugind plugin history ebs0 --since 24h": "tests/cli/test_history.py runs it",
    "plugind node history vm1": "tests/cli/test_history.py runs it",
    "plugind history --watch": "tests/cli/test_history.py runs it",
    "plugind status": "tests/cli/test_status.py runs it",
    "plugind acl token create --name grafana --policy dashboard --expires-in 2160h": (
        "draws a secret, another each time; tests/acl runs it"
    ),
    "nomad node status": "needs a Nomad",
    "nomad alloc status ID    # a process that nomad plugin status ID lists": "needs a Nomad",
    "nomad server members": "needs a Nomad",
    "export PLUGIND_ADDR=https://plugind.example.com/plugind": "tests/test_exposing.py runs it",
    "plugind plugin status --ca-file /etc/plugind/ca.pem": "tests/test_exposing.py runs it",
    "plugind node status --client-cert me.crt --client-key me.key": (
        "tests/test_client_certificates.py runs it"
    ),
    "cp -r conf/server/. /etc/plugind": "writes outside of the checkout",
    "plugind config validate /etc/plugind": "tests/config/test_examples.py starts with a copy",
    "plugind config show /etc/plugind": "tests/test_config_show.py runs it",
    "plugind reload --config /etc/plugind": "tests/test_reload_command.py runs it",
    "plugind store backup /var/backups/plugind.db --config /etc/plugind": "tests/store runs it",
    "plugind store check --config /etc/plugind": "tests/store runs it",
    "plugind store export /var/backups/plugind.jsonl --config /etc/plugind": "tests/store runs it",
    "plugind store import /var/backups/plugind.jsonl --config /etc/plugind": "tests/store runs it",
    "etcdctl user add plugind": "tests/store/etcd/test_access.py runs it",
    "etcdctl role add plugind": "tests/store/etcd/test_access.py runs it",
    "etcdctl role grant-permission plugind --prefix=true readwrite plugind/": (
        "tests/store/etcd/test_access.py runs it"
    ),
    "etcdctl user grant-role plugind plugind": "tests/store/etcd/test_access.py runs it",
    "etcdctl compact $(etcdctl endpoint status --write-out json | grep -o '\"revision\":[0-9]*' |"
    " head -1 | cut -d: -f2)": "needs an etcd that is full",
    "etcdctl member list": "tests/store/etcd/test_wiped.py runs it",
    "etcdctl member remove ID": "tests/store/etcd/test_wiped.py runs it",
    "etcdctl member add NAME --peer-urls URL": "tests/store/etcd/test_wiped.py runs it",
    "etcdctl defrag": "tests/store/etcd/test_faults.py runs it",
    "etcdctl alarm disarm": "tests/store/etcd/test_faults.py runs it",
    "plugind store restore /var/backups/plugind.db --config /etc/plugind": "tests/store runs it",
    "PLUGIND_CONFIG=/etc/plugind granian --interface asgi --http 1 --port 4646 "
    "--backpressure 12000 --backlog 12000 plugind.asgi:app": "tests/test_hosted.py runs it",
    "PLUGIND_CONFIG=/etc/plugind uvicorn --no-proxy-headers --port 4646 --backlog 12000 "
    "plugind.asgi:app": "tests/test_hosted.py runs it",
    "PLUGIND_CONFIG=/etc/plugind waitress-serve --listen=127.0.0.1:4646 --threads=300 "
    "plugind.wsgi:app": "tests/test_hosted.py runs it",
}


def blocks(kind: str) -> list[tuple[str, str]]:
    return [
        (path.name, text)
        for path in DOCUMENTS
        for found, text in BLOCK.findall(path.read_text())
        if found == kind
    ]


def shell_sessions() -> Iterator[tuple[str, str, str]]:
    """Yield the document, command and output of every command shown, in reading order."""
    for name, text in blocks("console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield name, command, output


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start what ``make run`` starts, and yield the environment variables for using it."""
    folder = tmp_path_factory.mktemp("run")
    output = folder / "output"
    with output.open("wb") as stream:
        run = subprocess.Popen(
            [sys.executable, ROOT / "examples/run.py", "--name", "vm"],
            env={**os.environ, "PLUGIND_PORTS_HTTP": "0", "TMPDIR": str(folder)},
            stdout=stream,
            stderr=stream,
        )
    try:
        address = eventually(lambda: re.search(r"address=(http://\S+)", output.read_text()))[1]
        url = f"{address}/v1/plugins?type=csi"
        eventually(lambda: len(requests.get(url, timeout=PATIENCE).json()) == 2)
        sockets = eventually(lambda: re.search(r"--socket (\S+)/ebs0.sock", output.read_text()))
        yield {
            **os.environ,
            "PATH": f"{PLUGIND.parent}:{os.environ['PATH']}",
            "PLUGIND_ADDR": address,
            "SOCKETS": sockets[1],
        }
    finally:
        run.terminate()
        assert run.wait(PATIENCE) == 0


def plain(text: str) -> str:
    """Return output without the parts that vary: times, spans, column widths and indexes.

    Indexes count changes, and on a busy machine the agent's first report may be incomplete.
    """
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*", "TIME", text)
    text = re.sub(r"\(\w+ ago\)", "(AGO)", text)
    text = re.sub(r'(Index": ?)\d+', r"\1N", text)
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def printed(command: str, environ: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command.replace("http://127.0.0.1:4646", environ["PLUGIND_ADDR"])],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )
    assert done.returncode == 0, (command, done.stderr)
    return plain(done.stdout)


def test_every_command_shown_prints_what_is_shown(environ: dict[str, str]) -> None:
    sessions = list(shell_sessions())
    assert len(sessions) >= 6
    for document, command, output in sessions:
        wanted = plain(output)
        # The effect of a command to a driver shows at the next probe.
        watch = Watch()
        while (got := printed(command, environ)) != wanted and not watch.is_over(PATIENCE):
            time.sleep(0.2)
        assert got == wanted, f"{document}: {command}"


def test_commands_that_are_not_run_are_listed() -> None:
    shown = {
        line
        for name, text in blocks("sh")
        if name != "api.md"  # tests/api/test_openapi.py runs these
        for line in text.splitlines()
        if line
    }
    assert shown == set(UNTESTED)


def test_configuration_shown_is_valid(tmp_path: Path) -> None:
    shown = blocks("hcl")
    assert shown
    (tmp_path / "acl/policies").mkdir(parents=True)  # some configurations name these files
    (tmp_path / "acl/tokens.hcl").touch()
    shutil.copy(certifi.where(), tmp_path / "ca.pem")
    certificate(tmp_path, "agent")
    (tmp_path / "agent.token").write_text("a-token")
    base = tmp_path / "base.hcl"  # completes the part that is shown
    base.write_text('data_dir = "data"\nports { http = 0 }\nserver { enabled = true }\n')
    for number, (name, text) in enumerate(shown):
        assert parse_text(text, Place(name))
        file = tmp_path / f"{number}.hcl"
        file.write_text(text)
        done = subprocess.run(
            [PLUGIND, "config", "validate", base, file],
            capture_output=True,
            timeout=COMMAND_MAXIMUM,
        )
        assert done.returncode == 0, (name, done.stderr)


def test_the_plugin_type_of_the_readme_works(tmp_path: Path) -> None:
    """Check the type as pip would install it, and that the command line finds it."""
    (source,) = [text for _, text in blocks("python")]
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/my_module.py").write_text(source)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (entry_points,) = [text for name, text in blocks("ini") if name == "README.md"]
    lines = entry_points.replace("[options.entry_points]\nplugind =", "[plugind]").splitlines()
    (info / "entry_points.txt").write_text("\n".join(line.strip() for line in lines))
    code = (
        "from plugind.types.registry import plugin_type\n"
        "from plugind.schemas.plugins import PluginSchemas\n"
        "type_ = plugin_type('file')\n"
        "prober = type_.prober(type_.settings_schema().load({}))\n"
        "import pathlib, sys\n"
        "assert PluginSchemas.of(type_).row.dump({'ID': 'x'}) == {'ID': 'x'}\n"
        "print(prober.probe(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, __file__],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=COMMAND_MAXIMUM,
    )
    assert done.returncode == 0, done.stderr
    assert "('test_docs', 'node')" in done.stdout


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
