"""Denied, or warned of, at the workload: Gatekeeper makes its pods as it is applied, by our ExpansionTemplates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cluster.azpolicy import EXPANSIONS, Azpolicy, all_constraints, edit, enforced, managed, pod, refusal, run
from tests.cluster.harness import eventually, tools
from tests.snapshots import STORE, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.harness import TestCluster

WORKLOADS: Final = "azpolicy-workload-pods"
CRONJOBS: Final = "azpolicy-cronjob-pods"
OTHER: Final = "theirs"


def workload(kind: str, **labels: str) -> dict[str, Any]:
    """A Deployment, Job or CronJob whose pods have these labels."""
    spec: dict[str, Any] = {"containers": [{"name": "webserver", "image": "nginx"}]}
    template: dict[str, Any] = {"metadata": {"labels": {"app": "web", **labels}}, "spec": spec}
    group = "apps/v1" if kind == "Deployment" else "batch/v1"
    head = {"apiVersion": group, "kind": kind, "metadata": {"name": "tried", "namespace": "default"}}
    if kind == "Deployment":
        return {**head, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}}
    spec["restartPolicy"] = "Never"
    job = {"template": template}
    return {**head, "spec": job if kind == "Job" else {"schedule": "@daily", "jobTemplate": {"spec": job}}}


class World:
    """Policies that forbid the label `forbidden` on pods, and the command that applies them."""

    def __init__(self, cluster: TestCluster, folder: Path) -> None:
        self.cluster = cluster
        self.snapshot = Snapshot(folder / "snapshot")
        bundle = TemplateFolder(folder / "templates")
        self.url = bundle.write("some-label/v1", "K8sAzureV1SomeLabel")
        self.azpolicy = Azpolicy(cluster, self.snapshot.folder, user="expander", templates=bundle.folder)

    def assign(self, source: str = "All", **details: Any) -> None:
        """Assigns the policy with a source."""
        of = self.snapshot.define("label", self.url, source=source, **details)
        self.snapshot.assign("label", of)

    def apply(self, *arguments: str) -> None:
        """Applies, and waits until everything is enforced."""
        ended = self.azpolicy.apply(*arguments)
        assert ended.code == 0, ended
        paths = all_constraints(self.cluster)
        eventually(lambda: all(enforced(self.cluster, path) for path in paths), what="enforced constraints")

    def expansions(self) -> list[str]:
        """The names of all ExpansionTemplates."""
        return sorted(live["metadata"]["name"] for live in self.cluster.get(EXPANSIONS)["items"])

    def answer(self, manifest: dict[str, Any]) -> str:
        """What kubectl says of a workload in a dry run: warnings and the error."""
        ended = self.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(manifest), check=False)
        return str(ended.stdout + ended.stderr)

    def told(self, manifest: dict[str, Any], text: str) -> str:
        """The same once this text is in it."""

        def answer() -> str:
            said = self.answer(manifest)
            return said if text in said else ""

        return eventually(answer, what=f"{text!r} about {manifest['kind']}")


@pytest.fixture
def world(tidy: TestCluster, tmp_path: Path) -> World:
    return World(tidy, tmp_path)


@pytest.mark.parametrize("source", ["All", "Generated"])
def test_a_workload_is_denied_for_its_pods_and_a_corrected_one_is_admitted(world: World, source: str) -> None:
    world.assign(source)

    world.apply()

    assert world.expansions() == [CRONJOBS, WORKLOADS]
    for kind, by in (("Deployment", WORKLOADS), ("Job", WORKLOADS), ("CronJob", CRONJOBS)):
        told = world.told(workload(kind, forbidden="yes"), f"[Implied by {by}]")
        assert "denied the request" in told
        assert "created (server dry run)" in world.answer(workload(kind))
    # A pod by hand is what All looks at, too, and Generated does not.
    assert bool(refusal(world.cluster, pod(forbidden="yes"))) is (source == "All")
    assert world.azpolicy.plan().code == 0


def test_what_is_only_warned_of_is_a_warning_at_the_workload(world: World) -> None:
    # The add-on's form of a warning: the effect audit, and warn beside it.
    world.snapshot.assign("label", world.snapshot.define("label", world.url, source="All", warn=True), effect="Audit")

    world.apply()

    told = world.told(workload("Deployment", forbidden="yes"), f"[Implied by {WORKLOADS}]")
    assert "Warning: " in told
    assert "created (server dry run)" in told


def test_nothing_of_it_is_left_when_the_last_such_policy_goes(world: World) -> None:
    before = managed(world.cluster)
    world.assign()
    world.apply()
    assert world.expansions() == [CRONJOBS, WORKLOADS]

    world.assign("Original")
    world.apply()

    assert world.expansions() == []
    world.told(workload("Deployment", forbidden="yes"), "created (server dry run)")
    assert refusal(world.cluster, pod(forbidden="yes"))

    world.assign()
    world.apply()
    world.snapshot.remove("assignment-label")
    assert world.azpolicy.apply("--force-prune").code == 0
    assert managed(world.cluster) == before


def test_all_has_every_policy_on_pods_deny_workloads(world: World) -> None:
    world.assign("Original")

    world.apply("--expansion", "all")

    world.told(workload("Deployment", forbidden="yes"), f"[Implied by {WORKLOADS}]")
    world.apply("--expansion", "off")
    assert world.expansions() == []


def test_anothers_for_the_same_workloads_is_left_alone_and_told(world: World) -> None:
    made = {
        "apiVersion": "expansion.gatekeeper.sh/v1beta1",
        "kind": "ExpansionTemplate",
        "metadata": {"name": OTHER},
        "spec": {
            "applyTo": [{"groups": ["apps"], "versions": ["v1"], "kinds": ["Deployment"]}],
            "templateSource": "spec.template",
            "generatedGVK": {"group": "", "version": "v1", "kind": "Pod"},
        },
    }
    assert world.cluster.request("POST", EXPANSIONS, made)[0] == 201
    world.assign()

    ended = world.azpolicy.apply()

    assert ended.code == 2
    assert f"ExpansionTemplate/{OTHER}" in ended.out + ended.err
    assert world.expansions() == [CRONJOBS, OTHER]
    assert world.cluster.request("DELETE", f"{EXPANSIONS}/{OTHER}")[0] == 200
    world.apply()
    assert world.expansions() == [CRONJOBS, WORKLOADS]


def test_a_cycle_that_somebody_closes_is_told_while_it_switches_expansion_off(world: World) -> None:
    made = {
        "apiVersion": "expansion.gatekeeper.sh/v1beta1",
        "kind": "ExpansionTemplate",
        "metadata": {"name": OTHER},
        "spec": {
            "applyTo": [{"groups": [""], "versions": ["v1"], "kinds": ["Pod"]}],
            "templateSource": "spec",
            "generatedGVK": {"group": "apps", "version": "v1", "kind": "Deployment"},
        },
    }
    world.assign()
    world.apply()
    assert world.cluster.request("POST", EXPANSIONS, made)[0] == 201

    eventually(lambda: world.azpolicy.plan().changes().get(f"ExpansionTemplate/{WORKLOADS}") == "reject", what="a word")

    assert world.cluster.request("DELETE", f"{EXPANSIONS}/{OTHER}")[0] == 200
    eventually(lambda: world.azpolicy.plan().code == 0, what="expansion to be good again")


def test_the_operator_takes_back_what_somebody_edits_or_deletes(world: World) -> None:
    world.assign()
    with world.azpolicy.operating():
        eventually(lambda: world.expansions() == [CRONJOBS, WORKLOADS], what="expansion")
        before = managed(world.cluster)

        edit(world.cluster, f"{EXPANSIONS}/{WORKLOADS}", lambda live: live["spec"].update(enforcementAction="dryrun"))
        eventually(lambda: managed(world.cluster) == before, what="the edit to be undone")
        world.cluster.request("DELETE", f"{EXPANSIONS}/{CRONJOBS}")
        eventually(lambda: managed(world.cluster) == before, what="the deleted one to be back")


def test_a_denied_deployment_is_fixed_by_what_why_prints(tidy: TestCluster, tmp_path: Path) -> None:
    """With Generated, which judges no pod that somebody makes: what denies is the pod that expansion makes."""
    snapshot = Snapshot(tmp_path / "snapshot")
    url = f"{STORE}/container-no-privilege/v2/template.yaml"
    snapshot.assign("privilege", snapshot.define("privilege", url, source="Generated"))
    azpolicy = Azpolicy(tidy, snapshot.folder, user="expander")
    assert azpolicy.apply().code == 0
    eventually(lambda: all(enforced(tidy, path) for path in all_constraints(tidy)), what="enforced constraints")
    good, bad = workload("Deployment"), workload("Deployment")
    bad["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    manifest, fix = tmp_path / "web.json", tmp_path / "fix.yaml"
    manifest.write_text(json.dumps(bad))

    def denied() -> str:
        ended = tidy.kubectl("apply", "--dry-run=server", "-f", str(manifest), check=False)
        return ended.stderr if ended.returncode else ""

    def why(text: str, *arguments: str | Path) -> str:
        gator = ("--gator", tools.path("gator"))
        return run("why", text, *arguments, *gator, "--kubeconfig", tidy.kubeconfig).out

    said = eventually(denied, what="a denial of the Deployment")
    told = why(said, "-f", manifest)
    assert f"the pod that the workload would make (expansion {WORKLOADS})" in " ".join(told.split())
    fix.write_text(why(said, "-f", manifest, "-o", "yaml"))
    patched = tidy.kubectl(
        "patch", "--local", "-f", str(manifest), "--type", "json", "--patch-file", str(fix), "-o", "json"
    )
    assert (
        "created (server dry run)" in tidy.kubectl("create", "--dry-run=server", "-f", "-", input=patched.stdout).stdout
    )

    # A change of what is there: kubectl names the Deployment, and what it has is not what was denied.
    tidy.kubectl("apply", "-f", "-", input=json.dumps(good))
    told = why(denied())
    assert "Deployment default/tried" in told
    assert f"-f {manifest}" in " ".join(told.split())
