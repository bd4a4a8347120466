"""Intake: the only writer. Every change of the catalogue is planned, made durable and told here.

Requests from any thread queue up for one thread of intake's own, which takes all that wait, plans
each after the other, commits them together, and answers each once its change is durable.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from plugind import logs
from plugind.catalogue import Catalogue
from plugind.catalogue.holdings import Holdings
from plugind.errors import Conflict, PlugindError, StoreError
from plugind.intake.digests import of_node, of_secret
from plugind.intake.plan import Planner, check_secret
from plugind.intake.rejected import Rejected
from plugind.intake.runs import Runs
from plugind.model import (
    DOWN,
    Change,
    Declaration,
    Lost,
    Node,
    PluginKey,
    Step,
)
from plugind.node_schemas import Report
from plugind.plugin_schemas import PluginSchemas
from plugind.store.base import Contents, Store

BATCH_MAXIMUM = 256
PROOF_EVERY = 1.0
"""Seconds between two tries to write, while the store cannot be written and nobody else tries."""
_DEAD = "nothing is written any more; restart the server"

_log = logs.get("intake")

Plan = Callable[[Planner, int], Change]


@dataclass(frozen=True, slots=True)
class _Request:
    """``node_id`` is the node whose digest the answer has beside the index."""

    plan: Plan
    node_id: str = ""
    answer: Future[tuple[int, str]] = field(default_factory=Future)


class _Planned(NamedTuple):
    """A request's own change, and the digest of its node as that left it."""

    request: _Request
    change: Change
    digest: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an agent is told of its report: the index that it made or found, what its next
    heartbeats must carry, and what was not taken."""

    index: int
    digest: str
    rejected: tuple[Rejected, ...] = ()


class Intake:
    """Safe for threads. ``close`` ends it after what was asked before is done.

    ``generations`` names the version of each plugin type; ``clock`` gives nanoseconds since the
    epoch. A node counts as cloned until one agent alone was heard for ``calm`` seconds.
    ``published`` is handed all that became durable, and must neither wait nor raise.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        catalogue: Catalogue,
        schemas: Mapping[str, PluginSchemas],
        generations: Mapping[str, str],
        *,
        clock: Callable[[], int] = time.time_ns,
        calm: float = 90.0,
        published: Callable[[Sequence[tuple[int, Change]]], None] = lambda changes: None,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._published = published
        self._generations = generations
        # What is held with all that is planned, durable or not; only intake's thread looks at it.
        self._planned = Holdings(contents)
        self._planner = Planner(self._planned, schemas, generations)
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._trouble = ""
        self._prove_at = 0.0
        self._runs = Runs(calm, [node.id for node in contents.nodes if node.cloned_since])
        self._gate = threading.Lock()
        self._closed = ""  # why nothing is taken any more
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why the last change could not be written; "" when it could."""
        if not (self._trouble or self._closed or self._thread.is_alive()):
            return _DEAD
        return self._trouble

    def report(
        self, node_id: str, secret: str, report: Report, refused: Collection[str] = ()
    ) -> Accepted:
        """Takes a node's whole report, but for the plugin types that are ``refused``: what is held
        of these is unhealthy from then on. Raises Forbidden, StoreError."""
        rejected: list[Rejected] = []

        def is_cloned() -> bool:
            return self._runs.seen(node_id, report.run_id)

        def plan(planner: Planner, now: int) -> Change:
            change, wrong = planner.report(
                node_id, of_secret(secret), report, now, is_cloned, refused
            )
            rejected.extend(wrong)
            return change

        index, digest = self._ask(_Request(plan, node_id))
        return Accepted(index, digest, tuple(rejected))

    def heartbeat(self, node_id: str, secret: str, digest: str, run_id: str = "") -> Accepted:
        """Keeps a node, or takes it back. Raises Forbidden, and Conflict when the whole report is
        wanted: the node is not known, or something is held of it that it did not report."""
        node, instances = self._catalogue.held(node_id)
        if node is None:
            raise Conflict("node not found: send the whole report")
        check_secret(node, of_secret(secret))
        if digest != of_node(node, instances.values(), self._generations):
            raise Conflict("the catalogue holds something else of the node: send the whole report")
        is_cloned = self._runs.seen(node_id, run_id)
        if node.status == DOWN or bool(node.cloned_since) is not is_cloned:
            return Accepted(self._heard(node_id, is_cloned), digest)
        return Accepted(self._catalogue.index, digest)

    def back(self, node_id: str) -> int:
        """A node is heard of; if its silence was written just now, that is taken back."""
        return self._heard(node_id, self._runs.seen(node_id, ""))

    def _heard(self, node_id: str, is_cloned: bool) -> int:
        return self._submit(lambda planner, now: planner.heard(node_id, is_cloned, now))

    def silence(
        self, node_ids: Collection[str], is_late: Callable[[str], bool] = lambda node_id: True
    ) -> int:
        """The time to live of nodes ran out: of those that are still late, by ``is_late(node_id)``,
        once this gets its turn."""

        return self._submit(lambda planner, now: planner.silence(filter(is_late, node_ids), now))

    def forget_node(self, node_id: str, secret: str | None = None) -> int:
        """A node leaves, its instances with it. Raises NotFound, and Forbidden when a secret is
        given and it is not the node's."""
        hash_ = None if secret is None else of_secret(secret)
        return self._submit(lambda planner, now: planner.forget_node(node_id, hash_, now))

    def unpin(self, node_id: str) -> int:
        """No secret is pinned to a node until its next report. Raises NotFound."""
        return self._submit(lambda planner, now: planner.unpin(node_id, now))

    def forget_plugin(self, key: PluginKey) -> int:
        """What is not healthy of a plugin goes. Raises NotFound."""
        return self._submit(lambda planner, now: planner.forget_plugin(key, now))

    def collect(self, expired: Collection[Lost]) -> int:
        """What has been lost for too long goes for good, unless it was heard of meanwhile."""
        return self._submit(lambda planner, now: planner.collect(expired, now))

    def declare(self, declarations: Iterable[Declaration]) -> int:
        """From now on exactly these declarations are in force."""
        wanted = tuple(declarations)
        return self._submit(lambda planner, now: planner.declare(wanted, now))

    def close(self) -> None:
        """Ends the thread after what was asked before; what is asked later fails."""
        with self._gate:
            self._closed = self._closed or "the server is stopping"
            self._queue.put(None)
        self._thread.join()

    def _submit(self, plan: Plan) -> int:
        """The index of the change, or the last one where nothing changes."""
        return self._ask(_Request(plan))[0]

    def _ask(self, request: _Request) -> tuple[int, str]:
        """The same, and the digest of the request's node."""
        with self._gate:
            if self._closed:
                raise StoreError(self._closed)
            self._queue.put(request)
        return request.answer.result()

    def _run(self) -> None:
        self._prove()  # a server that starts on a full disk says so before it is asked to write
        open_ = True
        while open_:
            batch = [self._next()]
            while batch[-1] is not None and len(batch) < BATCH_MAXIMUM and not self._queue.empty():
                batch.append(self._queue.get())
            open_ = batch[-1] is not None
            requests = [request for request in batch if request is not None]
            try:
                self._take(requests)
            except BaseException as error:
                self._give_up(requests, error)
                return

    def _next(self) -> _Request | None:
        """What is to be done next. Meanwhile trouble is watched for its end, for it may be that
        nothing is left to be written that would show it."""
        while self._trouble:
            wait = self._prove_at - time.monotonic()
            if wait <= 0:
                self._prove()
                continue
            with suppress(queue.Empty):
                return self._queue.get(timeout=wait)
        return self._queue.get()

    def _prove(self) -> None:
        try:
            self._commit(())
        except Exception as error:
            self._troubled(error)

    def _troubled(self, error: Exception) -> None:
        """Tells of each trouble once, for those who are refused come again and again."""
        old, self._trouble = self._trouble, str(error) or type(error).__name__
        self._prove_at = time.monotonic() + PROOF_EVERY
        if self._trouble != old:
            _log.error("the store cannot be written; reads go on", reason=self._trouble)

    def _relieved(self) -> None:
        if self._trouble:
            self._trouble = ""
            _log.info("the store can be written again")

    def _take(self, batch: Iterable[_Request]) -> None:
        """Plans, commits, tells and answers. The whole batch is durable before any of it is
        answered, for one that changes nothing may rest on one before it that does."""
        planned: list[_Planned] = []
        for request in batch:
            try:
                change = request.plan(self._planner, self._clock())
            except Exception as error:
                request.answer.set_exception(error)
            else:
                self._planned.apply(change)
                planned.append(_Planned(request, change, self._digest(request.node_id)))
        changes = [each.change for each in planned if each.change]
        try:
            indexes = self._commit(changes) if changes else ()
        except Exception as error:
            self._take_back(planned, error)
            return
        durable = tuple(zip(indexes, changes, strict=True))
        self._catalogue.publish(durable)
        self._published(durable)
        for change in changes:
            for step in change.nodes:
                self._note(step)
        given = iter(indexes)
        for request, change, digest in planned:
            index = next(given) if change else self._catalogue.index
            request.answer.set_result((index, digest))

    def _note(self, step: Step[Node]) -> None:
        """What became of a node, now that it is durable."""
        before, after = step.before, step.after
        if after is None:
            self._runs.leave(step.some.id)
        elif after.status == DOWN:
            _log.warning("nothing heard of a node", node=after.id)
        elif after.cloned_since and not (before and before.cloned_since):
            _log.error("two agents report as one node; is a data_dir a copy?", node=after.id)

    def _commit(self, changes: Sequence[Change]) -> Sequence[int]:
        indexes = self._store.commit(changes)
        if len(indexes) != len(changes):  # a store may be a stranger's code
            raise StoreError(f"the store gave {len(indexes)} indexes to {len(changes)} changes")
        self._relieved()
        return indexes

    def _take_back(self, planned: Sequence[_Planned], error: Exception) -> None:
        self._troubled(error)
        for each in reversed(planned):
            self._planned.apply(each.change.back())
        for each in planned:
            each.request.answer.set_exception(
                error if isinstance(error, PlugindError) else StoreError(self._trouble)
            )

    def _give_up(self, requests: list[_Request], error: BaseException) -> None:
        """A fault of plugind's own: what is planned may differ from what is held, so that nothing
        more may be written. Nobody is left waiting, and health says so."""
        self._trouble = f"{_DEAD}: {type(error).__name__}: {error}"
        _log.error("intake ended by a fault of plugind's own", exc_info=error)
        with self._gate:
            self._closed = self._trouble
            while not self._queue.empty():
                if (request := self._queue.get()) is not None:
                    requests.append(request)
        for request in requests:
            if not request.answer.done():
                request.answer.set_exception(StoreError(self._trouble))

    def _digest(self, node_id: str) -> str:
        """Of what is planned: a forget after it in the same batch must void it."""
        node = self._planned.nodes.get(node_id)
        instances = self._planned.on_node(node_id).values()
        return of_node(node, instances, self._generations) if node else ""
