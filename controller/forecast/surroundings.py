"""What decides over a pod beside its policies, and the policies that the cluster itself has: read from the cluster."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from controller.azure.model import fold
from controller.cluster.foreign import list_at, mapping_at, mappings_at, text_at, text_map_at, texts_at
from controller.cluster.inventory import GatekeeperMissing, take_inventory
from controller.cluster.kinds import ASSIGNED_POLICY, kind_of
from controller.cluster.ownership import Ownership, ownership
from controller.forecast.verdicts import Surroundings
from controller.gatekeeper.model import DesiredObject, DesiredState, Role
from controller.gatekeeper.naming import ASSIGNMENT_ID, DEFINITION_ID, INITIATIVE_ID, REFERENCE_ID
from controller.policy.model import Member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from controller.cluster.client import KubeClient
    from controller.cluster.kinds import Inventory, LiveObject
    from controller.gatekeeper.naming import OwnershipMarks

_IGNORE: Final = "admission.gatekeeper.sh/ignore"
_WEBHOOK: Final = frozenset({"webhook", "*"})
_CONFIGS: Final = "/apis/config.gatekeeper.sh/v1alpha1/configs"


async def read_surroundings(
    client: KubeClient, desired: DesiredState | None, marks: OwnershipMarks
) -> tuple[DesiredState, Surroundings]:
    """The desired state, which is the cluster's own where none is given, and what decides beside it; ClusterError.

    Mutators of others count as well as those that are desired; where there is no Gatekeeper yet there are none.
    """
    try:
        inventory = await take_inventory(client, ())
    except GatekeeperMissing:
        if desired is None:
            raise
        inventory = None
    if desired is None and inventory is not None:
        desired = await _own_state(client, inventory, marks)
    assert desired is not None
    namespaces = {text_at(each, "metadata", "name"): each async for each in client.items("/api/v1/namespaces")}
    excluded = [pattern async for pattern in _excluded(client)]
    skipped = {name: why for name, each in namespaces.items() if (why := _skipped(name, each, excluded))}
    documents = {name: _document(name, each) for name, each in namespaces.items()}
    return desired, Surroundings(documents, skipped, tuple(_mutators(desired, inventory, marks)))


async def _own_state(client: KubeClient, inventory: Inventory, marks: OwnershipMarks) -> DesiredState:
    """What azpolicy enforces in the cluster, with the names that its reports have."""
    listed = await client.list_live(ASSIGNED_POLICY)
    names = {_key(each): each for each in (listed[0] if listed else ())}
    objects = [
        _own(live, names)
        for live in inventory.objects.values()
        if not live.deleting and ownership(live, marks) is Ownership.OURS
    ]
    return DesiredState("", tuple(objects), (), frozenset())


def _key(report: LiveObject) -> tuple[str, str, str]:
    spec = mapping_at(report.manifest, "spec")
    ids = (text_at(spec, "assignment", "id"), text_at(spec, "referenceId"), text_at(spec, "definition", "id"))
    return fold(ids[0]), ids[1].casefold(), fold(ids[2])


def _own(live: LiveObject, names: Mapping[tuple[str, str, str], LiveObject]) -> DesiredObject:
    ids = {key: live.annotations.get(key, "") for key in (ASSIGNMENT_ID, REFERENCE_ID, DEFINITION_ID, INITIATIVE_ID)}
    key = fold(ids[ASSIGNMENT_ID]), ids[REFERENCE_ID].casefold(), fold(ids[DEFINITION_ID])
    spec = mapping_at(names[key].manifest, "spec") if key in names else {}
    member = Member(
        ids[ASSIGNMENT_ID],
        ids[DEFINITION_ID],
        ids[INITIATIVE_ID],
        ids[REFERENCE_ID],
        assignment_name=text_at(spec, "assignment", "displayName"),
        definition_name=text_at(spec, "definition", "displayName"),
        initiative_name=text_at(spec, "initiative", "displayName"),
        version=text_at(spec, "definition", "version"),
    )
    return DesiredObject.of(kind_of(live.ref).role, _judged_by(live), (member,))


def _judged_by(live: LiveObject) -> dict[str, Any]:
    """The part of a live policy that decides."""
    return {
        "apiVersion": live.manifest["apiVersion"],
        "kind": live.ref.kind,
        "metadata": {"name": live.ref.name},
        "spec": live.manifest.get("spec") or {},
    }


def _mutators(desired: DesiredState, inventory: Inventory | None, marks: OwnershipMarks) -> Iterator[Mapping[str, Any]]:
    """Those that are desired, and those of others in the cluster."""
    yield from (each.manifest for each in desired.objects if each.role is Role.MUTATOR)
    for live in inventory.objects.values() if inventory else ():
        foreign = ownership(live, marks) is not Ownership.OURS
        if kind_of(live.ref).role is Role.MUTATOR and foreign and not live.deleting:
            yield _judged_by(live)


async def _excluded(client: KubeClient) -> Any:
    """Patterns of the namespaces that Gatekeeper's Config keeps from its webhook.

    https://open-policy-agent.github.io/gatekeeper/website/docs/exempt-namespaces
    """
    async for config in client.items(_CONFIGS):
        for match in mappings_at(config, "spec", "match"):
            if _WEBHOOK & set(texts_at(match, "processes")):
                for pattern in list_at(match, "excludedNamespaces"):
                    yield str(pattern)


def _skipped(name: str, namespace: Mapping[str, Any], excluded: list[str]) -> str:
    """Why Gatekeeper's webhook does not look at a namespace, empty where it does."""
    if _IGNORE in text_map_at(namespace, "metadata", "labels"):
        return f"Gatekeeper does not look at its namespace, which has the label {_IGNORE}"
    if any(fnmatchcase(name, pattern) for pattern in excluded):
        return "Gatekeeper does not look at its namespace, which its Config excludes"
    return ""


def _document(name: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    labels = dict(text_map_at(namespace, "metadata", "labels"))
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
