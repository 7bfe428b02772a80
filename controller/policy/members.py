"""One member, once its definition and its parameters are known: does it apply, with which effect, to what.

What is known not to apply wins over what is not known: a member whose effect is disabled stays so, whatever else is
wrong with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from controller.azure.model import EnforcementMode, calls
from controller.policy.applicability import applies
from controller.policy.assigned import not_applied, unresolved
from controller.policy.cost import CostBudget, CostReserve
from controller.policy.details import Details, has_expression
from controller.policy.expressions import ExpressionError, Scope, escape_notes, evaluate
from controller.policy.model import (
    Effect,
    EffectivePolicy,
    Match,
    MutationPolicy,
    NotAppliedReason,
    TemplatePolicy,
    UnresolvedReason,
)
from controller.policy.parameters import Binding, Declarations, bind, kind_of, parameters_in, shown
from controller.policy.problem import Problem
from controller.policy.verdict import Unknown, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.azure.model import ClusterResource, Container, PolicyDefinition
    from controller.jsontypes import Json
    from controller.policy.model import Member, Resolution

_EFFECTS: Final = {effect.casefold(): effect for effect in Effect}
_OLD_EFFECTS: Final = frozenset({"enforceopaconstraint", "enforceregopolicy"})
_EFFECT_PLACE: Final = "policyRule.then.effect"
_NOT_ENFORCED: Final = {
    EnforcementMode.DO_NOT_ENFORCE: (
        NotAppliedReason.NOT_ENFORCED,
        "enforcementMode is DoNotEnforce, and a mutation cannot be evaluated without applying it",
    ),
    EnforcementMode.ENROLL: (
        NotAppliedReason.NOT_ENROLLED,
        "enforcementMode is Enroll, and the cluster is not enrolled",
    ),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What expressions may refer to besides parameters: the cluster, what holds it, and the poll's clock."""

    cluster: ClusterResource
    now: datetime
    resource_group: Container | None = None
    subscription: Container | None = None
    reserve: CostReserve = field(default_factory=CostReserve)

    def scope(self, parameters: Mapping[str, Json], *, policy: dict[str, Json] | None = None) -> Scope:
        """A scope with a cost budget of its own, beyond which it draws on what all share."""
        return Scope(
            parameters,
            self.now,
            policy=policy,
            budget=CostBudget(self.reserve),
            resource_group=_yielded(self.resource_group),
            subscription=_yielded(self.subscription),
        )


def _yielded(container: Container | None) -> dict[str, Json] | None:
    """What a function yields of it: ARM leaves tags out where there are none, and its functions do not."""
    return None if container is None else {"tags": {}, **container.document}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A definition, worked out as far as no assignment is needed for it; shared by all that use it.

    `verdict` is that of an `if` without expressions, None where parameters decide it. `asks_who` says that the rule
    uses policy(), so that two members that are given the same may still differ. `notes` are on the rule as written.
    """

    definition: PolicyDefinition
    declared: Declarations
    effect: Json
    condition: Json
    verdict: Verdict | None
    details: Details | Problem
    version: str
    asks_who: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, definition: PolicyDefinition, around: Surroundings) -> Prepared:
        """What the definition says, for this cluster."""
        then = definition.rule.get("then")
        parts: Mapping[str, Json] = then if isinstance(then, dict) else {}
        condition = definition.rule.get("if")
        return cls(
            definition=definition,
            declared=Declarations.of(definition.parameters),
            effect=parts.get("effect"),
            condition=condition,
            verdict=None if has_expression(condition) else applies(condition, around.cluster, around.scope({})),
            details=_details(parts.get("details")),
            version=str(definition.version or ""),
            asks_who=calls("policy").search(json.dumps(definition.rule)) is not None,
            notes=escape_notes(dict(definition.rule), "policyRule"),
        )


def _details(raw: Json) -> Details | Problem:
    try:
        return Details.of(raw)
    except Problem as problem:
        return problem


@dataclass(frozen=True, slots=True)
class ParameterValues:
    """What an assignment, or an initiative's mapping, gives a member's parameters.

    `unusable` says which values could not be worked out and why, `assigned` which parameters the assignment sets
    (folded names), `mapping` what an initiative makes of them, None where there is no initiative.
    """

    values: Mapping[str, Json]
    assigned: frozenset[str]
    mapping: Mapping[str, Json] | None = None
    unusable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def origin(self, name: str) -> str:
        """Where the value of a parameter is from, in a user's words."""
        folded = name.casefold()
        if self.mapping is None:
            return "assignment parameter" if folded in self.assigned else "definition default"
        mapped = [raw for known, raw in self.mapping.items() if known.casefold() == folded]
        if not mapped:
            return "definition default"
        names = parameters_in(mapped[0])
        if not names:
            return "initiative"
        return "assignment parameter" if {each.casefold() for each in names} & self.assigned else "initiative default"


@dataclass(frozen=True, slots=True)
class InForce:
    """The member applies: what holds for every member that is given the same."""

    effect: Effect
    warn: bool
    match: Match
    policy: TemplatePolicy | MutationPolicy
    notes: tuple[str, ...]
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RuledOut:
    """The member is known not to apply."""

    reason: NotAppliedReason
    message: str


Evaluation: TypeAlias = InForce | RuledOut | Problem


@dataclass(frozen=True, slots=True)
class MemberInput:
    """A member with everything it takes to decide it. `override` is the effect that overrides its own, else empty."""

    member: Member
    prepared: Prepared
    parameters: ParameterValues
    mode: EnforcementMode
    override: str

    def conclude(self, evaluation: Evaluation) -> Resolution:
        """What the evaluation means for this member."""
        match evaluation:
            case Problem():
                return unresolved(self.member, evaluation)
            case RuledOut(NotAppliedReason.DISABLED as reason, message):
                return not_applied(self.member, reason, f"{message} ({self._effect_from()})")
            case RuledOut(reason, message):
                return not_applied(self.member, reason, message)
            case InForce():
                return EffectivePolicy(
                    member=self.member,
                    effect=evaluation.effect,
                    enforcement_mode=self.mode,
                    warn=evaluation.warn,
                    match=evaluation.match,
                    policy=evaluation.policy,
                    notes=self.parameters.notes + evaluation.notes,
                    effect_from=self._effect_from(),
                    origins=evaluation.origins,
                )
            case _:
                assert_never(evaluation)

    def _effect_from(self) -> str:
        """Where the effect comes from, in a user's words."""
        if self.override:
            return "override"
        names = parameters_in(self.prepared.effect)
        return self.parameters.origin(min(names)) if names else "definition"


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates members for one cluster at one moment; members with the same input are evaluated once.

    The key holds ids of values, so each evaluation keeps the values alive: no id is used again while it runs.
    """

    around: Surroundings
    evaluated: dict[object, tuple[object, Evaluation]] = field(default_factory=dict)

    def decide(self, inputs: MemberInput) -> Resolution:
        """What the member means here."""
        if inputs.parameters.unusable or inputs.prepared.asks_who:
            return inputs.conclude(self._evaluate(inputs))
        values = inputs.parameters.values
        key = (
            id(inputs.prepared),
            inputs.mode,
            inputs.override,
            *((name, _same(each)) for name, each in values.items()),
        )
        found = self.evaluated.get(key)
        if found is None:
            found = self.evaluated[key] = (values, self._evaluate(inputs))
        return inputs.conclude(found[1])

    def _evaluate(self, inputs: MemberInput) -> Evaluation:
        prepared = inputs.prepared
        mode = prepared.definition.mode
        if not prepared.definition.for_clusters:
            return RuledOut(NotAppliedReason.MODE, f"mode {mode} is not for objects in a cluster")
        binding = bind(prepared.declared, inputs.parameters.values, inputs.parameters.unusable)
        scope = self.around.scope(binding.values, policy=_policy(inputs.member))
        effect = _effect(inputs, scope, binding)
        if effect is Effect.DISABLED:
            return RuledOut(NotAppliedReason.DISABLED, "its effect is disabled")
        verdict = prepared.verdict
        if verdict is None:
            verdict = applies(prepared.condition, self.around.cluster, scope)
        if verdict is False:
            message = f"the policyRule.if of {prepared.definition.id} is not met by {self.around.cluster.type}"
            return RuledOut(NotAppliedReason.RULE, message)
        if isinstance(effect, Problem):
            return effect
        if isinstance(verdict, Unknown):
            return Problem(UnresolvedReason.RULE, verdict.reason)
        if binding.faults:
            faults = "; ".join(binding.faults[name] for name in sorted(binding.faults))
            return Problem(UnresolvedReason.PARAMETER, faults)
        try:
            return _in_force(inputs, effect, scope, binding)
        except Problem as problem:
            return problem


def _same(value: Json) -> object:
    """What two values must share to count as the same: strings their text, all others their identity."""
    return value if isinstance(value, str) else id(value)


def _policy(member: Member) -> dict[str, Json]:
    """What policy() yields, null for what is not there."""
    return {
        "assignmentId": member.assignment_id,
        "definitionId": member.definition_id,
        "setDefinitionId": member.initiative_id or None,
        "definitionReferenceId": member.reference_id or None,
    }


def _effect(inputs: MemberInput, scope: Scope, binding: Binding) -> Effect | Problem:
    """The effect in force, or why there is none: that counts once nothing rules the member out."""
    raw = inputs.prepared.effect
    try:
        text = inputs.override or evaluate(raw, scope, path=_EFFECT_PLACE)
    except ExpressionError as error:
        return binding.problem(error, raw)
    if not isinstance(text, str):
        return Problem(UnresolvedReason.EFFECT, f"{_EFFECT_PLACE} must be a string, is {kind_of(text)}")
    effect = _EFFECTS.get(text.casefold())
    if effect is not None:
        return effect
    if text.casefold() in _OLD_EFFECTS:
        message = f"{_EFFECT_PLACE} is {text}, which Azure gave up in 2020: use a newer version of the definition"
        return Problem(UnresolvedReason.LEGACY_FORM, message)
    told = escape_notes(raw, _EFFECT_PLACE)
    if told and not inputs.override:
        return Problem(UnresolvedReason.EFFECT, told[0])
    known = ", ".join(Effect)
    return Problem(UnresolvedReason.EFFECT, f"{_EFFECT_PLACE} is {shown(text)}, but in this mode it can be: {known}")


def _in_force(inputs: MemberInput, effect: Effect, scope: Scope, binding: Binding) -> Evaluation:
    """The details with everything filled in; a Problem where they do not go with it."""
    details = inputs.prepared.details
    if isinstance(details, Problem):
        return details
    if (effect is Effect.MUTATE) is not details.mutates:
        message = f"{_EFFECT_PLACE} is {effect}, which does not fit details.{details.form}"
        return Problem(UnresolvedReason.EFFECT, message)
    if effect is Effect.MUTATE and inputs.mode in _NOT_ENFORCED:
        return RuledOut(*_NOT_ENFORCED[inputs.mode])
    return InForce(
        effect=effect,
        warn=details.warns(scope, binding),
        match=details.match(scope, binding),
        policy=details.policy(scope, binding),
        notes=(*binding.notes.values(), *inputs.prepared.notes),
        origins=details.origins,
    )
