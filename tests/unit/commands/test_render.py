"""`azpolicy render` as its users meet it: what it prints, writes, refuses and exits with."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller.azure.snapshot import read_snapshot
from controller.cli.main import main
from controller.commands.render import MARK
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.providers import make_provider
from controller.gatekeeper.sources import wanted_documents
from controller.gatekeeper.translate import translate
from controller.policy.resolve import resolve
from controller.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "snapshot"
AZURE = ROOT.parent / "shared" / "azure-policy"
CLUSTER = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-demo"
    "/providers/Microsoft.ContainerService/managedClusters/demo"
)


@pytest.fixture
def render(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command; gives its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["render", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path / "snapshot"))


def change(file: Path, **properties: Any) -> None:
    document = json.loads(file.read_text())
    document["properties"] |= properties
    file.write_text(json.dumps(document))


def test_the_examples_render_to_a_template_and_a_constraint_for_each_policy(render: Callable[..., Any]) -> None:
    code, out, err = render("--snapshot", EXAMPLES)

    objects = list(yaml.safe_load_all(out))
    assert (code, err) == (0, "")
    assert [o["kind"] for o in objects] == ["ConstraintTemplate"] * 6 + [
        "K8sAzureV2BlockHostNamespace",
        "K8sAzureV2ContainerAllowedImages",
        "K8sAzureV2NoPrivilege",
        "K8sAzureV3AllowedCapabilities",
        "K8sAzureV3HostNetworkingPorts",
        "K8sAzureV4HostFilesystem",
    ]
    assert {o["spec"]["enforcementAction"] for o in objects[6:]} == {"deny"}
    images = objects[7]
    assert images["spec"]["parameters"]["imageRegex"] == r"^(registry\.example\.com|mcr\.microsoft\.com)/.+$"
    assert "sandbox" in images["spec"]["match"]["excludedNamespaces"]


def test_the_same_snapshot_renders_to_the_same_text(render: Callable[..., Any]) -> None:
    assert render("--snapshot", EXAMPLES) == render("--snapshot", EXAMPLES)


def test_what_is_printed_parses_back_to_the_desired_objects(render: Callable[..., Any]) -> None:
    state = read_snapshot(EXAMPLES, None)
    provider = make_provider("bundle")
    desired = asyncio.run(desired_state(state, provider, now=datetime.now(UTC), marks=OwnershipMarks()))

    _, out, _ = render("--snapshot", EXAMPLES)

    assert list(yaml.safe_load_all(out)) == [o.manifest for o in desired.objects]


def test_options_reach_the_objects(render: Callable[..., Any]) -> None:
    _, out, _ = render("--snapshot", EXAMPLES, "--managed-by", "team", "--exclude-namespace", "azpolicy")

    objects = list(yaml.safe_load_all(out))
    assert {o["metadata"]["labels"]["managed-by"] for o in objects} == {"team"}
    assert all("azpolicy" in o["spec"]["match"]["excludedNamespaces"] for o in objects[6:])


def test_what_is_unresolved_is_one_line_on_stderr_and_an_error_only_when_strict(
    render: Callable[..., Any], snapshot: Path
) -> None:
    change(snapshot / "assignments" / "allowed-images.json", parameters={"effect": {"value": "Deny"}})

    code, out, err = render("--snapshot", snapshot)
    strict, _, _ = render("--snapshot", snapshot, "--strict")

    assert (code, strict) == (0, 2)
    assert len(list(yaml.safe_load_all(out))) == 10
    (line,) = err.splitlines()
    assert line.startswith("unresolved Parameter: ")
    assert "policyAssignments/allowed-images" in line
    assert "allowedContainerImagesRegex" in line


def test_a_folder_of_templates_that_lacks_some_leaves_their_members_unresolved(
    render: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()

    code, out, err = render("--snapshot", EXAMPLES, "--templates", tmp_path / "mine")

    assert (code, out) == (0, "")
    assert len(err.splitlines()) == 6
    assert all(line.startswith("unresolved TemplateUnavailable: assignment /") for line in err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--snapshot"),
        (["--snapshot", "/nowhere"], "/nowhere"),
        (["--snapshot", EXAMPLES, "--cluster-id", "/not/a/cluster"], "/not/a/cluster"),
        (["--snapshot", EXAMPLES, "--templates", "/nowhere"], "/nowhere"),
        (["--snapshot", EXAMPLES, "--templates", "http://mirror"], "https"),
        (["--snapshot", EXAMPLES, "--managed-by", "two words"], "two words"),
        (["--snapshot", EXAMPLES, "--template-pin", "x"], "URL=SHA256"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr_and_exit_2(
    render: Callable[..., Any], arguments: list[str | Path], complaint: str
) -> None:
    code, out, err = render(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert complaint in err


def test_an_unknown_option_is_exit_2(render: Callable[..., Any]) -> None:
    code, _, err = render("--nonsense")

    assert code == 2
    assert "--nonsense" in err


def test_an_assignment_that_cannot_be_read_still_counts_as_listed(render: Callable[..., Any], snapshot: Path) -> None:
    change(snapshot / "assignments" / "allowed-images.json", policyDefinitionId=7)
    state = read_snapshot(snapshot, None)

    desired = asyncio.run(desired_state(state, make_provider("bundle"), now=datetime.now(UTC), marks=OwnershipMarks()))

    assert {i.rpartition("/")[2] for i in desired.listed} == {"pod-security-baseline", "allowed-images"}
    assert render("--snapshot", snapshot, "--strict")[0] == 2


def test_unreadable_json_names_file_and_line(render: Callable[..., Any], snapshot: Path) -> None:
    (snapshot / "cluster.json").write_text('{\n"id": \n')

    code, out, err = render("--snapshot", snapshot)

    assert (code, out) == (2, "")
    assert "cluster.json" in err
    assert "line 3" in err


def test_output_writes_a_file_per_object_in_the_order_in_which_to_apply(
    render: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "rendered"
    _, out, _ = render("--snapshot", EXAMPLES)

    code, printed, _ = render("--snapshot", EXAMPLES, "--output", folder)

    files = sorted(folder.iterdir())
    assert (code, printed, len(files)) == (0, "", 12)
    assert files[0].name == "1-constrainttemplate-k8sazurev2blockhostnamespace.yaml"
    assert "".join(f.read_text().removeprefix(MARK) for f in files) == out


def test_output_replaces_and_removes_only_files_of_its_own(
    render: Callable[..., Any], snapshot: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "rendered"
    render("--snapshot", snapshot, "--output", folder)
    (folder / "README.md").write_text("mine")
    (folder / "1-mine.yaml").write_text("mine: too")
    (snapshot / "assignments" / "allowed-images.json").unlink()

    code, _, _ = render("--snapshot", snapshot, "--output", folder)

    left = {f.name for f in folder.iterdir()}
    assert code == 0
    assert len(left) == 12
    assert {"README.md", "1-mine.yaml"} <= left
    assert not any("containerallowedimages" in name for name in left)


def test_output_over_somebody_s_file_is_refused_before_anything_is_written(
    render: Callable[..., Any], tmp_path: Path
) -> None:
    theirs = tmp_path / "1-constrainttemplate-k8sazurev2noprivilege.yaml"
    theirs.write_text("theirs")

    code, _, err = render("--snapshot", EXAMPLES, "--output", tmp_path)

    assert code == 2
    assert f"{theirs} was not written by azpolicy" in err
    assert [f.name for f in tmp_path.iterdir()] == [theirs.name]


def test_output_that_cannot_be_written_is_exit_2(render: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    code, _, err = render("--snapshot", EXAMPLES, "--output", tmp_path / "file" / "below")

    assert code == 2
    assert "cannot be written" in err


def test_environment_variables_stand_in_for_options(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZPOLICY_SNAPSHOT", str(EXAMPLES))
    monkeypatch.setenv("AZPOLICY_EXCLUDE_NAMESPACES", "one two")

    code, out, _ = render()

    assert code == 0
    assert list(yaml.safe_load_all(out))[-1]["spec"]["match"]["excludedNamespaces"][-2:] == ["one", "two"]


def test_a_closed_pipe_ends_quietly() -> None:
    # Python's own start, as installing the command is not this test's business.
    command = [
        sys.executable,
        "-c",
        "from controller.cli.main import main; main()",
        "render",
        "--snapshot",
        str(EXAMPLES),
    ]
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)

    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize(("called", "shown"), [("azpolicy", "azpolicy"), ("kubectl-azpolicy", "kubectl azpolicy")])
def test_help_calls_the_command_as_it_was_called(
    called: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{called}", "render", "--help"])

    with pytest.raises(SystemExit) as left:
        main()

    assert not left.value.code
    assert capsys.readouterr().out.startswith(f"Usage: {shown} render [OPTIONS]")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])

    assert not left.value.code
    assert capsys.readouterr().out.startswith("azpolicy 0.")


def test_text_from_elsewhere_cannot_start_a_line_of_its_own() -> None:
    assert one_line("a\nerror: b\x1b[31m\u2028c") == "a error: b [31m c"


@pytest.fixture
def azure() -> Path:
    if not AZURE.is_dir():
        pytest.skip("Azure's own definitions are not beside this repository")
    return AZURE


@pytest.mark.parametrize(
    ("initiative", "rendered"),
    [
        ("a8640138-9b0a-4a28-b8cb-1666c838647d", 5),
        ("42b8ef37-b724-4e24-bbc8-7a7708edfe00", 6),
    ],
)
def test_azure_s_own_pod_security_initiatives_render(
    render: Callable[..., Any], azure: Path, tmp_path: Path, initiative: str, rendered: int
) -> None:
    """At least this many members: more come with every template that is added."""
    source = _assigned(azure, tmp_path, initiative, 1)

    code, out, err = render("--snapshot", source, "--cluster-id", CLUSTER)

    constraints = [o for o in yaml.safe_load_all(out) if o["kind"] != "ConstraintTemplate"]
    assert code == 0
    assert len(constraints) >= rendered, err


def _assigned(azure: Path, tmp_path: Path, initiative: str, times: int) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for part in ("definitions", "initiatives"):
        (source / part).symlink_to(azure / part)
    scope = CLUSTER.partition("/resourceGroups")[0]
    assignments = [
        {
            "type": "Microsoft.Authorization/policyAssignments",
            "id": f"{scope}/providers/Microsoft.Authorization/policyAssignments/a{n}",
            "name": f"a{n}",
            "properties": {
                "scope": scope,
                "policyDefinitionId": f"/providers/Microsoft.Authorization/policySetDefinitions/{initiative}",
                "parameters": {"effect": {"value": "Audit"}},
            },
        }
        for n in range(times)
    ]
    (source / "assignments.json").write_text(json.dumps(assignments))
    return source


def test_two_hundred_assignments_of_the_safeguards_become_an_outcome_for_each_member(
    azure: Path, tmp_path: Path
) -> None:
    """At least 20 of its 27 members each time: the others have a definition that is not here."""
    state = read_snapshot(_assigned(azure, tmp_path, "c047ea8e-9c78-49b2-958b-37e56d291a44", 200), CLUSTER)
    now, provider = datetime.now(UTC), make_provider("bundle")
    documents = asyncio.run(provider.fetch(wanted_documents(resolve(state, now))))

    desired = translate(resolve(state, now), documents, cluster_id=CLUSTER)

    assert len(desired.outcomes) >= 200 * 20
