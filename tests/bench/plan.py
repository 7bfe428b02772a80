"""How long a full plan takes that judges every object anew, by the number of objects: pure computation, one core."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from controller.cluster.changes import Keep
from controller.cluster.kinds import Inventory
from controller.cluster.plan import make_plan
from controller.config import AzureOptions, SourceOptions
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import OwnershipMarks
from controller.source import read_desired_state
from tests.bench.figures import at_most, growing, median_of, stopwatch
from tests.bench.scale import write_snapshot
from tests.bench.simulated import stored

if TYPE_CHECKING:
    from pathlib import Path

SIZES: Final = (2500, 5000, 10_000)
RUNS: Final = 3
GOAL: Final = 2.0


def run(folder: Path) -> None:
    """Tells the time of reading a desired state from files, and of the plan for a cluster that is as desired."""
    reading: dict[int, float] = {}
    planning: dict[int, float] = {}
    for size in SIZES:
        snapshot = folder / f"snapshot-{size}"
        write_snapshot(snapshot, size)
        reading[size], planning[size] = _seconds(snapshot)
    growing("a full plan by objects", planning, "s", goal=at_most(GOAL))
    growing("  reading the snapshot that they come from, in threads beside the event loop", reading, "s")


def _seconds(snapshot: Path) -> tuple[float, float]:
    azure = AzureOptions("public", "", "", "", "", "azure-cli", ())
    marks = OwnershipMarks()
    with stopwatch() as read:
        desired = asyncio.run(
            read_desired_state(SourceOptions(snapshot, azure, None, "bundle", (), (), None, marks, ()))
        )
    live = (stored(wanted, number) for number, wanted in enumerate(desired.objects))
    objects = {each.ref: each for each in live}
    served = frozenset(each.ref.kind for each in desired.objects if each.role is Role.CONSTRAINT)
    times = []
    for _ in range(RUNS):
        with stopwatch() as watch:
            plan = make_plan(desired, Inventory(objects, served), marks)
        if len(plan.of(Keep)) != len(objects):
            raise SystemExit("the plan of a cluster that is as desired is not to keep everything")
        times.append(watch.seconds)
    return read.seconds, median_of(times)
