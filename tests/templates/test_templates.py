"""The template bundle as users get it: generated files are fresh, and every suite passes in both gators.

One gator process judges all suites, so the figures of all of them come from one run per Gatekeeper version.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controller.gatekeeper.legacy import fill
from controller.gatekeeper.sources import store_path
from templates import generate
from tests.cluster.harness import tools
from tests.templates import coverage
from tests.templates.suites import ROOT, cases, folder_name, load

AZURE = ROOT.parent / "shared" / "azure-policy"
FOLDERS = generate.sources()
# On Azure's template store, or where the oldest definitions have theirs.
ADDRESS = re.compile(r"/[Kk]ubernetes/([\w/-]+)/(?:template|constraint)\.yaml$")
# The gators of the newest and the oldest Gatekeeper, with the variable that may name one already built.
GATORS = {"gator": "AZPOLICY_GATOR", "gator-3.17": "AZPOLICY_GATOR_3_17"}

every_template = pytest.mark.parametrize("folder", FOLDERS, ids=folder_name)


def schema_of(folder: Path) -> dict[str, Any]:
    """The schema of spec.parameters, closed: what it does not declare the API server would prune."""
    spec = load(folder / "template.yaml")["spec"]["crd"]["spec"]
    schema: dict[str, Any] = {"additionalProperties": False, **spec["validation"]["openAPIV3Schema"]}
    return schema


def test_no_generated_template_is_stale() -> None:
    assert generate.stale(FOLDERS) == []


@pytest.mark.timeout(900)  # the first time this builds gator, whatever else the processors have to do
@pytest.mark.parametrize("tool", GATORS)
def test_every_suite_passes_in(tool: str) -> None:
    gator = os.environ.get(GATORS[tool]) or tools.path(tool)

    command = [gator, "verify", "./templates/..."]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=tools.short_lived())

    assert run.returncode == 0, "\n".join(line for line in run.stdout.splitlines() if not line.startswith("ok"))
    passed = set(re.findall(r"^ok\s+\./templates/(\S+)/suite\.yaml", run.stdout, re.MULTILINE))
    assert passed == {folder_name(folder) for folder in FOLDERS}


def test_the_suites_reach_every_line_of_rego() -> None:
    missed = {file.file: file.missed for file in coverage.measure() if file.missed}

    assert missed == {}


@every_template
def test_a_suite_has_allowed_and_denied_cases_of_its_own_template(folder: Path) -> None:
    suite = load(folder / "suite.yaml")

    assert suite["metadata"]["name"] == folder_name(folder).replace("/", "-")
    assert {test["template"] for test in suite["tests"]} == {"template.yaml"}
    assert {case.allowed for case in cases(folder)} == {True, False}


@every_template
def test_no_sample_is_left_out_of_the_suite(folder: Path) -> None:
    suite = json.dumps(load(folder / "suite.yaml"))

    unused = [path.name for path in (folder / "samples").glob("*.yaml") if f'"samples/{path.name}"' not in suite]

    assert unused == []


@every_template
def test_the_suite_sets_every_parameter_and_each_fits_the_schema(folder: Path) -> None:
    schema = schema_of(folder)
    used: set[str] = set()
    kind = load(folder / "template.yaml")["spec"]["crd"]["spec"]["names"]["kind"]
    for case in cases(folder):
        parameters = case.constraint["spec"].get("parameters", {})
        jsonschema.validate(parameters, schema)
        assert case.constraint["kind"] == kind, case.name
        used |= set(parameters)

    assert used == set(schema["properties"])


@every_template
def test_a_template_is_named_after_its_kind_and_its_version(folder: Path) -> None:
    template = load(folder / "template.yaml")

    kind = template["spec"]["crd"]["spec"]["names"]["kind"]

    assert template["apiVersion"] == "templates.gatekeeper.sh/v1"
    assert template["metadata"]["name"] == kind.lower()
    assert re.match(rf"K8sAzure({folder.name.upper()}|(?!V\d))[A-Z]", kind)
    assert "labels" not in template["metadata"]


def untyped(schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Places of a schema that no structural schema may have: without a type."""
    if "type" not in schema and not schema.get("x-kubernetes-int-or-string"):
        yield place or "the whole"
    for name, inner in schema.get("properties", {}).items():
        yield from untyped(inner, f"{place}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(word), dict):
            yield from untyped(inner, f"{place}.{word}")


@every_template
def test_a_parameter_schema_is_structural(folder: Path) -> None:
    assert list(untyped(schema_of(folder))) == []


def versions(folder: Path) -> list[Path]:
    """A definition's or initiative's files, the newest version last."""
    return sorted(folder.glob("*.json"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)])


def details(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["properties"]["policyRule"]["then"]["details"]
    return found


def template_path(definition: dict[str, Any]) -> str | None:
    """The folder of the bundle that a definition's template has, None for a mutation."""
    url = (definition.get("templateInfo") or {}).get("url") or definition.get("constraintTemplate")
    match = ADDRESS.search(url or "")
    return match.group(1) if match else None


def pinned_versions() -> Iterator[Path]:
    """Files of the definition versions that the newest version of each initiative uses."""
    for folder in (AZURE / "initiatives").iterdir():
        initiative = json.loads(versions(folder)[-1].read_text(encoding="utf-8"))["properties"]
        for member in initiative["policyDefinitions"]:
            files = versions(AZURE / "definitions" / member["policyDefinitionId"].rpartition("/")[2])
            major = member["definitionVersion"].partition(".")[0]
            yield from [path for path in files if path.stem.partition(".")[0] == major][-1:]


def test_the_bundle_has_every_template_of_azures_newest_definitions_and_of_its_initiatives() -> None:
    if not AZURE.is_dir():
        pytest.skip("Azure's definitions are not here")
    newest = [versions(folder)[-1] for folder in (AZURE / "definitions").iterdir()]

    needed = {template_path(details(path)) for path in [*newest, *pinned_versions()]} - {None}

    assert len(needed) > 50
    assert needed - {folder_name(folder) for folder in FOLDERS} == set()


def test_every_value_that_azure_sends_is_declared() -> None:
    if not AZURE.is_dir():
        pytest.skip("Azure's definitions are not here")
    declared = {folder_name(folder): set(schema_of(folder)["properties"]) for folder in FOLDERS}
    definitions = {path: details(path) for path in (AZURE / "definitions").glob("*/*.json")}

    missing = {
        (path.parent.name, path.stem): sorted(values - declared[template])
        for path, definition in definitions.items()
        # The old form puts values into its constraint file, wherever that wants them.
        if "templateInfo" in definition
        and (template := template_path(definition)) in declared
        and (values := set(definition.get("values") or {})) - declared[template]
    }

    assert missing == {}


@pytest.mark.parametrize(
    "folder", [folder for folder in FOLDERS if (folder / "constraint.yaml").exists()], ids=folder_name
)
def test_a_constraint_file_of_the_old_form_is_filled_with_what_its_schema_takes(folder: Path) -> None:
    schema = schema_of(folder)
    text = (folder / "constraint.yaml").read_text(encoding="utf-8")

    filled = yaml.safe_load(fill(text, {name: ["80"] for name in re.findall(r"\.Values\.(\w+)", text)}))

    jsonschema.validate(filled["spec"].get("parameters", {}), schema)
    assert filled["kind"].lower() == load(folder / "template.yaml")["metadata"]["name"]


def every_address() -> dict[str, set[str]]:
    """The paths of all files that any definition names on Azure's stores, with the versions that name each."""
    found: dict[str, set[str]] = {}
    for path in (AZURE / "definitions").glob("*/*.json"):
        definition = details(path)
        named = [(definition.get(key) or {}).get("url") for key in ("templateInfo", "mutationInfo", "constraintInfo")]
        named += [definition.get(key) for key in ("constraintTemplate", "constraint")]
        for url in filter(None, named):
            place = store_path(url)
            assert place is not None, url
            found.setdefault(place, set()).add(f"{path.parent.name}/{path.stem}")
    return found


def test_the_templates_that_azure_named_and_the_bundle_lacks_are_those_that_are_listed() -> None:
    if not AZURE.is_dir():
        pytest.skip("Azure's definitions are not here")
    named = every_address()
    bundle = ROOT / "templates"

    lacking = {path for path in named if not (bundle / path).exists()}

    print(*(f"{path}: {', '.join(sorted(named[path]))}" for path in sorted(lacking)), sep="\n")
    templates = {path.removesuffix("/template.yaml") for path in lacking if path.endswith("/template.yaml")}
    assert templates == {name for group in load(bundle / "not-in-the-bundle.yaml").values() for name in group}
    # What the bundle has a template for, it has the constraint file for, too.
    assert {path.rpartition("/")[0] for path in lacking} == templates


def test_the_check_fails_on_a_stale_template(tmp_path: Path) -> None:
    lib, folder = tmp_path / "lib", tmp_path / "some-policy" / "v1"
    lib.mkdir()
    folder.mkdir(parents=True)
    (lib / "parameters.yaml").write_text("{}", encoding="utf-8")
    (lib / "shared.rego").write_text("package lib.shared\n", encoding="utf-8")
    (folder / "schema.yaml").write_text("{kind: K8sAzureV1Some, title: t, description: d}", encoding="utf-8")
    (folder / "rule.rego").write_text("package some\n\nimport data.lib.shared\n", encoding="utf-8")
    (folder / "template.yaml").write_text(generate.generate(folder, tmp_path), encoding="utf-8")
    assert generate.stale([folder], tmp_path) == []

    (lib / "shared.rego").write_text("package lib.shared\n\nchanged = true\n", encoding="utf-8")

    assert generate.stale([folder], tmp_path) == [folder / "template.yaml"]


def test_a_missing_shared_module_is_named(tmp_path: Path) -> None:
    lib, folder = tmp_path / "lib", tmp_path / "some-policy" / "v1"
    lib.mkdir()
    folder.mkdir(parents=True)
    (lib / "parameters.yaml").write_text("{}", encoding="utf-8")
    (folder / "schema.yaml").write_text("{kind: K8sAzureV1Some, title: t, description: d}", encoding="utf-8")
    (folder / "rule.rego").write_text("package some\n\nimport data.lib.nowhere\n", encoding="utf-8")

    with pytest.raises(generate.SourceError, match=r"nowhere\.rego: there is no such file"):
        generate.generate(folder, tmp_path)
