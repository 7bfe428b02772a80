"""Runs gator, Gatekeeper's own command line: as little as needed, on every core.

gator judges one object after the other and keeps each as data besides. So it gets no object that no constraint looks
at, and several of it share the rest. What rules look up in others is given to all of them, for one alone to judge.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from controller.errors import InputError
from controller.gatekeeper.model import Role
from controller.gatekeeper.syncset import SyncDataError, required_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.gatekeeper.model import DesiredObject

UID: Final = "azpolicy-check-"
_SHARE: Final = 100  # objects, below which starting another process costs more than it saves
_MAX_PROCESSES: Final = 8
_ANY: Final = "*"
# Half of a short run went into collecting garbage.
_ENVIRONMENT: Final = {"GOGC": "400"}


def find_gator(named: str) -> str:
    """The program's path; InputError where it is not there."""
    found = shutil.which(named)
    if found is None:
        raise InputError(
            f"{named} was not found: install gator from Gatekeeper's releases, or name it with --gator PATH"
        )
    return found


def ask(
    gator: str, policies: Sequence[DesiredObject], documents: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """gator's results for the documents whose uid begins with UID; other documents are there to be looked up."""
    looked_at = _kinds(policies)
    looked_up = _data(policies)
    needed = [d for d in documents if _is_in(d, looked_at) or _is_in(d, looked_up)]
    judged = [d for d in needed if _is_in(d, looked_at)]
    if not judged:
        return []
    processes = max(1, min(os.cpu_count() or 1, _MAX_PROCESSES, len(judged) // _SHARE))
    shared = [_without_uid(d) for d in needed if _is_in(d, looked_up)]
    manifests = [policy.manifest for policy in policies]
    with ThreadPoolExecutor(processes) as pool:
        shares = [judged[n::processes] for n in range(processes)]
        runs = [pool.submit(_run, gator, [*manifests, *_joined(share, shared)]) for share in shares]
        return [result for run in runs for result in run.result() if _uid(result["violatingObject"])]


def _run(gator: str, documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One gator's results. It exits with 1 for a denial and for an error, so only its output distinguishes them."""
    stream = "\n---\n".join(json.dumps(document) for document in documents)
    try:
        ended = subprocess.run(  # noqa: S603 - the program that the user named
            [gator, "test", "--output=json"],
            input=stream,
            capture_output=True,
            text=True,
            check=False,
            env=_ENVIRONMENT | os.environ,
        )
    except OSError as error:
        raise InputError(f"{gator} cannot be run: {error.strerror}") from error
    try:
        results: list[Mapping[str, Any]] | None = json.loads(ended.stdout)
    except ValueError:
        said = " ".join((ended.stderr or ended.stdout).split()) or f"exit code {ended.returncode}"
        raise InputError(f"{gator} cannot judge: {said}") from None
    return results or []


def _kinds(policies: Sequence[DesiredObject]) -> frozenset[tuple[str, str]]:
    """Group and kind of what the constraints look at; `*` where they look at all."""
    found: set[tuple[str, str]] = set()
    for policy in policies:
        if policy.role is Role.CONSTRAINT:
            spec: Any = policy.manifest["spec"]
            everything = [{"apiGroups": [_ANY], "kinds": [_ANY]}]
            for entry in (spec.get("match") or {}).get("kinds") or everything:
                groups, kinds = entry.get("apiGroups") or [_ANY], entry.get("kinds") or [_ANY]
                found.update((group, kind) for group in groups for kind in kinds)
    return frozenset(found)


def _data(policies: Sequence[DesiredObject]) -> frozenset[tuple[str, str]]:
    """Group and kind of what rules look up in others; namespaces always, as a constraint can select by their labels."""
    found = {("", "Namespace")}
    for policy in policies:
        metadata: Any = policy.manifest["metadata"]
        try:
            found.update((kind.group, kind.kind) for kind in required_data(metadata.get("annotations") or {}))
        except SyncDataError as error:
            raise AssertionError(f"{policy.ref}: {error}") from error
    return frozenset(found)


def _is_in(document: Mapping[str, Any], kinds: frozenset[tuple[str, str]]) -> bool:
    group, kind = str(document["apiVersion"]).rpartition("/")[0], str(document["kind"])
    return not kinds.isdisjoint({(group, kind), (_ANY, kind), (group, _ANY), (_ANY, _ANY)})


def _joined(share: Sequence[Mapping[str, Any]], shared: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A share, and what rules look up in others without what the share has itself."""
    own = {_identity(document) for document in share}
    return [*share, *(document for document in shared if _identity(document) not in own)]


def _identity(document: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = document["metadata"]
    return (
        str(document["apiVersion"]),
        str(document["kind"]),
        str(metadata.get("namespace", "")),
        str(metadata.get("name")),
    )


def _uid(document: Mapping[str, Any]) -> str:
    uid = str(document["metadata"].get("uid", ""))
    return uid if uid.startswith(UID) else ""


def _without_uid(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**document, "metadata": {k: v for k, v in document["metadata"].items() if k != "uid"}}
