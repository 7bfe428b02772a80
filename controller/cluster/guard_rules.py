"""The parts of Gatekeeper besides its kinds and its rights, and what follows from the state of each. Pure.

Nothing but a deletion is undone, and what keeps the API server from asking: whatever else stands there is Gatekeeper as
its administrator wants it, and is remembered as that, so an upgrade is never fought.

| remembered | there now                                      | what follows                    |
|------------|------------------------------------------------|---------------------------------|
| either     | yes, and it does something                     | remembered as it is now         |
| either     | yes, but no part of Gatekeeper any more        | forgotten                       |
| either     | yes, but it is being deleted                   | nothing yet                     |
| either     | a Deployment of no replicas                    | nothing: its scale is its own   |
| yes        | a webhook configuration without any rule       | emptied: its webhooks come back |
| yes        | one with a fault that the remembered has not   | as emptied                      |
| yes        | another one, and it is seen not to enforce     | as emptied                      |
| yes        | another one, and nobody has looked yet         | nothing yet                     |
| no         | one that has the API server ask about nothing  | nothing                         |
| yes        | no                                             | deleted: it is made again       |

Faults are those of `controller.cluster.webhooks`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from controller.bounded_json import read_bounded
from controller.cluster.foreign import list_at, mapping_at, mappings_at, text_at, value_at
from controller.cluster.kinds import LiveObject, Resource
from controller.cluster.webhooks import MUTATION, VALIDATION, content, judge
from controller.gatekeeper.naming import GATEKEEPER_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from controller.gatekeeper.model import ObjectRef

Manifest: TypeAlias = "Mapping[str, Any]"

_SYSTEM: Final = "gatekeeper.sh/system"
_REVISION: Final = "deployment.kubernetes.io/revision"
SERVICE: Final = Resource("", "v1", "Service", "services", namespace=GATEKEEPER_NAMESPACE)
DEPLOYMENT: Final = Resource("apps", "v1", "Deployment", "deployments", namespace=GATEKEEPER_NAMESPACE)
_ADMISSION: Final = "admissionregistration.k8s.io"
VALIDATING: Final = Resource(_ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
MUTATING: Final = Resource(_ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
# In the order in which they are made again: a webhook that nobody answers may refuse requests.
GUARDED: Final = (SERVICE, DEPLOYMENT, VALIDATING, MUTATING)
_NAMED: Final = {
    VALIDATING: "gatekeeper-validating-webhook-configuration",
    MUTATING: "gatekeeper-mutating-webhook-configuration",
}
_HOOKS: Final = {VALIDATING: VALIDATION, MUTATING: MUTATION}
_BY_KIND: Final = {(each.group, each.kind): each for each in GUARDED}


def resource_of(ref: ObjectRef) -> Resource:
    """The collection that a guarded object is in; KeyError for any other."""
    return _BY_KIND[ref.group, ref.kind]


def service_account(deployment: Manifest) -> str:
    """The ServiceAccount of a Deployment's pods."""
    return text_at(deployment, "spec", "template", "spec", "serviceAccountName", default="default")


def is_component(live: LiveObject) -> bool:
    """Whether an object is a part of Gatekeeper, and nobody's else to bring back: what has an owner is its owner's."""
    resource = resource_of(live.ref)
    if live.metadata.get("ownerReferences") or live.metadata.get("namespace", "") != resource.namespace:
        return False
    name = _NAMED.get(resource)
    return live.ref.name == name if name else live.labels.get(_SYSTEM) == "yes"


def does_nothing(live: LiveObject) -> bool:
    """Whether an object is there and does as little as if it were not."""
    if live.ref.group == _ADMISSION:
        return not any(webhook.get("rules") for webhook in mappings_at(live.manifest, "webhooks"))
    return resource_of(live.ref) is DEPLOYMENT and value_at(live.manifest, "spec", "replicas") == 0


def restorable(live: LiveObject) -> Manifest:
    """What brings an object back: all of it but what the server and its controllers keep in it."""
    kept = {key: live.metadata[key] for key in ("name", "namespace", "labels") if live.metadata.get(key)}
    if annotations := {key: value for key, value in live.annotations.items() if key != _REVISION}:
        kept["annotations"] = annotations
    said = {key: live.manifest[key] for key in ("apiVersion", "kind", "spec", "webhooks") if key in live.manifest}
    if resource_of(live.ref) is SERVICE:
        said["spec"] = _without_addresses(mapping_at(said, "spec"))
    return {**said, "metadata": kept}


def _without_addresses(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Service without what the cluster gave it, which another may have by now."""
    given = {"healthCheckNodePort"} | (set() if spec.get("clusterIP") == "None" else {"clusterIP", "clusterIPs"})
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in mappings_at(spec, "ports")]
    return {**{key: value for key, value in spec.items() if key not in given}, "ports": ports}


class Standing(Enum):
    """What becomes of a webhook configuration that is there."""

    GOOD = "it is remembered"
    UNPROVEN = "it is neither remembered nor replaced"
    WORSE = "what is remembered comes back"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What else tells of webhook configurations.

    `kinds` are the groups and kinds that policies look at, None while they are not known. `proven` says of a validating
    configuration's content whether it was seen to enforce; None where nobody has looked yet.
    """

    kinds: Mapping[Resource, Collection[tuple[str, str]]] | None = field(default_factory=dict)
    proven: Callable[[str], bool | None] = lambda _: True


def standing(live: LiveObject, remembered: Manifest | None, evidence: Evidence) -> Standing:
    """The rows of the table that are about one that is there, healthy and not being deleted."""
    resource = resource_of(live.ref)
    if resource not in _HOOKS:
        return Standing.GOOD
    kinds = (evidence.kinds or {}).get(resource, ())
    now = judge(live.manifest, _HOOKS[resource], kinds)
    if remembered is None:
        return Standing.UNPROVEN if now.defects else Standing.GOOD
    if content(live.manifest) == content(remembered):
        return Standing.GOOD
    if now.faults - judge(remembered, _HOOKS[resource], kinds).faults:
        return Standing.WORSE
    if evidence.kinds is None:
        return Standing.UNPROVEN
    proven = evidence.proven(content(live.manifest)) if resource is VALIDATING else True
    return {True: Standing.GOOD, False: Standing.WORSE, None: Standing.UNPROVEN}[proven]


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a look at Gatekeeper; `lost` has to be restored, each with what is left of it."""

    good: Mapping[ObjectRef, Manifest]
    lost: Mapping[ObjectRef, LiveObject | None] = field(default_factory=dict)


def compared(good: Mapping[ObjectRef, Manifest], there: Iterable[LiveObject], evidence: Evidence | None = None) -> Look:
    """The table of this module."""
    live = {each.ref: each for each in there}
    kept = {ref: manifest for ref, manifest in good.items() if ref not in live or is_component(live[ref])}
    stand = {
        ref: standing(each, kept.get(ref), evidence or Evidence()) for ref, each in live.items() if is_healthy(each)
    }
    working = {ref: restorable(live[ref]) for ref, its in stand.items() if its is Standing.GOOD}
    lost = [ref for ref in kept if ref not in live or _emptied(live[ref]) or stand.get(ref) is Standing.WORSE]
    return Look({**kept, **working}, {ref: live.get(ref) for ref in sorted(lost, key=_order)})


def is_healthy(live: LiveObject) -> bool:
    """Whether an object is as a part of Gatekeeper is to be remembered."""
    return is_component(live) and not live.deleting and not does_nothing(live) and not live.cut


def _emptied(live: LiveObject) -> bool:
    return live.ref.group == _ADMISSION and not live.deleting and does_nothing(live)


def _order(ref: ObjectRef) -> tuple[int, str]:
    return GUARDED.index(resource_of(ref)), ref.name


def load(text: str) -> dict[ObjectRef, Manifest]:
    """The recorded parts; ValueError for anything that is not a part of Gatekeeper."""
    good: dict[ObjectRef, Manifest] = {}
    try:
        manifests, cut = read_bounded(text.encode())
        if cut:
            raise ValueError("it is nested too deeply")
        for manifest in manifests:
            group = manifest["apiVersion"].rpartition("/")[0]
            live = LiveObject.of(_BY_KIND[group, manifest["kind"]], manifest)
            if not is_healthy(live) or restorable(live) != manifest or not _well_formed(manifest):
                raise ValueError(
                    f"{live.ref} does not have the form in which this version records a part of Gatekeeper"
                )
            good[live.ref] = manifest
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not a list of parts of Gatekeeper: {error!r}") from error
    return good


def _well_formed(manifest: Manifest) -> bool:
    """Whether all that this version looks at is there, as it would be made again."""
    if not isinstance(value_at(manifest, "metadata", "name"), str):
        return False
    if manifest["kind"] == DEPLOYMENT.kind:
        return isinstance(value_at(manifest, "spec", "template", "spec"), dict)
    return all(_calls_somebody(webhook) for webhook in list_at(manifest, "webhooks"))


def _calls_somebody(webhook: Any) -> bool:
    client = value_at(webhook, "clientConfig")
    return isinstance(client, dict) and isinstance(client.get("service", {}), dict)


def dump(good: Mapping[ObjectRef, Manifest]) -> str:
    """The text that `read` reads: the same for the same objects."""
    return json.dumps([good[ref] for ref in sorted(good)], sort_keys=True, indent=1)
