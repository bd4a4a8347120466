"""Plans what requests do to the catalogue: makes a Change of its state and a request.

Nothing here writes, waits or looks at a clock.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count

from plugind.config.settings import DEFAULT_LIMITS, ServerLimits
from plugind.errors import Forbidden, NotFound
from plugind.intake import forgetting, kept_secrets, sessions
from plugind.intake.effects import with_effects
from plugind.intake.preparing import ItemsOf, Prepared
from plugind.intake.quotas import Quotas
from plugind.intake.rejected import Rejected
from plugind.model import (
    DOWN,
    NODE_CLASS,
    READY,
    Change,
    Declaration,
    Forgotten,
    Instance,
    KeptSecret,
    Lost,
    Node,
    PluginKey,
    Session,
    Step,
    scopes_of,
    seen,
)
from plugind.model.times import SECOND
from plugind.model.values import Value
from plugind.schemas.nodes import Report
from plugind.schemas.plugins import PluginSchemas
from plugind.state import State

_RUN, _numbers = os.urandom(8).hex(), count()
"""Together they form the ID of a change, which is unique among all processes."""


class Planner(Value, frozen=True):
    """Plans changes of a ``state``, within ``limits``.

    ``generations`` has the version of each plugin type by name. ``base`` is the index of the last
    durable change in the state.
    """

    state: State
    schemas: Mapping[str, PluginSchemas]
    generations: Mapping[str, str]
    limits: ServerLimits = DEFAULT_LIMITS
    base: int = 0

    def report(
        self,
        node_id: str,
        secret_hash: str,
        report: Report,
        now: int,
        is_cloned: Callable[[], bool] = lambda: False,
        refused: Collection[str] = (),
        accessor: str = "",
        prepared: Prepared | None = None,
    ) -> tuple[Change, list[Rejected]]:
        """Return the change that a node's whole report makes, and the items that it rejects.

        ``refused`` are plugin types that are not accepted; ``accessor`` is that of the token.
        ``prepared`` is the result of preparing the items of the same report; it saves work and does
        not affect the change.
        ``is_cloned`` returns whether two agents report as the node, and is called only once the
        report is known to be the node's. Raise Forbidden when the secret is not the node's, and
        LimitReached when there is no room for another node.
        """
        node = self.state.nodes.get(node_id)
        self.check_secret(node_id, secret_hash, now)
        quotas = Quotas(self.state, self.limits, self.schemas)
        known = node or Node(node_id, report.name, status_since=now)
        reported = _reported(known, secret_hash, report, accessor)
        new, no_room = quotas.admit_node(node, known if reported == node else reported)
        new = _heard(new, is_cloned(), now)
        items = self.items_of(node_id, report, refused)
        wanted, marks, rejected = items.outcome(prepared or items.without_items(now), now)
        instances, left_out, too_much = quotas.admit_instances(node, new, wanted, now)
        forgotten = [step for step in marks if step.some.key not in left_out]
        if not instances and node == new.changed(accessor=node.accessor if node else ""):
            new = node  # the same report with another token does not advance the index
        return self.change(
            now,
            [] if new == node else [Step(node, new)],
            instances,
            forgotten=forgotten,
            secrets=kept_secrets.drop(self._kept(node_id)),
            left="reported gone",
        ), [*rejected, *no_room, *too_much]

    def check_secret(self, node_id: str, secret_hash: str, now: int) -> None:
        """Raise Forbidden when a node, stored or removed, has a secret other than the given one."""
        pinned = self.state.pinned(node_id)
        is_over = isinstance(pinned, KeptSecret) and kept_secrets.is_over(pinned, now, self._keep)
        if pinned is not None and not is_over:
            check_secret(pinned, secret_hash)

    def items_of(self, node_id: str, report: Report, refused: Collection[str]) -> ItemsOf:
        """Return the items of a node's report, without the plugin types that are ``refused``."""
        return ItemsOf(self.state, self.schemas, self.generations, node_id, report, refused)

    def heard(self, node_id: str, is_cloned: bool, now: int) -> Change:
        """Return the change that marks a node as up, and as reported by one agent or by two."""
        node = self.state.nodes.get(node_id)
        new = node and _heard(node, is_cloned, now)
        return self.change(now, [] if new == node else [Step(node, new)])

    def silence(self, heard: Mapping[str, int], now: int) -> Change:
        """Return the change for nodes whose time to live expired. ``heard`` has by node ID when
        each was last heard; a time after ``now``, due to a clock that was set back, becomes
        ``now``."""
        nodes = [self.state.nodes[node_id] for node_id in heard if node_id in self.state.nodes]
        return self.change(
            now,
            [
                Step(
                    node,
                    node.changed(status=DOWN, status_since=now, heard=min(heard[node.id], now)),
                )
                for node in nodes
                if node.status != DOWN
            ],
        )

    def unpin(self, node_id: str, now: int) -> Change:
        """Return the change that unpins the secret of a node, or drops the kept secret of a removed
        one. Raise NotFound."""
        if kept := self._kept(node_id):
            return self.change(now, secrets=kept_secrets.drop(kept))
        node = self._node(node_id)
        if not node.secret_hash:
            return Change(now)
        return self.change(now, [Step(node, node.changed(secret_hash=""))])

    def forget_node(self, node_id: str, secret_hash: str | None, now: int) -> Change:
        """Return the change that removes a node and its instances.

        With a secret, the node leaves by itself, and its secret is kept because the node may come
        back. Without one, an operator forgets the node, which may have been removed before, and the
        next agent that reports its ID starts afresh. Raise NotFound, and Forbidden when the secret
        is not the node's.
        """
        if secret_hash is None and (kept := self._kept(node_id)):
            return self.change(now, secrets=kept_secrets.drop(kept))
        node = self._node(node_id)
        if secret_hash is not None:
            if not node.secret_hash:
                raise Forbidden("no secret is pinned to the node: a management token is needed")
            check_secret(node, secret_hash)
        instances = self.state.on_node(node_id).values()
        marks = self.state.forgotten_on(node_id).values()
        return self.change(
            now,
            [Step(node, None)],
            [Step(old, None) for old in instances],
            forgotten=forgetting.drop(marks),
            secrets=[] if secret_hash is None else kept_secrets.keep(self.state, [node], now),
            left="forgotten" if secret_hash is None else "its node left",
        )

    @property
    def _keep(self) -> int:
        """Return how many nanoseconds the secrets of removed nodes are kept."""
        return round(self.limits.node_secret_keep * SECOND)

    def _kept(self, node_id: str) -> list[KeptSecret]:
        """Return the kept secret of a node that was removed, expired or not."""
        kept = self.state.kept_secrets.get(node_id)
        return [kept] if kept else []

    def _node(self, node_id: str) -> Node:
        node = self.state.nodes.get(node_id)
        if node is None:
            raise NotFound("node not found")
        return node

    def forget_plugin(self, key: PluginKey, now: int) -> Change:
        """Return the change that removes the unhealthy instances of a plugin, and after which
        unhealthy reports of these are ignored. Raise NotFound."""
        if not self.state.has_plugin(key):
            raise NotFound("plugin not found")
        unhealthy = [
            old
            for old in (self.state.on_node(one.node_id)[one] for one in self.state.of_plugin(key))
            if not seen(old, self.state.nodes[old.key.node_id]).healthy
        ]
        forgotten = forgetting.remember(self.state, {old.key for old in unhealthy}, now)
        steps = [Step(old, None) for old in unhealthy]
        return self.change(now, instances=steps, forgotten=forgotten, left="forgotten")

    def collect(self, expired: Collection[Lost], now: int) -> Change:
        """Return the change that removes the ``expired`` items that are still lost since the same
        time.

        A missing instance is remembered as forgotten; otherwise a leftover that its agent reports
        now and then would come and go forever. Of a removed node only the secret is kept.
        """
        wanted = set(expired)
        lost = {each.what for each in self.state.lost() if each in wanted} if wanted else set()
        nodes = [node for node in self.state.nodes.values() if node.id in lost]
        gone = {
            key: instance
            for node in self.state.nodes.values()
            for key, instance in self.state.on_node(node.id).items()
            if key in lost or node.id in lost
        }
        over = forgetting.expired(self.state, now)
        over += [mark for node in nodes for mark in self.state.forgotten_on(node.id).values()]
        missing = {key for key in gone if key.node_id not in lost}
        secrets = kept_secrets.expired(self.state, now, self._keep)
        return self.change(
            now,
            [Step(node, None) for node in nodes],
            [Step(instance, None) for instance in gone.values()],
            forgotten=forgetting.remember(self.state, missing, now, over),
            secrets=kept_secrets.keep(self.state, nodes, now, secrets),
            left="collected: it was lost for too long",
        )

    def declare(self, declarations: Iterable[Declaration], now: int) -> Change:
        """Return the change that replaces all declarations with these."""
        new = {declaration.key: declaration for declaration in declarations}
        old = self.state.declarations
        steps = [
            Step(old.get(key), new.get(key))
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        return self.change(now, declarations=steps)

    def sign_in(self, session: Session, ended: str, now: int) -> Change:
        """Return the change that begins a session, and ends the one with the key ``ended``."""
        return self.change(now, signed=sessions.begin(self.state, session, ended, now))

    def sign_out(self, key: str, now: int) -> Change:
        """Return the change that ends a session; it is empty if the session does not exist."""
        return self.change(now, signed=sessions.end(self.state, {key}))

    def change(
        self,
        now: int,
        nodes: Iterable[Step[Node]] = (),
        instances: Iterable[Step[Instance]] = (),
        declarations: Iterable[Step[Declaration]] = (),
        forgotten: Iterable[Step[Forgotten]] = (),
        secrets: Iterable[Step[KeptSecret]] = (),
        signed: Iterable[Step[Session]] = (),
        left: str = "",
    ) -> Change:
        """Return the change that these steps make, with the resources that read differently after
        it and its transitions; ``left`` is the reason given for instances that leave."""
        change = Change(
            now,
            tuple(nodes),
            tuple(instances),
            tuple(declarations),
            forgotten=tuple(forgotten),
            kept_secrets=tuple(secrets),
            sessions=tuple(signed),
        )
        if not change:
            return change
        reads, writes = scopes_of(change)
        id_ = f"{_RUN}{next(_numbers):016x}"
        identified = change.changed(id=id_, base=self.base, reads=reads, writes=writes)
        versions = {name: each.type.version_detail for name, each in self.schemas.items()}
        return with_effects(identified, self.state, left, versions)


def may_be_of(node: Node | KeptSecret, secret_hash: str) -> bool:
    """Return whether a secret is the one that is pinned to a node, or none is pinned."""
    return not node.secret_hash or hmac.compare_digest(node.secret_hash, secret_hash)


def check_secret(node: Node | KeptSecret, secret_hash: str) -> None:
    """Raise Forbidden when a secret is pinned to the node and it is not the one given."""
    if not may_be_of(node, secret_hash):
        raise Forbidden(
            "the node's secret is another: the node ID belongs to another machine, or the agent "
            "lost its data_dir"
        )


def _heard(node: Node, is_cloned: bool, now: int) -> Node:
    """Return the node as it is after it was heard."""
    if node.status == DOWN:
        node = node.changed(status=READY, status_since=now, back_since=now)
    if bool(node.cloned_since) is not is_cloned:
        node = node.changed(cloned_since=now if is_cloned else 0)
    return node


def _reported(node: Node, secret_hash: str, report: Report, accessor: str) -> Node:
    """Return the node as its report describes it."""
    node_class = {NODE_CLASS: report.node_class} if report.node_class else {}
    return node.changed(
        name=report.name,
        datacenter=report.datacenter,
        version=report.version,
        address=report.address,
        attributes={**report.attributes, **node_class},
        meta=report.meta,
        secret_hash=secret_hash,
        accessor=accessor,
    )
