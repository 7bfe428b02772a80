"""Moves a cluster from the AKS add-on to azpolicy, and back, step by step: something enforces at every moment.

| step    | from the add-on                         | back to the add-on                   | writes |
|---------|-----------------------------------------|--------------------------------------|--------|
| compare | what it has and what azpolicy makes     | the same                             | no     |
| shadow  | ours under parallel kinds, in dry run   | not needed                           | yes    |
| enforce | the same, as Azure says                 | the same: the usual names come free  | yes    |
| check   | whether ours cover the add-on's         | whether the add-on's cover ours      | no     |
| finish  | what it left behind is taken over       | not needed: `azpolicy uninstall`     | yes    |

`controller.migration.parallel` makes the parallel kinds: whatever becomes of the add-on's templates, ours stay. The
last step is an ordinary plan, which moves each policy to its usual kind once it is enforced there.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, assert_never

from controller.cluster.addon import NAMESPACE, ObjectsByOwner, Owner, read_by_owner, running_deployments
from controller.cluster.diff import differences, same
from controller.cluster.foreign import mapping_at, text_at, value_at
from controller.cluster.kinds import kind_of
from controller.cluster.ownership import member_of
from controller.cluster.readiness import Ready, constraint_verdict
from controller.cluster.resources import operator_at_work
from controller.commands.compare import audits_of
from controller.commands.session import open_session
from controller.errors import ClusterError, InputError, Refused
from controller.gatekeeper.deviations import Deviations, read_deviations
from controller.gatekeeper.model import Rendered, Role
from controller.gatekeeper.naming import ADDON, CONSTRAINT_GROUP, TEMPLATE_GROUP, TEMPLATE_URL
from controller.migration.parallel import additions, in_dry_run, parallel, parallel_kind
from controller.migration.strictness import shortfalls
from controller.policy.model import NotApplied, Unresolved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from controller.cluster.changes import Plan
    from controller.cluster.diff import Difference
    from controller.cluster.kinds import LiveObject
    from controller.cluster.prune import PruneLimit
    from controller.commands.session import Session
    from controller.config import ClusterOptions, SourceOptions
    from controller.gatekeeper.deviations import Change
    from controller.gatekeeper.model import DesiredObject, DesiredState, ObjectRef
    from controller.policy.model import MemberKey

_ACTING: Final = frozenset({Role.CONSTRAINT, Role.MUTATOR})


class Direction(StrEnum):
    """Which of the two is the old one, to be left."""

    FROM_ADDON = "from-addon"
    TO_ADDON = "to-addon"


class Step(StrEnum):
    """What is done; the order is that of the way."""

    COMPARE = "compare"
    SHADOW = "shadow"
    ENFORCE = "enforce"
    CHECK = "check"
    FINISH = "finish"

    @property
    def reads(self) -> bool:
        """Whether it writes nothing."""
        return self in (Step.COMPARE, Step.CHECK)


_NO_DEVIATIONS: Final = Deviations()
_UNVERIFIED: Final = "Azure has not published this template: whether it decides as azpolicy's is not verified"
_BACK: Final = (Step.COMPARE, Step.ENFORCE, Step.CHECK)


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """One step of the way in one direction; InputError where there is no such step."""

    direction: Direction
    step: Step

    def __post_init__(self) -> None:
        if self.direction is Direction.TO_ADDON and self.step not in _BACK:
            raise InputError(f"--to-addon has no step {self.step}: its steps are {', '.join(_BACK)}, then uninstall")


_OLD: Final = {Direction.FROM_ADDON: Owner.ADDON, Direction.TO_ADDON: Owner.AZPOLICY}
_NEW: Final = {Direction.FROM_ADDON: Owner.AZPOLICY, Direction.TO_ADDON: Owner.ADDON}


# --- comparing -------------------------------------------------------------------------------------------------------


class Relation(StrEnum):
    """How an object of the add-on's compares with what azpolicy makes of the same member."""

    SAME = "same"
    COVERS = "covers"
    DIFFERS = "differs"
    ONLY_ADDON = "only-addon"
    ONLY_AZPOLICY = "only-azpolicy"


@dataclass(frozen=True, slots=True)
class Finding:
    """One template, or one member; `differences` go from the add-on's to azpolicy's, `notes` are for people.

    `violations` are those of the last audits, the add-on's and ours, None where there is none. `changes` are what a
    template of the bundle decides otherwise than Azure's.
    """

    relation: Relation
    addon: ObjectRef | None
    azpolicy: ObjectRef | None
    member: MemberKey | None = None
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    violations: tuple[int | None, int | None] = (None, None)
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer of the step compare."""

    cluster_id: str
    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """Whether azpolicy does at least what the add-on does, by the same rules."""
        return not {each.relation for each in self.findings} & {Relation.DIFFERS, Relation.ONLY_ADDON}


def compare(desired: DesiredState, by_owner: ObjectsByOwner, deviations: Deviations = _NO_DEVIATIONS) -> Comparison:
    """Template by template, then member by member."""
    return Comparison(desired.cluster_id, (*_templates(desired, by_owner, deviations), *_members(desired, by_owner)))


def _templates(desired: DesiredState, by_owner: ObjectsByOwner, deviations: Deviations) -> Iterator[Finding]:
    theirs = {live.ref: live for live in by_owner.objects[Owner.ADDON] if live.ref.group == TEMPLATE_GROUP}
    ours = {wanted.ref: wanted for wanted in desired.objects if wanted.role is Role.TEMPLATE}
    for ref in sorted(theirs.keys() | ours.keys()):
        live, wanted = theirs.get(ref), ours.get(ref)
        if wanted is None:
            yield Finding(Relation.ONLY_ADDON, ref, None)
        elif live is None:
            yield Finding(Relation.ONLY_AZPOLICY, None, ref)
        else:
            found = tuple(differences(_rules(live.manifest), _rules(wanted.manifest)))
            relation = Relation.DIFFERS if found else Relation.SAME
            notes = (_UNVERIFIED,) if deviations.is_unverified(wanted) else ()
            yield Finding(relation, ref, ref, differences=found, notes=notes, changes=deviations.of(wanted))


def _rules(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a template decides, and where it came from; without what the server adds, and without its kind."""
    return {
        "url": text_at(template, "metadata", "annotations", TEMPLATE_URL),
        "schema": value_at(template, "spec", "crd", "spec", "validation", "openAPIV3Schema"),
        "targets": value_at(template, "spec", "targets"),
    }


def _members(desired: DesiredState, by_owner: ObjectsByOwner) -> Iterator[Finding]:
    ours = {member.key: wanted for wanted in desired.objects if wanted.role in _ACTING for member in wanted.members}
    met: set[MemberKey | None] = set()
    audits = [_violations(by_owner, owner) for owner in (Owner.ADDON, Owner.AZPOLICY)]
    for live in _acting(by_owner, Owner.ADDON):
        key = member_of(live.annotations)
        met.add(key)
        expands = by_owner.expands_without(Owner.AZPOLICY)
        found = (
            _member(live, ours[key], expands=expands) if key in ours else Finding(Relation.ONLY_ADDON, live.ref, None)
        )
        notes = found.notes if key in ours else (_why_none(desired, key),)
        theirs, own = (audit.get(key) for audit in audits)
        yield replace(found, member=key, notes=notes, violations=(theirs, own))
    for key, wanted in ours.items():
        if key not in met:
            yield Finding(Relation.ONLY_AZPOLICY, None, wanted.ref, key)


def _member(live: LiveObject, wanted: DesiredObject, *, expands: bool) -> Finding:
    found = tuple(differences(_meaning(live.manifest), _meaning(wanted.manifest)))
    less = tuple(_shortfalls(live.manifest, wanted.manifest, expands=expands))
    relation = Relation.DIFFERS if less else Relation.COVERS if found else Relation.SAME
    return Finding(relation, live.ref, wanted.ref, differences=found, notes=less)


def _meaning(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a constraint or mutator asks for; an empty part of `match` means the same as none."""
    match = {key: value for key, value in mapping_at(manifest, "spec", "match").items() if value}
    return {"kind": manifest["kind"], "spec": {**mapping_at(manifest, "spec"), "match": match}}


def _why_none(desired: DesiredState, key: MemberKey | None) -> str:
    """Why there is nothing of azpolicy's for a member of the add-on's."""
    if key is None:
        return "its annotations name no assignment"
    for outcome in desired.outcomes:
        its = outcome.member.key
        if its == key or (outcome.member.whole and its.assignment_id == key.assignment_id):
            match outcome:
                case Rendered():
                    return "azpolicy has not created it yet"
                case NotApplied() | Unresolved():
                    return f"for azpolicy it is {type(outcome).__name__} ({outcome.reason}): {outcome.message}"
                case _:
                    assert_never(outcome)
    return "no assignment that was read contains it"


def _acting(by_owner: ObjectsByOwner, owner: Owner) -> tuple[LiveObject, ...]:
    """The constraints and mutators of one side."""
    return tuple(live for live in by_owner.objects[owner] if kind_of(live.ref).role in _ACTING)


def _violations(by_owner: ObjectsByOwner, owner: Owner) -> Mapping[MemberKey | None, int]:
    return {key: audit.violations for key, audit in audits_of(_acting(by_owner, owner)).items()}


# --- checking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cover:
    """An object of the old side, what of the new one covers it, and what is still missing for that."""

    old: ObjectRef
    member: MemberKey | None
    by: ObjectRef | None
    missing: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """The answer of the step check. `bystanders` are others' constraints, which go when the add-on's templates go."""

    cluster_id: str
    direction: Direction
    covers: tuple[Cover, ...]
    deployments: tuple[str, ...] = ()
    bystanders: tuple[ObjectRef, ...] = ()

    @property
    def old(self) -> Owner:
        """The program to switch off."""
        return _OLD[self.direction]

    @property
    def good(self) -> bool:
        """Whether that can be done without anything being admitted that is refused now."""
        return not any(each.missing for each in self.covers)


def check(direction: Direction, desired: DesiredState, by_owner: ObjectsByOwner) -> Check:
    """Whether every constraint and mutator of the one side is covered by one that is enforced of the other."""
    enforcing = _acting(by_owner, _NEW[direction])
    covers = []
    for old in _acting(by_owner, _OLD[direction]):
        key = member_of(old.annotations)
        # What does not say its member is covered by whatever does the same.
        candidates = [new for new in enforcing if key is None or member_of(new.annotations) == key]
        judged = [_cover(old, new, direction, by_owner) for new in candidates]
        none = Cover(old.ref, key, None, (_why_uncovered(direction, desired, key),))
        covers.append(min(judged, key=lambda each: len(each.missing), default=none))
    return Check(desired.cluster_id, direction, tuple(covers), by_owner.deployments, _bystanders(direction, by_owner))


def _cover(old: LiveObject, new: LiveObject, direction: Direction, by_owner: ObjectsByOwner) -> Cover:
    expands = by_owner.expands_without(_NEW[direction])
    less = _shortfalls(old.manifest, new.manifest, expands=expands)
    missing = (*less, *_unenforced(new, _NEW[direction], by_owner))
    templates = (by_owner.template(_OLD[direction], old.ref.kind), by_owner.template(_NEW[direction], new.ref.kind))
    texts = [_rules(template.manifest)["targets"] for template in templates if template]
    note = "its template has another text: compare the audits of both" if texts[1:] and not same(*texts) else ""
    return Cover(old.ref, member_of(old.annotations), new.ref, missing, note)


def _shortfalls(old: Mapping[str, Any], new: Mapping[str, Any], *, expands: bool) -> Iterator[str]:
    kinds = (str(old["kind"]), str(new["kind"]))
    if not {kinds[0], parallel_kind(kinds[0])} & {kinds[1], parallel_kind(kinds[1])}:
        yield f"it is a {kinds[1]}, not a {kinds[0]}: it is not known which is stricter"
    yield from shortfalls(mapping_at(old, "spec"), mapping_at(new, "spec"), expands=expands)


def _unenforced(new: LiveObject, owner: Owner, by_owner: ObjectsByOwner) -> Iterator[str]:
    verdict = constraint_verdict(new)
    if not isinstance(verdict, Ready):
        yield f"it is not enforced: {verdict.message}"
    if new.ref.group != CONSTRAINT_GROUP:
        return
    template = by_owner.template(owner, new.ref.kind)
    if template is None:
        yield f"its template does not belong to {owner}: somebody else may delete it"
    elif template.ref.name in by_owner.unready:
        yield f"its template is not ready: {by_owner.unready[template.ref.name]}"


def _why_uncovered(direction: Direction, desired: DesiredState, key: MemberKey | None) -> str:
    match direction:
        case Direction.FROM_ADDON:
            return _why_none(desired, key)
        case Direction.TO_ADDON:
            return "the add-on has nothing for it"
        case _:
            assert_never(direction)


def _bystanders(direction: Direction, by_owner: ObjectsByOwner) -> tuple[ObjectRef, ...]:
    """Constraints of neither side on templates of the add-on's; those on ours keep our templates."""
    if direction is Direction.TO_ADDON:
        return ()
    others = (live.ref for live in by_owner.objects[Owner.OTHER] if live.ref.group == CONSTRAINT_GROUP)
    return tuple(ref for ref in others if by_owner.template(Owner.ADDON, ref.kind))


# --- going -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """A step that writes, ready to be carried out by its session; `notes` say what it leaves out."""

    session: Session
    plan: Plan
    notes: tuple[str, ...] = ()


async def look(requested: MigrationStep, source: SourceOptions, cluster: ClusterOptions) -> Comparison | Check:
    """The answer of a step that only reads."""
    async with open_session(source, cluster) as session:
        by_owner = await read_by_owner(session.planner.client, source.marks, session.desired.objects)
    if requested.step is Step.COMPARE:
        return compare(session.desired, by_owner, read_deviations())
    return check(requested.direction, session.desired, by_owner)


@asynccontextmanager
async def prepared(
    step: Step, source: SourceOptions, cluster: ClusterOptions, limit: PruneLimit
) -> AsyncIterator[Prepared]:
    """The plan of a step that writes; Refused where it is not its time."""
    if step is Step.FINISH:
        source = replace(source, marks=replace(source.marks, adopted=source.marks.adopted | {ADDON}))
    async with open_session(source, cluster) as session:
        yield await _prepare(step, session, limit)


async def _prepare(step: Step, session: Session, limit: PruneLimit) -> Prepared:
    match step:
        case Step.SHADOW:
            notes = (*await _alone(session), *_left_out(session.desired))
            quiet = replace(session, desired=in_dry_run(parallel(session.desired)))
            return Prepared(quiet, additions(await quiet.plan(limit, preview=True)), notes)
        case Step.ENFORCE:
            notes = await _alone(session)
            loud = replace(session, desired=parallel(session.desired))
            return Prepared(loud, await loud.plan(limit, preview=True), notes)
        case Step.FINISH:
            await _switched_off(session)
            return Prepared(session, await session.plan(limit, preview=True))
        case Step.COMPARE | Step.CHECK:
            raise AssertionError("a step that only reads has no plan")
        case _:
            assert_never(step)


async def _alone(session: Session) -> tuple[str, ...]:
    """Refused while an operator runs, which would delete what these steps create; a note where that cannot be known."""
    try:
        holder = await operator_at_work(session.planner.client, None)
    except ClusterError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return ("no right to read the operator's Lease: make sure that no operator runs",)
    if holder:
        raise Refused(
            f"the operator {holder} runs and would delete what this step creates: stop it until the step finish "
            "(helm uninstall, or kubectl scale --replicas=0)"
        )
    return ()


def _left_out(desired: DesiredState) -> tuple[str, ...]:
    count = sum(wanted.role is Role.MUTATOR for wanted in desired.objects)
    return (f"mutators are left for --step enforce, because they have no dry run: {count}",) if count else ()


async def _switched_off(session: Session) -> None:
    if running := await running_deployments(session.planner.client):
        raise Refused(
            f"the add-on is still there (deployment {running[0]} in {NAMESPACE}) and would take its objects back: "
            f"switch it off first, once --step check says that it can be"
        )
