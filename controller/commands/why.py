"""What `azpolicy why` reads: the text or the workload's own events, the policies, and the object that is to be fixed.

Everything is read, nothing is written. Of a cluster are needed: get of the workload and its owners, list of its events
and children, list of Gatekeeper's templates and constraints; the operator's last good state where it may be read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from controller.check.manifests import read_manifests
from controller.check.workloads import template_path
from controller.cluster.foreign import controller_of, mappings_at, text_at
from controller.cluster.inventory import take_inventory
from controller.cluster.kinds import Resource, kind_of
from controller.cluster.ownership import Ownership, ownership
from controller.cluster.written import Written
from controller.commands.session import connect, recall
from controller.errors import InputError
from controller.gatekeeper.expansion import EXPANSION_REFS
from controller.gatekeeper.model import DesiredObject, DesiredState
from controller.gatekeeper.naming import ASSIGNMENT_ID, DEFINITION_ID, INITIATIVE_ID, REFERENCE_ID
from controller.policy.model import Member
from controller.source import read_desired_state
from controller.why.answer import Known, Target, answer
from controller.why.denials import LONGEST, Subject, read_denials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import Inventory, LiveObject
    from controller.config import ClusterOptions, SourceOptions
    from controller.gatekeeper.naming import OwnershipMarks
    from controller.why.answer import Answer
    from controller.why.denials import Reading

STDIN: Final = "-"
_MOST_BYTES: Final = 4 * (LONGEST + 1)  # a character has four at most
_DEFAULT_NAMESPACE: Final = "default"
_MOST_OWNERS: Final = 3
# The kinds that make pods, with kubectl's short names.
_RESOURCES: Final = (
    (Resource("", "v1", "Pod", "pods"), "po"),
    (Resource("apps", "v1", "Deployment", "deployments"), "deploy"),
    (Resource("apps", "v1", "ReplicaSet", "replicasets"), "rs"),
    (Resource("apps", "v1", "StatefulSet", "statefulsets"), "sts"),
    (Resource("apps", "v1", "DaemonSet", "daemonsets"), "ds"),
    (Resource("batch", "v1", "Job", "jobs"), "job"),
    (Resource("batch", "v1", "CronJob", "cronjobs"), "cj"),
    (Resource("", "v1", "ReplicationController", "replicationcontrollers"), "rc"),
)
_BY_NAME: Final = {
    name: resource for resource, short in _RESOURCES for name in (short, resource.kind.lower(), resource.plural)
}
# Whose events say what became of a workload's pods, besides its own.
_CHILDREN: Final = {"Deployment": _BY_NAME["rs"], "CronJob": _BY_NAME["job"]}


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: a text, or a workload; `file` is the manifest of the object that was denied."""

    text: str | None
    workload: Subject | None
    namespace: str | None
    file: str | None


def question(arguments: Sequence[str], namespace: str | None, file: str | None, stdin: BinaryIO) -> Question:
    """The arguments as a question, `-` being what stands in `stdin`; InputError for none, or for two workloads."""
    texts = [each for each in arguments if _workload(each) is None]
    workloads = [found for each in arguments if (found := _workload(each))]
    if len(workloads) > 1:
        raise InputError("name one workload at a time")
    if not arguments and file is None:
        raise InputError("give what denied you: its text, - for standard input, or KIND/NAME -n NAMESPACE; or -f FILE")
    said = [stdin.read(_MOST_BYTES).decode("utf-8", "replace") if each == STDIN else each for each in texts]
    return Question("\n".join(said) if texts else None, workloads[0] if workloads else None, namespace, file)


def _workload(argument: str) -> Subject | None:
    """KIND/NAME as kubectl takes it, with a group or without."""
    kind, slash, name = argument.partition("/")
    resource = _BY_NAME.get(kind.lower().partition(".")[0])
    if not (slash and resource and name) or not all(c.isalnum() or c in "-." for c in name):
        return None
    return Subject(resource.kind, name)


async def why(question: Question, source: SourceOptions, cluster: ClusterOptions, gator: str | None) -> Answer:
    """The answer; InputError where the object is not there, ClusterError where the cluster does not answer.

    With a snapshot the cluster is asked for nothing but the workload that was named.
    """
    offline = source.snapshot is not None
    if offline and question.workload is None:
        reading = read_denials(question.text or "")
        known = await _of_snapshot(source)
        return answer(reading, known, _given(question, reading), gator)
    async with connect(cluster) as client:
        reading, target = await _asked(client, question)
        known = await (_of_snapshot(source) if offline else _of_cluster(client, source.marks))
    return answer(reading, known, target, gator)


async def _asked(client: KubeClient, question: Question) -> tuple[Reading, Target | None]:
    """What was said, by the text or by the workload's events, and the object that it is about."""
    if question.workload is None:
        reading = read_denials(question.text or "")
        target = _given(question, reading)
        if target is not None and text_at(target.content, "metadata", "uid") == "":
            return reading, target
        return reading, await _about(client, reading, question.namespace) or target
    about = replace(question.workload, namespace=question.namespace or _DEFAULT_NAMESPACE)
    content = await _get(client, about)
    if content is None:
        raise InputError(f"there is no {about.kind} {about.namespace}/{about.name}: give its namespace with -n")
    text = question.text if question.text is not None else await _told(client, content, about)
    reading = read_denials(text)
    given = _given(question, reading)
    return reading, given or Target(await _owner(client, content, about.namespace), about.namespace)


async def _about(client: KubeClient, reading: Reading, namespace: str | None) -> Target | None:
    """The workload that a text names, or that owns what it names; None where it is not known or not there."""
    if reading.subject is None or reading.subject.kind.lower() not in _BY_NAME:
        return None
    about = replace(reading.subject, namespace=reading.subject.namespace or namespace or _DEFAULT_NAMESPACE)
    content = await _get(client, about)
    return Target(await _owner(client, content, about.namespace), about.namespace) if content else None


def _given(question: Question, reading: Reading) -> Target | None:
    """The manifest that was given, or that was pasted."""
    content = _of_file(question.file, reading.subject) if question.file else reading.manifest
    if content is None:
        return None
    namespace = text_at(content, "metadata", "namespace") or question.namespace or _DEFAULT_NAMESPACE
    return Target(content, namespace)


def _of_file(file: str, subject: Subject | None) -> Mapping[str, Any]:
    found = [each.content for each in read_manifests([file]).manifests if template_path(each.content) is not None]
    if len(found) > 1 and subject is not None:
        found = [each for each in found if text_at(each, "metadata", "name") == subject.name] or found
    if len(found) != 1:
        raise InputError(f"{file}: it has {len(found)} workloads: give a file with the one that was denied")
    return found[0]


# --- the workload ----------------------------------------------------------------------------------------------------


async def _get(client: KubeClient, about: Subject) -> Mapping[str, Any] | None:
    resource = replace(_BY_NAME[about.kind.lower()], namespace=about.namespace)
    return await client.get(resource.path(about.name))


async def _owner(client: KubeClient, content: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    """What has to be changed: the topmost of the workloads that control an object."""
    for _ in range(_MOST_OWNERS):
        controller = controller_of(content)
        kind = text_at(controller, "kind")
        if kind.lower() not in _BY_NAME:
            break
        above = await _get(client, Subject(kind, text_at(controller, "name"), namespace))
        if above is None:
            break
        content = above
    return content


async def _told(client: KubeClient, content: Mapping[str, Any], about: Subject) -> str:
    """What the conditions and events of a workload and of its newest child say."""
    objects = [content, *await _newest_child(client, content, about)]
    said = [text_at(each, "message") for one in objects for each in mappings_at(one, "status", "conditions")]
    for each in objects:
        uid = text_at(each, "metadata", "uid")
        events = await client.list_all(f"/api/v1/namespaces/{about.namespace}/events", f"involvedObject.uid={uid}")
        said += [text_at(event, "message") for event in (events[0] if events else ())]
    return "\n".join(dict.fromkeys(said))


async def _newest_child(
    client: KubeClient, content: Mapping[str, Any], about: Subject
) -> tuple[Mapping[str, Any], ...]:
    resource = _CHILDREN.get(about.kind)
    if resource is None:
        return ()
    listed = await client.list_all(replace(resource, namespace=about.namespace).path())
    uid = text_at(content, "metadata", "uid")
    own = [
        each
        for each in (listed[0] if listed else ())
        if any(text_at(o, "uid") == uid for o in mappings_at(each, "metadata", "ownerReferences"))
    ]
    return tuple(sorted(own, key=lambda each: text_at(each, "metadata", "creationTimestamp"))[-1:])


# --- the policies ----------------------------------------------------------------------------------------------------


async def _of_snapshot(source: SourceOptions) -> Known:
    return Known(await read_desired_state(source), f"snapshot {source.snapshot}")


async def _of_cluster(client: KubeClient, marks: OwnershipMarks) -> Known:
    """The operator's last good state, else what stands in the cluster; since when is the live objects' to say."""
    inventory = await take_inventory(client, ())
    since = {
        live.ref.name: text_at(live.manifest, "metadata", "creationTimestamp") for live in inventory.objects.values()
    }
    written = Written()
    await recall(client, marks, written, None)
    if written.desired is not None:
        return Known(written.desired, "the operator's last good state", since)
    return Known(_live_state(inventory, marks), f"the constraints in the cluster {client.server}", since)


def _live_state(inventory: Inventory, marks: OwnershipMarks) -> DesiredState:
    """What Gatekeeper enforces of ours, with the ids that the objects carry."""
    ours = (
        live
        for live in inventory.objects.values()
        if live.ref.kind == "ConstraintTemplate" or live.ref.kind in inventory.served or live.ref in EXPANSION_REFS
        if ownership(live, marks) is Ownership.OURS
    )
    return DesiredState("", tuple(map(_as_desired, ours)), (), frozenset())


def _as_desired(live: LiveObject) -> DesiredObject:
    manifest: dict[str, Any] = {
        "apiVersion": text_at(live.manifest, "apiVersion"),
        "kind": live.ref.kind,
        "metadata": {"name": live.ref.name, "annotations": dict(live.annotations)},
        "spec": live.manifest.get("spec") or {},
    }
    member = Member(
        assignment_id=live.annotations.get(ASSIGNMENT_ID, ""),
        definition_id=live.annotations.get(DEFINITION_ID, ""),
        initiative_id=live.annotations.get(INITIATIVE_ID, ""),
        reference_id=live.annotations.get(REFERENCE_ID, ""),
    )
    return DesiredObject.of(kind_of(live.ref).role, manifest, (member,))
