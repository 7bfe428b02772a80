"""The test cluster itself: what the other tests take for granted must be true of it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import TestCluster, eventually, tools
from tests.cluster.harness.files import ClusterFiles, remove_abandoned

ROOT = Path(__file__).parents[2]
TEMPLATES = "/apis/templates.gatekeeper.sh/v1/constrainttemplates"
CONSTRAINTS = "/apis/constraints.gatekeeper.sh/v1beta1/harnessforbiddenlabel"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PODS = "/api/v1/namespaces/default/pods"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

REGO = """
package harnessforbiddenlabel

violation[{"msg": "this pod carries the forbidden label"}] {
    input.review.object.metadata.labels.forbidden
}
"""


def template() -> dict[str, Any]:
    return {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": "harnessforbiddenlabel"},
        "spec": {
            "crd": {"spec": {"names": {"kind": "HarnessForbiddenLabel"}}},
            "targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": REGO}],
        },
    }


def constraint() -> dict[str, Any]:
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "HarnessForbiddenLabel",
        "metadata": {"name": "no-forbidden-label"},
        "spec": {"match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}},
    }


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    }


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def create(cluster: TestCluster, path: str, manifest: dict[str, Any], user: Path | None = None) -> None:
    status, answer = cluster.request("POST", path, manifest, user=user)
    assert status == 201, answer


def refused(cluster: TestCluster) -> str:
    """The message with which a pod with the forbidden label is refused, or nothing."""
    status, answer = cluster.request("POST", f"{PODS}?dryRun=All", pod("forbidden", forbidden="yes"))
    return str(answer["message"]) if status == 403 else ""


def processes_with(text: str) -> list[str]:
    """The command lines of all running processes that contain `text`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if text in command:
            found.append(command)
    return found


@pytest.fixture
def enforced(cluster: TestCluster) -> Iterator[TestCluster]:
    """The cluster with a constraint that refuses pods with the label `forbidden`."""
    create(cluster, TEMPLATES, template())
    eventually(lambda: cluster.request("POST", CONSTRAINTS, constraint())[0] in {201, 409}, what="the constraint")
    yield cluster
    cluster.request("DELETE", f"{TEMPLATES}/harnessforbiddenlabel")
    eventually(lambda: cluster.request("GET", CONSTRAINTS)[0] == 404, what="the constraint kind to go")


def test_gatekeeper_refuses_what_a_constraint_forbids_and_admits_the_rest(enforced: TestCluster) -> None:
    message = eventually(lambda: refused(enforced), what="a refused pod")

    assert "[no-forbidden-label] this pod carries the forbidden label" in message
    create(enforced, f"{PODS}?dryRun=All", pod("allowed"))


@pytest.mark.usefixtures("audits")
def test_an_audit_finds_what_was_there_before(cluster: TestCluster, request: pytest.FixtureRequest) -> None:
    create(cluster, PODS, pod("early", forbidden="yes"))
    request.addfinalizer(lambda: cluster.request("DELETE", f"{PODS}/early?gracePeriodSeconds=0"))
    request.getfixturevalue("enforced")

    cluster.wait_for_audit()

    violations = cluster.get(f"{CONSTRAINTS}/no-forbidden-label")["status"]["violations"]
    assert [violation["name"] for violation in violations] == ["early"]


def test_a_deleted_template_takes_its_kind_along(cluster: TestCluster) -> None:
    """The garbage collector knows templates from the start, not only after its next look at the kinds."""
    kind = f"{CRDS}/harnessforbiddenlabel.constraints.gatekeeper.sh"
    create(cluster, TEMPLATES, template())
    eventually(lambda: cluster.request("GET", kind)[0] == 200, what="the template's CRD")

    cluster.request("DELETE", f"{TEMPLATES}/harnessforbiddenlabel")

    eventually(lambda: cluster.request("GET", kind)[0] == 404, timeout=10, what="the CRD to be deleted")


def test_the_audit_log_tells_what_a_user_wrote_and_what_was_only_a_dry_run(cluster: TestCluster) -> None:
    writer = cluster.kubeconfig_for("writer", ["system:masters"])
    create(cluster, CONFIG_MAPS, config_map("before"), writer)
    mark = cluster.audit_mark()

    create(cluster, CONFIG_MAPS, config_map("written"), writer)
    create(cluster, f"{CONFIG_MAPS}?dryRun=All", config_map("tried"), writer)
    cluster.request("PATCH", f"{CONFIG_MAPS}/written", {"data": {"a": "b"}}, user=writer)
    cluster.request("GET", f"{CONFIG_MAPS}/written", user=writer)
    cluster.kubectl("delete", "configmap", "written", "--dry-run=server", user=writer)
    cluster.kubectl("delete", "configmap", "written", "before")

    assert [(event.verb, event.name, event.dry_run, event.code) for event in cluster.writes("writer", mark)] == [
        ("create", "written", False, 201),
        ("create", "tried", True, 201),
        ("patch", "written", False, 200),
        ("delete", "written", True, 200),
    ]


def test_a_user_may_do_what_rbac_says(cluster: TestCluster) -> None:
    status, answer = cluster.request("GET", CONFIG_MAPS, user=cluster.kubeconfig_for("nobody", ["some:group"]))

    assert status == 403
    assert 'User "nobody" cannot list resource "configmaps"' in answer["message"]


def test_a_restarted_api_server_has_its_objects_and_still_asks_gatekeeper(enforced: TestCluster) -> None:
    create(enforced, CONFIG_MAPS, config_map("kept"))

    enforced.restart_apiserver()

    assert enforced.get(f"{CONFIG_MAPS}/kept")["metadata"]["name"] == "kept"
    eventually(lambda: refused(enforced), what="a refused pod")
    enforced.kubectl("delete", "configmap", "kept")


def test_without_its_process_gatekeeper_fails_closed(enforced: TestCluster) -> None:
    enforced.stop_gatekeeper()
    status, answer = enforced.request("POST", f"{PODS}?dryRun=All", pod("allowed"))
    enforced.start_gatekeeper()

    assert status == 500
    assert "failed calling webhook" in answer["message"]
    eventually(lambda: refused(enforced), what="a refused pod")


def test_gatekeeper_can_be_uninstalled_with_all_its_kinds_and_installed_again(cluster: TestCluster) -> None:
    create(cluster, TEMPLATES, template())
    eventually(lambda: cluster.request("POST", CONSTRAINTS, constraint())[0] == 201, what="the constraint")

    cluster.uninstall_gatekeeper()
    left = [crd["metadata"]["name"] for crd in cluster.get(CRDS)["items"]]
    cluster.install_gatekeeper()

    assert left == []
    assert cluster.get(TEMPLATES)["items"] == []


def test_two_clusters_run_at_once_and_share_nothing(cluster: TestCluster) -> None:
    create(cluster, CONFIG_MAPS, config_map("first"))

    with TestCluster.start(gatekeeper=False) as second:
        status, _ = second.request("GET", f"{CONFIG_MAPS}/first")

    assert status == 404
    assert not second.folder.exists()
    assert processes_with(str(second.folder)) == []
    cluster.kubectl("delete", "configmap", "first")


def test_a_killed_parent_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cluster.harness", "up", "--without-gatekeeper", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        servers = [line for line in processes_with(str(tmp_path)) if "tests.cluster.harness" not in line]

        parent.send_signal(signal.SIGKILL)

    assert len(servers) == 3
    eventually(lambda: not processes_with(str(tmp_path)), timeout=10, what="all servers to end")


def test_the_folder_of_a_killed_cluster_is_removed_by_the_next_and_one_in_use_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    used, killed = ClusterFiles(None, "https://127.0.0.1:1"), ClusterFiles(None, "https://127.0.0.1:2")
    killed._lock.close()  # as the kernel does

    remove_abandoned()

    assert list(tmp_path.iterdir()) == [used.folder]
    used.remove()


def test_a_terminated_parent_stops_its_cluster_and_removes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cluster.harness", "up", "--without-gatekeeper"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        folders = list(tmp_path.iterdir())

        parent.send_signal(signal.SIGTERM)
        parent.stdout.read()

    assert parent.returncode == 0
    assert len(folders) == 1
    assert list(tmp_path.iterdir()) == []
    assert processes_with(str(tmp_path)) == []


GO_STAND_IN = """#!/bin/sh
# Stands in for the Go toolchain: `build` notes that it was called, waits for the gate, and writes the file after -o.
case "$1" in
version) echo "go version go$GO_VERSION linux/amd64" ;;
build)
  echo called >> "$GO_CALLS"
  while [ ! -e "$GO_GATE" ]; do sleep 0.05; done
  while [ "$1" != "-o" ]; do shift; done
  echo program > "$2"
  [ -z "$GO_FAILS" ] || { echo "main.go:1: no such thing"; exit 1; } ;;
esac
"""


class Builder:
    """Runs the harness's `build` with a Go toolchain of the test's choice and an empty cache."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.gate = folder / "gate"
        self.cache = folder / "cache"
        self._bin = folder / "bin"
        self._bin.mkdir()

    def install_go(self) -> None:
        go = self._bin / "go"
        go.write_text(GO_STAND_IN)
        go.chmod(0o755)

    def start(
        self, version: str = "1.26.8", fails: str = "", programs: tuple[str, ...] = ("gator",)
    ) -> subprocess.Popen[str]:
        environ = {
            "PATH": f"{self._bin}:/usr/bin:/bin",
            "AZPOLICY_CACHE": str(self.cache),
            "GO_CALLS": str(self.calls),
            "GO_GATE": str(self.gate),
            "GO_VERSION": version,
            "GO_FAILS": fails,
        }
        command = [sys.executable, "-m", "tests.cluster.harness", "build", *programs]
        return subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(
        self, version: str = "1.26.8", fails: str = "", programs: tuple[str, ...] = ("gator",)
    ) -> tuple[int, str, str]:
        self.gate.touch()
        with self.start(version, fails, programs) as process:
            out, err = process.communicate()
        return process.returncode, out.strip(), err


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def test_a_missing_go_is_one_line_that_says_what_to_install(builder: Builder) -> None:
    code, _, err = builder.run()

    assert code == 1
    assert err.splitlines() == [
        "error: Go 1.26 or newer is needed to build the test cluster: https://go.dev/dl/ (there is no `go` on the PATH)"
    ]


def test_an_old_go_is_named(builder: Builder) -> None:
    builder.install_go()

    code, _, err = builder.run(version="1.25.9")

    assert code == 1
    assert "Go 1.26 or newer is needed" in err
    assert "found: go version go1.25.9" in err


def test_a_tool_is_built_once_and_again_for_another_go(builder: Builder) -> None:
    builder.install_go()

    first, again, other = builder.run()[1], builder.run()[1], builder.run(version="1.27.0")[1]

    assert Path(first).read_text() == "program\n"
    assert first == again != other
    assert builder.calls.read_text().count("called") == 2


def test_processes_that_need_the_same_tool_build_it_once(builder: Builder) -> None:
    builder.install_go()
    with builder.start() as first:
        eventually(builder.calls.exists, what="the first build")
        with builder.start() as second:
            assert second.stderr is not None
            told = second.stderr.readline()

            builder.gate.touch()

            paths = {first.communicate()[0], second.communicate()[0]}

    assert told == "test cluster: waiting for another process that builds gator\n"
    assert len(paths) == 1
    assert builder.calls.read_text().count("called") == 1


def test_a_failed_build_shows_the_compiler_and_leaves_no_program(builder: Builder) -> None:
    builder.install_go()

    code, _, err = builder.run(fails="yes")

    assert code == 1
    assert "main.go:1: no such thing" in err
    assert not list(builder.cache.glob("bin/*/gator"))


def test_what_a_cluster_needs_is_built_module_beside_module(builder: Builder) -> None:
    builder.install_go()
    with builder.start(programs=()) as process:
        # The gate is closed: neither of the two ends before the other has begun.
        eventually(lambda: builder.calls.exists() and builder.calls.read_text().count("called") == 2, what="two builds")
        builder.gate.touch()
        out, err = process.communicate()

    assert process.returncode == 0, err
    assert [Path(line).name for line in out.splitlines()] == list(tools.CLUSTER_TOOLS)
    assert builder.calls.read_text().count("called") == len(tools.CLUSTER_TOOLS)
    assert err.startswith("test cluster: the first time this builds etcd, kube-apiserver, ")


def test_where_one_build_fails_all_ends(builder: Builder) -> None:
    builder.install_go()

    code, _, err = builder.run(fails="yes", programs=())

    assert code == 1
    assert "main.go:1: no such thing" in err
    assert err.splitlines()[-1] == "error: not everything could be built: the lines above say why"
