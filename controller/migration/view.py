"""A comparison with the add-on, and a check, for people and for programs (docs/migrate.md has the keys)."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.diff import ABSENT
from controller.commands.plan_view import described
from controller.migration.migrate import Check, Comparison, Relation, Step
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from controller.cluster.diff import Difference
    from controller.gatekeeper.model import ObjectRef
    from controller.migration.migrate import Cover, Finding
    from controller.policy.model import MemberKey

SCHEMA: Final = "azpolicy.dev/migrate/v1"
_LONGEST_VALUE: Final = 80
_SIGNS: Final = {
    Relation.SAME: "=",
    Relation.COVERS: "~",
    Relation.DIFFERS: "!",
    Relation.ONLY_ADDON: "<",
    Relation.ONLY_AZPOLICY: ">",
}


def as_text(answer: Comparison | Check) -> str:
    """Lines: one object after the other, then what it comes to."""
    lines = _comparison(answer) if isinstance(answer, Comparison) else _check(answer)
    return "".join(f"{plain(line)}\n" for line in lines)


def _comparison(answer: Comparison) -> Iterator[str]:
    for each in answer.findings:
        yield f"{_SIGNS[each.relation]} {each.relation} {each.addon or each.azpolicy}"
        if each.member:
            yield f"    {_named(each.member)}"
        yield from (f"    {note}" for note in (*each.notes, *each.changes))
        yield from (f"    {_told(difference)}" for difference in each.differences)
        if None not in each.violations:
            theirs, ours = each.violations
            yield f"    violations at the last audits: {theirs} by the add-on's, {ours} by azpolicy's"
    counts = _counts(answer)
    yield f"compare: {', '.join(f'{count} {relation}' for relation, count in counts.items())}"


def _counts(answer: Comparison) -> Mapping[str, int]:
    counted = Counter(each.relation for each in answer.findings)
    return {relation.value: counted[relation] for relation in Relation}


def _told(difference: Difference) -> str:
    values = [_short(difference.before), _short(difference.after)]
    return f"{difference.path}: {' -> '.join(values)}" if all(values) else str(difference)


def _short(value: Any) -> str:
    """The value as JSON; empty where it is too long to be read on a line, as rules are."""
    text = "none" if value is ABSENT else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else ""


def _named(member: MemberKey) -> str:
    return f"{member.assignment_id} member {member.reference_id}" if member.reference_id else member.assignment_id


def _check(answer: Check) -> Iterator[str]:
    for each in answer.covers:
        by = f" by {each.by}" if each.by else ""
        yield f"{'!' if each.missing else '='} {'missing' if each.missing else 'covered'} {each.old}{by}"
        yield from (f"    {line}" for line in (*each.missing, *filter(None, (each.note,))))
    for ref in answer.bystanders:
        yield f"note: {ref} belongs to neither: it is deleted if the add-on's template is deleted"
    for name in answer.deployments:
        yield f"note: the add-on's deployment {name} is in the cluster"
    yield _verdict(answer)


def _verdict(answer: Check) -> str:
    if not answer.covers:
        return f"check: the cluster has no objects of {answer.old}"
    missing = sum(bool(each.missing) for each in answer.covers)
    verdict = "can be switched off" if answer.good else "must not be switched off yet"
    return f"check: {len(answer.covers) - missing} covered, {missing} missing: {answer.old} {verdict}"


def as_json(answer: Comparison | Check) -> str:
    """One JSON document, keys sorted, ASCII alone, ending in a newline."""
    body = _comparison_document(answer) if isinstance(answer, Comparison) else _check_document(answer)
    return json.dumps({"schema": SCHEMA, "clusterId": answer.cluster_id, **body}, indent=2, sort_keys=True) + "\n"


def _comparison_document(answer: Comparison) -> Mapping[str, Any]:
    return {
        "step": Step.COMPARE.value,
        "counts": _counts(answer),
        "objects": [_finding_document(each) for each in answer.findings],
    }


def _finding_document(each: Finding) -> Mapping[str, Any]:
    theirs, ours = each.violations
    return {
        **_member_document(each.member),
        "relation": each.relation.value,
        "addon": _ref_document(each.addon),
        "azpolicy": _ref_document(each.azpolicy),
        "differences": [described(difference) for difference in each.differences],
        "notes": list(each.notes),
        "changes": [{"id": change.id, "newly": change.newly.value, "what": change.what} for change in each.changes],
        "violations": {"addon": theirs, "azpolicy": ours},
    }


def _check_document(answer: Check) -> Mapping[str, Any]:
    return {
        "step": Step.CHECK.value,
        "direction": answer.direction.value,
        "good": answer.good,
        "objects": [_cover_document(each) for each in answer.covers],
        "bystanders": [_ref_document(ref) for ref in answer.bystanders],
        "deployments": list(answer.deployments),
    }


def _cover_document(each: Cover) -> Mapping[str, Any]:
    return {
        **_member_document(each.member),
        "object": _ref_document(each.old),
        "by": _ref_document(each.by),
        "missing": list(each.missing),
        "note": each.note,
    }


def _member_document(member: MemberKey | None) -> Mapping[str, str]:
    return {"assignmentId": member.assignment_id, "referenceId": member.reference_id} if member else {}


def _ref_document(ref: ObjectRef | None) -> Mapping[str, str] | None:
    return {"group": ref.group, "kind": ref.kind, "name": ref.name} if ref else None


FORMATS: Final[Mapping[str, Callable[[Comparison | Check], str]]] = {"text": as_text, "json": as_json}
