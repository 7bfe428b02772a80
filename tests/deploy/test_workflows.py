"""The workflows of .github/, which have never run: actionlint and what can be read from them is all that is shown."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.cluster.harness import tools
from tests.deploy.helm import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)  # actionlint is built first where it has not been

FILES: Final = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
PINNED: Final = re.compile(r"[\w.-]+/[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40}( # v\d+\.\d+\.\d+)?)")
# What somebody outside can choose: a branch's name, a title. In a script of bash it would be run.
FROM_OUTSIDE: Final = re.compile(r"\$\{\{[^}]*\bgithub\.(event\b|head_ref|ref_name|actor)[^}]*\}\}")
every_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def load(file: Path) -> dict[str, Any]:
    """A workflow; its `on` is a boolean to YAML 1.1."""
    workflow: dict[str | bool, Any] = yaml.safe_load(file.read_text())
    return {"on" if key is True else str(key): value for key, value in workflow.items()}


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow by name."""
    found: dict[str, dict[str, Any]] = load(file)["jobs"]
    return found


def steps(file: Path) -> Iterator[dict[str, Any]]:
    """All steps of a workflow."""
    for job in jobs(file).values():
        yield from job["steps"]


def test_actionlint_finds_nothing() -> None:
    # shellcheck and pyflakes are used where they happen to be installed: here the result has to be the same everywhere.
    command = [str(tools.path("actionlint")), "-no-color", "-shellcheck=", "-pyflakes=", *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@every_workflow
def test_scripts_are_bash_that_parses_and_fails_with_any_command_of_a_pipe(file: Path) -> None:
    assert load(file)["defaults"] == {"run": {"shell": "bash"}}
    for step in steps(file):
        if script := step.get("run"):
            parsed = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            assert (parsed.returncode, parsed.stderr) == (0, ""), script


@every_workflow
def test_every_action_is_pinned_to_one_version(file: Path) -> None:
    assert [step["uses"] for step in steps(file) if "uses" in step and not PINNED.fullmatch(step["uses"])] == []


@every_workflow
def test_rights_are_given_to_single_jobs_alone(file: Path) -> None:
    assert load(file)["permissions"] == {}
    for job in jobs(file).values():
        assert job["permissions"]["contents"] in (
            {"read", "write"} if job["permissions"].keys() == {"contents"} else {"read"}
        )


@every_workflow
def test_no_checkout_leaves_the_token_behind_and_no_script_takes_text_from_outside(file: Path) -> None:
    for step in steps(file):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert not FROM_OUTSIDE.search(step.get("run", ""))


def test_changes_from_forks_run_without_any_right_to_write() -> None:
    triggers = {trigger for file in FILES for trigger in load(file)["on"]}
    assert triggers == {"push", "pull_request"}
    for file in FILES:
        if "pull_request" in load(file)["on"]:
            assert {right for job in jobs(file).values() for right in job["permissions"].values()} == {"read"}


def test_ci_runs_what_the_script_of_ci_runs() -> None:
    script = re.findall(r"^make (\w+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert [step["run"] for step in steps(ROOT / ".github/workflows/ci.yaml") if "run" in step] == [
        f"make {target}" for target in script
    ]


def test_a_release_builds_nothing_before_everything_passed_and_publishes_nothing_before_everything_is_built() -> None:
    release = jobs(ROOT / ".github/workflows/release.yaml")
    needs = {
        name: [*([job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", []))]
        for name, job in release.items()
    }
    verified = [step["run"] for step in release["verify"]["steps"] if "run" in step]

    assert needs == {
        "verify": [],
        "wheel": ["verify"],
        "image": ["verify"],
        "chart": ["image"],
        "publish": ["wheel", "image", "chart"],
    }
    assert {"make lint", "make test", "make audit AUDIT=--strict"} <= set(verified)
    assert any("deploy.release check" in each for each in verified)


@pytest.mark.parametrize("job", ["wheel", "image", "chart"])
def test_what_is_released_is_signed_by_digest_with_provenance_and_a_bill_of_materials(job: str) -> None:
    made = jobs(ROOT / ".github/workflows/release.yaml")[job]
    actions = {step["uses"].partition("@")[0] for step in made["steps"] if "uses" in step}
    scripts = "\n".join(step.get("run", "") for step in made["steps"])
    signed = [step for step in made["steps"] if "cosign sign" in step.get("run", "")]
    builds = [step["with"] for step in made["steps"] if "build-push-action" in step.get("uses", "")]

    assert "actions/attest-build-provenance" in actions
    assert "actions/attest-sbom" in actions or [each["sbom"] for each in builds] == [True]
    assert len(signed) == 1
    assert "sign-blob" in scripts or any("@${{" in each and ".digest }}" in each for each in signed[0]["env"].values())
    assert made["permissions"].items() >= {"id-token": "write", "attestations": "write"}.items()


def test_the_image_is_built_for_two_architectures_from_the_dockerfile_of_the_repository() -> None:
    (build,) = [
        step["with"]
        for step in steps(ROOT / ".github/workflows/release.yaml")
        if step.get("uses", "").startswith("docker/build-push-action@")
    ]
    arguments = {line.partition("=")[0] for line in build["build-args"].splitlines()}

    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert (ROOT / build["file"]).is_file()
    assert arguments == set(re.findall(r"^ARG (\w+)", (ROOT / build["file"]).read_text(), re.MULTILINE))
