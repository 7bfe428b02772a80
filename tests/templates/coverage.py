"""How much of the templates' Rego their suites reach: `python -m tests.templates.coverage`.

gator tells no coverage, so opa judges the suites' cases once more, with the input that Gatekeeper would make of them.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from templates import generate
from tests.templates import opa
from tests.templates.suites import BUNDLE, cases, folder_name


@dataclass(frozen=True, slots=True)
class Coverage:
    """Lines of one Rego file of the bundle that are evaluated in some case, and those in none."""

    file: str
    covered: int
    missed: tuple[int, ...]


def measure() -> list[Coverage]:
    """Coverage of every rule and shared module; RuntimeError tells what opa cannot compile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capabilities = opa.write_capabilities(folder)
        place = folder / "modules"
        place.mkdir()
        files = _lay_out(place)
        flags = ["--v0-compatible", "--coverage", "--format=json", "--capabilities", capabilities]
        reported = json.loads(opa.run(["test", *flags, "."], place))["files"]
    return [_coverage(shown, reported.get(file, {})) for file, shown in sorted(files.items(), key=lambda pair: pair[1])]


def _lay_out(folder: Path) -> dict[str, str]:
    """Writes modules and cases for opa; answers with the path in the bundle of each module that counts."""
    files: dict[str, str] = {}
    tests, judged = ["package suites_test"], list[dict[str, Any]]()
    (folder / "standin.rego").write_bytes(opa.PROVIDER.read_bytes())
    for module in (BUNDLE / "lib").glob("*.rego"):
        files[f"lib_{module.name}"] = f"lib/{module.name}"
        (folder / f"lib_{module.name}").write_bytes(module.read_bytes())
    for source in generate.sources():
        # Two versions of a template may have one package name, and one opa judges them all.
        package = re.sub(r"\W", "_", folder_name(source))
        files[f"{package}.rego"] = f"{folder_name(source)}/rule.rego"
        text = (source / "rule.rego").read_text(encoding="utf-8")
        (folder / f"{package}.rego").write_text(
            opa.PACKAGE.sub(f"package suites.{package}", text, count=1), encoding="utf-8"
        )
        for case in cases(source):
            place = f"data.cases[{len(judged)}]"
            tests.append(
                f"test_{len(judged)} {{ data.suites.{package}.violation with input as {place}.input "
                f"with data.inventory as {place}.inventory with external_data as data.standin.answer }}"
            )
            parameters = case.constraint["spec"].get("parameters", {})
            judged.append(
                {"input": opa.review_input(case.object, parameters), "inventory": opa.inventory(case.inventory)}
            )
    (folder / "suites_test.rego").write_text("\n\n".join(tests), encoding="utf-8")
    (folder / "cases.json").write_text(json.dumps({"cases": judged}, default=str), encoding="utf-8")
    return files


def _coverage(file: str, report: Mapping[str, Any]) -> Coverage:
    return Coverage(file, len(_lines(report.get("covered", []))), _lines(report.get("not_covered", [])))


def _lines(spans: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(line for span in spans for line in range(span["start"]["row"], span["end"]["row"] + 1))


def main() -> int:
    """Prints the lines that no case reaches and the figure; exit 1 if there are any."""
    measured = measure()
    for file in measured:
        if file.missed:
            print(f"templates/{file.file}: no case reaches line {', '.join(map(str, file.missed))}")
    covered, missed = sum(file.covered for file in measured), sum(len(file.missed) for file in measured)
    print(f"{covered} of {covered + missed} lines of Rego reached: {100 * covered / (covered + missed):.1f} %")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
