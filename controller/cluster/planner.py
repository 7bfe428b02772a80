"""A plan of the whole cluster, and a plan of the few objects that a watch event named: one decision, two scopes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from controller.azure.model import InUse
from controller.cluster.changes import Create, Keep, NeedsDryRun, Plan, ref_of
from controller.cluster.defaulting import equal_by_defaults, template_schemas
from controller.cluster.foreign import text_map_at
from controller.cluster.inventory import not_awaited, take_inventory
from controller.cluster.kinds import TEMPLATE, Inventory, kind_of
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.plan import decide, make_plan
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import (
    ASSIGNMENT_ID,
    CONSTRAINT_GROUP,
    DEFINITION_ID,
    TEMPLATE_GROUP,
    RunningTemplate,
    is_managed_name,
)
from controller.times import in_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.cluster.apply import Applier
    from controller.cluster.changes import Change, Decision
    from controller.cluster.client import KubeClient
    from controller.cluster.dry_run import DryRunAnswer, DryRunCache
    from controller.cluster.inventory import Listed
    from controller.cluster.kinds import LiveObject
    from controller.cluster.prune import PruneLimit
    from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.gatekeeper.schema import Schema

_AT_ONCE: Final = 1000  # changes that are remembered in one piece of the event loop


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes plans against one cluster; reads and dry runs only."""

    client: KubeClient
    applier: Applier
    cache: DryRunCache
    marks: OwnershipMarks

    async def running_templates(self) -> Mapping[str, RunningTemplate]:
        """Where our templates in the cluster came from, by name: what runs wins over a newcomer."""
        listed = await self.client.list_live(TEMPLATE)
        return {
            live.ref.name: RunningTemplate.of(self._marks_of(live))
            for live in (listed[0] if listed else ())
            if self._ours(live, desired=True)
        }

    def _marks_of(self, template: LiveObject) -> Mapping[str, str]:
        """The annotations of the good version that we remember, else of the live one, which anybody may have edited."""
        good = self.cache.written.templates.get(template.ref)
        return text_map_at(good.manifest, "metadata", "annotations") if good else template.annotations

    def _ours(self, live: LiveObject, *, desired: bool = False) -> bool:
        return ownership(live, self.marks, desired=desired, written=self.cache.written.uids) is Ownership.OURS

    async def in_use(self) -> InUse:
        """The assignments and definitions that our constraints and mutators name, as far as these could be pruned.

        And those that we remember, because somebody may have taken the names off.
        """
        inventory = await take_inventory(self.client, ())
        ours = [
            live.annotations
            for live in inventory.objects.values()
            if live.ref.group != TEMPLATE_GROUP
            and is_managed_name(live.ref.name)
            and not live.deleting
            and self._ours(live)
        ]
        assignments, definitions = (
            frozenset(each[key] for each in ours if each.get(key)) for key in (ASSIGNMENT_ID, DEFINITION_ID)
        )
        last = self.cache.written.desired
        members = {member for each in (last.objects if last else ()) for member in each.members}
        return InUse(
            assignments | {member.assignment_id for member in members},
            definitions | {member.definition_id for member in members},
        )

    async def full(
        self, desired: DesiredState, limit: PruneLimit, *, ask_creates: bool = False
    ) -> tuple[Plan, Inventory]:
        """What is there, and the plan for it, as `inventory` and `plan` make them."""
        inventory = await self.inventory(desired)
        return await self.plan(desired, inventory, limit, ask_creates=ask_creates), inventory

    async def inventory(self, desired: DesiredState, listed: Listed = not_awaited) -> Inventory:
        """What is in the cluster; `listed` gets each kind as soon as it is known, while others are still listed."""
        return await take_inventory(self.client, desired.objects, listed)

    async def plan(
        self, desired: DesiredState, inventory: Inventory, limit: PruneLimit, *, ask_creates: bool = False
    ) -> Plan:
        """A plan from a complete inventory; `ask_creates` asks the server about new objects too, for a preview."""
        written = self.cache.written
        # In a thread: thousands of decisions take a second, in which the lease and the repairs go on.
        make = partial(
            make_plan, desired, inventory, self.marks, limit=limit, cached=self.cache.entries, written=written
        )
        plan = await asyncio.to_thread(make)
        if answers := await self._ask(plan, inventory, ask_creates=ask_creates):
            plan = await asyncio.to_thread(make, answers=answers)
        self.cache.retain({live.uid for live in inventory.objects.values()}, {o.digest for o in desired.objects})
        async for part in in_parts(plan.changes, _AT_ONCE):
            self._remember(part)
        written.saw(plan, desired, inventory)
        return plan

    async def _ask(self, plan: Plan, inventory: Inventory, *, ask_creates: bool) -> dict[ObjectRef, DryRunAnswer]:
        questions = [
            change
            for change in plan.changes
            if isinstance(change, NeedsDryRun)
            or (ask_creates and isinstance(change, Create) and _askable(change.desired, inventory))
        ]
        schemas = await self._schemas(questions)
        answers = await asyncio.gather(*(self._answer(change, schemas) for change in questions))
        return {ref_of(change): answer for change, answer in zip(questions, answers, strict=True)}

    async def _schemas(self, questions: Sequence[NeedsDryRun | Create]) -> Mapping[str, Schema]:
        """What tells the server's defaults in templates from changes, where a template is asked about."""
        asked = any(isinstance(each, NeedsDryRun) and each.desired.role is Role.TEMPLATE for each in questions)
        return await template_schemas(self.client) if asked else {}

    async def _answer(self, change: NeedsDryRun | Create, schemas: Mapping[str, Schema] | None = None) -> DryRunAnswer:
        if isinstance(change, NeedsDryRun):
            known = self.cache.answer(change) or equal_by_defaults(change, schemas or {})
            if known:
                return known
        return await self.applier.answer(change)

    def _remember(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Keep):
                self.cache.remember_equal(change.live, change.desired, change.dropped)

    async def some(self, cluster_id: str, wanted: Sequence[tuple[DesiredObject, LiveObject | None]]) -> Plan:
        """A plan for some desired objects, given as the watch saw them."""
        changes = await asyncio.gather(*(self._one(desired, live) for desired, live in wanted))
        return Plan(cluster_id, tuple(changes))

    async def _one(self, desired: DesiredObject, live: LiveObject | None) -> Decision:
        if live is not None and live.manifest["apiVersion"] != desired.manifest["apiVersion"]:
            own = kind_of(desired.ref).at(str(desired.manifest["apiVersion"]))
            live = await self.client.get_live(own, live.ref.name)
        uids = self.cache.written.uids
        change = decide(desired, live, self.marks, self.cache.entries, written=uids)
        if isinstance(change, NeedsDryRun):
            change = decide(desired, live, self.marks, self.cache.entries, await self._answer(change), written=uids)
            if isinstance(change, Keep):
                self.cache.remember_equal(change.live, change.desired, change.dropped)
        return change


def _askable(desired: DesiredObject, inventory: Inventory) -> bool:
    """Nothing can be asked about a constraint whose kind does not exist yet."""
    return desired.role is not Role.CONSTRAINT or (
        desired.ref.group == CONSTRAINT_GROUP and desired.ref.kind in inventory.served
    )
