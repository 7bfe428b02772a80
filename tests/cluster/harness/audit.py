"""The API server's audit log: the proof of who wrote what.

resourceVersions prove nothing, Gatekeeper's own status writes move them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})

# Users whose reads would only swell the log: they list and watch everything.
SYSTEM_USERS = [
    "system:apiserver",
    "system:kube-controller-manager",
    "system:serviceaccount:gatekeeper-system:gatekeeper-admin",
]

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": SYSTEM_USERS, "verbs": ["get", "list", "watch"]},
        # A delete may say "dry run" in its body alone.
        {"level": "Request", "verbs": ["delete", "deletecollection"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request that the API server has answered, refused ones included: look at `code`.

    `authorized` says that the user has the right to it; an admission webhook may have refused it all the same.
    """

    user: str
    verb: str
    code: int
    uri: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    dry_run: bool
    stage: str
    time: str
    user_agent: str
    authorized: bool

    @property
    def is_write(self) -> bool:
        """Whether the request asked for a change, in earnest or as a dry run."""
        return self.verb in WRITE_VERBS


def read(log: Path, since: int = 0) -> Iterator[AuditEvent]:
    """The events from byte `since` on; a line still being written is left for the next time."""
    if not log.exists():
        return
    with log.open("rb") as lines:
        lines.seek(since)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield _event(json.loads(line))


def _event(entry: dict[str, Any]) -> AuditEvent:
    ref = entry.get("objectRef", {})
    return AuditEvent(
        user=entry["user"].get("username", ""),  # Whoever asks an API server that is stopping has no name yet.
        verb=entry["verb"],
        code=entry.get("responseStatus", {}).get("code", 0),
        uri=entry["requestURI"],
        group=ref.get("apiGroup", ""),
        resource=ref.get("resource", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        dry_run=_is_dry_run(entry),
        stage=entry["stage"],
        time=entry["requestReceivedTimestamp"],
        user_agent=entry.get("userAgent", ""),
        authorized=(entry.get("annotations") or {}).get("authorization.k8s.io/decision") == "allow",
    )


def _is_dry_run(entry: dict[str, Any]) -> bool:
    in_query = parse_qs(urlsplit(entry["requestURI"]).query).get("dryRun")
    in_body = entry["verb"] in {"delete", "deletecollection"} and (entry.get("requestObject") or {}).get("dryRun")
    return bool(in_query or in_body)
