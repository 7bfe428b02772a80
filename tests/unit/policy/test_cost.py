"""What a policy may cost: calls take time in proportion to what they are given, and one reading has a bound."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from controller.policy.applicability import applies
from controller.policy.cost import MEMBER_LIMIT, MEMBER_SHARE, READING_RESERVE
from controller.policy.expressions import ExpressionError, Scope, evaluate
from controller.policy.model import EffectivePolicy, Unresolved
from tests.unit.azure_builders import (
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_details,
    make_initiative,
    make_parameter,
    make_reference,
    make_state,
    resolve_all,
)

if TYPE_CHECKING:
    from controller.jsontypes import Json

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEYS: Json = {f"key{index}": index for index in range(100_000)}
REPEATED = ", ".join(["parameters('small')"] * 2000)


@pytest.mark.timeout(30)  # Each took minutes to years when its time grew faster than what it is given.
@pytest.mark.parametrize(
    ("expression", "parameters", "expected"),
    [
        pytest.param(
            "[length(split(padLeft('',1000000,'a'),createArray(concat(padLeft('',500000,'a'),'b'),'c')))]",
            {},
            1,
            id="split",
        ),
        pytest.param(
            "[lastIndexOf(padLeft('',4000000,'a'),concat('ab',padLeft('',2000000,'a')))]", {}, -1, id="lastIndexOf"
        ),
        pytest.param(
            f"[length(union(parameters('big'), {REPEATED}))]", {"big": KEYS, "small": {}}, 100_000, id="union"
        ),
        pytest.param(
            f"[length(union(parameters('big'), {REPEATED}))]",
            {"big": {"inner": KEYS}, "small": {"inner": {}}},
            1,
            id="union of what is inside",
        ),
    ],
)
def test_a_call_takes_time_in_proportion_to_what_it_is_given(
    expression: str, parameters: dict[str, Json], expected: int
) -> None:
    assert evaluate(expression, Scope(parameters, NOW)) == expected


@pytest.mark.timeout(30)
@pytest.mark.parametrize("condition", ["in", "notIn", "contains", "equals"])
def test_a_condition_takes_time_in_proportion_to_what_it_compares(condition: str) -> None:
    long: Json = "A" * 1_000_000
    many: Json = [f"item{index}" for index in range(100_000)]
    sides = (many, long) if condition == "contains" else (long, many)
    rule: Json = {"value": sides[0], condition: sides[1]}

    assert applies(rule, make_state(make_cluster()).cluster, Scope({}, NOW)) is (condition == "notIn")


@pytest.mark.parametrize(
    ("call", "units"),
    [
        pytest.param(
            "split(parameters('text'), parameters('words'))", 50 * 1000, id="each delimiter over the whole text"
        ),
        pytest.param(
            "createArray(add(1, 2), add(1, 2), add(1, 2))", 4 * 20, id="calls that read and make next to nothing"
        ),
    ],
)
def test_work_that_is_not_text_is_charged(call: str, units: int) -> None:
    scope = Scope({"text": "x" * 1000, "words": [f"{index}-" for index in range(50)]}, NOW)

    evaluate(f"[{call}]", scope)

    assert scope.budget.spent > units


def test_many_objects_of_many_keys_make_no_message_of_that_size() -> None:
    with pytest.raises(ExpressionError, match="there is no property 'missing'") as caught:
        evaluate("[parameters('big').missing]", Scope({"big": KEYS}, NOW))

    assert len(str(caught.value)) < 2000


LONG: Json = "a" * 100_000


def lengths_of_long(times: int) -> str:
    """An expression that reads the parameter `long` so many times."""
    calls = ", ".join(["length(parameters('long'))"] * times)
    return f"[createArray({calls})]"


def greedy(members: int) -> list[dict[str, Json]]:
    """An initiative each of whose members takes nearly all that one member may; no two of them are the same."""
    references = [make_reference(f"r{index}", of=definition_id(f"greedy{index}")) for index in range(members)]
    definitions = [
        make_definition(
            f"greedy{index}",
            details=make_details(values={"x": lengths_of_long(150)}),
            parameters={"long": make_parameter("String", defaultValue=LONG)},
        )
        for index in range(members)
    ]
    return [make_assignment("greedy", of=initiative_id()), make_initiative(*references), *definitions]


def test_greedy_members_share_a_reserve_and_the_others_lose_nothing() -> None:
    fits = READING_RESERVE // MEMBER_LIMIT
    later = make_assignment("later", of=definition_id("modest"))

    found = resolve_all(*greedy(fits + 4), later, make_definition("modest"))

    by_kind = [type(each) for each in found]
    assert by_kind == [EffectivePolicy] * fits + [Unresolved] * 4 + [EffectivePolicy]
    refused = [each.message for each in found if isinstance(each, Unresolved)]
    assert all("takes more work than its own" in message and f"{READING_RESERVE:,}" in message for message in refused)


def test_no_member_may_take_more_than_its_limit_though_the_reserve_is_larger() -> None:
    scope = Scope({"long": LONG}, NOW)
    calls = MEMBER_LIMIT // 100_000

    with pytest.raises(ExpressionError, match="takes more work than 16,777,216"):
        evaluate(lengths_of_long(calls + 1), scope)
    with pytest.raises(ExpressionError, match="takes more work"):
        evaluate("[true()]", scope)
    assert MEMBER_LIMIT < READING_RESERVE
    assert MEMBER_SHARE < MEMBER_LIMIT
