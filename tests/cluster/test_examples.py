"""The examples that need a cluster; the others: tests/examples/."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.azure.standin import Standin
from tests.cluster.azpolicy import COMMAND, Azpolicy, all_constraints, all_enforced, pod, refusal, wipe
from tests.cluster.deployed import SYNC, Deployed
from tests.cluster.harness import TestCluster, eventually, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES: Final = Path(__file__).parents[2] / "examples"


def test_rendered_objects_that_somebody_else_applies_are_enforced_and_azpolicy_has_nothing_to_change(
    tidy: TestCluster,
) -> None:
    """As a GitOps tool does it: templates, then what needs them, tried again until the kinds are there."""
    tidy.kubectl("apply", "--filename", str(EXAMPLES / "gitops" / "templates"))
    policies = ("apply", "--filename", str(EXAMPLES / "gitops" / "policies"))
    eventually(lambda: tidy.kubectl(*policies, check=False).returncode == 0, what="the policies to be applied")

    eventually(lambda: all_enforced(tidy), what="everything to be enforced")

    assert "has not been allowed" in refusal(tidy, pod("nginx:latest"))
    assert refusal(tidy, pod("registry.example.com/web:1")) == ""
    planned = Azpolicy(tidy, EXAMPLES / "snapshot", user="gitops-planner").plan()
    assert planned.code == 0, planned.out


@pytest.fixture
def guarded(cluster: TestCluster, tmp_path: Path) -> Iterator[Deployed]:
    """A release with prevention and one assignment."""
    with Standin() as arm:
        made = Deployed(cluster, arm, tmp_path, prevention={"enabled": True})
        made.assign("one")
        try:
            yield made
        finally:
            made.release.uninstall()
            made.release.remove()
            wipe(cluster)


def test_breaking_the_glass_changes_what_is_refused_otherwise_and_resuming_restores_it(
    guarded: Deployed, tmp_path: Path
) -> None:
    cluster = guarded.cluster
    administrator = cluster.kubeconfig_for("administrator", ["system:masters"])
    with guarded.replica():
        guarded.wait_in_sync()
        path = min(all_constraints(cluster))
        kind, name = path.split("/")[-2:]
        eventually(
            lambda: cluster.request("DELETE", f"{path}?dryRun=All", user=administrator)[0] == 403,
            what="prevention to be in force",
        )

        done = _with_path(
            administrator, tmp_path, EXAMPLES / "break-glass" / "break-glass.sh", "tried", "delete", kind, name
        )

        assert (done.returncode, done.stderr) == (0, ""), done
        assert path not in all_constraints(cluster)
        guarded.wait_for("Suspended", "True", "Suspended")
        assert cluster.get(SYNC)["spec"]["suspend"]["reason"] == "tried"
        assert path not in all_constraints(cluster)

        assert _with_path(administrator, tmp_path, "azpolicy", "resume").returncode == 0
        eventually(lambda: path in all_constraints(cluster), what="the constraint to be restored")


def _with_path(kubeconfig: Path, folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of somebody who has azpolicy and kubectl on the PATH."""
    for program in (COMMAND, tools.path("kubectl")):
        if not (folder / program.name).exists():
            (folder / program.name).symlink_to(program)
    environ: dict[str, Any] = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(kubeconfig),
    }
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
