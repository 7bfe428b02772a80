"""Mutation of the Rego: which changes are made, and that the suites notice all of them."""

from textwrap import dedent

import pytest

from tests.templates import mutants
from tests.templates.rego import mutations

SOURCE = dedent("""\
    package example

    import data.lib.pod

    limits = {"low": 1}

    violation[{"msg": msg}] {
      some name
      not pod.windows
      value := input.values[name]
      value > limits.low
      msg := sprintf("%v", [
        concat("", [other | other := input.others[_]; other != value]),
      ])
    }

    level(text) = 2 {
      text == "two" # not "three"
    } else = 1
    """)


def changed(source: str) -> set[tuple[str, str]]:
    """The line that each mutation is about, before and after."""
    found = (mutants.Mutant("example/rule.rego", source, mutation).lines for mutation in mutations(source))
    return set(found)


def test_every_clause_expression_and_constant_is_changed() -> None:
    assert changed(SOURCE) == {
        ('limits = {"low": 1}', 'limits = {"low": 1} { false }'),
        ('limits = {"low": 1}', 'limits = {"mutant": 1}'),
        ('limits = {"low": 1}', 'limits = {"low": 2}'),
        ('violation[{"msg": msg}] {', 'violation[{"msg": msg}] { false;'),
        ('violation[{"msg": msg}] {', 'violation[{"mutant": msg}] {'),
        ("not pod.windows", "true"),
        ("not pod.windows", "pod.windows"),
        ("value := input.values[name]", "true"),
        ("value > limits.low", "true"),
        ("value > limits.low", "not value > limits.low"),
        ("value > limits.low", "value >= limits.low"),
        ('msg := sprintf("%v", [', "true"),
        ('msg := sprintf("%v", [', 'msg := sprintf("mutant", ['),
        (
            'concat("", [other | other := input.others[_]; other != value]),',
            'concat("mutant", [other | other := input.others[_]; other != value]),',
        ),
        (
            'concat("", [other | other := input.others[_]; other != value]),',
            'concat("", [other | true; other != value]),',
        ),
        (
            'concat("", [other | other := input.others[_]; other != value]),',
            'concat("", [other | other := input.others[_]; true]),',
        ),
        (
            'concat("", [other | other := input.others[_]; other != value]),',
            'concat("", [other | other := input.others[_]; not other != value]),',
        ),
        (
            'concat("", [other | other := input.others[_]; other != value]),',
            'concat("", [other | other := input.others[_]; other == value]),',
        ),
        ("level(text) = 2 {", "level(text) = 2 { false;"),
        ("level(text) = 2 {", "level(text) = 3 {"),
        ('text == "two" # not "three"', 'true # not "three"'),
        ('text == "two" # not "three"', 'not text == "two" # not "three"'),
        ('text == "two" # not "three"', 'text != "two" # not "three"'),
        ('text == "two" # not "three"', 'text == "mutant" # not "three"'),
        ("} else = 1", "} else = 2"),
        ("} else = 1", "} else = 1 { false }"),
    }


@pytest.mark.timeout(900)
def test_the_suites_notice_every_change() -> None:
    found = mutants.report()

    assert len(found.killed) > 1000
    assert [str(mutant) for mutant in found.survivors] == []
    assert found.stale == ()
