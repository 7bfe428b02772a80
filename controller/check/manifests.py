"""Reads the Kubernetes objects of files, folders and standard input, each with the file and line where it begins.

What kubectl takes is taken: several documents in a file, YAML or JSON, anchors and merge keys, List kinds. Of an
AdmissionReview the object is taken that it asks to admit.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import yaml

from controller.errors import InputError
from controller.gatekeeper.yamltext import JsonLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from controller.jsontypes import Json

STDIN: Final = "-"
STDIN_NAME: Final = "stdin"
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_MAX_VALUES: Final = 1_000_000  # that aliases of one file may stand for
_MAX_DEPTH: Final = 200
_REVIEW: Final = ("AdmissionReview", "admission.k8s.io")
_JSON_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "null", "int", "float", "map", "seq")
)


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Where an object begins; lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as it was written."""

    location: Location
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.content["kind"])

    @property
    def group(self) -> str:
        """The group of its apiVersion, empty for the core group."""
        return str(self.content["apiVersion"]).rpartition("/")[0]

    @property
    def metadata(self) -> dict[str, Any]:
        """Its metadata."""
        metadata: dict[str, Any] = self.content["metadata"]
        return metadata

    @property
    def name(self) -> str:
        """Its name, or what the server would make its name from."""
        return str(self.metadata.get("name") or self.metadata.get("generateName") or "")


@dataclass(slots=True)
class Reading:
    """What was read: objects in order, and documents that are passed over, as they have no object to judge.

    `requests` are the places of requests whose user or whose object before says more than the object that is judged.
    """

    manifests: list[Manifest] = field(default_factory=list)
    passed_over: list[Location] = field(default_factory=list)
    requests: list[Location] = field(default_factory=list)


def read_manifests(paths: Sequence[str]) -> Reading:
    """The objects of files, of folders at any depth, and of standard input (`-`); InputError names file and line."""
    reading = Reading()
    for path in paths:
        before = len(reading.manifests)
        for name, text, asked_for in _texts(path):
            _read(name, text, reading, strict=asked_for)
        if len(reading.manifests) == before:
            raise InputError(f"{_shown(path)}: there is no Kubernetes object in it")
    return reading


def _texts(path: str) -> Iterator[tuple[str, str, bool]]:
    """Name and text of each file, and whether the user asked for this very file."""
    if path == STDIN:
        yield STDIN_NAME, _decoded(STDIN_NAME, sys.stdin.buffer.read()), True
        return
    root = Path(path)
    try:
        if not root.is_dir():
            yield path, _decoded(path, root.read_bytes()), True
            return
        for file in sorted(p for p in root.rglob("*") if p.suffix in _SUFFIXES and p.is_file()):
            if not any(part.startswith(".") for part in file.relative_to(root).parts):
                yield str(file), _decoded(str(file), file.read_bytes()), False
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: it is not UTF-8 text (byte {error.start})") from error


def _read(name: str, text: str, reading: Reading, *, strict: bool) -> None:
    for line, value in _documents(name, text):
        for location, found in _items(Location(name, line), value):
            content = _reviewed(found) if _is_review(found) else found
            if content is not found and _asks_more(found.get("request")):
                reading.requests.append(location)
            if content is None and found is not None:
                reading.passed_over.append(location)
            elif _is_object(content):
                reading.manifests.append(_checked(Manifest(location, content)))
            elif content is not None and strict:
                raise InputError(f"{location}: it is not a Kubernetes object: apiVersion or kind is missing")
            elif content is not None:
                reading.passed_over.append(location)


def _documents(name: str, text: str) -> list[tuple[int, Any]]:
    """Each document with its line; the items of a list in it are `_Item`s, which know theirs."""
    try:
        return list(_parse(text))
    except yaml.MarkedYAMLError as error:
        if text.lstrip().startswith(("{", "[")):
            try:
                return [(1, json.loads(text))]  # tabs, which YAML does not take for space
            except (ValueError, RecursionError):
                pass
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise InputError(f"{where}: {_reason(text, error.problem or 'it is not YAML')}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: {_reason(text, ' '.join(str(error).split()))}") from error


def _reason(text: str, problem: str) -> str:
    if "{{" in text:
        return f"it looks like a Helm template: render it first, helm template ... | azpolicy check - ({problem})"
    return f"it cannot be read: {problem}"


def _parse(text: str) -> Iterator[tuple[int, Any]]:
    _refuse_depth(text)
    loader: Any = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            _measure(node, {})
            value = loader.construct_document(node)
            if isinstance(value, dict) and isinstance(value.get("items"), list):
                value["items"] = _with_lines(node, value["items"])
            yield node.start_mark.line + 1, value
    finally:
        loader.dispose()


def _refuse_depth(text: str) -> None:
    """Looks at the events alone, as whatever is built from them is built recursively."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise _problem(f"nested deeper than {_MAX_DEPTH}", event)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node expands to, and how deep, with its aliases: a page can expand to gigabytes."""
    if isinstance(node, yaml.ScalarNode):
        return 1, 0
    if id(node) not in known:
        known[id(node)] = (_MAX_VALUES + 1, 0)  # for an alias of something that it is a part of
        inner = node.value if isinstance(node, yaml.SequenceNode) else [n for pair in node.value for n in pair]
        sizes = [_measure(each, known) for each in inner]
        known[id(node)] = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    size, depth = known[id(node)]
    if size > _MAX_VALUES or depth > _MAX_DEPTH:
        raise _problem("its aliases expand to too much", node)
    return size, depth


def _problem(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry of a list document, with its line."""

    line: int
    value: Any


def _with_lines(node: yaml.Node, items: list[Any]) -> list[_Item]:
    for key, value in node.value:
        if key.value == "items" and len(value.value) == len(items):
            return [_Item(n.start_mark.line + 1, item) for n, item in zip(value.value, items, strict=True)]
    return [_Item(node.start_mark.line + 1, item) for item in items]


def _items(location: Location, value: Any) -> Iterable[tuple[Location, Any]]:
    """The objects of a document: itself, or what a List of any kind holds, at any depth."""
    if isinstance(value, _Item):
        return _items(Location(location.file, value.line), value.value)
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        return [found for item in value["items"] for found in _items(location, item)]
    return [(location, value)]


def _is_review(content: Any) -> bool:
    """Whether it is a request to admit an object, as webhooks get it."""
    return _is_object(content) and (content["kind"], content["apiVersion"].partition("/")[0]) == _REVIEW


def _asks_more(request: Any) -> bool:
    """Whether a request says who makes it, or what the object was before: rules may ask for both."""
    return isinstance(request, dict) and any(request.get(key) for key in ("userInfo", "oldObject"))


def _reviewed(review: dict[str, Any]) -> Any:
    """The object that is to be admitted, in the namespace of the request; None for a request to delete."""
    asked = review.get("request")
    request: dict[str, Any] = asked if isinstance(asked, dict) else {}
    content = request.get("object")
    if not isinstance(content, dict):
        return None
    metadata = content.get("metadata")
    if request.get("namespace") and isinstance(metadata, dict) and content.get("kind") != "Namespace":
        return {**content, "metadata": {"namespace": request["namespace"], **metadata}}
    return content


def _is_object(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(key), str) and content[key] for key in ("apiVersion", "kind")
    )


def _checked(manifest: Manifest) -> Manifest:
    """The manifest, if its metadata can be worked with; metadata that is missing is added to it."""
    metadata = manifest.content.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise InputError(f"{manifest.location}: metadata is not a mapping")
    for key in ("name", "generateName", "namespace"):
        if not isinstance(metadata.get(key, ""), str | None):
            raise InputError(f"{manifest.location}: metadata.{key} is not text: put it in quotes")
    for key in ("labels", "annotations"):
        entries = metadata.get(key)
        if not isinstance(entries, dict | None) or not all(isinstance(v, str) for v in (entries or {}).values()):
            raise InputError(f"{manifest.location}: metadata.{key} are not all text: put their values in quotes")
    return manifest


def _shown(path: str) -> str:
    return STDIN_NAME if path == STDIN else path


class _Loader(JsonLoader):
    """JSON values, with what kubectl's reader takes besides: anchors, merge keys, and keys that are numbers."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: made for tag, made in JsonLoader.yaml_constructors.items() if tag is None or tag in _JSON_TAGS
    }

    def build_mapping(self, node: yaml.MappingNode) -> dict[str, Json]:
        """A mapping; a key that appears twice is an error, as the server makes it one."""
        own: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem("a key is not text", key_node)
            if key_node.value in own:
                raise _problem(f"the key {key_node.value!r} appears twice", key_node)
            own.add(key_node.value)
        self.flatten_mapping(node)
        built: dict[str, Json] = {}
        for key_node, value_node in node.value:
            built[key_node.value] = self.construct_object(value_node, deep=True)
        return built


_MERGE: Final = "tag:yaml.org,2002:merge"
_Loader.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.build_mapping)
