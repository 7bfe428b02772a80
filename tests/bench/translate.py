"""How fast members become objects: pure computation, one core."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controller.azure.model import fold
from controller.azure.parse import build_state, parse_resource
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.providers import make_provider
from controller.gatekeeper.sources import wanted_documents
from controller.gatekeeper.translate import translate
from controller.policy.resolve import resolve
from tests.bench.figures import figure, median_of, stopwatch

if TYPE_CHECKING:
    from controller.azure.model import AzureState
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.sources import Documents

AZURE: Final = Path(__file__).parents[3] / "shared" / "azure-policy"
SAFEGUARDS: Final = "c047ea8e-9c78-49b2-958b-37e56d291a44"
SUBSCRIPTION: Final = "/subscriptions/00000000-0000-0000-0000-000000000001"
CLUSTER: Final = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/bench"
GOAL: Final = 10_000
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> None:
    """Prints members a second for 100, 200 and 400 assignments of the newest deployment safeguards initiative."""
    documents = published()
    if not documents:
        figure("translating", "skipped: Azure's published definitions are not beside this checkout")
        return
    rates = {count: _rate(documents, count) for count in (100, 200, 400)}
    for count, (rate, members) in rates.items():
        met = rate >= GOAL if count == 200 else None
        figure(
            f"translating {count} assignments ({members} members)", f"{rate:,.0f} members/s", goal=f"{GOAL:,}", met=met
        )
    linear = rates[400][0] / rates[100][0]
    figure("  rate at 400 assignments over rate at 100 (1 = linear)", f"{linear:.2f}")


@dataclass(frozen=True, slots=True)
class Translation:
    """All that translating takes, once it was fetched: the same work at each `make`."""

    state: AzureState
    documents: Documents

    def make(self) -> DesiredState:
        """Resolves and translates."""
        listed = frozenset(fold(a.id) for a in self.state.assignments)
        resolutions = resolve(self.state, NOW)
        return translate(resolutions, self.documents, cluster_id=CLUSTER, marks=OwnershipMarks(), listed=listed)


def published() -> list[dict[str, Any]]:
    """Azure's published definitions, none where they are not beside this checkout."""
    return [json.loads(path.read_text()) for path in sorted(AZURE.rglob("*.json"))] if AZURE.exists() else []


def prepare(documents: list[dict[str, Any]], count: int) -> Translation:
    """So many assignments of the newest deployment safeguards initiative."""
    parameters = {"allowedContainerImagesRegex": {"value": "^registry.example.com/.+$"}}
    assignments = [_assignment(f"bench-{n}", parameters) for n in range(count)]
    cluster = {"id": CLUSTER, "type": "Microsoft.ContainerService/managedClusters", "name": "bench", "location": "x"}
    resources = [parse_resource(document, "bench") for document in [cluster, *assignments, *documents]]
    state = build_state([("bench", resource) for resource in resources if resource is not None], CLUSTER)
    provider = make_provider("bundle")
    return Translation(state, asyncio.run(provider.fetch(wanted_documents(resolve(state, NOW)))))


def _rate(documents: list[dict[str, Any]], count: int) -> tuple[float, int]:
    translation = prepare(documents, count)
    times = []
    members = 0
    for _ in range(3):
        with stopwatch() as watch:
            desired = translation.make()
        members = len(desired.outcomes)
        times.append(watch.seconds)
    return members / median_of(times), members


def _assignment(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{SUBSCRIPTION}/providers/Microsoft.Authorization/policyAssignments/{name}",
        "type": "Microsoft.Authorization/policyAssignments",
        "name": name,
        "properties": {
            "scope": SUBSCRIPTION,
            "policyDefinitionId": f"/providers/Microsoft.Authorization/policySetDefinitions/{SAFEGUARDS}",
            "parameters": parameters,
        },
    }
