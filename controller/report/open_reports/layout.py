"""What the reports say, and how they are cut into objects that an API server takes. Pure.

| report                 | in            | a result for each                                                   |
|------------------------|---------------|---------------------------------------------------------------------|
| `azpolicy-assignments` | the cluster   | member of each assignment: complete, so with what passes            |
| `azpolicy`             | a namespace   | violation that Gatekeeper lists of an object of the namespace       |
| `azpolicy-cluster`     | the cluster   | violation that Gatekeeper lists of an object that has no namespace  |

| what became of the member                                      | result | scored |
|----------------------------------------------------------------|--------|--------|
| it was audited: no object violates it                          | pass   |        |
| it was audited: objects violate it, and it denies              | fail   |        |
| it was audited: objects violate it, and it warns or only looks | warn   | false  |
| its meaning is not known, or it is not as it should be         | error  |        |
| it does not apply, was not audited yet, or it mutates          | skip   |        |

The fields are those of https://github.com/openreports/reports-api/blob/main/docs/api-docs.md. Nothing in a report moves
with time, and a `resultID` is of the member or of the object, never of a message: what reads reports tells a finding
anew whenever its id is new.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.kinds import ASSIGNED_POLICY
from controller.cluster.report_objects import OF_CLUSTER, OF_NAMESPACE, OVERVIEW
from controller.gatekeeper.model import Rendered, digest
from controller.gatekeeper.naming import CONSTRAINT_GROUP
from controller.report.assigned import Enforcement, assigned_name, assigned_policy
from controller.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from controller.cluster.kinds import Resource
    from controller.cluster.lean import Violation
    from controller.cluster.report_objects import ReportApi
    from controller.gatekeeper.model import DesiredState, Outcome
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.report.assigned import Knowledge
    from controller.report.violations import Findings, ViolationStore

MOST_RESULTS: Final = 500
MOST_BYTES: Final = 512 * 1024
SOURCE: Final = "Azure Policy"
CUT: Final = "azpolicy.dev/cut"
_LONGEST: Final = 512
_NAMED: Final = 20
_DIGITS: Final = 32
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SEVERITIES: Final = {"deny": "high", "warn": "medium", "dryrun": "low"}
_JUDGED: Final = (Enforcement.ENFORCED, Enforcement.PENDING)
_RESULTS: Final = {Enforcement.UNRESOLVED: "error", Enforcement.FAILED: "error"}
_WORDS: Final = {
    "pass": "No object violates it.",
    "fail": "Objects violate it: the reports of their namespaces list them.",
    "warn": "Objects violate it, which is not denied: the reports of their namespaces list them.",
    "error": "It is not enforced as it should be.",
    "skip": "Gatekeeper has not audited it yet.",
}
_MUTATES: Final = "It changes objects as they are admitted, and judges none."


@dataclass(frozen=True, slots=True)
class Report:
    """One object to be: where, what it holds beside its metadata, and the annotations that are ours."""

    kind: Resource
    name: str
    content: Mapping[str, Any]
    annotations: Mapping[str, str]

    @property
    def path(self) -> str:
        """Where the API has it."""
        return self.kind.path(self.name)

    @property
    def digest(self) -> str:
        """Changes when, and only when, it says something else."""
        return content_digest(self.content, self.annotations)


def content_digest(content: Mapping[str, Any], annotations: Mapping[str, str]) -> str:
    """The digest of a report, desired or live: of all but its kind and its metadata, and of our annotations."""
    said = {key: value for key, value in content.items() if key not in ("apiVersion", "kind", "metadata")}
    return digest([said, {key: value for key, value in annotations.items() if key == CUT}])


def reports(  # noqa: PLR0917 - as `assigned_policy`
    api: ReportApi,
    desired: DesiredState,
    known: Knowledge,
    violations: ViolationStore,
    now: datetime,
    marks: OwnershipMarks,
) -> Iterator[Report]:
    """Every report there should be, one after another; what a cut leaves out is said in annotations and properties."""
    objects = {each.ref: each for each in desired.objects}
    told = (assigned_policy(outcome, objects, known, now, marks) for outcome in desired.outcomes)
    members = [_Member.of(*each, violations) for each in zip(desired.outcomes, told, strict=True)]
    members.sort(key=lambda each: each.name)
    yield from _cut_up(api, api.cluster, OVERVIEW, (_overview_result(each) for each in members), members)
    by_namespace: dict[str, list[tuple[_Member, Violation, str]]] = defaultdict(list)
    for member in members:
        for violation, result_id in _identified(member):
            there = violation.namespace if _NAMESPACE.fullmatch(violation.namespace) else ""
            by_namespace[there].append((member, violation, result_id))
    for namespace, found in sorted(by_namespace.items()):
        kind = replace(api.namespaced, namespace=namespace) if namespace else api.cluster
        results = (_violation_result(*each) for each in found)
        name = OF_NAMESPACE if namespace else OF_CLUSTER
        yield from _cut_up(api, kind, name, results, [member for member, _, _ in found])


@dataclass(frozen=True, slots=True)
class _Member:
    """A member as its reports name it, in texts that are fit for them; `findings` None: it is not audited, or not yet.

    `constraint` is KIND/NAME of its constraint or mutator, empty where there is none; `action` is the constraint's.
    """

    name: str
    told: Mapping[str, Any]
    findings: Findings | None
    constraint: str
    action: str
    mutates: bool
    fields: Mapping[str, str]
    properties: Mapping[str, str]

    @classmethod
    def of(cls, outcome: Outcome, told: Mapping[str, Any], violations: ViolationStore) -> _Member:
        """A member with what its AssignedPolicy says, and what was found of its constraint."""
        member = outcome.member
        rendered = outcome if isinstance(outcome, Rendered) and outcome.objects else None
        own = rendered.objects[-1] if rendered else None
        action = rendered.enforcement_action if rendered else ""
        return cls(
            name=assigned_name(member),
            told=told["status"],
            findings=violations.of(own) if own else None,
            constraint=str(own or ""),
            action=action,
            mutates=own is not None and own.group != CONSTRAINT_GROUP,
            fields=_fit_all(
                {
                    "source": SOURCE,
                    "policy": member.policy or "unnamed",
                    "rule": own.kind if own else "",
                    "category": member.category,
                }
            ),
            properties=_fit_all(
                {
                    "assignmentId": member.assignment_id,
                    "assignment": member.assignment,
                    "definitionId": member.definition_id,
                    "referenceId": member.reference_id,
                    "constraint": str(own or ""),
                    "enforcementAction": action,
                }
            ),
        )

    @property
    def is_cut(self) -> bool:
        """Whether more objects violate it than are listed."""
        return self.findings is not None and len(self.findings.listed) < self.findings.total


def _overview_result(member: _Member) -> dict[str, Any]:
    status, findings = member.told, member.findings
    result = _judged(member)
    message = str(status.get("message", "")) or (_MUTATES if member.mutates else _WORDS[result])
    counted = {} if findings is None else {"violations": str(findings.total), "listed": str(len(findings.listed))}
    properties = {
        "resultID": member.name,
        "outcome": str(status["outcome"]),
        "reason": str(status.get("reason", "")),
        **counted,
    }
    reference = {"apiVersion": ASSIGNED_POLICY.api_version, "kind": ASSIGNED_POLICY.kind, "name": member.name}
    return _result(member, member.action, result, message, reference, properties)


def _judged(member: _Member) -> str:
    """The table of this module."""
    outcome = member.told["outcome"]
    if member.findings is None or outcome not in _JUDGED:
        return _RESULTS.get(outcome, "skip")
    return _violated(member.action) if member.findings.total else "pass"


def _violated(action: str) -> str:
    return "fail" if action == "deny" else "warn"


def _violation_result(member: _Member, violation: Violation, result_id: str) -> dict[str, Any]:
    action = violation.action or member.action
    reference = {
        "apiVersion": violation.api_version,
        "kind": violation.kind,
        "namespace": violation.namespace,
        "name": violation.name,
    }
    properties = {
        "resultID": result_id,
        "enforcementAction": action,
        "messageCut": "true" if violation.is_cut else "",
    }
    return _result(member, action, _violated(action), violation.message, reference, properties)


def _result(  # noqa: PLR0917 - one for each part of a result
    member: _Member,
    action: str,
    result: str,
    message: str,
    reference: Mapping[str, str],
    properties: Mapping[str, str],
) -> dict[str, Any]:
    made: dict[str, Any] = {
        **member.fields,
        "result": result,
        "message": _fit(message),
        "resources": [_fit_all(reference)],
        "properties": {**member.properties, **_fit_all(properties)},
    }
    if severity := _SEVERITIES.get(action):
        made["severity"] = severity
    if result == "warn":
        made["scored"] = False
    return made


def _identified(member: _Member) -> Iterator[tuple[Violation, str]]:
    """Each listed violation with an id that stays while its object violates the constraint.

    An object that violates it more than once, such as a pod by two containers, has as many ids.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    for violation in member.findings.listed if member.findings else ():
        violating = (member.name, violation.group, violation.kind, violation.namespace, violation.name)
        text = "\n".join((*violating, str(seen[violating])))
        seen[violating] += 1
        yield violation, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _cut_up(
    api: ReportApi, kind: Resource, name: str, results: Iterable[Mapping[str, Any]], members: Sequence[_Member]
) -> Iterator[Report]:
    """The results in as many reports as they need, the first of the plain name."""
    cut = sorted({member.constraint for member in members if member.is_cut})
    annotations = {CUT: _fit(_cut_words(cut))} if cut else {}
    for number, chunk in enumerate(chunks(results), start=1):
        summary = Counter(each["result"] for each in chunk)
        content = {
            **({"source": SOURCE} if api.names_source else {}),
            "summary": {word: summary[word] for word in _WORDS},
            "results": chunk,
        }
        yield Report(kind, name if number == 1 else f"{name}-{number}", content, annotations)


def _cut_words(constraints: Sequence[str]) -> str:
    more = ", …" if len(constraints) > _NAMED else ""
    return f"more objects violate these than are listed: {', '.join(constraints[:_NAMED])}{more}"


def chunks(results: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The results in lists of at most MOST_RESULTS and about MOST_BYTES of JSON; none where there are no results."""
    chunk: list[Mapping[str, Any]] = []
    size = 0
    for each in results:
        length = len(json.dumps(each))
        if chunk and (len(chunk) == MOST_RESULTS or size + length > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += length
    if chunk:
        yield chunk


def _fit_all(texts: Mapping[str, str]) -> dict[str, str]:
    """Those that are not empty."""
    return {key: _fit(text) for key, text in texts.items() if text}


def _fit(text: str) -> str:
    """A text of bounded length, all of it printable: it comes from elsewhere, and ends up in people's browsers."""
    return printable(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")
