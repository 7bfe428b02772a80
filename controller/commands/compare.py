r"""Azure's compliance against Gatekeeper's own audit, per assignment member: pure, as are all judgements here.

| Azure \ Gatekeeper  | audited                  | no audit yet, a mutation, unresolved | does not apply here |
|---------------------|--------------------------|--------------------------------------|---------------------|
| a verdict           | same if both are equal   | unknown                              | differs             |
| exempt              | differs                  | unknown                              | same                |
| none                | unknown                  | unknown                              | same                |

Where both verdicts say that something is at fault, the objects are compared too, as kind, namespace and name: unless
one list is capped, for Azure holds 500 of a policy and cluster, and Gatekeeper lists 20 violations of a constraint
(--constraint-violations-limit). Members that Azure Resource Manager itself enforces are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, assert_never

from controller.azure.model import fold
from controller.cluster.foreign import mapping_at, mappings_at, text_at, whole_at
from controller.gatekeeper.model import Rendered
from controller.gatekeeper.naming import ASSIGNMENT_ID, CONSTRAINT_GROUP, REFERENCE_ID
from controller.policy.model import MemberKey, NotApplied, NotAppliedReason, Unresolved
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controller.azure.compliance import MemberCompliance
    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredState, Outcome

SCHEMA: Final = "azpolicy.dev/compare/v2"
# Azure's limit of non-compliant records of one policy in one cluster (Understand Azure Policy for Kubernetes clusters).
AZURE_LIMIT: Final = 500
_EXEMPT: Final = "exempt"


class Verdict(StrEnum):
    """What comparing a member comes to."""

    SAME = "same"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


_SIGNS: Final = {Verdict.SAME: "=", Verdict.DIFFERS: "!", Verdict.UNKNOWN: "?"}


@dataclass(frozen=True, slots=True)
class KubeObject:
    """An object at fault; `namespace` is empty for one that has none, and None where it is not told."""

    kind: str
    namespace: str | None
    name: str

    @property
    def key(self) -> tuple[str, str | None, str]:
        """In this form it is the same on both sides: Azure writes kinds in any case."""
        return self.kind.casefold(), self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class Audit:
    """A constraint's last audit; `capped`: it lists fewer violations than it counts, so `objects` are not all."""

    violations: int
    objects: tuple[KubeObject, ...]
    at: str
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """The objects that one side alone finds at fault."""

    azure: tuple[KubeObject, ...]
    gatekeeper: tuple[KubeObject, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One member, with what each side says; `why` is for people. `lists` is None where they were not compared."""

    assignment_id: str
    reference_id: str
    definition_id: str
    verdict: Verdict
    why: str
    azure: MemberCompliance | None
    audit: Audit | None
    lists: Difference | None = None


def audits_of(constraints: Iterable[LiveObject]) -> dict[MemberKey, Audit]:
    """The last audits of constraints that name a member, by member; those without an audit are left out."""
    found: dict[MemberKey, Audit] = {}
    for live in constraints:
        assignment_id = live.annotations.get(ASSIGNMENT_ID, "")
        audit = _audit(mapping_at(live.manifest, "status"))
        if live.ref.group == CONSTRAINT_GROUP and assignment_id and audit is not None:
            found[MemberKey.of(assignment_id, live.annotations.get(REFERENCE_ID, ""))] = audit
    return found


def _audit(status: Mapping[str, Any]) -> Audit | None:
    audited, total = text_at(status, "auditTimestamp"), whole_at(status, "totalViolations", default=-1)
    if not audited or total < 0:
        return None
    listed = mappings_at(status, "violations")
    parts = ((text_at(v, "kind"), text_at(v, "namespace"), text_at(v, "name")) for v in listed)
    objects = {KubeObject(*each) for each in parts}
    return Audit(total, _in_order(objects), audited, capped=len(listed) < total)


def _in_order(objects: Iterable[KubeObject]) -> tuple[KubeObject, ...]:
    return tuple(sorted(objects, key=lambda each: (each.kind.casefold(), each.namespace or "", each.name)))


def _at_fault(told: MemberCompliance) -> tuple[KubeObject, ...]:
    return _in_order(KubeObject(each.type, each.namespace, each.name) for each in told.components)


def _is_capped(told: MemberCompliance) -> bool:
    return len(told.components) >= AZURE_LIMIT


def compare(
    desired: DesiredState, compliance: Iterable[MemberCompliance], audits: Mapping[MemberKey, Audit]
) -> tuple[Comparison, ...]:
    """Every member that either side knows, by assignment and reference id."""
    told: dict[MemberKey, MemberCompliance] = {}
    for state in compliance:
        key = MemberKey.of(state.assignment_id, state.reference_id)
        # Of several states the one that is at fault speaks for the member.
        if key not in told or state.compliant is False:
            told[key] = state
    wholes = {each.member.key.assignment_id: each for each in desired.outcomes if each.member.whole}
    outcomes = {each.member.key: each for each in desired.outcomes if not each.member.whole}
    # Where one outcome speaks for all members of an assignment, Azure's states tell which those are.
    unnamed = (wholes[each].member.key for each in wholes.keys() - {key.assignment_id for key in told})
    keys = {*outcomes, *told, *unnamed}
    members = ((key, outcomes.get(key) or wholes.get(key.assignment_id)) for key in keys)
    found = [
        _compared(key, outcome, told.get(key), audits.get(key)) for key, outcome in members if not _of_arm(outcome)
    ]
    return tuple(sorted(found, key=lambda each: (fold(each.assignment_id), each.reference_id.casefold())))


def _of_arm(outcome: Outcome | None) -> bool:
    return isinstance(outcome, NotApplied) and outcome.reason is NotAppliedReason.MODE


def _compared(
    key: MemberKey, outcome: Outcome | None, azure: MemberCompliance | None, audit: Audit | None
) -> Comparison:
    verdict, why = _judged(outcome, azure, audit)
    lists = _lists(azure, audit) if verdict is Verdict.SAME and isinstance(outcome, Rendered) else None
    if lists is not None and (lists.azure or lists.gatekeeper):
        verdict = Verdict.DIFFERS
        why = f"the objects at fault: {len(lists.azure)} only in Azure, {len(lists.gatekeeper)} only in Gatekeeper"
    member = outcome.member if outcome else None
    return Comparison(
        assignment_id=member.assignment_id if member else azure.assignment_id if azure else key.assignment_id,
        # Azure's states have them in lower case, the initiative as they are written.
        reference_id=(member.reference_id if member else "") or (azure.reference_id if azure else key.reference_id),
        definition_id=(member.definition_id if member else "") or (azure.definition_id if azure else ""),
        verdict=verdict,
        why=why,
        azure=azure,
        audit=audit,
        lists=lists,
    )


def _lists(azure: MemberCompliance | None, audit: Audit | None) -> Difference | None:
    """What one side alone lists; None where a list is capped, names nothing, or does not say which object it means."""
    if azure is None or audit is None or azure.compliant is not False or _is_capped(azure) or audit.capped:
        return None
    theirs, ours = _at_fault(azure), audit.objects
    if not theirs or not ours or any(each.namespace is None for each in theirs):
        return None
    in_azure, here = {each.key for each in theirs}, {each.key for each in ours}
    return Difference(
        azure=tuple(each for each in theirs if each.key not in here),
        gatekeeper=tuple(each for each in ours if each.key not in in_azure),
    )


def _judged(outcome: Outcome | None, azure: MemberCompliance | None, audit: Audit | None) -> tuple[Verdict, str]:
    """The table at the top of the module."""
    match outcome:
        case None:
            return Verdict.DIFFERS, "Azure has a member that no assignment read here contains"
        case NotApplied():
            contradicted = azure is not None and azure.compliant is not None
            return Verdict.DIFFERS if contradicted else Verdict.SAME, f"does not apply here: {outcome.reason}"
        case Unresolved():
            return Verdict.UNKNOWN, f"its meaning here is not known: {outcome.reason}"
        case Rendered() if not any(ref.group == CONSTRAINT_GROUP for ref in outcome.objects):
            return Verdict.UNKNOWN, "a mutation, which is not audited"
        case Rendered():
            return _side_by_side(azure, audit)
        case _:
            assert_never(outcome)


def _side_by_side(azure: MemberCompliance | None, audit: Audit | None) -> tuple[Verdict, str]:
    """For a member that is enforced here."""
    if audit is None:
        return Verdict.UNKNOWN, "Gatekeeper has not audited it yet"
    if azure is not None and azure.state.casefold() == _EXEMPT:
        return Verdict.DIFFERS, "exempt in Azure, audited here"
    if azure is None or azure.compliant is None:
        return Verdict.UNKNOWN, "Azure has no verdict"
    if azure.compliant is (audit.violations == 0):
        return Verdict.SAME, ""
    return Verdict.DIFFERS, "the verdicts differ"


def as_json(cluster_id: str, found: Iterable[Comparison]) -> str:
    """One JSON document, keys sorted, ASCII alone, ending in a newline; docs/compare.md has the keys."""
    listed = list(found)
    document = {
        "schema": SCHEMA,
        "clusterId": cluster_id,
        "counts": _counts(listed),
        "members": [_described(each) for each in listed],
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _counts(found: Iterable[Comparison]) -> dict[str, int]:
    counted = Counter(each.verdict for each in found)
    return {verdict.value: counted[verdict] for verdict in Verdict}


def _described(each: Comparison) -> dict[str, Any]:
    azure, audit = each.azure, each.audit
    return {
        "assignmentId": each.assignment_id,
        "referenceId": each.reference_id,
        "definitionId": each.definition_id,
        "verdict": each.verdict.value,
        "message": each.why,
        "azure": azure
        and {
            "state": azure.state,
            "components": [
                {"id": c.id, "type": c.type, "namespace": c.namespace, "name": c.name} for c in azure.components
            ],
            "capped": _is_capped(azure),
        },
        "gatekeeper": audit
        and {
            "violations": audit.violations,
            "objects": _objects(audit.objects),
            "auditTimestamp": audit.at,
            "capped": audit.capped,
        },
        "lists": each.lists
        and {"onlyInAzure": _objects(each.lists.azure), "onlyInGatekeeper": _objects(each.lists.gatekeeper)},
    }


def _objects(objects: Iterable[KubeObject]) -> list[dict[str, str | None]]:
    return [{"kind": each.kind, "namespace": each.namespace, "name": each.name} for each in objects]


def as_text(found: Iterable[Comparison]) -> Iterator[str]:
    """Three lines a member, those that differ with the objects of both sides, then the counts."""
    listed = list(found)
    for each in listed:
        reference = f" member {each.reference_id}" if each.reference_id else ""
        why = f": {each.why}" if each.why else ""
        yield plain(f"{_SIGNS[each.verdict]} {each.verdict}{why}")
        yield plain(f"    {each.assignment_id}{reference}")
        yield plain(f"    Azure: {_azure(each.azure)}; Gatekeeper: {_gatekeeper(each.audit)}")
        if each.verdict is Verdict.DIFFERS:
            yield from (plain(f"    {line}") for line in _differing(each))
    yield f"compare: {', '.join(f'{count} {verdict}' for verdict, count in _counts(listed).items())}"


def _differing(each: Comparison) -> Iterator[str]:
    """The objects that one side alone finds at fault, or all that each names where the lists were not compared."""
    only = "only in " if each.lists else ""
    theirs = each.lists.azure if each.lists else _at_fault(each.azure) if each.azure else ()
    ours = each.lists.gatekeeper if each.lists else each.audit.objects if each.audit else ()
    yield from (f"{only}Azure: {found}" for found in theirs)
    yield from (f"{only}Gatekeeper: {found}" for found in ours)


def _azure(told: MemberCompliance | None) -> str:
    if told is None:
        return "no state"
    count = len(told.components)
    more = " or more" if _is_capped(told) else ""
    at_fault = f", {count}{more} object{'s' if count > 1 else ''}" if count else ""
    return f"{told.state or 'no state'}{at_fault}"


def _gatekeeper(audit: Audit | None) -> str:
    if audit is None:
        return "no audit"
    capped = " (not all of them listed)" if audit.capped else ""
    return f"{audit.violations} violation{'' if audit.violations == 1 else 's'}{capped} at {audit.at}"
