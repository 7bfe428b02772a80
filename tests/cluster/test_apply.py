"""`plan` and `apply`: what is printed is what is done, change by change, and a settled cluster is left in peace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import (
    RECORD,
    Azpolicy,
    all_constraints,
    all_enforced,
    constraints_of,
    edit,
    managed,
    pod,
    refusal,
    templates,
)
from tests.cluster.harness import AuditEvent, TestCluster, eventually
from tests.snapshots import CLUSTER_ID, FORBIDS_LABELS, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "snapshot"
KIND, OTHER, NEW = "K8sAzureV1PlannedLabel", "K8sAzureV1PlannedOther", "K8sAzureV1PlannedNew"
VERBS = {"create": "create", "replace": "update", "delete": "delete"}


class World:
    """Two definitions with a template each, assigned several times, and the command."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.azpolicy = self.command("applier")
        self.label = self.snapshot.define("label", self.bundle.write("planned-label/v1", KIND))
        self.other = self.snapshot.define("other", self.bundle.write("planned-other/v1", OTHER))
        for number in range(3):
            self.snapshot.assign(f"label-{number}", self.label, labels=["forbidden", f"label-{number}"])
        self.snapshot.assign("other", self.other)

    def command(self, user: str, **options: Any) -> Azpolicy:
        return Azpolicy(self.cluster, self.snapshot.folder, user=user, templates=self.bundle.folder, **options)

    def path_of(self, assignment: str) -> str:
        """The path of the one constraint that an assignment makes."""
        [path] = [
            path
            for path, live in all_constraints(self.cluster).items()
            if live["metadata"]["annotations"]["azure-policy-assignment-id"].endswith(f"/{assignment}")
        ]
        return path


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


def done(writes: list[AuditEvent]) -> dict[str, str]:
    """What was written, Kind-as-resource/name to verb, the record of the cluster's id apart."""
    assert all(event.code < 300 for event in writes), writes
    changes = {f"{e.resource}/{e.name}": e.verb for e in writes if e.resource != "configmaps"}
    assert len(changes) == len([e for e in writes if e.resource != "configmaps"]), "something was written twice"
    return changes


def planned(document: dict[str, Any]) -> dict[str, str]:
    """The writes of a plan in the same form."""
    return {
        f"{_resource(change['object']['kind'])}/{change['object']['name']}": VERBS[change["action"]]
        for change in document["changes"]
        if change["action"] in VERBS
    }


def _resource(kind: str) -> str:
    return "constrainttemplates" if kind == "ConstraintTemplate" else kind.lower()


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a JSON value by its path, lists as leaves."""
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, inner in value.items() for k, v in flat(inner, _below(path, key)).items()}


def _below(path: str, key: str) -> str:
    if "." in key:
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def projected(live: dict[str, Any]) -> dict[str, Any]:
    """A live object in the form that a plan's differences speak of."""
    metadata = live["metadata"]
    return {
        "labels": metadata.get("labels", {}),
        "annotations": metadata.get("annotations", {}),
        "spec": live["spec"],
    }


def change_much(world: World) -> None:
    """Creates, replaces and deletes, of templates and of constraints, from the source and by drift."""
    world.bundle.write("planned-label/v1", KIND, FORBIDS_LABELS.replace("is forbidden", "is not wanted"))
    new = world.snapshot.define("new", world.bundle.write("planned-new/v1", NEW))
    world.snapshot.assign("new", new, effect="Audit")
    world.snapshot.assign("label-0", world.label, effect="Audit")
    world.snapshot.remove("assignment-other")
    edit(world.cluster, world.path_of("label-1"), lambda live: live["metadata"].pop("labels"))
    edit(world.cluster, world.path_of("label-2"), lambda live: live["spec"]["match"].update(scope="Namespaced"))


def test_a_plan_equals_the_apply_that_follows(world: World) -> None:
    mark = world.cluster.audit_mark()
    first = world.azpolicy.plan()
    assert first.code == 1
    assert world.azpolicy.writes(mark) == []
    assert world.azpolicy.apply().code == 0
    assert planned(first.document()) == done(world.azpolicy.writes(mark))
    assert len(first.changes()) == 6
    change_much(world)
    mark = world.cluster.audit_mark()

    second = world.azpolicy.plan()
    assert world.azpolicy.writes(mark) == []
    before = _by_name(world)
    applied = world.azpolicy.apply()

    assert (second.code, applied.code) == (1, 0)
    changes = planned(second.document())
    assert sorted(changes.values()) == ["create"] * 2 + ["delete"] * 2 + ["update"] * 4
    assert changes == done(world.azpolicy.writes(mark))
    assert "2 create, 4 replace, 2 delete" in applied.out
    _differences_came_true(world, second.document(), before)
    assert world.azpolicy.plan().code == 0


def _by_name(world: World) -> dict[str, dict[str, Any]]:
    found = {f"constrainttemplates/{name}": live for name, live in templates(world.cluster).items()}
    found |= {"/".join(path.split("/")[-2:]): live for path, live in all_constraints(world.cluster).items()}
    return {name: projected(live) for name, live in found.items()}


def _differences_came_true(world: World, document: dict[str, Any], before: dict[str, dict[str, Any]]) -> None:
    """What a plan says that differs is what differs between the live objects before and after."""
    after = _by_name(world)
    replaced = [change for change in document["changes"] if change["action"] == "replace"]
    for change in replaced:
        name = f"{_resource(change['object']['kind'])}/{change['object']['name']}"
        old, new = flat(before[name]), flat(after[name])
        really = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
        told = {re.sub(r"\[\d+\].*", "", difference["path"]) for difference in change["differences"]}
        assert told == really, name


def test_a_settled_cluster_is_read_and_not_written(world: World) -> None:
    assert world.azpolicy.apply().code == 0
    mark = world.cluster.audit_mark()

    ended = world.azpolicy.apply()

    assert ended.code == 0
    assert "6 keep" in ended.out
    # Not even by a dry run: what the server adds to templates is told by their kind's schema.
    assert world.azpolicy.writes(mark, dry=True) == []
    assert any(event.user == world.azpolicy.user for event in world.cluster.audit_events(mark))


def test_exit_codes_tell_in_sync_from_changes_from_errors(world: World) -> None:
    assert world.azpolicy.plan().code == 1
    assert world.azpolicy("apply", "--dry-run").code == 1
    assert world.azpolicy.apply().code == 0
    assert world.azpolicy.plan().code == 0
    assert world.azpolicy("apply", "--dry-run").code == 0

    elsewhere = world.command("applier")
    elsewhere._options[1] = str(world.snapshot.folder / "no-kubeconfig")
    ended = elsewhere.plan()
    assert ended.code == 2
    assert "no-kubeconfig" in ended.err


def test_another_clusters_id_is_refused_once_one_is_recorded(world: World) -> None:
    assert world.azpolicy.apply().code == 0
    before = managed(world.cluster)
    assert world.cluster.get(RECORD)["data"] == {"cluster-id": CLUSTER_ID}
    other = Snapshot(world.snapshot.folder.with_name("other"), CLUSTER_ID.replace("crane", "winch"))
    stranger = Azpolicy(world.cluster, other.folder, user="stranger")
    mark = world.cluster.audit_mark()

    for ended in (stranger.plan(), stranger.apply("--force-prune")):
        assert ended.code == 2
        assert ended.err.startswith("error: this cluster")
        assert CLUSTER_ID in ended.err
    with stranger.operating(ready=False) as operator:
        assert operator.wait() == 2
        assert f"is recorded as {CLUSTER_ID}" in operator.text

    assert stranger.writes(mark, dry=True) == []
    assert managed(world.cluster) == before


READ_ONLY = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "azpolicy-reader"},
    "rules": [
        {
            "apiGroups": ["templates.gatekeeper.sh", "constraints.gatekeeper.sh", "mutations.gatekeeper.sh"],
            "resources": ["*"],
            "verbs": ["get", "list"],
        },
        {
            "apiGroups": ["syncset.gatekeeper.sh", "expansion.gatekeeper.sh"],
            "resources": ["*"],
            "verbs": ["get", "list"],
        },
        {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    ],
}
READ_ONLY_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "azpolicy-reader"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "azpolicy-reader"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "azpolicy-readers"}],
}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def readers(cluster: TestCluster) -> Iterator[str]:
    """A group that may read what azpolicy manages, and nothing else."""
    assert cluster.request("POST", f"{RBAC}/clusterroles", READ_ONLY)[0] == 201
    assert cluster.request("POST", f"{RBAC}/clusterrolebindings", READ_ONLY_BINDING)[0] == 201
    yield "azpolicy-readers"
    cluster.request("DELETE", f"{RBAC}/clusterroles/azpolicy-reader")
    cluster.request("DELETE", f"{RBAC}/clusterrolebindings/azpolicy-reader")


def test_a_plan_without_the_right_to_write_compares_as_written_and_says_so(world: World, readers: str) -> None:
    assert world.azpolicy.apply().code == 0
    path = world.path_of("label-0")
    edit(world.cluster, path, lambda live: live["spec"].update(enforcementAction="warn"))

    ended = world.command("reader", groups=[readers]).plan()

    assert ended.code == 1
    changes = [change for change in ended.document()["changes"] if change["action"] != "keep"]
    assert all("compared as written" in change["message"] for change in changes)
    assert all("forbidden" in change["message"] for change in changes)
    [constraint] = [change for change in changes if change["object"]["kind"] == KIND]
    assert constraint["object"]["name"] == path.rpartition("/")[2]
    assert [difference["path"] for difference in constraint["differences"]] == ["spec.enforcementAction"]


def test_an_apply_without_the_right_to_write_fails_object_by_object(world: World, readers: str) -> None:
    ended = world.command("reader", groups=[readers]).apply()

    assert ended.code == 2
    assert "forbidden" in ended.out + ended.err


def test_fields_that_the_kinds_schema_lacks_are_told_by_plan_and_outcome(world: World) -> None:
    values = {"labels": ["forbidden"], "unheardOf": {"deep": 1}}
    url = world.bundle.write("planned-other/v1", OTHER)
    world.snapshot.define("other", url, values=values)
    lost = "spec.parameters.unheardOf"

    applied, again, planned_after = world.azpolicy.apply(), world.azpolicy.apply(), world.azpolicy.plan()

    for out in (applied.out, again.out):
        [line] = [line for line in out.splitlines() if lost in line]
        assert OTHER in line
        assert "not enforced" in line
    [change] = [change for change in planned_after.document()["changes"] if change["droppedFields"]]
    assert change["droppedFields"] == [lost]
    assert planned_after.code == 0

    # A field that only the live object has is drift all the same.
    path = world.path_of("other")
    edit(world.cluster, path, lambda live: live["spec"]["parameters"].update(labels=["other"]))
    assert world.azpolicy.plan().code == 1


def test_the_examples_deny_and_admit_as_they_say(tidy: TestCluster) -> None:
    assert tidy.request("POST", "/api/v1/namespaces", _namespace("sandbox"))[0] in {201, 409}
    applied = Azpolicy(tidy, EXAMPLE, user="example-applier").apply()
    assert applied.code == 0, applied
    [name] = constraints_of(tidy, "K8sAzureV2ContainerAllowedImages")
    eventually(lambda: all_enforced(tidy), what="everything to be enforced")

    denied = refusal(tidy, pod("nginx:latest"))

    message = f"[{name}] Container image nginx:latest for container webserver has not been allowed."
    assert message in denied
    assert name.startswith("azurepolicy-k8sazurev2containerallowedimag-")
    assert len(name) == 63
    assert int(name[-20:], 16) >= 0
    assert denied == f'admission webhook "validation.gatekeeper.sh" denied the request: {message}'
    assert refusal(tidy, pod("registry.example.com/web:1")) == ""
    assert refusal(tidy, pod("nginx:latest"), namespace="sandbox") == ""
    assert "azurepolicy-k8sazurev2noprivilege-" in refusal(tidy, _privileged())
    tidy.request("DELETE", "/api/v1/namespaces/sandbox")


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _privileged() -> dict[str, Any]:
    manifest = pod("registry.example.com/web:1")
    manifest["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    return manifest


HUNDREDS = 300
STRANGE = "名前 ünï—<&>\"' ☃ \U0001f6a2"


def test_hundreds_of_constraints_with_strange_names_are_applied_and_settled(world: World) -> None:
    url = world.bundle.write("long/v1", "K8sAzureV1WithALongNameThatIsCutInThatOfItsConstraints")
    initiative_members = {f"{STRANGE} {number}": world.label for number in range(3)}
    world.snapshot.assign("strange", world.snapshot.initiative("strange", initiative_members))
    long_kind = world.snapshot.define("long", url)
    world.snapshot.assign("long", long_kind, labels=[STRANGE])
    for number in range(HUNDREDS):
        world.snapshot.assign(f"many-{number}", world.other, labels=[f"many-{number}"])

    assert world.azpolicy.apply().code == 0

    constraints = all_constraints(world.cluster)
    assert len(constraints) == HUNDREDS + 3 + 1 + 3 + 1
    reference = "azure-policy-definition-reference-id"
    marked = [live["metadata"]["annotations"][reference] for live in constraints.values()]
    assert {name for name in marked if name} == set(initiative_members)
    assert max(len(live["metadata"]["name"]) for live in constraints.values()) == 63
    mark = world.cluster.audit_mark()
    assert world.azpolicy.apply().code == 0
    assert world.azpolicy.writes(mark) == []
