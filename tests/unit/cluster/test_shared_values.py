"""Equal values stand once, come back as they were, and no forged list of them fills the memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.bounded_json import DEEPEST
from controller.cluster.diff import same
from controller.cluster.shared_values import share, written_out

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(
    LEAVES | st.sampled_from([0, 1, 0.0, 1.0, -0.0, True, False, "1", "true", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_every_document_comes_back(document: Any) -> None:
    found = written_out(json.loads(json.dumps(share(document))))

    assert json.dumps(found, sort_keys=True) == json.dumps(document, sort_keys=True)
    assert same(found, document)


def test_what_is_repeated_stands_once() -> None:
    block = {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}

    values = share([dict(block) for _ in range(100)])

    assert len(values) == 8  # the document, a block, and six below it
    first, *others = written_out(values)
    assert all(each is first for each in others)


def test_the_order_of_keys_makes_no_difference() -> None:
    assert share({"a": 1, "b": 2}) == share({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "values", [None, {}, [], [[0]], [1, [1]], [1, [-1]], ["x", [True]], ["x", ["0"]], [1, {"a": 1.0}]]
)
def test_a_list_that_names_values_which_are_not_there_is_an_error(values: Any) -> None:
    with pytest.raises(ValueError, match=r"it has no values|a value is not there"):
        written_out(values)


def test_a_value_that_doubles_and_doubles_is_given_up() -> None:
    values = ["x" * 1000, *([place, place] for place in range(40))]

    with pytest.raises(ValueError, match="written out it is larger"):
        written_out(values)


def test_a_value_that_is_too_deep_is_given_up() -> None:
    values = ["x", *([place] for place in range(DEEPEST + 1))]

    with pytest.raises(ValueError, match="levels"):
        written_out(values)
