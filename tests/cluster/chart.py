"""The chart, installed with real helm, and what a kubelet would make of its pods.

The cluster has no nodes: pods are admitted, and nothing runs them. So a test runs `azpolicy` itself, with the arguments
and the environment of the live Deployment and as its ServiceAccount; nothing that the chart says is written twice.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import yaml

from tests.cluster.harness import eventually
from tests.deploy.helm import NAME, NAMESPACE, assemble, helm
from tests.deploy.kubelet import Pod, environ, expanded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.cluster.harness import TestCluster

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
VALUES: Final = {"image": {"repository": "registry.example.com/azpolicy"}}
KEPT: Final = (("apis/coordination.k8s.io/v1", "leases"), ("api/v1", "configmaps"), ("api/v1", "secrets"))
_TOKEN_SECONDS: Final = 7200


def install(
    cluster: TestCluster, values: Mapping[str, Any], *, name: str = NAME, namespace: str = NAMESPACE
) -> Release:
    """Installs the chart into a namespace that admits restricted pods only; `values` need not name an image."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": level}}
    cluster.request("POST", "/api/v1/namespaces", manifest)
    chart = cluster.folder / "chart"
    release = Release(cluster, chart if chart.exists() else assemble(chart), name, namespace)
    release.upgrade(values)
    return release


@dataclass(frozen=True, slots=True)
class Release:
    """An installed chart."""

    cluster: TestCluster
    chart: Path
    name: str
    namespace: str

    def upgrade(self, values: Mapping[str, Any], *arguments: str) -> str:
        """`helm upgrade --install` with these values and no others; what helm says, HarnessError where it refuses."""
        return self._helm("upgrade", self.name, self.chart, "--install", *arguments, values={**VALUES, **values})

    def uninstall(self) -> str:
        """`helm uninstall`; what helm says."""
        return self._helm("uninstall", self.name)

    def remove(self) -> None:
        """Takes away all that `install` made, the kinds too, and what the operator kept for itself.

        The namespace stays for the next release, emptied: its deletion takes Kubernetes five seconds and more.
        """
        self._helm("uninstall", self.name, "--ignore-not-found")
        for crd in (self.chart / "files" / "crds").glob("*.yaml"):
            self.cluster.request("DELETE", f"{CRDS}/{crd.stem}.azpolicy.dev")
        for api, kind in KEPT:
            self.cluster.request("DELETE", f"/{api}/namespaces/{self.namespace}/{kind}")
        eventually(self._gone, timeout=60, what="the kinds to go")

    # --- what a kubelet makes of it

    @property
    def user(self) -> str:
        """The ServiceAccount of the pods, as the audit log names it."""
        return f"system:serviceaccount:{self.namespace}:{self._pod_spec()['serviceAccountName']}"

    def deployment(self) -> dict[str, Any]:
        """The live Deployment."""
        ours = f"app.kubernetes.io/name={NAME},app.kubernetes.io/instance={self.name}"
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments?labelSelector={quote(ours)}"
        (live,) = self.cluster.get(path)["items"]
        assert isinstance(live, dict)
        return live

    def arguments(self) -> list[str]:
        """What the container's command is given."""
        known = self.environ()
        return [expanded(argument, known) for argument in self._container()["args"]]

    def environ(
        self, pod_ip: str = "127.0.0.1", *, pod: str = f"{NAME}-0", mounts: Path | None = None
    ) -> dict[str, str]:
        """The environment of the container in a pod of this address and name.

        With `mounts`, a folder, what the pod mounts is made in there, and paths in the environment lead there.
        """
        fields = {"metadata.name": pod, "metadata.namespace": self.namespace, "status.podIP": pod_ip}
        made = environ(self._container(), Pod(fields, lambda name, key: self._secret(name)[key].decode()))
        return made if mounts is None else self._mounted(made, mounts)

    def service_account_kubeconfig(self) -> Path:
        """A kubeconfig with a token that the API server made for the ServiceAccount."""
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": self._token({})}
        file = self.cluster.folder / "users" / f"{self.namespace}-{self.name}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        return file

    def _pod_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.deployment()["spec"]["template"]["spec"]
        return spec

    def _container(self) -> dict[str, Any]:
        (container,) = self._pod_spec()["containers"]
        assert isinstance(container, dict)
        return container

    def _secret(self, name: str) -> dict[str, bytes]:
        secret = self.cluster.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        return {key: base64.b64decode(value) for key, value in secret["data"].items()}

    def _token(self, spec: Mapping[str, Any]) -> str:
        account = self._pod_spec()["serviceAccountName"]
        status, answer = self.cluster.request(
            "POST",
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token",
            {"spec": {"expirationSeconds": _TOKEN_SECONDS, **spec}},
        )
        assert status == 201, answer
        return str(answer["status"]["token"])

    # --- volumes

    def _mounted(self, made: Mapping[str, str], folder: Path) -> dict[str, str]:
        volumes = {volume["name"]: volume for volume in self._pod_spec()["volumes"]}
        moved = dict(made)
        for mount in self._container()["volumeMounts"]:
            path = mount["mountPath"]
            target = folder / path.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            for name, content in self._files(volumes[mount["name"]]):
                (target / name).write_bytes(content)
            inside = re.compile(rf"{re.escape(path)}(?=/|$)")
            moved |= {key: f"{folder}{value}" for key, value in made.items() if inside.match(value)}
        return moved

    def _files(self, volume: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """The files of a volume, as far as the chart's own volumes go."""
        match volume:
            case {"configMap": {"name": name}}:
                data = self.cluster.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")["data"]
                yield from ((key, text.encode()) for key, text in data.items())
            case {"secret": {"secretName": name, "items": items}}:
                secret = self._secret(name)
                yield from ((item["path"], secret[item["key"]]) for item in items)
            case {"projected": {"sources": [{"serviceAccountToken": {"path": path, "audience": audience}}]}}:
                yield path, self._token({"audiences": [audience]}).encode()
            case _:
                pass

    def _helm(self, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
        where = ("--kubeconfig", self.cluster.kubeconfig, "--namespace", self.namespace)
        return helm(*arguments, *where, values=values).stdout

    def _gone(self) -> bool:
        return not any(crd["spec"]["group"] == "azpolicy.dev" for crd in self.cluster.get(CRDS)["items"])
