"""Drift: whatever somebody changes of what is ours, the running operator puts back exactly, and nothing else.

One operator for all tests. Each edits a constraint of its own: an object that is edited again and again is a fight.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.azpolicy import (
    CONSTRAINTS,
    CRDS,
    MUTATORS,
    TEMPLATES,
    Azpolicy,
    Operator,
    all_enforced,
    constraints_of,
    edit,
    managed,
    pod,
    projection,
    refusal,
)
from tests.cluster.harness import TestCluster, eventually
from tests.snapshots import Snapshot, TemplateFolder

KIND = "K8sAzureV1DriftLabel"
TEMPLATE = f"{TEMPLATES}/{KIND.lower()}"
OTHERS = ("K8sAzureV1DriftLabelB", "K8sAzureV1DriftLabelC", "K8sAzureV1DriftLabelD", "K8sAzureV1DriftLabelE")
CONSTRAINTS_OF_ALL_TESTS = 30
Edit = Callable[[dict[str, Any]], object]


class World:
    """A cluster that one operator keeps in order."""

    def __init__(self, cluster: TestCluster, azpolicy: Azpolicy, operator: Operator) -> None:
        self.cluster, self.azpolicy, self.operator = cluster, azpolicy, operator
        self.before = managed(cluster)
        self._unused = iter(sorted(constraints_of(cluster, KIND)))
        self._templates = iter(OTHERS)

    def constraint(self) -> str:
        """The path of a constraint that no test has touched."""
        return f"{CONSTRAINTS}/{KIND.lower()}/{next(self._unused)}"

    def template(self) -> str:
        """A kind whose template and one constraint no test has touched."""
        return next(self._templates)

    def now(self, path: str) -> dict[str, Any] | None:
        status, live = self.cluster.request("GET", path)
        return projection(live) if status == 200 else None

    def restored(self, path: str, timeout: float = 10) -> None:
        """Waits until an object is exactly what it was."""
        eventually(lambda: self.now(path) == self.before[path], timeout, f"{path} to be restored")

    def give_back(self, path: str) -> None:
        """Takes away what a test added to an object in the name of others."""
        edit(self.cluster, path, lambda live: live["metadata"].update(**self.before[path]["metadata"]))
        assert self.now(path) == self.before[path]

    def all_restored(self, timeout: float = 30) -> None:
        eventually(lambda: managed(self.cluster) == self.before, timeout, "everything to be restored")


@pytest.fixture(scope="module")
def world(tidy_module: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("drift")
    bundle, snapshot = TemplateFolder(folder / "templates"), Snapshot(folder / "snapshot")
    definition = snapshot.define("drift", bundle.write("drift-label/v1", KIND))
    for number in range(CONSTRAINTS_OF_ALL_TESTS):
        snapshot.assign(f"drift-{number}", definition, labels=["forbidden", f"label-{number}"])
    for kind in OTHERS:
        of = snapshot.define(kind.lower(), bundle.write(f"{kind.lower()}/v1", kind))
        snapshot.assign(kind.lower(), of, labels=[f"only-{kind.lower()}"])
    mutation = snapshot.define("gives-a-label", bundle.write_mutation("gives-a-label/v1", "givesalabel", "given"))
    snapshot.assign("gives-a-label", mutation, effect="mutate")
    azpolicy = Azpolicy(tidy_module, snapshot.folder, user="drift-operator", templates=bundle.folder)
    applied = azpolicy.apply()
    assert applied.code == 0, applied
    with azpolicy.operating() as operator:
        eventually(lambda: operator.syncs, what="the first sync")
        yield World(tidy_module, azpolicy, operator)


def spec(**changes: Any) -> Edit:
    return lambda live: live["spec"].update(changes)


def drop(*path: str) -> Edit:
    def change(live: dict[str, Any]) -> None:
        *inner, last = path
        for key in inner:
            live = live[key]
        del live[last]

    return change


def both(*edits: Edit) -> Edit:
    return lambda live: [change(live) for change in edits]


def metadata(field: str, **entries: str) -> Edit:
    return lambda live: live["metadata"][field].update({key.replace("_", "-"): v for key, v in entries.items()})


EDITS: dict[str, Edit] = {
    "a changed field": spec(enforcementAction="dryrun"),
    "a changed parameter": spec(parameters={"labels": ["other"]}),
    "a changed order": lambda live: live["spec"]["match"]["excludedNamespaces"].reverse(),
    "an added field": lambda live: live["spec"]["match"].update(namespaces=["nowhere"]),
    "an added namespace in a list": lambda live: live["spec"]["match"]["excludedNamespaces"].append("mine"),
    "an added field beside match": spec(scopedEnforcementActions=[{"action": "warn", "enforcementPoints": []}]),
    "a removed field": drop("spec", "match", "excludedNamespaces"),
    "removed parameters": drop("spec", "parameters"),
    "a removed spec": drop("spec"),
    "a stripped label": drop("metadata", "labels"),
    "another owner in the label": metadata("labels", managed_by="somebody"),
    "a stripped annotation": drop("metadata", "annotations", "azure-policy-assignment-id"),
    "all annotations stripped": drop("metadata", "annotations"),
    "a changed annotation": metadata("annotations", azure_policy_definition_id="/other"),
    "an added annotation with a key of ours": metadata("annotations", azure_policy_extra="yes"),
    "labels and annotations stripped": both(drop("metadata", "labels"), drop("metadata", "annotations")),
    "every mark and our managedFields stripped": both(
        drop("metadata", "labels"),
        drop("metadata", "annotations"),
        lambda live: live["metadata"].update(managedFields=[{}]),
        spec(enforcementAction="dryrun"),
    ),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_an_edited_constraint_is_restored_exactly(world: World, change: Edit) -> None:
    path = world.constraint()

    edited = edit(world.cluster, path, change)

    assert projection(edited) != world.before[path]
    world.restored(path)


TEMPLATE_EDITS: dict[str, Edit] = {
    "Rego that lets everything pass": lambda live: live["spec"]["targets"][0].update(
        rego=f'package {KIND.lower()}\n\nviolation[{{"msg": "never"}}] {{ false }}\n'
    ),
    "a parameter added to the schema": lambda live: live["spec"]["crd"]["spec"]["validation"]["openAPIV3Schema"][
        "properties"
    ].update(more={"type": "string"}),
    "labels and annotations stripped": both(drop("metadata", "labels"), drop("metadata", "annotations")),
    "another's definition id": metadata("annotations", azure_policy_definition_id_2="/more"),
}


@pytest.mark.parametrize("change", TEMPLATE_EDITS.values(), ids=TEMPLATE_EDITS)
def test_an_edited_template_is_restored_exactly_and_denies_again(world: World, change: Edit) -> None:
    edited = edit(world.cluster, TEMPLATE, change)

    assert projection(edited) != world.before[TEMPLATE]
    world.restored(TEMPLATE)
    eventually(lambda: refusal(world.cluster, pod(forbidden="yes")), what="a refused pod")


def test_an_edited_mutator_is_restored_exactly(world: World) -> None:
    [path] = [path for path in world.before if path.startswith(MUTATORS)]

    edit(world.cluster, path, lambda live: live["spec"]["parameters"]["assign"].update(value="taken"))

    world.restored(path)


METHODS: dict[str, tuple[str, str, Any]] = {
    "a merge patch": ("", "application/merge-patch+json", {"spec": {"enforcementAction": "dryrun"}}),
    "a JSON patch": (
        "",
        "application/json-patch+json",
        [{"op": "add", "path": "/spec/match/excludedNamespaces/-", "value": "mine"}],
    ),
    "a forced server-side apply": (
        "&force=true",
        "application/apply-patch+yaml",
        {
            "apiVersion": "constraints.gatekeeper.sh/v1beta1",
            "kind": KIND,
            "spec": {"enforcementAction": "warn", "match": {"scope": "Cluster"}},
        },
    ),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_it_does_not_matter_how_an_edit_is_made(world: World, method: tuple[str, str, Any]) -> None:
    path = world.constraint()
    query, content_type, body = method
    if isinstance(body, dict):
        body = body | {"metadata": {"name": path.rpartition("/")[2]}}

    status, edited = world.cluster.request("PATCH", f"{path}?fieldManager=helm{query}", body, content_type=content_type)

    assert status == 200, edited
    assert projection(edited) != world.before[path]
    world.restored(path)


def test_a_deleted_constraint_is_made_again(world: World) -> None:
    path = world.constraint()
    uid = world.cluster.get(path)["metadata"]["uid"]

    world.cluster.request("DELETE", path)

    world.restored(path)
    assert world.cluster.get(path)["metadata"]["uid"] != uid


def test_constraints_deleted_all_at_once_are_made_again(world: World) -> None:
    kind = world.template()
    status, _ = world.cluster.request("DELETE", f"{CONSTRAINTS}/{kind.lower()}")

    assert status == 200
    world.all_restored()


def test_a_deleted_mutator_is_made_again(world: World) -> None:
    [path] = [path for path in world.before if path.startswith(MUTATORS)]
    uid = world.cluster.get(path)["metadata"]["uid"]

    world.cluster.request("DELETE", path)

    eventually(lambda: world.cluster.get(path)["metadata"]["uid"] != uid, what="the mutator to be made again")
    world.restored(path)


def test_a_deleted_template_comes_back_with_its_kind_and_its_constraints(world: World) -> None:
    kind = world.template()
    path, crd = f"{TEMPLATES}/{kind.lower()}", f"{CRDS}/{kind.lower()}.constraints.gatekeeper.sh"
    uids = [world.cluster.get(where)["metadata"]["uid"] for where in (path, crd)]

    world.cluster.request("DELETE", path)

    eventually(lambda: world.cluster.get(crd)["metadata"]["uid"] not in uids, what="a new CRD")
    world.all_restored()
    assert world.cluster.get(path)["metadata"]["uid"] not in uids
    eventually(lambda: refusal(world.cluster, pod(**{f"only-{kind.lower()}": "x"})), what="a refused pod")


def test_a_template_with_many_constraints_comes_back_with_all_of_them(world: World) -> None:
    before = len(constraints_of(world.cluster, KIND))

    world.cluster.request("DELETE", TEMPLATE)

    eventually(lambda: len(constraints_of(world.cluster, KIND)) < before, what="the constraints to go")
    world.all_restored()


def test_a_deleted_crd_comes_back_with_its_constraints(world: World) -> None:
    kind = world.template()
    crd = f"{CRDS}/{kind.lower()}.constraints.gatekeeper.sh"
    uid = world.cluster.get(crd)["metadata"]["uid"]

    world.cluster.request("DELETE", crd)

    eventually(lambda: world.cluster.get(crd)["metadata"]["uid"] != uid, what="a new CRD")
    world.all_restored()
    eventually(lambda: refusal(world.cluster, pod(**{f"only-{kind.lower()}": "x"})), what="a refused pod")


def test_what_others_add_to_an_object_stays(world: World) -> None:
    path = world.constraint()
    theirs = {"labels": {"team": "harbour"}, "annotations": {"example.com/note": "kept"}}

    def change(live: dict[str, Any]) -> None:
        for field, entries in theirs.items():
            live["metadata"][field].update(entries)
        live["spec"]["enforcementAction"] = "dryrun"

    edit(world.cluster, path, change)

    wanted = copy.deepcopy(world.before[path])
    for field, entries in theirs.items():
        wanted["metadata"][field].update(entries)
    eventually(lambda: world.now(path) == wanted, what="the action to be restored and the rest to stay")
    world.give_back(path)


def test_a_finalizer_does_not_keep_a_deleted_constraint_from_coming_back(world: World) -> None:
    # Gatekeeper forgets an object as soon as its deletion begins, so a finalizer would switch it off for good.
    kind = world.template()
    [name] = constraints_of(world.cluster, kind)
    path = f"{CONSTRAINTS}/{kind.lower()}/{name}"
    forbidden = pod(**{f"only-{kind.lower()}": "x"})
    assert refusal(world.cluster, forbidden)
    uid = world.cluster.get(path)["metadata"]["uid"]
    edit(world.cluster, path, lambda live: live["metadata"].update(finalizers=["example.com/hold"]), manager="mallory")
    world.cluster.request("DELETE", path)

    eventually(lambda: world.now(path) == world.before[path], what="the constraint to be made again")
    eventually(lambda: refusal(world.cluster, forbidden), what="the pod to be denied again")
    again = world.cluster.get(path)["metadata"]
    assert again["uid"] != uid
    assert "deletionTimestamp" not in again
    world.operator.wait_log(f"{kind}/{name} cause=drift")


@pytest.mark.parametrize("hold", ["finalizers", "ownerReferences"])
def test_what_decides_over_an_objects_end_is_taken_off(world: World, hold: str) -> None:
    path = world.constraint()
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "default"}
    owner["uid"] = world.cluster.get("/api/v1/namespaces/default")["metadata"]["uid"]
    edit(
        world.cluster,
        path,
        lambda live: live["metadata"].update({hold: ["example.com/x"] if hold == "finalizers" else [owner]}),
    )

    eventually(lambda: hold not in world.cluster.get(path)["metadata"], what=f"{hold} to be taken off")


def test_what_is_anothers_alone_is_no_reason_to_write(world: World) -> None:
    path, sentinel = world.constraint(), world.constraint()
    mark = world.cluster.audit_mark()

    edit(world.cluster, path, lambda live: live["metadata"]["labels"].update(team="pier"))
    edit(world.cluster, sentinel, spec(enforcementAction="dryrun"))
    world.restored(sentinel)

    assert {event.name for event in world.azpolicy.writes(mark, dry=True)} == {sentinel.rpartition("/")[2]}
    world.give_back(path)


def test_a_repair_is_logged_with_what_differed_and_counted(world: World) -> None:
    path = world.constraint()
    before = world.operator.metric("azpolicy_drift_repaired_total")

    edit(world.cluster, path, spec(enforcementAction="dryrun"), manager="somebodys-tool")
    world.restored(path)

    name = path.rpartition("/")[2]
    world.operator.wait_log(f"replaced {KIND}/{name} cause=drift differed='spec.enforcementAction changed'")
    [line] = [line for line in world.operator.text.splitlines() if f"replaced {KIND}/{name}" in line]
    assert "editor='somebodys-tool" in line
    eventually(lambda: world.operator.metric("azpolicy_drift_repaired_total") > before, what="the repair to be counted")


def test_edits_of_many_objects_at_once_are_all_put_back(world: World) -> None:
    paths = sorted(path for path in world.before if path.startswith(f"{CONSTRAINTS}/{KIND.lower()}/"))

    for path in paths:
        edit(world.cluster, path, spec(enforcementAction="dryrun", parameters={"labels": []}))

    world.all_restored()
    eventually(lambda: all_enforced(world.cluster), what="all of them to be enforced")
