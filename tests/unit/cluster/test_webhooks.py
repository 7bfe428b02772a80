"""Gatekeeper's webhook configurations are judged by what they say, and by what the cluster says of their selectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from controller.cluster.client import Response
from controller.cluster.health import (
    MUTATING_PATH,
    WEBHOOK_PATH,
    GatekeeperHealth,
    GatekeeperProblem,
    gatekeeper_health,
)
from controller.cluster.webhooks import MUTATION, VALIDATION, admitted_kinds, judge, mutated_kinds
from controller.gatekeeper.builtin_kinds import plural
from tests.unit.cluster_builders import constraint, mutator
from tests.unit.fake_api import FakeApi, status
from tests.unit.operator.scripted import webhook

if TYPE_CHECKING:
    from collections.abc import Mapping

POD: Final = ("", "Pod")
RULE: Final[dict[str, Any]] = webhook()["rules"][0]
# As Gatekeeper's own manifest has it.
NORMAL: Final = {
    "matchExpressions": [
        {"key": "admission.gatekeeper.sh/ignore", "operator": "DoesNotExist"},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["gatekeeper-system"]},
    ]
}
MUTATING_HOOK: Final = webhook(name="mutation.gatekeeper.sh", clientConfig={"url": "https://gatekeeper/v1/mutate"})


def rule(**changes: Any) -> dict[str, Any]:
    """The normal rule, changed."""
    return {**RULE, **changes}


def configured(*hooks: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of these webhooks."""
    return {"kind": "ValidatingWebhookConfiguration", "webhooks": list(hooks)}


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (webhook(name="check-ignore-label.gatekeeper.sh"), "it has no webhook validation.gatekeeper.sh"),
        (webhook(rules=[]), "no rule of validation.gatekeeper.sh is for CREATE"),
        (webhook(rules=[rule(operations=["CREATE"])]), "is for UPDATE"),
        (webhook(rules=[rule(operations=["DELETE"])]), "is for CREATE"),
        (webhook(rules=[rule(resources=["secrets"])]), "CREATE of Pod, UPDATE of Pod"),
        (webhook(rules=[rule(apiGroups=["apps"])]), "CREATE of Pod"),
        (webhook(rules=[rule(apiVersions=[])]), "CREATE of Pod"),
        (webhook(rules=[rule(scope="Cluster")]), "CREATE of Pod"),
        (webhook(rules=[rule(scope="Namespaced")]), "do not cover CREATE of every kind"),
        (
            webhook(rules=[rule(resources=["*"])]),
            "do not cover UPDATE of pods/ephemeralcontainers, which policies look at",
        ),
        (
            webhook(clientConfig={"url": "https://gatekeeper/v1/admitlabel"}),
            "calls /v1/admitlabel instead of /v1/admit",
        ),
        (webhook(clientConfig={"service": {"path": "/healthz"}}), "calls /healthz"),
        (webhook(clientConfig={"url": "https://[gatekeeper/v1/admit"}), "calls no path"),
        (webhook(objectSelector={"matchLabels": {"judge": "me"}}), "leaves out every object without judge in (me)"),
        (
            webhook(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}),
            "the namespaceSelector of validation.gatekeeper.sh selects nothing: a is to be one of no values",
        ),
        (
            webhook(
                namespaceSelector={
                    "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "DoesNotExist"}]
                }
            ),
            "kubernetes.io/metadata.name is always there",
        ),
    ],
)
def test_a_configuration_that_does_not_ask_about_what_policies_look_at_is_a_problem(
    hook: Mapping[str, Any], words: str
) -> None:
    problem = judge(configured(hook), VALIDATION, {POD, ("*", "*")}).problem("the configuration", VALIDATION)

    assert words in problem
    assert problem.startswith("the configuration: ")


@pytest.mark.parametrize(
    "hook",
    [
        webhook(),
        webhook(namespaceSelector=NORMAL),
        webhook(failurePolicy="Fail"),
        webhook(rules=[rule(operations=["*"], resources=["*/*"])]),
        webhook(rules=[rule(resources=["pods", "pods/*"], apiGroups=[""])]),
        webhook(rules=[rule(operations=["CREATE"]), rule(operations=["UPDATE"])]),
        webhook(rules=[rule(scope="Namespaced")]),
        webhook(objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}),
        webhook(clientConfig={"service": {"name": "gatekeeper-webhook-service", "path": "/v1/admit"}}),
    ],
)
def test_what_gatekeepers_own_manifest_and_chart_can_have_is_none(hook: Mapping[str, Any]) -> None:
    assert judge(configured({"name": "other"}, hook), VALIDATION, {POD}).faults == frozenset()


def test_facts_that_an_administrator_may_want_are_told_and_are_no_fault() -> None:
    hook = webhook(
        namespaceSelector={"matchLabels": {"policies": "on"}},
        objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
        matchConditions=[{"name": "not-the-nodes", "expression": "true"}],
    )

    judged = judge(configured(hook), VALIDATION, {POD})

    assert judged.faults == frozenset()
    assert judged.facts == (
        "validation.gatekeeper.sh has failurePolicy Ignore: requests pass while it does not answer within 3 s",
        "its namespaceSelector leaves out every namespace without policies in (on)",
        "its objectSelector is !skip",
        "its matchConditions may leave requests out: not-the-nodes",
    )


def test_only_what_is_judged_at_admission_has_to_be_covered() -> None:
    denying = constraint()
    audited = constraint("K8sOther")
    spec: Any = audited.manifest["spec"]
    spec |= {"enforcementAction": "dryrun", "match": {"kinds": [{"apiGroups": ["apps"], "kinds": ["Deployment"]}]}}

    assert admitted_kinds([denying, audited]) == {POD}
    assert mutated_kinds([denying]) == frozenset()
    assert mutated_kinds([mutator()]) == {("*", "*")}


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("Pod", "pods"),
        ("Ingress", "ingresses"),
        ("NetworkPolicy", "networkpolicies"),
        ("Endpoints", "endpoints"),
        ("StorageClass", "storageclasses"),
    ],
)
def test_rules_name_kinds_by_their_resources(kind: str, resource: str) -> None:
    assert plural(kind) == resource


# --- what the cluster says -------------------------------------------------------------------------------------------


async def health(
    hook: Mapping[str, Any], *answers: Response, mutating: Mapping[str, Any] | None = None
) -> tuple[GatekeeperHealth, FakeApi]:
    """Gatekeeper's health with this webhook; `answers` are those about namespaces."""
    api = FakeApi()
    api.place(WEBHOOK_PATH, configured(hook))
    desired = [constraint()]
    if mutating is not None:
        desired.append(mutator())
        if mutating:
            api.place(MUTATING_PATH, configured(mutating))
    for each in answers:
        api.at("GET", "/api/v1/namespaces", each)
    return await gatekeeper_health(api, desired), api


def listed(*names: str) -> Response:
    """Namespaces that fit."""
    return Response(200, {"kind": "NamespaceList", "items": [{"metadata": {"name": name}} for name in names]})


async def test_a_webhook_that_is_well_is_told_with_its_failure_policy() -> None:
    found, api = await health(webhook(namespaceSelector=NORMAL), listed("shop"))

    assert found.problem is None
    assert "failurePolicy Ignore" in found.message
    (asked,) = [call.query for call in api.calls if call.path == "/api/v1/namespaces"]
    assert asked["limit"] == "1"
    assert asked["labelSelector"].startswith("!admission.gatekeeper.sh/ignore,kubernetes.io/metadata.name notin (")
    assert "kube-system" in asked["labelSelector"]


async def test_a_selector_that_no_namespace_fits_enforces_nothing() -> None:
    found, _ = await health(webhook(namespaceSelector={"matchLabels": {"no": "such"}}), listed())

    assert found.problem is GatekeeperProblem.NOT_ENFORCING
    assert "no in (such)" in found.message


@pytest.mark.parametrize(
    "answer", [status(403, "forbidden", "Forbidden"), status(400, "unable to parse", "BadRequest")]
)
async def test_a_selector_that_cannot_be_asked_about_is_taken_to_be_well(answer: Response) -> None:
    found, _ = await health(webhook(namespaceSelector={"matchLabels": {"no": "such"}}), answer)

    assert found.problem is None


async def test_mutations_webhook_counts_where_mutators_are_desired() -> None:
    assert (await health(webhook(), mutating=MUTATING_HOOK))[0].problem is None
    missing, _ = await health(webhook(), mutating={})
    assert (missing.problem, "is missing: nothing is mutated" in missing.message) == (
        GatekeeperProblem.WEBHOOK_INCOMPLETE,
        True,
    )
    narrow, _ = await health(webhook(), mutating={**MUTATING_HOOK, "rules": [rule(resources=["secrets"])]})
    assert narrow.problem is GatekeeperProblem.WEBHOOK_INCOMPLETE
    # As Gatekeeper's manifest has it: it mutates no ephemeral containers.
    whole = {**MUTATING_HOOK, "rules": [rule(resources=["*"])]}
    assert judge(configured(whole), MUTATION, {POD}).faults == frozenset()


async def test_a_webhook_that_was_taken_out_is_a_problem_that_says_what_to_do() -> None:
    found, _ = await health(webhook(name="check-ignore-label.gatekeeper.sh"))

    assert found.problem is GatekeeperProblem.WEBHOOK_INCOMPLETE
    assert "so nothing is denied" in found.message
    assert "install Gatekeeper's manifest or chart again" in found.message


@pytest.mark.parametrize("place", ["rules", "namespaceSelector", "objectSelector", "clientConfig", "matchConditions"])
@pytest.mark.parametrize(
    "value", [None, 1, "x", ["x"], {"a": 1}, [{"operations": 1}], {"matchExpressions": 1}], ids=repr
)
def test_whatever_stands_in_a_webhook_can_be_judged(place: str, value: Any) -> None:
    judge(configured(webhook(**{place: value})), VALIDATION, {POD, ("apps", "Deployment")})
    judge(yaml.safe_load("{webhooks: 7}"), VALIDATION)
