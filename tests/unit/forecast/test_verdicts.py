"""What is said of a workload, judged by gator."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from controller.forecast.verdicts import Forecast, Surroundings, Verdict, denied, forecast
from controller.forecast.workloads import Candidate, Workload
from controller.gatekeeper.expansion import expansion_templates, with_source
from controller.gatekeeper.model import DesiredObject, DesiredState, Role
from controller.gatekeeper.naming import OwnershipMarks
from controller.policy.model import Member
from tests.cluster.harness import tools
from tests.snapshots import FORBIDS_LABELS, template_text

if TYPE_CHECKING:
    from collections.abc import Sequence

import json

KIND = "K8sForecastLabel"
MEMBER = Member("/assignments/a", "/definitions/d", assignment_name="Assignment A", definition_name="No such label")
NOTHING = Surroundings({}, {})
LOOKS_UP = 'violation[{"msg": "seen"}] { data.inventory.namespace[_][_].Pod[_] }'
ASKS_WHO = (
    'violation[{"msg": "who"}] { input.review.userInfo.username != "me"; input.review.object.metadata.labels.who }'
)
ASKS_ELSEWHERE = (
    'violation[{"msg": "unsigned"}] '
    '{ external_data({"provider": "p", "keys": [input.review.object.spec.containers[0].image]}) }'
)


@pytest.fixture(scope="module")
def gator() -> str:
    return os.environ.get("AZPOLICY_GATOR") or str(tools.path("gator"))


def policy(
    rule: str = FORBIDS_LABELS, kind: str = KIND, action: str = "deny", kinds: Sequence[str] = ("Pod",), **match: Any
) -> list[DesiredObject]:
    spec: dict[str, Any] = {
        "enforcementAction": action,
        "match": {"kinds": [{"apiGroups": [""], "kinds": list(kinds)}], **match},
        "parameters": {"labels": ["forbidden"]},
    }
    head = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind}
    constraint: dict[str, Any] = {**head, "metadata": {"name": "c"}}
    return [
        DesiredObject.of(Role.TEMPLATE, json.loads(template_text(kind, rule)), (MEMBER,)),
        DesiredObject.of(Role.CONSTRAINT, {**constraint, "spec": spec}, (MEMBER,)),
    ]


def state(*objects: DesiredObject) -> DesiredState:
    return DesiredState("cluster", objects, (), frozenset())


def pod(namespace: str = "shop", **labels: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "app"}]}
    metadata = {"name": "web-pod", "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def workload(
    restart: Sequence[Candidate] = (), rollout: Sequence[Candidate] = (), name: str = "web", namespace: str = "shop"
) -> Workload:
    return Workload("Deployment", namespace, name, 1, list(restart), list(rollout))


BAD, GOOD = Candidate(pod(forbidden="yes")), Candidate(pod(fine="yes"))


def judged(gator: str, one: Workload, desired: DesiredState, surroundings: Surroundings = NOTHING) -> Forecast:
    [found] = forecast([one], desired, surroundings, gator=gator, progress=lambda _doing, _count: None).workloads
    return found


@pytest.mark.parametrize(
    ("restart", "rollout", "verdict"),
    [
        ([GOOD], [], Verdict.PASSES),
        ([BAD], [], Verdict.RESTART),
        ([GOOD, BAD], [], Verdict.RESTART),
        ([BAD], [GOOD], Verdict.RESTART),
        ([GOOD], [BAD], Verdict.ROLLOUT),
        ([], [BAD], Verdict.ROLLOUT),
        ([Candidate(None)], [], Verdict.UNKNOWN),
        ([GOOD, Candidate(None)], [], Verdict.UNKNOWN),
        ([BAD, Candidate(None)], [], Verdict.RESTART),
        # What admission made of a template counts before the template.
        ([Candidate(BAD.template, GOOD.template)], [], Verdict.MUTATED),
        ([Candidate(GOOD.template, BAD.template)], [], Verdict.RESTART),
        ([Candidate(None, BAD.template)], [], Verdict.RESTART),
    ],
)
def test_a_verdict_is_of_the_next_pod(
    gator: str, restart: list[Candidate], rollout: list[Candidate], verdict: Verdict
) -> None:
    found = judged(gator, workload(restart, rollout), state(*policy()))

    assert found.verdict is verdict
    assert bool(found.causes) is (verdict not in {Verdict.PASSES, Verdict.UNKNOWN})


def test_a_cause_names_policy_assignment_and_message(gator: str) -> None:
    [cause] = judged(gator, workload([BAD]), state(*policy())).causes

    assert (cause.member.policy, cause.member.assignment) == ("No such label", "Assignment A")
    assert cause.message == "label forbidden is forbidden"


def test_what_is_added_at_admission_is_said_to_decide_where_the_template_would_pass(gator: str) -> None:
    assert "what is added" in judged(gator, workload([Candidate(GOOD.template, BAD.template)]), state(*policy())).note
    assert judged(gator, workload([BAD]), state(*policy())).note == ""


@pytest.mark.parametrize("action", ["dryrun", "warn"])
def test_what_does_not_deny_decides_nothing_unless_it_is_asked_as_if_it_denied(gator: str, action: str) -> None:
    desired = state(*policy(action=action))

    assert judged(gator, workload([BAD]), desired).verdict is Verdict.PASSES
    assert judged(gator, workload([BAD]), denied(desired)).verdict is Verdict.RESTART


def test_a_policy_about_other_kinds_decides_nothing(gator: str) -> None:
    assert judged(gator, workload([BAD]), state(*policy(kinds=["Service"]))).verdict is Verdict.PASSES


@pytest.mark.parametrize(
    ("source", "verdict"),
    [("Original", Verdict.RESTART), ("All", Verdict.RESTART), ("Generated", Verdict.PASSES)],
)
def test_expansion_denies_the_workload_and_not_the_pods_that_come_back(
    gator: str, source: str, verdict: Verdict
) -> None:
    objects = policy(source=source)
    desired = state(*objects, *expansion_templates([with_source(objects[1], "All")], OwnershipMarks()))

    found = forecast([workload([BAD])], desired, NOTHING, gator=gator, progress=lambda _doing, _count: None)

    assert [each.verdict for each in found.workloads] == [verdict]
    assert len(found.workloads[0].causes) == (verdict is Verdict.RESTART)
    assert not found.notes
    assert not found.errors


def test_the_labels_of_a_namespace_count(gator: str) -> None:
    desired = state(*policy(namespaceSelector={"matchLabels": {"tier": "front"}}))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"tier": "front"}}}

    assert judged(gator, workload([BAD]), desired).verdict is Verdict.PASSES
    assert judged(gator, workload([BAD]), desired, Surroundings({"shop": namespace}, {})).verdict is Verdict.RESTART


def test_a_namespace_that_gatekeeper_skips_passes_and_says_why(gator: str) -> None:
    found = judged(gator, workload([BAD]), state(*policy()), Surroundings({}, {"shop": "its Config excludes it"}))

    assert (found.verdict, found.note) == (Verdict.PASSES, "its Config excludes it")


def mutator(name: str = "give", source: str = "", **parameters: Any) -> dict[str, Any]:
    match = {"scope": "Namespaced", **({"source": source} if source else {})}
    return {
        "apiVersion": "mutations.gatekeeper.sh/v1",
        "kind": "AssignMetadata",
        "metadata": {"name": name},
        "spec": {
            "match": match,
            "location": "metadata.labels.owner",
            "parameters": parameters or {"assign": {"value": "given"}},
        },
    }


NEEDS_OWNER = 'violation[{"msg": "no owner"}] { not input.review.object.metadata.labels.owner }'


@pytest.mark.parametrize(
    ("source", "verdict"),
    [("", Verdict.MUTATED), ("Original", Verdict.MUTATED), ("All", Verdict.MUTATED), ("Generated", Verdict.RESTART)],
)
def test_what_a_mutator_mends_passes_after_mutation(gator: str, source: str, verdict: Verdict) -> None:
    surroundings = Surroundings({}, {}, (mutator(source=source),))

    for candidate in (Candidate(pod()), Candidate(pod(), pod())):
        assert judged(gator, workload([candidate]), state(*policy(NEEDS_OWNER)), surroundings).verdict is verdict


def test_a_pod_keeps_its_name_and_owners_when_it_is_mutated(gator: str) -> None:
    rule = """\
violation[{"msg": msg}] {
  metadata := input.review.object.metadata
  msg := json.marshal([metadata.name, metadata.ownerReferences])
}
"""
    owned = pod()
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web", "uid": "0", "apiVersion": "apps/v1"}]
    surroundings = Surroundings({}, {}, (mutator(),))

    [cause] = judged(gator, workload([Candidate(owned)]), state(*policy(rule)), surroundings).causes

    assert json.loads(cause.message) == ["web-pod", owned["metadata"]["ownerReferences"]]


def test_a_mutator_that_asks_a_provider_is_left_out_and_said(gator: str) -> None:
    asking = mutator("ask", assign={"externalData": {"provider": "p"}})

    found = forecast(
        [workload([GOOD])],
        state(*policy()),
        Surroundings({}, {}, (asking,)),
        gator=gator,
        progress=lambda _doing, _count: None,
    )

    assert [each.verdict for each in found.workloads] == [Verdict.PASSES]
    assert "AssignMetadata/ask" in found.notes[0]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (LOOKS_UP, "it looks other objects up in the cluster"),
        (ASKS_ELSEWHERE, "it asks an external data provider"),
        (ASKS_WHO, "it depends on who makes the pod"),
    ],
)
def test_a_policy_that_gator_has_no_answer_to_is_unknown_where_it_looks(gator: str, rule: str, why: str) -> None:
    desired = state(*policy(rule, excludedNamespaces=["billing"]))

    found = judged(gator, workload([GOOD]), desired)

    assert (found.verdict, found.note) == (Verdict.UNKNOWN, f"No such label: {why}")
    elsewhere = workload([Candidate(pod("billing"))], namespace="billing")
    assert judged(gator, elsewhere, desired).verdict is Verdict.PASSES
    broken = state(*policy(), *policy(rule, "K8sForecastOther"))
    assert judged(gator, workload([BAD]), broken).verdict is Verdict.RESTART


def test_a_template_that_gatekeeper_refuses_is_an_error_and_the_others_judge(gator: str) -> None:
    broken = policy('violation[{"msg": msg}] { msg := nowhere_defined(1) }', "K8sForecastBroken")

    found = forecast(
        [workload([BAD])],
        state(*broken, *policy()),
        NOTHING,
        gator=gator,
        progress=lambda _doing, _count: None,
    )

    assert [each.verdict for each in found.workloads] == [Verdict.RESTART]
    [error] = found.errors
    assert "Gatekeeper does not take it" in error


def test_the_worst_is_said_first_and_parts_change_nothing(gator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.forecast.verdicts._AT_ONCE", 2)
    workloads = [workload([GOOD if n % 2 else BAD], name=f"w{n}") for n in range(5)]
    counts: list[tuple[str, int]] = []

    found = forecast(
        [*workloads, replace(workloads[0], restart=[], rollout=[BAD], name="w9")],
        state(*policy()),
        NOTHING,
        gator=gator,
        progress=lambda doing, count: counts.append((doing, count)),
    )

    assert [each.workload.name for each in found.workloads] == ["w0", "w2", "w4", "w9", "w1", "w3"]
    assert [count for _, count in counts] == [2, 4, 6]
    assert (found.count(Verdict.RESTART), found.failing) == (3, True)
