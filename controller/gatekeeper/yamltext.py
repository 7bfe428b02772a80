"""YAML as Kubernetes reads it, in and out: a strict reader for documents from elsewhere, a writer that people can read.

The reader takes plain YAML only. Aliases (a page of them can stand for gigabytes), tags, duplicate keys, several
documents and deep nesting are refused rather than interpreted. Scalars mean what they mean to kubectl: dates and
sexagesimal numbers stay text, `1e3` is a number. The writer quotes whatever either side could take for something else.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.jsontypes import Json

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_EVENTS: Final = 50_000
_SHOWN: Final = 60
_MOST_DIGITS: Final = 1000

_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_NULL = re.compile(r"~|null|Null|NULL|")
_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN: Final = (
    ("tag:yaml.org,2002:bool", _BOOL, list("yYnNtTfFoO")),
    ("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", _INT, list("-+0123456789")),
    ("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789.")),
)
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "null", "int", "float", "map", "seq"))


class YamlError(Exception):
    """The text is not one plain YAML document; `str()` says what is wrong and on which line."""


def read_yaml(text: str) -> Json:
    """The one document in `text`, as JSON values."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        _refuse_traps(yaml.parse(text, Loader=JsonLoader))
        value: Json = yaml.load(text, Loader=JsonLoader)  # noqa: S506 - JsonLoader builds JSON values only
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise YamlError(f"{error.problem or 'it is not YAML'}{line}") from error
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from error
    return value


def write_yaml(documents: Iterable[Mapping[str, Json]]) -> str:
    """The documents as a YAML stream; text of several lines is written as a block where YAML allows."""
    return yaml.dump_all(
        documents, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=1_000_000, explicit_start=True
    )


def _refuse_traps(events: Iterable[yaml.Event]) -> None:
    """Checks the events before anything is built from them, which is safe for any text."""
    documents = depth = 0
    for count, event in enumerate(events):
        if count > MAX_EVENTS:
            raise YamlError(f"it has more than {MAX_EVENTS:,} values, beginnings and ends of lists and mappings")
        match event:
            case yaml.AliasEvent():
                raise _problem("an alias is not allowed", event)
            case yaml.DocumentStartEvent():
                documents += 1
            case yaml.CollectionStartEvent():
                depth += 1
            case yaml.CollectionEndEvent():
                depth -= 1
        if documents > 1:
            raise _problem("a second document begins", event)
        if depth > MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH}", event)
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) not in (None, "!", *_TAGS):
            raise _problem("a tag is not allowed", event)
    if not documents:
        raise YamlError("it is empty")


def _problem(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


class JsonLoader(yaml.CSafeLoader):
    """Builds JSON values only."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own declaration

    def build_mapping(self, node: yaml.MappingNode) -> dict[str, Json]:
        """A mapping with distinct text keys."""
        built: dict[str, Json] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _problem("a key is not text", key_node)
            if key in built:
                raise _problem(f"the key {key[:_SHOWN]!r} appears twice", key_node)
            built[key] = self.construct_object(value_node, deep=True)
        return built

    def build_sequence(self, node: yaml.SequenceNode) -> list[Json]:
        """A list."""
        return [self.construct_object(item, deep=True) for item in node.value]

    def build_int(self, node: yaml.ScalarNode) -> int:
        """A whole number in any notation that YAML 1.1 and 1.2 share with Go."""
        text = self.construct_scalar(node).replace("_", "")
        digits = text.lstrip("+-")
        base = 8 if re.fullmatch(r"0[0-7]+", digits) else 0
        if len(text) > _MOST_DIGITS:
            # Python reads any number of hexadecimal digits, and then refuses to write the number out again.
            raise _problem(f"{text[:_SHOWN]!r} has too many digits", node)
        try:
            return int(text, base)
        except ValueError:
            raise _problem(f"{text!r} is not a whole number", node) from None

    def build_float(self, node: yaml.ScalarNode) -> float:
        """A number that JSON can carry."""
        text = self.construct_scalar(node)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _problem(f"{text[:_SHOWN]!r} is not a finite number", node)
        return number


for _tag, _pattern, _first in _PLAIN:
    JsonLoader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), _first)
JsonLoader.add_constructor("tag:yaml.org,2002:map", JsonLoader.build_mapping)
JsonLoader.add_constructor("tag:yaml.org,2002:seq", JsonLoader.build_sequence)
JsonLoader.add_constructor("tag:yaml.org,2002:int", JsonLoader.build_int)
JsonLoader.add_constructor("tag:yaml.org,2002:float", JsonLoader.build_float)


class _Writer(yaml.CSafeDumper):
    """Quotes what any YAML reader could mistake, writes text of several lines as blocks, and makes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own signature
        """Constraints share values in memory, but not in YAML."""
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Text; PyYAML falls back to quotes where a block could not hold it exactly."""
        style = "|" if "\n" in data and "\r" not in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


for _tag, _pattern, _first in _PLAIN:
    _Writer.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), _first)
# Some readers take single letters for booleans.
_Writer.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]\Z"), list("yYnN"))
_Writer.add_representer(str, _Writer.represent_text)
