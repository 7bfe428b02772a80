"""A forecast in each of its forms."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from controller.forecast.report import FORMATS, totals
from controller.forecast.verdicts import Cause, Forecast, Forecasts, Verdict
from controller.forecast.workloads import Workload
from controller.gatekeeper.model import ObjectRef
from controller.policy.model import Member

MEMBER = Member("/assignments/a", "/definitions/d", assignment_name="Assignment A", definition_name="No such label")
OTHER = Member("/assignments/b", "/definitions/e", "/initiatives/i", "ref", definition_name="=1+1|x", version="1.2.3")
CAUSES = tuple(
    Cause(ObjectRef("constraints.gatekeeper.sh", "K8sThing", name), f"message {name}", member)
    for name, member in (("one", MEMBER), ("two", OTHER))
)
FOUND = Forecasts(
    (
        Forecast(Workload("Deployment", "shop", "web", 3), Verdict.RESTART, CAUSES),
        Forecast(Workload("Pod", "billing", "bare", 1), Verdict.ROLLOUT, CAUSES[:1], "nothing makes it anew"),
        Forecast(Workload("Job", "shop", "job", 1), Verdict.UNKNOWN, CAUSES[1:], "it asks"),
        Forecast(Workload("DaemonSet", "shop", "agent", 9), Verdict.MUTATED, CAUSES[:1]),
        Forecast(Workload("Deployment", "shop", "fine", 2), Verdict.PASSES),
    ),
    4,
)


def test_the_table_has_a_line_per_workload_then_sums_of_what_fails() -> None:
    *lines, last = FORMATS["table"](FOUND).splitlines()

    assert [re.split("  +", line) for line in lines] == [
        ["VERDICT", "WORKLOAD", "PODS", "WHY"],
        ["fails at its next restart", "Deployment shop/web", "3", "=1+1|x; No such label"],
        ["fails at its next rollout only", "Pod billing/bare", "1", "No such label; nothing makes it anew"],
        ["cannot be known", "Job shop/job", "1", "=1+1|x; it asks"],
        ["passes after mutation", "DaemonSet shop/agent", "9", "No such label"],
        ["passes", "Deployment shop/fine", "2"],
        [""],
        ["FAILING BY POLICY", "WORKLOADS", "THE FIX OF ONE"],
        ["No such label", "2", "azpolicy why deployment/web -n shop"],
        ["=1+1|x", "1", "azpolicy why deployment/web -n shop"],
        [""],
        ["FAILING BY NAMESPACE", "WORKLOADS"],
        ["billing", "1"],
        ["shop", "1"],
        [""],
        ["FAILING BY ASSIGNMENT", "WORKLOADS"],
        ["Assignment A", "2"],
        ["/assignments/b", "1"],
        [""],
    ]
    assert len({line.find("Deployment") for line in (lines[1], lines[5])}) == 1
    assert last == (
        "forecast: 5 workloads, 4 constraints that deny pods: 1 fail at their next restart, "
        "1 at their next rollout only, 1 cannot be known, 1 pass after mutation, 1 pass"
    )


def test_json_names_all_that_decided() -> None:
    document = json.loads(FORMATS["json"](FOUND))

    assert document["schema"] == "azpolicy.dev/forecast/v1"
    assert document["counts"] == {"restart": 1, "rollout": 1, "unknown": 1, "mutated": 1, "passes": 1}
    assert {key: document[key] for key in totals(FOUND)} == totals(FOUND)
    assert document["workloads"][0]["policies"][1] == {
        "id": "/definitions/e",
        "name": "=1+1|x",
        "version": "1.2.3",
        "assignment": {"id": "/assignments/b", "name": "/assignments/b"},
        "initiativeId": "/initiatives/i",
        "referenceId": "ref",
        "constraint": {"kind": "K8sThing", "name": "two"},
        "message": "message two",
    }


def test_csv_has_a_line_per_workload_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](FOUND))))

    assert [each["name"] for each in rows] == ["web", "bare", "job", "agent", "fine"]
    assert rows[0]["policies"] == "'=1+1|x\nNo such label"
    assert (rows[1]["verdict"], rows[1]["note"]) == ("fails at its next rollout only", "nothing makes it anew")


def test_markdown_reads_nothing_of_a_name_as_its_own() -> None:
    member = replace(MEMBER, definition_name="<b>*|`[x](y)")
    cause = replace(CAUSES[0], member=member)
    found = replace(FOUND, workloads=(replace(FOUND.workloads[0], causes=(cause,)),))

    line = FORMATS["markdown"](found).splitlines()[2]

    assert line == "| fails at its next restart | Deployment shop/web | 3 | &lt;b>\\*\\|\\`\\[x\\](y) |"


def test_junit_fails_what_fails_and_skips_what_cannot_be_known() -> None:
    root = ET.fromstring(FORMATS["junit"](FOUND))

    suites = {each.get("name"): (each.get("tests"), each.get("failures"), each.get("skipped")) for each in root}
    assert suites == {"billing": ("1", "1", "0"), "shop": ("4", "1", "1")}
    [failure] = root.findall(".//testcase[@name='Deployment shop/web']/failure")
    assert (failure.get("type"), failure.get("message")) == ("restart", "fails at its next restart")
    assert "message one\n  No such label (assignment Assignment A)" in str(failure.text)


@pytest.mark.parametrize("output", FORMATS)
def test_an_empty_cluster_is_well_in_every_form(output: str) -> None:
    assert FORMATS[output](Forecasts((), 0))
