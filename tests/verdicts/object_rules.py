"""What the templates about metadata, Services, Ingresses, roles, nodes and budgets decide, stated once more in Python.

As tests/verdicts/pod_rules.py. For templates that look other objects up, `case.inventory` has those that are synced.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.verdicts import objects
from tests.verdicts.cases import Case
from tests.verdicts.pod_rules import matches

Rule = Callable[[Case], bool]
Object = Mapping[str, Any]
SCAN = "azuredefender.io/containers.vulnerability.scan.info"
MODE = "kubernetes.azure.com/mode"
MUTATIONS = "gatekeeper.sh/mutations"
INTERNAL = "service.beta.kubernetes.io/azure-load-balancer-internal"
CLASS = "kubernetes.io/ingress.class"
NGINX = "nginx.ingress.kubernetes.io/"
CERTIFICATE = "appgw.ingress.kubernetes.io/appgw-ssl-certificate"
SEVERITIES = ["None", "Low", "Medium", "High"]


def metadata(case: Case) -> Object:
    """The object's metadata."""
    found: Object = case.object["metadata"]
    return found


# Metadata


def block_default_namespace(case: Case) -> bool:
    """The object is in the default namespace, and none that Kubernetes puts there."""
    return metadata(case).get("namespace", "default") == "default" and not is_kubernetes_own(case)


def oldest_default_namespace(case: Case) -> bool:
    """Before the store: the certificates of the cluster are not spared."""
    ca = case.object["kind"] == "ConfigMap" and metadata(case).get("namespace", "default") == "default"
    return ca or block_default_namespace(case)


def block_resource(case: Case) -> bool:
    """The object is in a namespace, and none that Kubernetes puts into one."""
    return "namespace" in metadata(case) and not is_kubernetes_own(case)


def is_kubernetes_own(case: Case) -> bool:
    """Whether Kubernetes makes the object itself, in the default namespace or in every one."""
    kind, name = case.object["kind"], metadata(case).get("name")
    token = case.object.get("type") == "kubernetes.io/service-account-token"
    owner = objects.annotations(case).get("kubernetes.io/service-account.name")
    return (kind, name) in {
        ("ServiceAccount", "default"),
        ("Service", "kubernetes"),
        ("ConfigMap", "kube-root-ca.crt"),
    } or (kind == "Secret" and token and owner == "default")


def block_naked_pods(case: Case) -> bool:
    """The pod has no owner."""
    return not metadata(case).get("ownerReferences")


def enforce_required_annotation(case: Case) -> bool:
    """Every annotation of the list is there, with a value that its expression matches."""
    found = objects.annotations(case)
    demands = [each for each in case.parameters.get("annotations", []) if "key" in each]
    return any(
        each["key"] not in found
        or bool(each.get("allowedRegex") and not matches(each["allowedRegex"], found[each["key"]]))
        for each in demands
    )


def pod_enforce_labels(case: Case) -> bool:
    """Every label of the list is there."""
    return bool(set(case.parameters.get("labels", [])) - (metadata(case).get("labels") or {}).keys())


def print_mutations_annotations(case: Case) -> bool:
    """The object was mutated, as Gatekeeper's annotation tells, and there are messages or the default one."""
    return "messages" in case.parameters and MUTATIONS in objects.annotations(case)


def is_restricted(case: Case) -> bool:
    """Whether the user of the request is no allowed one; in an audit nobody is."""
    user = case.request.get("userInfo", {})
    return user.get("username") not in case.parameters.get("allowedUsers", []) and not (
        set(user.get("groups", [])) & set(case.parameters.get("allowedGroups", []))
    )


def restricted_labels(case: Case) -> bool:
    """The object has a label of the list, and the user may not set it."""
    labels = (metadata(case).get("labels") or {}).keys()
    return bool(labels & set(case.parameters.get("labels", []))) and is_restricted(case)


# Nodes


def restricted_node_edits(case: Case) -> bool:
    """The user changes a node's labels or taints, and may not."""
    before = case.request.get("oldObject")
    return before is not None and is_restricted(case) and node_marks(before) != node_marks(case.object)


def node_marks(node: Object) -> tuple[set[tuple[str, str]], set[str]]:
    """A node's labels and its taints, whose order does not count."""
    labels = node.get("metadata", {}).get("labels") or {}
    taints = (node.get("spec") or {}).get("taints") or []
    return set(labels.items()), {json.dumps(taint, sort_keys=True) for taint in taints}


def restricted_taints(case: Case) -> bool:
    """A node that is not of the system's pool has a taint whose key an expression matches."""
    mode = (metadata(case).get("labels") or {}).get(MODE)
    keys = [taint["key"] for taint in case.spec.get("taints") or []]
    reserved = case.parameters.get("reservedTaints", [])
    return mode not in {"system", "System"} and any(matches(each, key) for each in reserved for key in keys)


# Roles and storage


def block_admin_rolebindings(case: Case) -> bool:
    """The binding gives cluster-admin, and is not the one of Kubernetes, which gives it to system:masters alone."""
    role, subjects = case.object["roleRef"], [each["name"] for each in case.object.get("subjects") or []]
    place = (case.object["kind"], metadata(case)["name"], subjects)
    kubernetes_own = place == ("ClusterRoleBinding", "cluster-admin", ["system:masters"])
    return role["kind"] == "ClusterRole" and role["name"] == "cluster-admin" and not kubernetes_own


def block_wildcard_roles(case: Case) -> bool:
    """A rule of the role has a wildcard for what may be done, or to what."""
    fields = ("verbs", "resources", "apiGroups", "nonResourceURLs")
    rules = case.object.get("rules") or []
    return any(name.startswith("*") for rule in rules for field in fields for name in rule.get(field) or [])


def block_endpoint_edit_default_role(case: Case) -> bool:
    """system:aggregate-to-edit may write endpoints or their slices, also by a wildcard (D4)."""
    return metadata(case).get("name") == "system:aggregate-to-edit" and any(
        {"*", "endpoints", "endpointslices"} & set(rule.get("resources") or [])
        and {"*", "create", "patch", "update"} & set(rule.get("verbs") or [])
        for rule in case.object.get("rules") or []
    )


def enforce_csi_driver(case: Case) -> bool:
    """The storage class has one of Azure's provisioners of the tree."""
    return case.object.get("provisioner") in {"kubernetes.io/azure-file", "kubernetes.io/azure-disk"}


# Services


def allowed_external_ips(case: Case) -> bool:
    """Every external address of a Service is in the list."""
    asked = set(case.spec.get("externalIPs") or [])
    return is_core_service(case) and bool(asked - set(case.parameters.get("allowedExternalIPs", [])))


def is_core_service(case: Case) -> bool:
    """Whether the object is a Service of Kubernetes, and not Knative's."""
    return case.object["kind"] == "Service" and "/" not in case.object["apiVersion"]


def load_balancer_no_public_ips(case: Case) -> bool:
    """A LoadBalancer is an internal one."""
    return case.spec["type"] == "LoadBalancer" and objects.annotations(case).get(INTERNAL) != "true"


def service_allowed_ports(case: Case) -> bool:
    """Every port is in the list, as itself or in a range; the Service kubernetes is spared."""
    if (metadata(case).get("namespace"), metadata(case)["name"]) == ("default", "kubernetes"):
        return False
    allowed = case.parameters.get("allowedPorts", [])
    return any(not listed(each["port"], allowed) for each in case.spec.get("ports") or [])


def oldest_service_ports(case: Case) -> bool:
    """Before the store: every port is in a list, and a range is none."""
    if (metadata(case).get("namespace"), metadata(case)["name"]) == ("default", "kubernetes"):
        return False
    lists = [case.parameters.get(name, []) for name in ("allowedPorts", "allowedServicePorts")]
    allowed = {str(port) for ports in lists for port in ports}
    return any(str(each["port"]) not in allowed for each in case.spec.get("ports") or [])


def listed(port: int, entries: Sequence[str]) -> bool:
    """Whether an entry is the port, or the first two numbers of it are around the port."""
    ranges = [re.match("([0-9]+)-([0-9]+)(?:-|$)", entry) for entry in entries]
    return str(port) in entries or any(int(each[1]) <= port <= int(each[2]) for each in ranges if each)


def unique_service_selectors(case: Case) -> bool:
    """Another Service of the namespace has the same selector (D10) and a port in common (N2)."""
    own = case.spec.get("selector")
    return (
        bool(own)
        and is_core_service(case)
        and any(
            (each["apiVersion"], each["kind"]) == ("v1", "Service")
            and each["metadata"]["namespace"] == metadata(case)["namespace"]
            and each["metadata"]["name"] != metadata(case)["name"]
            and each["spec"].get("selector") == own
            and bool(sockets(each["spec"]) & sockets(case.spec))
            for each in case.inventory
        )
    )


def sockets(spec: Object) -> set[tuple[int, str]]:
    """The ports of a Service with their protocols."""
    return {(each["port"], each.get("protocol", "TCP")) for each in spec.get("ports") or []}


# Ingresses


def ingress_https_only(case: Case) -> bool:
    """An Ingress of nginx or of Application Gateway serves HTTPS alone; those of others pass (D17)."""
    marks = objects.annotations(case)
    with_tls = bool(case.spec.get("tls"))
    gateway = marks.get(CLASS) == "azure/application-gateway"
    nginx = case.spec.get("ingressClassName", marks.get(CLASS)) == "nginx"
    return (gateway and not with_tls and CERTIFICATE not in marks) or (nginx and not nginx_is_secure(case, with_tls))


def oldest_ingress(case: Case) -> bool:
    """Before the store: an Ingress of any controller has tls, and the annotation that takes plain HTTP away."""
    allowed = objects.annotations(case).get("kubernetes.io/ingress.allow-http")
    return not case.spec.get("tls") or allowed != "false"


def nginx_is_secure(case: Case, with_tls: bool) -> bool:
    """Whether nginx sends plain requests away, and has a certificate or leaves it to the pod."""
    marks, rules = objects.annotations(case), case.spec.get("rules") or []
    redirects = marks.get(NGINX + "force-ssl-redirect") == "true" or (
        marks.get(NGINX + "ssl-redirect") != "false" and bool(rules) and all(rule.get("host") for rule in rules)
    )
    secret = NGINX + "auth-tls-secret" in marks or marks.get(NGINX + "ssl-passthrough") == "true"
    return redirects and (with_tls or secret)


def require_ingress_host(case: Case) -> bool:
    """Every rule has a host."""
    return any(not rule.get("host") for rule in case.spec.get("rules") or [])


def ingress_hostnames_conflict(case: Case) -> bool:
    """Another Ingress, of any namespace, has a host of this one (D10)."""
    return any(
        each["kind"] == "Ingress"
        and (each["metadata"]["namespace"], each["metadata"]["name"])
        != (metadata(case)["namespace"], metadata(case)["name"])
        and bool(hosts(each["spec"]) & hosts(case.spec))
        for each in case.inventory
    )


def hosts(spec: Object) -> set[str]:
    """The hosts of an Ingress."""
    return {rule["host"] for rule in spec.get("rules") or [] if rule.get("host")}


# Workloads and budgets


def pod_enforce_antiaffinity(case: Case) -> bool:
    """A workload of several pods spreads them, by podAntiAffinity or by topologySpreadConstraints (N1)."""
    pod = (case.spec.get("template") or {}).get("spec") or {}
    spread = "podAntiAffinity" in (pod.get("affinity") or {}) or bool(pod.get("topologySpreadConstraints"))
    return bool(case.spec.get("replicas", 1) > 1) and not spread


def disallowed_bad_pod_disruption_budgets(case: Case) -> bool:
    """A budget allows no disruption by its own maxUnavailable, or by its minAvailable of a workload that it selects."""
    most, least = case.spec.get("maxUnavailable"), case.spec.get("minAvailable")
    if most is not None and part_of(most, 100) == 0:
        return True
    return least is not None and any(
        part_of(least, each["spec"].get("replicas", 1)) >= each["spec"].get("replicas", 1)
        for each in case.inventory
        if each["kind"] in {"Deployment", "StatefulSet"}
        and each["metadata"]["namespace"] == metadata(case)["namespace"]
        and selects(case.spec.get("selector"), each["spec"]["template"]["metadata"].get("labels") or {})
    )


def part_of(amount: int | str, total: int) -> int:
    """A number of pods, or a percentage of them, which rounds up."""
    if isinstance(amount, int):
        return amount
    return math.ceil(int(amount.removesuffix("%")) * total / 100)


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects: {} does everything, none nothing.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
    """
    if selector is None:
        return False
    texts = all(labels.get(key) == text for key, text in (selector.get("matchLabels") or {}).items())
    return texts and all(
        {
            "In": labels.get(each["key"]) in each.get("values", []),
            "NotIn": labels.get(each["key"]) not in each.get("values", []),
            "Exists": each["key"] in labels,
            "DoesNotExist": each["key"] not in labels,
        }[each["operator"]]
        for each in selector.get("matchExpressions") or []
    )


# Images


def container_no_vulnerable_images(case: Case) -> bool:
    """An image that was not scanned, or has more findings than allowed; each entry by itself (D9)."""
    return any(is_vulnerable(entry, case) for entry in scanned(case))


def scanned(case: Case) -> Sequence[Object]:
    """What Defender's annotation says of each image; nothing where it cannot be read."""
    try:
        return json.loads(objects.annotations(case).get(SCAN, "")).get("containers") or []
    except ValueError:
        return []


def is_vulnerable(entry: Object, case: Case) -> bool:
    """Whether an image of the annotation was not scanned, or has too many findings of a severity."""
    if any(matches(each, entry["image"]["name"]) for each in case.parameters.get("excludedImages", [])):
        return False
    if entry["scanStatus"] != "unhealthyScan":
        return bool(entry["scanStatus"] == "unscanned")
    counted = [each["severity"] for each in entry.get("scanFindings", []) if is_counted(each, case)]
    most = case.parameters.get("severity", {})
    return any(name in most and counted.count(name) > most[name] for name in ("High", "Medium", "Low"))


def is_counted(finding: Object, case: Case) -> bool:
    """Whether a finding counts: its id is not excluded, and it can be patched or is severe."""
    if finding["id"] in case.parameters.get("excludeFindingIDs", []):
        return False
    if finding.get("patchable"):
        return True
    threshold = case.parameters.get("severityThresholdForExcludingNotPatchableFindings")
    ranks = {name: rank for rank, name in enumerate(SEVERITIES)}
    return threshold in ranks and finding["severity"] in ranks and ranks[finding["severity"]] > ranks[threshold]


def image_integrity(case: Case) -> bool:
    """The provider fails, or turns an image down; as tests/templates/provider.rego answers (D16)."""
    bad = ("/down/", "/error/", "/unsigned/", "/oldname/", "/noreferrer/", "/noreport/", "/mixed/")
    statuses = (case.object.get("status") or {}).get("containerStatuses") or []
    running = {each["name"]: each.get("imageID") for each in statuses}
    for container in objects.judged(case):
        image = container.get("image", "")
        if not re.match(r"[^:]+@sha256:", image):
            image = running.get(container["name"]) or image
        if any(part in image for part in bad):
            return True
    return False


RULES: Mapping[str, Rule] = {
    "allowed-external-ips": allowed_external_ips,
    "block-default-namespace": oldest_default_namespace,
    "ingress-https-only": oldest_ingress,
    "load-balancer-no-public-ips": load_balancer_no_public_ips,
    "pod-enforce-labels": pod_enforce_labels,
    "service-allowed-ports": oldest_service_ports,
    "allowed-external-ips/v1": allowed_external_ips,
    "block-admin-rolebindings/v1": block_admin_rolebindings,
    "block-default-namespace/v1": block_default_namespace,
    "block-endpoint-edit-default-role/v1": block_endpoint_edit_default_role,
    "block-naked-pods/v1": block_naked_pods,
    "block-resource/v1": block_resource,
    "block-wildcard-roles/v1": block_wildcard_roles,
    "container-no-vulnerable-images/v1": container_no_vulnerable_images,
    "disallowed-bad-pod-disruption-budgets/v2": disallowed_bad_pod_disruption_budgets,
    "enforce-csi-driver/v1": enforce_csi_driver,
    "enforce-required-annotation/v1": enforce_required_annotation,
    "image-integrity-notation-verification/v1": image_integrity,
    "ingress-hostnames-conflict": ingress_hostnames_conflict,
    "ingress-https-only/v1": ingress_https_only,
    "ingress-https-only/v2": ingress_https_only,
    "load-balancer-no-public-ips/v1": load_balancer_no_public_ips,
    "pod-enforce-antiaffinity/v1": pod_enforce_antiaffinity,
    "pod-enforce-labels/v1": pod_enforce_labels,
    "print-mutations-annotations/v1": print_mutations_annotations,
    "require-ingress-host/v2": require_ingress_host,
    "restricted-labels/v1": restricted_labels,
    "restricted-node-edits/v1": restricted_node_edits,
    "restricted-taints/v1": restricted_taints,
    "service-allowed-ports/v1": service_allowed_ports,
    "unique-service-selectors/v1": unique_service_selectors,
}
