"""The files of one cluster: its folder, its certificates, its kubeconfigs.

The folder belongs to a living process, which holds a lock in it: so the next cluster can tell the folder of a run that
was killed, and remove it.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from tests.certs import Authority, KeyPair, new_private_key, private_key_pem
from tests.cluster.harness import audit
from tests.cluster.harness.errors import HarnessError

PREFIX = "azpolicy-cluster-"
LOCK = "in-use"


class ClusterFiles:
    """Everything that the servers and clients of one cluster read from disk; made at once, for a fixed server URL."""

    def __init__(self, folder: Path | None, server: str) -> None:
        """Without a `folder`, a temporary one is made, and removed at the end."""
        self._temporary = folder is None
        if folder is None:
            remove_abandoned()
        self.folder = (folder or Path(tempfile.mkdtemp(prefix=PREFIX))).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise HarnessError(f"{self.folder} is not empty: a cluster's folder must be new")
        self._lock = _held_lock(self.folder)
        self._server = server
        self._authority = Authority()

        self.logs = self._subfolder("logs")
        self.audit_log = self.logs / "audit.jsonl"
        self.audit_cache = self._subfolder("audit-cache")
        self.etcd_data = self.folder / "etcd"
        self.kubectl_cache = self.folder / "kubectl-cache"
        self.authority_pem = self._authority.pem
        self.authority = self._write("ca.crt", self.authority_pem)
        self.account_key = self._write("service-accounts.key", private_key_pem(new_private_key()))
        self.audit_policy = self._write("audit-policy.json", json.dumps(audit.POLICY).encode())
        self.server_certificates = self._serving(
            "server", "127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"
        )
        self.webhook_certificates = self._serving("webhook", "127.0.0.1")

    def kubeconfig(self, user: str, groups: Iterable[str] = ()) -> Path:
        """A kubeconfig for any user; certificate and key lie beside it in a .pem file."""
        groups = list(groups)
        digest = hashlib.sha256(json.dumps([user, groups]).encode()).hexdigest()[:12]
        self._subfolder("users")
        file = self.folder / "users" / f"{digest}.kubeconfig"
        if not file.exists():
            pair = self._authority.client(user, groups)
            self._write(f"users/{digest}.pem", pair.certificate + pair.key)
            self._write(f"users/{digest}.kubeconfig", json.dumps(self._kubeconfig(user, pair), indent=1).encode())
        return file

    def remove(self) -> None:
        """Remove the folder, unless it is the caller's own."""
        self._lock.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep_logs(self) -> None:
        """Leave the folder for a human to read, without the database, the only large part of it."""
        shutil.rmtree(self.etcd_data, ignore_errors=True)
        (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()

    def _serving(self, name: str, *hosts: str) -> Path:
        """A folder with tls.crt and tls.key, the names that Gatekeeper looks for."""
        pair = self._authority.server(*hosts)
        folder = self._subfolder(name)
        self._write(f"{name}/tls.crt", pair.certificate)
        self._write(f"{name}/tls.key", pair.key)
        return folder

    def _kubeconfig(self, user: str, pair: KeyPair) -> dict[str, Any]:
        """A kubeconfig in one piece, with the certificates in it: it can be copied."""
        authority, certificate, key = (
            base64.b64encode(pem).decode() for pem in (self.authority_pem, pair.certificate, pair.key)
        )
        cluster = {"server": self._server, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"client-certificate-data": certificate, "client-key-data": key}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }

    def _subfolder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _write(self, name: str, content: bytes) -> Path:
        """Write a file that only its owner may read: half of them are keys."""
        file = self.folder / name
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
        return file


def _held_lock(folder: Path) -> IO[str]:
    """The folder's lock; it gets its name when it is held, so that nobody finds it free in between."""
    unnamed = folder / f"{LOCK}.new"
    lock = unnamed.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(folder / LOCK)
    return lock


def remove_abandoned() -> None:
    """Remove the folders of clusters whose process was killed: nobody holds their lock any more."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
