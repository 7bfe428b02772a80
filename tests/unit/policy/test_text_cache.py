"""What was made of texts is remembered up to a number of characters, whatever their number."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from controller.policy import expressions, grammar, parameters
from controller.policy.grammar import LONGEST_EXPRESSION
from controller.policy.text_cache import CHARACTERS, TextCache

if TYPE_CHECKING:
    from collections.abc import Callable


def counted() -> tuple[TextCache[str], list[str]]:
    """A cache of ten characters, and what it was asked to make."""
    made: list[str] = []

    def shout(text: str) -> str:
        made.append(text)
        return text.upper()

    return TextCache(shout, 10), made


def test_a_text_is_made_once() -> None:
    cache, made = counted()

    assert [cache("ab"), cache("ab")] == ["AB", "AB"]
    assert made == ["ab"]


def test_the_oldest_go_when_the_characters_are_used_up() -> None:
    cache, made = counted()

    for text in ("aaaa", "bbbb", "cccc", "aaaa"):
        assert cache(text) == text.upper()

    assert made == ["aaaa", "bbbb", "cccc", "aaaa"]
    assert cache.kept == {"cccc", "aaaa"}


def test_a_text_longer_than_all_is_made_and_not_kept() -> None:
    cache, _ = counted()

    assert cache("x" * 11) == "X" * 11
    assert cache.kept == frozenset()


def test_an_error_is_raised_each_time() -> None:
    cache: TextCache[int] = TextCache(int)

    for _ in range(2):
        with pytest.raises(ValueError, match="no number"):
            cache("no number")
    assert cache.kept == frozenset()


def test_threads_share_it() -> None:
    cache, _ = counted()
    texts = [f"{number:02}" for number in range(100)] * 20

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(cache, texts)) == [text.upper() for text in texts]

    assert sum(map(len, cache.kept)) <= 10


@pytest.mark.parametrize(
    "read",
    [grammar.parse, expressions._compiled, expressions._names_in_text, parameters._names_in],
    ids=["trees", "closures", "names", "parameters"],
)
def test_the_longest_expressions_do_not_add_up(read: Callable[[str], object]) -> None:
    """A count would keep hundreds of these, each a tree of megabytes."""
    assert isinstance(read, TextCache)
    for number in range(CHARACTERS // LONGEST_EXPRESSION + 3):
        read(f"[concat('{number}{'x' * (LONGEST_EXPRESSION - 40)}')]")

    assert sum(map(len, read.kept)) <= CHARACTERS
    assert sys.getsizeof(read.kept) < CHARACTERS
