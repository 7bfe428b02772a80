"""What became of every member of every assignment, and why: as text for people, as JSON for programs (docs/explain.md).

One description of a member serves both, so that the text cannot tell what the JSON does not.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, assert_never

from controller.azure.declared import described
from controller.azure.model import EnforcementMode, fold, is_declared
from controller.errors import InputError
from controller.gatekeeper.model import Rendered, Role
from controller.gatekeeper.naming import TEMPLATE_URL
from controller.policy.model import NotApplied, NotAppliedReason, Unresolved, UnresolvedReason
from controller.text import plain, wrapped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from controller.gatekeeper.model import DesiredObject, DesiredState, Outcome
    from controller.policy.model import Member

SCHEMA: Final = "azpolicy.dev/explain/v1"
_LABEL: Final = 12
_SIGNS: Final = {"Rendered": "+", "NotApplied": "-", "Unresolved": "?"}
_WORDS: Final = {"Rendered": "enforced", "NotApplied": "not applied", "Unresolved": "unresolved"}
_IF_MET: Final = "the assignment's scope contains the cluster, and policyRule.if is met"

_MALFORMED: Final = "correct what the reason names, in the definition or in the assignment"
_OUTSIDE_AZURE: Final = "only Azure can evaluate this: remove it, or enforce this member with Azure's own add-on"
_ADVICE: Final[Mapping[NotAppliedReason | UnresolvedReason, str]] = {
    NotAppliedReason.DISABLED: "to enforce it, set its effect: a parameter of the assignment, or an override",
    NotAppliedReason.OUT_OF_SCOPE: "to enforce it, assign it at or above the cluster",
    NotAppliedReason.NOT_SCOPES: "to enforce it, remove the scope from the assignment's notScopes",
    NotAppliedReason.EXEMPT: "to enforce it, end the exemption",
    NotAppliedReason.SELECTOR: "to enforce it, let a resourceSelector of the assignment select the cluster",
    NotAppliedReason.RULE: "nothing: the definition is for resources of another kind",
    NotAppliedReason.MODE: "nothing: Azure Resource Manager itself enforces it",
    NotAppliedReason.NOT_ENROLLED: "to apply it, enroll the cluster, or set enforcementMode to Default",
    NotAppliedReason.NOT_ENFORCED: "to apply it, set the assignment's enforcementMode to Default",
    UnresolvedReason.DEFINITION_MISSING: "complete the snapshot (azpolicy export), or give the account read rights",
    UnresolvedReason.VERSION_MISSING: "ask for a version that exists, or complete the snapshot (azpolicy export)",
    UnresolvedReason.UNREADABLE: "give the right that the reason names, or correct the document that it names",
    UnresolvedReason.EXPRESSION: "correct the expression; remove one that only Azure can evaluate",
    UnresolvedReason.PARAMETER: "give the assignment a value that fits",
    UnresolvedReason.RULE: _OUTSIDE_AZURE,
    UnresolvedReason.DETAILS: _MALFORMED,
    UnresolvedReason.EFFECT: _MALFORMED,
    UnresolvedReason.SELECTOR: _OUTSIDE_AZURE,
    UnresolvedReason.SCOPE: "let the account read the management groups, or name a subscription in notScopes",
    UnresolvedReason.OVERRIDE: _OUTSIDE_AZURE,
    UnresolvedReason.ENFORCEMENT_MODE: "set enforcementMode to Default or DoNotEnforce, or let enrollments be read",
    UnresolvedReason.LEGACY_FORM: "use a newer version of the definition",
    UnresolvedReason.TEMPLATE: "fetch it (--templates url, --template-host HOST), or give a folder or mirror with it",
    UnresolvedReason.TEMPLATE_MALFORMED: "correct the document that it names, in the definition or where it is kept",
    UnresolvedReason.TEMPLATE_CONFLICT: "make all definitions use one source of the template",
    UnresolvedReason.CYCLE: _MALFORMED,
    UnresolvedReason.COLLISION: "give each member of the assignment a reference id of its own",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The members that were asked for, each as the mapping that `-o json` prints."""

    cluster_id: str
    members: tuple[Mapping[str, Any], ...]

    @property
    def unresolved(self) -> bool:
        """Whether it is not known of one of them what it means."""
        return any(each["applies"] is None for each in self.members)


def explain(desired: DesiredState, assignments: Collection[str] = ()) -> Explanation:
    """All members, or those of the given assignments: ids, names or display names; InputError for one that is not."""
    chosen = {fold(each) for each in assignments}
    outcomes = [each for each in desired.outcomes if not chosen or chosen & _names(each.member)]
    if unknown := chosen - {name for each in outcomes for name in _names(each.member)}:
        there = sorted({each.member.assignment_id.rpartition("/")[2] for each in desired.outcomes})
        raise InputError(
            f"no assignment {min(unknown)!r} for {desired.cluster_id}: there is {', '.join(there) or 'none'}"
        )
    made: dict[Member, list[DesiredObject]] = {}
    for each in desired.objects:
        for member in each.members:
            made.setdefault(member, []).append(each)
    return Explanation(desired.cluster_id, tuple(explained(each, made.get(each.member, ())) for each in outcomes))


def _names(member: Member) -> set[str]:
    """The names that a user may know the member's assignment by, folded."""
    return {fold(member.assignment_id), fold(member.assignment_id).rpartition("/")[2], fold(member.assignment_name)}


def explained(outcome: Outcome, objects: Sequence[DesiredObject]) -> dict[str, Any]:
    """One member and the objects that it wants, as the mapping that `-o json` prints."""
    member = outcome.member
    return {
        "assignmentId": member.assignment_id,
        "assignmentName": member.assignment_name,
        "enforcementMode": member.enforcement_mode,
        "initiative": _versioned(
            member.initiative_id, member.initiative_name, member.initiative_version_asked, member.initiative_version
        ),
        "referenceId": member.reference_id,
        "definition": _versioned(member.definition_id, member.definition_name, member.version_asked, member.version),
        "wholeAssignment": member.whole,
        "outcome": type(outcome).__name__,
        **_why(outcome),
        "objects": [{"group": o.ref.group, "kind": o.ref.kind, "name": o.ref.name} for o in objects],
        **_made(outcome, objects),
    }


def _versioned(resource_id: str, name: str, asked: str, got: str) -> dict[str, str] | None:
    if not resource_id:
        return None
    return {"id": resource_id, "name": name, "versionAsked": asked, "version": got}


def _why(outcome: Outcome) -> dict[str, Any]:
    """Whether the member applies (None: not known), and by which rule."""
    match outcome:
        case Rendered():
            return {"applies": True, "reason": "", "message": _IF_MET, "advice": ""}
        case NotApplied() | Unresolved():
            # The member is named already where this is read.
            message = outcome.message.removeprefix(f"{outcome.member}: ")
            applies = False if isinstance(outcome, NotApplied) else None
            advice = _ADVICE[outcome.reason]
            return {"applies": applies, "reason": outcome.reason.value, "message": message, "advice": advice}
        case _:
            assert_never(outcome)


def _made(outcome: Outcome, objects: Sequence[DesiredObject]) -> dict[str, Any]:
    """The effect and where it is from, and the document that the objects are made of; of a Rendered member alone."""
    if not isinstance(outcome, Rendered):
        return {"effect": None, "template": None, "notes": []}
    template = next((each for each in objects if each.role is Role.TEMPLATE), None)
    return {
        "effect": {
            "value": outcome.effect,
            "from": outcome.effect_from,
            "enforcementAction": outcome.enforcement_action,
        },
        "template": {
            "name": template.ref.name if template else "",
            "url": _annotation(template, TEMPLATE_URL) if template else "",
            "source": outcome.template_source,
            "digest": outcome.template_digest,
        },
        "notes": list(outcome.notes),
    }


def _annotation(wanted: DesiredObject, key: str) -> str:
    metadata: Any = wanted.manifest["metadata"]
    return str((metadata.get("annotations") or {}).get(key, ""))


def as_json(explanation: Explanation) -> str:
    """One JSON document, keys sorted, ASCII alone, ending in a newline; docs/explain.md has the keys."""
    document = {
        "schema": SCHEMA,
        "clusterId": explanation.cluster_id,
        "clusterDeclared": is_declared(explanation.cluster_id),
        "counts": _counts(explanation),
        "members": explanation.members,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _counts(explanation: Explanation) -> dict[str, int]:
    counted = Counter(each["outcome"] for each in explanation.members)
    return {outcome: counted[outcome] for outcome in _WORDS}


def as_text(explanation: Explanation) -> Iterator[str]:
    """Lines of at most 100 columns, but for ids that are longer: cut, they could not be searched for."""
    if is_declared(explanation.cluster_id):
        yield from wrapped(f"Cluster {described(explanation.cluster_id)}: what applies at its scope applies to it")
        yield ""
    for _, members in groupby(explanation.members, lambda each: fold(each["assignmentId"])):
        found = list(members)
        yield from _heading(found)
        for each in found:
            yield from _member(each)
        yield ""
    counts = ", ".join(f"{count} {_WORDS[outcome]}" for outcome, count in _counts(explanation).items())
    yield f"members: {counts}"


def _heading(members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What all members of an assignment share."""
    first = members[0]
    yield from wrapped(f"Assignment {first['assignmentName'] or first['assignmentId'].rpartition('/')[2]}")
    yield plain(f"  {first['assignmentId']}")
    if first["initiative"]:
        yield from _line("initiative", _with_version(first["initiative"]), at=2)
        yield from _line("", first["initiative"]["id"], at=2)
    if fold(first["enforcementMode"]) not in ("", fold(EnforcementMode.DEFAULT)):
        yield from _line("enforcement", f"enforcementMode is {first['enforcementMode']}", at=2)


def _member(each: Mapping[str, Any]) -> Iterator[str]:
    outcome = each["outcome"]
    reason = f": {each['reason']}" if each["reason"] else ""
    definition = each["definition"]
    name = each["referenceId"] or (definition["name"] or definition["id"] if definition else "all members")
    yield ""
    yield from wrapped(f"  {_SIGNS[outcome]} {name}, {_WORDS[outcome]}{reason}", indent=4)
    for label, text in reasons(each):
        yield from _line(label, text)


def reasons(each: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is said of a member, as labelled texts; one without a label belongs to the label before it.

    A text may be empty: then there is nothing to say.
    """
    if definition := each["definition"]:
        yield "definition", _with_version(definition)
        yield "", definition["id"]
    yield {True: "applies", False: "because", None: "not known"}[each["applies"]], each["message"]
    yield "to do", each["advice"]
    yield from _enforced(each)
    for note in each["notes"]:
        yield "note", note


def _enforced(each: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    effect, template = each["effect"], each["template"]
    if effect is None or template is None:
        return
    action = f", enforcementAction {effect['enforcementAction']}" if effect["enforcementAction"] else ""
    mode = each["enforcementMode"]
    # What Enroll comes to is in the notes: it depends on who is enrolled.
    by_mode = f" as enforcementMode is {mode}" if action and fold(mode) == fold(EnforcementMode.DO_NOT_ENFORCE) else ""
    origin = f" by {effect['from']}" if effect["from"] else ""
    yield "effect", f"{effect['value']}{origin}{action}{by_mode}"
    name = template["name"] or "mutation"
    yield "template", f"{name} from {template['source']}"
    yield "", template["url"]
    yield "", f"sha256 {template['digest']}"
    for number, made in enumerate(each["objects"]):
        yield "objects" if number == 0 else "", f"{made['kind']}/{made['name']}"


def _with_version(each: Mapping[str, str]) -> str:
    """A name with the version that is in force and the one that was asked for."""
    got = f"version {each['version']}" if each["version"] else "no version"
    asked = f"asked for {each['versionAsked']}" if each["versionAsked"] else "none asked for"
    name = f"{each['name']}, " if each["name"] else ""
    return f"{name}{got} ({asked})"


def _line(label: str, text: str, *, at: int = 6) -> Iterable[str]:
    """A labelled text, its further lines below the first; nothing where there is no text."""
    if not text:
        return ()
    head = f"{'':{at}}{label:{_LABEL}}"
    return wrapped(f"{head}{text}", indent=len(head))
