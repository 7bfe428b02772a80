"""Random objects that are no pods, as the API server leaves them: Services, Ingresses, roles, nodes, workloads, …."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.verdicts.object_rules import CERTIFICATE, CLASS, INTERNAL, MODE, MUTATIONS, NGINX, SCAN
from tests.verdicts.random_pods import DIGEST, PORTS, Chance, Pods

Json = dict[str, Any]
LABELS = ("app", "team", "kubernetes.azure.com", "kubernetes.azure.com/mode", "tier")
TEXTS = ("web", "db", "system", "")
NAMESPACES = ("default", "prod", "team-a")
ADDRESSES = ("203.0.113.7", "203.0.113.8", "2001:db8::1", "2001:DB8::1")
HOSTS = ("a.example", "b.example", "*.a.example", "A.example")
TAINTS = ("CriticalAddonsOnly", "XCriticalAddonsOnlyX", "Critical", "dedicated")
KINDS = {
    "ServiceAccount": ("v1", ("default", "app")),
    "Service": ("v1", ("kubernetes", "web")),
    "ConfigMap": ("v1", ("kube-root-ca.crt", "settings")),
    "Secret": ("v1", ("default-token", "keys")),
    "Pod": ("v1", ("default", "web")),
    "Namespace": ("v1", ("default", "prod")),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", ("default", "admin")),
}
SEVERITIES = ("High", "Medium", "Low", "None", "high")
STATUSES = ("healthyScan", "unhealthyScan", "unhealthyScan", "unscanned", "failed")


class Objects:
    """Makes one kind of object by each of its methods."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.pods = Pods(chance)

    def any_kind(self) -> Json:
        """An object of one of the kinds that Kubernetes makes itself, by its name or another."""
        chance = self._chance
        kind = chance.one(tuple(KINDS))
        version, names = KINDS[kind]
        metadata: Json = {"name": chance.one(names), "uid": "a-uid"}
        if kind not in {"Namespace", "ClusterRole"}:
            metadata["namespace"] = chance.one(NAMESPACES)
        found: Json = {"apiVersion": version, "kind": kind, "metadata": metadata}
        if kind == "Secret":
            found["type"] = chance.one(("Opaque", "kubernetes.io/service-account-token"))
            owner = {"kubernetes.io/service-account.name": chance.one(("default", "app"))}
            metadata["annotations"] = owner if chance.odds(0.7) else {"note": "default"}
        return found

    def with_metadata(self) -> Json:
        """A pod or Namespace with labels, annotations and owners."""
        chance = self._chance
        found: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {}}
        if chance.odds(0.5):
            found = self.pods.manifest()
        metadata: Json = found["metadata"] | {"name": "example", "uid": "a-uid"}
        for field, keys in (("labels", LABELS), ("annotations", ("team", "contact", "note"))):
            if marks := {key: chance.one((*TEXTS, "team-7", "x-7y")) for key in chance.some(keys)}:
                metadata[field] = metadata.get(field, {}) | marks
        if chance.odds(0.5):
            controller = {"controller": True} if chance.odds(0.5) else {}
            metadata["ownerReferences"] = [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "b-uid", **controller}
            ]
        return found | {"metadata": metadata}

    def mutated(self) -> Json:
        """An object that mutators have changed, or not."""
        chance = self._chance
        found = self.with_metadata()
        mutators = chance.some(("Assign//first:1", "ModifySet//second:3", "AssignMetadata//third-one:12"))
        if mutators:
            found["metadata"]["annotations"] = {MUTATIONS: ", ".join(mutators)}
        return found

    def scanned(self) -> Json:
        """A pod with the result of Defender's scan, which is sometimes no JSON."""
        chance = self._chance
        found = self.pods.manifest()
        entries = [self._scan(number) for number in range(chance.source.randint(0, 3))]
        written = json.dumps({"generatedTimestamp": "2024-01-01T00:00:00Z", "containers": entries})
        text = chance.one((*[written] * 10, "", "no JSON"))
        found["metadata"]["annotations"] = {SCAN: text} if chance.odds(0.9) else {"note": written}
        return found

    def _scan(self, number: int) -> Json:
        chance = self._chance
        image = {"name": chance.one(("nginx:1", "registry.io/app", "old/nginx:1")), "digest": DIGEST}
        findings = [
            {
                "id": chance.one(("1", "2", "3")),
                "severity": chance.one(SEVERITIES),
                **({"patchable": chance.odds(0.5)} if chance.odds(0.8) else {}),
            }
            for _ in range(chance.source.randint(0, 4))
        ]
        return {"name": f"c{number}", "image": image, "scanStatus": chance.one(STATUSES), "scanFindings": findings}

    def running(self) -> Json:
        """A pod, perhaps with what its containers run."""
        chance = self._chance
        found = self.pods.manifest()
        if chance.odds(0.3):
            running = [f"registry.io/{name}/app{DIGEST}" for name in ("signed", "unsigned", "noreport")]
            found["status"] = {
                "containerStatuses": [
                    {"name": each["name"], "image": each["image"], "imageID": chance.one((*running, ""))}
                    for each in found["spec"]["containers"]
                ]
            }
        names = ("signed", "unsigned", "oldname", "noreferrer", "noreport", "mixed", "error", "down", *["signed"] * 8)
        for field in ("containers", "initContainers", "ephemeralContainers"):
            for container in found["spec"].get(field, []):
                container["image"] = f"registry.io/{chance.one(names)}/app{chance.one((':1', DIGEST))}"
        return found

    def node(self) -> Json:
        """A node with labels and taints."""
        chance = self._chance
        labels = {"app": chance.one(TEXTS)} if chance.odds(0.4) else {}
        if chance.odds(0.6):
            labels[MODE] = chance.one(("system", "System", "user", "SYSTEM"))
        effects = ("NoSchedule", "NoExecute")
        taints = [
            {"key": key, "value": chance.one(("", "true")), "effect": chance.one(effects)}
            for key in chance.some(TAINTS)
        ]
        spec: Json = {"unschedulable": True} if chance.odds(0.3) else {}
        metadata = {"name": "node-1", "uid": "a-uid"} | ({"labels": labels} if labels else {})
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": metadata,
            "spec": spec | ({"taints": taints} if taints else {}),
        }

    def role(self) -> Json:
        """A ClusterRole or Role."""
        chance = self._chance
        rules = []
        for _ in range(chance.source.randint(0, 3)):
            rule: Json = {"verbs": chance.one((["get"], ["create", "list"], ["patch"], ["*"], ["update"]))}
            if chance.odds(0.15):
                rule["nonResourceURLs"] = chance.one((["/metrics"], ["*"], ["/healthz/*"]))
            else:
                rule["apiGroups"] = chance.one(([""], ["discovery.k8s.io"], ["*"], ["apps"]))
                rule["resources"] = chance.one(
                    (["endpoints"], ["endpointslices"], ["*"], ["pods", "endpoints"], ["pods/*"])
                )
            rules.append(rule)
        names = ("system:aggregate-to-edit", "system:aggregate-to-edit", "edit", "cluster-admin", "admin")
        metadata: Json = {"name": chance.one(names), "uid": "a-uid"}
        kind = chance.one(("ClusterRole", "ClusterRole", "Role"))
        if kind == "Role":
            metadata["namespace"] = "prod"
        elif chance.odds(0.3):
            metadata["labels"] = {"kubernetes.io/bootstrapping": "rbac-defaults"}
        found: Json = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata}
        return found | ({"rules": rules} if rules else {})

    def binding(self) -> Json:
        """A ClusterRoleBinding or RoleBinding."""
        chance = self._chance
        kind = chance.one(("ClusterRoleBinding", "RoleBinding"))
        metadata: Json = {"name": chance.one(("cluster-admin", "cluster-admins", "web")), "uid": "a-uid"}
        if kind == "RoleBinding":
            metadata["namespace"] = "prod"
        elif metadata["name"] == "cluster-admin":
            metadata["labels"] = {"kubernetes.io/bootstrapping": "rbac-defaults"}
        of_role = "ClusterRole" if kind == "ClusterRoleBinding" else chance.one(("ClusterRole", "Role"))
        role = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": of_role,
            "name": chance.one(("cluster-admin", "admin")),
        }
        subjects = [
            {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": chance.one(("system:masters", "ops"))}
        ]
        found = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "roleRef": role}
        return {**found, "subjects": subjects}

    def storage_class(self) -> Json:
        """A StorageClass of a driver of the tree, or another."""
        names = ("kubernetes.io/azure-file", "kubernetes.io/azure-disk", "kubernetes.io/gce-pd", "disk.csi.azure.com")
        metadata = {"name": "fast", "uid": "a-uid"}
        provisioner = self._chance.one(names)
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata,
            "provisioner": provisioner,
        }

    def service(self) -> Json:
        """A Service of Kubernetes; now and then one of Knative."""
        chance = self._chance
        spec: Json = {"type": chance.one(("ClusterIP", "LoadBalancer", "LoadBalancer", "NodePort", "ExternalName"))}
        ports = [{"port": port, "protocol": chance.one(("TCP", "TCP", "UDP"))} for port in chance.some(PORTS[1:5], 2)]
        selector = chance.one(({"app": "web"}, {"app": "web"}, {"app": "db"}, {"app": "web", "tier": "db"}, {}))
        addresses = chance.some(ADDRESSES, 2)
        spec |= {"ports": ports} if ports else {}
        spec |= {"selector": selector} if selector else {}
        spec |= {"externalIPs": addresses} if addresses else {}
        name, namespace = chance.one(("kubernetes", "web", "api")), chance.one(NAMESPACES[:2])
        metadata: Json = {"name": name, "namespace": namespace, "uid": "a-uid"}
        if chance.odds(0.6):
            metadata["annotations"] = {INTERNAL: chance.one(("true", "false", "True"))}
        version = "v1" if chance.odds(0.95) else "serving.knative.dev/v1"
        return {"apiVersion": version, "kind": "Service", "metadata": metadata, "spec": spec}

    def ingress(self) -> Json:
        """An Ingress of some controller, or of none."""
        chance = self._chance
        spec: Json = {}
        if chance.odds(0.5):
            spec["ingressClassName"] = chance.one(("nginx", "nginx", "azure-application-gateway", "NGINX"))
        if rules := [{"host": host} if chance.odds(0.8) else {} for host in chance.some(HOSTS[:3])]:
            spec["rules"] = rules
        if chance.odds(0.5):
            spec["tls"] = [chance.one(({"hosts": ["a.example"], "secretName": "s"}, {}))]
        marks: Json = {
            CLASS: chance.one(("nginx", "azure/application-gateway", "traefik")),
            NGINX + "force-ssl-redirect": chance.one(("true", "false", "True")),
            NGINX + "ssl-redirect": chance.one(("true", "false")),
            NGINX + "auth-tls-secret": chance.one(("prod/ca", "")),
            NGINX + "ssl-passthrough": chance.one(("true", "false")),
            CERTIFICATE: chance.one(("cert", "")),
            "kubernetes.io/ingress.allow-http": chance.one(("true", "false")),
        }
        metadata: Json = {"name": chance.one(("web", "api")), "namespace": chance.one(NAMESPACES[:2]), "uid": "a-uid"}
        if kept := {key: text for key, text in marks.items() if chance.odds(0.35)}:
            metadata["annotations"] = kept
        return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}

    def workload(self) -> Json:
        """A Deployment, StatefulSet or ReplicaSet."""
        chance = self._chance
        labels = {key: chance.one(TEXTS[:2]) for key in ("app", *chance.some(("tier",)))}
        pod = self.pods.spec()
        affinity: Json = {field: {} for field in chance.some(("podAntiAffinity", "podAffinity", "nodeAffinity"), 2)}
        pod |= {"affinity": affinity} if chance.odds(0.5) else {}
        if chance.odds(0.25):
            spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
            pod["topologySpreadConstraints"] = [spread]
        return {
            "apiVersion": "apps/v1",
            "kind": chance.one(("Deployment", "StatefulSet", "ReplicaSet")),
            "metadata": {"name": chance.one(("web", "db")), "namespace": chance.one(NAMESPACES[:2]), "uid": "a-uid"},
            "spec": {
                "replicas": chance.source.randint(0, 4),
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }

    def pod_or_workload(self) -> Json:
        """A pod, or what makes pods."""
        return self.pods.manifest() if self._chance.odds(0.5) else self.workload()

    def budget(self) -> Json:
        """A PodDisruptionBudget with one of its two fields, or none."""
        chance = self._chance
        selector: Json = {}
        if chance.odds(0.6):
            selector["matchLabels"] = {"app": chance.one(TEXTS[:2])}
        if chance.odds(0.4):
            operator = chance.one(("In", "NotIn", "Exists", "DoesNotExist"))
            values = {"values": chance.one((["web"], ["web", "db"]))} if operator in {"In", "NotIn"} else {}
            selector["matchExpressions"] = [{"key": chance.one(("app", "tier")), "operator": operator, **values}]
        amount = chance.one((0, 1, 2, 3, "0%", "1%", "50%", "99%", "100%"))
        spec: Json = {"selector": selector} if chance.odds(0.95) else {}
        if chance.odds(0.95):
            spec[chance.one(("minAvailable", "minAvailable", "maxUnavailable"))] = amount
        metadata = {"name": "budget", "namespace": chance.one(NAMESPACES[:2]), "uid": "a-uid"}
        return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}


def several(make: Callable[[], Json], chance: Chance) -> Sequence[Json]:
    """Some objects, no two of which have one kind, namespace and name: what a cluster holds."""
    made = [make() for _ in range(chance.source.randint(0, 3))]
    places = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]): each for each in made}
    return list(places.values())
