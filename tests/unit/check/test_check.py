"""`azpolicy check` as its users meet it: manifests in, gator's verdict out, in text and in what pipelines read."""

from __future__ import annotations

import io
import json
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller.cli.main import main
from tests.cluster.harness import tools
from tests.snapshots import GROUP, STORE, Snapshot, TemplateFolder, template_text

if TYPE_CHECKING:
    from collections.abc import Callable

KIND = "K8sCheckLabel"
PODS_ONLY = {"apiGroups": [""], "kinds": ["Pod"]}


@pytest.fixture(scope="module")
def gator() -> str:
    return os.environ.get("AZPOLICY_GATOR") or str(tools.path("gator"))


class Ended:
    """A finished command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def findings(self) -> list[dict[str, Any]]:
        return list(json.loads(self.out)["findings"])

    def told(self) -> list[tuple[str, int, str]]:
        """Action, line and object of each finding."""
        return [(f["action"], f["line"], f"{f['object']['kind']}/{f['object']['name']}") for f in self.findings]


class World:
    """A policy that forbids the label `forbidden` on pods, assigned; a folder of manifests; the command."""

    def __init__(self, folder: Path, gator: str, run: Callable[..., Ended]) -> None:
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.folder = folder / "manifests"
        self.folder.mkdir()
        self.gator = gator
        self._run = run
        self.url = self.bundle.write("check-label/v1", KIND)
        self.assign()

    def assign(self, **details: Any) -> None:
        definition = self.snapshot.define("label", self.url, **details)
        self.snapshot.assign("team-labels", definition)

    def write(self, *documents: Any, name: str = "app.yaml") -> Path:
        file = self.folder / name
        file.write_text("---\n".join(yaml.safe_dump(each, sort_keys=False) for each in documents))
        return file

    def check(self, *arguments: str | Path, gator: str = "") -> Ended:
        where = ["--snapshot", self.snapshot.folder, "--templates", self.bundle.folder, "--gator", gator or self.gator]
        return self._run("check", *where, *(arguments or (self.folder,)))

    def found(self, *arguments: str | Path) -> Ended:
        return self.check("-o", "json", *(arguments or (self.folder,)))


@pytest.fixture
def world(tmp_path: Path, gator: str, capsys: pytest.CaptureFixture[str]) -> World:
    def run(*arguments: str | Path) -> Ended:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(int(left.value.code or 0), out, err)

    return World(tmp_path, gator, run)


def labelled(label: str = "forbidden") -> dict[str, Any]:
    return {"labels": {label: "yes"}}


def pod(name: str = "web", label: str = "forbidden", **metadata: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "nginx"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **labelled(label), **metadata}, "spec": spec}


def workload(api_version: str, kind: str) -> dict[str, Any]:
    template = {"metadata": labelled(), "spec": pod()["spec"]}
    spec: dict[str, Any] = {"template": template}
    if kind == "CronJob":
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": spec}}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "app"}, "spec": spec}


# --- exit codes and text ---------------------------------------------------------------------------------------------


def test_manifests_that_break_no_policy_pass(world: World) -> None:
    world.write(pod(label="fine"))

    ended = world.check()

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "check: 1 objects, 1 constraints: 0 deny, 0 warn, 0 audit\n"


def test_a_denied_object_is_told_with_file_line_policy_and_assignment(world: World) -> None:
    file = world.write(pod(label="fine"), pod())

    ended = world.check()

    assert ended.code == 1
    line, policy, _ = ended.out.splitlines()
    assert line == f"{file}:12: deny Pod default/web: label forbidden is forbidden"
    assert policy == "    Definition label (assignment Assignment team-labels)"


@pytest.mark.parametrize(("effect", "warn", "action"), [("Audit", False, "audit"), ("Audit", True, "warn")])
def test_what_is_only_audited_or_warned_of_is_told_and_passes(
    world: World, effect: str, warn: bool, action: str
) -> None:
    world.assign(effect=effect, warn=warn)
    world.write(pod())

    ended = world.found()

    assert (ended.code, ended.told()) == (0, [(action, 1, "Pod/web")])


def test_unresolved_members_are_told_and_an_error_if_asked_for(world: World) -> None:
    world.snapshot.assign("other", world.snapshot.define("other", f"{STORE}/nowhere/v1/template.yaml"))
    world.write(pod(label="fine"))

    assert world.check().code == 0
    ended = world.check("--strict", world.folder)
    assert ended.code == 2
    assert ended.err.startswith("unresolved TemplateUnavailable: ")


def test_a_gator_that_is_not_there_is_an_error_that_says_how_to_get_it(world: World) -> None:
    world.write(pod())

    ended = world.check(gator="no-such-gator")

    assert ended.code == 2
    assert "no-such-gator was not found" in ended.err
    assert "--gator" in ended.err


def test_a_gator_that_fails_is_an_error_and_never_a_pass(world: World, tmp_path: Path) -> None:
    world.write(pod())
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)

    ended = world.check(gator=str(broken))

    assert ended.code == 2
    assert "cannot judge: out of order" in ended.err


def test_a_template_with_an_error_in_its_rego_is_named_and_the_others_are_judged(world: World) -> None:
    url = world.bundle.write("broken/v1", "K8sBroken", 'violation[{"msg": msg}] { nowhere }\n')
    world.snapshot.assign("broken", world.snapshot.define("broken", url))
    world.write(pod())

    ended = world.found()

    assert ended.code == 2
    assert ended.told() == [("deny", 1, "Pod/web")]
    assert "policy Definition broken: Gatekeeper does not take it: unable to compile modules" in ended.err
    assert len(json.loads(ended.out)["errors"]) == 1


def test_a_constraint_that_the_api_server_would_refuse_is_unresolved_and_the_others_are_judged(world: World) -> None:
    world.snapshot.assign("odd", world.snapshot.define("odd", world.url, namespaces=["Not_A_Name"]))
    world.snapshot.assign("wrong", world.snapshot.define("wrong", world.url, values={"labels": "forbidden"}))
    world.write(pod())

    ended = world.found()

    assert ended.code == 1
    assert ended.told() == [("deny", 1, "Pod/web")]
    assert "policyRule.then.details.namespaces[0] must match the pattern" in ended.err
    assert "policyRule.then.details.values.labels must be a list, is String 'forbidden'" in ended.err
    assert world.found("--strict", world.folder).code == 2


def test_parameters_that_the_template_does_not_know_are_dropped_as_the_server_drops_them(world: World) -> None:
    values = {"labels": ["forbidden"], "unheardOf": {"deep": 1}}
    world.snapshot.assign("team-labels", world.snapshot.define("label", world.url, values=values))
    world.write(pod())

    ended = world.found()

    assert ended.code == 1
    assert ended.told() == [("deny", 1, "Pod/web")]
    assert json.loads(ended.out)["errors"] == []
    assert "policyRule.then.details.values.unheardOf is dropped: template k8schecklabel" in ended.err


def test_no_rule_can_see_that_a_checker_has_numbered_the_objects(world: World) -> None:
    rule = """violation[{"msg": msg}] {
      keys := {key | input.review.object.metadata[key]} - {"name", "namespace", "labels"}
      count(keys) > 0
      msg := sprintf("marked: %v", [keys])
    }
    """
    url = world.bundle.write("marks/v1", "K8sMarks", rule)
    world.snapshot.assign("marks", world.snapshot.define("marks", url))
    world.write(pod(label="fine"))

    assert world.found().findings == []


def test_the_same_object_in_two_files_is_found_in_both(world: World) -> None:
    world.write(pod(), name="a.yaml")
    world.write(pod(), name="b.yaml")

    assert len(world.found().findings) == 2


@pytest.mark.parametrize("number", [1.0, 1e21, 12345678901234567890, -0.5, 0.1])
def test_a_finding_comes_home_whatever_numbers_an_object_has(world: World, number: float) -> None:
    world.write({**pod(), "status": {"odd": number}})

    assert len(world.found().findings) == 1


def test_a_policy_that_asks_an_external_provider_is_told_and_harms_no_other(world: World) -> None:
    rule = 'violation[{"msg": "x"}] { external_data({"provider": "p", "keys": [input.review.object.metadata.name]}) }\n'
    url = world.bundle.write("asks/v1", "K8sAsks", rule)
    world.snapshot.assign("asks", world.snapshot.define("asks", url))
    world.write(pod())

    ended = world.found()

    assert ended.told() == [("deny", 1, "Pod/web")]
    assert "Definition asks: it asks an external data provider" in ended.err


def test_a_policy_that_can_match_nothing_is_told(world: World) -> None:
    world.assign(namespaces=["kube-system"])
    world.write(pod(namespace="kube-system"))

    ended = world.check()

    assert ended.code == 0
    assert "note: policy Definition label: it can match nothing: of its namespaces (kube-system), each is" in ended.err


def test_mutations_are_said_not_to_be_applied(world: World) -> None:
    url = world.bundle.write_mutation("label/v1", "give-label", "given")
    world.snapshot.assign("mutate", world.snapshot.define("mutate", url, effect="Mutate"))
    world.write(pod(label="fine"))

    assert "Definition mutate: mutations are not applied" in world.check().err


# --- objects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("v1", "ReplicationController"),
    ],
)
def test_a_workload_is_judged_by_the_pod_that_it_would_make(world: World, api_version: str, kind: str) -> None:
    world.write(workload(api_version, kind))

    ended = world.found()

    assert ended.told() == [("deny", 1, f"{kind}/app")]
    assert ended.findings[0]["inPod"] is True


def test_a_kind_of_that_name_in_another_group_is_no_workload(world: World) -> None:
    world.write(workload("example.com/v1", "Deployment"))

    assert world.found().told() == []


def test_what_a_workload_and_its_pod_break_alike_is_told_once(world: World) -> None:
    world.assign(apiGroups=["", "apps"], kinds=["Pod", "Deployment"])
    deployment = workload("apps/v1", "Deployment")
    deployment["metadata"] |= labelled()
    world.write(deployment)

    assert [f["inPod"] for f in world.found().findings] == [False]


def test_a_pod_of_a_workload_has_an_owner(world: World) -> None:
    rule = 'violation[{"msg": "naked"}] { not input.review.object.metadata.ownerReferences[0].controller }\n'
    world.bundle.write("check-label/v1", KIND, rule)
    world.write(pod(), workload("apps/v1", "Deployment"))

    assert world.found().told() == [("deny", 1, "Pod/web")]


def test_a_manifest_is_judged_as_one_that_no_api_server_has_seen(world: World) -> None:
    """The bundle's rule about tokens tells by the uid whether the API server would still mount one."""
    rule = 'violation[{"msg": "it has a uid"}] { input.review.object.metadata.uid }\n'
    world.bundle.write("check-label/v1", KIND, rule)
    world.write(pod(), workload("apps/v1", "Deployment"))

    assert world.found().told() == []


def test_objects_without_a_namespace_are_in_the_one_that_is_given(world: World) -> None:
    world.assign(excludedNamespaces=["tools"])
    world.write(pod(), pod("there", namespace="tools"), pod("system", namespace="kube-system"))

    assert world.found().told() == [("deny", 1, "Pod/web")]
    assert world.found("--namespace", "tools", world.folder).told() == []


def test_a_namespace_among_the_manifests_counts_with_its_labels(world: World) -> None:
    rule = (
        'violation[{"msg": "no team"}] {\n'
        "  name := input.review.object.metadata.namespace\n"
        '  not data.inventory.cluster["v1"].Namespace[name].metadata.labels.team\n}\n'
    )
    world.bundle.write("check-label/v1", KIND, rule)
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}
    world.write(pod(namespace="shop"), shop, pod("elsewhere"))

    found = world.found("--inventory-kind", "v1/Namespace", world.folder).findings
    assert [(f["object"]["name"], f["object"]["namespace"]) for f in found] == [("elsewhere", "default")]


def test_what_the_cluster_would_not_replicate_is_not_looked_up_here_either(world: World) -> None:
    rule = (
        'violation[{"msg": msg}] {\n'
        '  data.inventory.namespace[_]["v1"].Pod[other]\n'
        "  other != input.review.object.metadata.name\n"
        '  msg := sprintf("there is %v", [other])\n}\n'
    )
    world.bundle.write("check-label/v1", KIND, rule)
    world.write(pod("one"), pod("two"))

    assert world.found().findings == []
    messages = [f["message"] for f in world.found("--inventory-kind", "found", world.folder).findings]
    assert sorted(messages) == ["there is one", "there is two"]


def test_objects_that_only_differ_in_their_file_are_told_apart(world: World) -> None:
    world.write(pod(label="fine"), name="a.yaml")
    world.write(pod(), name="b.yaml")

    assert [Path(f["file"]).name for f in world.found().findings] == ["b.yaml"]


def test_an_object_with_a_name_to_be_generated_is_judged(world: World) -> None:
    manifest = pod(generateName="run-")
    del manifest["metadata"]["name"]
    world.write(manifest)

    assert world.found().told() == [("deny", 1, "Pod/run-")]


def test_gatekeepers_own_kinds_among_the_manifests_do_not_become_policies(world: World) -> None:
    template = json.loads(template_text("K8sTheirs", 'violation[{"msg": "theirs"}] { true }\n'))
    constraint = {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "K8sTheirs",
        "metadata": {"name": "theirs"},
    }
    world.write(template, constraint, pod(label="fine"))

    ended = world.found()

    assert (ended.code, ended.told()) == (0, [])
    assert "app.yaml:1: ConstraintTemplate k8stheirs is Gatekeeper's own configuration" in ended.err


def test_several_files_and_standard_input_are_read_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = world.write(pod("one"))
    text = yaml.safe_dump(pod("two")).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))

    findings = world.found(file, "-").findings

    assert [(f["file"], f["object"]["name"]) for f in findings] == [(str(file), "one"), ("stdin", "two")]


def test_many_objects_are_shared_out_and_each_still_sees_all_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    rule = (
        'violation[{"msg": msg}] {\n'
        '  other := data.inventory.namespace[_]["v1"].Pod[name]\n'
        "  name != input.review.object.metadata.name\n"
        "  other.metadata.labels.app == input.review.object.metadata.labels.app\n"
        '  msg := sprintf("the same as %v", [name])\n}\n'
    )
    template = json.loads(template_text(KIND, rule))
    wanted = [[{"groups": [""], "versions": ["v1"], "kinds": ["Pod"]}]]
    template["metadata"]["annotations"] = {"metadata.gatekeeper.sh/requires-sync-data": f'"{json.dumps(wanted)}"'}
    (world.bundle.folder / "check-label/v1/template.yaml").write_text(json.dumps(template))
    pods = [pod(f"pod-{n}", labels={"app": "same" if n in (0, 398, 399) else f"app-{n}"}) for n in range(400)]
    world.write(*pods)

    findings = world.found().findings

    assert {(f["object"]["name"], f["message"].rpartition(" ")[2]) for f in findings} == {
        (one, other)
        for one in ("pod-0", "pod-398", "pod-399")
        for other in ("pod-0", "pod-398", "pod-399")
        if one != other
    }


# --- pipelines -------------------------------------------------------------------------------------------------------


def test_the_json_form_names_policy_assignment_and_constraint(world: World) -> None:
    world.write(pod())

    document = json.loads(world.found().out)

    assert document["schema"] == "azpolicy.dev/check/v1"
    assert document["counts"] == {"deny": 1, "warn": 0, "audit": 0}
    [finding] = document["findings"]
    assert finding["policy"]["name"] == "Definition label"
    assert finding["assignment"]["id"].startswith(GROUP)
    assert finding["constraint"]["kind"] == KIND
    assert finding["object"] == {"kind": "Pod", "namespace": "default", "name": "web"}


def test_sarif_has_a_rule_per_policy_and_a_place_per_result(world: World) -> None:
    world.write(pod("one"), pod("two"), name="a pod.yaml")

    ended = world.check("-o", "sarif", world.folder)

    assert ended.code == 1
    log = json.loads(ended.out)
    [run] = log["runs"]
    assert (log["version"], len(run["tool"]["driver"]["rules"])) == ("2.1.0", 1)
    assert [r["level"] for r in run["results"]] == ["error", "error"]
    assert [r["ruleId"] == run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] for r in run["results"]] == [True, True]
    location = run["results"][1]["locations"][0]["physicalLocation"]
    assert location["region"] == {"startLine": 12}
    assert location["artifactLocation"]["uri"].endswith("/a%20pod.yaml")


def test_junit_has_a_case_per_object_and_fails_the_denied_ones(world: World) -> None:
    other = world.bundle.write("second/v1", "K8sSecond", 'violation[{"msg": "a \\u0001 bell"}] { true }\n')
    world.snapshot.assign("second", world.snapshot.define("second", other, effect="Audit"))
    world.write(pod("bad"), pod("good", label="fine"))

    ended = world.check("-o", "junit", world.folder)

    root = ET.fromstring(ended.out)
    [suite] = root
    assert suite.attrib | {"name": ""} == {"name": "", "tests": "2", "failures": "1"}
    bad, good = suite
    assert [child.tag for child in bad] == ["failure", "system-out"]
    assert [child.tag for child in good] == ["system-out"]
    assert "audit: a ? bell" in str(good[0].text)


def test_text_from_a_policy_cannot_steer_a_terminal(world: World) -> None:
    world.bundle.write("check-label/v1", KIND, 'violation[{"msg": "red \\u001b[31m\\nline"}] { true }\n')
    world.write(pod())

    ended = world.check()

    assert "\x1b" not in ended.out
    assert len(ended.out.splitlines()) == 3


def test_an_admission_review_is_judged_as_what_it_holds(world: World) -> None:
    request = {"uid": "u", "operation": "CREATE", "namespace": "shop", "object": pod(), "userInfo": {"username": "me"}}
    world.write({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})

    ended = world.check()

    assert ended.code == 1
    assert "deny Pod shop/web" in ended.out
    assert "of this request only the object is judged" in ended.err


@pytest.mark.parametrize(
    ("source", "setting", "expected"),
    [
        # A pod by hand is Original, a workload's pod is both.
        pytest.param("Original", "assigned", ["Deployment/app", "Pod/web"], id="Original"),
        pytest.param("All", "assigned", ["Deployment/app", "Pod/web"], id="All"),
        pytest.param("Generated", "assigned", ["Deployment/app"], id="Generated"),
        pytest.param("Generated", "off", [], id="Generated where nothing is expanded"),
    ],
)
def test_a_workloads_pod_is_judged_as_one_that_expansion_makes(
    world: World, source: str, setting: str, expected: list[str]
) -> None:
    world.assign(source=source)
    world.write(pod(), workload("apps/v1", "Deployment"))

    found = world.found("--expansion", setting, world.folder)

    assert sorted({what for _, _, what in found.told()}) == expected
