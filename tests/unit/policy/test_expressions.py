"""The grammar of ARM template expressions, where they are evaluated in a document, and what errors say."""

from __future__ import annotations

import json
import timeit
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.policy.expressions import (
    ExpressionError,
    Scope,
    evaluate,
    is_expression,
    parameter_names,
    parse,
)
from controller.policy.grammar import Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.jsontypes import Json

AZURE_POLICY = Path(__file__).parents[4] / "shared" / "azure-policy"
NOW = datetime(2026, 3, 5, 17, 4, 9, 120_000, tzinfo=UTC)


def make_scope(parameters: Mapping[str, Json] | None = None) -> Scope:
    return Scope(parameters=parameters or {}, now=NOW)


PARAMETERS: Mapping[str, Json] = {
    "effect": "Deny",
    "ranges": {"rule": "MustRunAs", "Ranges": [{"min": 1, "max": 2}]},
    "nothing": None,
    "text": "[parameters('effect')]",
    "a-b": 7,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", "plain", id="a text without brackets stays"),
        pytest.param("", "", id="an empty text stays"),
        pytest.param("[", "[", id="a lone bracket stays"),
        pytest.param("[Preview]: pods", "[Preview]: pods", id="a text that only starts with a bracket stays"),
        pytest.param("x[0]", "x[0]", id="a text that only ends with a bracket stays"),
        pytest.param(" [true()]", " [true()]", id="a space before the bracket makes it a text"),
        pytest.param("[[x]", "[x]", id="a doubled bracket stands for the literal one"),
        pytest.param("[[[x]]", "[[x]]", id="only one of the brackets is dropped"),
        pytest.param("[[x", "[[x", id="a doubled bracket without an end stays"),
        pytest.param("[[]", "[]", id="an empty pair of brackets can be escaped"),
        pytest.param("['it''s']", "it's", id="two quotes in a string are one"),
        pytest.param("['']", "", id="a string may be empty"),
        pytest.param("['a\nb\0']", "a\nb\0", id="a string holds any character"),
        pytest.param("[42]", 42, id="an integer"),
        pytest.param("[-42]", -42, id="a negative integer"),
        pytest.param("[+42]", 42, id="an integer with a plus"),
        pytest.param("[-9223372036854775808]", -(2**63), id="the smallest integer"),
        pytest.param("[ \tconcat ( 'a' ,\r\n 'b' ) ]", "ab", id="white space between the parts is free"),
        pytest.param("[PARAMETERS('EFFECT')]", "Deny", id="names of functions and parameters in any case"),
        pytest.param("[parameters('a-b')]", 7, id="a parameter name with a hyphen"),
        pytest.param("[parameters(concat('eff', 'ect'))]", "Deny", id="a parameter by a computed name"),
        pytest.param("[parameters('nothing')]", None, id="a parameter that is null has a value"),
        pytest.param("[parameters('ranges').rule]", "MustRunAs", id="a property"),
        pytest.param("[parameters('ranges').RULE]", "MustRunAs", id="a property in another case"),
        pytest.param("[parameters('ranges')['rule']]", "MustRunAs", id="a property in brackets"),
        pytest.param("[parameters('ranges').ranges[0].max]", 2, id="a walk through objects and arrays"),
        pytest.param("[parameters('ranges').ranges[sub(1, 1)].min]", 1, id="a computed index"),
        pytest.param("[parameters('ranges').?nope]", None, id="a safe step to a property that is not there"),
        pytest.param(
            "[parameters('ranges').?nope.further[0]]", None, id="a safe step that finds nothing ends the walk"
        ),
        pytest.param("[parameters('nothing').?x]", None, id="a safe step into null"),
        pytest.param("[parameters('ranges').ranges[?9]]", None, id="a safe index outside the array"),
        pytest.param(
            "[parameters('text')]", "[parameters('effect')]", id="what a parameter holds is not evaluated again"
        ),
    ],
)
def test_text_is_evaluated(text: str, expected: Json) -> None:
    assert evaluate(text, make_scope(PARAMETERS)) == expected


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        pytest.param("[]", "empty", 1, id="nothing between the brackets"),
        pytest.param("[  ]", "empty", 1, id="only white space between the brackets"),
        pytest.param("[concat('a']", "expected ')', found the end", 12, id="a call that is never closed"),
        pytest.param("[concat('a',)]", "found ')'", 13, id="a comma too many"),
        pytest.param("[concat('a' 'b')]", "expected ')', found ''b''", 13, id="a comma missing"),
        pytest.param(
            "[concat('a'))]", "expected the end of the expression, found ')'", 13, id="a closing bracket too many"
        ),
        pytest.param("[concat('a)]", "never closed", 9, id="a string that is never closed"),
        pytest.param("[parameters]", "expected '('", 12, id="a name that is not called"),
        pytest.param("[parameters('ranges').]", "the name of a property", 23, id="a dot without a name"),
        pytest.param("[parameters('ranges')[0]", "expected ']', found the end", 24, id="an index that is never closed"),
        pytest.param("[parameters('ranges')[]]", "found ']'", 23, id="an index without a value"),
        pytest.param('["a"]', "unexpected character '\"'", 2, id="double quotes"),
        pytest.param("[concat('a', \0)]", "unexpected character '\\x00'", 14, id="a null character"),
        pytest.param("[12x]", "only integers", 2, id="letters after digits"),
        pytest.param("[1.5]", "found '.'", 3, id="a fraction"),
        pytest.param("[- 1]", "only integers", 2, id="a sign without digits"),
        pytest.param("[9223372036854775808]", "64 bits", 2, id="an integer of 65 bits"),
        pytest.param(f"[{'9' * 50_000}]", "64 bits", 2, id="an endless integer"),
        pytest.param("['a'.length]", "expected the end", 5, id="a property of a literal"),
        pytest.param("[parameters('nope')]", "parameter 'nope' has no value", 2, id="a parameter without a value"),
        pytest.param("[concat('a', parameters('nope'))]", "parameter 'nope'", 14, id="the inner call is blamed"),
        pytest.param("[parameters(concat('no', 'pe'))]", "'nope'", 2, id="a computed parameter without a value"),
        pytest.param("[parameters(1)]", "argument 1 must be a string, is an integer", 2, id="a parameter by number"),
        pytest.param("[parameters()]", "takes 1 argument, has 0", 2, id="a parameter without a name"),
        pytest.param(
            "[parameters('ranges').nope]", "no property 'nope'; there is: rule, Ranges", 22, id="a missing property"
        ),
        pytest.param("[parameters('effect').x]", "a string has no property 'x'", 22, id="a property of a string"),
        pytest.param("[parameters('nothing').x]", "null has no property 'x'", 23, id="a property of null"),
        pytest.param("[parameters('effect').?x]", "a string has no property 'x'", 22, id="a safe property of a string"),
        pytest.param("[parameters('ranges').ranges[1]]", "has length 1", 29, id="an index outside the array"),
        pytest.param("[parameters('ranges').ranges[-1]]", "has length 1", 29, id="a negative index"),
        pytest.param("[parameters('ranges')[0]]", "an object has no index 0", 22, id="an index into an object"),
        pytest.param(
            "[parameters('ranges').ranges['0']]", "an array has no property '0'", 29, id="a name into an array"
        ),
        pytest.param(
            "[add(1, nope('x'))]", "nope(): is not a function that azpolicy knows", 9, id="an unknown function"
        ),
        pytest.param("[if(true(), 1, nope())]", "nope()", 16, id="an unknown function in the branch not taken"),
        pytest.param("[add(1)]", "add(): takes 2 arguments, has 1", 2, id="too few arguments"),
        pytest.param("[add(1, 2, 3)]", "add(): takes 2 arguments, has 3", 2, id="too many arguments"),
        pytest.param("[if(true(), 1)]", "if(): takes 3 arguments, has 2", 2, id="a condition without an otherwise"),
        pytest.param("[and(true())]", "and(): takes at least 2 arguments", 2, id="a conjunction of one"),
        pytest.param("[substring('a')]", "takes 2 to 3 arguments, has 1", 2, id="too few where some are optional"),
        pytest.param("[add(1, '2')]", "argument 2 must be an integer, is a string", 2, id="a string for an integer"),
        pytest.param("[add(1, true())]", "is a boolean", 2, id="a boolean for an integer"),
        pytest.param(
            "[length(1)]", "must be a string or an array or an object", 2, id="every type that would do is named"
        ),
        pytest.param(
            "[if('true', 1, 2)]", "argument 1 must be a boolean, is a string", 2, id="a string as a condition"
        ),
        pytest.param(
            "[or(false(), 1)]", "argument 2 must be a boolean, is an integer", 2, id="an integer as an operand"
        ),
    ],
)
def test_a_bad_expression_says_what_and_where(text: str, reason: str, position: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, make_scope(PARAMETERS))

    assert reason in str(caught.value)
    assert (caught.value.position, caught.value.expression) == (position, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name",
    [
        *("copyIndex", "dateTimeAdd", "dateTimeFromEpoch", "dateTimeToEpoch", "deployment", "environment"),
        *("extensionResourceId", "lambda", "listKeys", "listAccountSas", "managementGroup", "newGuid", "pickZones"),
        *("providers", "reference", "resourceId", "subscriptionResourceId", "tenantResourceId", "tenant", "variables"),
    ],
)
def test_a_function_that_policy_rules_may_not_use_is_refused_by_name(name: str) -> None:
    with pytest.raises(ExpressionError, match=rf"{name}\(\): may not be used in policy rules"):
        evaluate(f"[{name}('x')]", make_scope())


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("map(createArray(1), 2)", r"map\(\): needs lambda\(\)"),
        ("uniqueString('a')", r"uniqueString\(\): can only be evaluated by Azure"),
        ("guid('a')", r"guid\(\): can only be evaluated by Azure"),
        ("field('location')", r"field\(\): has no resource here"),
        ("current()", r"current\(\): belongs in the 'where' of a count"),
        ("requestContext().apiVersion", r"requestContext\(\): can only be evaluated in Azure"),
        ("policy().assignmentId", r"policy\(\): can only be evaluated in Azure"),
    ],
)
def test_what_cannot_be_known_here_is_an_error_not_a_guess(call: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        evaluate(f"[{call}]", make_scope())


def test_functions_of_the_scope_answer_what_they_are_given() -> None:
    scope = Scope(
        parameters={},
        now=NOW,
        field=lambda name: f"field {name}",
        current=lambda name: f"current {name}",
        policy={"assignmentId": "/assignment"},
        request_context={"apiVersion": "2026-01-01"},
        resource_group={"location": "westeurope"},
        subscription={"subscriptionId": "1"},
    )
    calls: dict[str, Json] = {
        "[field('location')]": "field location",
        "[current()]": "current None",
        "[current('x')]": "current x",
        "[policy().assignmentId]": "/assignment",
        "[requestContext().apiVersion]": "2026-01-01",
        "[resourceGroup().location]": "westeurope",
        "[subscription().subscriptionId]": "1",
        "[utcNow()]": "2026-03-05T17:04:09.1200000Z",
    }

    assert {text: evaluate(text, scope) for text in calls} == calls


def test_expressions_are_found_at_any_depth_and_all_else_stays() -> None:
    value: Json = {
        "a": ["[parameters('x')]", {"b": "[add(parameters('x'), 1)]", "c": "text"}, 1.5, None, True],
        "[concat('k', string(parameters('x')))]": "[[x]",
    }

    assert evaluate(value, make_scope({"x": 1})) == {"a": [1, {"b": 2, "c": "text"}, 1.5, None, True], "k1": "[x]"}


def test_the_document_that_is_evaluated_is_not_changed() -> None:
    value: Json = {"a": ["[parameters('x')]"]}

    evaluate(value, make_scope({"x": 1}))

    assert value == {"a": ["[parameters('x')]"]}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("[nope()]", "details.values"),
        ({"imageRegex": "[nope()]"}, "details.values.imageRegex"),
        ({"ports": [1, "[nope()]"]}, "details.values.ports[1]"),
        ([[{"x": "[nope()]"}]], "details.values[0][0].x"),
        ({"a.b": {"c": "[nope()]"}}, "details.values['a.b'].c"),
        ({"[nope()]": 1}, "details.values['[nope()]']"),
    ],
)
def test_an_error_names_the_place_in_the_document(value: Json, path: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(value, make_scope(), path="details.values")

    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: nope(): ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param({"[add(1, 1)]": 1}, "a key must be a string, is an integer", id="a key that is no string"),
        pytest.param({"[concat('a')]": 1, "a": 2}, "the key 'a' appears twice", id="a key already written"),
        pytest.param({"[concat('a')]": 1, "[trim('a')]": 2}, "the key 'a' appears twice", id="a key evaluated twice"),
    ],
)
def test_an_evaluated_key_must_be_one_string(value: Json, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        evaluate(value, make_scope())


def test_the_branch_not_taken_is_not_evaluated() -> None:
    text = "[if(and(false(), equals(div(1, 0), 1)), div(1, 0), coalesce(null(), 'x', string(div(1, 0))))]"

    assert evaluate(text, make_scope()) == "x"


def test_a_depth_of_64_is_read_and_65_refused() -> None:
    def nested(depth: int) -> str:
        return f"[{'trim(' * (depth - 1)}'x'{')' * (depth - 1)}]"

    assert evaluate(nested(64), make_scope()) == "x"
    with pytest.raises(ExpressionError, match="deeper than Azure's 64 levels"):
        evaluate(nested(65), make_scope())
    with pytest.raises(ExpressionError, match="deeper than Azure's 64 levels"):
        parse(nested(10_000))


def test_81920_characters_are_read_and_one_more_refused() -> None:
    def long(length: int) -> str:
        return f"['{'x' * (length - 4)}']"

    assert evaluate(long(81_920), make_scope()) == "x" * 81_916
    with pytest.raises(ExpressionError, match="81,921 characters, more than Azure's 81,920"):
        evaluate(long(81_921), make_scope())


def test_2048_calls_are_read_and_one_more_refused() -> None:
    def calls(count: int) -> str:
        return f"[createArray({','.join(['true()'] * (count - 1))})]"

    assert evaluate(calls(2_048), make_scope()) == [True] * 2_047
    with pytest.raises(ExpressionError, match="more function calls than Azure's 2,048"):
        evaluate(calls(2_049), make_scope())


def test_a_long_walk_is_no_deep_one() -> None:
    value: Json = 1
    for _ in range(200):
        value = {"a": value}

    assert evaluate(f"[parameters('x'){'.a' * 200}]", make_scope({"x": value})) == 1


def test_a_document_nested_without_end_is_an_error() -> None:
    value: Json = "x"
    for _ in range(100_000):
        value = [value]

    with pytest.raises(ExpressionError, match=r"^here: nested too deeply"):
        evaluate(value, make_scope(), path="here")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("replace({}, 'a', 'aaaaaaaaaa')", id="replace"),
        pytest.param("format('{{0}}{{0}}{{0}}{{0}}', {})", id="format"),
        pytest.param("join(range(0, 10000), padLeft({}, 1000))", id="join"),
        pytest.param("padLeft({}, 2000000000)", id="padLeft"),
        pytest.param("string(createArray({}))", id="string"),
    ],
)
def test_nested_calls_cannot_multiply_without_end(call: str) -> None:
    text = "'\"a'"
    for _ in range(30):
        text = call.replace("{}", text, 1).replace("{{", "{").replace("}}", "}")

    with pytest.raises(ExpressionError, match="more than 4,194,304 characters"):
        evaluate(f"[{text}]", make_scope())


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("replace(parameters('big'), 'a', parameters('big'))", id="replace"),
        pytest.param(f"format('{'{0}' * 20_000}', parameters('big'))", id="format"),
        pytest.param("join(split(parameters('big'), 'a'), parameters('big'))", id="join"),
        pytest.param("concat(parameters('big'), parameters('big'), parameters('big'))", id="concat"),
    ],
)
def test_a_result_that_no_memory_could_hold_is_refused_before_it_is_made(call: str) -> None:
    with pytest.raises(ExpressionError, match="more than 4,194,304 characters"):
        evaluate(f"[{call}]", make_scope({"big": "a" * 2_000_000}))


def test_parameter_names_are_those_that_expressions_refer_to() -> None:
    value: Json = {
        "a": "[if(equals(PARAMETERS('Effect'), 'x'), parameters('one').two[parameters('three')], 1)]",
        "b": ["[parameters('four')]", "[[parameters('five')]", "parameters('six')", 7, None],
        "[parameters('eight')]": "[concat('parameters(''nine'')')]",
    }

    assert parameter_names(value) == {"Effect", "one", "three", "four", "eight"}


def test_parameter_names_of_a_bad_expression_are_an_error() -> None:
    with pytest.raises(ExpressionError, match="never closed"):
        parameter_names({"a": "[parameters('x)]"})


ARGUMENT = st.one_of(
    st.just("parameters('p')"),
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.text(max_size=5).map(lambda text: "'" + text.replace("'", "''") + "'"),
)
CALL = st.recursive(
    ARGUMENT,
    lambda inner: st.builds(
        lambda name, arguments, step: f"{name}({', '.join(arguments)}){step}",
        st.sampled_from(["concat", "if", "add", "union", "createArray", "createObject", "substring", "split", "json"]),
        st.lists(inner, max_size=4),
        st.sampled_from(["", ".a", "[0]", "[?0]"]),
    ),
    max_leaves=12,
)


@given(st.text())
@example("[\0]")
@example("[parameters('x')\ud800]")
@example("[((((((((")
def test_any_text_is_read_or_refused_with_an_expression_error(text: str) -> None:
    for candidate in (text, f"[{text}]"):
        try:
            parse(candidate)
        except ExpressionError as error:
            assert "\n" not in str(error)  # noqa: PT017 - nothing need be raised


@given(st.text(alphabet="()[].,'?0a- \t\n+{}"))
def test_any_mixture_of_marks_is_read_or_refused_with_an_expression_error(text: str) -> None:
    try:
        parse(f"[{text}]")
    except ExpressionError as error:
        assert 0 <= error.position <= len(text) + 2  # noqa: PT017 - nothing need be raised


@given(CALL, st.one_of(st.integers(), st.text(), st.none(), st.floats(allow_nan=False), st.lists(st.integers())))
def test_any_call_yields_a_value_or_an_expression_error(call: str, parameter: Json) -> None:
    try:
        evaluate(f"[{call}]", make_scope({"p": parameter}))
    except ExpressionError as error:
        assert error.reason  # noqa: PT017 - nothing need be raised


@given(st.text())
def test_any_string_survives_as_a_literal(text: str) -> None:
    quoted = text.replace("'", "''")

    assert parse(f"['{quoted}']") == Literal(text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_64_bit_integer_survives_as_a_literal(number: int) -> None:
    assert parse(f"[{number}]") == Literal(number)


@given(st.text())
def test_any_text_in_brackets_can_be_escaped(text: str) -> None:
    escaped = f"[[{text}]"

    assert not is_expression(escaped)
    assert evaluate(escaped, make_scope()) == f"[{text}]"


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text()), st.lists, max_leaves=8))
def test_a_parameter_comes_out_as_it_went_in(value: Json) -> None:
    assert evaluate("[parameters('x')]", make_scope({"x": value})) == value


@pytest.mark.skipif(not AZURE_POLICY.is_dir(), reason="Azure's published definitions are not beside this clone")
def test_every_expression_that_azure_publishes_is_read() -> None:
    found: set[str] = set()

    def collect(value: object) -> None:
        match value:
            case str() if is_expression(value):
                found.add(value)
            case list():
                for item in value:
                    collect(item)
            case dict():
                for item in value.values():
                    collect(item)

    for file in AZURE_POLICY.rglob("*.json"):
        collect(json.loads(file.read_text(encoding="utf-8-sig")))

    assert len(found) > 50
    assert {text for text in found if not parameter_names(text)} == set()


def test_evaluating_a_plain_parameter_is_far_below_ten_microseconds() -> None:
    scope = make_scope(PARAMETERS)
    count = 2_000

    best = min(timeit.repeat(lambda: evaluate("[parameters('effect')]", scope), number=count, repeat=5)) / count

    print(f"one parameter: {best * 1e6:.2f} us")
    assert best < 10e-6
