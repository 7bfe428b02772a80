"""Figures on a real cluster: creating, a settled plan, many edits at once, memory, start."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.bench.bare import IN_FLIGHT, seconds_of_creating, tls
from tests.bench.figures import at_least, at_most, figure, median_of, quantity, stopwatch
from tests.cluster.harness import TestCluster, eventually
from tests.cluster.harness.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

ROOT: Final = Path(__file__).parents[2]
AZPOLICY: Final = Path(sys.executable).with_name("azpolicy")
CONSTRAINTS: Final = 500
# Spread as where the library is used: Gatekeeper's own cost of an update grows with the constraints of its kind.
TEMPLATES: Final = (
    "allowed-host-paths/v3",
    "allowed-host-paths/v4",
    "allowed-proc-mount-types/v4",
    "allowed-seccomp-profiles/v3",
    "allowed-users-groups/v3",
    "block-automount-token/v2",
    "block-default-namespace/v1",
    "block-host-namespace/v2",
    "container-allowed-capabilities/v3",
    "container-allowed-images/v2",
    "container-disallowed-capabilities/v3",
    "container-enforce-probes/v2",
    "container-no-privilege-escalation/v3",
    "container-no-privilege/v2",
    "container-resource-limits/v3",
    "enforce-apparmor-profile/v3",
    "host-network-ports/v3",
    "ingress-https-only/v1",
    "read-only-root-filesystem/v3",
    "service-allowed-ports/v1",
)
GROUP: Final = "/apis/constraints.gatekeeper.sh/v1beta1"
PODS_STATUSES: Final = "/apis/status.gatekeeper.sh/v1beta1/namespaces/gatekeeper-system/constraintpodstatuses"
# pip compiles what it installs. Where Python may not keep what it compiled, each start of a checkout compiles anew.
INSTALLED: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PAIRS: Final = 5
STARTS: Final = 3
WRITERS: Final = 16
GOAL_MIB: Final = 120


class Bench:
    """A cluster, a snapshot of 500 constraints, and the same objects as files for kubectl."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.snapshot = folder / "snapshot"
        self.files = folder / "constraints"
        _write_snapshot(self.snapshot)
        rendered = folder / "rendered"
        self.azpolicy("render", "--output", str(rendered), cluster=False)
        self.files.mkdir()
        for path in rendered.glob("*.yaml"):
            if "constrainttemplate" not in path.name:
                shutil.copy(path, self.files)
        self.templates = sorted(rendered.glob("*constrainttemplate*.yaml"))
        self.constraints = [yaml.safe_load(path.read_text()) for path in sorted(self.files.glob("*.yaml"))]
        self.bodies = folder / "bodies.json"
        self.bodies.write_text(json.dumps([(self.path(each).rpartition("/")[0], each) for each in self.constraints]))

    def azpolicy(self, *arguments: str, cluster: bool = True, codes: tuple[int, ...] = (0,)) -> str:
        """Runs the command; its output."""
        where = ["--kubeconfig", str(self.cluster.kubeconfig)] if cluster else []
        command = [str(AZPOLICY), *arguments, "--snapshot", str(self.snapshot), *where]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=INSTALLED)
        if done.returncode not in codes:
            raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def delete_constraints(self) -> None:
        """Back to templates alone; Gatekeeper has nothing more to do with what was there."""
        kinds = sorted({c["kind"].lower() for c in self.constraints})
        for kind in kinds:
            self.cluster.request("DELETE", f"{GROUP}/{kind}")
        eventually(lambda: not any(self._list(kind) for kind in kinds), timeout=120, what="no constraints")
        eventually(lambda: not self.cluster.get(PODS_STATUSES)["items"], timeout=120, what="no status of constraints")

    def _list(self, kind: str) -> list[Any]:
        return list(self.cluster.get(f"{GROUP}/{kind}")["items"])

    def path(self, constraint: dict[str, Any]) -> str:
        """A constraint's API path."""
        return f"{GROUP}/{constraint['kind'].lower()}/{constraint['metadata']['name']}"


def run(folder: Path) -> None:
    """Prints every figure of this module."""
    with TestCluster.start(audit_interval=60) as cluster:
        bench = Bench(cluster, folder)
        for template in bench.templates:
            cluster.kubectl("apply", "--server-side", "-f", str(template))
        bench.azpolicy("apply")  # the templates become ours, and ready
        _creating(bench)
        _settled_plan(bench)
        alone = _edits_alone(bench)
        # As it is deployed: reporting on each of them is part of what it costs.
        cluster.kubectl("apply", "--filename", str(ROOT / "crds"))
        starts = []
        for _ in range(STARTS):
            with operator(bench) as (_, seconds):
                starts.append(seconds)
        figure("start to ready, cluster in sync", median_of(starts), "s", goal=at_most(2))
        with operator(bench) as (pid, _):
            _many_edits(bench, alone)
            figure("resident memory of the operator", resident_mib(pid), "MiB", goal=at_most(GOAL_MIB))


def _creating(bench: Bench) -> None:
    """Ours, the API server's own time, and a peer's in turn: each from templates alone, which are ready."""
    ours, limit, theirs, cpu = [], [], [], []
    for _ in range(PAIRS):
        bench.delete_constraints()
        limit.append(seconds_of_creating(bench.cluster.kubeconfig, bench.bodies))
        bench.delete_constraints()
        before = _seconds_of_children()
        with stopwatch() as watch:
            bench.azpolicy("apply")
        ours.append(watch.seconds)
        cpu.append(_seconds_of_children() - before)
        bench.delete_constraints()
        with stopwatch() as watch:
            bench.cluster.kubectl("apply", "--server-side", "-f", str(bench.files))
        theirs.append(watch.seconds)
    bench.delete_constraints()
    bench.azpolicy("apply")
    name = f"creating {CONSTRAINTS} constraints"
    _compare(name, ours, theirs, "kubectl apply --server-side", 4, detail=f"{median_of(cpu):.2f} s of CPU")
    over = median_of([a / b for a, b in zip(ours, limit, strict=True)])
    beside = f"the limit, a bare client with {IN_FLIGHT} in flight: {quantity(median_of(limit), 's')}"
    figure("  that over the API server's own time", over, "times", goal=at_most(1.5), beside=beside)


def _seconds_of_children() -> float:
    """CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _settled_plan(bench: Bench) -> None:
    ours, theirs = [], []
    for _ in range(PAIRS):
        with stopwatch() as watch:
            bench.azpolicy("plan")
        ours.append(watch.seconds)
        with stopwatch() as watch:
            bench.cluster.kubectl("diff", "--server-side", "-f", str(bench.files), check=False)
        theirs.append(watch.seconds)
    _compare(f"a settled plan of {CONSTRAINTS} constraints", ours, theirs, "kubectl diff --server-side", 10)


def _compare(name: str, ours: list[float], theirs: list[float], other: str, goal: float, *, detail: str = "") -> None:
    ratio = median_of([b / a for a, b in zip(ours, theirs, strict=True)])
    figure(name, median_of(ours), "s", detail=detail)
    beside = f"{other}: {quantity(median_of(theirs), 's')}"
    figure("  a peer's time over that", ratio, "times", goal=at_least(goal), beside=beside)


@contextmanager
def operator(bench: Bench, *options: str) -> Iterator[tuple[int, float]]:
    """The operator at work on the bench's snapshot; its process id, and the seconds that it took to be ready."""
    listen = f"127.0.0.1:{free_port()}"
    command = [str(AZPOLICY), "run", "--kubeconfig", str(bench.cluster.kubeconfig), "--listen", listen, *options]
    log = (bench.snapshot.parent / "operator.log").open("w")
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--snapshot", str(bench.snapshot)], stderr=log, env=INSTALLED)
    try:
        eventually(lambda: _answers(f"http://{listen}/readyz"), timeout=60, what="the operator to be ready")
        yield process.pid, time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


class Connection:
    """One kept-open connection of a second client, so that reading costs little beside what is measured."""

    def __init__(self, cluster: TestCluster) -> None:
        _, context = tls(cluster.kubeconfig)
        host, _, port = cluster.server.removeprefix("https://").partition(":")
        self._http = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON."""
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        self._http.request(method, path, json.dumps(body) if body else None, headers)
        response = self._http.getresponse()
        return response.status, json.loads(response.read())

    def expect(
        self, statuses: Collection[int], method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """JSON; another status than these ends the bench."""
        status, answer = self.request(method, path, body)
        if status not in statuses:
            raise SystemExit(f"{method} {path} was answered by {status}: {answer.get('message')}")
        return answer

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """A watch's events, for as long as the server gives them; the connection can do nothing else from then on."""
        self._http.timeout = None
        self._http.request("GET", f"{path}&watch=1&timeoutSeconds=3600")
        for line in self._http.getresponse():
            yield json.loads(line)


EDIT: Final = {"spec": {"enforcementAction": "dryrun", "match": {"excludedNamespaces": ["bench"]}}}


def _many_edits(bench: Bench, alone: float) -> None:
    """All constraints edited at once; until a second client sees every one restored.

    `alone` is how long the edits took without an operator: the machine's share of the whole.
    """
    wanted = {bench.path(c): c["spec"] for c in bench.constraints}
    kinds = sorted({path.rpartition("/")[0] for path in wanted})
    start = time.perf_counter()
    edit_in_parallel(bench, bench.constraints)
    edited = time.perf_counter()
    connection = Connection(bench.cluster)
    while not _all_restored(connection, kinds, wanted):
        if time.perf_counter() - edited > 120:
            raise SystemExit("not every constraint was restored")
    end = time.perf_counter()
    name = f"{CONSTRAINTS} constraints edited at once, all restored"
    told = f"{quantity(end - edited, 's')} after the last edit"
    figure(name, end - start, "s", goal=at_most(10), beside=f"the edits alone: {quantity(alone, 's')}", detail=told)


def _edits_alone(bench: Bench) -> float:
    with stopwatch() as watch:
        edit_in_parallel(bench, bench.constraints)
    bench.azpolicy("apply")
    return watch.seconds


def edit_in_parallel(bench: Bench, constraints: Sequence[dict[str, Any]], *, per_second: float = math.inf) -> None:
    """Edits each of these constraints once, by several clients; together so many a second, or as fast as they can."""
    start = time.perf_counter()
    edits = [(start + turn / per_second, bench.path(each)) for turn, each in enumerate(constraints)]
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda part: _edit_all(bench, part), [edits[n::WRITERS] for n in range(WRITERS)]))


def _edit_all(bench: Bench, edits: list[tuple[float, str]]) -> None:
    connection = Connection(bench.cluster)
    for due, path in edits:
        time.sleep(max(0, due - time.perf_counter()))
        connection.expect({200}, "PATCH", path, EDIT)


def _all_restored(connection: Connection, kinds: list[str], wanted: dict[str, Any]) -> bool:
    for kind in kinds:
        for item in connection.request("GET", kind)[1]["items"]:
            if item["spec"] != wanted[f"{kind}/{item['metadata']['name']}"]:
                return False
    return True


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024


def _write_snapshot(folder: Path) -> None:
    """The example's cluster, and assignments of an initiative over templates of the bundle."""
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "snapshot" / "cluster.json", folder)
    documents = [_definition(path) for path in TEMPLATES]
    documents.append(_initiative([document["id"] for document in documents]))
    documents += [_assignment(number, documents[-1]["id"]) for number in range(CONSTRAINTS // len(TEMPLATES))]
    (folder / "policies.json").write_text(json.dumps(documents))


def _definition(path: str) -> dict[str, Any]:
    url = f"https://store.policy.core.windows.net/kubernetes/{path}/template.yaml"
    details = {
        "templateInfo": {"sourceType": "PublicURL", "url": url},
        "apiGroups": [""],
        "kinds": ["Pod"],
        "excludedNamespaces": ["kube-system", "gatekeeper-system"],
    }
    rule = {"if": {"field": "type", "equals": "Microsoft.ContainerService/managedClusters"}}
    return _document(
        "policyDefinitions",
        path.replace("/", "-"),
        mode="Microsoft.Kubernetes.Data",
        policyRule={**rule, "then": {"effect": "deny", "details": details}},
    )


def _initiative(definitions: list[str], name: str = "bench") -> dict[str, Any]:
    references = [
        {"policyDefinitionId": name, "policyDefinitionReferenceId": name.rpartition("/")[2]} for name in definitions
    ]
    return _document("policySetDefinitions", name, policyDefinitions=references)


def _assignment(number: int, initiative: str) -> dict[str, Any]:
    return _document("policyAssignments", f"bench-{number:03}", policyDefinitionId=initiative)


def _document(kind: str, name: str, **properties: Any) -> dict[str, Any]:
    kind = f"Microsoft.Authorization/{kind}"
    scope = json.loads((ROOT / "examples" / "snapshot" / "cluster.json").read_text())["id"].partition("/resourceG")[0]
    return {"id": f"{scope}/providers/{kind}/{name}", "type": kind, "name": name, "properties": properties}
