"""What resolving a policy assignment yields: for every member an EffectivePolicy, a NotApplied or an Unresolved.

Nothing in between: "known not to apply" prunes, "not known" keeps: docs/design.md (Not applied is not unresolved).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from controller.azure.model import fold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.azure.model import EnforcementMode
    from controller.jsontypes import Json


class Effect(StrEnum):
    """The effects of mode Microsoft.Kubernetes.Data; compared case-insensitively."""

    DENY = "deny"
    AUDIT = "audit"
    DISABLED = "disabled"
    MUTATE = "mutate"


@dataclass(frozen=True, slots=True)
class MemberKey:
    """Identity of a member across polls and restarts: folded assignment id and definition reference id."""

    assignment_id: str
    reference_id: str

    @classmethod
    def of(cls, assignment_id: str, reference_id: str) -> MemberKey:
        """The key of a member as Azure or an annotation spells it."""
        return cls(fold(assignment_id), reference_id.casefold())


@dataclass(frozen=True, slots=True)
class Member:
    """One definition as one assignment brings it, with the names a user knows it by; ids as Azure spells them.

    `whole` marks a result that stands for all members of the assignment: they could not, or need not, be separated.
    Versions are empty where none is asked for, or none was found; `enforcement_mode` is the assignment's, `category`
    that of the definition.
    """

    assignment_id: str
    definition_id: str
    initiative_id: str = ""
    reference_id: str = ""
    assignment_name: str = ""
    definition_name: str = ""
    version: str = ""
    version_asked: str = ""
    whole: bool = False
    initiative_name: str = ""
    initiative_version: str = ""
    initiative_version_asked: str = ""
    enforcement_mode: str = ""
    category: str = ""

    @property
    def policy(self) -> str:
        """The policy's display name, its id where it has none."""
        return self.definition_name or self.definition_id

    @property
    def assignment(self) -> str:
        """The assignment's display name, its id where it has none."""
        return self.assignment_name or self.assignment_id

    @property
    def names(self) -> str:
        """Both for people: `Images come from known registries (assignment Shop)`."""
        return f"{self.policy} (assignment {self.assignment})"

    @property
    def key(self) -> MemberKey:
        """Identity for pruning and keeping."""
        return MemberKey.of(self.assignment_id, self.reference_id)

    def __str__(self) -> str:
        reference = f" member {self.reference_id}" if self.reference_id else ""
        return f"assignment {self.assignment_id}{reference}"


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """A document on a template store."""

    url: str


@dataclass(frozen=True, slots=True)
class Base64Content:
    """A document carried inside the definition: the encoded text as given."""

    content: str


DocumentSource = PublicUrl | Base64Content


@dataclass(frozen=True, slots=True)
class Match:
    """What a constraint or mutator looks at; empty tuples and None are left out of the object."""

    api_groups: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    excluded_namespaces: tuple[str, ...] = ()
    label_selector: Mapping[str, Json] | None = None
    source: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class TemplatePolicy:
    """A policy by ConstraintTemplate. `constraint` is the file of the constraint itself (or old form)."""

    template: DocumentSource
    values: Mapping[str, Json] = field(default_factory=dict)
    constraint: DocumentSource | None = None
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class MutationPolicy:
    """A policy by mutator; its file cannot be parameterized (https://learn.microsoft.com/azure/governance/policy/concepts/effect-mutate)."""

    mutation: DocumentSource


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """A member with every expression evaluated: what Gatekeeper is to do. `effect` is never DISABLED.

    `origins` are the definition's parameters that a key of its details is made of, as `Details.origins` has them.
    """

    member: Member
    effect: Effect
    enforcement_mode: EnforcementMode
    warn: bool
    match: Match
    policy: TemplatePolicy | MutationPolicy
    notes: tuple[str, ...] = ()
    effect_from: str = ""
    origins: Mapping[str, str] = field(default_factory=dict)


class NotAppliedReason(StrEnum):
    """Why a member is known not to apply here."""

    DISABLED = "Disabled"
    OUT_OF_SCOPE = "OutOfScope"
    NOT_SCOPES = "NotScopes"
    EXEMPT = "Exempt"
    SELECTOR = "ResourceSelector"
    RULE = "RuleNotMet"
    MODE = "OtherMode"
    NOT_ENROLLED = "NotEnrolled"
    NOT_ENFORCED = "NotEnforced"


@dataclass(frozen=True, slots=True)
class NotApplied:
    """The member is known not to apply here; its objects are pruned.

    `presumed`: its definition has yet to be read, and counts as one of another mode until then.
    """

    member: Member
    reason: NotAppliedReason
    message: str
    presumed: bool = False


class UnresolvedReason(StrEnum):
    """Why we do not know what a member means here."""

    DEFINITION_MISSING = "DefinitionMissing"
    VERSION_MISSING = "VersionMissing"
    UNREADABLE = "Unreadable"
    EXPRESSION = "Expression"
    PARAMETER = "Parameter"
    RULE = "RuleUnknown"
    DETAILS = "Details"
    EFFECT = "Effect"
    SELECTOR = "SelectorUnknown"
    SCOPE = "ScopeUnknown"
    OVERRIDE = "OverrideUnknown"
    ENFORCEMENT_MODE = "EnforcementModeUnknown"
    LEGACY_FORM = "LegacyForm"
    TEMPLATE = "TemplateUnavailable"
    TEMPLATE_MALFORMED = "TemplateMalformed"
    TEMPLATE_CONFLICT = "ConstraintTemplateConflicts"
    CYCLE = "Cycle"
    COLLISION = "NameCollision"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """What the member means here is not known; its live objects are kept and nothing new is made.

    `kept_since` is the moment since when they are enforced as last known; empty where nothing is known of them.
    """

    member: Member
    reason: UnresolvedReason
    message: str
    kept_since: str = ""


Resolution = EffectivePolicy | NotApplied | Unresolved
