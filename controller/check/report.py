"""A result for people and for pipelines: text, JSON, SARIF 2.1.0, JUnit (docs/check.md)."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from controller.check.judge import Action
from controller.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controller.check.judge import CheckResult, Finding, Judged

SCHEMA: Final = "azpolicy.dev/check/v1"
_LEVELS: Final = {Action.DENY: "error", Action.WARN: "warning", Action.AUDIT: "note"}
_SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_text(result: CheckResult) -> str:
    """A line per finding with its policy beneath, and a summary."""
    lines = []
    for finding in result.findings:
        lines.append(
            plain(f"{finding.location}: {finding.action} {finding.object}{_in_pod(finding)}: {finding.message}")
        )
        lines.append(plain(f"    {finding.member.names}"))
    counts = ", ".join(f"{result.count(action)} {action}" for action in Action)
    lines.append(f"check: {len(result.objects)} objects, {result.policies} constraints: {counts}")
    return "\n".join(lines) + "\n"


def as_json(result: CheckResult) -> str:
    """One document; ASCII only, so that no terminal and no log is at its mercy."""
    document = {
        "schema": SCHEMA,
        "counts": {action.value: result.count(action) for action in Action},
        "objects": len(result.objects),
        "constraints": result.policies,
        "findings": [_entry(finding) for finding in result.findings],
        "notes": list(result.notes),
        "errors": list(result.errors),
    }
    return json.dumps(document, indent=2) + "\n"


def _entry(finding: Finding) -> dict[str, Any]:
    member = finding.member
    return {
        "action": finding.action.value,
        "file": finding.location.file,
        "line": finding.location.line,
        "object": {"kind": finding.kind, "namespace": finding.namespace, "name": finding.name},
        "inPod": finding.pod,
        "message": finding.message,
        "policy": {"id": member.definition_id, "name": finding.member.policy, "version": member.version},
        "assignment": {"id": member.assignment_id, "name": finding.member.assignment},
        "initiativeId": member.initiative_id,
        "referenceId": member.reference_id,
        "constraint": {"kind": finding.constraint.kind, "name": finding.constraint.name},
    }


def as_sarif(result: CheckResult) -> str:
    """A log with one run: a rule per policy, a result per finding."""
    policies = {finding.member.definition_id: finding for finding in result.findings}
    rules = [
        {
            "id": definition_id,
            "name": finding.constraint.kind,
            "shortDescription": {"text": finding.member.policy},
            "properties": {"version": finding.member.version},
        }
        for definition_id, finding in sorted(policies.items())
    ]
    positions = {rule["id"]: index for index, rule in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": "azpolicy", "rules": rules}},
        "results": [_result(finding, positions) for finding in result.findings],
    }
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(finding: Finding, positions: Mapping[Any, int]) -> dict[str, Any]:
    rule = finding.member.definition_id
    policy, assignment = finding.member.policy, finding.member.assignment
    text = f"{finding.object}{_in_pod(finding)}: {finding.message} ({policy}, assignment {assignment})"
    location = {
        "artifactLocation": {"uri": quote(finding.location.file.replace("\\", "/"))},
        "region": {"startLine": finding.location.line},
    }
    return {
        "ruleId": rule,
        "ruleIndex": positions[rule],
        "level": _LEVELS[finding.action],
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
        "properties": {"action": finding.action.value, "assignmentId": finding.member.assignment_id},
    }


def as_junit(result: CheckResult) -> str:
    """A suite per file, a case per object: what would be denied fails it, the rest is output of the case."""
    root = ET.Element("testsuites", name="azpolicy check")
    by_object: dict[tuple[object, ...], list[Finding]] = {}
    for finding in result.findings:
        by_object.setdefault((finding.location, finding.kind, finding.namespace, finding.name), []).append(finding)
    for file, objects in groupby(sorted(result.objects, key=_by_location), key=lambda j: j.manifest.location.file):
        suite = ET.SubElement(root, "testsuite", name=xml_text(file))
        for judged in objects:
            m = judged.manifest
            _case(suite, judged, by_object.get((m.location, m.kind, judged.namespace, m.name), []))
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(sum(case.find("failure") is not None for case in suite)))
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, judged: Judged, findings: list[Finding]) -> None:
    m = judged.manifest
    name = f"{m.kind} {judged.namespace}/{m.name}" if judged.namespace else f"{m.kind} {m.name}"
    case = ET.SubElement(suite, "testcase", name=xml_text(name), classname=xml_text(str(m.location)))
    denied = [f for f in findings if f.action is Action.DENY]
    if denied:
        # Readers of JUnit show one failure a case.
        failure = ET.SubElement(case, "failure", type="deny", message=xml_text(denied[0].message))
        failure.text = "\n".join(map(_lines, denied))
    if others := [f for f in findings if f.action is not Action.DENY]:
        ET.SubElement(case, "system-out").text = "\n".join(map(_lines, others))


def _lines(finding: Finding) -> str:
    told = f"{finding.action}: {finding.message}{_in_pod(finding)}\n  {finding.member.names}"
    return xml_text(told)


def _by_location(judged: Judged) -> tuple[str, int]:
    return judged.manifest.location.file, judged.manifest.location.line


def _in_pod(finding: Finding) -> str:
    return " (its pod)" if finding.pod else ""


def xml_text(text: str) -> str:
    """Text without the characters that XML cannot contain in any form."""
    return _NO_XML.sub("?", text)


FORMATS: Final[Mapping[str, Callable[[CheckResult], str]]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "junit": as_junit,
}
