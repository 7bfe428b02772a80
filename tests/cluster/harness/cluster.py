"""TestCluster: one cluster, from its first certificate to its last process.

The pieces that it puts together say what each server is told (`control_plane`, `gatekeeper`); here is when.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any, Self

from tests.cluster.harness import AUDIT_INTERVAL, audit, control_plane, gatekeeper, tools
from tests.cluster.harness.client import Client
from tests.cluster.harness.errors import HarnessError
from tests.cluster.harness.files import ClusterFiles
from tests.cluster.harness.processes import Server, free_port
from tests.cluster.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.harness.audit import AuditEvent

START_TIMEOUT = 120.0  # seconds; a busy machine is slow, a dead process is noticed at once
APISERVER_GRACE = 1.0  # seconds; its own graceful end would wait a minute for watches to go, and users' never do
KUBECTL_TIMEOUT = 300.0
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONSTRAINTS = "/apis/constraints.gatekeeper.sh/v1beta1"


class TestCluster:
    """A running cluster on loopback; make one with `start`, end it with `stop` or use it in `with`."""

    __test__ = False  # not a class of tests, whatever its name looks like to pytest

    @classmethod
    def start(
        cls, *, gatekeeper: bool = True, audit_interval: int = AUDIT_INTERVAL, folder: Path | None = None
    ) -> Self:
        """Start a cluster and return when it admits pods and, with `gatekeeper`, Gatekeeper is asked about them.

        `audit_interval` is in seconds. A `folder` of the caller's own must be new or empty, and is never removed.
        """
        for tool in tools.CLUSTER_TOOLS:
            tools.path(tool)
        cluster = cls(folder, audit_interval)
        try:
            cluster._start_all(with_gatekeeper=gatekeeper)
        except BaseException as exc:
            cluster.stop(keep=not isinstance(exc, KeyboardInterrupt))
            raise
        return cluster

    def __init__(self, folder: Path | None, audit_interval: int) -> None:
        """Lay out files, ports and servers; nothing runs yet."""
        etcd_port, port, self._webhook_port, self._health_port = (free_port() for _ in range(4))
        self.server = f"https://127.0.0.1:{port}"
        self._files = files = ClusterFiles(folder, self.server)
        self._clients: dict[Path, Client] = {}
        self.folder, self.logs = files.folder, files.logs
        self.kubeconfig = self.kubeconfig_for("admin", ["system:masters"])
        self._etcd = self._server("etcd", control_plane.etcd(files, etcd_port))
        self._apiserver = self._server("kube-apiserver", control_plane.apiserver(files, port, etcd_port))
        self._controllers = self._server("kube-controller-manager", control_plane.controller_manager(files))
        self._audit_interval = audit_interval
        self._gatekeeper = self._gatekeeper_server(audit_interval)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(keep=kind is not None and not issubclass(kind, KeyboardInterrupt))

    def stop(self, *, keep: bool = False) -> None:
        """End all processes, clients before servers; then remove the folder, or keep its logs and say where."""
        for client in self._clients.values():
            client.close()
        order = [self._gatekeeper, self._controllers, self._apiserver, self._etcd]
        for server in order[:2]:
            server.terminate()
        for server in order:
            server.stop(grace=5.0)
        if keep:
            self._files.keep_logs()
            sys.stderr.write(f"test cluster: logs kept in {self.logs}\n")
        else:
            self._files.remove()

    # --- asking the cluster

    def kubeconfig_for(self, user: str, groups: Iterable[str] = ()) -> Path:
        """A kubeconfig for any user; what that user may do is up to RBAC."""
        return self._files.kubeconfig(user, groups)

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002  # the name that subprocess.run has for it
        user: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as admin, or with a kubeconfig of `kubeconfig_for`; with `check`, a failure is an error."""
        result = subprocess.run(
            [tools.path("kubectl"), "--kubeconfig", user or self.kubeconfig, *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=KUBECTL_TIMEOUT,
            check=False,
            env={**os.environ, "KUBECACHEDIR": str(self._files.kubectl_cache), "KUBERC": "off"},
        )
        if check and result.returncode:
            raise HarnessError(f"kubectl {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()}")
        return result

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str | None = None,
        user: Path | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """One request as admin, or with a kubeconfig of `kubeconfig_for`: status and JSON, whatever the status.

        A PATCH is a merge patch unless `content_type` says otherwise. Raises OSError when nothing answers.
        """
        return self._client(user or self.kubeconfig).request(method, path, body, content_type)

    def get(self, path: str) -> dict[str, Any]:
        """GET as admin; anything but 200 is a HarnessError."""
        status, document = self.request("GET", path)
        if status != 200:
            raise HarnessError(f"GET {path} answered {status}: {document.get('message')}")
        return document

    def forget_kinds(self) -> None:
        """Make kubectl ask again which kinds there are: of those in a category it remembers some that are gone."""
        shutil.rmtree(self._files.kubectl_cache, ignore_errors=True)

    # --- the audit log

    def audit_mark(self) -> int:
        """Where the audit log ends now; what is asked later comes after it."""
        self._flush_audit()
        return self._files.audit_log.stat().st_size if self._files.audit_log.exists() else 0

    def audit_events(self, since: int = 0) -> Iterator[AuditEvent]:
        """Every answered request, system users' reads apart, from a mark on."""
        return audit.read(self._files.audit_log, since)

    def writes(self, user: str, since: int = 0) -> list[AuditEvent]:
        """The creates, updates, patches and deletes that `user` asked for, refused ones and dry runs too."""
        self._flush_audit()
        return [event for event in self.audit_events(since) if event.user == user and event.is_write]

    def _flush_audit(self) -> None:
        """Wait until the log has a request of our own: a large answer may reach its client before its log line."""
        if not self._apiserver.running:
            return
        size = self._files.audit_log.stat().st_size if self._files.audit_log.exists() else 0
        token = uuid.uuid4().hex
        self.get(f"/version?audit-mark={token}")
        eventually(lambda: any(token in event.uri for event in self.audit_events(size)), what="the audit log")

    # --- taking pieces away and bringing them back

    def stop_apiserver(self) -> None:
        """End the API server; etcd keeps its data."""
        self._apiserver.stop(APISERVER_GRACE)

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready."""
        self._apiserver.start()
        self._until(self._apiserver, self._apiserver_ready, "the API server to be ready")
        self._restart_controllers()

    def restart_apiserver(self) -> None:
        """Stop and start the API server: every watch breaks, no data is lost."""
        self.stop_apiserver()
        self.start_apiserver()

    def stop_gatekeeper(self) -> None:
        """End the Gatekeeper process; its webhooks stay and fail closed, so creates and updates are refused."""
        self._gatekeeper.stop()

    def start_gatekeeper(self) -> None:
        """Start the Gatekeeper process and wait until requests are decided by it."""
        self._gatekeeper.start()
        self._until(self._gatekeeper, self._gatekeeper_ready, "Gatekeeper to be ready")
        if self._has_webhooks():
            self._until(self._gatekeeper, self._gatekeeper_asked, "Gatekeeper's webhooks to be asked")

    @contextlib.contextmanager
    def audited_every(self, seconds: int) -> Iterator[None]:
        """Meanwhile Gatekeeper audits so often; it is started anew for that, before and after."""
        self._restart_gatekeeper(seconds)
        try:
            yield
        finally:
            self._restart_gatekeeper(self._audit_interval)

    def _restart_gatekeeper(self, audit_interval: int) -> None:
        self.stop_gatekeeper()
        self._gatekeeper = self._gatekeeper_server(audit_interval)
        self.start_gatekeeper()

    def install_gatekeeper(self) -> None:
        """Install Gatekeeper's objects, start its process, then point the webhooks at it."""
        for manifest in gatekeeper.manifests():
            if manifest["kind"] == "Pod":
                eventually(self._crds_established, what="Gatekeeper's CRDs to be established")
            self._create(manifest)
        self._restart_controllers()
        self._gatekeeper.start()
        self._until(self._gatekeeper, self._gatekeeper_ready, "Gatekeeper to be ready")
        for manifest in self._webhooks():
            self._create(manifest)
        self._until(self._gatekeeper, self._gatekeeper_asked, "Gatekeeper's webhooks to be asked")

    def uninstall_gatekeeper(self) -> None:
        """Delete Gatekeeper, its CRDs and so every template, constraint and mutator; wait until all is gone."""
        for manifest in self._webhooks():
            self._delete(manifest)
        self._gatekeeper.stop()
        manifests = gatekeeper.manifests()
        for manifest in reversed(manifests):
            self._delete(manifest)
        # Constraint kinds are no part of the manifest; the garbage collector may not know their owners any more.
        eventually(self._no_gatekeeper_crds, timeout=60, what="Gatekeeper's CRDs to be deleted")
        eventually(lambda: all(map(self._gone, manifests)), timeout=60, what="Gatekeeper's objects to be deleted")

    def wait_for_audit(self, timeout: float = 90.0) -> None:
        """Wait until every constraint has the result of an audit that began after this call; there must be one."""
        # The timestamps have whole seconds: an audit in this very second may have begun before the call.
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

        if not any(self._constraints()):
            raise HarnessError("there is no constraint, so an audit leaves no trace to wait for")

        def audited() -> bool:
            return all(live.get("status", {}).get("auditTimestamp", "") > now for live in self._constraints())

        eventually(audited, timeout=timeout, what=f"an audit after {now}")

    # --- start, piece by piece

    def _start_all(self, *, with_gatekeeper: bool) -> None:
        self._etcd.start()
        self._apiserver.start()
        self._until(self._apiserver, self._apiserver_ready, "the API server to be ready")
        if with_gatekeeper:
            self.install_gatekeeper()
        self._controllers.start()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._until(self._controllers, lambda: self.request("GET", account)[0] == 200, "the default service account")

    def _restart_controllers(self) -> None:
        """Let the garbage collector see all kinds at once.

        It looks for new kinds every 30 seconds, and waits longer and longer for an API server that is away. A deleted
        template's CRD stayed for 41 s after Gatekeeper was installed under it, as long after an outage of 75 s.
        """
        self._controllers.stop()
        self._controllers.start()

    def _until(self, server: Server, check: Callable[[], bool], what: str) -> None:
        """Wait for a server, but not for one that has ended."""
        eventually(lambda: not server.running or check(), START_TIMEOUT, f"{what} ({server.log})")
        server.check_alive()

    def _apiserver_ready(self) -> bool:
        return self.request("GET", "/readyz")[0] == 200

    def _gatekeeper_ready(self) -> bool:
        url = f"http://127.0.0.1:{self._health_port}/readyz"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)

    def _gatekeeper_asked(self) -> bool:
        """Whether a request that Gatekeeper itself refuses, its ignore label on a namespace, is refused by it."""
        label = {"admission.gatekeeper.sh/ignore": "asked"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "asked", "labels": label}}
        _, document = self.request("POST", "/api/v1/namespaces?dryRun=All", namespace)
        return "denied the request" in str(document.get("message"))

    def _has_webhooks(self) -> bool:
        return not any(map(self._gone, self._webhooks()))

    def _webhooks(self) -> list[dict[str, Any]]:
        return gatekeeper.webhooks(self._webhook_port, self._files.authority_pem)

    def _crds_established(self) -> bool:
        return all(
            any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)
            for crd in self._gatekeeper_crds()
            for conditions in [crd.get("status", {}).get("conditions", [])]
        )

    def _gatekeeper_crds(self) -> list[dict[str, Any]]:
        return [crd for crd in self.get(CRDS)["items"] if crd["spec"]["group"].endswith("gatekeeper.sh")]

    def _no_gatekeeper_crds(self) -> bool:
        crds = self._gatekeeper_crds()
        for crd in crds:
            if "deletionTimestamp" not in crd["metadata"]:
                self.request("DELETE", f"{CRDS}/{crd['metadata']['name']}")
        return not crds

    def _constraints(self) -> Iterator[dict[str, Any]]:
        status, kinds = self.request("GET", CONSTRAINTS)
        for kind in kinds["resources"] if status == 200 else []:
            if "/" not in kind["name"]:
                yield from self.get(f"{CONSTRAINTS}/{kind['name']}")["items"]

    def _create(self, manifest: dict[str, Any]) -> None:
        status, document = self.request("POST", gatekeeper.path_of(manifest), manifest)
        if status != 201:
            name = manifest["metadata"]["name"]
            raise HarnessError(f"creating {manifest['kind']} {name} answered {status}: {document.get('message')}")

    def _delete(self, manifest: dict[str, Any]) -> None:
        status, document = self.request("DELETE", _object_path(manifest))
        if status not in {200, 202, 404}:
            name = manifest["metadata"]["name"]
            raise HarnessError(f"deleting {manifest['kind']} {name} answered {status}: {document.get('message')}")

    def _gone(self, manifest: dict[str, Any]) -> bool:
        return self.request("GET", _object_path(manifest))[0] == 404

    def _gatekeeper_server(self, audit_interval: int) -> Server:
        ports = gatekeeper.Ports(self._webhook_port, self._health_port)
        return self._server("gatekeeper", gatekeeper.command(self._files, ports, audit_interval), gatekeeper.environ())

    def _server(self, name: str, command: list[str], environ: Mapping[str, str] | None = None) -> Server:
        return Server(name, command, logs=self.logs, folder=self.folder, environ=environ)

    def _client(self, kubeconfig: Path) -> Client:
        if kubeconfig not in self._clients:
            self._clients[kubeconfig] = Client(self.server, self._files.authority, kubeconfig.with_suffix(".pem"))
        return self._clients[kubeconfig]


def _object_path(manifest: dict[str, Any]) -> str:
    return f"{gatekeeper.path_of(manifest)}/{manifest['metadata']['name']}"
