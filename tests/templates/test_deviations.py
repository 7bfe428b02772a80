"""The bundle's deviations.yaml: complete, of existing templates, and each example judged as the file says.

gator judges the examples. What it cannot judge, as it knows no external data, is on the cluster
(tests/cluster/test_image_integrity.py).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from templates import generate
from tests.cluster.harness import tools
from tests.templates.suites import BUNDLE, folder_name, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENT: dict[str, Any] = load(BUNDLE / "deviations.yaml")
TEMPLATES = {folder_name(folder): folder for folder in generate.sources()}
EXTERNAL = "external_data("


def changes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each change with the id of its deviation."""
    for deviation in DOCUMENT["deviations"]:
        for change in deviation["changes"]:
            yield deviation["id"], change


def named() -> Iterator[str]:
    """Every template that the file speaks of."""
    yield from (change["template"] for _, change in changes())
    yield from (entry["template"] for section in ("newer", "unverified") for entry in DOCUMENT[section])
    yield from (template for entry in DOCUMENT["followed"] for template in entry["templates"])


def test_every_template_that_it_names_is_in_the_bundle() -> None:
    assert set(named()) - TEMPLATES.keys() == set()


def test_every_deviation_has_an_id_of_its_own_and_at_least_one_change() -> None:
    ids = Counter(entry["id"] for section in ("deviations", "newer") for entry in DOCUMENT[section])

    assert ids.most_common(1)[0][1] == 1
    assert [deviation["id"] for deviation in DOCUMENT["deviations"] if not deviation["changes"]] == []


def test_a_template_that_could_not_be_compared_deviates_in_nothing() -> None:
    unverified = {entry["template"] for entry in DOCUMENT["unverified"]}

    assert unverified & {change["template"] for _, change in changes()} == set()


def constraint_of(template: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    spec = {"parameters": change["parameters"]} if "parameters" in change else {}
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": template["spec"]["crd"]["spec"]["names"]["kind"],
        "metadata": {"name": "example"},
        "spec": spec,
    }


def written(folder: Path, *documents: dict[str, Any]) -> list[str]:
    """The names of the files that hold these documents."""
    names = []
    for document in documents:
        file = folder / f"{len(list(folder.iterdir()))}.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        names.append(file.name)
    return names


def suite_of(folder: Path) -> dict[str, Any]:
    """A gator suite of all changes that it can judge; their documents are written to the folder."""
    tests = []
    for number, (deviation, change) in enumerate(changes()):
        file = TEMPLATES[change["template"]] / "template.yaml"
        if EXTERNAL in file.read_text(encoding="utf-8"):
            continue
        # gator reads nothing outside the suite's folder, so the template is written there as well.
        template = load(file)
        names = written(
            folder, template, constraint_of(template, change), change["object"], *change.get("inventory", [])
        )
        rule, constraint, example, *others = names
        violations = "yes" if change["newly"] == "denied" else "no"
        case = {"name": "example", "object": example, "inventory": others, "assertions": [{"violations": violations}]}
        name = f"{number} {deviation} {change['template']}: newly {change['newly']}, {change['what']}"
        tests.append({"name": name, "template": rule, "constraint": constraint, "cases": [case]})
    return {"kind": "Suite", "apiVersion": "test.gatekeeper.sh/v1alpha1", "metadata": {"name": "all"}, "tests": tests}


def test_every_example_is_judged_as_the_file_says(tmp_path: Path) -> None:
    gator = os.environ.get("AZPOLICY_GATOR") or tools.path("gator")
    suite = suite_of(tmp_path)
    (tmp_path / "suite.yaml").write_text(json.dumps(suite), encoding="utf-8")

    run = subprocess.run([gator, "verify", "-v", str(tmp_path)], capture_output=True, text=True, check=False)

    failed = "\n".join(line for line in run.stdout.splitlines() if "--- FAIL" in line or "got" in line)
    assert run.returncode == 0, failed or run.stderr
    assert run.stdout.count("--- PASS: example") == len(suite["tests"]) > 20
