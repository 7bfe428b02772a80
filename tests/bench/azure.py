"""What reading Azure costs, and how long a change in Azure takes to be enforced: against the ARM stand-in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controller.azure.arm import ArmReader
from tests.azure.benchmark import benchmark
from tests.azure.documents import load
from tests.azure.standin import Standin
from tests.azure.world import CLUSTER_ID, assignment_id, make_assignment
from tests.bench.figures import at_most, figure, median_of, quantity
from tests.cluster.azpolicy import all_constraints, enforced
from tests.cluster.harness import TestCluster, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
AZPOLICY: Final = Path(sys.executable).with_name("azpolicy")
ASSIGNMENTS: Final = 100
CHANGES: Final = 10
# Members of one initiative; the cloud security benchmark has 223, and a goal for its first poll.
BENCHMARK: Final = 223
MEMBERS: Final = (1, 100, BENCHMARK, 1000)
GOAL: Final = 30
SETTLED: Final = 4


def run(folder: Path) -> None:
    """Prints the requests of a poll, then the time to enforcement on a real cluster."""
    _by_members()
    documents = [each for each in load(ROOT / "examples" / "snapshot") if "policyAssignments" not in each["id"]]
    [cluster_id] = [each["id"] for each in documents if "managedClusters" in each["id"]]
    [initiative] = [each["id"] for each in documents if "policySetDefinitions" in each["id"]]
    images = "/providers/Microsoft.Authorization/policyDefinitions/febd0533-8e55-448f-b837-bd0e06f16469"
    parameters = {"effect": {"value": "Deny"}, "allowedContainerImagesRegex": {"value": "^registry.example.com/.+$"}}
    with Standin(documents) as arm:
        for number in range(ASSIGNMENTS):
            assigned = images if number % 2 else initiative
            arm.documents.put(make_assignment(f"bench-{number:03}", assigned, scope=cluster_id, parameters=parameters))
        first, settled, _ = asyncio.run(_requests(arm, cluster_id))
        figure(f"a first poll of {ASSIGNMENTS} assignments", first, "requests")
        figure("  a poll that finds no news", settled, "requests", goal=at_most(SETTLED))
        for number in range(1, ASSIGNMENTS):
            arm.documents.delete(assignment_id(f"bench-{number:03}", cluster_id))
        with TestCluster.start(audit_interval=60) as cluster:
            _to_enforcement(cluster, arm, cluster_id, folder)


def _by_members() -> None:
    """What a first poll costs, and one that finds no news, by the number of members of the one assigned initiative."""
    for members in MEMBERS:
        with Standin(benchmark(members)) as arm:
            cold, settled, polls = asyncio.run(_requests(arm, CLUSTER_ID))
        told = f"{settled} when nothing changed, after {polls} poll{'s' if polls > 1 else ''}"
        name = f"a first poll, {members} members of one initiative"
        figure(name, cold, "requests", goal=at_most(GOAL) if members == BENCHMARK else None, detail=told)


async def _requests(arm: Standin, cluster_id: str) -> tuple[int, int, int]:
    """The requests of the first poll and of a settled one, and after how many polls every definition has been read."""
    async with ArmReader(arm.settings(cluster_id)) as reader:
        reading = await reader.read()
        cold, polls = reading.requests, 1
        while reading.state.presumed:
            reading, polls = await reader.read(), polls + 1
        return cold, (await reader.read()).requests, polls


def _to_enforcement(cluster: TestCluster, arm: Standin, cluster_id: str, folder: Path) -> None:
    """From the moment Azure knows another effect until Gatekeeper says that it enforces the constraint so."""
    with _operator(cluster, arm, cluster_id, folder):
        eventually(lambda: len(all_constraints(cluster)) == 5, timeout=120, what="five constraints")
        path = min(all_constraints(cluster))
        initiative = _initiative_of(arm, cluster_id)
        times = []
        for number in range(CHANGES):
            effect, action = (("Audit", "dryrun"), ("Deny", "deny"))[number % 2]
            changed = make_assignment(
                "bench-000", initiative, scope=cluster_id, parameters={"effect": {"value": effect}}
            )
            arm.documents.put(changed)
            start = time.perf_counter()
            while not (cluster.get(path)["spec"]["enforcementAction"] == action and enforced(cluster, path)):
                if time.perf_counter() - start > 60:
                    raise SystemExit(f"{path} did not become {action}")
            times.append(time.perf_counter() - start)
    name = f"changed assignment to enforced constraint, {CHANGES} changes"
    figure(name, median_of(times), "s", detail=f"longest {quantity(max(times), 's')}, with a poll every second")


def _initiative_of(arm: Standin, cluster_id: str) -> str:
    document: Any = arm.documents.newest(assignment_id("bench-000", cluster_id))
    return str(document["properties"]["policyDefinitionId"])


@contextmanager
def _operator(cluster: TestCluster, arm: Standin, cluster_id: str, folder: Path) -> Iterator[None]:
    cloud = arm.cloud
    command = [str(AZPOLICY), "run", "--kubeconfig", str(cluster.kubeconfig), "--interval", "1", "--cluster-id"]
    command += [cluster_id, "--cloud", "custom", "--cloud-endpoint", cloud.endpoint, "--listen", "127.0.0.1:0"]
    command += ["--cloud-audience", "https://arm.test", "--cloud-authority", cloud.authority]
    command += ["--cloud-ca-file", cloud.ca_file, "--credential", "client-secret"]
    with (folder / "operator.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, **arm.environ})
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
