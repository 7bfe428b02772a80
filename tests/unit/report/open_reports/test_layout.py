"""What reports say: every member once, every listed violation once, in objects that an API server takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from controller.cluster.apply import Action, Result
from controller.cluster.report_objects import OPEN_REPORTS, POLICY_REPORTS
from controller.gatekeeper.model import Rendered
from controller.report.assigned import Knowledge, assigned_name
from controller.report.health import health_of
from controller.report.open_reports.layout import CUT, MOST_BYTES, MOST_RESULTS, Report, chunks, reports
from controller.report.violations import ViolationStore
from tests.unit.cluster_builders import (
    MARKS,
    constraint,
    desired_state,
    member,
    mutator,
    not_applied,
    template,
    unresolved,
)
from tests.unit.operator.scripted import START
from tests.unit.report.audits import audited, finding

DENIES: Final = member("deny", definition="registries")
WARNS: Final = member("warn", reference="r")


def written(*found: Any, denies: Any = None, outcomes: Any = (), api: Any = OPEN_REPORTS, **audit: Any) -> list[Report]:
    """The reports of a constraint that denies, of which an audit found this, and of members of these outcomes."""
    wanted = denies or constraint(by=DENIES)
    desired = desired_state(template(), wanted, outcomes=outcomes)
    return laid_out(desired, {wanted.ref: audited(wanted, *found, **audit)}, api)


def laid_out(desired: Any, there: Any, api: Any = OPEN_REPORTS, results: Any = None) -> list[Report]:
    """The reports of a desired state, of which these objects are there."""
    violations = ViolationStore(lists=True)
    violations.expect(desired)
    violations.found(there)
    roles = {each.ref: each.role for each in desired.objects}
    health = {ref: health_of(each, roles[ref]) for ref, each in there.items()}
    return list(reports(api, desired, Knowledge(results or {}, health), violations, START, MARKS))


def results(made: list[Report], name: str = "azpolicy-assignments") -> list[dict[str, Any]]:
    """The results of the report of a name, and of those that go on with it."""
    return [result for each in made if each.name.startswith(name) for result in each.content["results"]]


def overview(made: list[Report]) -> dict[str, dict[str, Any]]:
    """The overview's results by their members."""
    return {each["properties"]["resultID"]: each for each in results(made)}


# --- the overview ----------------------------------------------------------------------------------------------------


def test_a_member_without_violations_passes_and_is_named_by_all_that_people_know_it_by() -> None:
    by = replace(DENIES, assignment_name="Shop", definition_name="Known registries", category="Kubernetes")

    (report,) = written(denies=constraint(by=by))

    assert report.path == "/apis/openreports.io/v1alpha1/clusterreports/azpolicy-assignments"
    assert report.annotations == {}
    assert report.content["source"] == "Azure Policy"
    assert report.content["summary"] == {"pass": 1, "fail": 0, "warn": 0, "error": 0, "skip": 0}
    assert report.content["results"] == [
        {
            "source": "Azure Policy",
            "policy": "Known registries",
            "rule": "K8sThing",
            "category": "Kubernetes",
            "severity": "high",
            "result": "pass",
            "message": "No object violates it.",
            "resources": [{"apiVersion": "azpolicy.dev/v1alpha1", "kind": "AssignedPolicy", "name": assigned_name(by)}],
            "properties": {
                "resultID": assigned_name(by),
                "assignmentId": "/assignments/deny",
                "assignment": "Shop",
                "definitionId": "/definitions/registries",
                "constraint": str(constraint(by=by).ref),
                "enforcementAction": "deny",
                "outcome": "Enforced",
                "violations": "0",
                "listed": "0",
            },
        }
    ]


@pytest.mark.parametrize(
    ("action", "result", "severity", "scored"),
    [("deny", "fail", "high", None), ("warn", "warn", "medium", False), ("dryrun", "warn", "low", False)],
)
def test_violations_fail_what_denies_and_warn_of_the_rest(action: str, result: str, severity: str, scored: Any) -> None:
    wanted = constraint(by=WARNS)
    desired = desired_state(template(), outcomes=[Rendered(WARNS, "audit", action, (wanted.ref,))])
    desired = replace(desired, objects=(*desired.objects, wanted))

    made = laid_out(desired, {wanted.ref: audited(wanted, finding(1, enforcementAction=action))})

    for told in (results(made)[0], results(made, "azpolicy")[-1]):
        assert (told["result"], told["severity"], told.get("scored")) == (result, severity, scored)


def test_what_is_not_audited_is_skipped_and_what_is_not_known_an_error() -> None:
    changes, failing = mutator(by=member("m")), constraint("K8sOther", by=member("failing"))
    new = constraint("K8sNew", by=member("new"))
    unknown, elsewhere = unresolved(member("u")), not_applied(member("n"))
    desired = desired_state(template(), changes, failing, new, outcomes=[unknown, elsewhere])
    conflict = Result(failing.ref, Action.CONFLICT, "Foreign", "a foreign object has the name")

    made = overview(laid_out(desired, {changes.ref: audited(changes)}, results={failing.ref: conflict}))

    told = {each["properties"]["assignmentId"].rpartition("/")[2]: each for each in made.values()}
    assert {key: each["result"] for key, each in told.items()} == {
        "m": "skip",
        "failing": "error",
        "new": "skip",
        "u": "error",
        "n": "skip",
    }
    assert told["m"]["message"] == "It changes objects as they are admitted, and judges none."
    assert told["failing"]["message"] == "a foreign object has the name"
    assert told["u"]["message"] == "an unknown function"
    assert told["n"]["message"] == "the effect is disabled"
    assert told["n"]["properties"]["reason"] == "Disabled"


# --- violations ------------------------------------------------------------------------------------------------------


def test_each_violation_stands_in_the_namespace_of_its_object() -> None:
    made = written(finding(1), finding(2, namespace="web"), finding(3, namespace="", kind="Namespace", name="dev"))

    assert [each.path.partition("v1alpha1/")[2] for each in made] == [
        "clusterreports/azpolicy-assignments",
        "clusterreports/azpolicy-cluster",
        "namespaces/shop/reports/azpolicy",
        "namespaces/web/reports/azpolicy",
    ]
    (told,) = made[2].content["results"]
    assert told["resources"] == [{"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-001"}]
    assert told["message"] == "pod web-001 is bad"
    assert told["properties"].keys() == {
        "resultID",
        "assignmentId",
        "assignment",
        "definitionId",
        "constraint",
        "enforcementAction",
    }
    assert made[1].content["results"][0]["resources"] == [{"apiVersion": "v1", "kind": "Namespace", "name": "dev"}]


def test_the_older_api_has_no_source_of_a_report() -> None:
    first, second = written(finding(1), api=POLICY_REPORTS)

    assert first.path == "/apis/wgpolicyk8s.io/v1alpha2/clusterpolicyreports/azpolicy-assignments"
    assert second.path == "/apis/wgpolicyk8s.io/v1alpha2/namespaces/shop/policyreports/azpolicy"
    assert second.content.keys() == {"summary", "results"}
    assert second.content["results"][0]["source"] == "Azure Policy"


def test_an_id_stays_while_the_object_violates_whatever_else_changes() -> None:
    two = [finding(1, message="container a"), finding(1, message="container b")]
    before = results(written(*two, finding(2)), "azpolicy")[1:]
    reworded = results(written(finding(0), *(each | {"message": "b 7 of 9"} for each in two)), "azpolicy")[1:]

    ids = [each["properties"]["resultID"] for each in before]
    assert len(set(ids)) == 3
    assert ids[:2] == [each["properties"]["resultID"] for each in reworded[1:]]


def test_the_same_findings_in_another_order_at_another_time_are_the_same_reports() -> None:
    found = [finding(number, namespace=f"team-{number % 3}") for number in range(9)]

    once = written(*found)
    again = written(*reversed(found), auditTimestamp="2026-03-01T13:00:00Z")

    assert [(each.path, each.digest) for each in once] == [(each.path, each.digest) for each in again]


def test_what_gatekeeper_cut_is_said_beside_the_message() -> None:
    long = "x" * 253 + "..."

    first, second = written(finding(1), finding(2, message=long), total=143)

    name = str(constraint(by=DENIES).ref)
    assert first.annotations == second.annotations == {CUT: f"more objects violate these than are listed: {name}"}
    assert first.content["results"][0]["properties"]["violations"] == "143"
    assert first.content["results"][0]["properties"]["listed"] == "2"
    assert [each["properties"].get("messageCut") for each in second.content["results"]] == [None, "true"]
    assert not any("143" in each["message"] for each in results([first, second], ""))


def test_a_message_of_a_template_that_ends_in_dots_is_not_cut() -> None:
    (told,) = results(written(finding(1, message="and so on...")), "azpolicy")[1:]

    assert told["message"] == "and so on..."
    assert "messageCut" not in told["properties"]


# --- size ------------------------------------------------------------------------------------------------------------


def test_no_report_has_more_results_than_readers_take() -> None:
    found = [finding(number) for number in range(MOST_RESULTS)]
    one, two = constraint(by=DENIES), constraint("K8sOther", by=WARNS)

    made = laid_out(desired_state(template(), one, two), {each.ref: audited(each, *found) for each in (one, two)})

    assert [(each.name, len(each.content["results"])) for each in made] == [
        ("azpolicy-assignments", 2),
        ("azpolicy", MOST_RESULTS),
        ("azpolicy-2", MOST_RESULTS),
    ]
    ids = [each["properties"]["resultID"] for each in results(made, "azpolicy")]
    assert len(set(ids)) == 2 + 2 * MOST_RESULTS


def test_no_report_is_larger_than_an_api_server_takes() -> None:
    large = {"message": "x" * 4096}

    cut = list(chunks(iter([large] * 300)))

    assert sum(map(len, cut)) == 300
    assert all(len(json.dumps(each)) < MOST_BYTES + 1024 for each in cut)
    assert list(chunks([])) == []


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\u202eb", "\ud800", "x" * 99_999, "<script>alert(1)</script>", "a\nb", "", "../../x"]
)
def test_whatever_a_name_or_message_is_it_is_printable_and_bounded(text: str) -> None:
    by = replace(DENIES, assignment_name=text, definition_name=text, category=text, reference_id=text)
    entry = finding(1, namespace=text, kind=text, name=text, message=text, group=text, version=text)

    made = written(entry, denies=constraint(by=by))

    assert {each.path.rpartition("/")[2] for each in made} == {"azpolicy-assignments", "azpolicy-cluster"}
    document = json.dumps([each.content for each in made], ensure_ascii=False)
    document.encode()
    assert len(document) < 20_000
    for each in results(made, ""):
        assert each["policy"]
        assert all(value.isprintable() for value in each["properties"].values())


def test_a_namespace_that_cannot_be_one_is_no_path() -> None:
    made = written(finding(1, namespace="shop/reports/x"), finding(2, namespace="Shop"), finding(3, namespace="n" * 64))

    assert [each.name for each in made] == ["azpolicy-assignments", "azpolicy-cluster"]
