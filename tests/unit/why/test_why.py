"""`azpolicy why` as its users meet it, offline: what they paste, a snapshot, gator; and the example of its page."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from controller.cli.main import main
from controller.why.fix import json_patch
from tests.cluster.harness import tools
from tests.snapshots import GROUP, STORE, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT: Final = Path(__file__).parents[3]
REGISTRY: Final = "registry.example.com"
PRIVILEGED: Final = "container-no-privilege/v2"
IMAGES: Final = "container-allowed-images/v2"
NOT_OURS: Final = 3


class Ended:
    """A finished command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


class World:
    """Two policies of the bundle in one initiative: no privileged containers, and images of one registry."""

    def __init__(self, folder: Path, gator: str, run: Callable[..., Ended], *, effect: str = "Deny") -> None:
        self.folder = folder
        self.gator = gator
        self.snapshot = Snapshot(folder / "snapshot")
        self._run = run
        members = {
            "privileged": self.snapshot.define("privileged", f"{STORE}/{PRIVILEGED}/template.yaml", values={}),
            "images": self.snapshot.define(
                "images", f"{STORE}/{IMAGES}/template.yaml", values={"imageRegex": f"^{REGISTRY}/.+$"}
            ),
        }
        self.snapshot.assign("one", self.snapshot.initiative("pods", members), effect=effect)
        objects = list(yaml.safe_load_all(run("render", "--snapshot", self.snapshot.folder).out))
        names = {each["kind"]: each["metadata"]["name"] for each in objects}
        self.privileged, self.images = names["K8sAzureV2NoPrivilege"], names["K8sAzureV2ContainerAllowedImages"]

    def why(self, *arguments: str | Path, gator: str = "") -> Ended:
        return self._run("why", *arguments, "--snapshot", self.snapshot.folder, "--gator", gator or self.gator)

    def denied(self, *names: str) -> str:
        lines = "\n".join(f"[{name}] no" for name in names)
        return f'Error creating: admission webhook "validation.gatekeeper.sh" denied the request: {lines}'

    def write(self, document: Mapping[str, Any]) -> Path:
        file = self.folder / "manifest.yaml"
        file.write_text(yaml.safe_dump(dict(document)))
        return file


@pytest.fixture(scope="module")
def gator() -> str:
    return os.environ.get("AZPOLICY_GATOR") or str(tools.path("gator"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def called(*arguments: str | Path) -> Ended:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(int(left.value.code or 0), out, err)

    return called


@pytest.fixture
def world(tmp_path: Path, gator: str, run: Callable[..., Ended]) -> World:
    return World(tmp_path, gator, run)


def pod_spec(image: str = f"{REGISTRY}/web:1", *, privileged: bool = True) -> dict[str, Any]:
    fine = {"name": "fine", "image": f"{REGISTRY}/fine:1"}
    return {"containers": [fine, {"name": "web", "image": image, "securityContext": {"privileged": privileged}}]}


def deployment(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": pod_spec(**spec)}},
    }


def test_the_policy_its_assignment_and_who_decides_are_said(world: World) -> None:
    [denial] = world.why(world.denied(world.privileged), "-o", "json").document["denials"]

    assert denial["constraint"] == {"kind": "K8sAzureV2NoPrivilege", "name": world.privileged}
    assert denial["policy"]["name"] == "Definition privileged"
    assert denial["policy"]["words"] == "No container may set securityContext.privileged."
    assert denial["assignment"]["scope"] == GROUP
    assert denial["initiative"]["name"] == "Initiative pods"
    assert denial["referenceId"] == "privileged"
    assert "Resource Policy Contributor at the resource group harbour" in denial["changeable"]
    assert denial["enforcementAction"] == "deny"


WORKLOADS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "Deployment": ("apps/v1", ("spec", "template")),
    "ReplicaSet": ("apps/v1", ("spec", "template")),
    "StatefulSet": ("apps/v1", ("spec", "template")),
    "DaemonSet": ("apps/v1", ("spec", "template")),
    "Job": ("batch/v1", ("spec", "template")),
    "CronJob": ("batch/v1", ("spec", "jobTemplate", "spec", "template")),
    "ReplicationController": ("v1", ("spec", "template")),
    "Pod": ("v1", ()),
}


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_patch_is_of_the_workload_and_of_the_denied_container_alone(world: World, kind: str) -> None:
    version, path = WORKLOADS[kind]
    content: dict[str, Any] = {"spec": pod_spec()}
    for key in reversed(path):
        content = {key: content}
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, **content}

    ended = world.why(world.denied(world.privileged), "-f", world.write(manifest), "-o", "yaml")

    place = "/".join(["", *path, "spec", "containers", "1"])
    assert yaml.safe_load(ended.out) == [
        {"op": "test", "path": f"{place}/name", "value": "web"},
        {"op": "replace", "path": f"{place}/securityContext/privileged", "value": False},
    ]


def test_an_object_that_is_pasted_is_the_one_that_is_fixed(world: World) -> None:
    failed = {"conditions": [{"type": "ReplicaFailure", "message": world.denied(world.privileged)}]}

    document = world.why(json.dumps({**deployment(), "status": failed}), "-o", "json").document

    assert document["object"]["name"] == "web"
    assert document["fix"]["admits"]


def test_without_the_object_there_is_no_fix_and_what_is_missing_is_said(world: World) -> None:
    text = world.denied(world.privileged).replace("Error", 'error when creating "web.yaml":', 1)

    document = world.why(text, "-o", "json").document

    assert document["fix"] is None
    assert "-f web.yaml" in document["fixMissing"]


def test_without_gator_there_is_no_fix(world: World) -> None:
    arguments = (world.denied(world.privileged), "-f", world.write(deployment()))

    document = world.why(*arguments, "-o", "json", gator="/nowhere/gator").document

    assert document["fix"] is None
    assert "gator was not found" in document["fixMissing"]
    assert document["denials"][0]["changes"] == []


def test_an_image_that_is_not_allowed_has_no_fix_but_what_is_allowed_is_said(world: World) -> None:
    file = world.write(deployment(image="docker.io/web", privileged=False))

    document = world.why(world.denied(world.images), "-f", file, "-o", "json").document

    [denial] = document["denials"]
    assert document["fix"] is None
    assert denial["parameters"] == {"imageRegex": f"^{REGISTRY}/.+$"}
    assert {"path": "spec.template.spec.containers[web].image", "value": "docker.io/web"} in denial["met"]
    assert "imageRegex" in denial["allowed"]


def test_a_patch_that_another_policy_would_still_deny_is_not_printed(world: World) -> None:
    arguments = (world.denied(world.privileged, world.images), "-f", world.write(deployment(image="docker.io/web")))

    document = world.why(*arguments, "-o", "json").document
    text = world.why(*arguments).out
    alone = world.why(*arguments, "-o", "yaml")

    assert document["fix"]["left"] == [world.images]
    assert not document["fix"]["admits"]
    assert f"denied by {world.images}" in text
    assert "- {op" not in text
    assert (alone.out, alone.code) == ("", 0)


@pytest.mark.parametrize("effect", ["Deny", "Audit"])
def test_a_manifest_alone_is_judged_before_anything_denies_it(
    tmp_path: Path, gator: str, run: Callable[..., Ended], effect: str
) -> None:
    """As for a workload that runs, and would fail at its next restart."""
    world = World(tmp_path, gator, run, effect=effect)
    file = world.write(deployment())

    told = world.why("-f", file)
    fixed = world.why("-f", file, "-o", "json").document

    assert ("Would be denied by" in told.out) is (effect == "Deny")
    assert ("Audited, not denied, by" in told.out) is (effect == "Audit")
    assert [each["constraint"]["name"] for each in fixed["denials"]] == [world.privileged]
    assert [each["op"] for each in fixed["fix"]["patch"]] == ["test", "replace"]


def test_an_object_that_passes_is_said_to(world: World) -> None:
    file = world.write(deployment(privileged=False))

    document = world.why(world.denied(world.privileged), "-f", file, "-o", "json").document

    assert document["fixMissing"].startswith("gator finds nothing that denies this object")


def test_the_add_ons_names_give_every_candidate(world: World) -> None:
    other = re.sub("[0-9a-f]{20}$", "0" * 20, world.privileged)

    [denial] = world.why(world.denied(other), "-o", "json").document["denials"]

    assert denial["constraint"]["name"] == world.privileged
    assert not denial["certain"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('admission webhook "validation.gatekeeper.sh" denied the request: [must-have-owner] no', "must-have-owner"),
        ("[azurepolicy-k8sazurev9gone-00000000000000000000] no", "no policy here has it"),
        ('failed calling webhook "validation.gatekeeper.sh": timeout', "Gatekeeper did not answer"),
        ("hello", "no form of a denial that azpolicy knows"),
    ],
)
def test_what_is_none_of_ours_has_an_exit_code_of_its_own(world: World, text: str, said: str) -> None:
    ended = world.why(text)

    assert ended.code == NOT_OURS
    assert said in " ".join(ended.out.split())


def test_a_question_without_a_text_is_an_error_that_says_what_to_give(world: World) -> None:
    ended = world.why()

    assert ended.code == 2
    assert "KIND/NAME -n NAMESPACE" in ended.err


def test_a_hostile_text_prints_nothing_that_a_terminal_obeys(world: World) -> None:
    file = world.snapshot.folder / "definition-privileged-1.0.0.json"
    file.write_text(file.read_text().replace("Definition privileged", "Definition \\u001b]0;evil\\u0007 \\u202e"))
    manifest = world.write(deployment(image="\x1b[2Jweb"))

    ended = world.why(world.denied(world.privileged, world.images) + "\x1b]0;evil\x07\u202e", "-f", manifest)

    assert "Denied by Definition" in ended.out
    assert all(character.isprintable() or character == "\n" for character in ended.out)


def test_standard_input_that_is_no_text_is_read_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe" + world.denied(world.privileged).encode()))
    )

    assert world.why("-").code == 0


def test_the_example_of_the_page_is_what_the_command_prints(
    tmp_path: Path, gator: str, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/why.md").read_text()
    manifest, denied, printed = (
        re.search(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("yaml", "text", "console")
    )
    assert manifest
    assert denied
    assert printed
    command, _, output = printed[1].partition("\n")
    assert command == "$ azpolicy why - -f web.yaml --snapshot examples/snapshot < denied.txt"
    shutil.copytree(ROOT / "examples/snapshot", tmp_path / "examples/snapshot")
    (tmp_path / "web.yaml").write_text(manifest[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZPOLICY_GATOR", gator)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(denied[1].encode())))

    ended = run("why", "-", "-f", "web.yaml", "--snapshot", "examples/snapshot")

    assert ended.out == output


def test_a_patch_names_keys_as_json_pointers_do() -> None:
    before = {"metadata": {"annotations": {"a/b~c": "1", "kept": "2"}}, "list": [1, 2]}
    after = {"metadata": {"annotations": {"kept": "2"}}, "list": [1]}

    assert list(json_patch(before, after)) == [
        {"op": "remove", "path": "/metadata/annotations/a~1b~0c"},
        {"op": "replace", "path": "/list", "value": [1]},
    ]
