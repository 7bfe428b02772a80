"""How long `azpolicy forecast` takes in a cluster of 5,000 pods, and how much memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.bench.check import AZURE, DEPLOYMENT, gator, safeguards
from tests.bench.figures import at_most, figure, stopwatch, unmeasured
from tests.cluster.harness import TestCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

AZPOLICY: Final = Path(sys.executable).with_name("azpolicy")
DEPLOYMENTS: Final = 400
REPLICAS: Final = 10
BARE: Final = 1000
PODS: Final = DEPLOYMENTS * REPLICAS + BARE
GOAL: Final = 120.0
GOAL_MIB: Final = 400
CLIENTS: Final = 16


def run(folder: Path) -> None:
    """Prints the time and the memory, by Azure's deployment safeguards as if all of them denied."""
    if not AZURE.exists():
        unmeasured(f"forecast of {PODS} pods", "Azure's published definitions are not beside this checkout")
        return
    # Without Gatekeeper: what is measured asks nothing of it, and the pods are made sooner.
    with TestCluster.start(gatekeeper=False) as cluster:
        with ThreadPoolExecutor(CLIENTS) as clients:
            for status, answer in clients.map(lambda made: cluster.request("POST", *made), _seeds(cluster)):
                if status != 201:
                    raise SystemExit(f"{answer}")
        eventually(lambda: _pods(cluster) == PODS, timeout=300, what=f"{PODS} pods")
        command = [str(AZPOLICY), "forecast", "--kubeconfig", str(cluster.kubeconfig), "--gator", gator()]
        command += ["--snapshot", str(safeguards(folder / "snapshot")), "--as", "deny"]
        with stopwatch() as watch:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        # Of what has ended by now, which the cluster's servers have not.
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if not ended.stdout:
        raise SystemExit(ended.stderr)
    summary = ended.stdout.splitlines()[-1].removeprefix("forecast: ")
    figure(f"forecast of {PODS} pods", watch.seconds, "s", goal=at_most(GOAL), detail=summary)
    figure("  its largest process, gator included", largest, "MiB", goal=at_most(GOAL_MIB))


def _seeds(cluster: TestCluster) -> Iterator[tuple[str, dict[str, Any]]]:
    for space in range(20):
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": f"shop-{space}"}})
        account = f"/api/v1/namespaces/shop-{space}/serviceaccounts/default"
        eventually(lambda: cluster.request("GET", account)[0] == 200, what="the service account")  # noqa: B023
    for number in range(DEPLOYMENTS + BARE):
        text = DEPLOYMENT.format(number=number, space=number % 20, bad=str(number % 10 == 0).lower())
        manifest = yaml.safe_load(text)
        namespace = manifest["metadata"]["namespace"]
        if number < DEPLOYMENTS:
            manifest["spec"]["replicas"] = REPLICAS
            yield f"/apis/apps/v1/namespaces/{namespace}/deployments", manifest
        else:
            made = manifest["spec"]["template"] | {"apiVersion": "v1", "kind": "Pod"}
            made["metadata"]["name"] = manifest["metadata"]["name"]
            yield f"/api/v1/namespaces/{namespace}/pods", made


def _pods(cluster: TestCluster) -> int:
    listed = cluster.get("/api/v1/pods?limit=1")
    return 1 + int(listed["metadata"].get("remainingItemCount", 0))
