"""How much memory the operator takes, leading and standing by, by the number of constraints: on a simulated API server.

As it is deployed: with a report on each constraint, and with the environment that the image sets.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

from controller.cluster.kinds import ASSIGNED_POLICY
from tests.bench.cluster import AZPOLICY, ROOT, _assignment, _definition, _initiative
from tests.bench.figures import at_most, growing
from tests.cluster.harness import eventually
from tests.cluster.harness.processes import free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = (500, 2000, 5000)
KINDS: Final = 60
# So 5,000 constraints come from 1,000 assignments.
MEMBERS: Final = 5
SYNCS: Final = 3
GOAL: Final = 300


def run(folder: Path, sizes: tuple[int, ...] = SIZES) -> None:
    """Tells resident memory at each size: after some full compares, and the most that it ever was."""
    leading: dict[int, float] = {}
    peaks: dict[int, float] = {}
    standing_by: dict[int, float] = {}
    for constraints in sizes:
        snapshot = folder / f"snapshot-{constraints}"
        write_snapshot(snapshot, constraints)
        with _api_server(snapshot) as kubeconfig, _operator(snapshot, kubeconfig, "leader") as (leader, pages):
            _wait_settled(kubeconfig, pages, constraints)
            with _operator(snapshot, kubeconfig, "standby") as (standby, _):
                leading[constraints], peaks[constraints] = _memory(leader)
                standing_by[constraints] = _memory(standby)[0]
    growing(f"resident memory by constraints in {KINDS} kinds", leading, "MiB", goal=at_most(GOAL))
    growing("  the most that it was", peaks, "MiB")
    growing("  standing by", standing_by, "MiB")


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
def _operator(snapshot: Path, kubeconfig: Path, name: str) -> Iterator[tuple[int, str]]:
    """A replica: its process, and the address of its pages once it is ready."""
    listen = f"127.0.0.1:{free_port()}"
    command = [str(AZPOLICY), "run", "--kubeconfig", str(kubeconfig), "--listen", listen, "--resync", "5"]
    command += ["--leader-elect", "--identity", name, "--snapshot", str(snapshot)]
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
    """Waits for a report on each constraint, and for full compares after that."""
    server = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"].removeprefix("http://")
    listed = f"{server}{ASSIGNED_POLICY.path()}?limit=1"

    def reported() -> bool:
        left = json.loads(_page(listed) or "{}").get("metadata", {}).get("remainingItemCount", 0)
        return bool(left + 1 >= constraints)

    eventually(reported, timeout=300, what="a report on each constraint")
    wanted = _syncs(pages) + SYNCS
    eventually(lambda: _syncs(pages) >= wanted, timeout=300, what="full compares")


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


def _syncs(address: str) -> float:
    families = text_string_to_metric_families(_page(f"{address}/metrics") or "")
    return sum(each.value for family in families for each in family.samples if each.name == "azpolicy_syncs_total")


def _memory(pid: int) -> tuple[float, float]:
    """Resident memory now, and the most that it was, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, most = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM"))
    assert now is not None
    assert most is not None
    return int(now[1]) / 1024, int(most[1]) / 1024
