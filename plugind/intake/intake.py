"""Accepts everything that changes the catalogue.

The thread of a request validates its contents. Then the writer plans the change and makes it
durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plugind.config.settings import DEFAULT_LIMITS, ServerLimits
from plugind.errors import Conflict, Forbidden
from plugind.feed.feed import Feed
from plugind.intake.digests import of_secret
from plugind.intake.fair_queue import LARGE
from plugind.intake.known import Known
from plugind.intake.plan import Planner, check_secret, may_be_of
from plugind.intake.rejected import Rejected
from plugind.intake.runs import Runs
from plugind.intake.writer import Request, Writer
from plugind.model import (
    DOWN,
    Beat,
    Change,
    Declaration,
    Instance,
    InstanceKey,
    Lost,
    PluginKey,
    Session,
)
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State
from plugind.store.base import Store
from plugind.tally import Tally

Plan = Callable[[Planner, int], Change]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to an agent's report: the index of its change or, if it changed nothing, of the
    last one; the digest that its next heartbeats must carry; and the items that were rejected."""

    index: int
    digest: str
    rejected: tuple[Rejected, ...] = ()


class Pending(NamedTuple):
    """A report that waits at most ``timeout`` seconds to be written. ``when_done`` takes a function
    of one argument, which is called once the report is done; ``result`` takes the number of seconds
    to wait."""

    timeout: float
    when_done: Callable[[Callable[[object], object]], object]
    result: Callable[[float], Accepted]


class Intake:
    """Takes requests for changes. Safe for threads. ``close`` ends it once earlier requests are
    done.

    ``generations`` has the version of each plugin type; ``clock`` returns nanoseconds since the
    epoch. A node counts as cloned until only one agent was heard for ``calm()`` seconds.
    ``limits`` bound what may be stored, how many requests may wait, and for how long.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed,
        schemas: Mapping[str, PluginSchemas],
        generations: Mapping[str, str],
        *,
        clock: Callable[[], int] = time.time_ns,
        calm: Callable[[], float] = lambda: 90.0,
        limits: ServerLimits = DEFAULT_LIMITS,
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._schemas = schemas
        self._generations = generations
        self._limits = limits
        self._known = Known(generations)
        feed.subscribe(self._known)
        nodes = feed.state.nodes.values()
        self._runs = Runs(calm, [node.id for node in nodes if node.cloned_since])
        feed.subscribe(self._runs)
        self._writer = Writer(
            store, feed, timeout=limits.write_timeout, maximum=limits.max_waiting_writes
        )
        self.thread = self._writer.thread

    @property
    def trouble(self) -> str:
        """Return why the last change could not be written; "" when it could."""
        return self._writer.trouble

    @property
    def waiting(self) -> tuple[int, float]:
        """Return how many requests wait to be written, and how many seconds the oldest has."""
        return self._writer.waiting

    @property
    def commits(self) -> Tally:
        """Return the tally of commits, by the seconds that each took."""
        return self._writer.commits

    def _planner(self) -> Planner:
        """Return a planner on the state that is durable now."""
        return Planner(self._feed.state, self._schemas, self._generations, self._limits)

    def check_secret(self, node_id: str, secret: str) -> None:
        """Raise Forbidden when another secret is pinned to the node, even if the node was removed.
        Raise StoreError when that cannot be determined."""
        try:
            self._planner().check_secret(node_id, of_secret(secret), self._clock())
        except Forbidden:  # another process may have unpinned it
            self._feed.refresh()
            self._planner().check_secret(node_id, of_secret(secret), self._clock())

    def begin(
        self,
        node_id: str,
        secret: str,
        report: Report,
        refused: Collection[str] = (),
        accessor: str = "",
        token: str = "",
    ) -> Pending:
        """Prepare a node's whole report and queue it to be written, without the plugin types that
        are ``refused``: the stored instances of these become unhealthy.

        ``accessor`` is that of the token whose limits the stored data counts towards. ``token``
        identifies the reporter, with or without a token; reporters take turns. Raise Forbidden,
        LimitReached and StoreError, here or from the result.
        """
        planner, began, secret_hash = self._planner(), self._clock(), of_secret(secret)
        known = self._known.plugins(node_id, planner.state, began)
        items = planner.items_of(node_id, report, refused)
        prepared = items.prepare(began, known)
        rejected: Sequence[Rejected] = ()
        held: Mapping[InstanceKey, Instance] = {}

        def is_cloned() -> bool:
            return self._runs.seen(node_id, report.run_id)

        def plan(planner: Planner, now: int) -> Change:
            nonlocal rejected
            change, rejected = planner.report(
                node_id, secret_hash, report, now, is_cloned, refused, accessor, prepared
            )
            return change

        def digest_of(state: State) -> str:
            nonlocal held
            held = state.on_node(node_id)
            return self._known.digest(node_id, state)

        request = self._request(plan, digest_of)
        self._writer.put(request, token, node_id, prepared.weight)

        def result(timeout: float) -> Accepted:
            index, digest = self._writer.result(request, timeout)
            if node_id in self._feed.state.nodes:  # it may have been removed since
                self._known.note_plugins(node_id, held, prepared.taken(held), began)
            return Accepted(index, digest, tuple(rejected))

        return Pending(self._writer.timeout, request.answer.add_done_callback, result)

    def heartbeat_at_once(
        self, node_id: str, secret: str, digest: str, run_id: str = ""
    ) -> Accepted | None:
        """Keep a node up, as ``heartbeat`` does, if nothing else has to be done; otherwise return
        None. This never waits, and takes a few microseconds."""
        state = self._feed.state
        node = state.nodes.get(node_id)
        if node is None or node.status == DOWN or node.cloned_since:
            return None
        if not may_be_of(node, of_secret(secret)):
            return None
        if len(state.on_node(node_id)) + len(state.forgotten_on(node_id)) >= LARGE:
            return None  # computing its digest may take too long
        if digest != self._known.digest(node_id, state):
            return None
        return Accepted(state.index, digest) if self._runs.seen_again(node_id, run_id) else None

    def heartbeat(self, node_id: str, secret: str, digest: str, run_id: str = "") -> Accepted:
        """Keep a node up, or bring it back up. Raise Forbidden, and Conflict when the whole report
        is required: the node is not known, or the state has something that it did not report."""
        state = self._feed.state
        is_same = digest == self._known.digest(node_id, state)
        if not is_same:
            # Another process may have accepted the report that this digest belongs to.
            state = self._feed.refresh()
        node = state.nodes.get(node_id)
        if node is None:
            raise Conflict("node not found: send the whole report")
        check_secret(node, of_secret(secret))
        if not is_same and digest != self._known.digest(node_id, state):
            raise Conflict("the catalogue holds something else of the node: send the whole report")
        is_cloned = self._runs.seen(node_id, run_id)
        if node.status == DOWN or bool(node.cloned_since) is not is_cloned:
            return Accepted(self._heard(node_id, is_cloned), digest)
        return Accepted(state.index, digest)

    def back(self, node_id: str) -> int:
        """Note that a node was heard; if it was marked as down just now, undo that. Return the
        index of the change that does, 0 if there was nothing to undo."""
        is_cloned, is_changed = self._runs.seen(node_id, ""), False

        def plan(planner: Planner, now: int) -> Change:
            nonlocal is_changed
            change = planner.heard(node_id, is_cloned, now)
            is_changed = bool(change)
            return change

        index = self._submit(plan)
        return index if is_changed else 0

    def _heard(self, node_id: str, is_cloned: bool) -> int:
        return self._submit(lambda planner, now: planner.heard(node_id, is_cloned, now))

    def silence(
        self,
        node_ids: Collection[str],
        last_heard: Callable[[str], int | None] | None = None,
    ) -> int:
        """Mark nodes as down because their time to live expired.

        ``last_heard(node_id)`` is called when the change is planned. It returns when the node was
        last heard (nanoseconds since the epoch), or None if it was heard meanwhile and is not down.
        Without it, all of the nodes count as heard until now.
        """

        def plan(planner: Planner, now: int) -> Change:
            heard = {id_: last_heard(id_) if last_heard else now for id_ in node_ids}
            late = {id_: time for id_, time in heard.items() if time is not None}
            return planner.silence(late, now)

        return self._submit(plan, is_bounded=False)

    def heard_elsewhere(self, node_id: str, beat: Beat) -> None:
        """Note that one of the processes on the store heard a node."""
        self._runs.seen_elsewhere(node_id, beat.run, beat.heard)

    def remember(self, beats: Mapping[str, Beat]) -> None:
        """Store when nodes were last heard, for other processes and for use after a restart. This
        is not a change and takes no index. Raise StoreError.

        On a store that other processes share, it does not wait for changes that are being written.
        """
        if self._store.is_shared:
            known = self._feed.state.nodes
            self._store.beat({id_: beat for id_, beat in beats.items() if id_ in known})
            return

        def plan(planner: Planner, now: int) -> Change:
            nodes = planner.state.nodes
            self._store.beat({id_: beat for id_, beat in beats.items() if id_ in nodes})
            return Change(now)

        self._submit(plan, is_bounded=False)

    def mark(self, run: str) -> None:
        """Store that the server process ``run`` runs now. This is not a change and takes no index.
        Raise StoreError."""

        def plan(planner: Planner, now: int) -> Change:
            self._store.mark(run, now)
            return Change(now)

        self._submit(plan, is_bounded=False)

    def forget_node(self, node_id: str, secret: str | None = None, token: str = "") -> int:
        """Remove a node and its instances. Raise NotFound, and Forbidden when a secret is given
        that is not the node's."""
        hash_ = None if secret is None else of_secret(secret)
        weight = 1 + len(self._feed.state.on_node(node_id))
        request = self._request(lambda planner, now: planner.forget_node(node_id, hash_, now))
        return self._writer.ask(request, token, node_id, weight)[0]

    def unpin(self, node_id: str) -> int:
        """Unpin the secret of a node until its next report. Raise NotFound."""
        return self._submit(lambda planner, now: planner.unpin(node_id, now))

    def forget_plugin(self, key: PluginKey) -> int:
        """Remove the instances of a plugin that are not healthy. Raise NotFound."""
        return self._submit(lambda planner, now: planner.forget_plugin(key, now))

    def collect(self, expired: Collection[Lost]) -> int:
        """Remove nodes and instances that were lost for too long, if they still are lost."""
        return self._submit(lambda planner, now: planner.collect(expired, now), is_bounded=False)

    def declare(self, declarations: Iterable[Declaration]) -> int:
        """Replace all declarations by these."""
        wanted = tuple(declarations)
        return self._submit(lambda planner, now: planner.declare(wanted, now), is_bounded=False)

    def sign_in(self, session: Session, ended: str = "") -> int:
        """Begin the session of a browser, and end the one with the key ``ended``."""
        return self._submit(lambda planner, now: planner.sign_in(session, ended, now))

    def sign_out(self, key: str) -> int:
        """End a session, if it exists."""
        return self._submit(lambda planner, now: planner.sign_out(key, now))

    def close(self) -> None:
        """End the writer after the requests made so far; later requests fail."""
        self._writer.close()

    def _submit(self, plan: Plan, *, is_bounded: bool = True) -> int:
        """Return the index of the change, or of the last one if nothing changes."""
        return self._writer.ask(self._request(plan), is_bounded=is_bounded)[0]

    def _request(self, plan: Plan, digest: Callable[[State], str] = lambda state: "") -> Request:
        """Return a request that is answered with a ``digest`` of the state just after its own
        change. If a later request of the same batch forgets the node, the digest is void."""

        def plan_on(state: State, base: int) -> Change:
            planner = Planner(state, self._schemas, self._generations, self._limits, base)
            return plan(planner, self._clock())

        return Request(plan_on, digest)
