"""Rules that look other objects up see them only thanks to our SyncSet: made, repaired and removed with its need."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.azpolicy import Azpolicy, all_constraints, edit, enforced, pod, refusal, templates
from tests.cluster.harness import eventually
from tests.snapshots import STORE, Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.harness import TestCluster

SYNCSETS = "/apis/syncset.gatekeeper.sh/v1alpha1/syncsets"
SYNCSET = f"{SYNCSETS}/azure-policy-sync"
SERVICES = "/api/v1/namespaces/default/services"
URL = f"{STORE}/unique-service-selectors/v1/template.yaml"
SEES_SECRETS = """\
violation[{"msg": msg}] {
  count(input.parameters.labels) > 0
  secret := data.inventory.namespace[_]["v1"].Secret[name]
  msg := sprintf("there is a secret %v", [name])
}
"""

INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
# As many public templates are written: without the annotation that asks for Ingresses.
UNIQUE_HOSTS = """\
violation[{"msg": msg}] {
  host := input.review.object.spec.rules[_].host
  other := data.inventory.namespace[namespace]["networking.k8s.io/v1"]["Ingress"][name]
  [namespace, name] != [input.review.namespace, input.review.object.metadata.name]
  other.spec.rules[_].host == host
  msg := sprintf("host %v is taken by %v/%v", [host, namespace, name])
}
"""


class World:
    """Two policies that look at services, one of Azure's own; and the command that applies them."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.snapshot = Snapshot(folder / "snapshot")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="syncer")
        self.unique = self.snapshot.define("unique", URL, values={}, apiGroups=[""], kinds=["Service"])

    def apply(self, *arguments: str) -> None:
        """Applies, and waits until everything is enforced."""
        ended = self.azpolicy.apply(*arguments)
        assert ended.code == 0, ended
        paths = all_constraints(self.cluster)
        eventually(lambda: all(enforced(self.cluster, path) for path in paths), what="enforced constraints")

    def kinds(self) -> list[str]:
        """What the live SyncSet asks for; empty where there is none."""
        status, live = self.cluster.request("GET", SYNCSET)
        return [entry["kind"] for entry in live["spec"]["gvks"]] if status == 200 else []

    def refusal(self, manifest: dict[str, Any]) -> str:
        """Why a service would be refused; empty if it is admitted."""
        status, answer = self.cluster.request("POST", f"{SERVICES}?dryRun=All", manifest)
        return "" if status == 201 else str(answer["message"])

    def admits(self, manifest: dict[str, Any]) -> bool:
        """Whether an Ingress would be admitted."""
        return self.cluster.request("POST", f"{INGRESSES}?dryRun=All", manifest)[0] == 201


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> Iterator[World]:
    made = World(tidy, tmp_path)
    yield made
    tidy.request("DELETE", SYNCSET)
    for name in ("first", "second"):
        tidy.request("DELETE", f"{SERVICES}/{name}")


def test_a_second_service_of_the_same_selector_is_denied_thanks_to_the_syncset_alone(world: World) -> None:
    assert world.cluster.request("POST", SERVICES, service("first"))[0] == 201
    world.snapshot.assign("unique", world.unique)

    world.apply()

    assert world.kinds() == ["Service"]
    denied = eventually(lambda: world.refusal(service("second")), what="the second service to be denied")
    assert "first" in denied
    assert world.azpolicy.plan().code == 0

    # Without it the rule sees nothing.
    assert world.cluster.request("DELETE", SYNCSET)[0] == 200
    eventually(lambda: not world.refusal(service("second")), what="the second service to be admitted")


def test_the_syncset_goes_with_the_last_policy_that_needs_it(world: World) -> None:
    world.snapshot.assign("unique", world.unique)
    world.apply()
    assert world.kinds() == ["Service"]
    world.snapshot.assign("unique", world.unique, effect="Disabled")

    world.apply()

    assert world.kinds() == []
    assert templates(world.cluster) == {}
    assert world.azpolicy.plan().code == 0


def test_a_custom_policys_kinds_come_and_go_and_a_kind_that_is_not_served_harms_no_other(
    world: World, tmp_path: Path
) -> None:
    manifest = json.loads(template_text("K8sSeesSecrets", SEES_SECRETS))
    wanted = [[{"groups": ["nowhere.example.com", ""], "versions": ["v1"], "kinds": ["Secret"]}]]
    manifest["metadata"]["annotations"] = {"metadata.gatekeeper.sh/requires-sync-data": f'"{json.dumps(wanted)}"'}
    folder = TemplateFolder(tmp_path / "templates")
    url = folder._write("sees-secrets/v1/template.yaml", json.dumps(manifest))
    folder._write("unique-service-selectors/v1/template.yaml", _bundled())
    world.azpolicy = Azpolicy(world.cluster, world.snapshot.folder, user="syncer", templates=folder.folder)
    world.snapshot.assign("unique", world.unique)
    custom = world.snapshot.define("custom", url)
    world.snapshot.assign("custom", custom)

    world.apply()

    assert world.kinds() == ["Secret", "Service", "Secret"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "seen"}}
    assert world.cluster.request("POST", "/api/v1/namespaces/default/secrets", secret)[0] == 201
    try:
        assert "there is a secret seen" in eventually(
            lambda: refusal(world.cluster, pod()), what="a pod denied for the secret"
        )
    finally:
        world.cluster.request("DELETE", "/api/v1/namespaces/default/secrets/seen")
    world.snapshot.assign("custom", custom, effect="Disabled")

    world.apply()

    assert world.kinds() == ["Service"]


def test_ingress_hosts_are_unique_only_where_the_setting_replicates_what_the_template_does_not_ask_for(
    world: World, tmp_path: Path
) -> None:
    folder = TemplateFolder(tmp_path / "templates")
    url = folder.write("unique-ingress-host/v1", "K8sUniqueHost", UNIQUE_HOSTS, {})
    world.azpolicy = Azpolicy(world.cluster, world.snapshot.folder, user="syncer", templates=folder.folder)
    unique = world.snapshot.define("unique", url, values={}, apiGroups=["networking.k8s.io"], kinds=["Ingress"])
    world.snapshot.assign("unique", unique)
    assert world.cluster.request("POST", INGRESSES, ingress("first", "shop.example.com"))[0] == 201
    try:
        world.apply()
        assert world.kinds() == []
        assert world.admits(ingress("second", "shop.example.com"))

        world.apply("--inventory-kind", "found")

        assert world.kinds() == ["Ingress"]
        eventually(lambda: not world.admits(ingress("second", "shop.example.com")), what="the second host to be denied")
        assert world.admits(ingress("second", "other.example.com"))
    finally:
        world.cluster.request("DELETE", f"{INGRESSES}/first")


def ingress(name: str, host: str) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {"rules": [{"host": host, "http": {"paths": paths}}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec}


def test_the_syncset_stays_while_its_policy_is_not_resolved(world: World) -> None:
    world.snapshot.assign("unique", world.unique)
    world.apply()
    world.snapshot.define(
        "unique", URL, effect="[reference('somewhere')]", values={}, apiGroups=[""], kinds=["Service"]
    )

    assert world.azpolicy.apply("--force-prune").code == 0

    assert world.kinds() == ["Service"]
    assert world.azpolicy.plan().code == 0


def test_a_syncset_of_somebody_else_is_reported_and_its_policies_are_not_made_blind(world: World) -> None:
    theirs = {
        "apiVersion": "syncset.gatekeeper.sh/v1alpha1",
        "kind": "SyncSet",
        "metadata": {"name": "azure-policy-sync"},
    }
    assert world.cluster.request("POST", SYNCSETS, theirs | {"spec": {"gvks": []}})[0] == 201
    world.snapshot.assign("unique", world.unique)

    ended = world.azpolicy.apply()

    assert ended.code == 2
    assert "conflict SyncSet/azure-policy-sync" in ended.out
    assert all_constraints(world.cluster) == {}


def test_the_operator_repairs_the_syncset(world: World) -> None:
    world.snapshot.assign("unique", world.unique)

    with world.azpolicy.operating("--resync", "600") as operator:
        eventually(lambda: world.kinds() == ["Service"], what="the SyncSet")
        operator.wait_log("created K8sAzureV1UniqueServiceSelector")
        edit(world.cluster, SYNCSET, lambda live: live["spec"].update(gvks=[]))
        eventually(lambda: world.kinds() == ["Service"], what="the edit to be put back")
        world.cluster.request("DELETE", SYNCSET)
        eventually(lambda: world.kinds() == ["Service"], what="the SyncSet to come back")


def _bundled() -> str:
    from tests.templates.suites import BUNDLE

    return (BUNDLE / "unique-service-selectors/v1/template.yaml").read_text()
