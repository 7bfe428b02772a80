"""Azure Policy's own things as frozen values, so that nothing past the readers handles raw documents.

Only the rule of a definition stays JSON: it is a program, and `controller.policy` evaluates it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from controller.jsontypes import Json

MANAGEMENT_GROUPS: Final = "/providers/microsoft.management/managementgroups/"
DATA_MODE: Final = "Microsoft.Kubernetes.Data"
CLUSTER_TYPES: Final = ("Microsoft.ContainerService/managedClusters", "Microsoft.Kubernetes/connectedClusters")
# What the id of a declared cluster has between its scope and its type (controller.azure.declared).
DECLARED: Final = "/providers/azpolicy.dev/"


def fold(resource_id: str) -> str:
    """The form in which two resource ids compare equal: ARM ignores case and a closing slash."""
    told = resource_id.rstrip("/")
    return told.lower() if told.isascii() else "".join(map(_folded, told))


def _folded(letter: str) -> str:
    """Letter by letter, as .NET compares: Python would take `ß` for `ss`, and so one name for another."""
    if letter.isascii():
        return letter.lower()
    upper = letter.upper()
    lower = letter if len(upper) > 1 or upper.isascii() else upper.lower()
    return letter if len(lower) > 1 or lower.isascii() else lower


def contains(scope: str, resource_id: str) -> bool:
    """Whether `scope` is `resource_id` or above it, by whole segments, case-insensitively."""
    above, below = fold(scope), fold(resource_id)
    return below == above or below.startswith(above + "/")


def stands_above(scope: str, resource_id: str, groups: frozenset[str] | None) -> bool | None:
    """Whether a scope is the resource's or above it; None where that takes `groups`, its management groups, unknown."""
    if contains(scope, resource_id):
        return True
    folded = fold(scope)
    if not folded.startswith(MANAGEMENT_GROUPS):
        return False
    return None if groups is None else folded in groups


def is_declared(cluster_id: str) -> bool:
    """Whether an id is that of a declared cluster, which Azure does not know."""
    return DECLARED in fold(cluster_id)


@lru_cache
def calls(function: str) -> re.Pattern[str]:
    """Finds calls of a function in JSON text: a line break or a tab before the bracket is spelled with a backslash."""
    return re.compile(rf"{function}(?:\s|\\[tnr])*\(", re.IGNORECASE)


class VersionKind(StrEnum):
    """The suffix that a version carries."""

    RELEASE = ""
    PREVIEW = "preview"
    DEPRECATED = "deprecated"


_FLAGS = re.IGNORECASE | re.ASCII
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-(preview|deprecated))?", _FLAGS)
_PATTERN = re.compile(r"(\d{1,9})\.(\d{1,9}|\*)\.(\d{1,9}|\*)(?:-(preview|deprecated))?", _FLAGS)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A definition's version, `major.minor.patch[-preview|-deprecated]`; orders by its numbers."""

    major: int
    minor: int
    patch: int
    kind: VersionKind = field(default=VersionKind.RELEASE, compare=True)

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """The version that `text` spells, suffix in any case, or None."""
        found = _VERSION.fullmatch(text.strip())
        if found is None:
            return None
        major, minor, patch, suffix = found.groups()
        return cls(int(major), int(minor), int(patch), VersionKind((suffix or "").lower()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.kind}" if self.kind else "")


@dataclass(frozen=True, slots=True)
class VersionPattern:
    """What an assignment or reference asks for: `5.*.*`, `1.2.*`, `1.2.3`, each with `-preview` or without."""

    major: int
    minor: int | None
    patch: int | None
    preview: bool

    @classmethod
    def parse(cls, text: str) -> VersionPattern | None:
        """The pattern that `text` spells, or None."""
        found = _PATTERN.fullmatch(text.strip())
        if found is None:
            return None
        major, minor, patch, suffix = found.groups()
        return cls(
            int(major),
            None if minor == "*" else int(minor),
            None if patch == "*" else int(patch),
            (suffix or "").lower() == VersionKind.PREVIEW,
        )

    def matches(self, version: Version) -> bool:
        """Whether the numbers fit; which suffixes count is the resolver's rule, not the pattern's."""
        return (
            version.major == self.major and self.minor in (None, version.minor) and self.patch in (None, version.patch)
        )


@dataclass(frozen=True, slots=True)
class Absent:
    """OwnershipMarks a default that is not there: `null` is a value, no default is not."""


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that a definition or an initiative declares; `type` is lower case."""

    name: str
    type: str
    default: Json | Absent = ABSENT
    allowed_values: tuple[Json, ...] | None = None
    schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class PolicyDefinition:
    """One version of a policy definition; `rule` is its policyRule as JSON."""

    id: str
    name: str
    display_name: str
    version: Version | None
    mode: str
    parameters: Mapping[str, Parameter]
    rule: Mapping[str, Json]
    description: str = ""
    built_in: bool = False
    category: str = ""

    @property
    def for_clusters(self) -> bool:
        """Whether its mode is the one that is for the objects in a cluster."""
        return self.mode.casefold() == DATA_MODE.casefold()


@dataclass(frozen=True, slots=True)
class DefinitionReference:
    """A member of an initiative; `parameters` maps member parameter names to values or expressions.

    `fault` says what is malformed about this member; the others are not its concern.
    """

    definition_id: str
    reference_id: str
    version: str
    parameters: Mapping[str, Json]
    effective_version: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Initiative:
    """One version of a policy set definition."""

    id: str
    name: str
    display_name: str
    version: Version | None
    parameters: Mapping[str, Parameter]
    references: tuple[DefinitionReference, ...]
    built_in: bool = False


class EnforcementMode(StrEnum):
    """An assignment's enforcementMode; the portal says Disabled for DoNotEnforce.

    https://learn.microsoft.com/azure/governance/policy/concepts/assignment-structure#enforcement-mode;
    Enroll is in the SDK (`azure.mgmt.resource.policy.models.EnforcementMode`).
    """

    DEFAULT = "Default"
    DO_NOT_ENFORCE = "DoNotEnforce"
    ENROLL = "Enroll"


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector expression: `kind` is in (or not in) the listed values; exactly one of the two is given.

    A rollout has `progress` in place of both: the percentage of resources that it has reached.
    """

    kind: str
    within: tuple[str, ...] | None = None
    not_in: tuple[str, ...] | None = None
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class ResourceSelector:
    """A named group of selectors. All of them must hold; groups are alternatives."""

    name: str
    selectors: tuple[Selector, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """An assignment's override: `kind` policyEffect or definitionVersion; no selectors means every member."""

    kind: str
    value: str
    selectors: tuple[Selector, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A definition or initiative assigned at a scope; `enforcement_mode` as spelled by Azure."""

    id: str
    name: str
    display_name: str
    scope: str
    definition_id: str
    not_scopes: tuple[str, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    enforcement_mode: str = EnforcementMode.DEFAULT
    definition_version: str = ""
    effective_version: str = ""
    overrides: tuple[Override, ...] = ()
    resource_selectors: tuple[ResourceSelector, ...] = ()
    is_initiative: bool = False
    instance_id: str = ""


@dataclass(frozen=True, slots=True)
class Exemption:
    """A waiver of an assignment, whole or by references; `expires_on` is aware UTC."""

    id: str
    display_name: str
    scope: str
    assignment_id: str
    reference_ids: tuple[str, ...] = ()
    category: str = ""
    expires_on: datetime | None = None
    resource_selectors: tuple[ResourceSelector, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrollment:
    """Has an assignment whose mode is Enroll enforced at a scope; it is for the assignment of that very instance id."""

    id: str
    scope: str
    assignment_id: str
    instance_id: str
    resource_selectors: tuple[ResourceSelector, ...] = ()


@dataclass(frozen=True, slots=True)
class NoEnrollments:
    """Why enrollments could not be read. `refused`: there may be some; otherwise this cloud does not have them."""

    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class ClusterResource:
    """The cluster as ARM knows it, or as it is declared (controller.azure.declared).

    `document` is None when only its id is known: other fields are unknown then.
    """

    id: str
    type: str
    name: str
    document: Mapping[str, Json] | None = None

    @property
    def declared(self) -> bool:
        """Whether Azure does not know it."""
        return is_declared(self.id)

    @property
    def asked_at(self) -> str:
        """Where Azure is asked what applies: at the resource itself, or at the scope of a declared one."""
        return self.id[: fold(self.id).index(DECLARED)] if self.declared else self.id


@dataclass(frozen=True, slots=True)
class Entity:
    """A subscription or a management group with the folded ids of all management groups that hold what is in it.

    A group is among its own. None where not all are known.
    """

    id: str
    above: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Container:
    """A resource group or a subscription as ARM tells it: what resourceGroup() and subscription() yield in a rule."""

    id: str
    document: Mapping[str, Json]

    @property
    def is_group(self) -> bool:
        """Whether it is a resource group."""
        return "/resourcegroups/" in fold(self.id)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A resource that is there but does not parse, or may not be read: what depends on it is Unresolved.

    `concerns` is the id of the assignment that a malformed exemption names, empty where even that cannot be read.
    """

    id: str
    reason: str
    concerns: str = ""


@dataclass(frozen=True, slots=True)
class InUse:
    """The assignments and definitions that the cluster's objects name, as they are spelled there."""

    assignments: frozenset[str] = frozenset()
    definitions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AzureState:
    """All that Azure, or a snapshot, says about one cluster. Complete: readers raise SourceError otherwise.

    `presumed` holds the folded ids of built-in definitions that have yet to be read and are likely of another mode.
    `resource_group` and `subscription` hold the cluster, None where no rule asks for them or they could not be read.
    `definitions` and `initiatives` map folded ids to every version at hand. `gone` holds the folded ids of assignments
    that Azure proves deleted, or no longer assigned to the cluster. `unreadable` maps folded ids to
    what is wrong with them.
    """

    cluster: ClusterResource
    assignments: tuple[Assignment, ...]
    definitions: Mapping[str, tuple[PolicyDefinition, ...]]
    initiatives: Mapping[str, tuple[Initiative, ...]]
    exemptions: tuple[Exemption, ...] = ()
    gone: frozenset[str] = frozenset()
    unreadable: Mapping[str, Unreadable] = field(default_factory=dict)
    management_groups: frozenset[str] | None = None
    enrollments: tuple[Enrollment, ...] | NoEnrollments = ()
    presumed: frozenset[str] = frozenset()
    resource_group: Container | None = None
    subscription: Container | None = None
