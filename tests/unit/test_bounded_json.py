"""JSON with a bound on its depth: what is within reads as ever, what is deeper costs itself alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.bounded_json import CUT, DEEPEST, is_cut, is_deeper, read_json

if TYPE_CHECKING:
    from controller.jsontypes import Json

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ['"', "\\", '\\"', "[", "{]", '"[', "\\\\["]
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * levels + "1" + closing * levels


@given(VALUES, st.booleans())
def test_what_is_not_deep_is_read_as_python_reads_it(value: Json, plain: bool) -> None:
    text = json.dumps(value, ensure_ascii=plain).encode()

    assert read_json(text) == value
    assert not is_cut(value)


@given(VALUES, st.integers(0, 6))
def test_the_depth_is_told_exactly(value: Json, levels: int) -> None:
    def depth(of: Json) -> int:
        inner = list(of.values()) if isinstance(of, dict) else of if isinstance(of, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert is_deeper(json.dumps(value).encode(), levels) is (depth(value) > levels)


@pytest.mark.parametrize("levels", [DEEPEST - 1, DEEPEST, DEEPEST + 1, 1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_what_is_too_deep_is_cut_and_its_neighbours_are_read(opening: str, closing: str, levels: int) -> None:
    each = opening.count("[") + opening.count("{")
    deep = nested(levels // each, opening, closing)

    found = read_json(f'[{{"name": "before [[[ \\" {{"}}, {deep}, {{"name": "after"}}]'.encode())

    assert [found[0], found[2]] == [{"name": 'before [[[ " {'}, {"name": "after"}]
    assert is_cut(found) is is_cut(found[1]) is (levels // each * each + 1 > DEEPEST)
    assert not is_deeper(json.dumps(found).encode(), DEEPEST)


def test_what_stands_beside_the_deep_part_of_an_object_stays() -> None:
    text = f'{{"metadata": {{"name": "x"}}, "spec": {{"a": 1, "deep": {nested(500)}, "b": [2]}}, "kind": "K"}}'

    found = read_json(text.encode())

    assert found["metadata"] == {"name": "x"}
    assert found["kind"] == "K"
    assert (found["spec"]["a"], found["spec"]["b"]) == (1, [2])
    assert CUT in json.dumps(found["spec"]["deep"])


@pytest.mark.parametrize(
    "text",
    ["", "x", "[", "[1", '{"a"', '{"a": 1}}', '"', nested(100_000)[:-1], "[" * 100_000, "]" * 500 + "[" * 500, '"\\'],
    ids=range(11),
)
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever the reader finds
        read_json(text.encode())


def test_bytes_that_are_no_text_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="utf"):
        read_json(b'{"a": "\xff"}')


def test_a_number_that_python_does_not_read_is_infinity() -> None:
    assert read_json(f"[{'9' * 5000}, -{'9' * 5000}, 7]".encode()) == [float("inf"), float("-inf"), 7]
