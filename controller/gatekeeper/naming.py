"""Every name, label and annotation that azpolicy writes into a cluster, in one place.

They are those of the AKS add-on, so that queries and habits carry over: docs/decisions/009-the-names-of-the-add-on.md.
Changing one of them orphans what is installed: an object that no longer fits is no longer recognised as ours.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.azure.model import fold
from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.policy.model import Member

PREFIX: Final = "azurepolicy"
MANAGED_BY: Final = "azure-policy-sync"
ADDON: Final = "azure-policy-addon"
FIELD_MANAGER: Final = "azure-policy-sync"

TEMPLATE_GROUP: Final = "templates.gatekeeper.sh"
CONSTRAINT_GROUP: Final = "constraints.gatekeeper.sh"
CONSTRAINT_VERSION: Final = f"{CONSTRAINT_GROUP}/v1beta1"
MUTATION_GROUP: Final = "mutations.gatekeeper.sh"
SYNCSET_GROUP: Final = "syncset.gatekeeper.sh"
EXPANSION_GROUP: Final = "expansion.gatekeeper.sh"
AZPOLICY_GROUP: Final = "azpolicy.dev"
GATEKEEPER_NAMESPACE: Final = "gatekeeper-system"
# Every cluster has it, and it cannot be deleted: Gatekeeper's goes with Gatekeeper, the operator's has many names.
RECORD_NAMESPACE: Final = "kube-public"
SYNCSET_NAME: Final = "azure-policy-sync"

MANAGED_BY_LABEL: Final = "managed-by"
ASSIGNMENT_ID: Final = "azure-policy-assignment-id"
DEFINITION_ID: Final = "azure-policy-definition-id"
REFERENCE_ID: Final = "azure-policy-definition-reference-id"
INITIATIVE_ID: Final = "azure-policy-setdefinition-id"
CONSTRAINT_INSTALLED_BY: Final = "constraint-installed-by"
CONSTRAINT_URL: Final = "constraint-url"
TEMPLATE_URL: Final = "constraint-template"
TEMPLATE_INSTALLED_BY: Final = "constraint-template-installed-by"
TEMPLATE_SOURCE: Final = "azpolicy.dev/template-source"
TEMPLATE_DIGEST: Final = "azpolicy.dev/template-digest"

REQUESTED_AT: Final = "azpolicy.dev/requested-at"
FORCE_PRUNE: Final = "azpolicy.dev/force-prune"

_OWNED_PREFIXES: Final = ("azure-policy-", "constraint-", "azpolicy.dev/")
_CUT: Final = 30
_DIGITS: Final = 20
_MANAGED_NAME = re.compile(rf"{PREFIX}-[a-z0-9][-a-z0-9.]{{0,{_CUT - 1}}}-[0-9a-f]{{{_DIGITS}}}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def name_digits(assignment_id: str, reference_id: str, definition_id: str) -> str:
    """The 20 hex digits that distinguish a member's objects from all others, in any spelling of its ids."""
    identity = "\n".join((fold(assignment_id), reference_id.casefold(), fold(definition_id)))
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def constraint_name(template_name: str, assignment_id: str, reference_id: str, definition_id: str) -> str:
    """A constraint's or mutator's name, at most 63 characters; `template_name` is the template's or mutator file's."""
    # A cut right behind a dot would leave an empty label before the dash, which Kubernetes refuses.
    stem = template_name[:_CUT].rstrip(".")
    return f"{PREFIX}-{stem}-{name_digits(assignment_id, reference_id, definition_id)}"


def is_managed_name(name: str) -> bool:
    """Whether a constraint or mutator is named as azpolicy names them: nothing else is ever pruned."""
    return _MANAGED_NAME.fullmatch(name) is not None


def owned_key(key: str) -> bool:
    """Whether a label or annotation key is ours alone: one that we did not set is drift."""
    return key == MANAGED_BY_LABEL or key.startswith(_OWNED_PREFIXES)


@dataclass(frozen=True, slots=True)
class OwnershipMarks:
    """The marks by which objects are known as ours; `managed_by` is a setting.

    `adopted` are further values of theirs: what bears one of them is taken over as it comes to be written.
    """

    managed_by: str = MANAGED_BY
    adopted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not _LABEL_VALUE.fullmatch(self.managed_by):
            raise InputError(
                f"managed-by value {self.managed_by!r} is not a valid Kubernetes label value, such as {MANAGED_BY}"
            )

    def known(self, value: str | None) -> bool:
        """Whether a managed-by or installed-by value is one of ours."""
        return value == self.managed_by or value in self.adopted

    def labels(self) -> dict[str, str]:
        """The label that every object carries."""
        return {MANAGED_BY_LABEL: self.managed_by}

    def member_annotations(self, member: Member, constraint_url: str = "") -> dict[str, str]:
        """The annotations of a constraint or mutator about its origin.

        Absent ids are empty strings, as the add-on writes them: https://github.com/Azure/AKS/issues/2763.
        """
        annotations = {
            ASSIGNMENT_ID: member.assignment_id,
            DEFINITION_ID: member.definition_id,
            REFERENCE_ID: member.reference_id,
            INITIATIVE_ID: member.initiative_id,
            CONSTRAINT_INSTALLED_BY: self.managed_by,
        }
        return annotations | {CONSTRAINT_URL: constraint_url} if constraint_url else annotations

    def template_annotations(
        self, definition_ids: Iterable[str], *, url: str, origin: str, digest: str
    ) -> dict[str, str]:
        """The annotations of a template about its users and its source; `url` may be empty."""
        # Folding decides which ids are one; the spelling kept is the first in plain order, so that it never wavers.
        distinct = {fold(i): i for i in sorted(definition_ids, reverse=True)}
        numbered = {f"{DEFINITION_ID}-{n}": distinct[key] for n, key in enumerate(sorted(distinct), start=1)}
        address = {TEMPLATE_URL: url} if url else {}
        return {
            **numbered,
            **address,
            TEMPLATE_INSTALLED_BY: self.managed_by,
            TEMPLATE_SOURCE: origin,
            TEMPLATE_DIGEST: digest,
        }


@dataclass(frozen=True, slots=True)
class RunningTemplate:
    """The source of the template that runs in the cluster, by its annotations; it is preferred to a new one."""

    url: str
    digest: str

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> RunningTemplate:
        """Reads the marks of a live template of ours."""
        return cls(annotations.get(TEMPLATE_URL, ""), annotations.get(TEMPLATE_DIGEST, ""))
