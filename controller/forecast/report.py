"""A forecast for people and for programs: table, JSON, CSV, Markdown, JUnit (docs/forecast.md)."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from controller.check.report import xml_text
from controller.check.workloads import POD_KINDS
from controller.forecast.verdicts import FAILING, Verdict
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from controller.forecast.verdicts import Cause, Forecast, Forecasts

SCHEMA: Final = "azpolicy.dev/forecast/v1"
_SUMS: Final[Mapping[str, Callable[[Forecast], Iterable[str]]]] = {
    "policy": lambda each: {cause.member.policy for cause in each.causes},
    "namespace": lambda each: {each.workload.namespace},
    "assignment": lambda each: {cause.member.assignment for cause in each.causes},
}
_COLUMNS: Final = ("verdict", "kind", "namespace", "name", "pods", "policies", "assignments", "note")
_FORMULA: Final = ("=", "+", "-", "@")
_HEAD: Final = ("VERDICT", "WORKLOAD", "PODS", "WHY")
_COUNTED: Final[Mapping[Verdict, str]] = {
    Verdict.RESTART: "fail at their next restart",
    Verdict.ROLLOUT: "at their next rollout only",
    Verdict.UNKNOWN: "cannot be known",
    Verdict.MUTATED: "pass after mutation",
    Verdict.PASSES: "pass",
}


def as_table(found: Forecasts) -> str:
    """A line per workload, worst first, then the sums of those that fail, then the counts."""
    rows = [_HEAD, *map(_row, found.workloads)]
    lines = [*_aligned(rows), ""] if found.workloads else []
    return "\n".join(lines) + ("\n" if lines else "") + as_sums(found)


def as_sums(found: Forecasts) -> str:
    """The sums alone, and the counts; the policies with a command that shows the smallest fix of one workload."""
    lines: list[str] = []
    commands = {cause.member.policy: fix_command(each) for each in reversed(_failing(found)) for cause in each.causes}
    for name, sums in sums_of(found).items():
        if sums and name == "policy":
            rows = [(policy, count, commands[policy]) for policy, count in _cells(sums)]
            lines += [*_aligned([("FAILING BY POLICY", "WORKLOADS", "THE FIX OF ONE"), *rows]), ""]
        elif sums:
            lines += [*_aligned([(f"FAILING BY {name.upper()}", "WORKLOADS"), *_cells(sums)]), ""]
    return "\n".join([*lines, summary(found)]) + "\n"


def _row(each: Forecast) -> tuple[str, ...]:
    why = [*sorted({cause.member.policy for cause in each.causes}), *filter(None, [each.note])]
    return (each.verdict.value, str(each.workload), str(each.workload.pods), "; ".join(why))


def _cells(sums: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    return ((name, str(count)) for name, count in sums.items())


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def summary(found: Forecasts) -> str:
    """One line of counts."""
    counts = ", ".join(f"{found.count(verdict)} {words}" for verdict, words in _COUNTED.items())
    return f"forecast: {len(found.workloads)} workloads, {found.constraints} constraints that deny pods: {counts}"


def sums_of(found: Forecasts) -> dict[str, dict[str, int]]:
    """How many workloads fail by policy, by namespace and by assignment; the most first."""
    failing = _failing(found)
    counted = {name: Counter(key for each in failing for key in keys(each)) for name, keys in _SUMS.items()}
    return {name: dict(sorted(c.items(), key=lambda item: (-item[1], item[0]))) for name, c in counted.items()}


def _failing(found: Forecasts) -> list[Forecast]:
    return [each for each in found.workloads if each.verdict in FAILING]


def fix_command(each: Forecast) -> str:
    """The command that shows the smallest fix of a workload, proven by gator; empty for kinds that it does not know."""
    workload = each.workload
    if workload.kind not in POD_KINDS:
        return ""
    return f"azpolicy why {workload.kind.lower()}/{workload.name} -n {workload.namespace}"


def as_json(found: Forecasts) -> str:
    """One document; ASCII only, so that no terminal and no log is at its mercy."""
    document = {
        "schema": SCHEMA,
        **totals(found),
        "workloads": [_entry(each) for each in found.workloads],
        "notes": list(found.notes),
        "errors": list(found.errors),
    }
    return json.dumps(document, indent=2) + "\n"


def totals(found: Forecasts) -> dict[str, Any]:
    """The counts by verdict and the sums, for programs."""
    return {
        "counts": {verdict.name.lower(): found.count(verdict) for verdict in Verdict},
        "constraints": found.constraints,
        "failingBy": sums_of(found),
    }


def _entry(each: Forecast) -> dict[str, Any]:
    workload = each.workload
    return {
        "verdict": each.verdict.name.lower(),
        "workload": {"kind": workload.kind, "namespace": workload.namespace, "name": workload.name},
        "pods": workload.pods,
        "policies": [_cause(cause) for cause in each.causes],
        "fixCommand": fix_command(each) if each.verdict in FAILING else "",
        "note": each.note,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    member = cause.member
    return {
        "id": member.definition_id,
        "name": cause.member.policy,
        "version": member.version,
        "assignment": {"id": member.assignment_id, "name": cause.member.assignment},
        "initiativeId": member.initiative_id,
        "referenceId": member.reference_id,
        "constraint": {"kind": cause.constraint.kind, "name": cause.constraint.name},
        "message": cause.message,
    }


def as_csv(found: Forecasts) -> str:
    """A line per workload under a head; several policies are in one cell, a line each."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for each in found.workloads:
        workload = each.workload
        named = ["\n".join(sorted({plain(name(c)) for c in each.causes})) for name in (_policy, _assignment)]
        cells = [each.verdict.value, workload.kind, workload.namespace, workload.name, str(workload.pods), *named]
        writer.writerow([_no_formula(cell) for cell in [*cells, plain(each.note)]])
    return written.getvalue()


def _policy(cause: Cause) -> str:
    return cause.member.policy


def _assignment(cause: Cause) -> str:
    return cause.member.assignment


def _no_formula(cell: str) -> str:
    """A spreadsheet takes text that begins like this for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def as_markdown(found: Forecasts) -> str:
    """The table and the sums for a page or a pull request."""
    lines = [*_markdown(["Verdict", "Workload", "Pods", "Why"], map(_row, found.workloads)), ""]
    for name, sums in sums_of(found).items():
        if sums:
            lines += [*_markdown([f"Failing by {name}", "Workloads"], _cells(sums)), ""]
    return "\n".join([*lines, summary(found)]) + "\n"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_escaped(cell) for cell in row)} |"


def _escaped(cell: str) -> str:
    """Text that Markdown does not read: names come from elsewhere."""
    text = plain(cell).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~" else c for c in text)


def as_junit(found: Forecasts) -> str:
    """A suite per namespace, a case per workload: one that fails has a failure, one that cannot be known is skipped."""
    root = ET.Element("testsuites", name="azpolicy forecast")
    ordered = sorted(found.workloads, key=lambda each: (each.workload.namespace, str(each.workload)))
    for namespace, group in groupby(ordered, key=lambda each: each.workload.namespace):
        suite = ET.SubElement(root, "testsuite", name=xml_text(namespace))
        for each in group:
            _case(suite, each)
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(sum(case.find("failure") is not None for case in suite)))
        suite.set("skipped", str(sum(case.find("skipped") is not None for case in suite)))
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, each: Forecast) -> None:
    namespace = xml_text(each.workload.namespace)
    case = ET.SubElement(suite, "testcase", name=xml_text(str(each.workload)), classname=namespace)
    lines = [f"{cause.message}\n  {cause.member.names}" for cause in each.causes]
    told = xml_text("\n".join([*lines, *([each.note] if each.note else [])]))
    if each.verdict in FAILING:
        ET.SubElement(case, "failure", type=each.verdict.name.lower(), message=each.verdict.value).text = told
    elif each.verdict is Verdict.UNKNOWN:
        ET.SubElement(case, "skipped", message=told)
    elif told:
        ET.SubElement(case, "system-out").text = told


FORMATS: Final[Mapping[str, Callable[[Forecasts], str]]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
    "junit": as_junit,
}
