"""One table of hostile texts, sent through every place where plugind writes text from outside."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from rich.console import Console

from plugind import logs, printable
from plugind.api.reply import Reply, error_reply, rendered
from plugind.api.request import Request
from plugind.cli import Commands, output, terminal
from plugind.errors import PlugindError
from plugind.wire.texts import tame
from tests.events.client import stream
from tests.hostile_texts import HOSTILE, SENDABLE, unsafe
from tests.processes import PLUGIND
from tests.promises import COMMAND_MAXIMUM
from tests.support import FakeAgent, Live, down, eventually, serving
from tests.test_cli import plugind, printing

ROOT = Path(__file__).parent.parent
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture(autouse=True)
def configured_logs() -> Iterator[None]:
    yield
    logs.configure()


@hostile
def test_the_core(text: str) -> None:
    harms = unsafe(text) or "\n" in text or "<" in text or text.startswith("=")
    assert harms, "the table has harmless texts"
    for made in (printable.escaped(text), printable.one_line(text), printable.ascii_line(text)):
        assert not unsafe(made)
        assert "\n" not in made
    assert not unsafe(printable.lines(text))
    assert printable.lines(text).count("\n") == text.count("\n")
    assert printable.ascii_line(text).isascii()
    assert not unsafe(tame(text, 100))
    assert len(printable.one_line(text * 50, 7)) == 7
    assert printable.escaped(printable.escaped(text)) == printable.escaped(text)


@pytest.mark.parametrize("text", ["", "ebs0", "größer als 5 €", "ディスク", "👩‍👩‍👧", "[disk] \\x"])
def test_harmless_text_stays(text: str) -> None:
    assert printable.escaped(text) == printable.lines(text) == printable.one_line(text) == text


@hostile
def test_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.echo(text)
    terminal.echo(text, err=True)
    output.print_json({text: text})
    out, err = capsys.readouterr()
    assert not unsafe(out + err)
    buffer = io.StringIO()
    console = Console(file=buffer, width=200)
    console.print(output.table(["A"], [[text]]))
    console.print(output.pairs({text: text}))
    assert not unsafe(buffer.getvalue())


@hostile
@pytest.mark.parametrize("kind", [PlugindError, click.ClickException, click.UsageError])
def test_errors_of_commands(
    text: str, kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise kind(text)

    group = Commands("plugind", commands={"fails": click.Command("fails", callback=fails)})
    with pytest.raises(SystemExit):
        group.main(["fails"])
    assert not unsafe(capsys.readouterr().err)


@hostile
@pytest.mark.parametrize("json_", [False, True])
def test_the_log(
    text: str, json_: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(json=json_)
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        logs.get("test").error(text, reason=text, error=error, exc_info=error)
        logging.getLogger("a.library").error("%s", text, exc_info=error)
    err = capsys.readouterr().err
    assert not unsafe(err)
    assert err.count("\n") == 2
    if json_:
        assert json.loads(err.splitlines()[0])["reason"] == text


@hostile
def test_headers_and_error_bodies(text: str) -> None:
    request = Request("GET", "/v1/plugins", query={}, headers={})
    answer = rendered(Reply(b"{}", headers={"X-Nomad-NextToken": text}), request)
    value = answer.headers["X-Nomad-NextToken"]
    assert value.isascii()
    assert not unsafe(value)
    body = rendered(error_reply(text, 400), request).body
    assert isinstance(body, bytes)
    body = body.decode()
    assert not unsafe(body)
    assert "\n" not in body


def test_output_of_packages_in_a_probers_process(tmp_path: Path) -> None:
    code = f"""
from plugind import logs
stream = logs.SafeStream()
for text in {list(HOSTILE.values())!r}:
    print(text, file=stream)
"""
    (tmp_path / "prints.py").write_text(code)
    python = PLUGIND.with_name("python")
    done = subprocess.run(
        [python, tmp_path / "prints.py"], capture_output=True, timeout=COMMAND_MAXIMUM
    )
    assert done.returncode == 0, done.stderr
    assert not unsafe(done.stderr.decode())
    assert b"\\x1b[31mred" in done.stderr


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serve a node, a plugin and an instance for each hostile text."""
    with serving(tmp_path_factory.mktemp("hostile"), live=True) as served:
        assert isinstance(served, Live)
        for number, text in enumerate(SENDABLE.values()):
            agent = FakeAgent(served, f"{number:08}-2222-4333-8444-555555555555", name=text)
            one = down(text, Provider=text, ProviderVersion=text, AllocID=text)
            more = {"Allocations": {text: {"Name": text, "JobID": text, "TaskGroup": text}}}
            answer = agent.report({f"p{number}": {"node": one}}, Version=text, **more)
            assert answer.status == 200, answer.text
        yield served


COMMANDS = [
    ("plugin", "status"),
    ("plugin", "status", "--json"),
    ("plugin", "status", "p0"),
    ("plugin", "check", "p0"),
    ("plugin", "history", "p0"),
    ("node", "history", "00000000"),
    ("plugin", "status", "x\x1b[31m"),
    ("plugin", "status", "--type", "x\x1b[31m"),
    ("plugin", "\x1b[31m"),
    ("node", "status"),
    ("node", "status", "00000000"),
    ("node", "status", "--json"),
    ("node", "status", "\x9b31m\udcff"),
    ("plugin", "status", "\udcff"),
    ("plugin", "history", "p0"),
    ("plugin", "history", "x\x1b[31m/p0"),
    ("node", "history", "00000000", "--since", "x\x1b[31m"),
    ("history",),
    ("history", "--json"),
    ("status",),
    ("status", "--json"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=ascii)
def test_commands(api: Live, words: tuple[str, ...]) -> None:
    check(api, words)


@pytest.mark.parametrize("words", [COMMANDS[0], COMMANDS[2], COMMANDS[-1]], ids=ascii)
@pytest.mark.parametrize(
    "environ",
    [{"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=["LANG=C", "ascii"],
)
def test_commands_where_the_terminal_knows_only_ascii(
    api: Live, words: tuple[str, ...], environ: dict[str, str]
) -> None:
    check(api, words, **environ)


def check(api: Live, words: tuple[str, ...], **environ: str) -> None:
    done = plugind(*words, address=api.address, **environ)
    assert "Traceback" not in done.stderr
    assert not unsafe(done.stdout + done.stderr)
    assert done.stdout or done.stderr.count("\n") <= 4


@pytest.mark.parametrize("form", ["application/json", "text/event-stream"])
def test_event_streams_keep_their_lines(api: Live, form: str) -> None:
    """Check that a text ends neither a line of the stream nor a field, and arrives unchanged."""
    last = api.call("GET", "/v1/plugins?type=csi").index
    reasons = {}
    with stream(api, "?index=1", {"Accept": form}) as found:
        index = 0
        while index < last:
            raw = found.raw()
            assert raw.endswith(b"\n")
            assert b"\r" not in raw
            field, _, data = raw.strip().partition(b" ")
            if form == "text/event-stream" and field != b"data:":
                assert field in (b"", b":", b"id:"), raw
                continue
            line = json.loads(raw if form == "application/json" else data)
            index = line.get("Index", 0)
            for event in line.get("Events", ()):
                if event["Topic"] == "Plugin":
                    reasons[event["Payload"]["ID"]] = event["Payload"]["Reason"]
    assert reasons == {
        row["ID"]: row["Reason"]
        for number in range(len(SENDABLE))
        for row in api.call("GET", f"/v1/plugin/csi/p{number}/history").json
    }
    assert len(reasons) == len(SENDABLE)


def test_history_that_is_watched(api: Live) -> None:
    with printing("history", "--watch", address=api.address) as out:
        eventually(lambda: len(out) >= len(SENDABLE))
    assert not unsafe("".join(out))


def test_escapes_show_what_was_there(api: Live) -> None:
    done = plugind("plugin", "status", "p0", address=api.address)
    assert "x\\x1b[31mred" in done.stdout


def test_commands_write_through_the_terminal_module_only() -> None:
    for path in (ROOT / "plugind/cli").glob("*.py"):
        if path.name != "terminal.py":
            assert "click.echo(" not in path.read_text(), f"{path.name}: use terminal.echo"
            assert "click.secho(" not in path.read_text(), f"{path.name}: use terminal.echo"


def test_a_terminal_that_lacks_characters_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    terminal.tolerate_encodings()
    sys.stdout.write("größer …")
    sys.stdout.flush()
    assert raw.getvalue() == b"gr\\xf6\\xdfer \\u2026"
