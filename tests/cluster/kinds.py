"""This project's own kinds in the test cluster, as `kubectl apply -f crds/` makes them, and objects of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.azpolicy import CRDS
from tests.cluster.harness import eventually
from tests.resources import ASSIGNED, SYNC, SYNCS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.harness import TestCluster

FOLDER = Path(__file__).parents[2] / "crds"
NAMES = tuple(f"{file.stem}.azpolicy.dev" for file in sorted(FOLDER.glob("*.yaml")))


@contextlib.contextmanager
def installed(cluster: TestCluster) -> Iterator[None]:
    """The kinds, until the block ends."""
    install(cluster)
    try:
        yield
    finally:
        remove(cluster)


def install(cluster: TestCluster) -> None:
    """Makes the kinds and waits until they are served."""
    cluster.kubectl("apply", "-f", str(FOLDER))
    eventually(lambda: all(cluster.request("GET", path)[0] == 200 for path in (SYNCS, ASSIGNED)), what="our kinds")


def remove(cluster: TestCluster) -> None:
    """Takes the kinds away, and their objects with them."""
    for name in NAMES:
        cluster.request("DELETE", f"{CRDS}/{name}")
    eventually(lambda: not present(cluster), what="our kinds to go")


def present(cluster: TestCluster) -> list[str]:
    """The kinds that are there."""
    return [name for name in NAMES if cluster.request("GET", f"{CRDS}/{name}")[0] == 200]


def put(cluster: TestCluster, collection: str, document: Mapping[str, Any]) -> None:
    """Writes an object as the operator would: the API server must take all of it."""
    status, made = cluster.request("POST", f"{collection}?fieldValidation=Strict", document)
    assert status == 201, made
    if collection == SYNCS:
        report(cluster, **document["status"])


def report(cluster: TestCluster, **status: Any) -> None:
    """Writes fields into PolicySync's status."""
    code, answer = cluster.request("PATCH", f"{SYNC}/status?fieldValidation=Strict", {"status": status})
    assert code == 200, answer
