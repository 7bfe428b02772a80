"""The bundle's mutations in Gatekeeper itself, since gator cannot judge them.

Each has samples of objects before and after. What Gatekeeper makes of the first must be what the API server, without
any mutator, makes of the second: so all that a mutation changes is written down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.azpolicy import MUTATORS, projection
from tests.cluster.harness import TestCluster, eventually

BUNDLE = Path(__file__).parents[2] / "templates"
FOLDERS = sorted(path.parent for path in BUNDLE.glob("*/v*/mutation.yaml"))
COLLECTIONS = {
    "Pod": "/api/v1/namespaces/default/pods",
    "Node": "/api/v1/nodes",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
}
TOKEN_VOLUME = "kube-api-access-"


def load_all(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def answer(cluster: TestCluster, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the API server would store of a manifest."""
    status, live = cluster.request("POST", f"{COLLECTIONS[manifest['kind']]}?dryRun=All", manifest)
    assert status == 201, live
    stored = projection(live)
    # A plugin of the API server mounts the token under a name of random, and before it asks any webhook.
    for part in (stored["spec"], *stored["spec"].get("containers", []), *stored["spec"].get("initContainers", [])):
        for field in ("volumes", "volumeMounts"):
            part[field] = [one for one in part.get(field, []) if not one["name"].startswith(TOKEN_VOLUME)]
    return stored


@contextmanager
def in_force(cluster: TestCluster, mutator: dict[str, Any], sample: dict[str, Any]) -> Iterator[None]:
    """A mutator while it is in force, which the sample shows by being changed, and until it no longer is."""
    name, collection = mutator["metadata"]["name"], f"{MUTATORS}/{mutator['kind'].lower()}"
    untouched = answer(cluster, sample)
    status, created = cluster.request("POST", f"{collection}?fieldValidation=Strict", mutator)
    assert status == 201, created
    try:
        eventually(lambda: answer(cluster, sample) != untouched, what=f"{name} to be in force")
        yield
    finally:
        cluster.request("DELETE", f"{collection}/{name}")
        eventually(lambda: answer(cluster, sample) == untouched, what=f"{name} to be gone")


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.parent.name for folder in FOLDERS])
def test_a_mutation_makes_the_sample_before_the_sample_after_and_changes_nothing_else(
    cluster: TestCluster, folder: Path
) -> None:
    before, after = (load_all(folder / "samples" / name) for name in ("before.yaml", "after.yaml"))
    [mutator] = load_all(folder / "mutation.yaml")
    expected = [answer(cluster, manifest) for manifest in after]
    changed = next(one for one, other in zip(before, after, strict=True) if one != other)

    with in_force(cluster, mutator, changed):
        assert [answer(cluster, manifest) for manifest in before] == expected
        assert [answer(cluster, manifest) for manifest in after] == expected


def test_a_pod_from_before_a_mutation_can_still_be_changed(cluster: TestCluster) -> None:
    """Kubernetes lets nobody change most of a pod, so a mutation of its updates would have every label refused."""
    folder = BUNDLE / "mutate-container-allowed-capabilities-containers" / "v1"
    [mutator], [sample] = (load_all(folder / name) for name in ("mutation.yaml", "samples/before.yaml"))
    path = f"{COLLECTIONS['Pod']}/from-before"
    status, created = cluster.request("POST", COLLECTIONS["Pod"], {**sample, "metadata": {"name": "from-before"}})
    assert status == 201, created

    try:
        with in_force(cluster, mutator, sample):
            status, labelled = cluster.request("PATCH", path, {"metadata": {"labels": {"team": "shop"}}})
    finally:
        cluster.request("DELETE", f"{path}?gracePeriodSeconds=0")

    assert status == 200, labelled
