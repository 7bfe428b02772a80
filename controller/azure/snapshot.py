"""A snapshot: what Azure says, as JSON files. It is read whole or not at all.

A file, or a folder of them at any depth; each holds an ARM resource, an array of them, or a list response.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controller.azure.model import fold
from controller.azure.parse import Located, build_state, parse_resource, type_of
from controller.bounded_json import without_depths
from controller.errors import InputError, SourceError
from controller.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import NoReturn

    from controller.azure.model import AzureState
    from controller.jsontypes import Json

LARGEST_FILE: Final = 64 * 1024 * 1024

_WRITTEN: Final = re.compile(r".+-[0-9a-f]{12}\.json")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class _BadJsonError(ValueError):
    """Python would read it, but as JSON it is ambiguous."""


def read_snapshot(path: Path, cluster_id: str | None) -> AzureState:
    """The state that a file or folder holds; the cluster is the one given, else the only one in it.

    InputError names the file, and the line where JSON is broken; SourceError where files changed while they were read.
    """
    before = fingerprint(path)
    state = build_state(_resources(path), cluster_id)
    if fingerprint(path) != before:
        raise SourceError(f"{path} changed while it was read: read it again")
    return state


def fingerprint(path: Path) -> str:
    """A digest of every file's path, size and time of change: another digest means something to read. InputError."""
    digest = hashlib.sha256()
    for file in _files(path):
        try:
            found = file.stat()
        except OSError as error:
            _unreadable(file, error)
        digest.update(os.fsencode(file) + f"\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _resources(path: Path) -> Iterator[Located]:
    for file in _files(path):
        for place, document in _documents(file):
            resource = parse_resource(document, place)
            if resource is not None:
                yield place, resource


def _files(path: Path) -> list[Path]:
    """The JSON files, sorted; InputError where the folder cannot be listed."""
    try:
        return _found(path)
    except OSError as error:
        _unreadable(Path(error.filename or path), error)


def _found(path: Path) -> list[Path]:
    """The JSON files, sorted. Names that start with a dot are no part of it: mounted volumes keep copies there."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file or folder; --snapshot names one")
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, followlinks=True, onerror=_raise):
        at = Path(folder).stat()
        # A link back to a folder that was visited would go round for ever.
        if (at.st_dev, at.st_ino) in seen:
            folders.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        files = (Path(folder, each) for each in names if each.endswith(".json") and not each.startswith("."))
        found += (each for each in files if each.is_file() or each.is_symlink())
    if not found:
        raise InputError(f"{path}: there is no JSON file in it; a snapshot has at least one")
    return sorted(found)


def _raise(error: OSError) -> NoReturn:
    raise error


def _unreadable(file: Path, error: OSError) -> NoReturn:
    raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error


def _documents(file: Path) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Each resource in the file with its place: the file's name, and the index where there are several."""
    content = _load(file)
    items = _items(content, file)
    if items is None:
        assert isinstance(content, dict)
        yield str(file), content
        return
    for index, item in enumerate(items):
        place = f"{file}[{index}]"
        if not isinstance(item, dict):
            raise InputError(f"{place}: must be an ARM resource, a JSON object")
        yield place, item


def _items(content: Json, file: Path) -> list[Json] | None:
    """What an array or a list response holds, None for a single resource."""
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise InputError(f"{file}: must contain an ARM resource, an array of them or a list response")
    if "value" not in content or content.keys() & {"id", "type"}:
        return None
    if content.get("nextLink"):
        raise SourceError(f"{file}: is only one page of a list, because it has a 'nextLink': save the complete list")
    items = content["value"]
    if not isinstance(items, list):
        raise InputError(f"{file}: 'value' must be a list of ARM resources")
    return items


def _load(file: Path) -> Json:
    """The JSON of one file; InputError names it and the line."""
    content = _read(file)
    try:
        text = without_depths(content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line}: not UTF-8 (byte {error.start})") from error
    if not text.strip():
        raise InputError(f"{file}: is empty; a snapshot's files contain JSON")
    try:
        loaded: Json = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{file}: is nested too deeply") from error
    except _BadJsonError as error:
        raise InputError(f"{file}: {error}") from error
    except ValueError as error:
        raise InputError(f"{file}: contains a number with too many digits") from error
    return loaded


def _read(file: Path) -> bytes:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            # A link may lead to a pipe, whose other end would be waited for, or to a device that never ends.
            raise InputError(f"{file}: does not lead to a regular file")
        if found.st_size > LARGEST_FILE:
            raise InputError(f"{file}: is larger than {LARGEST_FILE >> 20} MiB; split it")
        return file.read_bytes()
    except OSError as error:
        _unreadable(file, error)


def _without_doubles(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    content = dict(pairs)
    if len(content) != len(pairs):
        double = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _BadJsonError(f"the key {double!r} appears twice in one object")
    return content


def _no_number(text: str) -> NoReturn:
    raise _BadJsonError(f"{text} is not a JSON number")


def write_snapshot(folder: Path, documents: Iterable[Mapping[str, Json]]) -> tuple[Path, ...]:
    """Writes one file per resource and removes those that an earlier export left; returns the files, sorted.

    Each file is replaced whole, one that would not change is not touched, others' files stay. InputError where the
    folder cannot be written or two documents differ under one id and version.
    """
    contents: dict[Path, str] = {}
    for document in documents:
        file = folder / _file_name(document)
        content = json.dumps(document, indent=2, sort_keys=True) + "\n"
        if contents.setdefault(file, content) != content:
            raise InputError(f"{document.get('id')}: two different documents have this id and version")
    try:
        for file, content in contents.items():
            _replace(file, content)
        for file in sorted(folder.glob("*/*.json")):
            if is_exported(file) and file not in contents:
                file.unlink()
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from error
    return tuple(sorted(contents))


def is_exported(file: Path) -> bool:
    """Whether a file is named as `write_snapshot` names them."""
    return _WRITTEN.fullmatch(file.name) is not None


def _file_name(document: Mapping[str, Json]) -> Path:
    """`<kind>/<name>[-<version>]-<12 hex digits>.json`: the digits tell apart what differs in id or version alone."""
    resource_id = str(document.get("id", ""))
    properties = document.get("properties")
    version = str(properties.get("version") or "") if isinstance(properties, dict) else ""
    # The type of what tells the management groups above a subscription has no namespace.
    namespace, _, kind = (str(document.get("type") or "") or type_of(resource_id)).partition("/")
    kind = kind if namespace else f"entities/{kind}" if kind else ""
    identity = f"{fold(resource_id)}\n{version.casefold()}"
    digits = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    # Lower case, for file systems that ignore it: an id in another case is the same resource and the same file.
    words = [fold(resource_id).rpartition("/")[2], *([version] if version else []), digits]
    name = "-".join(_UNSAFE.sub("-", word)[:80] for word in words)
    return Path(_UNSAFE.sub("-", kind) or "resources", f"{name}.json")


def _replace(file: Path, content: str) -> None:
    if file.is_file() and file.read_text(encoding="utf-8") == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Its unfinished name starts with a dot, so a reader does not take it for a part of the snapshot.
    replace_file(file, content.encode())
