"""The chart in a real cluster, installed by real helm: what is admitted, granted, kept and taken away."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.chart import CRDS, Release, install
from tests.cluster.harness import HarnessError, TestCluster, eventually
from tests.deploy.helm import NAMESPACE, helm
from tests.deploy.manifests import MANIFEST
from tests.snapshots import CLUSTER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(900)  # helm is built first where it has not been

IDENTITY: Final = {"clusterId": CLUSTER_ID, "tenantId": "contoso.example.com", "clientId": "0c0c0c0c-1d1d"}
WORKLOAD_IDENTITY: Final = {"azure": IDENTITY}
SECRET: Final = {"azure": IDENTITY | {"credential": "client-secret", "clientSecret": "hush"}}
SYNC: Final = {
    "apiVersion": "azpolicy.dev/v1alpha1",
    "kind": "PolicySync",
    "metadata": {"name": "default"},
    "spec": {},
}
SYNCS: Final = "/apis/azpolicy.dev/v1alpha1/policysyncs"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"


@pytest.fixture(scope="module")
def release(cluster: TestCluster) -> Iterator[Release]:
    """The chart in the shared cluster; each test upgrades it to the values that it is about."""
    installed = install(cluster, WORKLOAD_IDENTITY)
    yield installed
    installed.remove()


def may(release: Release, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
    """Whether the pods' ServiceAccount may do this to RESOURCE.GROUP: the API server's answer to its own token."""
    kind, _, group = resource.partition(".")
    asked = {"verb": verb, "resource": kind, "group": group, "namespace": namespace, "name": name}
    version = "authorization.k8s.io/v1"
    review = {"apiVersion": version, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
    answer = release.cluster.kubectl(
        *("create", "--raw", f"/apis/{version}/selfsubjectaccessreviews", "-f", "-"),
        input=json.dumps(review),
        user=release.service_account_kubeconfig(),
    )
    return bool(json.loads(answer.stdout)["status"]["allowed"])


def images(cluster: TestCluster) -> set[str]:
    """The images of the pods that are there."""
    return {pod["spec"]["containers"][0]["image"] for pod in cluster.get(PODS)["items"]}


def established(cluster: TestCluster) -> set[str]:
    """The kinds of azpolicy.dev that are served."""
    return {
        crd["spec"]["names"]["kind"]
        for crd in cluster.get(CRDS)["items"]
        if crd["spec"]["group"] == "azpolicy.dev"
        and any(each["type"] == "Established" and each["status"] == "True" for each in crd["status"]["conditions"])
    }


@pytest.mark.parametrize("values", [WORKLOAD_IDENTITY, SECRET], ids=["workload identity", "a secret"])
def test_a_namespace_that_enforces_restricted_admits_the_pods_without_a_warning(
    release: Release, values: dict[str, Any]
) -> None:
    image = {"repository": "registry.example.com/azpolicy", "tag": values["azure"].get("credential", "identity")}
    release.upgrade(values | {"image": image})
    wanted = f"{image['repository']}:{image['tag']}"

    eventually(lambda: wanted in images(release.cluster), what="pods of this release to be admitted")
    template = release.deployment()["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": template["spec"]}
    tried = release.cluster.kubectl("create", "--dry-run=server", "-f", "-", "-n", NAMESPACE, input=json.dumps(pod))
    assert (tried.stdout, tried.stderr) == ("pod/tried created (server dry run)\n", "")
    del template["spec"]["containers"][0]["securityContext"]
    assert release.cluster.request("POST", f"{PODS}?dryRun=All", pod)[0] == 403


def test_the_kinds_are_served_and_whoever_may_view_sees_them(release: Release) -> None:
    eventually(lambda: established(release.cluster) == {"PolicySync", "AssignedPolicy"}, what="both kinds")
    view = "/apis/rbac.authorization.k8s.io/v1/clusterroles/view"

    def aggregated() -> bool:
        rules = release.cluster.get(view)["rules"]
        return any("azpolicy.dev" in rule["apiGroups"] and "list" in rule["verbs"] for rule in rules)

    eventually(aggregated, what="the role view to have them")


def test_the_service_account_may_what_the_operator_does_and_no_more(release: Release) -> None:
    release.upgrade(WORKLOAD_IDENTITY)

    assert may(release, "create", "constrainttemplates.templates.gatekeeper.sh")
    assert may(release, "delete", "k8sanything.constraints.gatekeeper.sh")
    assert may(release, "update", "configmaps", "kube-public", "azure-policy-sync")
    assert may(release, "update", "leases.coordination.k8s.io", NAMESPACE, "azure-policy-sync")
    assert may(release, "create", "events.events.k8s.io", "default")
    assert not may(release, "update", "policysyncs.azpolicy.dev", name="default")  # settings are for people
    assert not may(release, "update", "configmaps", "kube-public", "another")
    assert not may(release, "update", "leases.coordination.k8s.io", NAMESPACE, "another")
    assert not may(release, "get", "secrets", NAMESPACE)


def test_an_upgrade_to_a_dry_run_takes_the_rights_to_write_away_and_one_back_gives_them(release: Release) -> None:
    release.upgrade(WORKLOAD_IDENTITY | {"dryRun": True})
    eventually(lambda: not may(release, "update", "constrainttemplates.templates.gatekeeper.sh"), what="no more right")
    assert may(release, "list", "constrainttemplates.templates.gatekeeper.sh")
    assert release.environ()["AZPOLICY_DRY_RUN"] == "true"

    release.upgrade(WORKLOAD_IDENTITY)

    eventually(lambda: may(release, "update", "constrainttemplates.templates.gatekeeper.sh"), what="the right again")


def test_the_container_gets_what_a_kubelet_would_resolve(release: Release, tmp_path: Path) -> None:
    release.upgrade(WORKLOAD_IDENTITY)

    environ = release.environ("127.0.0.9", pod="azpolicy-abc", mounts=tmp_path)

    assert release.arguments() == ["run"]
    assert environ["AZPOLICY_LISTEN"] == "127.0.0.9:8080"
    assert environ["AZPOLICY_IDENTITY"] == "azpolicy-abc"
    assert environ["AZPOLICY_TEMPLATE_CACHE"] == f"{tmp_path}/var/cache/azpolicy"
    token = Path(environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == ["api://AzureADTokenExchange"]
    assert claims["sub"] == release.user == f"system:serviceaccount:{NAMESPACE}:azpolicy"


def test_a_secret_of_the_values_reaches_the_container(release: Release) -> None:
    release.upgrade(SECRET)

    assert release.environ()["AZURE_CLIENT_SECRET"] == "hush"


def test_the_port_of_the_api_server_is_let_through_where_helm_can_see_it(release: Release) -> None:
    """Behind the Service's 443 it is often another one, and that is what a network policy is held against."""
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    api = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"name": "https", "port": 6443}],
    }
    assert release.cluster.request("POST", slices, api)[0] == 201

    release.upgrade(WORKLOAD_IDENTITY)

    release.cluster.request("DELETE", f"{slices}/kubernetes")
    policy = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/azpolicy"
    ports = [port["port"] for rule in release.cluster.get(policy)["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443, 6443]


def test_helm_says_what_to_do_next_and_how_to_end_it(release: Release) -> None:
    said = release.upgrade(WORKLOAD_IDENTITY)

    assert "kubectl get policysync default" in said
    assert f"system:serviceaccount:{NAMESPACE}:azpolicy\n" in said
    assert "azpolicy uninstall" in said


def test_uninstalling_leaves_the_kinds_with_what_is_in_them_and_a_package_installs_over_them(
    release: Release, tmp_path: Path
) -> None:
    cluster = release.cluster
    eventually(lambda: cluster.request("POST", SYNCS, SYNC)[0] in {201, 409}, what="a PolicySync")

    release.uninstall()

    assert cluster.get(f"{SYNCS}/default")
    assert cluster.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/azpolicy")[0] == 404
    assert cluster.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/azpolicy")[0] == 404
    helm("package", release.chart, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    replace(release, chart=package).upgrade(WORKLOAD_IDENTITY)
    assert release.deployment()
    assert cluster.get(f"{SYNCS}/default")


def test_the_plain_manifests_are_taken_by_the_api_server(release: Release) -> None:
    release.uninstall()

    server_side = ("--server-side", "--force-conflicts", "--dry-run=server")
    applied = release.cluster.kubectl("apply", *server_side, "-f", str(MANIFEST))

    objects = len(re.findall("^kind: ", MANIFEST.read_text(), re.MULTILINE))
    assert applied.stdout.count("serverside-applied (server dry run)\n") == objects
    assert applied.stderr == ""


def test_without_gatekeeper_it_is_refused_with_what_to_do_and_can_bring_it_along() -> None:
    values = WORKLOAD_IDENTITY | {"gatekeeper": {"enabled": True}}
    with TestCluster.start(gatekeeper=False) as cluster:
        with pytest.raises(HarnessError, match=r"install Gatekeeper first, or set gatekeeper\.enabled"):
            install(cluster, WORKLOAD_IDENTITY)
        release = Release(cluster, cluster.folder / "chart", "azpolicy", "gatekeeper-system")

        # Gatekeeper's hooks are Jobs, and no node runs them.
        release.upgrade(values, "--create-namespace", "--no-hooks")

        deployments = cluster.get("/apis/apps/v1/namespaces/gatekeeper-system/deployments")["items"]
        names = {each["metadata"]["name"] for each in deployments}
        assert names == {"azpolicy", "gatekeeper-audit", "gatekeeper-controller-manager"}
        assert release.environ()["AZPOLICY_EXCLUDE_NAMESPACES"] == "gatekeeper-system"
