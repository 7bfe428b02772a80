"""One member, once its definition and its parameters are known: does it apply, with which effect, to what.

What is known not to apply wins over what is not known: a member whose effect is disabled stays so, whatever else is
wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from controller.azure.model import DATA_MODE, EnforcementMode
from controller.policy.applicability import applies
from controller.policy.assigned import not_applied
from controller.policy.details import Details, has_expression
from controller.policy.expressions import ExpressionError, Scope, evaluate
from controller.policy.model import Effect, EffectivePolicy, NotAppliedReason, UnresolvedReason
from controller.policy.parameters import Binding, Declarations, bind, kind_of, parameters_in, shown
from controller.policy.problem import Problem
from controller.policy.verdict import Unknown, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.azure.model import ClusterResource, PolicyDefinition
    from controller.json import Json
    from controller.policy.model import Member, NotApplied, Resolution

_EFFECTS: Final = {effect.casefold(): effect for effect in Effect}
_OLD_EFFECTS: Final = frozenset({"enforceopaconstraint", "enforceregopolicy"})
_EFFECT_PLACE: Final = "policyRule.then.effect"
_NOT_ENFORCED: Final = {
    EnforcementMode.DO_NOT_ENFORCE: (
        NotAppliedReason.NOT_ENFORCED,
        "enforcementMode is DoNotEnforce, and a mutation cannot be evaluated without being made",
    ),
    EnforcementMode.ENROLL: (
        NotAppliedReason.NOT_ENROLLED,
        "enforcementMode is Enroll, and enrolments cannot be read: the cluster counts as not enrolled",
    ),
}
_ENROLL_NOTE: Final = "enforcementMode is Enroll, and enrolments cannot be read: audited, never denied"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A definition, worked out as far as no assignment is needed for it; shared by all that use it.

    `verdict` is that of an `if` without expressions, None where parameters decide it.
    """

    definition: PolicyDefinition
    declared: Declarations
    effect: Json
    condition: Json
    verdict: Verdict | None
    details: Details | Problem
    version: str

    @classmethod
    def of(cls, definition: PolicyDefinition, cluster: ClusterResource, now: datetime) -> Prepared:
        """What the definition says, for this cluster."""
        then = definition.rule.get("then")
        parts: Mapping[str, Json] = then if isinstance(then, dict) else {}
        condition = definition.rule.get("if")
        return cls(
            definition=definition,
            declared=Declarations.of(definition.parameters),
            effect=parts.get("effect"),
            condition=condition,
            verdict=None if has_expression(condition) else applies(condition, cluster, Scope({}, now)),
            details=_details(parts.get("details")),
            version=str(definition.version or ""),
        )


def _details(raw: Json) -> Details | Problem:
    try:
        return Details.of(raw)
    except Problem as problem:
        return problem


@dataclass(frozen=True, slots=True)
class Given:
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
class Case:
    """A member with everything it takes to decide it. `override` is the effect that overrides its own, else empty."""

    member: Member
    prepared: Prepared
    given: Given
    mode: EnforcementMode
    override: str
    cluster: ClusterResource
    now: datetime

    def decide(self) -> Resolution:
        """What the member means here; a Problem where that is not known."""
        if self.prepared.definition.mode.casefold() != DATA_MODE.casefold():
            mode = self.prepared.definition.mode
            return self._not_applied(NotAppliedReason.MODE, f"mode {mode} is not for the objects in a cluster")
        binding = bind(self.prepared.declared, self.given.values, self.given.unusable)
        scope = Scope(binding.values, self.now, policy=self._policy())
        effect = self._effect(scope, binding)
        if effect is Effect.DISABLED:
            return self._not_applied(NotAppliedReason.DISABLED, f"its effect is disabled ({self._effect_from()})")
        verdict = self.prepared.verdict
        if verdict is None:
            verdict = applies(self.prepared.condition, self.cluster, scope)
        if verdict is False:
            message = f"the policyRule.if of {self.prepared.definition.id} is not met by {self.cluster.type}"
            return self._not_applied(NotAppliedReason.RULE, message)
        if isinstance(effect, Problem):
            raise effect
        if isinstance(verdict, Unknown):
            raise Problem(UnresolvedReason.RULE, verdict.reason)
        if binding.faults:
            raise Problem(
                UnresolvedReason.PARAMETER, "; ".join(binding.faults[name] for name in sorted(binding.faults))
            )
        return self._effective(effect, scope, binding)

    def _not_applied(self, reason: NotAppliedReason, message: str) -> NotApplied:
        return not_applied(self.member, reason, message)

    def _policy(self) -> dict[str, Json]:
        """What policy() yields, null for what is not there."""
        return {
            "assignmentId": self.member.assignment_id,
            "definitionId": self.member.definition_id,
            "setDefinitionId": self.member.initiative_id or None,
            "definitionReferenceId": self.member.reference_id or None,
        }

    def _effect(self, scope: Scope, binding: Binding) -> Effect | Problem:
        """The effect in force, or why there is none: a Problem to raise once nothing rules the member out."""
        raw = self.prepared.effect
        try:
            text = self.override or evaluate(raw, scope, path=_EFFECT_PLACE)
        except ExpressionError as error:
            return binding.problem(error, raw)
        if not isinstance(text, str):
            return Problem(UnresolvedReason.EFFECT, f"{_EFFECT_PLACE} must be a string, is {kind_of(text)}")
        effect = _EFFECTS.get(text.casefold())
        if effect is not None:
            return effect
        if text.casefold() in _OLD_EFFECTS:
            message = f"{_EFFECT_PLACE} is {text}, which Azure gave up in 2020: use a newer version of the definition"
            return Problem(UnresolvedReason.OLD_FORM, message)
        known = ", ".join(Effect)
        return Problem(UnresolvedReason.EFFECT, f"{_EFFECT_PLACE} is {shown(text)}, in this mode it can be: {known}")

    def _effective(self, effect: Effect, scope: Scope, binding: Binding) -> Resolution:
        details = self.prepared.details
        if isinstance(details, Problem):
            raise Problem(details.reason, details.message)
        if (effect is Effect.MUTATE) is not details.mutates:
            message = f"{_EFFECT_PLACE} is {effect}, which does not go with details.{details.form}"
            raise Problem(UnresolvedReason.EFFECT, message)
        if effect is Effect.MUTATE and self.mode in _NOT_ENFORCED:
            return self._not_applied(*_NOT_ENFORCED[self.mode])
        notes = self.given.notes + binding.notes
        return EffectivePolicy(
            member=self.member,
            effect=effect,
            enforcement_mode=self.mode,
            warn=details.warns(scope, binding),
            match=details.match(scope, binding),
            policy=details.policy(scope, binding),
            notes=(*notes, _ENROLL_NOTE) if self.mode is EnforcementMode.ENROLL else notes,
            effect_from=self._effect_from(),
        )

    def _effect_from(self) -> str:
        """Where the effect comes from, in a user's words."""
        if self.override:
            return "override"
        names = parameters_in(self.prepared.effect)
        if not names:
            return "definition"
        return self.given.origin(min(names))
