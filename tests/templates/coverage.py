"""How much of the templates' Rego their suites reach: `python -m tests.templates.coverage`.

gator tells no coverage, so opa judges the suites' cases once more, with the input that Gatekeeper would make of them.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from templates import generate
from tests.cluster.harness import tools
from tests.templates.suites import BUNDLE, Case, cases, folder_name

PACKAGE = re.compile(r"^package .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Lines of one Rego file of the bundle that are evaluated in some case, and those in none."""

    file: str
    covered: int
    missed: tuple[int, ...]


def opa() -> Path | None:
    """The opa that counts: $AZPOLICY_OPA, else the harness's; None where neither is."""
    if chosen := os.environ.get("AZPOLICY_OPA"):
        return Path(chosen)
    return tools.path("opa") if "opa" in tools.TOOLS else None


def measure(program: Path) -> list[Coverage]:
    """Coverage of every rule and shared module; RuntimeError tells what opa cannot compile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _lay_out(folder)
        command = [str(program), "test", "--v0-compatible", "--coverage", "--format=json", "."]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"opa test: {run.stderr or run.stdout}")
    reported = json.loads(run.stdout)["files"]
    return [_coverage(shown, reported.get(file, {})) for file, shown in sorted(files.items(), key=lambda pair: pair[1])]


def _lay_out(folder: Path) -> dict[str, str]:
    """Writes modules and cases for opa; answers with the path in the bundle of each module that counts."""
    files: dict[str, str] = {}
    tests, judged = ["package suites_test"], list[dict[str, Any]]()
    for module in (BUNDLE / "lib").glob("*.rego"):
        files[f"lib_{module.name}"] = f"lib/{module.name}"
        (folder / f"lib_{module.name}").write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
    for source in generate.sources():
        text = (source / "rule.rego").read_text(encoding="utf-8")
        if "external_data(" in text:
            continue  # A function of Gatekeeper's own, which opa does not have.
        # Two versions of a template may have one package name, and one opa judges them all.
        package = re.sub(r"\W", "_", folder_name(source))
        files[f"{package}.rego"] = f"{folder_name(source)}/rule.rego"
        (folder / f"{package}.rego").write_text(
            PACKAGE.sub(f"package suites.{package}", text, count=1), encoding="utf-8"
        )
        for case in cases(source):
            place = f"data.cases[{len(judged)}]"
            tests.append(
                f"test_{len(judged)} {{ data.suites.{package}.violation "
                f"with input as {place}.input with data.inventory as {place}.inventory }}"
            )
            judged.append({"input": _input(case), "inventory": _inventory(case.inventory)})
    (folder / "suites_test.rego").write_text("\n\n".join(tests), encoding="utf-8")
    (folder / "cases.json").write_text(json.dumps({"cases": judged}, default=str), encoding="utf-8")
    return files


def _input(case: Case) -> dict[str, Any]:
    """What Gatekeeper passes to a template: the request, or for an object by itself what an audit has."""
    if case.object["kind"] == "AdmissionReview":
        review = dict(case.object["request"])
        if review.get("operation") == "DELETE":
            review["object"] = review.get("oldObject")
    else:
        group, _, version = case.object["apiVersion"].rpartition("/")
        metadata = case.object.get("metadata", {})
        kind = {"group": group, "version": version, "kind": case.object["kind"]}
        review = {"kind": kind, "name": metadata.get("name", ""), "object": case.object}
    return {"parameters": case.constraint.get("spec", {}).get("parameters", {}), "review": review}


def _inventory(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The objects as Gatekeeper's data.inventory has them."""
    inventory: dict[str, Any] = {"namespace": {}, "cluster": {}}
    for each in objects:
        metadata = each["metadata"]
        namespace = metadata.get("namespace")
        scope = inventory["namespace"].setdefault(namespace, {}) if namespace else inventory["cluster"]
        scope.setdefault(each["apiVersion"], {}).setdefault(each["kind"], {})[metadata["name"]] = each
    return inventory


def _coverage(file: str, report: Mapping[str, Any]) -> Coverage:
    return Coverage(file, len(_lines(report.get("covered", []))), _lines(report.get("not_covered", [])))


def _lines(spans: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(line for span in spans for line in range(span["start"]["row"], span["end"]["row"] + 1))


def main() -> int:
    """Prints the lines that no case reaches and the figure; exit 1 if there are any, 2 without opa."""
    program = opa()
    if program is None:
        print("set AZPOLICY_OPA to an opa", file=sys.stderr)
        return 2
    measured = measure(program)
    for file in measured:
        if file.missed:
            print(f"templates/{file.file}: no case reaches line {', '.join(map(str, file.missed))}")
    covered, missed = sum(file.covered for file in measured), sum(len(file.missed) for file in measured)
    print(f"{covered} of {covered + missed} lines of Rego reached: {100 * covered / (covered + missed):.1f} %")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
