"""What keeping the last good state costs: its size, and the time to save and to load it, without the API server."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

from controller.cluster.last_state import LARGEST, canonical, of_canonical, packed, unpacked
from controller.cluster.written import Kept
from controller.gatekeeper.model import Role
from tests.bench.figures import at_most, growing, median_of, quantity, stopwatch, unmeasured
from tests.bench.translate import prepare, published

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState

CONSTRAINTS: Final = (500, 2000, 5000)
RUNS: Final = 3
GOAL: Final = LARGEST // 4


def run() -> None:
    """Tells bytes and seconds for states of 500, 2,000 and 5,000 constraints of the deployment safeguards."""
    documents = published()
    if not documents:
        unmeasured("keeping the last good state", "Azure's published definitions are not beside this checkout")
        return
    each = _constraints(prepare(documents, 1).make())
    costs = {size: _measure(prepare(documents, -(-size // each)).make()) for size in CONSTRAINTS}
    packed_size = quantity(costs[CONSTRAINTS[-1]].packed, "bytes")
    growing(
        "the last good state by constraints",
        {size: cost.bytes for size, cost in costs.items()},
        "bytes",
        goal=at_most(GOAL),
        detail=f"packed in ConfigMaps {packed_size}",
    )
    growing("  saving it", {size: cost.saving for size, cost in costs.items()}, "s")
    growing("  loading it", {size: cost.loading for size, cost in costs.items()}, "s")


class Cost(NamedTuple):
    """What a state costs to keep: bytes, and seconds of work."""

    bytes: int
    packed: int
    saving: float
    loading: float


def _constraints(desired: DesiredState) -> int:
    return sum(each.role is Role.CONSTRAINT for each in desired.objects)


def _measure(desired: DesiredState) -> Cost:
    uids = {each.ref: str(uuid.uuid4()) for each in desired.objects}
    templates = {each.ref: each for each in desired.objects if each.role is Role.TEMPLATE}
    kept = Kept(desired, uids, templates)
    saving, loading = [], []
    for _ in range(RUNS):
        with stopwatch() as save:
            text = canonical(kept)
            parts = packed(text)
        with stopwatch() as load:
            found = of_canonical(unpacked(parts))
        if found != kept:
            raise SystemExit("the state does not come back as it was")
        saving.append(save.seconds)
        loading.append(load.seconds)
    # What is saved is read back before it is written.
    saved, loaded = median_of(saving), median_of(loading)
    return Cost(len(text), sum(map(len, parts)), saved + loaded, loaded)
