"""The chart as real helm sees it: what it renders from which values, and which values it refuses.

What a cluster makes of it is shown in tests/cluster/test_chart.py.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
import tarfile
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import click
import pytest
import yaml

from controller.azure.access import ApiVersions
from controller.azure.credentials import credential_settings
from controller.cli.group import cli
from controller.cluster import guard, last_state
from controller.cluster.report_objects import REPORT_APIS
from tests.cluster.harness import tools
from tests.deploy import manifests
from tests.deploy.helm import CHART, KUBERNETES, NAME, NAMESPACE, ROOT, assemble, helm, load_all, template
from tests.deploy.helm import render as helm_render
from tests.deploy.kubelet import Pod, environ
from tests.snapshots import CLUSTER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # helm is built first where it has not been

IMAGE: Final = {"repository": "registry.example.com/azpolicy"}
IDENTITY: Final = {"tenantId": "contoso.example.com", "clientId": "0c0c0c0c-1d1d-2e2e-3f3f-4a4a4a4a4a4a"}
LABELS: Final = {"team": "platform", "example.com/cost-centre": "4711"}
SECRET: Final = "not-to-be-seen-elsewhere"


def azure(credential: str = "workload-identity", **more: Any) -> dict[str, Any]:
    """Values that read Azure; None leaves one of the usual out."""
    given = {"clusterId": CLUSTER_ID, **IDENTITY, "credential": credential, **more}
    return {"image": IMAGE, "azure": {key: value for key, value in given.items() if value is not None}}


PROXIED: Final[dict[str, Any]] = {
    "enabled": True,
    "hosts": ["policies.example.com", "policies.corp.example.com"],
    "service": {"enabled": True, "from": [{"podSelector": {"matchLabels": {"app": "oauth2-proxy"}}}]},
}
SETS: Final[Mapping[str, dict[str, Any]]] = {
    "workload identity": azure(),
    "an existing secret": azure("client-secret", existingSecret="reader"),
    "a secret in the values": azure("client-secret", clientSecret=SECRET),
    "a certificate": azure("client-certificate", existingSecret="reader"),
    "a managed identity": azure("managed-identity", tenantId=None, clientId=None),
    "a cloud of its own": azure(
        cloud="custom", customCloud={"endpoint": "https://arm.example.com"}, apiVersions={"policy": "2025-03-01"}
    ),
    "a declared cluster": azure(
        clusterId=None,
        declaredCluster={
            "scope": "/providers/Microsoft.Management/managementGroups/corp",
            "name": "kind",
            "type": "managedClusters",
            "location": "westeurope",
            "tags": {"team": "shop", "cost center": "47 11"},
        },
    ),
    "a dry run": azure() | {"dryRun": True},
    "a snapshot in a ConfigMap": {"image": IMAGE, "snapshot": {"configMap": "policies"}},
    "a snapshot in a volume": {"image": IMAGE, "snapshot": {"existingClaim": "policies", "path": "/policies"}},
    "reports": azure() | {"reports": {"enabled": True, "api": "wgpolicy"}},
    "prevention and the guard": azure() | {"prevention": {"enabled": True}, "guard": {"enabled": True}},
    "the page on loopback": azure() | {"page": {"enabled": True}},
    "the page behind a proxy": azure() | {"page": PROXIED},
    "every other setting": azure()
    | {
        "image": IMAGE | {"digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
        "interval": 60,
        "resync": 3600.5,
        "templates": "https://mirror.example.com/templates",
        "templateHosts": ["one.example.com", "two.example.com"],
        "templatePins": {"https://one.example.com/a/v1/template.yaml": "a" * 64},
        "pruneLimit": 5,
        "managedBy": "someone",
        "adopt": ["azure-policy-sync"],
        "excludeNamespaces": ["one", "two", NAMESPACE],
        "inventoryKinds": ["found", "v1/Secret"],
        "expansion": False,
        "logLevel": "debug",
        "replicas": 3,
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "serviceAccount": {"name": "reader", "annotations": {"example.com/owner": "us"}},
        "networkPolicy": {"egressPorts": [443, 6443], "metricsFrom": [{"namespaceSelector": {}}]},
        "extraLabels": LABELS,
        "podLabels": {"pod": "yes"},
        "podAnnotations": {"example.com/scraped": "yes"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    },
}
every_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS.keys())


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with its dependency."""
    return assemble(tmp_path_factory.mktemp("helm") / "chart")


@functools.cache
def _rendered(chart: Path, values: str, namespace: str) -> list[dict[str, Any]]:
    return helm_render(chart, json.loads(values), namespace=namespace)


def render(chart: Path, values: Mapping[str, Any], *, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """The objects that the chart makes, rendered once for each set of values: nobody may change them."""
    return _rendered(chart, json.dumps(values), namespace)


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of one kind."""
    return [each for each in objects if each["kind"] == kind]


def pod_of(chart: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of the pods."""
    (deployment,) = of_kind(render(chart, values), "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def environ_of(pod: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the container in some pod."""
    fields = {"metadata.name": "azpolicy-0", "metadata.namespace": NAMESPACE, "status.podIP": "10.1.2.3"}
    return environ(pod["containers"][0], Pod(fields, lambda name, key: f"{key} of {name}"))


# --- what every set of values gives ----------------------------------------------------------------------------------


@every_set
def test_helm_lints_it_strictly(chart: Path, values: dict[str, Any]) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", "--kube-version", KUBERNETES, chart, values=values).stdout


@every_set
def test_the_program_understands_every_variable_that_the_chart_sets(
    chart: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options take their values from the environment as in the pod: each is known, and each is valid."""
    run = cli.load("run")
    options = {str(option.envvar): str(option.name) for option in run.params if option.envvar}
    pod = pod_of(chart, values)
    made = environ_of(pod)
    ours = {name: value for name, value in made.items() if name.startswith("AZPOLICY_")}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)

    context = run.make_context("run", pod["containers"][0]["args"][1:])

    assert pod["containers"][0]["args"][0] == "run"
    assert ours.keys() <= options.keys()
    assert {context.get_parameter_source(options[name]) for name in ours} == {click.core.ParameterSource.ENVIRONMENT}
    if credential := made.get("AZPOLICY_CREDENTIAL"):
        credential_settings(credential, made)  # InputError for what it needs and does not get


@every_set
def test_every_object_has_the_charts_labels_and_those_of_the_values(chart: Path, values: dict[str, Any]) -> None:
    objects = render(chart, values | {"extraLabels": LABELS})
    (deployment,) = of_kind(objects, "Deployment")

    for labelled in (*objects, deployment["spec"]["template"]):
        labels = labelled["metadata"]["labels"]
        assert labels.items() >= LABELS.items(), labelled
        assert labels["app.kubernetes.io/name"] == "azpolicy"
        assert labels["app.kubernetes.io/version"] == importlib.metadata.version("azure-policy-sync")


@every_set
def test_the_pods_ask_for_no_privilege(chart: Path, values: dict[str, Any]) -> None:
    """What the level "restricted" demands, and beyond it a root that is read-only and no user of the node's."""
    pod = pod_of(chart, values)

    assert (
        pod["securityContext"].items()
        >= {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }.items()
    )
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}


@every_set
def test_files_that_the_program_is_told_of_are_on_volumes_of_the_pod(chart: Path, values: dict[str, Any]) -> None:
    pod = pod_of(chart, values)
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    paths = [
        value for name, value in environ_of(pod).items() if re.search("(_FILE|_PATH|_CACHE|_SNAPSHOT)$", name) and value
    ]

    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    assert paths
    for path in paths:
        assert any(f"{path}/".startswith(f"{mount}/") for mount in mounts), path


@every_set
def test_the_probes_and_the_metrics_service_ask_where_the_program_listens(chart: Path, values: dict[str, Any]) -> None:
    objects = render(chart, values)
    pod = pod_of(chart, values)
    (container,) = pod["containers"]
    (service,) = [each for each in of_kind(objects, "Service") if each["metadata"]["name"].endswith("-metrics")]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    asked = [container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")]

    assert [ask["path"] for ask in asked] == ["/healthz", "/healthz", "/readyz"]
    named = {ask["port"] for ask in asked} | {port["targetPort"] for port in service["spec"]["ports"]}
    assert {ports[name] for name in named} == {8080}
    assert environ_of(pod)["AZPOLICY_LISTEN"] == "10.1.2.3:8080"


@every_set
def test_whatever_selects_the_pods_selects_them(chart: Path, values: dict[str, Any]) -> None:
    objects = render(chart, values)
    (deployment,) = of_kind(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"] for each in of_kind(objects, "Service")),
        *(each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")),
        *(each["spec"]["podSelector"]["matchLabels"] for each in of_kind(objects, "NetworkPolicy")),
    ]

    assert len(selectors) >= 4
    assert all(selector and selector.items() <= labels.items() for selector in selectors)


def test_the_page_is_served_to_nobody_on_loopback_alone_or_to_the_proxy_that_is_named(chart: Path) -> None:
    def served(values: dict[str, Any]) -> tuple[str | None, list[Any], list[Any]]:
        objects = render(chart, values)
        ports = {each["targetPort"] for service in of_kind(objects, "Service") for each in service["spec"]["ports"]}
        (policy,) = of_kind(objects, "NetworkPolicy")
        peers = [each["from"] for each in policy["spec"]["ingress"] if each["ports"][0]["port"] == "page"]
        return environ_of(pod_of(chart, values)).get("AZPOLICY_PAGE_LISTEN"), sorted(ports), peers

    assert served(azure()) == (None, ["metrics"], [])
    assert served(azure() | {"page": {"enabled": True}}) == ("127.0.0.1:8081", ["metrics"], [])
    assert served(azure() | {"page": PROXIED}) == ("10.1.2.3:8081", ["metrics", "page"], [PROXIED["service"]["from"]])


# --- rights ----------------------------------------------------------------------------------------------------------


def rights(objects: list[dict[str, Any]], account: str = "azpolicy") -> Iterator[tuple[str, str, str, str]]:
    """What a ServiceAccount may do: namespace (empty for all), group, resource, verb."""
    roles = {(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace", "")): each for each in objects}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
    for binding in of_kind(objects, "ClusterRoleBinding") + of_kind(objects, "RoleBinding"):
        if subject in binding["subjects"]:
            namespace = binding["metadata"].get("namespace", "")
            ref = binding["roleRef"]
            for rule in roles[ref["kind"], ref["name"], namespace]["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        yield from ((namespace, group, resource, verb) for verb in rule["verbs"])


def test_it_may_write_gatekeepers_kinds_and_its_own_and_nothing_else_in_the_whole_cluster(chart: Path) -> None:
    granted = set(rights(render(chart, azure())))

    written = {(group, resource) for namespace, group, resource, verb in granted if not namespace and verb == "delete"}
    assert written == {
        ("templates.gatekeeper.sh", "constrainttemplates"),
        ("constraints.gatekeeper.sh", "*"),
        *(("mutations.gatekeeper.sh", kind) for kind in ("assign", "assignmetadata", "modifyset", "assignimage")),
        ("syncset.gatekeeper.sh", "syncsets"),
        ("expansion.gatekeeper.sh", "expansiontemplate"),
        ("azpolicy.dev", "assignedpolicies"),
    }
    assert {(group, resource) for _, group, resource, _ in granted if "*" in group + resource} == {
        ("constraints.gatekeeper.sh", "*")
    }
    assert "*" not in {verb for *_, verb in granted}
    assert not {resource for _, _, resource, _ in granted} & {"secrets", "pods", "roles", "clusterroles"}


def test_it_may_write_reports_of_policies_where_that_is_wanted_and_nothing_more(chart: Path) -> None:
    plainly, reporting = (set(rights(render(chart, azure() | each))) for each in ({}, {"reports": {"enabled": True}}))

    kinds = {(kind.group, kind.plural) for api in REPORT_APIS for kind in api.kinds}
    verbs = ("get", "list", "create", "update", "delete")
    assert reporting - plainly == {("", *kind, verb) for kind in kinds for verb in verbs}
    assert plainly < reporting


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, None),
        ({"api": "wgpolicy"}, None),
        ({"enabled": True}, "openreports"),
        ({"enabled": True, "api": "wgpolicy"}, "wgpolicy"),
        ({"enabled": True, "api": "none"}, "none"),
    ],
)
def test_reports_are_written_to_the_api_that_is_chosen(chart: Path, given: dict[str, Any], told: str | None) -> None:
    assert environ_of(pod_of(chart, azure() | {"reports": given})).get("AZPOLICY_REPORTS") == told


def test_a_dry_run_has_the_same_rights_without_those_to_write_what_is_gatekeepers(chart: Path) -> None:
    granted = set(rights(render(chart, azure())))

    dry = set(rights(render(chart, azure() | {"dryRun": True})))

    assert granted - dry == {
        (namespace, group, resource, verb)
        for namespace, group, resource, verb in granted
        if verb in {"create", "update", "delete"}
        and (group.endswith("gatekeeper.sh") or (namespace, resource) == ("kube-public", "configmaps"))
    }
    assert dry < granted


def test_of_the_config_maps_in_its_namespace_it_may_touch_those_that_the_code_names(chart: Path) -> None:
    roles = of_kind(render(chart, azure()), "Role")
    (own,) = [each for each in roles if each["metadata"]["namespace"] == NAMESPACE]
    rules = [each for each in own["rules"] if each["resources"] == ["configmaps"]]
    named = {verb: set(each.get("resourceNames", ())) for each in rules for verb in each["verbs"]}

    kept = {*last_state.names(), guard.NAME}
    # What is created cannot be restricted by name.
    assert named == {"create": set(), "get": kept, "update": kept, "delete": kept}


def test_people_who_plan_only_read_and_see_all_that_the_operator_compares(chart: Path) -> None:
    objects = render(chart, azure())
    (planner,) = [each for each in of_kind(objects, "ClusterRole") if each["metadata"]["name"].endswith("-planner")]
    may = {
        (group, resource): set(rule["verbs"])
        for rule in planner["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    compared = {
        (group, resource) for _, group, resource, verb in rights(objects) if verb == "list" and "gatekeeper" in group
    }

    assert set.union(*may.values()) == {"get", "list"}
    assert compared <= may.keys()


def test_people_who_forecast_read_workloads_besides_if_the_role_is_wanted(chart: Path) -> None:
    def forecaster(values: dict[str, Any]) -> list[dict[str, Any]]:
        objects = of_kind(render(chart, azure() | values), "ClusterRole")
        return [each for each in objects if each["metadata"]["name"].endswith("-forecaster")]

    [role] = forecaster({"forecasterRole": True})

    assert not forecaster({})
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list"}
    assert {"pods", "deployments", "jobs"} <= {name for rule in role["rules"] for name in rule["resources"]}


# --- single values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        (azure(), "AZPOLICY_EXCLUDE_NAMESPACES", NAMESPACE),
        (SETS["every other setting"], "AZPOLICY_EXCLUDE_NAMESPACES", f"{NAMESPACE} one two"),
        (SETS["every other setting"], "AZPOLICY_INVENTORY_KINDS", "found v1/Secret"),
        (azure(), "AZPOLICY_EXPANSION", "assigned"),
        # YAML's word for false, which whoever writes off without quotes gives.
        (SETS["every other setting"], "AZPOLICY_EXPANSION", "off"),
        (SETS["every other setting"], "HTTPS_PROXY", "http://proxy.example.com"),
        (SETS["an existing secret"], "AZURE_CLIENT_SECRET", "client-secret of reader"),
        (SETS["a secret in the values"], "AZURE_CLIENT_SECRET", "client-secret of azpolicy-azure"),
        (SETS["a snapshot in a ConfigMap"], "AZPOLICY_CREDENTIAL", None),
        (azure(), "AZPOLICY_CLUSTER_SCOPE", None),
        (SETS["a declared cluster"], "AZPOLICY_CLUSTER_ID", None),
        (SETS["a declared cluster"], "AZPOLICY_CLUSTER_TAGS", "cost center=47 11\nteam=shop"),
        (azure(), "AZPOLICY_NAMESPACE", NAMESPACE),
        (azure(), "AZPOLICY_IDENTITY", "azpolicy-0"),
        (azure(), "AZPOLICY_LEADER_ELECT", "true"),
    ],
)
def test_a_variable_has_the_value_that_is_meant(
    chart: Path, values: dict[str, Any], name: str, expected: str | None
) -> None:
    assert environ_of(pod_of(chart, values)).get(name) == expected


def test_a_secret_in_the_values_is_in_the_secret_alone(chart: Path) -> None:
    objects = render(chart, SETS["a secret in the values"])

    assert [each.get("stringData") for each in objects if SECRET in json.dumps(each)] == [{"client-secret": SECRET}]


def test_another_secret_in_the_values_makes_other_pods(chart: Path) -> None:
    one, two = (
        of_kind(render(chart, azure("client-secret", clientSecret=secret)), "Deployment")[0]["spec"]["template"]
        for secret in ("one", "two")
    )

    assert one != two


def test_a_second_value_of_managed_by_is_adopted_and_the_release_is_named(chart: Path) -> None:
    made = environ_of(pod_of(chart, azure() | {"managedBy": "new", "adopt": ["old", "older"]}))

    assert (made["AZPOLICY_MANAGED_BY"], made["AZPOLICY_ADOPT"], made["AZPOLICY_RELEASE"]) == ("new", "old older", NAME)


def test_the_pods_are_spread_as_the_values_say(chart: Path) -> None:
    by_default = pod_of(chart, azure())["topologySpreadConstraints"]
    zones = {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    chosen = pod_of(chart, azure() | {"topologySpreadConstraints": [zones]})["topologySpreadConstraints"]
    ours = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME}

    assert [each["topologyKey"] for each in by_default] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert {each["whenUnsatisfiable"] for each in by_default} == {"ScheduleAnyway"}
    assert [each["labelSelector"] for each in by_default] == [{"matchLabels": ours}] * 2
    added = {"maxSkew": 1, "matchLabelKeys": ["pod-template-hash"], "labelSelector": {"matchLabels": ours}}
    assert chosen == [zones | added]
    assert "topologySpreadConstraints" not in pod_of(chart, azure() | {"topologySpreadConstraints": []})


def test_where_the_pods_run_is_as_the_values_say(chart: Path) -> None:
    pod = pod_of(chart, SETS["every other setting"])

    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_a_digest_wins_over_a_tag(chart: Path) -> None:
    images = [
        pod_of(chart, azure() | {"image": IMAGE | more})["containers"][0]["image"]
        for more in ({}, {"tag": "1.2"}, {"tag": "1.2", "digest": f"sha256:{'a' * 64}"})
    ]

    version = importlib.metadata.version("azure-policy-sync")
    assert images == [f"{IMAGE['repository']}{end}" for end in (f":{version}", ":1.2", f"@sha256:{'a' * 64}")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (azure(), {("UDP", 53), ("TCP", 53), ("TCP", 443)}),
        (SETS["every other setting"], {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 6443)}),
        (SETS["a managed identity"], {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 80)}),
    ],
)
def test_the_pods_reach_dns_and_the_ports_that_they_need(
    chart: Path, values: dict[str, Any], expected: set[tuple[str, int]]
) -> None:
    (policy,) = of_kind(render(chart, values), "NetworkPolicy")

    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert {(port["protocol"], port["port"]) for rule in policy["spec"]["egress"] for port in rule["ports"]} == expected
    assert [rule["to"] for rule in policy["spec"]["egress"] if any(port["port"] == 80 for port in rule["ports"])] in (
        [],
        [[{"ipBlock": {"cidr": "169.254.169.254/32"}}]],
    )


@pytest.mark.parametrize(
    ("crds", "annotations"),
    [({}, {"helm.sh/resource-policy": "keep"}), ({"keep": False}, None), ({"install": False}, None)],
)
def test_the_kinds_are_those_of_the_repository_and_kept_unless_told_otherwise(
    chart: Path, crds: dict[str, Any], annotations: dict[str, str] | None
) -> None:
    sources = {
        name: yaml.safe_load(file.read_text()) for file in (ROOT / "crds").glob("*.yaml") for name in [file.stem]
    }

    rendered = {
        each["spec"]["names"]["plural"]: each
        for each in of_kind(render(chart, azure() | {"crds": crds}), "CustomResourceDefinition")
    }

    assert rendered.keys() == (sources.keys() if crds.get("install", True) else set())
    for name, crd in rendered.items():
        assert crd["spec"] == sources[name]["spec"]
        assert crd["metadata"]["name"] == sources[name]["metadata"]["name"]
        assert crd["metadata"].get("annotations") == annotations


def test_gatekeeper_comes_along_where_it_is_wanted(chart: Path) -> None:
    values = azure() | {"gatekeeper": {"enabled": True, "replicas": 1}}

    objects = render(chart, values, namespace="gatekeeper-system")

    deployments = {each["metadata"]["name"]: each["spec"]["replicas"] for each in of_kind(objects, "Deployment")}
    assert deployments == {"azpolicy": 2, "gatekeeper-audit": 1, "gatekeeper-controller-manager": 1}
    assert {each["metadata"]["namespace"] for each in of_kind(objects, "Deployment")} == {"gatekeeper-system"}


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"azure": {"clusterID": CLUSTER_ID}}, "'clusterID' not allowed"),
        ({"dryrun": True}, "'dryrun' not allowed"),
        ({"dryRun": "yes"}, "/dryRun"),
        ({"azure": {"clusterId": "crane"}}, "/azure/clusterId"),
        ({"azure": {"declaredCluster": {"scope": "rg-shop"}}}, "/azure/declaredCluster/scope"),
        ({"azure": {"declaredCluster": {"name": "two words"}}}, "/azure/declaredCluster/name"),
        ({"azure": {"declaredCluster": {"type": "fleets"}}}, "/azure/declaredCluster/type"),
        ({"azure": {"cloud": "germany"}}, "/azure/cloud"),
        ({"azure": {"credential": "azure-cli"}}, "/azure/credential"),
        ({"azure": {"apiVersions": {"policies": "2023-04-01"}}}, "'policies' not allowed"),
        ({"azure": {"customCloud": {"endpoint": "http://arm.example.com"}}}, "/azure/customCloud/endpoint"),
        ({"interval": "15m"}, "/interval"),
        ({"interval": 0}, "/interval"),
        ({"pruneLimit": 101}, "/pruneLimit"),
        ({"templates": "bundel"}, "/templates"),
        ({"templatePins": {"https://one.example.com/a": "abc"}}, "/templatePins/https"),
        ({"templatePins": {"one.example.com/a": "a" * 64}}, "'one.example.com/a' not allowed"),
        ({"logLevel": "verbose"}, "/logLevel"),
        ({"excludeNamespaces": ["two words"]}, "/excludeNamespaces/0"),
        ({"inventoryKinds": ["Secret"]}, "/inventoryKinds/0"),
        ({"expansion": True}, "/expansion"),
        ({"extraLabels": {"app.kubernetes.io/name": "mine"}}, "/extraLabels"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"networkPolicy": {"egressPorts": []}}, "/networkPolicy/egressPorts"),
        ({"replicas": 0}, "/replicas"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "/podDisruptionBudget/maxUnavailable"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "/topologySpreadConstraints/0"),
        ({"adopt": ["two words"]}, "/adopt/0"),
    ],
)
def test_the_schema_refuses_what_cannot_be_and_says_where(chart: Path, values: dict[str, Any], complaint: str) -> None:
    refused = template(chart, values, check=False)

    assert refused.returncode == 1
    assert complaint in refused.stderr


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (azure() | {"image": {}}, "image.repository is missing"),
        (azure(clusterId=None), "azure.clusterId is missing"),
        (azure(declaredCluster={"scope": "/subscriptions/s", "name": "kind"}), "exclude each other"),
        (
            azure(clusterId=None, declaredCluster={"scope": "/subscriptions/s"}),
            "azure.declaredCluster.name is missing: azure.declaredCluster.scope needs it",
        ),
        (azure(declaredCluster={"tags": {"team": "shop"}}), "azure.declaredCluster.scope is missing"),
        (azure(tenantId=None), "azure.tenantId is missing: azure.credential workload-identity needs it"),
        (azure("client-secret", clientId=None, existingSecret="reader"), "azure.clientId is missing"),
        (azure("client-secret"), "azure.credential client-secret needs azure.existingSecret"),
        (azure("client-secret", existingSecret="reader", clientSecret="x"), "exclude each other"),
        (azure("client-certificate"), "azure.existingSecret is missing"),
        (azure(clientSecret="x"), "azure.clientSecret is given but not used"),
        (azure("managed-identity", existingSecret="reader"), "azure.existingSecret is given but not used"),
        (azure(cloud="custom"), "azure.cloud custom needs azure.customCloud.endpoint"),
        (azure(customCloud={"audience": "x"}), "azure.customCloud belongs to azure.cloud custom, not public"),
        ({"image": IMAGE, "snapshot": {"configMap": "one", "existingClaim": "two"}}, "exclude each other"),
        (azure() | {"gatekeeper": {"enabled": True}}, "give --namespace gatekeeper-system"),
        (azure() | {"page": {"service": {"enabled": True}}}, "page.service.enabled needs page.enabled"),
        (azure() | {"page": {"enabled": True, "service": {"enabled": True}}}, "page.service.from is missing"),
    ],
)
def test_values_that_do_not_fit_together_are_refused_with_what_to_do(
    chart: Path, values: dict[str, Any], complaint: str
) -> None:
    refused = template(chart, values, check=False)

    assert refused.returncode == 1
    assert complaint in refused.stderr


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_a_namespace_of_kubernetes_own_is_refused(chart: Path, namespace: str) -> None:
    refused = template(chart, azure(), namespace=namespace, check=False)

    assert refused.returncode == 1
    assert f"the namespace {namespace} is Kubernetes' own: give azpolicy one of its own" in refused.stderr


def test_all_that_is_missing_is_said_at_once(chart: Path) -> None:
    said = template(chart, {}, check=False).stderr

    assert re.findall(r"^  - (\S+) is missing", said, re.MULTILINE) == [
        "image.repository",
        "azure.clusterId",
        "azure.tenantId",
        "azure.clientId",
    ]


# --- the chart itself ------------------------------------------------------------------------------------------------


def test_the_versions_are_the_packages_and_the_tested_gatekeepers() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (gatekeeper,) = chart["dependencies"]
    tested = yaml.safe_load((tools.gatekeeper_sources() / "charts" / "gatekeeper" / "Chart.yaml").read_text())

    assert chart["appVersion"] == importlib.metadata.version("azure-policy-sync")
    assert gatekeeper["version"] == tested["version"]


def test_the_schema_knows_every_api_version_that_the_program_does() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["azure"]["properties"]["apiVersions"]["properties"]

    assert known.keys() == {each.name.replace("_", "-") for each in fields(ApiVersions)}


def test_the_example_of_an_api_version_is_one_that_knows_effective_versions() -> None:
    """2025-03-01 has `$expand`: https://learn.microsoft.com/rest/api/policy-authorization/policy-assignments/get."""
    [example] = re.findall(r'\{policy: "(\d{4}-\d\d-\d\d)"\}', (CHART / "values.yaml").read_text())

    assert example >= "2025-03-01"


def test_the_memory_that_is_asked_for_is_more_than_what_was_measured() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(
        r"^\| [\d,]+ \| .*?(\d+) MiB \| (\d+) MiB \| \d+ MiB \| (\d+)Mi.*? \| (\d+)Mi", page, re.MULTILINE
    )
    values = yaml.safe_load((CHART / "values.yaml").read_text())["resources"]

    assert len(rows) == 3
    for leader, most, request, limit in (map(int, row) for row in rows):
        assert request > leader
        assert limit > 1.5 * most
    assert (values["requests"]["memory"], values["limits"]["memory"]) == (f"{rows[0][2]}Mi", f"{rows[0][3]}Mi")


def test_every_value_is_described_for_users_and_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    schema = json.loads((CHART / "values.schema.json").read_text())

    def properties(within: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, each in within.get("properties", {}).items():
            yield f"{path}{name}", each
            yield from properties(each, f"{path}{name}.")

    described = dict(properties(schema))
    assert all(each.get("description") for each in described.values())
    assert set(paths(values)) <= described.keys()
    optional = {name for name in described if name == "global" or name.startswith("azure.apiVersions.")}
    assert set(paths(values)) >= described.keys() - optional


def paths(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every key of values.yaml, its free-form parts left out."""
    for name, each in values.items():
        yield f"{path}{name}"
        if isinstance(each, dict) and path + name not in {"resources", "nodeSelector"}:
            yield from paths(each, f"{path}{name}.")


def test_a_package_of_the_chart_has_the_kinds_in_it_and_renders_the_same(chart: Path, tmp_path: Path) -> None:
    helm("package", chart, "--destination", tmp_path)
    (package,) = tmp_path.glob("azpolicy-*.tgz")

    with tarfile.open(package) as archive:
        kinds = {member.name for member in archive if "/files/crds/" in member.name}

    assert kinds == {f"azpolicy/files/crds/{file.name}" for file in (ROOT / "crds").glob("*.yaml")}
    assert render(package, azure()) == render(chart, azure())


def test_the_plain_manifests_are_what_the_chart_renders() -> None:
    assert manifests.MANIFEST.read_text() == manifests.rendered(), "stale: make manifests"


def test_the_plain_manifests_say_the_same_as_a_release_would(chart: Path) -> None:
    plain = load_all(manifests.MANIFEST.read_text())
    release = render(chart, manifests.VALUES)

    assert [each["metadata"]["name"] for each in plain[1:]] == [each["metadata"]["name"] for each in release]
    assert [each.get("spec") for each in plain[1:] if each["kind"] != "Deployment"] == [
        each.get("spec") for each in release if each["kind"] != "Deployment"
    ]
    assert "Helm" not in manifests.MANIFEST.read_text()
