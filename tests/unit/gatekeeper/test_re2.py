"""Which expressions are no RE2: real Go judges the same ones, and never takes one that is called faulty."""

from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from controller.gatekeeper.re2 import fault, python_pattern, required
from tests.cluster.harness import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECES = [
    *"ab01.^$|()[]{}*+?\\-,:=!<>#PQEzZdwsimsU /\n'",
    *("(?", "(?:", "(?P<n>", "(?<n>", "(?i)", "(?i-s:", "(?!", "(?<=", "(?P=n)", "(?P>n)"),
    *("[:alpha:]", "[[:alpha:]]", "[^]", "{2}", "{2,}", "{3,2}", "{1001}", "{,3}"),
    *(r"\1", r"\12", r"\d", r"\pN", r"\p{Greek}", r"\Q", r"\E", r"\x41", r"\x{41}", "é"),
]
TEXTS = ("a", "ab", "aab\n", "0-1", "b1:", "", "A=", "a\n")


def written_at_random(seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(PIECES, k=rng.randint(1, 9))) for _ in range(10_000)]


def asked_of_go(query: str, given: object) -> list[bool]:
    """What OPA says, whose expressions are Go's, as Gatekeeper's are."""
    command = [str(tools.path("opa")), "eval", "--stdin-input", "--format", "raw", query]
    ended = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    return list(json.loads(ended.stdout))


def taken(expressions: Sequence[str]) -> list[bool]:
    return asked_of_go("[regex.is_valid(e) | e := input[_]]", expressions)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        (r"^(?!.*latest)registry\.io/.+$", "a look-ahead (?!"),
        (r"^.+(?<!latest)$", "a look-behind (?<!"),
        (r"^(a|b)/\1$", r"a reference \1"),
        ("(?>a)", "a group (?>"),
        ("a++", "++, which repeats a repetition"),
        ("*.azurecr.io", "nothing before *"),
        ("a|*b", "nothing before *"),
        ("(?x)a b", "a group (?"),
        ("a{1001}", "the repetition {1001}"),
        ("a{3,2}", "the repetition {3,2}"),
        (r"^a\Z", r"\Z"),
        ("[a-z", "a [ without its ]"),
        ("(a|b", "a ( without its )"),
        ("a)", "a ) without its ("),
        ("a\\", "a backslash"),
    ],
)
def test_what_re2_does_not_know_is_named_and_go_refuses_it(expression: str, told: str) -> None:
    assert fault(expression).startswith(told)
    assert taken([expression]) == [False]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        r"^.+azurecr\.io/.+$",
        r"^([^\/]+\.azurecr\.io|registry\.io)\/.+$",
        "(?i)^a{2,3}?b$",
        "(?P<n>a)(?<m>b)(?:c)",
        "[]a][^]b][[:alpha:]][(*]",
        r"\Q(*\E\pN\p{Greek}\x41\012\d",
        "a{,3}{",
        "^*",
        "(?)a",
    ],
)
def test_what_go_takes_has_no_fault(expression: str) -> None:
    assert taken([expression]) == [True]
    assert fault(expression) == ""


@pytest.mark.parametrize("seed", range(3))
def test_no_expression_that_go_takes_is_called_faulty(seed: int) -> None:
    expressions = written_at_random(seed)

    verdicts = taken(expressions)

    assert [e for e, good in zip(expressions, verdicts, strict=True) if good and fault(e)] == []
    noticed = sum(bool(fault(e)) for e in expressions)
    assert noticed > (len(verdicts) - sum(verdicts)) * 0.9


@pytest.mark.parametrize("seed", range(3))
def test_what_python_matches_go_matches(seed: int) -> None:
    expressions = written_at_random(seed)
    usable = [e for e, good in zip(expressions, taken(expressions), strict=True) if good and python_pattern(e)]
    pairs = [[e, text] for e in usable for text in TEXTS]

    said = asked_of_go("[regex.match(p[0], p[1]) | p := input[_]]", pairs)

    assert len(usable) > 1000
    for (expression, text), matched in zip(pairs, said, strict=True):
        pattern = python_pattern(expression)
        assert pattern is not None
        assert (pattern.search(text) is not None) is matched, (expression, text)


@pytest.mark.parametrize("expression", ["(a+)+$", "a*b*$", "(?i)a", r"a\s", "(a?){50}", "a?a?a?a?a"])
def test_what_python_could_take_long_over_or_takes_otherwise_is_left_alone(expression: str) -> None:
    assert python_pattern(expression) is None


@pytest.mark.parametrize(
    ("expression", "runs"),
    [
        (r"^https://a\.io/.+$", ("https://a.io/",)),
        ("^(a|b)https", ("https",)),
        ("a|b", ()),
        ("ab*c", ("a", "c")),
        ("ab+c", ("ab", "c")),
        ("ab{0,2}", ("a",)),
    ],
)
def test_the_characters_that_a_match_has_to_contain(expression: str, runs: tuple[str, ...]) -> None:
    assert required(expression) == runs
