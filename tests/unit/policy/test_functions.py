"""Every function of ARM template expressions: a table of calls and what they yield, another of what they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.dotnet import ROUND_TRIP, format_moment
from controller.policy.expressions import ExpressionError, Scope, evaluate
from controller.policy.functions import FUNCTIONS, as_text, same

if TYPE_CHECKING:
    from controller.jsontypes import Json

NOW = datetime(2026, 3, 5, 17, 4, 9, 120_000, tzinfo=UTC)
PARAMETERS: dict[str, Json] = {
    "pod": {"name": "web", "Labels": {"app": "shop", "tier": 1}, "none": None},
    "other": {"NAME": "db", "labels": {"tier": 2, "new": True}},
    "list": ["a", "B", 3, None, "a", {"k": 1}],
    "numbers": [3, 1, 2],
    "lists": [[1, [2]], [], ["x"]],
    "half": 0.5,
    "one": 1.0,
    "huge": 10**30,
    "smile": "a😀b",
}


def run(call: str) -> Json:
    return evaluate(f"[{call}]", Scope(parameters=PARAMETERS, now=NOW))


VALUES: list[tuple[str, Json]] = [
    # logic
    ("true()", True),
    ("false()", False),
    ("null()", None),
    ("TRUE()", True),
    ("not(false())", True),
    ("and(true(), true(), false())", False),
    ("and(true(), true())", True),
    ("or(false(), true())", True),
    ("or(false(), false())", False),
    ("if(true(), 'a', 'b')", "a"),
    ("if(false(), 'a', 'b')", "b"),
    ("bool('true')", True),
    ("bool('False')", False),
    ("bool(1)", True),
    ("bool(0)", False),
    ("bool(true())", True),
    ("coalesce(null(), parameters('pod').none, 'x', 'y')", "x"),
    ("coalesce(null())", None),
    # comparison
    ("equals('a', 'a')", True),
    ("equals('a', 'A')", False),
    ("equals(1, 1)", True),
    ("equals(1, '1')", False),
    ("equals(1, true())", False),
    ("equals(0, false())", False),
    ("equals(1, parameters('one'))", True),
    ("equals(null(), null())", True),
    ("equals(null(), '')", False),
    ("equals(createArray(1, 'a'), createArray(1, 'a'))", True),
    ("equals(createArray(1, 'a'), createArray('a', 1))", False),
    ("equals(createArray(1), createArray(true()))", False),
    ("equals(createObject('a', 1, 'b', 2), createObject('b', 2, 'a', 1))", True),
    ("equals(createObject('a', 1), createObject('a', 2))", False),
    ("less(1, 2)", True),
    ("less(2, 2)", False),
    ("lessOrEquals(2, 2)", True),
    ("lessOrEquals(3, 2)", False),
    ("greater(2, 1)", True),
    ("greater(2, 2)", False),
    ("greaterOrEquals(2, 2)", True),
    ("greaterOrEquals(1, 2)", False),
    ("less('A', 'a')", True),
    ("greater('b', 'a')", True),
    ("less(parameters('half'), 1)", True),
    # numbers
    ("add(5, 3)", 8),
    ("sub(5, 8)", -3),
    ("mul(5, -3)", -15),
    ("div(7, 2)", 3),
    ("div(-7, 2)", -3),
    ("div(7, -2)", -3),
    ("mod(7, 3)", 1),
    ("mod(-7, 3)", -1),
    ("mod(7, -3)", 1),
    ("int('42')", 42),
    ("int('-42')", -42),
    ("int(42)", 42),
    ("float('3.5')", 3.5),
    ("float('1e3')", 1000.0),
    ("float(3)", 3.0),
    ("min(3, 1, 2)", 1),
    ("max(3, 1, 2)", 3),
    ("min(parameters('numbers'))", 1),
    ("max(parameters('numbers'))", 3),
    ("range(5, 3)", [5, 6, 7]),
    ("range(5, 0)", []),
    # strings
    ("concat('a', 'b', 'c')", "abc"),
    ("concat('a', 1, true(), null())", "a1True"),
    ("concat(createArray(1), createArray('b', 2))", [1, "b", 2]),
    ("string(5)", "5"),
    ("string('x')", "x"),
    ("string(true())", "True"),
    ("string(null())", ""),
    ("string(parameters('half'))", "0.5"),
    ("string(parameters('numbers'))", "[3,1,2]"),
    ("string(createObject('a', 'é', 'b', true()))", '{"a":"é","b":true}'),
    ("toLower('AbC')", "abc"),
    ("toUpper('AbC')", "ABC"),
    ("toUpper('straße')", "STRAßE"),
    ("toLower('ÀÉ')", "àé"),
    ("trim('  a b\t')", "a b"),
    ("startsWith('abcDef', 'AB')", True),
    ("startsWith('abcDef', 'b')", False),
    ("endsWith('abcDef', 'DEF')", True),
    ("endsWith('abcDef', 'e')", False),
    ("startsWith('a', '')", True),
    ("replace('123-123', '-', '')", "123123"),
    ("replace('aAa', 'a', 'bb')", "bbAbb"),
    ("split('one,two,,three', ',')", ["one", "two", "", "three"]),
    ("split('one;two,three', createArray(',', ';'))", ["one", "two", "three"]),
    ("split('a.b', '')", ["a.b"]),
    ("split('a.b', createArray('', '.'))", ["a", "b"]),
    ("split('', ',')", [""]),
    ("split('a.b|c', '.')", ["a", "b|c"]),
    ("join(createArray('a', 'b', 1), ', ')", "a, b, 1"),
    ("join(createArray(), ', ')", ""),
    ("substring('abcdef', 2)", "cdef"),
    ("substring('abcdef', 2, 3)", "cde"),
    ("substring('abc', 3)", ""),
    ("substring(parameters('smile'), 3, 1)", "b"),
    ("substring(parameters('smile'), 1, 2)", "😀"),
    ("padLeft('12', 5, '0')", "00012"),
    ("padLeft(12, 4)", "  12"),
    ("padLeft('12345', 3, '0')", "12345"),
    ("indexOf('test', 't')", 0),
    ("indexOf('abcdef', 'CD')", 2),
    ("indexOf('abcdef', 'z')", -1),
    ("indexOf(parameters('smile'), 'B')", 3),
    ("lastIndexOf('test', 'T')", 3),
    ("lastIndexOf('abcdef', 'z')", -1),
    ("indexOf(parameters('list'), 'a')", 0),
    ("indexOf(parameters('list'), 'b')", -1),
    ("lastIndexOf(parameters('list'), 'a')", 4),
    ("lastIndexOf(parameters('list'), 'z')", -1),
    ("format('{0}, {1}. {2:N0}', 'Hello', 'User', 8175133)", "Hello, User. 8,175,133"),
    ("format('{{{0}}}', 'a')", "{a}"),
    ("format('{0,4}|{0,-4}|', 'ab')", "  ab|ab  |"),
    ("format('{0:D5} {0:000} {0:X} {0:x4} {0:G} {0}', 42)", "00042 042 2A 002a 42 42"),
    ("format('{0:X}', -1)", "FFFFFFFFFFFFFFFF"),
    ("format('{0:D3}', -5)", "-005"),
    ("format('{0:F0} {0:F2} {0:N} {0:P0}', parameters('half'))", "1 0.50 0.50 50 %"),
    ("format('{0:N2}', -1234567)", "-1,234,567.00"),
    ("format('{0} {1} {2}', true(), null(), createArray(1))", "True  [1]"),
    ("format('{0:N2}', 'text')", "text"),
    ("format('plain')", "plain"),
    # encodings
    ("base64('one, two')", "b25lLCB0d28="),
    ("base64ToString('b25lLCB0d28=')", "one, two"),
    ("base64ToString(base64('é😀'))", "é😀"),
    ("base64ToJson('eyJhIjogMX0=').a", 1),
    ("json('{\"a\": [1, 2.5, null, true]}')", {"a": [1, 2.5, None, True]}),
    ("json('null')", None),
    ("json('\"x\"')", "x"),
    ("dataUri('Hello')", "data:text/plain;charset=utf8;base64,SGVsbG8="),
    ("dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')", "Hello, World!"),
    ("dataUriToString('data:text/plain,a%20b')", "a b"),
    ("dataUriToString(dataUri('é'))", "é"),
    ("uri('http://contoso.org/firstpath', 'myscript.sh')", "http://contoso.org/myscript.sh"),
    ("uri('http://contoso.org/firstpath/', 'myscript.sh')", "http://contoso.org/firstpath/myscript.sh"),
    ("uri('http://contoso.org', 'a/b')", "http://contoso.org/a/b"),
    ("uriComponent('http://contoso.com/a b_-.~')", "http%3A%2F%2Fcontoso.com%2Fa%20b_-.~"),
    ("uriComponentToString('a%20b%C3%A9')", "a bé"),
    # arrays and objects
    ("array('a')", ["a"]),
    ("array(createArray('a'))", ["a"]),
    ("createArray()", []),
    ("createArray(1, 'a', createArray())", [1, "a", []]),
    ("createObject()", {}),
    ("createObject('a', 1, 'b', createArray())", {"a": 1, "b": []}),
    ("length('abc')", 3),
    ("length(parameters('smile'))", 4),
    ("length(parameters('list'))", 6),
    ("length(parameters('pod'))", 3),
    ("empty('')", True),
    ("empty(createArray())", True),
    ("empty(createObject())", True),
    ("empty(null())", True),
    ("empty(' ')", False),
    ("empty(createArray(null()))", False),
    ("first('abc')", "a"),
    ("first(parameters('numbers'))", 3),
    ("first(createArray())", None),
    ("first('')", ""),
    ("last('abc')", "c"),
    ("last(parameters('numbers'))", 2),
    ("last(createArray())", None),
    ("last('')", ""),
    ("take('abc', 2)", "ab"),
    ("take('abc', 9)", "abc"),
    ("take('abc', -1)", ""),
    ("take(parameters('numbers'), 2)", [3, 1]),
    ("take(parameters('numbers'), -1)", []),
    ("skip('abc', 1)", "bc"),
    ("skip('abc', 9)", ""),
    ("skip('abc', -1)", "abc"),
    ("skip(parameters('numbers'), 1)", [1, 2]),
    ("contains('abc', 'b')", True),
    ("contains('abc', 'B')", False),
    ("contains('a1', 1)", True),
    ("contains(parameters('list'), 'B')", True),
    ("contains(parameters('list'), 'b')", False),
    ("contains(parameters('list'), '3')", False),
    ("contains(parameters('list'), createObject('k', 1))", True),
    ("contains(parameters('pod'), 'NAME')", True),
    ("contains(parameters('pod'), 'nope')", False),
    ("indexFromEnd(parameters('numbers'), 1)", 2),
    ("tryIndexFromEnd(parameters('numbers'), 3)", 3),
    ("tryIndexFromEnd(parameters('numbers'), 4)", None),
    ("tryGet(parameters('pod'), 'labels', 'APP')", "shop"),
    ("tryGet(parameters('pod'), 'nope', 'app')", None),
    ("tryGet(parameters('numbers'), 1)", 1),
    ("tryGet(parameters('numbers'), 9)", None),
    ("flatten(parameters('lists'))", [1, [2], "x"]),
    ("items(createObject('b', 2, 'A', 1))", [{"key": "A", "value": 1}, {"key": "b", "value": 2}]),
    ("objectKeys(createObject('b', 2, 'a', 1))", ["b", "a"]),
    ("union(createArray(1, 'a'), createArray('A', 'a', true(), 1))", [1, "a", "A", True]),
    (
        "union(parameters('pod'), parameters('other'))",
        {"name": "db", "Labels": {"app": "shop", "tier": 2, "new": True}, "none": None},
    ),
    ("intersection(createArray(1, 'a', 2, 1), createArray(2, 1), createArray(1, true(), 2))", [1, 2]),
    ("intersection(createObject('a', 1, 'b', 2), createObject('A', 1, 'b', 3))", {"a": 1}),
    ("shallowMerge(createArray(createObject('a', createObject('x', 1)), createObject('A', 2)))", {"a": 2}),
    # networks
    (
        "parseCidr('10.144.0.0/20')",
        {
            "network": "10.144.0.0",
            "netmask": "255.255.240.0",
            "broadcast": "10.144.15.255",
            "firstUsable": "10.144.0.1",
            "lastUsable": "10.144.15.254",
            "cidr": 20,
        },
    ),
    ("parseCidr('10.0.0.7/32').lastUsable", "10.0.0.7"),
    ("contains(parseCidr('fd00:1::/32'), 'broadcast')", False),
    ("parseCidr('fd00:1::/32').firstUsable", "fd00:1::"),
    ("cidrSubnet('10.144.0.0/20', 24, 0)", "10.144.0.0/24"),
    ("cidrSubnet('10.144.0.0/20', 24, 15)", "10.144.15.0/24"),
    ("cidrSubnet('fdad:3236:5555::/48', 52, 1)", "fdad:3236:5555:1000::/52"),
    ("cidrHost('10.144.3.0/24', 0)", "10.144.3.1"),
    ("cidrHost('10.144.3.0/24', 253)", "10.144.3.254"),
    ("cidrHost('fdad:3236:5555:3000::/52', 0)", "fdad:3236:5555:3000::1"),
    ("ipRangeContains('10.0.0.0/8', '10.1.0.0/16')", True),
    ("ipRangeContains('10.1.0.0/16', '10.0.0.0/8')", False),
    ("ipRangeContains('10.0.0.0/8', '10.1.2.3')", True),
    ("ipRangeContains('192.168.0.1-192.168.0.9', '192.168.0.2-192.168.0.9')", True),
    ("ipRangeContains('192.168.0.1-192.168.0.9', '192.168.0.2-192.168.0.10')", False),
    ("ipRangeContains('2001:db8::/32', '2001:0DB8::3:FFFE')", True),
    # dates
    ("addDays('2026-02-27T23:59:59Z', 2)", "2026-03-01T23:59:59.0000000Z"),
    ("addDays('2026-03-01T00:00:00.1234567Z', -1)", "2026-02-28T00:00:00.1234567Z"),
    ("addDays(utcNow(), 1)", "2026-03-06T17:04:09.1200000Z"),
    ("utcNow()", "2026-03-05T17:04:09.1200000Z"),
    ("utcNow('d')", "03/05/2026"),
    ("utcNow('M d')", "3 5"),
    ("utcNow('yyyyMMddTHHmmssZ')", "20260305T170409Z"),
    ("utcNow('D')", "Thursday, 05 March 2026"),
    ("utcNow('R')", "Thu, 05 Mar 2026 17:04:09 GMT"),
    ("utcNow('o')", "2026-03-05T17:04:09.1200000Z"),
    ("utcNow('')", "03/05/2026 17:04:09"),
    ("utcNow('%d')", "5"),
    ("utcNow('h:m:s t tt y yy yyyyy K z zz zzz')", "5:4:9 P PM 26 26 02026 Z +0 +00 +00:00"),
    ("utcNow('ddd dddddd MMM MMMMM hh gg')", "Thu Thursday Mar March 05 A.D."),
    ("utcNow('ss.fff ss.FFF ss.F \"at\" ''dd'' \\d')", "09.120 09.12 09.1 at dd d"),
]


@pytest.mark.parametrize(("call", "expected"), VALUES, ids=[call for call, _ in VALUES])
def test_call_yields(call: str, expected: Json) -> None:
    result = run(call)

    assert result == expected
    assert type(result) is type(expected)


REFUSALS: list[tuple[str, str]] = [
    ("bool('yes')", "neither 'true' nor 'false'"),
    ("less('a', 1)", "cannot compare a string with an integer"),
    ("less(null(), 1)", "is null"),
    ("add(9223372036854775807, 1)", "64 bits"),
    ("mul(9223372036854775807, 9223372036854775807)", "64 bits"),
    ("div(-9223372036854775808, -1)", "64 bits"),
    ("div(1, 0)", "division by zero"),
    ("mod(1, 0)", "division by zero"),
    ("add(parameters('half'), 1)", "must be an integer, is a number"),
    ("int('4.2')", "not an integer"),
    ("int('')", "not an integer"),
    ("int('99999999999999999999')", "not an integer"),
    ("int(parameters('huge'))", "64 bits"),
    ("int(true())", "is a boolean"),
    ("float('x')", "not a number"),
    ("float('nan')", "not a number"),
    ("float('1e999')", "too large"),
    ("min('a')", "must be an integer or an array"),
    ("min(createArray())", "not empty"),
    ("max(createArray('a'))", "array of integers"),
    ("max(createArray(1), 2)", "or one array of integers"),
    ("range(0, 10001)", "not from 0 to 10,000"),
    ("range(0, -1)", "not from 0 to 10,000"),
    ("range(2147483647, 1)", "more than 2,147,483,647"),
    ("concat('a', createArray())", "cannot join an array and a string"),
    ("concat(createObject())", "is an object"),
    ("replace('a', '', 'b')", "is empty"),
    ("split('a', createArray(1))", "array of strings"),
    ("join(createArray(createArray()), ',')", "an array is not text"),
    ("substring('abc', 2, 2)", "length 3"),
    ("substring('abc', 4)", "length 3"),
    ("substring('abc', -1)", "length 3"),
    ("substring('abc', 1, -1)", "length 3"),
    ("substring(parameters('smile'), 2)", "cut a character in two"),
    ("padLeft('a', 5, 'xy')", "one character"),
    ("padLeft('a', -1)", "is -1"),
    ("indexOf('a', 1)", "must be a string"),
    ("format('{0} {1}', 'a')", "asks for {1}, but there are 1"),
    ("format('{')", "stray brace at character 1"),
    ("format('a}')", "stray brace at character 2"),
    ("format('{x}', 1)", "stray brace"),
    ("format('{0:C}', 1)", "'C' is not known for an integer"),
    ("format('{0:D2}', parameters('half'))", "'D2' is not known for a number"),
    ("format('{0:#,##0}', 1)", "is not known"),
    ("base64ToString('%')", "not base64"),
    ("base64ToString('/w==')", "not base64 of UTF-8"),
    ("json('{''a'': 1}')", "not JSON"),
    ("json('')", "not JSON"),
    ("json('NaN')", "not JSON"),
    ("json('1e999')", "too large"),
    ("json('99999999999999999999')", "not an integer of 64 bits"),
    ("dataUriToString('x')", "not a data URI"),
    ("uri('contoso', 'x')", "not an absolute URI"),
    ("uri('http://[', 'x')", "not an absolute URI"),
    ("uriComponentToString('%FF')", "not percent-encoded UTF-8"),
    ("createObject('a')", "in pairs"),
    ("createObject(1, 2)", "a key must be a string"),
    ("empty(1)", "is an integer"),
    ("contains(1, 1)", "is an integer"),
    ("contains('a', createArray())", "an array is not text"),
    ("indexFromEnd(parameters('numbers'), 0)", "has length 3"),
    ("indexFromEnd(parameters('numbers'), 4)", "has length 3"),
    ("tryGet(parameters('numbers'), 'a')", "an array has no property 'a'"),
    ("tryGet('a', 0)", "a string has no index 0"),
    ("flatten(createArray(1))", "array of arrays"),
    ("union(createArray(), createObject())", "not both"),
    ("intersection('a', 'b')", "must be an array or an object"),
    ("shallowMerge(createArray(1))", "array of objects"),
    ("parseCidr('10.0.0.0')", "not a network"),
    ("parseCidr('10.0.0.0/33')", "not a network"),
    ("parseCidr('10.0.0.0/255.0.0.0')", "not a network"),
    ("cidrSubnet('10.0.0.0/24', 23, 0)", "not from 24 to 32"),
    ("cidrSubnet('10.0.0.0/24', 25, 2)", "no subnet number 2"),
    ("cidrSubnet('10.0.0.0/24', 25, -1)", "no subnet number -1"),
    ("cidrHost('10.0.0.0/24', 254)", "no host number 254"),
    ("cidrHost('10.0.0.0/24', -1)", "no host number -1"),
    ("ipRangeContains('10.0.0.0/8', '::1')", "cannot be mixed"),
    ("ipRangeContains('10.0.0.9-10.0.0.1', '10.0.0.5')", "empty range"),
    ("ipRangeContains('10.0.0.1-::1', '10.0.0.5')", "empty range"),
    ("ipRangeContains('localhost', '10.0.0.5')", "not an IP address"),
    ("ipRangeContains('fe80::1%eth0', '::1')", "not an IP address"),
    ("addDays('2026-03-01', 1)", "must be a moment"),
    ("addDays('2026-02-30T00:00:00Z', 1)", "not between the years 1 and 9999"),
    ("addDays('2026-02-28T24:30:00Z', 1)", "not between the years 1 and 9999"),
    ("addDays('9999-12-31T00:00:00Z', 1)", "not between the years 1 and 9999"),
    ("addDays('2026-01-01T00:00:00Z', 9223372036854775807)", "not between the years 1 and 9999"),
    ("utcNow('H')", "'H' is not a date format"),
    ("utcNow('yyyy ''MM')", "not a date format"),
    ("utcNow('ffffffff')", "not a date format"),
    ("utcNow('yyyy%')", "not a date format"),
]


@pytest.mark.parametrize(("call", "reason"), REFUSALS, ids=[call for call, _ in REFUSALS])
def test_call_is_refused(call: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        run(call)

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("hour", "expected"), [(0, "12 AM"), (1, "1 AM"), (12, "12 PM"), (13, "1 PM")])
def test_noon_and_midnight_are_twelve(hour: int, expected: str) -> None:
    assert format_moment(NOW.replace(hour=hour), "h tt") == expected


def test_a_moment_of_another_zone_is_written_in_utc() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))

    assert format_moment(there, ROUND_TRIP) == "2026-03-05T17:04:09.1200000Z"


def test_every_function_has_a_case() -> None:
    called = {call.split("(")[0].lower() for call, _ in VALUES}

    assert FUNCTIONS.keys() - called == set()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=10,
)


@given(JSON, JSON)
def test_two_values_are_the_same_exactly_if_their_types_and_json_are(left: Json, right: Json) -> None:
    def plain(value: Json) -> str:
        def whole(number: Json) -> Json:
            match number:
                case float() if number.is_integer():
                    return int(number)
                case list():
                    return [whole(one) for one in number]
                case dict():
                    return {key: whole(one) for key, one in number.items()}
                case _:
                    return number

        return json.dumps(whole(value), sort_keys=True)

    assert same(left, right) == (plain(left) == plain(right))
    assert same(left, json.loads(json.dumps(left)))


@given(st.lists(JSON, max_size=5), st.lists(JSON, max_size=5))
def test_union_and_intersection_share_every_value_out_once(left: list[Json], right: list[Json]) -> None:
    scope = Scope(parameters={"left": left, "right": right}, now=NOW)
    union = evaluate("[union(parameters('left'), parameters('right'))]", scope)
    common = evaluate("[intersection(parameters('left'), parameters('right'))]", scope)

    assert isinstance(union, list)
    assert isinstance(common, list)
    for value in [*left, *right]:
        assert sum(same(value, one) for one in union) == 1
        both = any(same(value, one) for one in left) and any(same(value, one) for one in right)
        assert sum(same(value, one) for one in common) == both


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 40))
def test_take_and_skip_together_are_the_text_or_would_cut_a_character(text: str, count: int) -> None:
    scope = Scope(parameters={"text": text, "count": count}, now=NOW)
    call = "[concat(take(parameters('text'), parameters('count')), skip(parameters('text'), parameters('count')))]"

    try:
        assert evaluate(call, scope) == text
    except ExpressionError as error:
        assert "cut a character" in error.reason  # noqa: PT017 - only some texts have such a place
        assert not all(one <= "\uffff" for one in text)


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(JSON, max_size=4))
def test_any_arguments_give_a_value_or_an_expression_error(name: str, values: list[Json]) -> None:
    parameters = {f"p{index}": value for index, value in enumerate(values)}
    arguments = ", ".join(f"parameters('{parameter}')" for parameter in parameters)
    text = f"[{name}({arguments})]"

    try:
        evaluate(text, Scope(parameters=parameters, now=NOW))
    except ExpressionError as error:
        assert error.position == 2  # noqa: PT017 - the call itself is to blame


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31).filter(bool))
def test_quotient_and_remainder_make_the_dividend(dividend: int, divisor: int) -> None:
    scope = Scope(parameters={"a": dividend, "b": divisor}, now=NOW)
    call = "[add(mul(div(parameters('a'), parameters('b')), parameters('b')), mod(parameters('a'), parameters('b')))]"

    if (dividend, divisor) != (-(2**63), -1):
        assert evaluate(call, scope) == dividend


@given(st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=3))
def test_string_and_json_are_each_others_inverse(value: dict[str, int]) -> None:
    as_json: dict[str, Json] = dict(value)

    assert json.loads(as_text(as_json)) == value
