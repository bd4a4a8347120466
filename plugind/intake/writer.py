"""The thread that writes: it plans what requests ask for, commits it, and answers them.

Requests wait in a fair queue. Several small ones, or one large one, are taken together: each is
planned on the state that the one before would leave, and all are committed at once. A request that
conflicts with a faster write of another process is planned again on newer state. A request is
answered once the feed has its change, so that the client can then read what it wrote.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from plugind import logs
from plugind.errors import Busy, PlugindError, StoreError, UnknownOutcome
from plugind.feed.feed import Feed
from plugind.health.threads import OwnedThread
from plugind.intake.fair_queue import FairQueue
from plugind.model import Change, Committed
from plugind.state import State
from plugind.store.base import Conflict, Outcome, OutcomeUnknown, Store
from plugind.tally import Tally

PROOF_EVERY = 1.0
"""Seconds between two tries to write while the store cannot be written and no request tries."""

TRIES = 8
"""Times that a request is planned before it is refused because other writers are always faster."""

SLOW = 5.0
"""Seconds after which health reports a commit that is still going on."""

COMMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The bounds, in seconds, of the buckets that commits are counted in by their duration."""

_DEAD = "nothing is written any more; restart the server"

_log = logs.get("intake")

Plan = Callable[[State, int], Change]
"""Plans a change of a state, given the index of the last change in it that is durable."""


@dataclass(slots=True)
class Request:
    """A request that a caller waits for. ``digest`` computes, from the state that the request
    leaves, the part of its answer in addition to the index."""

    plan: Plan
    digest: Callable[[State], str] = lambda state: ""
    tries: int = 0
    answer: Future[tuple[int, str]] = field(default_factory=Future)


class _Planned(NamedTuple):
    """A request with its own change and the digest of the state after it, or with the error that
    prevented a change."""

    request: Request
    change: Change | None
    digest: str = ""
    error: Exception | None = None


class Writer:
    """Writes what callers request. Safe for threads. ``close`` ends it once earlier requests are
    done.

    A caller waits at most ``timeout`` seconds; at most ``maximum`` callers wait.
    """

    def __init__(self, store: Store, feed: Feed, *, timeout: float, maximum: int) -> None:
        self._store = store
        self._feed = feed
        self.timeout = timeout
        self._maximum = maximum
        self._queue: FairQueue[Request] = FairQueue()
        self._taken_at: float | None = None  # when the write in progress was taken
        self._committing_at: float | None = None
        self._unknown: dict[str, tuple[_Planned, float]] = {}
        self.commits = Tally(COMMITS, known=[()])
        """The commits with changes, by the seconds that each took."""
        self._trouble = ""
        self._prove_at = 0.0
        self._gate = threading.Lock()
        self._closed = ""  # why nothing is taken any more
        feed.subscribe(self)
        self._in_hand: Sequence[Request] = ()
        # Not restarted: after a fault the state may differ from the store.
        self.thread = OwnedThread("intake", self._run, restarts=False, died=self._give_up)
        self.thread.start()

    @property
    def trouble(self) -> str:
        """Return why the last change could not be written; "" when it could."""
        since = self._committing_at
        if since is not None and (lasts := time.monotonic() - since) > SLOW:
            return self._trouble or f"a commit has lasted {lasts:.0f} s: does the disk hang?"
        return self._trouble

    @property
    def waiting(self) -> tuple[int, float]:
        """Return how many requests wait to be written, and how many seconds the oldest has; the
        write in progress counts as one."""
        taken_at = self._taken_at
        if taken_at is None:
            return len(self._queue), self._queue.age
        return len(self._queue) + 1, max(self._queue.age, time.monotonic() - taken_at)

    def ask(
        self,
        request: Request,
        token: str = "",
        node_id: str = "",
        weight: int = 1,
        *,
        is_bounded: bool = True,
    ) -> tuple[int, str]:
        """Have a request written, and return its result. Raise what ``put`` and ``result`` do."""
        self.put(request, token, node_id, weight, is_bounded=is_bounded)
        return self.result(request, self.timeout)

    def put(
        self,
        request: Request,
        token: str = "",
        node_id: str = "",
        weight: int = 1,
        *,
        is_bounded: bool = True,
    ) -> None:
        """Queue a request to be written. Raise Busy when too many wait, and StoreError."""
        with self._gate:
            if self._closed:
                raise StoreError(self._closed)
            if is_bounded and len(self._queue) >= self._maximum:
                raise Busy(f"{self._maximum} changes wait to be written already; try again later")
            self._queue.put(request, token=token, node=node_id, weight=weight)

    def result(self, request: Request, timeout: float) -> tuple[int, str]:
        """Return the index of a request's change, or of the last change if it makes none, and its
        digest, once the change is durable and in the state.

        Wait at most ``timeout`` seconds: the part of ``self.timeout`` that the request has left.
        Raise what its plan raises, StoreError if nothing was written, Busy if its turn did not
        come, and UnknownOutcome if the outcome is not known in time.
        """
        try:
            return request.answer.result(timeout)
        except NotYet:
            if request.answer.cancel():
                text = f"nothing was written: its turn did not come within {self.timeout:g} s"
                raise Busy(f"{text}; the write may be repeated") from None
            raise UnknownOutcome(f"the store has not answered within {self.timeout:g} s") from None

    def close(self) -> None:
        """End the thread after the requests made so far; later requests fail."""
        with self._gate:
            self._closed = self._closed or "the server is stopping"
            self._queue.close()
        self.thread.join()

    def _run(self) -> None:
        self._prove()  # a server that starts on a full disk reports it before any request
        while requests := self._next():
            self._taken_at = time.monotonic()
            self._in_hand = requests
            left = [each for each in requests if each.answer.set_running_or_notify_cancel()]
            while left:  # plan again where another writer was faster
                left = self._attempt(left)
            self._taken_at = None

    def _next(self) -> list[Request]:
        """Return the next requests; none once the queue is closed and empty.

        While the store cannot be written, try an empty commit now and then: there may be no request
        that would show that the store can be written again.
        """
        while True:
            wait = self._prove_at - time.monotonic() if self._trouble else None
            if wait is not None and wait <= 0:
                self._prove()
                continue
            is_last = self._queue.is_closed  # read first: nothing is queued after close
            if (found := self._queue.take(wait)) or is_last:
                return found

    def _prove(self) -> None:
        try:
            self._commit(())
        except Exception as error:
            self._troubled(error)

    def _troubled(self, error: Exception) -> None:
        """Log each trouble only once, because refused callers try again and again."""
        old, self._trouble = self._trouble, str(error) or type(error).__name__
        self._prove_at = time.monotonic() + PROOF_EVERY
        if self._trouble != old:
            _log.error("the store cannot be written; reads go on", reason=self._trouble)

    def _attempt(self, batch: Sequence[Request]) -> list[Request]:
        """Write requests together; return those that must be planned again on newer state.

        The whole batch is durable before any of it is answered, because a request that changes
        nothing may depend on an earlier one that does.
        """
        try:
            planned, states = self._plan_newly(batch)
        except StoreError as error:
            for request in batch:
                request.answer.set_exception(error)
            return []
        changes = [each.change for each in planned if each.change]
        try:
            outcomes = self._commit(changes) if changes else ()
        except Exception as error:
            self._troubled(error)
            failed = error if isinstance(error, PlugindError) else StoreError(self._trouble)
            for each in planned:
                each.request.answer.set_exception(each.error or failed)
            return []
        self._note_unknown(planned, outcomes)
        try:
            done = (each for each in outcomes if isinstance(each, int))
            self._feed.catch_up(states, until=max(done, default=0))
        except StoreError as error:
            text = f"it was written, but the store cannot be read: {error}"
            for each in planned:
                if not each.request.answer.done():
                    each.request.answer.set_exception(each.error or UnknownOutcome(text))
            return []
        return self._answer(planned, outcomes)

    def _plan_newly(
        self, batch: Sequence[Request]
    ) -> tuple[list[_Planned], dict[str, tuple[State, State]]]:
        """Plan requests. If one of them makes no change, plan on a state that has everything that
        any process acknowledged before: no conflict would show that the state was outdated. Raise
        StoreError."""
        state = self._feed.state
        made = self._plan(batch, state)
        if self._store.is_shared and not all(each.change for each in made[0]):
            newer = self._feed.refresh()
            if newer is not state:
                return self._plan(batch, newer)
        return made

    def _plan(
        self, batch: Iterable[Request], state: State
    ) -> tuple[list[_Planned], dict[str, tuple[State, State]]]:
        """Plan each request on the state that the ones before it would leave."""
        base = state.index
        planned: list[_Planned] = []
        states: dict[str, tuple[State, State]] = {}
        for request in batch:
            try:
                change = request.plan(state, base)
            except Exception as error:
                planned.append(_Planned(request, None, error=error))
                continue
            if change:
                before, state = state, state.apply(state.index + 1, change)
                states[change.id] = before, state
            planned.append(_Planned(request, change, request.digest(state)))
        return planned, states

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        self._committing_at = began = time.monotonic()
        try:
            with self._feed.writing:
                outcomes = self._store.commit(changes)
        finally:
            self._committing_at = None
        if changes:
            self.commits.add((), time.monotonic() - began)
        if len(outcomes) != len(changes):  # a store may be another package's code
            raise StoreError(f"the store gave {len(outcomes)} outcomes to {len(changes)} changes")
        if self._trouble and not _is_unsure(outcomes):
            self._trouble = ""
            _log.info("the store can be written again")
        return outcomes

    def _answer(self, planned: Iterable[_Planned], outcomes: Iterable[Outcome]) -> list[Request]:
        """Answer the requests whose outcome is certain; return those that must be planned again.

        A request after a change that did not happen may depend on it: if it has no change of its
        own, it is planned again.
        """
        given = iter(outcomes)
        again: list[Request] = []
        is_sound = True
        for request, change, digest, error in planned:
            outcome = next(given) if change else self._feed.state.index
            if isinstance(outcome, OutcomeUnknown):
                is_sound = False  # ``follow`` answers it, if it is found in the log
            elif isinstance(outcome, Conflict) or not (change or is_sound):
                is_sound = False
                again.append(request)
            elif error is not None:
                request.answer.set_exception(error)
            else:
                request.answer.set_result((outcome, digest))
        return [each for each in again if self._may_try_again(each)]

    def _may_try_again(self, request: Request) -> bool:
        request.tries += 1
        if request.tries < TRIES:
            return True
        request.answer.set_exception(Busy("other servers change the same; try again later"))
        return False

    def _note_unknown(self, planned: Iterable[_Planned], outcomes: Iterable[Outcome]) -> None:
        """Make ``follow`` look for the changes whose outcome the store does not know."""
        now = time.monotonic()
        for change_id, (_, until) in list(self._unknown.items()):
            if until < now:  # its caller has given up
                self._unknown.pop(change_id, None)
        changed = (each for each in planned if each.change)
        for each, outcome in zip(changed, outcomes, strict=True):
            if isinstance(outcome, OutcomeUnknown) and each.change:
                _log.warning("the outcome of a change is unknown", reason=outcome.reason)
                self._unknown[each.change.id] = each, now + self.timeout

    def follow(self, old: State, new: State, batch: Sequence[Committed]) -> None:
        """Answer requests whose outcome was unknown, as the feed finds their changes in the log."""
        for committed in batch:
            found, _ = self._unknown.pop(committed.change.id, (None, None))
            # The caller may already have the error that the log could not be read in time.
            if found is not None and not found.request.answer.done():
                found.request.answer.set_result((committed.index, found.digest))

    def missed(self, old: State, new: State) -> None:
        """Let requests with an unknown outcome time out: the log no longer has their changes."""

    def _give_up(self, error: BaseException) -> None:
        """Accept no more requests after an internal error of plugind. Fail those that wait, and
        have health report the error."""
        self._trouble = f"{_DEAD}: {type(error).__name__}: {error}"
        with self._gate:
            self._closed = self._trouble
        left = chain.from_iterable(iter(lambda: self._queue.take(0), []))
        for request in [*self._in_hand, *left]:
            if not request.answer.done():
                request.answer.set_exception(StoreError(self._trouble))


def _is_unsure(outcomes: Sequence[Outcome]) -> bool:
    """Return whether the outcomes of changes do not show whether the store can be written."""
    return bool(outcomes) and all(isinstance(each, OutcomeUnknown) for each in outcomes)
