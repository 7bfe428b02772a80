"""Data replication: the kinds that templates look up in the cluster, and the SyncSet that makes Gatekeeper keep them.

A template says so with an annotation: a JSON list of requirements, each a list of alternatives. One of them has to be
there. All alternatives are asked for. They are mostly versions of one kind, only the cluster knows which of them it
serves, and Gatekeeper takes a kind that is not served for that kind's own failure: the others are replicated.

A template that looks up what it does not ask for finds nothing of it. It is told so, and the setting InventoryKinds has
it replicated all the same.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.errors import InputError
from controller.gatekeeper.model import DesiredObject, ObjectRef, Role
from controller.gatekeeper.naming import CONSTRAINT_INSTALLED_BY, SYNCSET_GROUP, SYNCSET_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from controller.gatekeeper.documents import TemplateDocument
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.gatekeeper.rego import Reference
    from controller.jsontypes import Json

ANNOTATION: Final = "metadata.gatekeeper.sh/requires-sync-data"
SYNCSET_REF: Final = ObjectRef(SYNCSET_GROUP, "SyncSet", SYNCSET_NAME)
MAX_KINDS: Final = 100  # of one template: what it asks for is kept in Gatekeeper's memory
_FOUND: Final = "found"
_OPTION: Final = "--inventory-kind"
_FIELDS: Final = ("groups", "versions", "kinds")
_PATTERNS: Final = (
    re.compile(r"|[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"),
    re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
    re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"),
)


class SyncDataError(Exception):
    """The annotation cannot be read; `str()` says what is wrong with it."""


@dataclass(frozen=True, slots=True, order=True)
class DataKind:
    """A kind of objects that rules look up; the core group is empty text."""

    group: str
    version: str
    kind: str

    @property
    def group_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.group_version}/{self.kind}"

    def entry(self) -> dict[str, Json]:
        """How a SyncSet names it."""
        return {"group": self.group, "version": self.version, "kind": self.kind}


SECRETS: Final = DataKind("", "v1", "Secret")


@dataclass(frozen=True, slots=True)
class InventoryKinds:
    """What is replicated for templates that look objects up without asking for them; a setting, by default nothing.

    `found`: the kinds that their Rego names, but for Secrets. `named`: kinds that they may look up, whatever is found.
    """

    found: bool = False
    named: frozenset[DataKind] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> InventoryKinds:
        """The setting from `found` and `GROUP/VERSION/KIND` (`v1/KIND` for the core group); InputError for others."""
        given = frozenset(texts)
        named = {text: _parsed(text) for text in given - {_FOUND}}
        if wrong := sorted(text for text, kind in named.items() if kind is None):
            raise InputError(
                f"inventory kind {wrong[0]!r} is neither {_FOUND!r} nor of the form GROUP/VERSION/KIND, such as"
                " networking.k8s.io/v1/Ingress or v1/Service"
            )
        return cls(_FOUND in given, frozenset(kind for kind in named.values() if kind))

    def replicated(self, references: Iterable[Reference]) -> frozenset[DataKind]:
        """What is replicated for a template with these references: at most MAX_KINDS of what its Rego names."""
        looked_up = frozenset(references)
        found = named_kinds(looked_up) - {SECRETS} if self.found else frozenset()
        named = frozenset(kind for kind in self.named if any(each.may_see(kind) for each in looked_up))
        return named | found if len(found) <= MAX_KINDS else named


def named_kinds(references: Iterable[Reference]) -> frozenset[DataKind]:
    """The kinds that these references name."""
    kinds = {_parsed(str(each)) for each in references if each.told}
    return frozenset(kind for kind in kinds if kind)


def _parsed(text: str) -> DataKind | None:
    """A kind of the form GROUP/VERSION/KIND or VERSION/KIND; None for any other text."""
    parts = text.split("/")
    names = ["", *parts] if len(parts) == len(_PATTERNS) - 1 else parts
    if len(names) != len(_PATTERNS) or (not names[0] and names is parts):
        return None
    fits = all(pattern.fullmatch(name) for name, pattern in zip(names, _PATTERNS, strict=True))
    return DataKind(*names) if fits else None


def required_data(annotations: Mapping[str, Any]) -> frozenset[DataKind]:
    """The kinds that a template with these annotations looks up, or SyncDataError."""
    text = annotations.get(ANNOTATION)
    if text is None:
        return frozenset()
    try:
        # Gatekeeper's documentation has the JSON in quotes of its own, and its reader takes them off like this.
        requirements = json.loads(str(text).strip('\n"'))
    except (ValueError, RecursionError) as error:
        raise _wrong("it is not JSON") from error
    found: set[DataKind] = set()
    for alternatives in _list(requirements, "a list of requirements"):
        clauses = _list(alternatives, "a list of alternatives for each requirement")
        if not clauses:
            raise _wrong("a requirement has no alternatives")
        for clause in clauses:
            found.update(itertools.islice(_kinds(clause), MAX_KINDS + 1))
            if len(found) > MAX_KINDS:
                raise _wrong(f"it asks for more than {MAX_KINDS} kinds")
    return frozenset(found)


def blind_spots(template: TemplateDocument, replicated: frozenset[DataKind]) -> tuple[str, ...]:
    """What a template looks up and cannot see where these kinds are replicated; each as a note."""
    missing = sorted(map(str, named_kinds(template.lookups) - replicated))
    untold = sorted(str(each) for each in template.lookups if not each.told) if not template.data else []
    notes = []
    if missing:
        options = " ".join(f"{_OPTION} {kind}" for kind in missing)
        notes.append(
            f"its template looks up {', '.join(missing)} in the cluster without asking for it ({ANNOTATION}), so it"
            f" finds none: {options} has it replicated"
        )
    if untold:
        seen = ", ".join(sorted({str(k) for k in replicated if any(each.may_see(k) for each in template.lookups)}))
        notes.append(
            f"its template looks up objects without asking for them ({ANNOTATION}), and which ones cannot be told from"
            f" its Rego ({', '.join(untold)}): it finds only what is replicated ({seen or 'nothing'}); name each kind"
            f" with {_OPTION} GROUP/VERSION/KIND"
        )
    return tuple(notes)


def syncset(kinds: Collection[DataKind], marks: OwnershipMarks) -> DesiredObject:
    """The SyncSet that has Gatekeeper replicate these kinds, in an order that never wavers; no one member's."""
    manifest: dict[str, Json] = {
        "apiVersion": f"{SYNCSET_GROUP}/v1alpha1",
        "kind": "SyncSet",
        "metadata": {
            "name": SYNCSET_NAME,
            "labels": {**marks.labels()},
            "annotations": {CONSTRAINT_INSTALLED_BY: marks.managed_by},
        },
        "spec": {"gvks": [kind.entry() for kind in sorted(kinds)]},
    }
    return DesiredObject.of(Role.SYNC, manifest, ())


def kinds_of(manifest: Mapping[str, Any]) -> frozenset[DataKind]:
    """The kinds that a SyncSet of ours names."""
    return frozenset(DataKind(**entry) for entry in manifest["spec"]["gvks"])


def _kinds(clause: Any) -> Iterator[DataKind]:
    """Every combination of the clause's groups, versions and kinds."""
    if not isinstance(clause, dict) or set(clause) != set(_FIELDS):
        raise _wrong(f"an alternative is an object of {', '.join(_FIELDS)}")
    names = [_names(clause[field], field, pattern) for field, pattern in zip(_FIELDS, _PATTERNS, strict=True)]
    return (DataKind(*combination) for combination in itertools.product(*names))


def _names(value: Any, field: str, pattern: re.Pattern[str]) -> list[str]:
    names = _list(value, f"a list of {field}")
    if not names or not all(isinstance(name, str) and pattern.fullmatch(name) for name in names):
        raise _wrong(f"{field} are not names")
    return names


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(f"it lacks {what}")
    return value


def _wrong(why: str) -> SyncDataError:
    return SyncDataError(f"its annotation {ANNOTATION} cannot be read: {why}")
