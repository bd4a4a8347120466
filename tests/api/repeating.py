"""A server that repeats kept answers, next to one on the same catalogue that never does.

Each request is sent twice to the first server and once to the second, and the answers are compared.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from plugind.acl.tokens import Token, block, draw
from plugind.api import wsgi
from plugind.api.flow import Flow
from plugind.api.repeats import Repeats
from plugind.catalogue import Reading
from plugind.model import PluginKey
from plugind.model.times import SECOND
from plugind.serve.application import create_app
from plugind.serve.asgi import Asgi
from plugind.serve.asgi_application import create_asgi
from plugind.serve.front import WAITRESS, front
from plugind.serve.listening import listen
from plugind.serve.services import Services
from plugind.testing.serving import load
from tests.api.gate import acl_block
from tests.promises import PATIENCE
from tests.support import Answer, Api, FakeAgent, InProcess, Live, on_etcd, up

NODES = ["2f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11", "3f8d0c5e-6f7b-4e0a-9a53-1f6f4f0c8a11"]
FLAGS = {
    "server_enabled": "true",
    "server_heartbeat_ttl": "1h",
    "server_max_parked": "8",
    "server_max_reports": "8",
}

RIGHTS = {
    "all": 'plugin { policy = "read" }\nnode { policy = "read" }\n',
    "plugins": 'plugin { policy = "read" }\n',
    "list": 'plugin { policy = "list" }\n',
    "csi": 'namespace "default" { capabilities = ["csi-list-plugin", "csi-read-plugin"] }\n',
    "nodes": 'node { policy = "read" }\n',
    "none": "",
}
"""Policies by name."""

VALID_FOR = 1_000
"""Seconds for which a token is valid."""

KEPT = re.compile(r"/v1/(plugins\?type=\w+|plugin/\w+/[\w%-]+|nodes|node/[\w-]+(/allocations)?)")
"""The paths whose answers are the same for everyone with the same rights."""

MANAGER, READER, OTHER, NOBODY, UNKNOWN = "manager", "reader", "other", "nobody", "unknown"


@dataclass(frozen=True)
class Read:
    """A read; ``match`` is an index into the tags seen so far, -1 for none."""

    path: str
    holder: str = READER
    parameters: Sequence[str] = ()
    method: str = "GET"
    encoding: str | None = None
    match: int = -1
    as_bearer: bool = False
    node_secret: str | None = None

    @property
    def target(self) -> str:
        if not self.parameters:
            return self.path
        return self.path + "&?"["?" not in self.path] + "&".join(self.parameters)


Step = tuple[str, tuple[Any, ...]]
"""A call of a method of the world: its name and arguments."""


class InLoop:
    """An ASGI application, called in an event loop of its own."""

    def __init__(self, services: Services, app: Asgi) -> None:
        self.services = services
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        app.tasks.mailbox.attach(self._loop)

    def close(self) -> None:
        self.app.tasks.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        assert body is None
        return asyncio.run_coroutine_threadsafe(
            self._call(method, path, headers or {}), self._loop
        ).result(PATIENCE)

    async def _call(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        raw, _, query = path.partition("?")
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        sent: list[Mapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": raw,
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": pairs,
            "client": ("127.0.0.1", 1),
        }
        await self.app(scope, receive, send)
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], got, b"".join(each["body"] for each in sent[1:]))


def _never(given: Repeats) -> None:
    """Make a server repeat no answer."""
    given.find = lambda key, has_waited=False: None  # type: ignore[method-assign]
    given.keep = lambda *arguments: None  # type: ignore[method-assign]


@contextmanager
def _wsgi(services: Services) -> Iterator[tuple[Api, Api]]:
    again, newly = (create_app(services, "127.0.0.1:4646") for _ in range(2))
    _never(newly.repeats)
    yield InProcess(services, again), InProcess(services, newly)


@contextmanager
def _asgi(services: Services) -> Iterator[tuple[Api, Api]]:
    again, newly = (InLoop(services, create_asgi(services, "127.0.0.1:4646")) for _ in range(2))
    _never(newly.app._direct.repeats)
    try:
        yield again, newly
    finally:
        again.close()
        newly.close()


@contextmanager
def _waitress(services: Services) -> Iterator[tuple[Api, Api]]:
    """Serve with waitress, whose loop repeats the answers that leave their connection open."""
    with ExitStack() as until_end:
        made: list[Api] = []
        for is_new in (False, True):
            sock = until_end.enter_context(listen("127.0.0.1", 0))
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            server: Any = front(WAITRESS, services, sock, address)
            if is_new:
                _never(server._http.repeats)
            server.start()
            until_end.callback(server.stop)
            made.append(Live(services, f"http://{address}"))
        yield made[0], made[1]


WAYS = {"wsgi": _wsgi, "asgi": _asgi, WAITRESS: _waitress}


@dataclass
class World:
    """A catalogue behind both servers; ``newly`` is the server that repeats no answer."""

    services: Services
    folder: Path
    config: str
    again: Api
    newly: Api
    tokens: dict[str, tuple[str, Token]]
    offset: int = 0
    tags: list[str] = field(default_factory=list)
    changes: int = 0
    given: int = 0
    """The number of answers that were repeated."""

    def __post_init__(self) -> None:
        self.held: dict[str, int | None] = {READER: None, OTHER: None, MANAGER: None}
        self.declared = ""
        secret = self.tokens[MANAGER][0]
        self.agents = [
            FakeAgent(InProcess(self.services, self._app()), node, name=f"vm{n}", token=secret)
            for n, node in enumerate(NODES)
        ]

    def _app(self) -> Any:
        made = create_app(self.services, "127.0.0.1:4646")
        _never(made.repeats)
        return made

    # The steps.

    def report(self, node: int, plugins: Mapping[str, Any]) -> None:
        assert self.agents[node].report(plugins).status in (200, 403)

    def silence(self, node: int) -> None:
        """Mark a node as down."""
        if self.services.catalogue.has_node(NODES[node]):
            self.services.intake.silence([NODES[node]])

    def forget(self, path: str) -> None:
        headers = {"X-Nomad-Token": self.tokens[MANAGER][0]}
        assert self.agents[0].api.call("DELETE", path, None, headers).status in (200, 403, 404)

    def declare(self, expected: Mapping[str, int]) -> None:
        self.declared = "".join(
            f'plugin "csi" "{id_}" {{\n  nodes_expected = {number}\n}}\n'
            for id_, number in expected.items()
        )
        self.reload()

    def allow(self, policy: str, rights: str) -> None:
        (self.folder / f"policies/{policy}.hcl").write_text(RIGHTS[rights])
        self.reload()

    def revoke(self, holder: str) -> None:
        self.held.pop(holder, None)
        self.reload()

    def grant(self, holder: str, expires: bool) -> None:
        """Grant a token, with or without an expiry."""
        self.held[holder] = time.time_ns() + VALID_FOR * SECOND if expires else None
        self.reload()

    def expire(self) -> None:
        """Let time pass until all tokens with an expiry have expired."""
        self.offset += (VALID_FOR + 1) * SECOND

    def reload(self) -> None:
        write_tokens(self.folder, self.tokens, self.held)
        settings, _ = load(self.folder, self.config + self.declared, FLAGS)
        self.services.reload(settings)

    def degrade(self, text: str) -> None:
        """Make the plugin type's code fail on plugins from their next change on, and change one
        now; "" ends the failure, without a change."""
        catalogue = self.services.catalogue
        vars(catalogue).pop("plugin", None)
        if not text:
            return
        self.changes += 1
        self.report(0, {"a": {"node": up(Provider=f"provider {self.changes}")}})
        look, since = catalogue.plugin, catalogue.index

        def degraded(key: PluginKey) -> Reading:
            reading = look(key)
            if reading.index < since or reading.found is None:
                return reading
            return Reading(reading.index, json.dumps({"ID": text}).encode(), is_degraded=True)

        catalogue.plugin = degraded  # type: ignore[method-assign]

    # The comparison.

    def read(self, read: Read) -> None:
        """Read twice from the server that repeats answers, and once from the other."""
        headers, given = self._headers(read), self.given
        answers = [
            api.call(read.method, read.target, None, headers)
            for api in (self.again, self.again, self.newly)
        ]
        first, second, new = map(_timeless, answers)
        assert first == new, f"{read} had an answer of before"
        assert second == new, f"{read} had another answer when it was given again"
        is_kept = new.status in (200, 304) and KEPT.fullmatch(read.path)
        assert is_kept or given == self.given, f"{read} had an answer that is never kept"
        if tag := new.headers.get("etag"):
            self.tags.append(tag)

    def _headers(self, read: Read) -> dict[str, str]:
        headers: dict[str, str] = {}
        secret = "0" * 64 if read.holder == UNKNOWN else ""
        secret = self.tokens[read.holder][0] if read.holder in self.tokens else secret
        if secret and read.as_bearer:
            headers["Authorization"] = f"Bearer {secret}"
        elif secret:
            headers["X-Nomad-Token"] = secret
        if read.encoding is not None:
            headers["Accept-Encoding"] = read.encoding
        if read.match >= 0 and self.tags:
            headers["If-None-Match"] = self.tags[-1 - read.match % len(self.tags)]
        if read.node_secret is not None:
            headers["X-Plugind-Node-Secret"] = read.node_secret
        return headers

    def take(self, steps: Sequence[Step]) -> None:
        for name, arguments in steps:
            getattr(self, name)(*arguments)


def _timeless(answer: Answer) -> Answer:
    without = {"date", "x-nomad-lastcontact"}
    headers = {name: value for name, value in answer.headers.items() if name not in without}
    return replace(answer, headers=headers)


def write_tokens(
    folder: Path, tokens: Mapping[str, tuple[str, Token]], held: Mapping[str, int | None]
) -> None:
    """Write the file of the tokens in use, each with its expiry."""
    made = [replace(tokens[name][1], expires=expires) for name, expires in held.items()]
    (folder / "tokens.hcl").write_text("".join(map(block, made)))


@contextmanager
def world(way: str, wire: str = "nomad") -> Iterator[World]:
    """Serve in one of the ways, in a folder that is removed at the end."""
    with TemporaryDirectory() as name, ExitStack() as until_end:
        folder = Path(name)
        (folder / "policies").mkdir()
        for policy in (READER, OTHER, "anonymous"):
            rights = "none" if policy == "anonymous" else "all"
            (folder / f"policies/{policy}.hcl").write_text(RIGHTS[rights])
        tokens = {each: draw(each, "client", [each], None) for each in (READER, OTHER)}
        tokens[MANAGER] = draw(MANAGER, "management", [], None)
        write_tokens(folder, tokens, dict.fromkeys(tokens))
        config = on_etcd(folder, f'wire = "{wire}"\n{acl_block(folder)}')
        services = Services(*load(folder, config, FLAGS), folder)
        until_end.callback(services.close)
        # Dropping answers only frees memory.
        answers = services.catalogue.answers
        answers.drop = lambda resources: None  # type: ignore[method-assign]
        answers.clear = lambda: None  # type: ignore[method-assign]
        again, newly = until_end.enter_context(WAYS[way](services))
        made = World(services, folder, config, again, newly, tokens)
        now = time.time_ns
        until_end.enter_context(patch("time.time_ns", lambda: now() + made.offset))
        given = Repeats.given

        def count(*arguments: Any) -> None:
            made.given += 1
            given(*arguments)

        until_end.enter_context(patch.object(Repeats, "given", count))
        yield made


class Mutant(NamedTuple):
    """A fault: a function of a module or class with one text in it replaced by another."""

    name: str
    owner: Any
    function: str
    text: str
    other: str

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        function = getattr(self.owner, self.function)
        source = textwrap.dedent(inspect.getsource(function))
        if source.startswith("@"):
            source = source.partition("\n")[2]
        assert source.count(self.text) == 1, "the fault fits the source"
        made: dict[str, Any] = {}
        future = "from __future__ import annotations\n"
        exec(future + source.replace(self.text, self.other), function.__globals__, made)
        monkeypatch.setattr(self.owner, self.function, made[self.function])


_KEY = "return method, target, query, encoding, match, secrets, shows_secret"
_PATH = "target.split('?')[0].split(', ')[:2]"


def _without(part: str) -> Mutant:
    text = _KEY.replace(f" {part},", " 0,")
    return Mutant(f"no {part} in the key", wsgi, "key_of", _KEY, text)


MUTANTS = [
    Mutant("rights", Repeats, "find", "terms.acl is not self._acl()", "False"),
    Mutant("expiry", Repeats, "find", "time.time_ns() >= terms.expires", "False"),
    Mutant("index", Repeats, "find", "state.changed_at(terms.resource) != terms.index", "False"),
    Mutant("later index", Repeats, "find", "repeat.held_at != state.index", "repeat.held_at < 0"),
    *map(_without, ["method", "encoding", "match", "secrets"]),
    Mutant(
        "no query in the key",
        wsgi,
        "key_of",
        _KEY,
        _KEY.replace("target, query,", f"str({_PATH}),"),
    ),
    Mutant("personal", Flow, "_read", "if source.personal:", "if 0:"),
    Mutant("abbreviated", Flow, "_read", "source.is_kept and", "True and"),
    Mutant("degraded", Flow, "_read", "    is_kept = False\n", "    pass\n"),
]
"""Faults by which a server gives an answer that is wrong, or no longer right."""
