"""Which ids that objects bear Azure is asked about: an assignment's, where it may apply, and not without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.azure.known import MOST_ASKED, may_apply, worth_asking
from controller.azure.model import fold
from tests.unit.azure_builders import (
    CLUSTER_ID,
    GROUP,
    INVISIBLE,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
)


@pytest.mark.parametrize("scope", [CLUSTER_ID, GROUP, SUBSCRIPTION, SUBSCRIPTION.upper(), MANAGEMENT_GROUP])
@pytest.mark.parametrize("name", ["a", "Baseline: Pods", "it's", "a b#c{d}%e?", "ü", "a.b"])
def test_an_assignment_above_the_cluster_is_asked_about(scope: str, name: str) -> None:
    known = assignment_id(name, scope)

    assert worth_asking([known], [], CLUSTER_ID) == {fold(known): known}
    assert worth_asking([known], [fold(known)], CLUSTER_ID) == {}


@pytest.mark.parametrize(
    "poisoned",
    [
        "",
        "/",
        "x",
        "https://example.com/",
        definition_id(),
        assignment_id(scope=""),
        assignment_id(""),
        assignment_id("a/b"),
        assignment_id(".."),
        assignment_id(scope=f"{SUBSCRIPTION}/.."),
        assignment_id(scope=f"{SUBSCRIPTION}/../x"),
        assignment_id(scope=f"{SUBSCRIPTION}/"),
        assignment_id(scope="/subscriptions/of-another-tenant"),
        assignment_id(scope=f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/another"),
        assignment_id(scope=f"{MANAGEMENT_GROUP}/x"),
        assignment_id("a" * 3000),
        f"{assignment_id()}/providers/Microsoft.Authorization/policyExemptions/x",
        *(assignment_id(f"a{letter}") for letter in INVISIBLE),
    ],
    ids=lambda poisoned: ascii(poisoned)[:60],
)
def test_whatever_else_is_written_on_an_object_is_not_asked_about(poisoned: str) -> None:
    good = assignment_id("good")

    assert worth_asking([poisoned, good], [], CLUSTER_ID) == {fold(good): good}


def test_not_more_are_asked_about_than_a_reading_has_time_for() -> None:
    known = [assignment_id(f"a{number}") for number in range(3 * MOST_ASKED)]

    assert len(worth_asking(known, [], CLUSTER_ID)) == MOST_ASKED
    listed = {fold(each) for each in known[:-5]}
    assert sorted(worth_asking(known, listed, CLUSTER_ID)) == sorted(map(fold, known[-5:]))


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(may_apply(text, CLUSTER_ID), bool)
    assert not may_apply(text, CLUSTER_ID) or text.startswith("/")
