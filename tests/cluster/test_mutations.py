"""The bundle's mutations in Gatekeeper itself, since gator cannot judge them.

Each has samples of objects before and after. What Gatekeeper makes of the first must be what the API server, without
any mutator, makes of the second: so all that a mutation changes is written down. All requests are dry runs.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.azpolicy import MUTATORS, projection
from tests.cluster.harness import TestCluster, eventually

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "templates").glob("*/v*/mutation.yaml"))
COLLECTIONS = {
    "Pod": "/api/v1/namespaces/default/pods",
    "Node": "/api/v1/nodes",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
}
TOKEN_VOLUME = "kube-api-access-"


def load_all(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def answers(cluster: TestCluster, manifests: list[Any]) -> list[dict[str, Any]]:
    """What the API server would store of each manifest."""
    return [answer(cluster, manifest) for manifest in manifests]


def answer(cluster: TestCluster, manifest: dict[str, Any]) -> dict[str, Any]:
    status, live = cluster.request("POST", f"{COLLECTIONS[manifest['kind']]}?dryRun=All", manifest)
    assert status == 201, live
    stored = projection(live)
    # A plugin of the API server mounts the token under a name of random, and before it asks any webhook.
    for part in (stored["spec"], *stored["spec"].get("containers", []), *stored["spec"].get("initContainers", [])):
        for field in ("volumes", "volumeMounts"):
            part[field] = [one for one in part.get(field, []) if not one["name"].startswith(TOKEN_VOLUME)]
    return stored


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.parent.name for folder in FOLDERS])
def test_a_mutation_makes_the_sample_before_the_sample_after_and_changes_nothing_else(
    cluster: TestCluster, folder: Path
) -> None:
    before, after = (load_all(folder / "samples" / name) for name in ("before.yaml", "after.yaml"))
    untouched, expected = answers(cluster, before), answers(cluster, after)
    [mutator] = load_all(folder / "mutation.yaml")
    collection = f"{MUTATORS}/{mutator['kind'].lower()}"

    status, created = cluster.request("POST", f"{collection}?fieldValidation=Strict", mutator)
    assert status == 201, created
    try:
        eventually(lambda: answers(cluster, before) != untouched, what=f"{mutator['metadata']['name']} to be in force")

        assert answers(cluster, before) == expected
        assert answers(cluster, after) == expected
    finally:
        cluster.request("DELETE", f"{collection}/{mutator['metadata']['name']}")
        eventually(lambda: answers(cluster, before) == untouched, what=f"{mutator['metadata']['name']} to be gone")
