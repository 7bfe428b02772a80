"""Judges manifests by the rendered constraints with gator, whose verdict counts.

gator gives the whole object back with each finding. That tells its file and line, so an object carries no mark of ours
that a rule could see. A pod that a workload would make is its workload's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from controller.check.gator import ask, content, looking_at
from controller.check.workloads import pod_of
from controller.gatekeeper.crd import ConstraintSchema
from controller.gatekeeper.expansion import EVERY, only_generated, with_source
from controller.gatekeeper.model import ObjectRef, Rendered, Role
from controller.gatekeeper.naming import (
    CONSTRAINT_GROUP,
    EXPANSION_GROUP,
    MUTATION_GROUP,
    SYNCSET_GROUP,
    TEMPLATE_GROUP,
)
from controller.gatekeeper.syncset import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from controller.check.manifests import Location, Manifest
    from controller.gatekeeper.model import DesiredObject, DesiredState
    from controller.policy.model import Member

# gator would take these for its own configuration, so what an input says in them cannot be judged.
_MACHINERY: Final = frozenset(
    {TEMPLATE_GROUP, CONSTRAINT_GROUP, MUTATION_GROUP, SYNCSET_GROUP, "config.gatekeeper.sh", EXPANSION_GROUP}
)
_CLIENT_SIDE: Final = frozenset({"kustomize.config.k8s.io"})
_EXTERNAL: Final = "external_data("
_CLUSTER_SCOPED: Final = frozenset(
    {
        "APIService",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CSIDriver",
        "CSINode",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)


class Action(StrEnum):
    """What the cluster would do about a finding, worst first; in the words of Azure's effects."""

    DENY = "deny"
    WARN = "warn"
    AUDIT = "audit"


_ACTIONS: Final = {"deny": Action.DENY, "warn": Action.WARN}


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: the object as written, the policy's member, the message; `pod`: in the pod that it would make."""

    location: Location
    kind: str
    namespace: str
    name: str
    action: Action
    member: Member
    constraint: ObjectRef
    message: str
    pod: bool

    @property
    def object(self) -> str:
        """The object for people: `Deployment shop/web`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Everything that was found, in the order of files and lines, and what could not be judged.

    `errors` name the policies that Gatekeeper would not take.
    """

    findings: tuple[Finding, ...]
    objects: tuple[Judged, ...]
    policies: int
    notes: tuple[str, ...]
    errors: tuple[str, ...] = ()

    def count(self, action: Action) -> int:
        """How many findings would have this consequence."""
        return sum(finding.action is action for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Judged:
    """An object that was judged, and the namespace that it would be in (empty for a cluster-scoped kind)."""

    manifest: Manifest
    namespace: str


def judge(
    manifests: Sequence[Manifest], desired: DesiredState, *, gator: str, namespace: str, all_policies: bool = True
) -> CheckResult:
    """What the desired state's constraints say of the manifests; `namespace` is that of objects that name none.

    Without `all_policies` nothing is said of those that look at none of the manifests, which is faster.
    """
    policies, notes = _policies(desired)
    scopes = _cluster_scoped(manifests)
    objects = [Judged(m, _namespace(m, namespace, scopes)) for m in manifests if m.group not in _CLIENT_SIDE]
    machinery = [judged.manifest for judged in objects if judged.manifest.group in _MACHINERY]
    objects = [judged for judged in objects if judged.manifest.group not in _MACHINERY]
    notes += [f"{m.location}: {m.kind} {m.name} is Gatekeeper's own configuration and is not judged" for m in machinery]
    constraints = {o.ref: o for o in policies if o.role is Role.CONSTRAINT}
    expands = any(o.role is Role.EXPANSION for o in desired.objects)
    generated = {o.ref for o in constraints.values() if expands and only_generated(o.manifest)}
    policies = [with_source(o, EVERY) if o.ref in generated else o for o in policies]
    documents = list(_documents(objects))
    if not all_policies:
        policies = list(looking_at(policies, [document.content for document in documents]))
    given = [*(document.content for document in documents), *_namespaces(objects)]
    replicated = frozenset(kind for o in desired.objects if o.role is Role.SYNC for kind in kinds_of(o.manifest))
    answer = ask(gator, policies, given, replicated)
    origins = defaultdict[str, list[_Document]](list)
    for document in documents:
        origins[content(document.content)].append(document)
    found = {
        _finding(result, document, constraints)
        for result in answer.results
        for document in origins.get(content(result["violatingObject"]), ())
        # What is for pods of workloads alone is not for those that somebody makes.
        if document.pod or _constraint_of(result) not in generated
    }
    findings = sorted(found, key=lambda f: (f.location, f.kind, f.member.policy, f.message, f.pod, f.constraint))
    errors = tuple(
        f"{_policy_name(each.policy)}: Gatekeeper does not take it: {each.reason}" for each in answer.refusals
    )
    return CheckResult(tuple(_without_echoes(findings)), tuple(objects), len(constraints), tuple(notes), errors)


def _policies(desired: DesiredState) -> tuple[list[DesiredObject], list[str]]:
    """Templates, and constraints as the API server stores them, that gator can judge by; notes on all policies."""
    mutators = [o for o in desired.objects if o.role is Role.MUTATOR]
    notes = [f"{_policy_name(o)}: mutations are not applied; manifests are judged as written" for o in mutators]
    blind = {
        o.ref.name for o in desired.objects if o.role is Role.TEMPLATE and _EXTERNAL in json.dumps(o.manifest["spec"])
    }
    schemas = {o.ref.name: ConstraintSchema.of(o.manifest) for o in desired.objects if o.role is Role.TEMPLATE}
    kept = []
    for wanted in desired.objects:
        if wanted.role is Role.CONSTRAINT and wanted.ref.kind.lower() in blind:
            notes.append(
                f"{_policy_name(wanted)}: it asks an external data provider, which gator cannot do, so it is not judged"
            )
        elif wanted.role is Role.CONSTRAINT:
            kept.append(replace(wanted, manifest=schemas[wanted.ref.kind.lower()].stored(wanted.manifest)))
        elif wanted.role is Role.TEMPLATE and wanted.ref.name not in blind:
            kept.append(wanted)
    return kept, [*notes, *_noted(desired)]


def _noted(desired: DesiredState) -> Iterator[str]:
    """What else is to be known of the policies, each once."""
    noted: dict[str, None] = {}
    for outcome in desired.outcomes:
        if isinstance(outcome, Rendered):
            noted.update(dict.fromkeys(f"{_policy_of(outcome.member)}: {note}" for note in outcome.notes))
    yield from noted


def _policy_name(wanted: DesiredObject) -> str:
    return _policy_of(wanted.members[0])


def _policy_of(member: Member) -> str:
    return f"policy {member.policy}"


def _cluster_scoped(manifests: Sequence[Manifest]) -> frozenset[str]:
    """Kinds without a namespace: Kubernetes' own, and those of definitions among the input."""
    definitions = [m.content.get("spec") for m in manifests if m.kind == "CustomResourceDefinition"]
    scoped = (s.get("names") for s in definitions if isinstance(s, dict) and s.get("scope") == "Cluster")
    return _CLUSTER_SCOPED | {str(names.get("kind")) for names in scoped if isinstance(names, dict)}


def _namespace(manifest: Manifest, default: str, cluster_scoped: frozenset[str]) -> str:
    if manifest.kind in cluster_scoped:
        return ""
    return str(manifest.metadata.get("namespace") or default)


@dataclass(frozen=True, slots=True)
class _Document:
    """What gator is given for an object: the object itself, or the pod that it would make."""

    judged: Judged
    content: Mapping[str, Any]
    pod: bool = False


def _documents(objects: Sequence[Judged]) -> Iterator[_Document]:
    for judged in objects:
        manifest = judged.manifest
        placed = {"namespace": judged.namespace} if judged.namespace else {}
        metadata = {k: v for k, v in manifest.metadata.items() if k != "namespace"} | placed
        # The server has made the name of what has but a generateName before anybody judges it.
        named = {**metadata, "name": manifest.metadata.get("name") or _made(manifest)}
        yield _Document(judged, {**manifest.content, "metadata": named})
        if pod := pod_of(manifest, judged.namespace):
            yield _Document(judged, pod, pod=True)


def _namespaces(objects: Sequence[Judged]) -> Iterator[Mapping[str, Any]]:
    """The namespaces of the objects that are not among them."""
    there = {judged.manifest.name for judged in objects if judged.manifest.kind == "Namespace"}
    for name in sorted({judged.namespace for judged in objects} - there - {""}):
        labels = {"kubernetes.io/metadata.name": name}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _made(manifest: Manifest) -> str:
    return f"{manifest.name}00000"


def _finding(result: Mapping[str, Any], document: _Document, constraints: Mapping[ObjectRef, DesiredObject]) -> Finding:
    """A result of gator as a finding."""
    judged, ref = document.judged, _constraint_of(result)
    return Finding(
        location=judged.manifest.location,
        kind=judged.manifest.kind,
        namespace=judged.namespace,
        name=judged.manifest.name,
        action=_ACTIONS.get(str(result.get("enforcementAction")), Action.AUDIT),
        member=constraints[ref].members[0],
        constraint=ref,
        message=str(result["msg"]),
        pod=document.pod,
    )


def _constraint_of(result: Mapping[str, Any]) -> ObjectRef:
    constraint = result["constraint"]
    return ObjectRef(CONSTRAINT_GROUP, constraint["kind"], constraint["metadata"]["name"])


def _without_echoes(findings: Sequence[Finding]) -> Iterator[Finding]:
    """A workload and its pod may break one rule alike; once is enough."""
    own = {(f.location, f.constraint, f.message) for f in findings if not f.pod}
    return (f for f in findings if not (f.pod and (f.location, f.constraint, f.message) in own))
