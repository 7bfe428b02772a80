"""What a reading of denials comes to under a desired state: each constraint explained, and the smallest fix.

One description serves the text and the JSON, as in `explain`: the text cannot tell what the JSON does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from controller.azure.model import fold
from controller.check.workloads import template_path
from controller.cluster.foreign import mapping_at, text_at
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import PREFIX, is_managed_name
from controller.why.denials import UNKNOWN, Denial, Other
from controller.why.fix import find_fix
from controller.why.remedies import deciding, remedies, shown_fields, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from controller.check.judge import Finding
    from controller.gatekeeper.model import DesiredObject, DesiredState
    from controller.policy.model import Member
    from controller.why.denials import Reading
    from controller.why.fix import Fix
    from controller.why.remedies import Remedy

SCHEMA: Final = "azpolicy.dev/why/v1"
_ASSIGNMENTS: Final = "/providers/microsoft.authorization/policyassignments/"
_DIGITS: Final = 20
_PASSES: Final = Other(
    "this object passes every policy, as far as gator can judge it",
    "the whole error, if something refused it: azpolicy why TEXT -f FILE",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the policies: the desired state, where it is from, since when each constraint is in place."""

    desired: DesiredState
    origin: str
    since: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The object that is to be fixed, and the namespace that it is in."""

    content: Mapping[str, Any]
    namespace: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The document that `-o json` prints; `ours` is whether any denial is by a policy that azpolicy manages."""

    document: Mapping[str, Any]

    @property
    def ours(self) -> bool:
        """Whether a constraint of azpolicy's denied or warned."""
        return bool(self.document["denials"])

    @property
    def patch(self) -> Sequence[Mapping[str, Any]]:
        """The JSON Patch, which is there only if the patched object passes every policy that denies."""
        fix = self.document["fix"]
        return fix["patch"] if fix and fix["admits"] else ()


def answer(reading: Reading, known: Known, target: Target | None, gator: str | None) -> Answer:
    """Explains each denial of a reading; `gator` None: it is not there, so no fix can be proven."""
    constraints = {o.ref.name: o for o in known.desired.objects if o.role is Role.CONSTRAINT}
    parameters = {name: mapping_at(each.manifest, "spec", "parameters") for name, each in constraints.items()}
    others = list(reading.others)
    found: list[tuple[Denial, Sequence[DesiredObject]]] = []
    for denial in reading.denials:
        candidates = _candidates(denial, constraints)
        if candidates:
            found.append((denial, candidates))
        else:
            others.append(_foreign(denial))
    foreseen = not reading.denials and reading.others == (UNKNOWN,)
    fix, missing = None, _missing(found, target, gator, reading.file)
    if target is not None and gator is not None and foreseen:
        fix = _judged(target, known, parameters, gator)
        found = [(_foreseen(each), [constraints[each.constraint.name]]) for each in fix.findings]
        others, missing = [] if found else [_PASSES], _unfixed(fix, "") if found else ""
    elif target is not None and gator is not None and found:
        named = {each.ref.name for denial, all_ in found for each in all_ if each.ref.name in denial.candidates}
        fix = find_fix(target.content, known.desired, parameters, gator=gator, namespace=target.namespace, named=named)
        stored = text_at(target.content, "metadata", "uid") != ""
        missing = _unfixed(fix, reading.file if stored else "")
    return Answer(
        {
            "schema": SCHEMA,
            "source": known.origin,
            "object": _object(target) if target else None,
            "denials": [
                {**_said(denial, each.ref.name), "foreseen": foreseen, **_described(each, known, target, fix)}
                for denial, candidates in found
                for each in candidates
            ],
            "others": [{"what": each.what, "look": each.look} for each in dict.fromkeys(others)],
            "cut": reading.cut,
            "fix": _fix(fix, target) if fix and target and fix.patch else None,
            "fixMissing": missing,
        }
    )


def _judged(target: Target, known: Known, parameters: Mapping[str, Mapping[str, Any]], gator: str) -> Fix:
    """What denies an object that nothing is said of; where nothing does, what warns of it or audits it."""
    for named in ((), parameters):
        fix = find_fix(target.content, known.desired, parameters, gator=gator, namespace=target.namespace, named=named)
        if fix.denied:
            break
    return fix


def _foreseen(finding: Finding) -> Denial:
    name = finding.constraint.name
    return Denial(name, finding.message, candidates=(name,))


def _candidates(denial: Denial, constraints: Mapping[str, DesiredObject]) -> Sequence[DesiredObject]:
    """The constraint, by its name; for one of the add-on's, which has other digits, all of the same template."""
    for name in denial.candidates:
        if name in constraints:
            return [constraints[name]]
    stems = {name[:-_DIGITS] for name in denial.candidates if is_managed_name(name)}
    return [each for name, each in sorted(constraints.items()) if name[:-_DIGITS] in stems]


def _foreign(denial: Denial) -> Other:
    if is_managed_name(denial.constraint):
        return Other(
            f"the constraint {denial.constraint} is named as Azure Policy's are, but no policy here has it",
            f"an assignment that has changed since, or the AKS add-on: kubectl get constraints | grep {PREFIX}",
        )
    return Other(
        f"the constraint {denial.constraint} denied it, which azpolicy does not manage: {denial.message}",
        "who made it: kubectl get constraints, and its labels and annotations",
    )


def _said(denial: Denial, constraint: str) -> dict[str, Any]:
    """What the text says; where it names a constraint of the add-on's, it is not certain which of ours it was."""
    return {
        "message": denial.message,
        "warned": denial.warned,
        "expansion": denial.expansion,
        "certain": constraint in denial.candidates,
    }


def _described(constraint: DesiredObject, known: Known, target: Target | None, fix: Fix | None) -> dict[str, Any]:
    member = constraint.members[0]
    name = constraint.ref.name
    remedy = remedies().get(constraint.ref.kind)
    changes = fix.changes.get(name, ()) if fix else ()
    parameters = mapping_at(constraint.manifest, "spec", "parameters")
    return {
        "constraint": {"kind": constraint.ref.kind, "name": name},
        "policy": {
            "id": member.definition_id,
            "name": member.definition_name,
            "version": member.version,
            "words": _words(constraint, known.desired),
        },
        "assignment": {"id": member.assignment_id, "name": member.assignment_name, "scope": _scope(member)},
        "initiative": {"id": member.initiative_id, "name": member.initiative_name} if member.initiative_id else None,
        "referenceId": member.reference_id,
        "changeable": _changeable(member),
        "enforcementAction": text_at(constraint.manifest, "spec", "enforcementAction", default="deny"),
        "since": known.since.get(name, ""),
        "parameters": deciding(remedy, parameters),
        "met": [{"path": c.path, "value": c.before} for c in changes] or list(_met(remedy, target)),
        "allowed": remedy.allowed if remedy else "",
        "note": remedy.note if remedy and changes else "",
        "changes": [
            {"path": c.path, "remove": True} if c.removes else {"path": c.path, "to": c.after} for c in changes
        ],
    }


def _met(remedy: Remedy | None, target: Target | None) -> Iterator[dict[str, Any]]:
    """The fields that the rule looks at, where it is not proven which of them decided."""
    if remedy and target:
        for path, value in shown_fields(remedy, target.content):
            yield {"path": spelled(path, target.content), "value": value}


def _words(constraint: DesiredObject, desired: DesiredState) -> str:
    """The policy in words: its template's description."""
    for each in desired.objects:
        if each.role is Role.TEMPLATE and each.ref.name == constraint.ref.kind.lower():
            return text_at(each.manifest, "metadata", "annotations", "description")
    return ""


def _scope(member: Member) -> str:
    at = fold(member.assignment_id).find(_ASSIGNMENTS)
    return member.assignment_id[:at] if at >= 0 else ""


def _changeable(member: Member) -> str:
    """Who may change or exempt it: https://learn.microsoft.com/azure/governance/policy/overview#azure-rbac-permissions-in-azure-policy."""
    scope = _scope(member)
    if not scope:
        return ""
    kinds = {
        "managementgroups": "management group",
        "subscriptions": "subscription",
        "resourcegroups": "resource group",
    }
    *_, kind, name = scope.split("/")
    place = f"the {kinds.get(kind.lower(), kind)} {name}"
    return f"Owner or Resource Policy Contributor at {place} may change the assignment, or exempt the cluster"


def _object(target: Target) -> dict[str, str]:
    content = target.content
    return {
        "apiVersion": text_at(content, "apiVersion"),
        "kind": text_at(content, "kind"),
        "name": text_at(content, "metadata", "name") or text_at(content, "metadata", "generateName"),
        "namespace": target.namespace,
    }


# --- the fix ---------------------------------------------------------------------------------------------------------


def _missing(found: Sequence[object], target: Target | None, gator: str | None, file: str) -> str:
    """Why no fix is even looked for."""
    if not found:
        return ""
    if target is None:
        manifest = file or "FILE"
        return f"the text does not hold the object: add its manifest (-f {manifest}), or KIND/NAME -n NAMESPACE"
    if gator is None:
        return (
            "a fix is printed only after gator has passed it, and gator was not found: install it, or give --gator PATH"
        )
    return ""


def _unfixed(fix: Fix, file: str) -> str:
    if not fix.denied and file:
        return f"the object in the cluster is not denied: what was denied is the change in {file}: give it, -f {file}"
    if not fix.denied:
        return "gator finds nothing that denies this object: it has been changed since, or is another one"
    if not fix.patch:
        return "no fix can be known: the policies say what they would allow"
    return ""


def _fix(fix: Fix, target: Target) -> dict[str, Any]:
    return {
        "verifiedBy": "gator",
        "admits": fix.admits,
        "left": sorted(fix.left),
        "patch": list(fix.patch),
        "command": command(target),
    }


def command(target: Target) -> str:
    """How the patch is applied: to the workload, or to the manifest of a pod, which cannot be changed once it runs."""
    about = _object(target)
    if template_path(target.content) == ():
        return "kubectl patch --local -f MANIFEST --type json --patch-file fix.yaml -o yaml | kubectl apply -f -"
    group = about["apiVersion"].rpartition("/")[0]
    kind = f"{about['kind'].lower()}.{group}" if group else about["kind"].lower()
    return f"kubectl patch {kind} {about['name']} -n {about['namespace']} --type json --patch-file fix.yaml"
