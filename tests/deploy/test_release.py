"""What a release is made of besides the wheel and the image: one version, notes, the chart that names its image."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from deploy import chart_readme, release
from deploy.sbom import write_chart_sbom
from tests.cluster.harness import tools
from tests.deploy.helm import CHART, ROOT, helm, render
from tests.snapshots import CLUSTER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # helm is built first where it has not been

DIGEST: Final = f"sha256:{'ab' * 32}"
IMAGE: Final = f"registry.example.com/team/azpolicy@{DIGEST}"
VALUES: Final = {"azure": {"clusterId": CLUSTER_ID, "tenantId": "contoso.example.com", "clientId": "a-client"}}


# --- one version everywhere ------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files that have a version, with version 1.2.3 in each."""
    (tmp_path / "deploy" / "chart").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "deploy" / "chart" / "Chart.yaml").write_text("version: 1.2.3\nappVersion: 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## 1.2.3 (2030-01-02)\n\n### Added\n- It.\n\n## 1.2.2\n\n- Older.\n"
    )
    return tmp_path


@pytest.fixture
def check(repository: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, list[str]]]:
    """Runs the check for a tag; its exit code and what it says is wrong."""

    def run(tag: str) -> tuple[int, list[str]]:
        return release.main(["check", tag], repository), capsys.readouterr().err.splitlines()

    return run


def test_a_tag_that_all_files_agree_with_passes(check: Callable[[str], tuple[int, list[str]]]) -> None:
    assert check("v1.2.3") == (0, [])


def test_another_tag_names_every_file_that_disagrees(check: Callable[[str], tuple[int, list[str]]]) -> None:
    assert check("1.3.0") == (
        1,
        [
            "pyproject.toml has version 1.2.3, not 1.3.0",
            "deploy/chart/Chart.yaml (version) has version 1.2.3, not 1.3.0",
            "deploy/chart/Chart.yaml (appVersion) has version 1.2.3, not 1.3.0",
            "the tag 1.3.0 does not begin with v",
            "CHANGELOG.md has no text under a heading '## 1.3.0'",
        ],
    )


def test_one_file_that_was_forgotten_is_enough(repository: Path, check: Callable[[str], tuple[int, list[str]]]) -> None:
    (repository / "deploy" / "chart" / "Chart.yaml").write_text("version: 1.2.3\nappVersion: 1.2.2\n")

    assert check("v1.2.3") == (1, ["deploy/chart/Chart.yaml (appVersion) has version 1.2.2, not 1.2.3"])


def test_the_notes_are_the_section_of_the_version_alone(repository: Path) -> None:
    assert release.notes(repository, "v1.2.3") == "### Added\n- It."
    with pytest.raises(release.ReleaseError, match=r"no text under a heading '## 1\.2\.4'"):
        release.notes(repository, "v1.2.4")


# --- the chart as it is published ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released chart as helm packages it."""
    folder = tmp_path_factory.mktemp("release")
    subchart = tools.gatekeeper_sources() / "charts" / "gatekeeper"
    assert release.main(["chart", str(folder / "chart"), "--image", IMAGE, "--subchart", str(subchart)]) == 0
    helm("package", folder / "chart", "--destination", folder)
    shutil.rmtree(folder / "chart")
    (made,) = folder.glob("*.tgz")
    return made


def test_it_installs_without_naming_an_image_and_runs_exactly_the_one_of_the_release(package: Path) -> None:
    (deployment,) = [each for each in render(package, VALUES) if each["kind"] == "Deployment"]

    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def test_it_brings_gatekeeper_along_where_it_is_wanted(package: Path) -> None:
    objects = render(package, VALUES | {"gatekeeper": {"enabled": True}}, namespace="gatekeeper-system")

    assert {each["metadata"]["name"] for each in objects if each["kind"] == "Deployment"} > {"azpolicy"}


def test_its_metadata_names_the_image_and_the_readme_is_in_it(package: Path) -> None:
    annotations = yaml.safe_load(helm("show", "chart", package).stdout)["annotations"]

    assert yaml.safe_load(annotations["artifacthub.io/images"]) == [{"name": "azpolicy", "image": IMAGE}]
    assert "artifacthub.io/license" in annotations
    assert helm("show", "readme", package).stdout.strip() == (CHART / "README.md").read_text().strip()


@pytest.mark.parametrize(
    "image", ["registry.example.com/azpolicy:1.2.3", "registry.example.com/azpolicy@sha256:abc", ""]
)
def test_an_image_without_a_digest_is_refused(image: str, tmp_path: Path) -> None:
    with pytest.raises(release.ReleaseError, match="a release names its image by its digest"):
        release.make_chart(ROOT, tmp_path / "chart", image)

    assert not (tmp_path / "chart").exists()


def test_its_bill_of_materials_has_the_image_by_digest_and_gatekeepers_chart_and_is_valid(package: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    written = write_chart_sbom(package)
    first = written.read_bytes()
    bom: dict[str, Any] = json.loads(first)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first.decode()) is None
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert bom["metadata"]["component"]["purl"] == f"pkg:helm/azpolicy@{version}"
    gatekeeper = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"][0]["version"]
    assert {(each["type"], each["name"], each["version"]) for each in bom["components"]} == {
        ("container", "registry.example.com/team/azpolicy", DIGEST),
        ("application", "gatekeeper", gatekeeper),
    }
    assert write_chart_sbom(package).read_bytes() == first


# --- its README and its home -----------------------------------------------------------------------------------------


def test_the_charts_readme_lists_every_value_with_its_default_and_what_it_is() -> None:
    listed = {value.path: value for value in chart_readme.read_values(CHART)}
    groups = {path for path in listed if any(other.startswith(f"{path}.") for other in listed)}
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def leaves(inner: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in inner.items():
            if any(path.startswith(f"{above}{name}.") for path in listed):
                yield from leaves(value, f"{above}{name}.")
            else:
                yield f"{above}{name}", value

    assert dict(leaves(values)) == {path: value.default for path, value in listed.items() if path not in groups}
    assert all(value.text for value in listed.values())


def test_a_value_that_nothing_describes_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("# What one is.\none: 1\ntwo: 2\n")
    (tmp_path / "values.schema.json").write_text('{"properties": {"one": {}, "two": {}}}')

    with pytest.raises(ValueError, match="line 3: nothing says what two is"):
        chart_readme.read_values(tmp_path)


def test_the_charts_readme_is_not_stale() -> None:
    assert chart_readme.main(["--check"]) == 0


def test_the_chart_and_the_package_have_one_home() -> None:
    import tomllib

    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    home = urls["Homepage"]

    assert chart["home"] == home
    assert chart["sources"] == [urls["Source"]]
    assert chart["maintainers"]
    named = [*urls.values(), chart["icon"], *(each["url"] for each in chart["maintainers"])]
    named += [each["url"] for each in yaml.safe_load(chart["annotations"]["artifacthub.io/links"])]
    assert {url for url in named if not url.startswith(home)} == set()
    for path in (url.partition("/main/")[2] for url in named if "/main/" in url):
        assert (ROOT / path).exists(), path


def test_the_charts_kinds_are_those_of_the_repository() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    crds = [yaml.safe_load(file.read_text()) for file in (ROOT / "crds").glob("*.yaml")]

    listed = {
        (each["name"], each["kind"], each["version"])
        for each in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    }
    assert listed == {
        (crd["metadata"]["name"], crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["name"]) for crd in crds
    }
