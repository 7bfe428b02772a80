"""From the add-on to azpolicy and back: whatever becomes of its objects, a violating pod is refused throughout.

The add-on is a stand-in: its objects as its documentation and users show them, written by a user and a field manager
of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import threading
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.azure.server import Server
from tests.cluster.azpolicy import (
    COMMAND,
    CONSTRAINTS,
    CRDS,
    MUTATORS,
    PODS,
    TEMPLATES,
    Azpolicy,
    all_enforced,
    environ,
    managed,
    pod,
    refusal,
    templates,
)
from tests.cluster.harness import TestCluster, eventually
from tests.snapshots import STORE, Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDON = "azure-policy-addon"
DEPLOYMENTS = "/apis/apps/v1/namespaces/kube-system/deployments"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
WEBHOOK = "azure-policy-validating-webhook-configuration"
GUIDE = Path(__file__).parents[2] / "docs" / "migrate.md"
KIND, OTHER = "K8sAzureV2ContainerAllowedLabels", "K8sAzureV1OtherLabels"
VIOLATIONS = ("forbidden", "unwanted")
STAMP = "stamped"


class AddOn:
    """What the add-on has in a cluster."""

    def __init__(self, cluster: TestCluster) -> None:
        self._cluster = cluster
        self._user = cluster.kubeconfig_for("azurepolicyaddon", ["system:masters"])
        self._made: list[str] = []

    def deploy(self) -> None:
        """Its two deployments, without pods."""
        for name in ("azure-policy", "azure-policy-webhook"):
            labels = {"app": name}
            container = {"name": name, "image": "mcr.microsoft.com/azure-policy/policy-kubernetes-addon:1.16.1"}
            template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
            spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
            manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
            self._create(DEPLOYMENTS, manifest)

    def install(self, snapshot: Snapshot) -> None:
        """Its objects for what `World.assign` assigns."""
        group = snapshot.cluster_id.partition("/providers")[0]
        assignments = f"{group}/providers/Microsoft.Authorization/policyAssignments"
        for kind, name, reference, label in ((KIND, "label", "", "forbidden"), (OTHER, "set", "first", "unwanted")):
            self._template(kind)
            self._constraint(kind, f"{assignments}/{name}", reference, label)
        self._mutator(f"{assignments}/stamp")

    def switch_off(self, *, cleaning: bool) -> None:
        """Its deployments go, and with `cleaning` its objects too, templates first: nothing waits for anything."""
        for name in ("azure-policy", "azure-policy-webhook"):
            self._cluster.request("DELETE", f"{DEPLOYMENTS}/{name}", user=self._user)
        if not cleaning:
            return
        for path in self._made:
            self._cluster.request("DELETE", path, user=self._user)
        eventually(lambda: not self.there(), what="the add-on's objects to go")
        gone = [f"{CRDS}/{kind.lower()}.constraints.gatekeeper.sh" for kind in (KIND, OTHER)]
        eventually(lambda: all(self._cluster.request("GET", path)[0] == 404 for path in gone), what="its kinds to go")

    def there(self) -> dict[str, dict[str, Any]]:
        """Its objects that are in the cluster, by path."""
        return {
            path: live
            for path, live in managed(self._cluster).items()
            if live["metadata"].get("labels", {}).get("managed-by") == ADDON
        }

    def _template(self, kind: str) -> None:
        manifest = json.loads(template_text(kind))
        manifest["metadata"]["annotations"] = {
            "azure-policy-definition-id-1": f"/providers/Microsoft.Authorization/policyDefinitions/{kind}",
            "constraint-template": url_of(kind),
            "constraint-template-installed-by": ADDON,
        }
        self._create(TEMPLATES, manifest)

    def _constraint(self, kind: str, assignment: str, reference: str, label: str) -> None:
        spec = {
            "enforcementAction": "deny",
            "match": {
                "excludedNamespaces": ["kube-system", "gatekeeper-system"],
                "kinds": [{"apiGroups": [""], "kinds": ["Pod"]}],
            },
            "parameters": {"labels": [label]},
        }
        metadata = self._marked(kind.lower(), assignment, reference)
        manifest = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}
        collection = f"{CONSTRAINTS}/{kind.lower()}"
        eventually(lambda: self._cluster.request("GET", collection)[0] == 200, what=f"{kind} to be served")
        self._create(collection, manifest)

    def _mutator(self, assignment: str) -> None:
        spec = {
            "match": {"excludedNamespaces": ["kube-system", "gatekeeper-system"]},
            "location": f"metadata.labels.{STAMP}",
            "parameters": {"assign": {"value": "given"}},
        }
        metadata = self._marked("stamp", assignment, "")
        manifest = {
            "apiVersion": "mutations.gatekeeper.sh/v1",
            "kind": "AssignMetadata",
            "metadata": metadata,
            "spec": spec,
        }
        self._create(f"{MUTATORS}/assignmetadata", manifest)

    def _marked(self, stem: str, assignment: str, reference: str) -> dict[str, Any]:
        digits = hashlib.sha256(f"its own {assignment} {reference}".encode()).hexdigest()[:20]
        annotations = {
            "azure-policy-assignment-id": assignment,
            "azure-policy-definition-id": f"/providers/Microsoft.Authorization/policyDefinitions/{stem}",
            "azure-policy-definition-reference-id": reference,
            "azure-policy-setdefinition-id": "",
            "constraint-installed-by": ADDON,
        }
        return {"name": f"azurepolicy-{stem[:30]}-{digits}", "annotations": annotations}

    def _create(self, collection: str, manifest: dict[str, Any]) -> None:
        if collection != DEPLOYMENTS:
            manifest["metadata"]["labels"] = {"managed-by": ADDON}
            self._made.append(f"{collection}/{manifest['metadata']['name']}")
        path = f"{collection}?fieldManager=azurepolicyaddon"
        status, answer = self._cluster.request("POST", path, manifest, user=self._user)
        assert status == 201, answer


def url_of(kind: str) -> str:
    return f"https://store.policy.core.windows.net/kubernetes/{kind.lower()}/v1/template.yaml"


class Witness:
    """Asks all the time, by dry runs, about violating pods and a clean one; keeps what went wrong.

    While all pods are `held`, only a violating one that is admitted is wrong.
    """

    def __init__(self, cluster: TestCluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.held = False
        self.rounds = 0
        self.wrong: list[str] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            held = self.held
            for label in VIOLATIONS:
                status, answer = self._ask(label)
                expected = status == 403 and f"label {label} is forbidden" in str(answer.get("message"))
                self._judge(label, status, answer, fine=status != 201 if held or self.held else expected)
            status, answer = self._ask("clean")
            self._judge("clean", status, answer, fine=held or self.held or _is_stamped(status, answer))
            self.rounds += 1

    def _ask(self, label: str) -> tuple[int, dict[str, Any]]:
        return self._cluster.request("POST", f"{PODS}?dryRun=All", pod(**{label: "yes"}))

    def _judge(self, label: str, status: int, answer: dict[str, Any], *, fine: bool) -> None:
        if not fine:
            self.wrong.append(f"round {self.rounds}: {label}: {status} {answer.get('message')}")

    def goes_on(self) -> None:
        """Waits for rounds that begin after the call."""
        wanted = self.rounds + 3
        eventually(lambda: self.rounds >= wanted, what="the witness to go on")

    @contextlib.contextmanager
    def watching(self) -> Iterator[Witness]:
        """From before the block to after it."""
        self._thread.start()
        try:
            self.goes_on()
            yield self
            self.goes_on()
        finally:
            self._stop.set()
            self._thread.join()


def _is_stamped(status: int, answer: dict[str, Any]) -> bool:
    return status == 201 and answer["metadata"]["labels"].get(STAMP) == "given"


class World:
    """Three assignments, the command, the add-on, and somebody who has nothing to do with either."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="mover", templates=self.bundle.folder)
        self.addon = AddOn(cluster)
        self.assign()

    def assign(self) -> None:
        urls = {kind: self.bundle.write(f"{kind.lower()}/v1", kind) for kind in (KIND, OTHER)}
        self.snapshot.assign("label", self.snapshot.define("label", urls[KIND]))
        other = self.snapshot.define("other", urls[OTHER], values={"labels": ["unwanted"]})
        self.snapshot.assign("set", self.snapshot.initiative("set", {"first": other}))
        stamp = self.snapshot.define("stamp", self.bundle.write_mutation("stamp/v1", "stamp", STAMP))
        self.snapshot.assign("stamp", stamp, effect="Mutate")

    def away(self, *arguments: str, code: int = 0) -> str:
        """`azpolicy migrate --from-addon`, which ends so; what it printed."""
        return self._migrate("--from-addon", *arguments, code=code)

    def back(self, *arguments: str, code: int = 0) -> str:
        """`azpolicy migrate --to-addon`."""
        return self._migrate("--to-addon", *arguments, code=code)

    def _migrate(self, *arguments: str, code: int) -> str:
        ended = self.azpolicy("migrate", *arguments)
        assert ended.code == code, ended
        return ended.out + ended.err

    def enforced(self) -> None:
        eventually(lambda: all_enforced(self.cluster), what="every constraint to be enforced")
        violating = [pod(**{label: "yes"}) for label in VIOLATIONS]
        eventually(lambda: all(refusal(self.cluster, one) for one in violating), what="violating pods to be refused")
        eventually(self._stamped, what="pods to be stamped")

    def _stamped(self) -> bool:
        return _is_stamped(*self.cluster.request("POST", f"{PODS}?dryRun=All", pod(clean="yes")))

    def with_addon(self) -> None:
        """The add-on runs and enforces."""
        self.addon.deploy()
        self.addon.install(self.snapshot)
        self.enforced()

    def foreign(self) -> None:
        """Somebody's own template, and a constraint of it."""
        status, made = self.cluster.request("POST", TEMPLATES, json.loads(template_text("K8sTheirs")))
        assert status == 201, made
        self.handmade("K8sTheirs")

    def handmade(self, kind: str) -> str:
        """A constraint that somebody made of any kind: its path."""
        manifest = {
            "apiVersion": "constraints.gatekeeper.sh/v1beta1",
            "kind": kind,
            "metadata": {"name": "handmade"},
            "spec": {"enforcementAction": "dryrun"},
        }
        collection = f"{CONSTRAINTS}/{kind.lower()}"
        eventually(lambda: self.cluster.request("POST", collection, manifest)[0] in {201, 409}, what=f"one of {kind}")
        return f"{collection}/handmade"

    def patched(self, path: str, patch: dict[str, Any], content_type: str = "application/merge-patch+json") -> int:
        """The status with which a patch is answered."""
        return self.cluster.request("PATCH", path, patch, content_type=content_type)[0]

    def uninstall(self) -> None:
        """`azpolicy uninstall`, confirmed."""
        command = [str(COMMAND), "uninstall", "--kubeconfig", str(self.azpolicy.kubeconfig), "--yes"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=environ())
        assert ended.returncode == 0, ended

    def ours(self) -> dict[str, dict[str, Any]]:
        """Our objects by path."""
        return {
            path: live
            for path, live in managed(self.cluster).items()
            if live["metadata"].get("labels", {}).get("managed-by") == "azure-policy-sync"
        }


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> Iterator[World]:
    made = World(tidy, tmp_path)
    yield made
    made.addon.switch_off(cleaning=False)


def test_no_violating_pod_is_admitted_when_the_add_on_leaves_its_objects_behind(world: World) -> None:
    world.with_addon()
    world.foreign()
    bystander = world.handmade(KIND)
    before = managed(world.cluster)
    mark = world.cluster.audit_mark()

    with Witness(world.cluster).watching() as witness:
        assert "covers AssignMetadata/azurepolicy-stamp-" in world.away()
        assert "0 covered, 3 missing" in world.away("--step", "check", code=1)
        assert world.azpolicy.writes(mark) == []

        assert "mutators are left for --step enforce, because they have no dry run: 1" in world.away("--step", "shadow")
        shadows = [live for path, live in world.ours().items() if path.startswith(CONSTRAINTS)]
        assert [live["spec"]["enforcementAction"] for live in shadows] == ["dryrun"] * len(VIOLATIONS)
        assert "enforcementAction is dryrun, not deny" in world.away("--step", "check", code=1)

        world.away("--step", "enforce")
        eventually(lambda: all_enforced(world.cluster), what="ours to be enforced")
        told = world.away("--step", "check")
        assert "3 covered, 0 missing: the add-on can be switched off" in told
        assert f"{KIND}/handmade belongs to neither" in told
        assert managed(world.cluster).items() >= before.items()
        assert "the add-on is still there" in world.away("--step", "finish", code=2)

        world.addon.switch_off(cleaning=False)
        world.away("--step", "finish")

    assert witness.wrong == []
    assert world.addon.there() == {}
    assert world.azpolicy.plan().code == 0
    left = managed(world.cluster)
    assert {path: left[path] for path in before if "theirs" in path or path == bystander} == {
        path: live for path, live in before.items() if "theirs" in path or path == bystander
    }


def test_no_finalizer_keeps_a_deleted_template_enforcing(world: World) -> None:
    """Why ours are of kinds of their own: on the add-on's template they would go with it, whatever held it up."""
    world.with_addon()
    template = f"{TEMPLATES}/{KIND.lower()}"
    held = [template, f"{CRDS}/{KIND.lower()}.constraints.gatekeeper.sh"]
    for path in held:
        finalizers = world.cluster.get(path)["metadata"].get("finalizers", [])
        world.patched(path, {"metadata": {"finalizers": [*finalizers, "azpolicy.dev/hold"]}})

    world.cluster.request("DELETE", template)

    try:
        eventually(lambda: not refusal(world.cluster, pod(forbidden="yes")), what="a violating pod to be admitted")
        constraint = next(path for path in world.addon.there() if path.startswith(f"{CONSTRAINTS}/{KIND.lower()}/"))
        assert [world.cluster.request("GET", path)[0] for path in (*held, constraint)] == [200] * 3
    finally:
        # The template last: once it goes, its kind has a finalizer of the API server's, which empties it.
        for path in reversed(held):
            world.patched(path, {"metadata": {"finalizers": None}})


def finish_by_step(world: World) -> None:
    world.away("--step", "finish")


def finish_by_operator(world: World) -> None:
    with world.azpolicy.operating("--resync", "1"):
        usual = {kind.lower() for kind in (KIND, OTHER)}
        eventually(lambda: set(templates(world.cluster)) == usual, timeout=60, what="the usual templates alone")


@pytest.mark.parametrize("finish", [finish_by_step, finish_by_operator])
def test_no_violating_pod_is_admitted_when_the_add_on_deletes_its_objects(
    world: World, finish: Callable[[World], None]
) -> None:
    world.with_addon()

    with Witness(world.cluster).watching() as witness:
        world.away("--step", "enforce")
        beside = world.ours()
        # Whoever applies too soon meets the add-on's templates, and changes nothing of what enforces.
        assert world.azpolicy.apply().code == 2
        assert world.ours() == beside
        eventually(lambda: all_enforced(world.cluster), what="ours to be enforced")

        world.addon.switch_off(cleaning=True)
        witness.goes_on()
        finish(world)

    assert witness.wrong == []
    assert world.azpolicy.plan().code == 0


def test_no_violating_pod_is_admitted_on_the_way_back(world: World) -> None:
    assert world.azpolicy.apply().code == 0
    world.enforced()

    with Witness(world.cluster).watching() as witness:
        assert "the add-on has nothing for it" in world.back("--step", "check", code=1)
        world.back("--step", "enforce")
        assert set(templates(world.cluster)) == {f"{kind.lower()}parallel" for kind in (KIND, OTHER)}

        world.addon.deploy()
        world.addon.install(world.snapshot)
        eventually(lambda: all_enforced(world.cluster), what="the add-on's to be enforced")
        installed = world.addon.there()
        assert "3 covered, 0 missing: azpolicy can be switched off" in world.back("--step", "check")

        world.uninstall()

    assert witness.wrong == []
    assert managed(world.cluster) == installed


def test_a_webhook_of_the_add_on_that_refuses_is_told_and_nothing_is_written(world: World) -> None:
    world.with_addon()
    mark = world.cluster.audit_mark()

    with _refusing_webhook(world.cluster):
        told = world.away("--step", "shadow", code=2)

        assert f"invalid ConstraintTemplate/{KIND.lower()}parallel" in told
        assert "byovalidation.policy.azure.com" in told
        assert world.ours() == {}
        assert [event for event in world.azpolicy.writes(mark) if event.code < 300] == []


@contextlib.contextmanager
def _refusing_webhook(cluster: TestCluster) -> Iterator[None]:
    """The add-on's own webhook: templates and constraints are for its user alone."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked = json.loads(await request.read())["request"]
        allowed = asked["userInfo"]["username"] in {"azurepolicyaddon", "gatekeeper"}
        response = {"uid": asked["uid"], "allowed": allowed, "status": {"message": "not the add-on's"}}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        return web.json_response(review)

    server = Server(answer)
    server.start()
    try:
        assert cluster.request("POST", WEBHOOKS, _webhook(server))[0] == 201
        foreign = json.loads(template_text("K8sTried"))
        dry_run = f"{TEMPLATES}?dryRun=All"
        eventually(lambda: cluster.request("POST", dry_run, foreign)[0] >= 400, what="the webhook to be asked")
        yield
    finally:
        cluster.request("DELETE", f"{WEBHOOKS}/{WEBHOOK}")
        server.stop()


def _webhook(server: Server) -> dict[str, Any]:
    groups = ["templates.gatekeeper.sh", "constraints.gatekeeper.sh"]
    rule = {"apiGroups": groups, "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]}
    webhook = {
        "name": "byovalidation.policy.azure.com",
        "clientConfig": {"url": server.url, "caBundle": b64encode(server.authority_file.read_bytes()).decode()},
        "rules": [rule],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [webhook],
    }


def test_the_hold_of_the_guide_refuses_while_gatekeeper_and_all_its_kinds_are_away(world: World) -> None:
    hold = GUIDE.read_text().partition("```yaml\n")[2].partition("```")[0]
    world.with_addon()
    world.away("--step", "enforce")
    assert world.cluster.request("POST", PODS, {**pod(), "metadata": {"name": "running"}})[0] == 201
    running = f"{PODS}/running"

    with Witness(world.cluster).watching() as witness:
        world.cluster.kubectl("apply", "-f", "-", input=hold)
        witness.held = True
        try:
            eventually(lambda: "changes hands" in refusal(world.cluster, pod()), what="the hold to be in force")
            # What runs goes on: its marks may change, what it runs may not.
            assert world.patched(running, {"metadata": {"labels": {"still": "there"}}}) == 200
            other_image = {"spec": {"containers": [{"name": "webserver", "image": "other"}]}}
            assert world.patched(running, other_image, "application/strategic-merge-patch+json") == 403
            world.cluster.uninstall_gatekeeper()
            world.addon.switch_off(cleaning=False)
            witness.goes_on()
            world.cluster.install_gatekeeper()
            world.away("--step", "finish")
            eventually(lambda: all_enforced(world.cluster), what="ours to be enforced")
            witness.goes_on()
        finally:
            world.cluster.kubectl("delete", "-f", "-", input=hold)
            world.cluster.request("DELETE", f"{running}?gracePeriodSeconds=0")
        world.enforced()
        witness.held = False

    assert witness.wrong == []
    assert world.azpolicy.plan().code == 0


def test_nothing_is_made_beside_an_operator_at_work(world: World) -> None:
    """It wants none of it, and would take it away again."""
    world.addon.deploy()
    world.addon.install(world.snapshot)
    with world.azpolicy.operating("--leader-elect", "--namespace", "default", "--identity", "azpolicy-7"):
        lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/azure-policy-sync"
        eventually(lambda: world.cluster.request("GET", lease)[0] == 200, what="a leader")
        for step in ("shadow", "enforce"):
            told = world.away("--step", step, code=2)
            assert re.search(r"error: the operator azpolicy-7\S* in default runs and would delete", told)
    assert not [path for path in world.ours() if "parallel" in path]

    world.away("--step", "shadow")
    assert [path for path in world.ours() if "parallel" in path]


def test_the_add_ons_own_mark_is_refused_while_it_is_there(world: World) -> None:
    world.addon.deploy()
    mark = world.cluster.audit_mark()
    marks = ("--managed-by", ADDON)

    for ended in (world.azpolicy.plan(*marks), world.azpolicy.apply(*marks)):
        assert ended.code == 2
        assert ended.err.startswith(
            f"error: --managed-by {ADDON} is the add-on's own value, and its deployment azure-policy"
        )
    with world.azpolicy.operating(*marks, ready=False) as operator:
        assert operator.wait() == 2
        assert f"--managed-by {ADDON} is the add-on's own" in operator.text
    assert world.azpolicy.writes(mark) == []

    world.addon.switch_off(cleaning=False)
    assert world.azpolicy.apply(*marks).code == 0


def test_compare_says_what_the_bundle_decides_otherwise_than_the_add_ons_template(
    tidy: TestCluster, tmp_path: Path
) -> None:
    snapshot = Snapshot(tmp_path / "snapshot")
    url = f"{STORE}/forbidden-sysctl-interfaces/v1/template.yaml"
    snapshot.assign("sysctls", snapshot.define("sysctls", url, values={"forbiddenSysctls": ["kernel.*"]}))
    AddOn(tidy)._template("K8sAzureV1ForbiddenSysctls")

    ended = Azpolicy(tidy, snapshot.folder, user="mover")("migrate", "--from-addon")

    assert ended.code == 1
    assert "newly denied (D7): a forbidden sysctl that is spelled with slashes" in ended.out
