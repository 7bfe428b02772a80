"""What keeping the last good state costs: its size, and the time to save and to load it, without the API server."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from controller.cluster.last_state import LARGEST, canonical, of_canonical, packed, unpacked
from controller.cluster.written import Kept
from controller.gatekeeper.model import Role
from tests.bench.figures import figure, median_of, stopwatch
from tests.bench.translate import prepare, published

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState

CONSTRAINTS: Final = (500, 2000, 5000)
RUNS: Final = 3
GOAL: Final = LARGEST // 4


def run() -> None:
    """Prints bytes and milliseconds for states of 500, 2,000 and 5,000 constraints of the deployment safeguards."""
    documents = published()
    if not documents:
        figure("keeping the last good state", "skipped: Azure's published definitions are not beside this checkout")
        return
    each = _constraints(prepare(documents, 1).make())
    for wanted in CONSTRAINTS:
        _measure(prepare(documents, -(-wanted // each)).make())


def _constraints(desired: DesiredState) -> int:
    return sum(each.role is Role.CONSTRAINT for each in desired.objects)


def _measure(desired: DesiredState) -> None:
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
    size = sum(map(len, parts))
    # What is saved is read back before it is written.
    save_ms, load_ms = (1000 * median_of(times) for times in (saving, loading))
    figure(
        f"the last good state of {_constraints(desired):,} constraints",
        f"{len(text):,} bytes, {size:,} packed in {len(parts)} ConfigMaps, "
        f"saved in {save_ms + load_ms:.0f} ms, loaded in {load_ms:.0f} ms",
        goal=f"<= {GOAL:,} bytes",
        met=len(text) <= GOAL,
    )
