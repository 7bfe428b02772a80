"""Assignments to what they mean for this cluster: every member as EffectivePolicy, NotApplied or Unresolved.

Decisions where Azure's documents leave room:
- Enroll: enforced where an enrollment holds the cluster. Elsewhere, also in a cloud without enrollments, policies are
  audited, never denied, and mutations are not made. Where enrollments may not be read, nothing is changed.
- A mutation under DoNotEnforce is not made: a change to an object cannot be evaluated without being made.
- Of several overrides that are for a member, the first decides.
- A definition without any version counts as 1.0.0, as Azure numbers custom definitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from controller.azure.model import Initiative, PolicyDefinition, fold
from controller.policy.assigned import (
    ANY,
    EXEMPTIONS,
    Enforcement,
    effect_override,
    enforcement_of,
    exemption_of,
    exemptions_by_member,
    not_applied,
    unreached,
    unreadable_by_assignment,
    unresolved,
    version_override,
)
from controller.policy.details import has_expression
from controller.policy.expressions import ExpressionError, Scope, escape_notes, evaluate
from controller.policy.members import Evaluator, MemberInput, ParameterValues, Prepared, Surroundings
from controller.policy.model import Effect, Member, NotAppliedReason, UnresolvedReason
from controller.policy.parameters import Binding, Declarations, bind, parameters_in
from controller.policy.problem import Problem
from controller.policy.versions import choose_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from controller.azure.model import Assignment, AzureState, DefinitionReference, Exemption, Unreadable
    from controller.jsontypes import Json
    from controller.policy.model import NotApplied, Resolution, Unresolved

T = TypeVar("T", PolicyDefinition, Initiative)

_PRESUMED: Final = (
    "it is presumed to be of another mode, as Azure does not list it in category Kubernetes for clusters:"
    " its text is read in one of the next polls"
)
_SET_DEFINITIONS: Final = "/policysetdefinitions/"


def resolve(state: AzureState, now: datetime) -> tuple[Resolution, ...]:
    """What every member of every assignment means for the cluster, by assignment id, then in the initiative's order.

    `now` is the poll's clock, with a zone. What is not understood is Unresolved, and the rest goes on.
    """
    resolver = _Resolver.of(state, now)
    found: dict[str, Iterator[Resolution]] = {fold(each.id): resolver.assignment(each) for each in state.assignments}
    # Also if a readable one has the same id: then it is not known which of them is meant.
    found |= {key: iter([_unreadable(each)]) for key, each in state.unreadable.items() if "/policyassignments/" in key}
    return tuple(each for key in sorted(found) for each in found[key])


def _unreadable(assignment: Unreadable) -> Unresolved:
    member = Member(assignment.id, "", assignment_name=assignment.id.rpartition("/")[2], whole=True)
    return unresolved(member, Problem(UnresolvedReason.UNREADABLE, assignment.reason))


@dataclass(frozen=True, slots=True)
class _Assigned:
    """An assignment that reaches the cluster."""

    assignment: Assignment
    enforcement: Enforcement
    exemptions: Mapping[str | None, list[Exemption]]


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What an initiative makes of its parameters for a member, worked out as far as no assignment is needed for it.

    `uses` are the parameters that the values refer to, folded; `notes` are on the values as written.
    """

    reference: DefinitionReference
    uses: frozenset[str]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, reference: DefinitionReference) -> _Mapping:
        values = dict(reference.parameters)
        return cls(reference, _folded(parameters_in(values)), escape_notes(values, "the initiative's parameters"))


@dataclass(frozen=True, slots=True)
class _PreparedInitiative:
    """An initiative, worked out as far as no assignment is needed for it; shared by all that assign it."""

    initiative: Initiative
    declared: Declarations
    mappings: tuple[_Mapping, ...]

    @classmethod
    def of(cls, initiative: Initiative) -> _PreparedInitiative:
        return cls(initiative, Declarations.of(initiative.parameters), tuple(map(_Mapping.of, initiative.references)))


@dataclass(frozen=True, slots=True)
class _AssignedInitiative:
    """An assigned initiative with its parameters bound.

    `asked` is the version asked for; `names` are the parameters that the assignment sets, folded. `mapped` remembers
    what expressions in the mappings yield: most members are given the same few.
    """

    assigned: _Assigned
    prepared: _PreparedInitiative
    asked: str
    binding: Binding
    scope: Scope
    names: frozenset[str]
    mapped: dict[str, Json] = field(default_factory=dict)

    def given(self, mapping: _Mapping) -> ParameterValues:
        """What the initiative's mapping gives a member, worked out with the initiative's own parameters."""
        parameters = mapping.reference.parameters
        values: dict[str, Json] = {}
        unusable: dict[str, str] = {}
        for name, raw in parameters.items():
            try:
                values[name] = self._value(raw)
            except ExpressionError as error:
                problem = self.binding.problem(error, raw)
                unusable[name] = f"the initiative's value for parameter '{name}': {problem.message}"
        notes = (*self.assigned.enforcement.notes, *self._notes(mapping), *mapping.notes)
        return ParameterValues(values, self.names, parameters, unusable, notes)

    def _notes(self, mapping: _Mapping) -> Iterator[str]:
        """What to know of the parameters that the mapping uses; the first member also says what nobody declares."""
        used = mapping.uses | self.binding.ignored if mapping is self.prepared.mappings[0] else mapping.uses
        return (note for name, note in self.binding.notes.items() if name in used)

    def _value(self, raw: Json) -> Json:
        if not has_expression(raw):
            return raw
        if not isinstance(raw, str):
            return evaluate(raw, self.scope)
        if raw not in self.mapped:
            self.mapped[raw] = evaluate(raw, self.scope)
        return self.mapped[raw]


@dataclass(frozen=True, slots=True)
class _Resolver:
    """One run over one state, with what assignments share worked out once."""

    state: AzureState
    now: datetime
    evaluator: Evaluator
    exemptions: Mapping[str, Mapping[str | None, list[Exemption]]]
    doubts: Mapping[str, Unreadable]
    prepared: dict[int, Prepared] = field(default_factory=dict)
    initiatives: dict[int, _PreparedInitiative] = field(default_factory=dict)
    chosen: dict[tuple[str, str, str], Prepared | Problem] = field(default_factory=dict)

    @classmethod
    def of(cls, state: AzureState, now: datetime) -> _Resolver:
        evaluator = Evaluator(Surroundings(state.cluster, now, state.resource_group, state.subscription))
        return cls(
            state, now, evaluator, exemptions_by_member(state.exemptions), unreadable_by_assignment(state, EXEMPTIONS)
        )

    def assignment(self, assignment: Assignment) -> Iterator[Resolution]:
        """Every member of one assignment, or one result that speaks for all of them."""
        whole = _member(assignment, whole=True)
        exemptions = self.exemptions.get(fold(assignment.id), {})
        waivers = exemptions.get(None, ())
        ended = unreached(assignment, waivers, self.state, self.now, whole) or self._doubted(assignment, whole)
        if ended is not None:
            yield ended
            return
        try:
            assigned = _Assigned(assignment, enforcement_of(assignment, self.state), exemptions)
            together = self._initiative(assigned) if assignment.is_initiative else None
        except Problem as problem:
            yield unresolved(whole, problem)
            return
        if together is None:
            yield self._single(assigned)
            return
        for mapping in together.prepared.mappings:
            yield self._referenced(together, mapping)

    def _doubted(self, assignment: Assignment, whole: Member) -> Unresolved | None:
        """An exemption that does not parse may be for this assignment: then it is not known whether it applies."""
        doubt = self.doubts.get(ANY) or self.doubts.get(fold(assignment.id))
        if doubt is None:
            return None
        message = f"the exemption {doubt.id} cannot be read: {doubt.reason}"
        return unresolved(whole, Problem(UnresolvedReason.UNREADABLE, message))

    def _initiative(self, assigned: _Assigned) -> _AssignedInitiative:
        assignment = assigned.assignment
        versions = self._at_hand(assignment.definition_id, self.state.initiatives, "initiative")
        asked, effective = self._asked(assignment)
        initiative = choose_version(versions, asked, effective)
        prepared = self.initiatives.get(id(initiative))
        if prepared is None:
            prepared = self.initiatives[id(initiative)] = _PreparedInitiative.of(initiative)
        binding = bind(prepared.declared, assignment.parameters)
        names = _folded(assignment.parameters)
        return _AssignedInitiative(
            assigned, prepared, asked, binding, self.evaluator.around.scope(binding.values), names
        )

    def _asked(self, assignment: Assignment) -> tuple[str, str]:
        """The version of what is assigned that is asked for, and the one that Azure says is effective."""
        override = version_override(assignment, "", self.state)
        return (override, "") if override else (assignment.definition_version, assignment.effective_version)

    def _at_hand(self, wanted: str, shelf: Mapping[str, tuple[T, ...]], what: str) -> tuple[T, ...]:
        """Every version of what an id names; a Problem where there is none, or one that does not parse."""
        key = fold(wanted)
        broken = self.state.unreadable.get(key)
        if broken is not None:
            raise Problem(UnresolvedReason.UNREADABLE, f"the {what} {wanted} cannot be read: {broken.reason}")
        found = shelf.get(key)
        if not found:
            message = f"the {what} {wanted} is missing: add it to the snapshot, or check that it exists in Azure"
            raise Problem(UnresolvedReason.DEFINITION_MISSING, message)
        return found

    def _definition(self, definition_id: str, asked: str, effective: str) -> Prepared | Problem:
        """The version that is meant of a definition, prepared, or why there is none; remembered for other members."""
        key = (definition_id, asked, effective)
        found = self.chosen.get(key)
        if found is None:
            found = self.chosen[key] = self._choose(*key)
        return found

    def _choose(self, definition_id: str, asked: str, effective: str) -> Prepared | Problem:
        if _SET_DEFINITIONS in fold(definition_id):
            message = f"{definition_id} is an initiative, which Azure does not allow in another: name its definitions"
            return Problem(UnresolvedReason.DEFINITION_MISSING, message)
        try:
            versions = self._at_hand(definition_id, self.state.definitions, "definition")
            definition = choose_version(versions, asked, effective)
        except Problem as problem:
            return problem
        prepared = self.prepared.get(id(definition))
        if prepared is None:
            prepared = self.prepared[id(definition)] = Prepared.of(definition, self.evaluator.around)
        return prepared

    def _without(self, definition_id: str, member: Member, problem: Problem) -> NotApplied | Unresolved:
        """A member whose definition is not at hand: one that has yet to be read counts as one of another mode."""
        if problem.reason is UnresolvedReason.DEFINITION_MISSING and fold(definition_id) in self.state.presumed:
            return replace(not_applied(member, NotAppliedReason.MODE, _PRESUMED), presumed=True)
        return unresolved(member, problem)

    def _single(self, assigned: _Assigned) -> Resolution:
        """An assignment of one definition."""
        assignment = assigned.assignment
        member = _member(assignment)
        try:
            asked, effective = self._asked(assignment)
            member = replace(member, version_asked=asked)
            override = effect_override(assignment, "", self.state)
        except Problem as problem:
            return unresolved(member, problem)
        if _disables(override):
            return not_applied(member, NotAppliedReason.DISABLED, "its effect is disabled (override)")
        prepared = self._definition(assignment.definition_id, asked, effective)
        if isinstance(prepared, Problem):
            return self._without(assignment.definition_id, member, prepared)
        definition = prepared.definition
        member = replace(
            member,
            definition_name=definition.display_name,
            version=prepared.version,
            category=definition.category,
        )
        enforcement = assigned.enforcement
        given = ParameterValues(assignment.parameters, _folded(assignment.parameters), notes=enforcement.notes)
        return self.evaluator.decide(MemberInput(member, prepared, given, enforcement.mode, override))

    def _referenced(self, together: _AssignedInitiative, mapping: _Mapping) -> Resolution:
        """One member of an assigned initiative."""
        assigned, reference = together.assigned, mapping.reference
        asked, prepared = self._of_reference(assigned.assignment, reference)
        member = _referenced_member(together, reference, asked, prepared)
        if assigned.exemptions:
            waivers = assigned.exemptions.get(reference.reference_id.casefold(), ())
            exempt = exemption_of(waivers, self.state, self.now, member)
            if exempt is not None:
                return exempt
        try:
            override = effect_override(assigned.assignment, reference.reference_id, self.state)
        except Problem as problem:
            return unresolved(member, problem)
        if _disables(override):
            return not_applied(member, NotAppliedReason.DISABLED, "its effect is disabled (override)")
        if isinstance(prepared, Problem):
            return self._without(reference.definition_id, member, prepared)
        given = together.given(mapping)
        return self.evaluator.decide(MemberInput(member, prepared, given, assigned.enforcement.mode, override))

    def _of_reference(self, assignment: Assignment, reference: DefinitionReference) -> tuple[str, Prepared | Problem]:
        """The version that is asked for of a member's definition, and the definition or why there is none."""
        asked, effective = reference.version, reference.effective_version
        if reference.fault:
            return asked, Problem(UnresolvedReason.UNREADABLE, reference.fault)
        try:
            override = version_override(assignment, reference.reference_id, self.state) if assignment.overrides else ""
        except Problem as problem:
            return asked, problem
        if override:
            asked, effective = override, ""
        return asked, self._definition(reference.definition_id, asked, effective)


def _disables(effect: str) -> bool:
    return effect.casefold() == Effect.DISABLED


def _member(assignment: Assignment, *, whole: bool = False) -> Member:
    asked, initiative = assignment.definition_version, assignment.is_initiative
    return Member(
        assignment_id=assignment.id,
        definition_id="" if initiative else assignment.definition_id,
        initiative_id=assignment.definition_id if initiative else "",
        assignment_name=assignment.display_name,
        version_asked="" if initiative else asked,
        whole=whole,
        initiative_version_asked=asked if initiative else "",
        enforcement_mode=assignment.enforcement_mode,
    )


def _referenced_member(
    together: _AssignedInitiative, reference: DefinitionReference, asked: str, prepared: Prepared | Problem
) -> Member:
    found = prepared if isinstance(prepared, Prepared) else None
    assignment, initiative = together.assigned.assignment, together.prepared.initiative
    return Member(
        assignment_id=assignment.id,
        definition_id=reference.definition_id,
        initiative_id=assignment.definition_id,
        reference_id=reference.reference_id,
        assignment_name=assignment.display_name,
        definition_name=found.definition.display_name if found else "",
        version=found.version if found else "",
        version_asked=asked,
        initiative_name=initiative.display_name,
        initiative_version=str(initiative.version or ""),
        initiative_version_asked=together.asked,
        enforcement_mode=together.assigned.enforcement.stated,
        category=found.definition.category if found else "",
    )


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)
