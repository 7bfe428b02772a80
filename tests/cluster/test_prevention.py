"""Prevention: what azpolicy manages cannot be changed by anybody else, and nothing else is held up by it."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.azure.standin import Standin
from tests.cluster.azpolicy import (
    COMMAND,
    CRDS,
    EXPANSIONS,
    MUTATORS,
    TEMPLATES,
    Azpolicy,
    all_constraints,
    environ,
    managed,
    pod,
    projection,
    refusal,
    wipe,
)
from tests.cluster.deployed import KIND, Deployed
from tests.cluster.harness import TestCluster, eventually, gatekeeper
from tests.snapshots import GROUP, POLICY, STORE, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator

BUNDLE: Final = Path(__file__).parents[2] / "templates"
POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
SYNCSETS: Final = "/apis/syncset.gatekeeper.sh/v1alpha1/syncsets"
DENIED: Final = "azpolicy manages this object: change the policy assignment "
MASTERS: Final = "system:masters"
GLASS: Final = "azpolicy-break-glass"
ADMINS: Final = ("admin", "system:serviceaccount:azpolicy-system:default", "system:serviceaccount:kube-system:other")
LABELS_CRD: Final = f"{CRDS}/{KIND.lower()}.constraints.gatekeeper.sh"
PREVENTED: Final = {"prevention": {"enabled": True}}
OFF: Final = {"prevention": {"enabled": False}}

# One object of each kind, its collection's selector, and an edit of what it enforces.
EDITS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "constraint": ("", {"enforcementAction": "dryrun"}),
    "template": ("", {"crd": {"spec": {"names": {"kind": KIND, "shortNames": ["weak"]}}}}),
    "mutator": ("", {"parameters": {"assign": {"value": "weak"}}}),
    "syncset": ("", {"gvks": []}),
    "expansion": ("", {"enforcementAction": "dryrun"}),
    "crd": ("?labelSelector=gatekeeper.sh/constraint%3Dyes", {"names": {"shortNames": ["weak"]}}),
}
NOBODY: Final = {"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
MARKS: Final[dict[str, dict[str, Any]]] = {
    "label stripped": {"labels": {"managed-by": None}},
    "labels stripped": {"labels": None},
    "label of another": {"labels": {"managed-by": "somebody"}},
    "label of ours": {"labels": {"azure-policy-x": "y"}},
    "azure-policy-": {"annotations": {"azure-policy-x": "y"}},
    "constraint-": {"annotations": {"constraint-x": "y"}},
    "azpolicy.dev/": {"annotations": {"azpolicy.dev/x": "y"}},
    "an owner that does not exist": {"ownerReferences": [NOBODY]},
}


class World(Deployed):
    """A release with prevention, and one object of each kind that it manages."""

    def __init__(self, cluster: TestCluster, arm: Standin, folder: Path) -> None:
        super().__init__(cluster, arm, folder, **PREVENTED)
        unique = "unique-service-selectors/v1"
        shutil.copytree(BUNDLE / unique, self.bundle.folder / unique)
        looks = self.snapshot.define(
            "unique", f"{STORE}/{unique}/template.yaml", values={}, apiGroups=[""], kinds=["Service"]
        )
        mutates = self.snapshot.define("given", self._mutation())
        self.publish()
        self.assign("one")
        self.snapshot.assign("unique", looks)
        self.snapshot.assign("given", mutates, effect="mutate")
        self.publish()

    def _mutation(self) -> str:
        """A mutator that looks at nothing but pods: the objects of these tests stay as they are written."""
        url = self.bundle.write_mutation("given/v1", "given", "given")
        file = self.bundle.folder / "given/v1/mutation.yaml"
        mutator = json.loads(file.read_text())
        mutator["spec"]["match"] = {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}], "source": "All"}
        file.write_text(json.dumps(mutator))
        return url

    def paths(self) -> dict[str, str]:
        """One object of each kind."""
        return {
            "constraint": min(path for path in all_constraints(self.cluster) if KIND.lower() in path),
            "template": f"{TEMPLATES}/{KIND.lower()}",
            "mutator": min(path for path in managed(self.cluster) if path.startswith(MUTATORS)),
            "syncset": f"{SYNCSETS}/azure-policy-sync",
            "expansion": f"{EXPANSIONS}/azpolicy-workload-pods",
            "crd": LABELS_CRD,
        }

    def kept(self) -> dict[str, Any]:
        """All that must stay as it is."""
        return {**managed(self.cluster), LABELS_CRD: projection(self.cluster.get(LABELS_CRD))}

    def prevents(self) -> bool:
        """Whether an administrator's deletion would be refused."""
        path = f"{self.paths()['constraint']}?dryRun=All"
        return self.cluster.request("DELETE", path)[0] == 403

    def turn(self, values: dict[str, Any]) -> None:
        """Upgrades the release, and waits until the API server has taken it up."""
        self.release.upgrade(self.values(**values))
        eventually(lambda: self.prevents() == values["prevention"]["enabled"], what=f"{values} to be in force")

    def admin(self, name: str, *groups: str) -> Path:
        """The kubeconfig of somebody who may do everything by RBAC."""
        return self.cluster.kubeconfig_for(name, [MASTERS, *groups])


@pytest.fixture(scope="module")
def world(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All objects are there, and no replica runs; a test leaves it so."""
    with Standin() as arm:
        made = World(cluster, arm, tmp_path_factory.mktemp("prevention"))
        try:
            with made.replica():
                made.wait_in_sync()
            eventually(made.prevents, what="prevention to be in force")
            yield made
        finally:
            made.release.uninstall()
            eventually(lambda: not made.prevents(), what="prevention to end")
            made.release.remove()
            wipe(cluster)


def attempts(path: str, kind: str) -> dict[str, tuple[str, str, dict[str, Any] | None]]:
    """Everything that somebody may try against an object: method, path, body."""
    selector, spec = EDITS[kind]
    tried: dict[str, tuple[str, str, dict[str, Any] | None]] = {
        "edit": ("PATCH", path, {"spec": spec}),
        "delete": ("DELETE", path, None),
        "deletecollection": ("DELETE", path.rpartition("/")[0] + selector, None),
    }
    tried |= {what: ("PATCH", path, {"metadata": change}) for what, change in MARKS.items()}
    if kind == "crd":
        conditions = {"conditions": [{"type": "Established", "status": "False", "reason": "a", "message": "b"}]}
        tried["status"] = ("PATCH", f"{path}/status", {"status": conditions})
        tried["label by the status"] = ("PATCH", f"{path}/status", {"metadata": {"labels": None}})
        tried["gatekeeper's label"] = ("PATCH", path, {"metadata": {"labels": {"gatekeeper.sh/constraint": None}}})
    if kind in ("constraint", "mutator"):
        tried["annotation stripped"] = (
            "PATCH",
            path,
            {"metadata": {"annotations": {"azure-policy-assignment-id": ""}}},
        )
    return tried


# --- what it stops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("admin", ADMINS)
@pytest.mark.parametrize("kind", EDITS)
def test_nobody_else_can_edit_strip_or_delete_what_is_managed(world: World, kind: str, admin: str) -> None:
    before, user, path = world.kept(), world.admin(admin), world.paths()[kind]

    answers = {
        what: world.cluster.request(method, where, body, user=user)
        for what, (method, where, body) in attempts(path, kind).items()
    }

    assert {what: status for what, (status, _) in answers.items()} == dict.fromkeys(answers, 403)
    assert all(DENIED in answer["message"] for _, answer in answers.values())
    assert world.kept() == before


def test_the_same_attempts_are_answered_well_without_it(world: World) -> None:
    """What refuses is the policy: no attempt fails by itself."""
    world.turn(OFF)
    try:
        for kind, path in world.paths().items():
            for what, (method, where, body) in attempts(path, kind).items():
                dry = f"{where}{'&' if '?' in where else '?'}dryRun=All"
                status, answer = world.cluster.request(method, dry, body)
                assert status in {200, 202}, (kind, what, answer)
    finally:
        world.turn(PREVENTED)


def test_the_refusal_says_who_manages_the_object_and_what_to_do(world: World) -> None:
    paths = world.paths()
    said = world.cluster.kubectl("delete", KIND, paths["constraint"].rpartition("/")[2], check=False).stderr

    assignment = f"{GROUP}{POLICY}/policyAssignments/one"
    assert (
        f"denied request: {DENIED}{assignment} in Azure instead. In an emergency, be a member of the group {GLASS} "
        f"(kubectl --as=NAME --as-group={GLASS}); azpolicy then restores the object, unless it is suspended" in said
    )
    said = world.cluster.kubectl("delete", "constrainttemplate", KIND.lower(), check=False).stderr
    assert f"{DENIED}behind it in Azure instead" in said


def test_the_api_server_finds_no_fault_in_the_expressions(world: World) -> None:
    """The kinds whose rules name a version are known to the check: CustomResourceDefinition."""
    (policy,) = world.cluster.get(POLICIES)["items"]

    checked = eventually(lambda: world.cluster.get(f"{POLICIES}/{policy['metadata']['name']}").get("status"))

    assert checked == {"observedGeneration": policy["metadata"]["generation"], "typeChecking": {}}


# --- what it lets through --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EDITS)
def test_what_would_be_no_drift_is_free(world: World, kind: str) -> None:
    path, cluster = world.paths()[kind], world.cluster
    before = world.kept()
    for change in (
        {"labels": {"team": "red"}, "annotations": {"team": "red"}},
        {"finalizers": ["example.com/kept"]},
        {"labels": {"team": None}, "annotations": {"team": None}, "finalizers": None},
    ):
        status, answer = cluster.request("PATCH", path, {"metadata": change})
        assert status == 200, answer

    # As a migration to another storage version writes: nothing at all.
    status, answer = cluster.request("PUT", path, cluster.get(path))

    assert status == 200, answer
    assert world.kept() == before


@pytest.mark.usefixtures("audits")
def test_gatekeeper_goes_on_writing_what_it_sees_and_audits(world: World) -> None:
    world.cluster.wait_for_audit()

    kinds = [each["status"]["byPod"] for each in map(world.cluster.get, list(world.paths().values())[:3])]

    assert all(kinds)


def test_what_is_not_managed_is_free_for_all(world: World) -> None:
    cluster, kind = world.cluster, "K8sForeign"
    crd, path = f"{CRDS}/k8sforeign.constraints.gatekeeper.sh", "/apis/constraints.gatekeeper.sh/v1beta1/k8sforeign"
    constraint = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind, "metadata": {"name": "foreign"}}
    assert cluster.request("POST", TEMPLATES, json.loads(template_text(kind)))[0] == 201
    eventually(lambda: cluster.request("POST", path, constraint)[0] == 201, what="a foreign constraint")

    answers = [
        cluster.request("PATCH", f"{path}/foreign", {"spec": {"enforcementAction": "dryrun"}}),
        cluster.request("PATCH", crd, {"metadata": {"labels": {"gatekeeper.sh/constraint": "yes", "a": "b"}}}),
        cluster.request("DELETE", path),
        cluster.request("PATCH", f"{TEMPLATES}/k8sforeign", {"metadata": {"labels": {"a": "b"}}}),
        cluster.request("DELETE", f"{TEMPLATES}/k8sforeign"),
    ]

    assert [status for status, _ in answers] == [200] * 5, answers
    eventually(lambda: cluster.request("GET", crd)[0] == 404, what="its kind to go")


def test_whoever_sets_the_label_hands_an_object_over(world: World) -> None:
    cluster, path = world.cluster, f"{MUTATORS}/assignmetadata/handed-over"
    mutator = copy.deepcopy(cluster.get(world.paths()["mutator"]))
    mutator["metadata"] = {"name": "handed-over"}
    assert cluster.request("POST", path.rpartition("/")[0], mutator)[0] == 201

    assert cluster.request("PATCH", path, {"metadata": {"labels": {"managed-by": "azure-policy-sync"}}})[0] == 200
    assert cluster.request("DELETE", path)[0] == 403
    assert cluster.request("DELETE", path, user=world.admin("handed", GLASS))[0] == 200


def test_who_only_plans_sees_what_would_change_as_ever(world: World) -> None:
    """His dry run is refused, and says nothing of what the operator may do."""
    path = world.paths()["constraint"]
    world.snapshot.assign("one", world.label, labels=["another"])
    try:
        planner = Azpolicy(world.cluster, world.snapshot.folder, user="planner", templates=world.bundle.folder)
        ended = planner.plan("--exclude-namespace", world.release.namespace)
    finally:
        world.snapshot.assign("one", world.label, labels=["one"])

    assert ended.code == 1, ended
    assert ended.changes() == {f"{KIND}/{path.rpartition('/')[2]}": "replace"}
    assert DENIED in ended.out


# --- the operator behind it ------------------------------------------------------------------------------------------


def test_the_operator_creates_updates_and_deletes_and_a_templates_kind_goes_with_it(world: World) -> None:
    kind = "K8sAzureV1Passing"
    passing = world.snapshot.define("passing", world.bundle.write("passing/v1", kind))
    world.publish()
    with world.replica():
        before = world.wait_in_sync()
        world.assign("passing", passing, labels=["passing"])
        world.wait_in_sync()
        assert refusal(world.cluster, pod(passing="x"))
        world.assign("passing", passing, labels=["other"])
        world.wait_in_sync()
        eventually(lambda: refusal(world.cluster, pod(other="x")), what="the change to be enforced")
        crd = f"{CRDS}/{kind.lower()}.constraints.gatekeeper.sh"
        assert world.cluster.request("DELETE", crd)[0] == 403

        world.unassign("passing")

        eventually(lambda: managed(world.cluster) == before, timeout=60, what="the objects to go")
        eventually(lambda: world.cluster.request("GET", crd)[0] == 404, timeout=60, what="the kind to go")


def test_what_was_changed_while_it_was_off_is_repaired_behind_it(world: World) -> None:
    before, paths = world.kept(), world.paths()
    world.turn(OFF)
    stripped = {"labels": {"managed-by": None}}
    for kind in ("constraint", "template", "mutator", "syncset", "expansion"):
        change = {"spec": EDITS[kind][1], "metadata": stripped}
        assert world.cluster.request("PATCH", paths[kind], change)[0] == 200
    world.release.upgrade(world.values())

    with world.replica():
        eventually(lambda: world.kept() == before, timeout=60, what="the repairs")
    eventually(world.prevents, what="prevention to be in force")


def test_who_breaks_the_glass_can_do_all_and_it_is_repaired(world: World) -> None:
    cluster, paths, before = world.cluster, world.paths(), world.kept()
    name = paths["constraint"].rpartition("/")[2]
    user = world.admin("fireman", GLASS)
    with world.replica():
        world.wait_in_sync()
        status, answer = cluster.request("PATCH", paths["constraint"], {"spec": EDITS["constraint"][1]}, user=user)
        assert status == 200, answer
        eventually(lambda: world.kept() == before, what="the repair")
        assert eventually(lambda: world.events(name, "DriftRepaired"), what="an Event about the repair")

        as_another = ("--as=fireman", f"--as-group={MASTERS}", f"--as-group={GLASS}")
        cluster.kubectl("delete", KIND, name, *as_another)
        eventually(lambda: world.kept() == before, what="the deleted one to come back")


@pytest.mark.usefixtures("audits")
def test_gatekeepers_own_upgrade_goes_through(world: World) -> None:
    """Its manifest again, as an administrator applies that of a newer version: with something new in each object."""
    manifests = [each for each in gatekeeper.manifests() if each["kind"] != "Pod"]
    for each in manifests:
        each["metadata"].setdefault("annotations", {})["upgraded"] = "yes"
    before = world.kept()
    with world.replica():
        world.wait_in_sync()

        documents = yaml.safe_dump_all(manifests)
        said = world.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=documents).stdout

        assert said.count("serverside-applied") == len(manifests)
        world.wait_in_sync()
        world.cluster.wait_for_audit()
        assert world.kept() == before


# --- taking things away ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def restored(world: World) -> Iterator[None]:
    """What a test takes away is made again by the operator, a kind of constraints with another owner than before."""
    before = managed(world.cluster)
    try:
        yield
    finally:
        with world.replica():
            world.back(before, timeout=90)
            world.wait_in_sync()
        eventually(world.prevents, what="prevention to be in force")


def test_azpolicy_uninstall_needs_the_glass_to_be_broken(world: World) -> None:
    before = world.kept()
    with restored(world):
        refused = uninstall(world, world.admin("no-fireman"))
        assert DENIED in refused
        assert world.kept() == before

        assert " 0 failed" in uninstall(world, world.admin("fireman", GLASS))
        assert managed(world.cluster) == {}


def uninstall(world: World, kubeconfig: Path) -> str:
    """What `azpolicy uninstall` says, beside a release that stays."""
    options = ["--kubeconfig", str(kubeconfig), "--namespace", world.release.namespace, "--keep-crds", "--yes"]
    ended = subprocess.run(
        [COMMAND, "uninstall", *options], capture_output=True, text=True, timeout=120, check=False, env=environ()
    )
    return ended.stdout + ended.stderr


def test_uninstalling_the_chart_takes_prevention_along_and_leaves_enforcement(world: World) -> None:
    before, path = world.kept(), world.paths()["constraint"]
    world.release.uninstall()
    try:
        eventually(lambda: not world.prevents(), what="prevention to end")
        assert world.kept() == before
        assert refusal(world.cluster, pod(one="x"))
        assert world.cluster.get(POLICIES)["items"] == []
        assert world.cluster.request("PATCH", path, {"metadata": {"labels": {"a": None}}})[0] == 200
    finally:
        world.turn(PREVENTED)


def test_gatekeeper_can_be_uninstalled_and_what_comes_back_is_as_it_was(world: World) -> None:
    with restored(world):
        world.cluster.uninstall_gatekeeper()
        world.cluster.install_gatekeeper()
