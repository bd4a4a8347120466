"""docs/plugin-types.md: its tutorial is followed step by step, and its contract is complete.

After its language, each block names its kind: a file, commands for one terminal (``session``),
commands left running in another (``background``), or Python to run (``snippet``).
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from marshmallow.fields import Field

from plugind import fields, plugin_type
from plugind.agent.bounds import TARGETS_MAXIMUM
from plugind.agent.prober.probing import NAME_MAXIMUM
from plugind.agent.prober.results import DESCRIPTION_MAXIMUM, NESTING_MAXIMUM
from plugind.plugin_type import API_VERSION, Hooks, PluginType, Prober, SettingsSchema
from plugind.toolbox import folders, mounts, processes, programs, state_file, trust
from tests.promises import PATIENCE, Watch, eventually
from tests.test_docs import ROOT, plain
from tests.testing.test_new_type import run

TEXT = (ROOT / "docs/plugin-types.md").read_text()
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES_MAXIMUM = 60  # in the finished type


class Reader:
    """A reader who follows the document, in a folder of their own."""

    def __init__(self, folder: Path, bin: Path, install: Callable[[str], str]) -> None:
        self.folder = folder
        self.install = install
        self.agent: subprocess.Popen[bytes] | None = None
        self.environ = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
        self.python = bin / "python"

    def follow(self, language: str, what: str, text: str) -> None:
        if what == "session":
            for command, output in _commands(language, text):
                self.type(command, output if language == "console" else None)
        elif what == "background":
            self.start(text.strip())
        elif what == "snippet":
            self.run(f"{self.python} -", stdin=text)
        else:
            file = self.folder / what
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)

    def start(self, command: str) -> None:
        """End the program that runs in that terminal, and start the command there."""
        self.stop()
        log = self.folder / "log"
        with log.open("wb") as stream:
            self.agent = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env={**self.environ, "PLUGIND_PORTS_HTTP": "0", "PLUGIND_NAME": "vm"},
                stdout=stream,
                stderr=stream,
            )
        found = eventually(lambda: re.search(r"address=(http://\S+)", log.read_text()))
        self.environ["PLUGIND_ADDR"] = found[1]

    def stop(self) -> None:
        if self.agent:
            self.agent.send_signal(signal.SIGINT)
            assert self.agent.wait(PATIENCE) == 0
        self.agent = None

    def type(self, command: str, output: str | None) -> None:
        """Run a command; fail unless it soon prints the output shown in the document."""
        wanted = output and timeless(output)
        watch = Watch()
        got = timeless(self.run(self.install(command)))
        while output and got != wanted and not watch.is_over(PATIENCE):
            time.sleep(0.5)  # each look is a process
            got = timeless(self.run(command))
        assert output is None or got == wanted, command

    def run(self, command: str, stdin: str = "") -> str:
        """Run a command with its output in a file, since a process that it leaves running may hold
        a pipe."""
        printed = self.folder / "printed"
        with printed.open("w+") as stream:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environ,
                input=stdin,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
        # A grep that finds nothing yet is asked again.
        assert done.returncode == 0 or "| grep" in command, (command, printed.read_text())
        return printed.read_text()

    def close(self) -> None:
        if self.agent:
            self.agent.kill()
            self.agent.wait()
        for file in (self.folder / "run").glob("*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)


def _commands(language: str, text: str) -> Iterator[tuple[str, str]]:
    if language == "sh":
        yield from ((line, "") for line in text.splitlines())
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def timeless(text: str) -> str:
    return re.sub(r"process \d+", "process PID", plain(text))


def do_all(reader: Reader) -> None:
    try:
        for language, what, text in BLOCK.findall(TEXT):
            reader.follow(language, what, text)
        reader.stop()
    finally:
        reader.close()


@pytest.mark.timeout(600)  # a dozen commands, each a process
def test_every_step_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """Run each step with the packages installed as "pip install -e" would, into the test's own
    path."""

    def install(command: str) -> str:
        package = command.removeprefix("pip install -e ./")
        if package == command:
            return command
        reader.environ["PYTHONPATH"] += f":{tmp_path / package}"
        setup = f"{sys.executable} -c 'from setuptools import setup; setup()' -q egg_info"
        return f"cd {tmp_path / package} && {setup}"

    reader = Reader(tmp_path, Path(sys.executable).parent, install)
    reader.environ["PYTHONPATH"] = ""
    do_all(reader)


@pytest.mark.soak
def test_the_tutorial_in_an_environment_of_its_own(tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    bin, folder = tmp_path / "venv/bin", tmp_path / "work"
    folder.mkdir()
    run(bin / "pip", "install", "--quiet", ROOT, "pytest", folder=tmp_path)
    do_all(Reader(folder, bin, lambda command: command))


def test_every_block_is_run() -> None:
    assert TEXT.count("\n```") == 2 * len(BLOCK.findall(TEXT))
    kinds = {what for _, what, _ in BLOCK.findall(TEXT) if "." not in what}
    assert kinds == {"session", "background", "snippet"}


def test_the_finished_type_is_short() -> None:
    *_, finished = [
        text
        for _, what, text in BLOCK.findall(TEXT)
        if what.endswith("_pidfile.py") and "test_" not in what
    ]
    assert len([line for line in finished.splitlines() if line]) < LINES_MAXIMUM


def signature(function: Callable[..., object]) -> str:
    """Return a signature as it is written, without self."""
    words = str(inspect.signature(function)).replace("b''", 'b""')
    words = words.replace("'", "").replace("self, ", "")
    words = words.removesuffix(" -> None") if inspect.isclass(function) else words
    words = re.sub(r"\bFolders\b", "Callable[[], Collection[str]]", words)
    return f"{function.__name__}{words.replace('(self)', '()')}".replace("|", "\\|")


METHODS = [
    method
    for class_ in (Hooks, PluginType, Prober)
    for name, method in inspect.getmembers(class_, inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_the_contract_has_every_hook_and_method(method: Callable[..., object]) -> None:
    assert f"| `{signature(method)}` |" in TEXT
    assert method.__doc__


MODULES = (folders, mounts, processes, programs, state_file, trust)
TOOLS = [
    tool
    for module in MODULES
    for name, tool in inspect.getmembers(module)
    if not name.startswith("_")
    and (inspect.isfunction(tool) or inspect.isclass(tool))
    and tool.__module__ == module.__name__
]


def test_every_module_of_the_toolbox_is_in_the_document() -> None:
    there = {path.stem for path in (ROOT / "plugind/toolbox").glob("[!_]*.py")}
    assert there == {module.__name__.rpartition(".")[2] for module in MODULES}
    assert [name for name in there if f"`plugind.toolbox.{name}`" not in TEXT] == []


@pytest.mark.parametrize("tool", [*TOOLS, programs.Program.run], ids=lambda tool: tool.__name__)
def test_each_tool_has_its_signature_and_an_example(tool: Callable[..., object]) -> None:
    assert f"| `{signature(tool)}` |" in TEXT
    examples = [text for _, what, text in BLOCK.findall(TEXT) if what == "snippet"]
    word = "ended." if tool is programs.Ended else f"{tool.__name__}("
    assert any(word in text for text in examples)


FIELD_MODULES = {"plugind.wire.fields", "plugind.wire.texts", "plugind.model.times"}


def test_each_field_and_function_of_fields_is_in_the_document_with_an_example() -> None:
    (example,) = [text for _, _, text in BLOCK.findall(TEXT) if "class DiskSchema" in text]
    found = 0
    for name, one in vars(fields).items():
        if name.startswith("_") or getattr(one, "__module__", "") not in FIELD_MODULES:
            continue
        if inspect.isclass(one) and issubclass(one, Field):
            assert f"| `{name}(" in TEXT, name
            nested = one is fields.BlocksByRole  # its argument is a schema
            assert f"{name}({'PortSchema' if nested else 'load_default'}" in TEXT, name
            found += 1
        elif inspect.isfunction(one):
            assert f"| `{signature(one)}` |" in TEXT, name
            assert f"{name}(" in example, name
            found += 1
    assert found == 15


@pytest.mark.parametrize("name", [name for name in dir(Hooks) if name.startswith("plugind_")])
def test_a_hook_says_since_which_version(name: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{name}(")]
    since = re.search(r"Since version (\d+)\.", getattr(Hooks, name).__doc__)
    assert since
    assert row.endswith(f"| {since[1]} |")


def test_the_contract_has_every_attribute_and_number() -> None:
    attributes = [name for name in PluginType.__annotations__ if not name.startswith("_")]
    assert len(attributes) > 8
    assert [name for name in attributes if f"`{name}`" not in TEXT] == []
    assert f"This is version {API_VERSION}." in TEXT
    for number in (NAME_MAXIMUM, TARGETS_MAXIMUM, DESCRIPTION_MAXIMUM):
        assert re.search(rf"\| {number:,}\b", TEXT)
    instances = SettingsSchema().fields["max_instances"].load_default
    assert f"`max_instances`, {instances:,} unless" in TEXT
    assert f"nested {NESTING_MAXIMUM} deep" in TEXT
    assert plugin_type.ENTRY_POINT_GROUP == "plugind"
