"""Every example that needs no cluster, run as its page says. Those that need one: tests/cluster/test_examples.py."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from controller.cli.group import cli
from tests.cluster.harness import tools
from tests.deploy.helm import assemble, render
from tests.deploy.kubelet import Pod, environ

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(900)  # gator, helm and actionlint are built first where they have not been

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
PAGE: Final = (EXAMPLES / "README.md").read_text()
SNAPSHOT: Final = EXAMPLES / "snapshot"


def run(*command: str | Path, cwd: Path = ROOT, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command with azpolicy and gator on the PATH, as the page expects it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(tools.path("gator").parent), os.environ["PATH"]])
    return subprocess.run(
        command, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False, **more
    )


def objects(folder: Path) -> dict[str, Any]:
    """The YAML files of a folder and what is in them."""
    return {file.name: yaml.safe_load(file.read_text()) for file in sorted(folder.glob("*.yaml"))}


def test_every_folder_is_on_the_page_and_every_link_of_the_page_leads_to_one() -> None:
    folders = {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()}

    assert set(re.findall(r"^\| \[`([\w-]+)/`\]", PAGE, re.MULTILINE)) == folders


# --- README: a minute with nothing but Python ------------------------------------------------------------------------


def first_minute() -> list[list[str]]:
    """The README's first commands of azpolicy."""
    readme = (ROOT / "README.md").read_text()
    (section,) = re.findall(r"^## One minute.*?(?=^## )", readme, re.MULTILINE | re.DOTALL)
    return [
        line.partition("#")[0].split()
        for line in re.findall(r"^(?:\$ )?(\.venv/bin/azpolicy .*)", section, re.MULTILINE)
    ]


def test_the_first_minute_explains_renders_and_judges() -> None:
    explain, render_, check = first_minute()
    assert [explain[1], render_[1], check[1]] == ["explain", "render", "check"]

    for command in (explain, render_):
        done = run("azpolicy", *command[1:])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout

    judged = run("azpolicy", *check[1:])
    assert judged.returncode == 1
    assert f"\n{judged.stdout}{judged.stderr}" in (ROOT / "README.md").read_text()


# --- GitOps ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gitops(tmp_path: Path) -> Path:
    """The folder without what was rendered, in a place of its own, rendered again."""
    copy = shutil.copytree(EXAMPLES / "gitops", tmp_path / "gitops")
    shutil.rmtree(copy / "templates")
    shutil.rmtree(copy / "policies")
    done = run(copy / "render.sh", SNAPSHOT)
    assert (done.returncode, done.stderr) == (0, "")
    return copy


def test_what_is_committed_is_what_the_snapshot_renders_to(gitops: Path) -> None:
    for folder in ("templates", "policies"):
        assert objects(EXAMPLES / "gitops" / folder) == objects(gitops / folder), "run examples/gitops/render.sh"


def test_the_first_folder_has_the_templates_and_the_second_their_constraints(gitops: Path) -> None:
    kinds = [each["spec"]["crd"]["spec"]["names"]["kind"] for each in objects(gitops / "templates").values()]

    assert len(kinds) == 6
    assert sorted(kinds) == sorted(each["kind"] for each in objects(gitops / "policies").values())


def test_a_snapshot_that_cannot_be_resolved_leaves_the_folders_as_they_are(gitops: Path, tmp_path: Path) -> None:
    snapshot = shutil.copytree(SNAPSHOT, tmp_path / "snapshot")
    (snapshot / "definitions" / "allowed-images.json").unlink()

    done = run(gitops / "render.sh", snapshot)

    assert done.returncode == 2
    assert "DefinitionMissing" in done.stderr
    assert len(objects(gitops / "policies")) == 6


def test_flux_and_argo_cd_are_given_the_folders_that_there_are_templates_first() -> None:
    first, second = yaml.safe_load_all((EXAMPLES / "gitops" / "flux.yaml").read_text())
    application = yaml.safe_load((EXAMPLES / "gitops" / "argocd.yaml").read_text())["spec"]["source"]

    assert [(ROOT / each["spec"]["path"]).resolve().name for each in (first, second)] == ["templates", "policies"]
    assert all((ROOT / each["spec"]["path"]).is_dir() for each in (first, second))
    assert (first["spec"]["wait"], second["spec"]["dependsOn"]) == (True, [{"name": first["metadata"]["name"]}])
    included = re.findall(r"[\w-]+(?=/\*)", application["directory"]["include"])
    assert all((ROOT / application["path"] / folder).is_dir() for folder in included)
    assert set(included) == {"templates", "policies"}


# --- values of the chart ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("helm") / "chart")


def settings(chart: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `azpolicy run` makes of the environment that the chart gives its pods."""
    (deployment,) = [each for each in render(chart, values) if each["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    fields = {"metadata.name": "azpolicy-0", "metadata.namespace": "azpolicy-system", "status.podIP": "10.1.2.3"}
    made = environ(container, Pod(fields, lambda name, key: f"{key} of {name}"))
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    context = cli.load("run").make_context("run", container["args"][1:])
    return {**made, **context.params}


def test_the_values_for_azure_arc_make_an_operator_of_a_connected_cluster(
    chart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((EXAMPLES / "arc" / "values.yaml").read_text())

    made = settings(chart, values, monkeypatch)

    assert made["AZPOLICY_CLUSTER_ID"] == values["azure"]["clusterId"]
    assert "/Microsoft.Kubernetes/connectedClusters/" in made["AZPOLICY_CLUSTER_ID"]
    assert made["AZURE_CLIENT_SECRET"] == "client-secret of azpolicy-azure"


# --- a mirror --------------------------------------------------------------------------------------------------------


@contextmanager
def store() -> Iterator[str]:
    """A template store on loopback, which has the bundle's templates at the store's paths; its base URL."""
    handler = functools.partial(QuietHandler, directory=str(ROOT / "templates"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_mirror_has_what_the_policies_name_and_the_pins_hold_it_to_that(
    chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = run("azpolicy", "explain", "--snapshot", SNAPSHOT, "-o", "json").stdout
    folder = tmp_path / "templates"
    script = EXAMPLES / "mirror" / "fetch.py"

    with store() as url:
        fetched = run(sys.executable, script, folder, "--store", url, input=explained)

    assert (fetched.returncode, fetched.stderr) == (0, "")
    pins = yaml.safe_load(fetched.stdout)["templatePins"]
    assert len(pins) == 6
    assert set(pins.values()) == {
        hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*/v*/template.yaml")
    }
    rendered = run("azpolicy", "render", "--strict", "--snapshot", SNAPSHOT, "--templates", folder)
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert rendered.stdout.count("azpolicy.dev/template-source: mirror\n") == 6

    values = yaml.safe_load((EXAMPLES / "mirror" / "values.yaml").read_text()) | {"templatePins": pins}
    made = settings(chart, values, monkeypatch)
    assert made["AZPOLICY_TEMPLATES"] == "https://mirror.example.com/templates"
    given = made["AZPOLICY_TEMPLATE_PINS"].split()
    assert sorted(given) == sorted(f"{url}={digest}" for url, digest in pins.items())
    (folder / "container-no-privilege" / "v2" / "template.yaml").write_text("something else")
    pinned = [f"--template-pin={pin}" for pin in given]
    refused = run("azpolicy", "render", "--strict", "--snapshot", SNAPSHOT, "--templates", folder, *pinned)
    assert refused.returncode == 2
    assert "container-no-privilege/v2/template.yaml" in refused.stderr


def test_a_template_of_another_host_is_fetched_to_where_a_mirror_has_it(tmp_path: Path) -> None:
    held = "templates.example.com/one/template.yaml"
    (tmp_path / held).parent.mkdir(parents=True)
    (tmp_path / held).write_text("a template")
    folder = tmp_path / "templates"

    done = fetch_from_elsewhere(folder, f"https://{held}", store=tmp_path.as_uri())

    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / held).read_text() == "a template"
    assert f"https://{held}: {hashlib.sha256(b'a template').hexdigest()}" in done.stdout


def test_a_template_that_no_mirror_can_have_is_named_and_not_fetched(tmp_path: Path) -> None:
    done = fetch_from_elsewhere(tmp_path, "https://templates.example.com/one/../template.yaml", store="file:///")

    assert done.returncode == 1
    assert done.stderr.startswith("https://templates.example.com/one/../template.yaml: a mirror holds nothing")
    assert list(tmp_path.iterdir()) == []


def fetch_from_elsewhere(folder: Path, url: str, *, store: str) -> subprocess.CompletedProcess[str]:
    members = json.dumps({"members": [{"template": {"url": url}}, {"template": None}]})
    return run(sys.executable, EXAMPLES / "mirror" / "fetch.py", folder, "--store", store, input=members)


# --- check in a pipeline ---------------------------------------------------------------------------------------------


def steps(name: str) -> list[dict[str, Any]]:
    """The steps of one of the two pipelines; each has its script as `run` or `bash`."""
    pipeline = yaml.safe_load((EXAMPLES / "pipeline" / name).read_text())
    found: list[dict[str, Any]] = pipeline["steps"] if "steps" in pipeline else pipeline["jobs"]["check"]["steps"]
    return found


@pytest.mark.parametrize(
    ("name", "report", "finds"),
    [
        ("github-actions.yaml", "azpolicy.sarif", '"level": "error"'),
        ("azure-pipelines.yaml", "azpolicy.xml", "<failure "),
    ],
)
def test_a_pipeline_fails_where_something_would_be_denied_and_leaves_its_report(
    name: str, report: str, finds: str, tmp_path: Path
) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    scripts = [step.get("run") or step.get("bash") or "" for step in steps(name)]
    (judge,) = [script for script in scripts if "azpolicy check" in script]

    denied = run("bash", "-c", judge, cwd=tmp_path)
    assert denied.returncode == 1
    assert finds in (tmp_path / report).read_text()
    assert any(report in json.dumps(step) for step in steps(name) if step.get("uses") or step.get("task"))

    (tmp_path / "examples" / "pipeline" / "manifests" / "web.yaml").unlink()
    assert run("bash", "-c", judge, cwd=tmp_path).returncode == 0
    assert finds not in (tmp_path / report).read_text()


def test_the_workflow_is_one_that_actionlint_finds_nothing_in() -> None:
    file = EXAMPLES / "pipeline" / "github-actions.yaml"

    done = run(tools.path("actionlint"), "-no-color", "-shellcheck=", "-pyflakes=", file)

    assert (done.returncode, done.stdout) == (0, "")
