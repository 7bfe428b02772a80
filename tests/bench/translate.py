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
from tests.bench.figures import at_least, figure, growing, median_of, stopwatch, unmeasured

if TYPE_CHECKING:
    from controller.azure.model import AzureState
    from controller.gatekeeper.model import DesiredState
    from controller.gatekeeper.sources import Documents

AZURE: Final = Path(__file__).parents[3] / "shared" / "azure-policy"
SAFEGUARDS: Final = "c047ea8e-9c78-49b2-958b-37e56d291a44"
SUBSCRIPTION: Final = "/subscriptions/00000000-0000-0000-0000-000000000001"
CLUSTER: Final = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/bench"
COUNTS: Final = (100, 200, 400)
GOAL: Final = 10_000
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> None:
    """Tells how long 100, 200 and 400 assignments of the newest deployment safeguards initiative take."""
    documents = published()
    if not documents:
        unmeasured("translating", "Azure's published definitions are not beside this checkout")
        return
    taken = {count: _seconds(documents, count) for count in COUNTS}
    growing(
        "translating assignments of the deployment safeguards",
        {count: seconds for count, (seconds, _) in taken.items()},
        "s",
    )
    seconds, members = taken[COUNTS[-1]]
    figure("members translated", members / seconds, "members/s", goal=at_least(GOAL))


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


def _seconds(documents: list[dict[str, Any]], count: int) -> tuple[float, int]:
    """How long so many assignments take, and how many members these have."""
    translation = prepare(documents, count)
    times = []
    members = 0
    for _ in range(3):
        with stopwatch() as watch:
            desired = translation.make()
        members = len(desired.outcomes)
        times.append(watch.seconds)
    return median_of(times), members


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
