"""What happens to the catalogue, worked out: from what is held and what came in to a Change.

Nothing here writes, waits or looks at a clock.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from plugind.catalogue.holdings import Holdings
from plugind.errors import Forbidden, NotFound
from plugind.intake.allocations import allocations_of
from plugind.intake.fingerprints import REFUSED, Reported, items_of, read, refuse
from plugind.intake.rejected import Rejected
from plugind.model import (
    DOWN,
    NODES,
    READY,
    Allocation,
    Change,
    Declaration,
    Fingerprint,
    Instance,
    InstanceKey,
    Lost,
    Node,
    PluginKey,
    Step,
    node_of,
    plugins_of,
    seen,
)
from plugind.node_schemas import Report
from plugind.plugin_schemas import PluginSchemas


@dataclass(frozen=True)
class Planner:
    """Plans changes of what is ``held``. ``generations`` names each plugin type's version."""

    held: Holdings
    schemas: Mapping[str, PluginSchemas]
    generations: Mapping[str, str]

    def report(
        self,
        node_id: str,
        secret_hash: str,
        report: Report,
        now: int,
        is_cloned: Callable[[], bool] = lambda: False,
        refused: Collection[str] = (),
    ) -> tuple[Change, list[Rejected]]:
        """A node's whole report, of which the plugin types that are ``refused`` are not taken.
        Raises Forbidden when the secret is not the node's; what is reported counts for
        ``is_cloned``, whether two agents report as the node, only then."""
        node = self.held.nodes.get(node_id)
        if node is not None:
            check_secret(node, secret_hash)
        instances, rejected = self._instances(node_id, report, now, refused)
        heard = _heard(node or Node(node_id, report.name, status_since=now), is_cloned(), now)
        new = _reported(heard, secret_hash, report)
        nodes = [] if new == node else [Step(node, new)]
        return self.change(now, nodes, instances), rejected

    def _instances(
        self, node_id: str, report: Report, now: int, refused: Collection[str]
    ) -> tuple[list[Step[Instance]], list[Rejected]]:
        held = self.held.on_node(node_id)
        types = {name: schemas.type for name, schemas in self.schemas.items()}
        steps: dict[InstanceKey, Step[Instance]] = {}
        allocations, rejected = allocations_of(report.allocations)
        reported: set[InstanceKey] = set()
        rejected += [Rejected(name, "", "", "Type", REFUSED) for name in sorted(refused)]
        taken = {name: of for name, of in report.plugins.items() if name not in refused}
        for item in items_of(node_id, taken, types, held):
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            reported.add(item.key)
            old = held.get(item.key)
            if item.fingerprint is None:
                if old is not None:
                    steps[item.key] = Step(old, None)
                continue
            new, wrong = self._read(item, old, allocations, now)
            rejected += wrong
            if new is not old:
                steps[item.key] = Step(old, new)
        for key in held.keys() - reported:
            old = held[key]
            new = refuse(old, now) if key.type in refused else _missing(old, now)
            if new is not old:
                steps[key] = Step(old, new)
        return list(steps.values()), rejected

    def _read(
        self,
        item: Reported,
        old: Instance | None,
        allocations: Mapping[str, Allocation],
        now: int,
    ) -> tuple[Instance, list[Rejected]]:
        type_ = item.key.type
        return read(item, old, self.schemas[type_], self.generations[type_], allocations, now)

    def heard(self, node_id: str, is_cloned: bool, now: int) -> Change:
        """A node is heard of: it is silent no longer, and one or two agents report as it."""
        node = self.held.nodes.get(node_id)
        new = node and _heard(node, is_cloned, now)
        return self.change(now, [] if new == node else [Step(node, new)])

    def silence(self, node_ids: Iterable[str], now: int) -> Change:
        """The time to live of nodes ran out."""
        nodes = [self.held.nodes[node_id] for node_id in node_ids if node_id in self.held.nodes]
        return self.change(
            now,
            [
                Step(node, replace(node, status=DOWN, status_since=now))
                for node in nodes
                if node.status != DOWN
            ],
        )

    def unpin(self, node_id: str, now: int) -> Change:
        """The node's secret is no longer pinned. Raises NotFound."""
        node = self._node(node_id)
        if not node.secret_hash:
            return Change(now)
        return self.change(now, [Step(node, replace(node, secret_hash=""))])

    def forget_node(self, node_id: str, secret_hash: str | None, now: int) -> Change:
        """The node goes, and its instances with it. Raises NotFound, and Forbidden when a secret is
        given and it is not the node's."""
        node = self._node(node_id)
        if secret_hash is not None:
            if not node.secret_hash:
                raise Forbidden("no secret is pinned to the node: a management token is needed")
            check_secret(node, secret_hash)
        instances = self.held.on_node(node_id).values()
        return self.change(now, [Step(node, None)], [Step(old, None) for old in instances])

    def _node(self, node_id: str) -> Node:
        node = self.held.nodes.get(node_id)
        if node is None:
            raise NotFound("node not found")
        return node

    def forget_plugin(self, key: PluginKey, now: int) -> Change:
        """What is not healthy of a plugin goes. Raises NotFound."""
        if not self.held.has_plugin(key):
            raise NotFound("plugin not found")
        unhealthy = [
            old
            for old in self.held.of_plugin(key).values()
            if not seen(old, self.held.nodes[old.key.node_id]).healthy
        ]
        return self.change(now, instances=[Step(old, None) for old in unhealthy])

    def collect(self, expired: Collection[Lost], now: int) -> Change:
        """What has been lost for too long goes, if it is still lost since the same time."""
        lost = {each.what for each in set(self.held.lost()) & set(expired)}
        nodes = [node for node in self.held.nodes.values() if node.id in lost]
        gone = {
            key: instance
            for node in self.held.nodes.values()
            for key, instance in self.held.on_node(node.id).items()
            if key in lost or node.id in lost
        }
        return self.change(
            now,
            [Step(node, None) for node in nodes],
            [Step(instance, None) for instance in gone.values()],
        )

    def declare(self, declarations: Iterable[Declaration], now: int) -> Change:
        """From now on exactly these declarations are in force."""
        new = {declaration.key: declaration for declaration in declarations}
        old = self.held.declarations
        steps = [
            Step(old.get(key), new.get(key))
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        return self.change(now, declarations=steps)

    def change(
        self,
        now: int,
        nodes: Iterable[Step[Node]] = (),
        instances: Iterable[Step[Instance]] = (),
        declarations: Iterable[Step[Declaration]] = (),
    ) -> Change:
        """The change that these steps make, with the resources that read differently after it."""
        change = Change(now, tuple(nodes), tuple(instances), tuple(declarations))
        plugins = {step.some.key for step in change.declarations if self._is_seen(step)}
        node_ids = {step.some.id for step in change.nodes}
        for key in self._views_changed(change):
            plugins.add(key.plugin)
            node_ids.add(key.node_id)
        touched = {key.resource for key in plugins} | {plugins_of(key.type) for key in plugins}
        if node_ids:
            touched |= {NODES, *(node_of(node_id) for node_id in node_ids)}
        removed = {key.resource for key in self._plugins_gone(plugins, change)}
        removed |= {node_of(step.some.id) for step in change.nodes if step.after is None}
        return replace(change, touched=frozenset(touched), removed=frozenset(removed))

    def _views_changed(self, change: Change) -> Iterable[InstanceKey]:
        """The instances that readers see differently: those replaced, and those of a node that
        fell silent, came back or has another name."""
        for step, node in self.held.affected(change):
            if _shown(step.before, node.before) != _shown(step.after, node.after):
                yield step.some.key

    def _is_seen(self, step: Step[Declaration]) -> bool:
        """Whether readers see a difference: one who expects what is known anyway makes none."""
        known = Counter(key.role for key in self.held.of_plugin(step.some.key))
        if not known and None in (step.before, step.after):
            return True  # the plugin itself comes or goes
        before, after = (each.expected if each else {} for each in (step.before, step.after))
        roles = before.keys() | after.keys()
        return any(before.get(r, known[r]) != after.get(r, known[r]) for r in roles)

    def _plugins_gone(self, plugins: Iterable[PluginKey], change: Change) -> Iterable[PluginKey]:
        """Those of the plugins that neither a report nor a declaration has after the change."""
        growth: Counter[PluginKey] = Counter()
        for step in change.instances:
            growth[step.some.key.plugin] += (step.after is not None) - (step.before is not None)
        declared = {step.some.key: step.after for step in change.declarations}
        for key in plugins:
            is_declared = declared.get(key, self.held.declarations.get(key)) is not None
            if not is_declared and len(self.held.of_plugin(key)) + growth[key] == 0:
                yield key


def _shown(instance: Instance | None, node: Node | None) -> tuple[Fingerprint, str] | None:
    """What readers see of an instance; an allocation has its node's name as well."""
    if instance is None or node is None:
        return None
    shown = seen(instance, node)
    return shown, node.name if shown.allocation else ""


def check_secret(node: Node, secret_hash: str) -> None:
    """Raises Forbidden when a secret is pinned to the node and it is not the one given."""
    if node.secret_hash and not hmac.compare_digest(node.secret_hash, secret_hash):
        raise Forbidden(
            "the node's secret is another: the node ID belongs to another machine, or the agent "
            "lost its data_dir"
        )


def _missing(old: Instance, now: int) -> Instance:
    return replace(old, missing_since=now) if old.missing_since is None else old


def _heard(node: Node, is_cloned: bool, now: int) -> Node:
    """The node as it stands once it was heard of."""
    if node.status == DOWN:
        node = replace(node, status=READY, status_since=now, back_since=now)
    if bool(node.cloned_since) is not is_cloned:
        node = replace(node, cloned_since=now if is_cloned else 0)
    return node


def _reported(node: Node, secret_hash: str, report: Report) -> Node:
    """The node as its report has it."""
    return replace(
        node,
        name=report.name,
        datacenter=report.datacenter,
        version=report.version,
        address=report.address,
        attributes=report.attributes,
        meta=report.meta,
        secret_hash=secret_hash,
    )
