"""What we remember of what we wrote: no editor can erase it, and it survives a restart (`last_state` keeps it).

Marks, `managedFields` and specs stand in the objects themselves, where whoever may edit an object can change them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controller.cluster.changes import Keep
from controller.cluster.readiness import is_status_stale, template_errors
from controller.gatekeeper.model import DesiredObject, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.cluster.changes import Plan
    from controller.cluster.kinds import Inventory, LiveObject
    from controller.gatekeeper.model import DesiredState, ObjectRef
    from controller.jsontypes import Json
    from controller.policy.model import MemberKey


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlives a restart: the last good state, the uids of the objects that we wrote, and the good templates.

    `templates` are those that Gatekeeper accepted last, whatever is desired of them now.
    """

    desired: DesiredState
    uids: Mapping[ObjectRef, str] = field(default_factory=dict)
    templates: Mapping[ObjectRef, DesiredObject] = field(default_factory=dict)


@dataclass(slots=True)
class Written:
    """The memory of one process, shared by what plans and what writes.

    `uids` has every object that we wrote or kept as desired: with its uid it is ours whatever it bears, and its name is
    ours while it is desired. `templates` are put back where Gatekeeper rejects a new version.
    """

    uids: dict[ObjectRef, str] = field(default_factory=dict)
    templates: dict[ObjectRef, DesiredObject] = field(default_factory=dict)
    desired: DesiredState | None = None
    _members: dict[ObjectRef, MemberKey] = field(default_factory=dict)

    def recall(self, kept: Kept) -> None:
        """Takes over what was kept; what this process wrote itself since counts more."""
        self.uids = {**kept.uids, **self.uids}
        self.templates = {**kept.templates, **self.templates}
        if self.desired is None:
            self.good(kept.desired)

    def good(self, desired: DesiredState) -> None:
        """A state that was read from Azure and carried out, or that was kept: for whom its objects were written."""
        if desired is self.desired:
            return
        self.desired = desired
        single = (each for each in desired.objects if each.role is not Role.TEMPLATE and len(each.members) == 1)
        self._members = {each.ref: each.members[0].key for each in single}

    def to_keep(self, desired: DesiredState) -> Kept:
        """What a restart has to know once a state was carried out."""
        wanted = {each.ref for each in desired.objects}
        good = {ref: each for ref, each in self.templates.items() if ref in wanted or ref in self.uids}
        return Kept(desired, dict(self.uids), good)

    def member_of(self, live: LiveObject) -> MemberKey | None:
        """The member that we wrote an object for, None where we do not know."""
        return self._members.get(live.ref) if self.uids.get(live.ref) == live.uid else None

    def wrote(self, live: LiveObject) -> None:
        """The API server stored what we wrote, and nobody had the time to change it."""
        self.uids[live.ref] = live.uid

    def deleted(self, ref: ObjectRef) -> None:
        """We deleted it: from now on the name is nobody's."""
        self.uids.pop(ref, None)
        self.templates.pop(ref, None)

    def accepted(self, template: DesiredObject) -> None:
        """Gatekeeper compiled it: the version to go back to."""
        self.templates[template.ref] = template

    def saw(self, plan: Plan, wanted: DesiredState, inventory: Inventory) -> None:
        """Takes in what a full plan found; a name that is not desired is forgotten once nothing bears it.

        Not before: while the meaning of a policy is not known, somebody could put another object in the place of its
        own, and it would be in conflict with that as soon as it is desired again.
        """
        for change in plan.changes:
            if isinstance(change, Keep):
                if change.desired.role is Role.TEMPLATE and _accepted(change.live):
                    self.accepted(change.desired)
                self.wrote(change.live)
        names, there = {each.ref for each in wanted.objects}, inventory.objects.keys()
        self.uids = {ref: uid for ref, uid in self.uids.items() if ref in names or ref in there}
        self.templates = {ref: each for ref, each in self.templates.items() if ref in self.uids or ref in names}

    def met(self, template: LiveObject) -> None:
        """Takes a template as it was found for a good one, where we remember nothing of it, as after an upgrade.

        Once there is a record, what somebody made of a live template is never taken for a good one.
        """
        if template.ref in self.uids or template.cut or template_errors(template):
            return
        metadata: dict[str, Json] = {
            "name": template.ref.name,
            "labels": {**template.labels},
            "annotations": {**template.annotations},
        }
        manifest: dict[str, Json] = {
            "apiVersion": template.manifest["apiVersion"],
            "kind": template.ref.kind,
            "metadata": metadata,
            "spec": template.manifest.get("spec") or {},
        }
        self.templates.setdefault(template.ref, DesiredObject.of(Role.TEMPLATE, manifest, ()))


def _accepted(template: LiveObject) -> bool:
    """Whether every pod of Gatekeeper has compiled the template as it is now."""
    return not is_status_stale(template) and not template_errors(template)
