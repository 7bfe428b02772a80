"""What the operator costs by the number of constraints: a compare of a cluster at rest, an audit, memory.

On a simulated API server (`tests.bench.simulated`): a real one takes half an hour on two cores to store 5,000
constraints and to audit them, which says nothing of azpolicy. As it is deployed: with a report on each constraint, and
with the environment that the image sets.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from controller.bounded_json import read_bounded
from controller.cluster.kinds import ASSIGNED_POLICY
from tests.bench.cluster import AZPOLICY, ROOT, _assignment, _definition, _initiative
from tests.bench.figures import at_most, figure, growing, quantity
from tests.bench.simulated import AUDIT, COMPARES, EVENTS, VIOLATIONS, WRITES
from tests.cluster.harness import eventually
from tests.cluster.harness.processes import free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = (500, 2000, 5000)
KINDS: Final = 60
# So 5,000 constraints come from 1,000 assignments.
MEMBERS: Final = 5
SYNCS: Final = 5
SCRAPES: Final = 5
RESYNC: Final = "5"
NEVER: Final = "86400"
GOAL_MIB: Final = 300
GOAL_SECONDS: Final = 1.0
GOAL_PIECE: Final = 0.05
# Beside reading an event as JSON, there is what keeps its object: twice the time is next to nothing.
GOAL_EVENT: Final = 2.0
QUIET_SECONDS: Final = 12
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run the operator, by what is added to its command line."""

    name: str
    options: tuple[str, ...] = ()


EVERYTHING: Final = Variant(
    "with reports, page and expansion on",
    ("--reports", "openreports", "--page-listen", "127.0.0.1:0", "--expansion", "all"),
)
# The first is measured at each size, the others at the largest. What can be switched on is added here.
VARIANTS: Final = (Variant("as deployed"), EVERYTHING)


class Rest(NamedTuple):
    """What a full compare of a cluster at rest costs, and a scrape: CPU seconds, the loop's longest piece, writes."""

    seconds: float
    scrape: float
    piece: float
    writes: float


class Costs(NamedTuple):
    """What is measured of one variant at one size; `event` is CPU time over that of reading the event as JSON."""

    rest: Rest
    resident: float
    peak: float
    standby: float
    event: float
    event_seconds: float


def run(folder: Path, sizes: tuple[int, ...] = SIZES) -> None:
    """Tells what the operator costs at each size, and by each variant of its settings at the largest."""
    usual = {size: _costs(folder, size, VARIANTS[0]) for size in sizes}
    largest = usual[max(sizes)]
    by = f"by constraints in {KINDS} kinds"
    rests = {size: each.rest.seconds for size, each in usual.items()}
    writes = f"{largest.rest.writes:g} writes"
    growing(f"CPU of a full compare at rest, {by}", rests, "s", goal=at_most(GOAL_SECONDS), detail=writes)
    pieces = {size: each.rest.piece for size, each in usual.items()}
    growing("  no piece of the event loop longer than", pieces, "s", goal=at_most(GOAL_PIECE))
    scrapes = {size: each.rest.scrape for size, each in usual.items()}
    growing(f"CPU of a scrape of /metrics, {by}", scrapes, "s")
    events = quantity(largest.event_seconds, "s")
    figure(
        f"an audit that writes {max(sizes):,} statuses, CPU of an event over reading it as JSON",
        largest.event,
        "times",
        goal=at_most(GOAL_EVENT),
        detail=f"{events} of CPU for each event of {VIOLATIONS} violations",
    )
    growing(
        f"resident memory {by}",
        {size: each.resident for size, each in usual.items()},
        "MiB",
        goal=at_most(GOAL_MIB),
        detail=f"at most {quantity(largest.peak, 'MiB')}",
    )
    growing("  standing by", {size: each.standby for size, each in usual.items()}, "MiB")
    for variant in VARIANTS[1:]:
        told = _costs(folder, max(sizes), variant)
        name = f"{max(sizes):,} constraints, {variant.name}"
        figure(f"{name}: resident memory", told.resident, "MiB", goal=at_most(GOAL_MIB))
        figure(f"{name}: CPU of a full compare at rest", told.rest.seconds, "s", goal=at_most(GOAL_SECONDS))
        figure(f"{name}: writes at rest", told.rest.writes, "", goal=at_most(0))


def _costs(folder: Path, constraints: int, variant: Variant) -> Costs:
    snapshot = folder / f"snapshot-{constraints}-{VARIANTS.index(variant)}"
    write_snapshot(snapshot, constraints)
    with _api_server(snapshot) as kubeconfig:
        with _operator(snapshot, kubeconfig, "leader", RESYNC, variant) as (leader, pages):
            _wait_settled(kubeconfig, pages, constraints)
            rest = _at_rest(kubeconfig, leader, pages)
            resident, peak = _memory(leader)
            with _operator(snapshot, kubeconfig, "standby", RESYNC, variant) as (standby, _):
                waiting = _memory(standby)[0]
        with _operator(snapshot, kubeconfig, "watcher", NEVER, variant) as (watcher, pages):
            eventually(lambda: _total(pages, "azpolicy_syncs_total") >= 1, timeout=120, what="the first full compare")
            reading, used = _audit(kubeconfig, watcher)
    return Costs(rest, resident, peak, waiting, used / reading, used / constraints)


def _at_rest(kubeconfig: Path, leader: int, pages: str) -> Rest:
    """The cost of one of some full compares that find nothing to do, and of one scrape of the metrics."""
    lags = _lags(pages)
    first = _compare_ended(kubeconfig, leader)
    before, writes = _cpu(leader), _counted(kubeconfig, WRITES)
    # Not counted by the operator's metrics: at this size, scraping them again and again was a third of the figure.
    eventually(lambda: _counted(kubeconfig, COMPARES) >= first + SYNCS, timeout=300, what=f"{SYNCS} full compares")
    made = _compare_ended(kubeconfig, leader) - first
    used = _cpu(leader) - before
    for _ in range(SCRAPES):
        _page(f"{pages}/metrics")
    scrape = (_cpu(leader) - before - used) / SCRAPES
    later = _lags(pages)
    # The lag of the loop is counted in ranges: the upper bound of the longest.
    piece = min(bound for bound in later if later[bound] - lags[bound] == later[max(later)] - lags[max(lags)])
    return Rest(used / made, scrape, piece, _counted(kubeconfig, WRITES) - writes)


def _compare_ended(kubeconfig: Path, leader: int) -> float:
    """How many full compares there were, once one has ended and nothing follows from it any more."""
    started = _counted(kubeconfig, COMPARES)
    eventually(lambda: _counted(kubeconfig, COMPARES) > started, timeout=60, what="a full compare")
    _quiet(leader, seconds=2)
    return _counted(kubeconfig, COMPARES)


def _audit(kubeconfig: Path, watcher: int) -> tuple[float, float]:
    """CPU seconds for reading the events of an audit as JSON, and those that the operator took for them."""
    _quiet(watcher)
    before = _cpu(watcher)
    events = _get(kubeconfig, AUDIT).splitlines()
    eventually(lambda: _counted(kubeconfig, EVENTS) >= len(events), timeout=300, what="the events to be read")
    _quiet(watcher)
    used = _cpu(watcher) - before
    start = time.process_time()
    for event in events:
        read_bounded(event.encode())
    return time.process_time() - start, used


def _quiet(pid: int, seconds: int = QUIET_SECONDS) -> None:
    """Waits until a process does next to nothing for so long, by default for as long as a report is put off."""
    looks = [_cpu(pid)]

    def at_rest() -> bool:
        time.sleep(1)  # what is waited for is that nothing happens
        looks.append(_cpu(pid))
        return len(looks) > seconds and looks[-1] - looks[-1 - seconds] < max(0.01 * seconds, 4 / _TICKS)

    eventually(at_rest, timeout=120, what="the operator to be at rest")


def write_snapshot(folder: Path, constraints: int) -> None:
    """So many constraints in KINDS kinds: assignments of initiatives with MEMBERS members each."""
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "snapshot" / "cluster.json", folder)
    templates = sorted((ROOT / "templates").glob("*/v*/template.yaml"))[:KINDS]
    definitions = [_definition(f"{path.parents[1].name}/{path.parent.name}") for path in templates]
    ids = [each["id"] for each in definitions]
    groups = [ids[start : start + MEMBERS] for start in range(0, len(ids), MEMBERS)]
    initiatives = [_initiative(group, f"bench-{number}") for number, group in enumerate(groups)]
    count = constraints // MEMBERS
    assignments = [_assignment(number, initiatives[number % len(initiatives)]["id"]) for number in range(count)]
    (folder / "policies.json").write_text(json.dumps([*definitions, *initiatives, *assignments]))


@contextmanager
def _api_server(snapshot: Path) -> Iterator[Path]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.simulated", str(snapshot), str(port)]
    with (snapshot.parent / f"{snapshot.name}-api.log").open("wb") as log:
        process = spawn(command, log=log, folder=ROOT)
    try:
        eventually(lambda: _page(f"127.0.0.1:{port}/api"), timeout=120, what="the simulated API server")
        kubeconfig = snapshot.parent / f"{snapshot.name}.kubeconfig"
        named = {"cluster": "bench", "user": "bench"}
        config = {
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": named}],
        }
        kubeconfig.write_text(json.dumps(config))
        yield kubeconfig
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def _operator(snapshot: Path, kubeconfig: Path, name: str, resync: str, variant: Variant) -> Iterator[tuple[int, str]]:
    """A replica: its process, and the address of its pages once it is ready."""
    listen = f"127.0.0.1:{free_port()}"
    command = [str(AZPOLICY), "run", "--kubeconfig", str(kubeconfig), "--listen", listen, "--resync", resync]
    command += ["--leader-elect", "--identity", name, "--snapshot", str(snapshot), *variant.options]
    with (snapshot.parent / f"{snapshot.name}-{name}.log").open("wb") as log:
        process = spawn(command, log=log, folder=snapshot.parent, environ=_image_environ())
        try:
            ready = eventually(
                lambda: process.poll() is not None or _page(f"{listen}/readyz"), timeout=120, what=f"the {name}"
            )
            if ready is True:
                raise SystemExit(f"the {name} ended with {process.returncode}: {log.name}")
            yield process.pid, listen
        finally:
            process.terminate()
            process.wait(30)


def _wait_settled(kubeconfig: Path, pages: str, constraints: int) -> None:
    """Waits for a report on each constraint, and for two full compares after that."""

    def reported() -> bool:
        page = json.loads(_get(kubeconfig, f"{ASSIGNED_POLICY.path()}?limit=1"))
        return bool(page["metadata"].get("remainingItemCount", 0) + 1 >= constraints)

    eventually(reported, timeout=300, what="a report on each constraint")
    wanted = _total(pages, "azpolicy_syncs_total") + 2
    eventually(lambda: _total(pages, "azpolicy_syncs_total") >= wanted, timeout=300, what="full compares")


def _image_environ() -> dict[str, str]:
    """What the image sets, so that the figures are those of a pod."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    return dict(re.findall(r"\b((?:MALLOC|PYTHON)_?\w+)=(\S+)", text))


def _page(address: str) -> str | None:
    try:
        with urllib.request.urlopen(f"http://{address}", timeout=30) as response:
            text: str = response.read().decode()
            return text
    except OSError:
        return None


def _get(kubeconfig: Path, path: str) -> str:
    """What the simulated API server answers."""
    server = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"].removeprefix("http://")
    return _page(f"{server}{path}") or "{}"


def _counted(kubeconfig: Path, path: str) -> float:
    return float(json.loads(_get(kubeconfig, path))["count"])


def _samples(address: str, name: str) -> dict[str, float]:
    """A metric's samples by their `le`, or else by their other labels."""
    families = text_string_to_metric_families(_page(f"{address}/metrics") or "")
    found = [each for family in families for each in family.samples if each.name == name]
    return {each.labels.get("le", str(each.labels)): each.value for each in found}


def _total(address: str, name: str) -> float:
    return sum(_samples(address, name).values())


def _lags(address: str) -> dict[float, float]:
    """How many looks at the event loop found it no later than each of some bounds, in seconds."""
    found = _samples(address, "azpolicy_event_loop_lag_seconds_bucket")
    return {float(bound): count for bound, count in found.items()}


def _cpu(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(pid: int) -> tuple[float, float]:
    """Resident memory now, and the most that it was, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, most = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM"))
    assert now is not None
    assert most is not None
    return int(now[1]) / 1024, int(most[1]) / 1024
