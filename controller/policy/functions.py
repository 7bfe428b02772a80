"""The functions of ARM template expressions that need nothing but their arguments, as one table at the end.

Each is a plain Python function, checked by its signature (see `signatures`). Case rules are Azure's: `equals`, `less`
and its kin, `replace`, `split`, `contains` of a string and membership in an array are case-sensitive; `startsWith`,
`endsWith`, `indexOf` and `lastIndexOf` of a string and the keys of objects are not. Strings are counted in UTF-16
units, as .NET does.
"""

from __future__ import annotations

import base64 as base64_codec
import binascii
import heapq
import json as json_codec
import math
import re
import urllib.parse
from array import array as machine_array
from datetime import date, time, timedelta
from typing import TYPE_CHECKING

from controller.jsontypes import Json
from controller.policy.addresses import cidr_host, cidr_subnet, ip_range_contains, parse_cidr
from controller.policy.dotnet import format_number, format_text
from controller.policy.grammar import INTEGERS, ExpressionError
from controller.policy.signatures import Function, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

LARGEST_RESULT = 4 * 1024 * 1024
_LONGEST_RANGE = 10_000
_LARGEST_INT32 = 2**31 - 1
_LONGEST_URI = 65_519

_Object = dict[str, Json]
_Array = list[Json]
_Number = int | float
_Scalar = str | int | float | bool | None

# What several functions share.


def check_size(size: int) -> None:
    """ExpressionError for a result too large for any ARM request: nested calls could otherwise multiply without end."""
    if size > LARGEST_RESULT:
        raise ExpressionError(f"the result would have more than {LARGEST_RESULT:,} characters or elements")


def same(left: Json, right: Json) -> bool:
    """Deep equality: strings by case, numbers by value, and no number is a boolean, unlike in Python."""
    return _mark(left) == _mark(right)


def _mark(value: Json) -> Hashable:
    """What two values have in common exactly if they are the same."""
    match value:
        case bool():
            return bool, value
        case list():
            return list, *map(_mark, value)
        case dict():
            return dict, frozenset((key, _mark(item)) for key, item in value.items())
        case _:
            return value


def find_key(container: Mapping[str, Json], name: str) -> str | None:
    """The key as the object spells it: exactly so first, then regardless of case; None if there is none."""
    if name in container:
        return name
    folded = _upper(name)
    return next((key for key in container if _upper(key) == folded), None)


def as_text(value: Json) -> str:
    """The value as `string()` writes it: True and False as .NET does, arrays and objects as compact JSON."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "True" if value else "False"
        case _:
            return json_codec.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _integer(value: int) -> int:
    if value not in INTEGERS:
        raise ExpressionError("the result does not fit in 64 bits")
    return value


def _simple(character: str, changed: str) -> str:
    return changed if len(changed) == 1 else character


def _upper(text: str) -> str:
    """Upper case character by character, as .NET's invariant culture: the length stays, 'ß' too."""
    return text.upper() if text.isascii() else "".join(_simple(one, one.upper()) for one in text)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(_simple(one, one.lower()) for one in text)


def _units(text: str) -> str:
    """The text with each UTF-16 unit as a character of its own."""
    if text.isascii():
        return text
    return "".join(map(chr, machine_array("H", text.encode("utf-16", "surrogatepass")[2:])))


def _joined(units: str) -> str:
    if units.isascii():
        return units
    try:
        return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise ExpressionError("the result would cut a character in two") from error


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ExpressionError("the string contains half of a character") from error


# Logical and comparison.


def _true() -> bool:
    return True


def _false() -> bool:
    return False


def _null() -> None:
    return None


def _not(value: bool) -> bool:
    return not value


def _bool(value: str | int | bool) -> bool:
    match value:
        case bool():
            return value
        case int():
            return value != 0
        case str() if value.strip().lower() in {"true", "false"}:
            return value.strip().lower() == "true"
        case _:
            raise ExpressionError("the string is neither 'true' nor 'false'")


def _ordered(left: _Number | str, right: _Number | str) -> tuple[bool, bool]:
    """Whether left is less, and whether it is equal; strings by their UTF-16 units."""
    match left, right:
        case str(), str():
            return _units(left) < _units(right), left == right
        case ((int() | float()), (int() | float())):
            return left < right, left == right
        case _:
            raise ExpressionError(f"cannot compare {type_name(left)} with {type_name(right)}")


def _less(left: _Number | str, right: _Number | str) -> bool:
    return _ordered(left, right)[0]


def _less_or_equals(left: _Number | str, right: _Number | str) -> bool:
    return any(_ordered(left, right))


def _greater(left: _Number | str, right: _Number | str) -> bool:
    return not any(_ordered(left, right))


def _greater_or_equals(left: _Number | str, right: _Number | str) -> bool:
    return not _ordered(left, right)[0]


# Numbers: 64-bit integers; division and remainder round toward zero.


def _int(value: int | str) -> int:
    if isinstance(value, int):
        return _integer(value)
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", value):
        raise ExpressionError("the string is not an integer of 64 bits")
    return _integer(int(value))


def _float(value: _Number | str) -> float:
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", value):
        raise ExpressionError("the string is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ExpressionError("the number is too large")
    return number


def _add(left: int, right: int) -> int:
    return _integer(left + right)


def _sub(left: int, right: int) -> int:
    return _integer(left - right)


def _mul(left: int, right: int) -> int:
    return _integer(left * right)


def _div(left: int, right: int) -> int:
    if right == 0:
        raise ExpressionError("division by zero")
    quotient = abs(left) // abs(right)
    return _integer(quotient if (left < 0) == (right < 0) else -quotient)


def _mod(left: int, right: int) -> int:
    return left - right * _div(left, right)


def _numbers(first: int | _Array, rest: tuple[int, ...]) -> list[int]:
    """The integers of either form: one array of them, or each an argument."""
    if isinstance(first, int):
        return [first, *rest]
    numbers = [item for item in first if type(item) is int]
    if rest or not numbers or len(numbers) != len(first):
        raise ExpressionError("takes integers, or one array of integers that is not empty")
    return numbers


def _min(first: int | _Array, *rest: int) -> int:
    return min(_numbers(first, rest))


def _max(first: int | _Array, *rest: int) -> int:
    return max(_numbers(first, rest))


def _range(start: int, count: int) -> _Array:
    if not 0 <= count <= _LONGEST_RANGE:
        raise ExpressionError(f"the count is {count}, not from 0 to {_LONGEST_RANGE:,}")
    if start + count > _LARGEST_INT32:
        raise ExpressionError(f"start and count together are more than {_LARGEST_INT32:,}")
    return list(range(start, start + count))


# Strings.


def _string(value: Json) -> str:
    return as_text(value)


def _to_lower(text: str) -> str:
    return _lower(text)


def _to_upper(text: str) -> str:
    return _upper(text)


def _trim(text: str) -> str:
    return text.strip()


def _starts_with(text: str, start: str) -> bool:
    return _upper(text).startswith(_upper(start))


def _ends_with(text: str, end: str) -> bool:
    return _upper(text).endswith(_upper(end))


def _replace(text: str, old: str, new: str) -> str:
    if not old:
        raise ExpressionError("argument 2, the text to replace, is empty")
    check_size(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _split(text: str, delimiter: str | _Array) -> _Array:
    delimiters = delimiter if isinstance(delimiter, list) else [delimiter]
    strings = [one for one in delimiters if isinstance(one, str)]
    if len(strings) != len(delimiters):
        raise ExpressionError("argument 2 must be a string or an array of strings")
    return _pieces(text, [one for one in dict.fromkeys(strings) if one])


def _pieces(text: str, delimiters: Sequence[str]) -> _Array:
    """The text between delimiters; where several begin at one place, the first listed counts, as in .NET.

    Each delimiter is looked for once from end to end: a regular expression would try each at every place.
    """
    coming = [(place, number) for number, one in enumerate(delimiters) if (place := text.find(one)) >= 0]
    heapq.heapify(coming)
    pieces: _Array = []
    start = 0
    while coming:
        place, number = coming[0]
        delimiter = delimiters[number]
        if place >= start:
            pieces.append(text[start:place])
            start = place + len(delimiter)
        following = text.find(delimiter, start)
        if following < 0:
            heapq.heappop(coming)
        else:
            heapq.heapreplace(coming, (following, number))
    return [*pieces, text[start:]]


def _split_cost(text: str, delimiter: str | _Array) -> int:
    """Each delimiter is looked for in the whole text."""
    return len(text) * len(delimiter) if isinstance(delimiter, list) else len(text)


def _join(items: _Array, delimiter: str) -> str:
    texts = [_scalar_text(item) for item in items]
    check_size(sum(map(len, texts)) + len(texts) * len(delimiter))
    return delimiter.join(texts)


def _scalar_text(value: Json) -> str:
    if isinstance(value, list | dict):
        raise ExpressionError(f"{type_name(value)} is not text; use string() on it")
    return as_text(value)


def _substring(text: str, start: int, length: int | None = None) -> str:
    units = _units(text)
    stop = len(units) if length is None else start + length
    if not 0 <= start <= stop <= len(units):
        asked = f"start {start}" if length is None else f"start {start} and length {length}"
        raise ExpressionError(f"{asked} reach outside the string, which has length {len(units)}")
    return _joined(units[start:stop])


def _pad_left(text: str | int, width: int, padding: str = " ") -> str:
    padded = as_text(text)
    if len(_units(padding)) != 1:
        raise ExpressionError("argument 3, the padding, must be one character")
    if width < 0:
        raise ExpressionError(f"argument 2, the width, is {width}")
    check_size(width)
    return padding * (width - len(_units(padded))) + padded


def _index_of(container: str | _Array, item: Json) -> int:
    if isinstance(container, list):
        wanted = _mark(item)
        return next((index for index, one in enumerate(container) if _mark(one) == wanted), -1)
    return _units(_upper(container)).find(_units(_upper(_searched(item))))


def _last_index_of(container: str | _Array, item: Json) -> int:
    if isinstance(container, list):
        wanted = _mark(item)
        return next((index for index in reversed(range(len(container))) if _mark(container[index]) == wanted), -1)
    # Backwards, because str.rfind compares every place in full, while str.find takes linear time on long texts.
    text, part = _units(_upper(container))[::-1], _units(_upper(_searched(item)))[::-1]
    found = text.find(part)
    return found if found < 0 else len(text) - len(part) - found


def _searched(item: Json) -> str:
    if not isinstance(item, str):
        raise ExpressionError(f"argument 2, to be found in a string, must be a string, is {type_name(item)}")
    return item


def _concat(first: _Scalar | _Array, *rest: _Scalar | _Array) -> Json:
    """Arrays to one array, or scalars to one string; never a mixture."""
    parts = (first, *rest)
    arrays = [part for part in parts if isinstance(part, list)]
    if not arrays:
        texts = [as_text(part) for part in parts]
        check_size(sum(map(len, texts)))
        return "".join(texts)
    if len(arrays) != len(parts):
        raise ExpressionError("cannot join an array and a string")
    check_size(sum(map(len, arrays)))
    return [item for part in arrays for item in part]


def _format(template: str, *values: Json) -> str:
    def writer(value: Json) -> Callable[[str], str]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return lambda spec: format_number(value, spec, as_text)
        return lambda _: as_text(value)

    return format_text(template, [writer(value) for value in values], check_size)


# Dates.


def _add_days(moment: str, days: int) -> str:
    """The moment so many days later; only the date changes, so the time keeps all its seven digits."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?Z", moment, re.ASCII)
    if found is None:
        raise ExpressionError("argument 1 must be a moment such as '2026-01-31T00:00:00Z'")
    try:
        time.fromisoformat(found[2])
        day = date.fromisoformat(found[1]) + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise ExpressionError("the result is not between the years 1 and 9999") from error
    return f"{day.isoformat()}T{found[2]}.{found[3] or '':0<7}Z"


# Encodings.


def _base64(text: str) -> str:
    return base64_codec.b64encode(_bytes(text)).decode()


def _base64_to_string(text: str) -> str:
    try:
        return base64_codec.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ExpressionError("the string is not base64 of UTF-8 text") from error


def _base64_to_json(text: str) -> Json:
    return _json(_base64_to_string(text))


def _json(text: str) -> Json:
    """Strict JSON: what .NET accepts beyond it (single quotes, comments) is refused rather than read differently."""
    try:
        value: Json = json_codec.loads(text, parse_constant=_no_constant, parse_int=_int_literal, parse_float=_float)
    except (ValueError, RecursionError) as error:
        raise ExpressionError(f"the string is not JSON: {error}") from error
    return value


def _no_constant(name: str) -> None:
    raise ExpressionError(f"{name} is not JSON")


def _int_literal(digits: str) -> int:
    return _int(digits)


def _data_uri(value: str | _Number | bool) -> str:
    return f"data:text/plain;charset=utf8;base64,{_base64(as_text(value))}"


def _data_uri_to_string(text: str) -> str:
    found = re.fullmatch(r"data:(?P<kind>[^,]*),(?P<content>.*)", text, re.DOTALL | re.IGNORECASE)
    if found is None:
        raise ExpressionError("the string is not a data URI")
    if found["kind"].lower().endswith(";base64"):
        return _base64_to_string(found["content"])
    return _uri_component_to_string(found["content"])


def _uri(base: str, relative: str) -> str:
    if max(len(base), len(relative)) > _LONGEST_URI:
        raise ExpressionError(f"a URI is longer than .NET's {_LONGEST_URI:,} characters")
    try:
        parts = urllib.parse.urlsplit(base)
        combined = urllib.parse.urljoin(base, relative)
    except ValueError as error:
        raise ExpressionError("the base is not an absolute URI") from error
    if not parts.scheme or not parts.netloc:
        raise ExpressionError("the base is not an absolute URI")
    return combined


def _uri_component(text: str) -> str:
    return urllib.parse.quote(_bytes(text), safe="-_.~")


def _uri_component_to_string(text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise ExpressionError("the string is not percent-encoded UTF-8 text") from error


# Arrays and objects.


def _array(value: Json) -> _Array:
    return value if isinstance(value, list) else [value]


def _create_array(*items: Json) -> _Array:
    return list(items)


def _create_object(*pairs: Json) -> _Object:
    if len(pairs) % 2:
        raise ExpressionError("takes keys and values in pairs")
    result: _Object = {}
    spellings: dict[str, str] = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str):
            raise ExpressionError(f"a key must be a string, is {type_name(key)}")
        result[spellings.setdefault(_upper(key), key)] = value
    return result


def _length(value: str | _Array | _Object) -> int:
    return len(_units(value)) if isinstance(value, str) else len(value)


def _empty(value: str | _Array | _Object | None) -> bool:
    return not value


def _first(value: str | _Array) -> Json:
    """The first element or character; null of an empty array, '' of an empty string."""
    return _take(value, 1) if isinstance(value, str) else value[0] if value else None


def _last(value: str | _Array) -> Json:
    return _skip(value, len(_units(value)) - 1) if isinstance(value, str) else value[-1] if value else None


def _take(value: str | _Array, count: int) -> str | _Array:
    """The first `count` elements or characters: none if it is negative, all if there are fewer."""
    count = max(count, 0)
    return _joined(_units(value)[:count]) if isinstance(value, str) else value[:count]


def _skip(value: str | _Array, count: int) -> str | _Array:
    count = max(count, 0)
    return _joined(_units(value)[count:]) if isinstance(value, str) else value[count:]


def _contains(container: str | _Array | _Object, item: Json) -> bool:
    match container:
        case list():
            return _mark(item) in map(_mark, container)
        case dict():
            return find_key(container, _scalar_text(item)) is not None
        case str():
            return _scalar_text(item) in container


def _index_from_end(items: _Array, index: int) -> Json:
    if not 1 <= index <= len(items):
        raise ExpressionError(f"index {index} from the end is outside the array, which has length {len(items)}")
    return items[-index]


def _try_index_from_end(items: _Array, index: int) -> Json:
    return items[-index] if 1 <= index <= len(items) else None


def _try_get(value: Json, key: str | int, *keys: str | int) -> Json:
    """The value at a path of keys and indexes; null as soon as there is nothing."""
    for one in (key, *keys):
        match value, one:
            case dict(), str():
                found = find_key(value, one)
                value = None if found is None else value[found]
            case list(), int():
                value = value[one] if 0 <= one < len(value) else None
            case None, _:
                return None
            case _:
                raise ExpressionError(
                    f"{type_name(value)} has no {'property' if isinstance(one, str) else 'index'} {one!r}"
                )
    return value


def _flatten(arrays: _Array) -> _Array:
    parts = [one for one in arrays if isinstance(one, list)]
    if len(parts) != len(arrays):
        raise ExpressionError("takes an array of arrays")
    return [item for part in parts for item in part]


def _items(container: _Object) -> _Array:
    """An array of key and value objects, sorted by key."""
    return [{"key": key, "value": container[key]} for key in sorted(container, key=lambda key: (_upper(key), key))]


def _object_keys(container: _Object) -> _Array:
    return list(container)


def _unique(items: Sequence[Json]) -> _Array:
    """Each value once, where it comes first."""
    return list({_mark(item): item for item in items}.values())


class _Merging:
    """An object that others are merged into: objects in it are merged, all else is overwritten.

    A key keeps its first spelling. Each value is looked at once, however many objects there are.
    """

    def __init__(self, start: Mapping[str, Json]) -> None:
        self._values: dict[str, Json | _Merging] = dict(start)
        self._spellings = _spellings(start)

    def add(self, part: Mapping[str, Json]) -> None:
        values = self._values
        for name, value in part.items():
            key = name if name in values else self._spellings.setdefault(_upper(name), name)
            present = values.get(key)
            if isinstance(value, dict) and isinstance(present, dict | _Merging):
                inner = present if isinstance(present, _Merging) else _Merging(present)
                inner.add(value)
                values[key] = inner
            else:
                values[key] = value

    def result(self) -> _Object:
        return {key: each.result() if isinstance(each, _Merging) else each for key, each in self._values.items()}


def _union(first: _Array | _Object, *rest: _Array | _Object) -> Json:
    objects, arrays = _by_type(first, *rest)
    if arrays:
        return _unique([item for part in arrays for item in part])
    merging = _Merging({})
    for part in objects:
        merging.add(part)
    return merging.result()


def _intersection(first: _Array | _Object, *rest: _Array | _Object) -> Json:
    """What all have in common, in the order of the first; of objects the names with equal values."""
    objects, arrays = _by_type(first, *rest)
    if arrays:
        marks = [{_mark(item) for item in part} for part in arrays[1:]]
        return _unique([item for item in arrays[0] if all(_mark(item) in part for part in marks)])
    others = [(one, _spellings(one)) for one in objects[1:]]
    return {key: value for key, value in objects[0].items() if all(_holds(*one, key, value) for one in others)}


def _holds(container: Mapping[str, Json], spellings: Mapping[str, str], name: str, value: Json) -> bool:
    key = name if name in container else spellings.get(_upper(name))
    return key is not None and same(container[key], value)


def _spellings(container: Mapping[str, Json]) -> dict[str, str]:
    """How the object spells its keys, by their upper case: what `find_key` finds, for many keys at once."""
    return {_upper(key): key for key in reversed(list(container))}


def _by_type(*parts: _Array | _Object) -> tuple[list[_Object], list[_Array]]:
    objects = [part for part in parts if isinstance(part, dict)]
    arrays = [part for part in parts if isinstance(part, list)]
    if objects and arrays:
        raise ExpressionError("takes arrays or objects, not both")
    return objects, arrays


def _shallow_merge(parts: _Array) -> _Object:
    result: _Object = {}
    spellings: dict[str, str] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise ExpressionError(f"takes an array of objects, has {type_name(part)} in it")
        for name, value in part.items():
            result[spellings.setdefault(_upper(name), name)] = value
    return result


_TABLE: Mapping[str, Callable[..., Json]] = {
    "add": _add,
    "addDays": _add_days,
    "array": _array,
    "base64": _base64,
    "base64ToJson": _base64_to_json,
    "base64ToString": _base64_to_string,
    "bool": _bool,
    "cidrHost": cidr_host,
    "cidrSubnet": cidr_subnet,
    "concat": _concat,
    "contains": _contains,
    "createArray": _create_array,
    "createObject": _create_object,
    "dataUri": _data_uri,
    "dataUriToString": _data_uri_to_string,
    "div": _div,
    "empty": _empty,
    "endsWith": _ends_with,
    "equals": same,
    "false": _false,
    "first": _first,
    "flatten": _flatten,
    "float": _float,
    "format": _format,
    "greater": _greater,
    "greaterOrEquals": _greater_or_equals,
    "indexFromEnd": _index_from_end,
    "indexOf": _index_of,
    "int": _int,
    "intersection": _intersection,
    "ipRangeContains": ip_range_contains,
    "items": _items,
    "join": _join,
    "json": _json,
    "last": _last,
    "lastIndexOf": _last_index_of,
    "length": _length,
    "less": _less,
    "lessOrEquals": _less_or_equals,
    "max": _max,
    "min": _min,
    "mod": _mod,
    "mul": _mul,
    "not": _not,
    "null": _null,
    "objectKeys": _object_keys,
    "padLeft": _pad_left,
    "parseCidr": parse_cidr,
    "range": _range,
    "replace": _replace,
    "shallowMerge": _shallow_merge,
    "skip": _skip,
    "split": _split,
    "startsWith": _starts_with,
    "string": _string,
    "sub": _sub,
    "substring": _substring,
    "take": _take,
    "toLower": _to_lower,
    "toUpper": _to_upper,
    "trim": _trim,
    "true": _true,
    "tryGet": _try_get,
    "tryIndexFromEnd": _try_index_from_end,
    "union": _union,
    "uri": _uri,
    "uriComponent": _uri_component,
    "uriComponentToString": _uri_component_to_string,
}

# What a call costs beyond what it is given and makes.
_COSTS: Mapping[str, Callable[..., int]] = {"split": _split_cost}

FUNCTIONS: Mapping[str, Function] = {
    name.lower(): Function.of(call, cost=_COSTS.get(name)) for name, call in _TABLE.items()
}
