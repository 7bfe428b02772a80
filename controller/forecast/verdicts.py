"""Which workloads would not come back, judged by gator as `azpolicy check` does: what it says counts.

| of the next pod, by the policies that deny                                 | verdict                         |
|-----------------------------------------------------------------------------|---------------------------------|
| it breaks one as it would be made after a restart                           | fails at its next restart       |
| it breaks one as it would be made after a rollout or once it goes on        | fails at its next rollout only  |
| one of them looks at it, and gator cannot know its answer; or neither its   | cannot be known                 |
| template nor a pod of it is known                                           |                                 |
| its template breaks one, but what is made of it at admission does not       | passes after mutation           |
| none of this                                                                | passes                          |
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from controller.check.gator import ask, content
from controller.forecast.mutations import mutated, usable
from controller.gatekeeper.model import DesiredObject, ObjectRef, Role
from controller.gatekeeper.naming import CONSTRAINT_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from controller.forecast.workloads import Candidate, Workload
    from controller.gatekeeper.model import DesiredState
    from controller.jsontypes import Json
    from controller.policy.model import Member

    Document = Mapping[str, Any]
    Progress = Callable[[str, int], None]

_DENY: Final = "deny"
_AT_ONCE: Final = 500  # workloads, so that what gator says of them fits into memory
_POD_KINDS: Final = frozenset({"Pod", "*"})
_POD_GROUPS: Final = frozenset({"", "*"})
_STAND_IN: Final = 'package standin\n\nviolation[{"msg": "not known"}] { true }\n'
# What a rule does that gator has no answer to, whether it finds something or not.
_OBSTACLES: Final = (
    ("external_data(", "it asks an external data provider"),
    ("data.inventory", "it looks other objects up in the cluster"),
    ("userInfo", "it depends on who makes the pod"),
)


class Verdict(StrEnum):
    """What becomes of a workload, worst first."""

    RESTART = "fails at its next restart"
    ROLLOUT = "fails at its next rollout only"
    UNKNOWN = "cannot be known"
    MUTATED = "passes after mutation"
    PASSES = "passes"


FAILING: Final = frozenset({Verdict.RESTART, Verdict.ROLLOUT})


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """A policy that decided over a workload, and its message."""

    constraint: ObjectRef
    message: str
    member: Member = field(compare=False)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A workload's verdict, what decided it, and a note where there is more to say."""

    workload: Workload
    verdict: Verdict
    causes: tuple[Cause, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Every workload, worst first; what was left out, and the policies that Gatekeeper would not take."""

    workloads: tuple[Forecast, ...]
    constraints: int
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many workloads have a verdict."""
        return sum(each.verdict is verdict for each in self.workloads)

    @property
    def failing(self) -> bool:
        """Whether any workload would not come back."""
        return any(each.verdict in FAILING for each in self.workloads)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides beside the policies: namespaces with their labels, which of them Gatekeeper skips, and mutators."""

    namespaces: Mapping[str, Document]
    skipped: Mapping[str, str]
    mutators: tuple[Document, ...] = ()


def denied(desired: DesiredState) -> DesiredState:
    """The desired state as if each of its constraints denied."""
    return replace(desired, objects=tuple(map(_denying, desired.objects)))


def _denying(wanted: DesiredObject) -> DesiredObject:
    if wanted.role is not Role.CONSTRAINT:
        return wanted
    spec: Any = wanted.manifest["spec"]
    return DesiredObject.of(
        wanted.role, {**wanted.manifest, "spec": {**spec, "enforcementAction": _DENY}}, wanted.members
    )


def forecast(
    workloads: Sequence[Workload],
    desired: DesiredState,
    surroundings: Surroundings,
    *,
    gator: str,
    progress: Progress,
) -> Forecasts:
    """The verdict of each workload under the desired state; InputError where gator fails."""
    judge = _Judge(gator, _policies(desired), surroundings)
    found: list[Forecast] = []
    for start in range(0, len(workloads), _AT_ONCE):
        found += judge.judge(workloads[start : start + _AT_ONCE])
        progress("judging workloads", len(found))
    order = list(Verdict)
    found.sort(key=lambda each: (order.index(each.verdict), each.workload.namespace, str(each.workload)))
    return Forecasts(tuple(found), len(judge.constraints), tuple(judge.notes), tuple(dict.fromkeys(judge.errors)))


@dataclass(frozen=True, slots=True)
class _Policies:
    """Templates and constraints that deny pods, and of some constraints why gator cannot know what they say."""

    objects: tuple[DesiredObject, ...]
    obstacles: Mapping[ObjectRef, str]


def _policies(desired: DesiredState) -> _Policies:
    constraints = [each for each in desired.objects if each.role is Role.CONSTRAINT and _denies_pods(each.manifest)]
    used = {each.ref.kind.lower() for each in constraints}
    templates = [each for each in desired.objects if each.role is Role.TEMPLATE and each.ref.name in used]
    obstacles = {each.ref.name: obstacle for each in templates if (obstacle := _obstacle(each))}
    objects = [_stand_in(each) if each.ref.name in obstacles else each for each in templates]
    unknown = {c.ref: obstacle for c in constraints if (obstacle := obstacles.get(c.ref.kind.lower()))}
    return _Policies((*objects, *constraints), unknown)


def _denies_pods(manifest: Document) -> bool:
    spec = manifest["spec"]
    # Gatekeeper's default: https://open-policy-agent.github.io/gatekeeper/website/docs/howto#the-enforcementaction-field
    if spec.get("enforcementAction", _DENY) != _DENY:
        return False
    kinds = (spec.get("match") or {}).get("kinds") or [{}]
    return any(
        _POD_GROUPS & set(each.get("apiGroups") or ["*"]) and _POD_KINDS & set(each.get("kinds") or ["*"])
        for each in kinds
    )


def _obstacle(template: DesiredObject) -> str | None:
    text = json.dumps(template.manifest["spec"])
    return next((why for word, why in _OBSTACLES if word in text), None)


def _stand_in(template: DesiredObject) -> DesiredObject:
    """The template with a rule that objects to everything: so gator says what its constraints look at."""
    spec: Any = template.manifest["spec"]
    target: dict[str, Json] = {"target": "admission.k8s.gatekeeper.sh", "rego": _STAND_IN}
    return DesiredObject.of(
        template.role, {**template.manifest, "spec": {**spec, "targets": [target]}}, template.members
    )


@dataclass(slots=True)
class _Pods:
    """A candidate's pods: of its template before and after mutation, and what has been seen of it, mutated too."""

    template: Document | None = None
    template_mutated: Document | None = None
    live_mutated: Document | None = None

    @property
    def next(self) -> Document | None:
        """What comes nearest to the next pod: what admission has made of the template, else the template."""
        return self.live_mutated or self.template_mutated

    def all(self) -> Iterator[Document]:
        """Those that are known."""
        return (each for each in (self.template, self.template_mutated, self.live_mutated) if each is not None)


class _Judge:
    """Judges workloads by the same policies, part after part."""

    def __init__(self, gator: str, policies: _Policies, surroundings: Surroundings) -> None:
        self._gator = gator
        self._policies = policies
        self._surroundings = surroundings
        self._mutators, self.notes = usable(surroundings.mutators)
        self.constraints = {each.ref: each for each in policies.objects if each.role is Role.CONSTRAINT}
        self.errors: list[str] = []

    def judge(self, workloads: Sequence[Workload]) -> list[Forecast]:
        """The forecast of each workload, in their order."""
        judged = [each for each in workloads if each.namespace not in self._surroundings.skipped]
        candidates = [each for workload in judged for each in (*workload.restart, *workload.rollout)]
        pods = dict(zip(map(id, candidates), self._pods(candidates), strict=True))
        broken = self._broken([each for group in pods.values() for each in group.all()])
        return [self._forecast(workload, pods, broken) for workload in workloads]

    def _pods(self, candidates: Sequence[Candidate]) -> list[_Pods]:
        groups = [_Pods(template=each.template) for each in candidates]
        templates = [(group, each.template) for group, each in zip(groups, candidates, strict=True) if each.template]
        lives = [(group, each.live) for group, each in zip(groups, candidates, strict=True) if each.live]
        given = [pod for _, pod in (*templates, *lives)]
        made = mutated(self._gator, self._mutators, self._namespaces(given), given)
        for (group, _), pod in zip(templates, made[: len(templates)], strict=True):
            group.template_mutated = pod
        for (group, _), pod in zip(lives, made[len(templates) :], strict=True):
            group.live_mutated = pod
        return groups

    def _namespaces(self, pods: Iterable[Document]) -> list[Document]:
        names = sorted({each["metadata"]["namespace"] for each in pods})
        return [self._surroundings.namespaces.get(name) or _namespace(name) for name in names]

    def _broken(self, pods: Sequence[Document]) -> Mapping[str, set[Cause]]:
        """What each pod breaks, by its content."""
        distinct = list({content(each): each for each in pods}.values())
        answer = ask(self._gator, self._policies.objects, [*distinct, *self._namespaces(distinct)])
        for refusal in answer.refusals:
            name = refusal.policy.members[0].policy
            self.errors.append(f"policy {name}: Gatekeeper does not take it: {refusal.reason}")
        found: defaultdict[str, set[Cause]] = defaultdict(set)
        for result in answer.results:
            constraint = result["constraint"]
            ref = ObjectRef(CONSTRAINT_GROUP, constraint["kind"], constraint["metadata"]["name"])
            member = self.constraints[ref].members[0]
            found[content(result["violatingObject"])].add(Cause(ref, str(result["msg"]), member))
        return found

    def _forecast(self, workload: Workload, pods: Mapping[int, _Pods], broken: Mapping[str, set[Cause]]) -> Forecast:
        if why := self._surroundings.skipped.get(workload.namespace):
            return Forecast(workload, Verdict.PASSES, note=why)

        def causes(document: Document | None) -> set[Cause]:
            return broken.get(content(document), set()) if document is not None else set()

        unknown: set[Cause] = set()
        for verdict, candidates in ((Verdict.RESTART, workload.restart), (Verdict.ROLLOUT, workload.rollout)):
            found = {cause for each in candidates for cause in causes(pods[id(each)].next)}
            unknown |= {cause for cause in found if cause.constraint in self._policies.obstacles}
            if failing := found - unknown:
                return Forecast(workload, verdict, tuple(sorted(failing)), self._why(workload, pods, failing, causes))
        if unknown:
            whys = sorted({f"{each.member.policy}: {self._policies.obstacles[each.constraint]}" for each in unknown})
            return Forecast(workload, Verdict.UNKNOWN, tuple(sorted(unknown)), "; ".join(whys))
        groups = [pods[id(each)] for each in (*workload.restart, *workload.rollout)]
        if not all(group.next for group in groups):
            return Forecast(workload, Verdict.UNKNOWN, note=workload.note or _NOTHING_TO_JUDGE)
        if helped := {cause for group in groups for cause in causes(group.template)}:
            return Forecast(workload, Verdict.MUTATED, tuple(sorted(helped)), workload.note)
        return Forecast(workload, Verdict.PASSES, note=workload.note)

    def _why(
        self,
        workload: Workload,
        pods: Mapping[int, _Pods],
        failing: set[Cause],
        causes: Callable[[Document | None], set[Cause]],
    ) -> str:
        """A word where the template alone would pass."""
        groups = [pods[id(each)] for each in (*workload.restart, *workload.rollout)]
        templates = [group.template for group in groups if group.template is not None]
        by_template = {cause.constraint for each in templates for cause in causes(each)}
        if templates and not by_template & {cause.constraint for cause in failing}:
            return "; ".join(filter(None, (workload.note, _ADDED)))
        return workload.note


_ADDED: Final = "not by its template, but by what is added when its pods are made"
_NOTHING_TO_JUDGE: Final = "a pod that it would make is not known"


def _namespace(name: str) -> Document:
    labels = {"kubernetes.io/metadata.name": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
