"""The command `azpolicy` as its users run it: a process, with the kubeconfig of a user of its own.

The audit log tells what that user wrote, so nothing that the command says of itself has to be believed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from prometheus_client.parser import text_string_to_metric_families

from controller.cli.main import main
from tests.cluster.harness import eventually
from tests.cluster.harness.processes import free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.cluster.harness import AuditEvent, TestCluster

COMMAND = Path(sys.executable).with_name("azpolicy")
RUN_TIMEOUT = 180.0
STOP_TIMEOUT = 15.0

TEMPLATES = "/apis/templates.gatekeeper.sh/v1/constrainttemplates"
CONSTRAINTS = "/apis/constraints.gatekeeper.sh/v1beta1"
MUTATORS = "/apis/mutations.gatekeeper.sh/v1"
SYNCSETS = "/apis/syncset.gatekeeper.sh/v1alpha1/syncsets"
EXPANSIONS = "/apis/expansion.gatekeeper.sh/v1beta1/expansiontemplate"
OTHER_KINDS = (
    f"{MUTATORS}/assign",
    f"{MUTATORS}/assignmetadata",
    f"{MUTATORS}/modifyset",
    "/apis/mutations.gatekeeper.sh/v1alpha1/assignimage",
    SYNCSETS,
    EXPANSIONS,
)
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RECORD = "/api/v1/namespaces/kube-public/configmaps/azure-policy-sync"
STATUSES = "/apis/status.gatekeeper.sh/v1beta1"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
STATE = "azure-policy-sync-state"
PODS = "/api/v1/namespaces/default/pods"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """What it printed, as JSON."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    def changes(self) -> dict[str, str]:
        """The plan that it printed as JSON: Kind/name to action, without what is kept."""
        return {
            f"{change['object']['kind']}/{change['object']['name']}": change["action"]
            for change in self.document()["changes"]
            if change["action"] != "keep"
        }


def run(*arguments: str | Path) -> Ended:
    """`azpolicy` with these arguments to its end, with nobody at a terminal."""
    ended = subprocess.run(
        [COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT,
        check=False,
        env=environ(),
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def run_here(*arguments: str | Path) -> Ended:
    """As `run`, but in this process, where what is tested is the answer; not for two threads at a time.

    Most of a command's processor time is Python's start and its imports.
    """
    out, err = io.StringIO(), io.StringIO()
    environment = mock.patch.dict(os.environ, environ(), clear=True)
    with environment, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            return Ended(int(left.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command leaves with its exit code")


class Azpolicy:
    """The command with its options bound: a cluster, a user of its own, a snapshot, templates."""

    def __init__(
        self,
        cluster: TestCluster,
        snapshot: Path,
        *,
        user: str,
        groups: Sequence[str] = ("system:masters",),
        templates: Path | None = None,
    ) -> None:
        self.cluster = cluster
        self.user = user
        self.kubeconfig = cluster.kubeconfig_for(user, groups)
        self._options = ["--kubeconfig", str(self.kubeconfig), "--snapshot", str(snapshot)]
        if templates is not None:
            self._options += ["--templates", str(templates)]

    def __call__(self, command: str, *arguments: str) -> Ended:
        """Runs a command to its end."""
        return run(command, *self._options, *arguments)

    def apply(self, *arguments: str) -> Ended:
        """`azpolicy apply`."""
        return self("apply", *arguments)

    def plan(self, *arguments: str) -> Ended:
        """`azpolicy plan -o json`."""
        return self("plan", "-o", "json", *arguments)

    def writes(self, since: int, *, dry: bool = False) -> list[AuditEvent]:
        """What this user wrote since an audit mark, Events and the kept state apart; with `dry`, dry runs too."""
        found = [event for event in self.cluster.writes(self.user, since) if dry or not event.dry_run]
        return [e for e in found if e.group != "events.k8s.io" and not e.name.startswith(STATE)]

    @contextlib.contextmanager
    def operating(self, *arguments: str, ready: bool = True) -> Iterator[Operator]:
        """`azpolicy run` while the block runs; without a wait for its first inventory unless `ready`."""
        address = f"127.0.0.1:{free_port()}"
        command = [str(COMMAND), "run", *self._options, *arguments, "--listen", address]
        operator = Operator(command, self.cluster.logs / f"azpolicy-{self.user}-{address}.log", address)
        try:
            if ready:
                operator.wait_ready()
            yield operator
        finally:
            operator.end()


class Operator:
    """A running `azpolicy run`, whose pages are at an address; `variables` are added to a bare environment."""

    def __init__(
        self, command: Sequence[str], log: Path, address: str, variables: Mapping[str, str] | None = None
    ) -> None:
        self.address = address
        self.log = log
        with log.open("ab") as stream:
            self._process = spawn(
                command, log=stream, folder=log.parent, environ={**environ(bare=True), **(variables or {})}
            )

    @property
    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    @property
    def code(self) -> int | None:
        """How it ended, None while it runs."""
        return self._process.poll()

    def ask(self, path: str) -> tuple[int, str]:
        """GET of its own web server: status and text; OSError where nothing answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.address}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self) -> None:
        """Waits for /readyz; AssertionError with the log when it ends before."""
        ready = eventually(
            lambda: "ended" if self.code is not None else self.ask("/readyz")[0] == 200 and "ready",
            timeout=60,
            what=f"the operator to be ready ({self.log})",
        )
        assert ready == "ready", self.text

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, all its series that have these labels added up."""
        families = text_string_to_metric_families(self.ask("/metrics")[1])
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def syncs(self) -> float:
        """How many full compares have ended, well or not."""
        return self.metric("azpolicy_syncs_total")

    def wait_syncs(self, more: int = 2) -> None:
        """Waits for full compares that began after the call: the first to end may have begun before."""
        wanted = self.syncs + more
        eventually(lambda: self.syncs >= wanted, timeout=60, what=f"{more} more syncs ({self.log})")

    def wait_log(self, text: str, timeout: float = 60) -> None:
        """Waits for a text in its log."""
        eventually(lambda: text in self.text, timeout=timeout, what=f"{text!r} in {self.log}")

    def stop(self, sent: signal.Signals = signal.SIGTERM, seconds: float = STOP_TIMEOUT) -> int:
        """Sends a signal; the exit code, or subprocess.TimeoutExpired after so many seconds."""
        self._process.send_signal(sent)
        return self._process.wait(seconds)

    def end(self) -> None:
        """Stops it whatever it is at: by a signal, so that its Lease need not run out, else by force."""
        self.resume()
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self) -> int:
        """Waits for it to end by itself: its exit code."""
        return self._process.wait(60)

    def pause(self) -> None:
        """SIGSTOP: it hangs, and knows nothing of it; `resume` lets it go on."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


def environ(*, bare: bool = False) -> dict[str, str]:
    """The environment without what the shell of whoever runs the tests may have set; `bare`: only what to unset."""
    unset = {name for name in os.environ if name.startswith("AZPOLICY_") or name == "KUBECONFIG"}
    if bare:
        return dict.fromkeys(unset - {"AZPOLICY_CACHE"}, "")
    return {name: value for name, value in os.environ.items() if name not in unset}


@contextlib.contextmanager
def granted(cluster: TestCluster, user: str, *rules: Mapping[str, Any]) -> Iterator[Path]:
    """The kubeconfig of a user who may do what these rules say, and nothing else, while the block runs."""
    group = "rbac.authorization.k8s.io"
    role = {"metadata": {"name": f"test-{user}"}, "rules": rules}
    subjects = [{"apiGroup": group, "kind": "User", "name": user}]
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": f"test-{user}"}
    binding = {"metadata": role["metadata"], "roleRef": reference, "subjects": subjects}
    made = {"clusterroles": role, "clusterrolebindings": binding}
    for kind, manifest in made.items():
        assert cluster.request("POST", f"/apis/{group}/v1/{kind}", manifest)[0] == 201
    try:
        yield cluster.kubeconfig_for(user)
    finally:
        for kind in made:
            cluster.request("DELETE", f"/apis/{group}/v1/{kind}/test-{user}")


# --- the cluster as the tests look at it -----------------------------------------------------------------------------


def constraints_of(cluster: TestCluster, kind: str) -> dict[str, dict[str, Any]]:
    """The live constraints of a kind by name; none where the kind is not served."""
    status, listed = cluster.request("GET", f"{CONSTRAINTS}/{kind.lower()}")
    return {item["metadata"]["name"]: item for item in listed["items"]} if status == 200 else {}


def templates(cluster: TestCluster) -> dict[str, dict[str, Any]]:
    """The live templates by name."""
    return {item["metadata"]["name"]: item for item in cluster.get(TEMPLATES)["items"]}


def all_constraints(cluster: TestCluster) -> dict[str, dict[str, Any]]:
    """Every live constraint by path."""
    status, kinds = cluster.request("GET", CONSTRAINTS)
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds["resources"] if status == 200 else []:
        if "/" not in kind["name"]:
            items = constraints_of(cluster, kind["name"])
            found |= {f"{CONSTRAINTS}/{kind['name']}/{name}": live for name, live in items.items()}
    return found


def managed(cluster: TestCluster) -> dict[str, dict[str, Any]]:
    """The projection of every template, constraint, mutator and sync set by path: what has to be as it was."""
    found = {f"{TEMPLATES}/{name}": live for name, live in templates(cluster).items()}
    found |= all_constraints(cluster)
    for kind in OTHER_KINDS:
        found |= {f"{kind}/{live['metadata']['name']}": live for live in cluster.get(kind)["items"]}
    return {path: projection(live) for path, live in found.items()}


def projection(live: dict[str, Any]) -> dict[str, Any]:
    """All of an object but what the server and Gatekeeper keep in it."""
    ours = ("labels", "annotations", "finalizers", "ownerReferences")
    metadata = {key: value for key, value in live["metadata"].items() if key in ours and value}
    return copy.deepcopy({"metadata": metadata, "spec": live.get("spec", {})})


def edit(
    cluster: TestCluster, path: str, change: Callable[[dict[str, Any]], object], manager: str = "kubectl-edit"
) -> dict[str, Any]:
    """Reads, changes and PUTs an object as an admin with another field manager; what the server made of it."""

    def attempt() -> dict[str, Any] | None:
        live = cluster.get(path)
        change(live)
        status, answer = cluster.request("PUT", f"{path}?fieldManager={manager}", live)
        assert status in {200, 409}, answer
        return answer if status == 200 else None

    return eventually(attempt, what=f"an edit of {path}")


def pod(image: str = "nginx", **labels: str) -> dict[str, Any]:
    """A pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tried", "labels": labels},
        "spec": {"containers": [{"name": "webserver", "image": image}]},
    }


def refusal(cluster: TestCluster, manifest: dict[str, Any], namespace: str = "default") -> str:
    """The message with which a pod is refused (a dry run asks), empty where it is admitted."""
    status, answer = cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", manifest)
    if status == 201:
        return ""
    assert status == 403, answer
    return str(answer["message"])


def constraints_and_mutators(cluster: TestCluster) -> set[str]:
    """What members become; a template is shared by many, and so is what Gatekeeper has to sync or to expand for it."""
    return {path for path in managed(cluster) if not path.startswith((TEMPLATES, SYNCSETS, EXPANSIONS))}


def enforced(cluster: TestCluster, path: str) -> bool:
    """Whether Gatekeeper says that it enforces a constraint as it is now."""
    status, live = cluster.request("GET", path)
    return status == 200 and _enforced(live)


def all_enforced(cluster: TestCluster) -> bool:
    """Whether Gatekeeper says of every constraint that it enforces it as it is now."""
    return all(map(_enforced, all_constraints(cluster).values()))


def _enforced(live: dict[str, Any]) -> bool:
    pods = live.get("status", {}).get("byPod") or []
    now = live["metadata"]["generation"]
    # Somebody may have written anything there.
    told = [each for each in pods if isinstance(each, dict)] if isinstance(pods, list) else []
    enforcing = [each for each in told if each.get("enforced") and each.get("observedGeneration") == now]
    return bool(pods) and len(enforcing) == len(pods)


def wipe(cluster: TestCluster) -> None:
    """Takes every template, constraint, mutator and sync set away, the record of the id, the kept state.

    And what would tell the next test of them: Events about objects of the same names, the kinds that kubectl knows, and
    Gatekeeper, which judges by what is gone until it has heard of it.
    """
    known = _uids(cluster)
    cluster.request("DELETE", RECORD)
    cluster.request("DELETE", f"/api/v1/namespaces/gatekeeper-system/configmaps/{STATE}")
    for path, live in all_constraints(cluster).items():
        if "finalizers" in live["metadata"]:
            cluster.request("PATCH", path, {"metadata": {"finalizers": None}})
    eventually(lambda: _emptied(cluster), timeout=60, what="every managed object to go")
    eventually(lambda: not _constraint_crds(cluster), timeout=60, what="every constraint kind to go")
    eventually(lambda: not known & _taken_up(cluster), timeout=90, what="Gatekeeper to hear that all is gone")
    cluster.request("DELETE", EVENTS)
    cluster.forget_kinds()


def _emptied(cluster: TestCluster) -> bool:
    """Deletes all and says whether all is gone; a prevention that has just been removed refuses for a moment more."""
    # A template takes its kind and its constraints along.
    for collection in (TEMPLATES, *OTHER_KINDS):
        cluster.request("DELETE", collection)
    return not managed(cluster)


def _uids(cluster: TestCluster) -> set[str]:
    """Of the templates and mutators that are there."""
    kinds = (TEMPLATES, *(kind for kind in OTHER_KINDS if "mutations" in kind))
    return {live["metadata"]["uid"] for kind in kinds for live in cluster.get(kind)["items"]}


def _taken_up(cluster: TestCluster) -> set[str]:
    """The uids of the templates and mutators that Gatekeeper has a status of: it goes when they are forgotten."""
    found: set[str] = set()
    for kind, uid in (("constrainttemplatepodstatuses", "templateUID"), ("mutatorpodstatuses", "mutatorUID")):
        found |= {str(each.get("status", {}).get(uid)) for each in cluster.get(f"{STATUSES}/{kind}")["items"]}
    return found


def _constraint_crds(cluster: TestCluster) -> list[str]:
    names = [crd["metadata"]["name"] for crd in cluster.get(CRDS)["items"]]
    return [name for name in names if name.endswith("constraints.gatekeeper.sh")]
