"""Generates each template.yaml of the bundle from its rule, its schema and the shared Rego that the rule imports.

Shared Rego has one source, templates/lib; a ConstraintTemplate has to carry its own copy, so template.yaml is
generated and committed. `--check` writes nothing and fails where a committed file is not what would be generated.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

BUNDLE = Path(__file__).resolve().parent
TARGET = "admission.k8s.gatekeeper.sh"
HEADER = "# Generated from rule.rego and schema.yaml by `python -m templates.generate`: edit those.\n"
IMPORT = re.compile(r"^import data\.lib\.(\w+)", re.MULTILINE)


class SourceError(Exception):
    """A rule or schema that no template can be made from; the message names the file."""


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, so that Rego in template.yaml reads as Rego, and no aliases."""

    def ignore_aliases(self, _data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 (YAML's interface)
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def sources(bundle: Path = BUNDLE) -> list[Path]:
    """Folders of the bundle that hold a constraint template's sources; those from before the store have no version."""
    return sorted(path.parent for pattern in ("*/schema.yaml", "*/v*/schema.yaml") for path in bundle.glob(pattern))


def generate(folder: Path, bundle: Path = BUNDLE) -> str:
    """The text of template.yaml for one folder; SourceError names a missing or wrong source file."""
    schema = _read_schema(folder / "schema.yaml")
    rule = _read(folder / "rule.rego")
    libs = [_read(bundle / "lib" / f"{name}.rego") for name in _imports(rule, bundle)]
    document = _template(schema, _parameters(schema, folder, bundle), rule, libs)
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _template(schema: Mapping[str, Any], parameters: dict[str, Any], rule: str, libs: list[str]) -> dict[str, Any]:
    kind = schema["kind"]
    target: dict[str, Any] = {"target": TARGET, "rego": rule}
    if libs:
        target["libs"] = libs
    validation = {"openAPIV3Schema": {"type": "object", "properties": parameters}}
    return {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": kind.lower(), "annotations": _annotations(schema)},
        "spec": {"crd": {"spec": {"names": {"kind": kind}, "validation": validation}}, "targets": [target]},
    }


def _annotations(schema: Mapping[str, Any]) -> dict[str, str]:
    annotations = {"metadata.gatekeeper.sh/title": schema["title"], "description": schema["description"]}
    if sync := schema.get("requiresSyncData"):
        # JSON in quotation marks that are not part of it: so Gatekeeper reads it.
        annotations["metadata.gatekeeper.sh/requires-sync-data"] = f'"{json.dumps(sync)}"'
    return annotations


def _parameters(schema: Mapping[str, Any], folder: Path, bundle: Path) -> dict[str, Any]:
    shared = yaml.safe_load(_read(bundle / "lib" / "parameters.yaml"))
    names = schema.get("shared", [])
    if unknown := [name for name in names if name not in shared]:
        raise SourceError(f"{folder / 'schema.yaml'}: lib/parameters.yaml has no {', '.join(unknown)}")
    return {**schema.get("parameters", {}), **{name: shared[name] for name in names}}


def _imports(rule: str, bundle: Path) -> list[str]:
    """Names of the shared modules that a rule needs, those that shared modules import included, sorted."""
    needed: set[str] = set()
    waiting = set(IMPORT.findall(rule))
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting |= set(IMPORT.findall(_read(bundle / "lib" / f"{name}.rego"))) - needed
    return sorted(needed)


def _read_schema(path: Path) -> Mapping[str, Any]:
    schema = yaml.safe_load(_read(path))
    if missing := {"kind", "title", "description"} - set(schema):
        raise SourceError(f"{path}: add {', '.join(sorted(missing))}")
    return dict(schema)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise SourceError(f"{path}: there is no such file") from exc
    if "\t" in text:
        # A tab would make YAML quote the whole text instead of writing it as a block.
        raise SourceError(f"{path}: indent with spaces, not with tabs")
    return text


def stale(folders: Iterable[Path], bundle: Path = BUNDLE) -> list[Path]:
    """The template.yaml files that are missing or not what their sources make."""
    pairs = [(folder / "template.yaml", generate(folder, bundle)) for folder in folders]
    return [path for path, text in pairs if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main(arguments: list[str] | None = None) -> int:
    """Writes what is stale, or with --check only names it; exit 1 if something is stale, 2 on a source error."""
    parser = argparse.ArgumentParser(prog="python -m templates.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a template.yaml is stale")
    check = parser.parse_args(arguments).check
    try:
        paths = stale(sources())
    except SourceError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 (a command line tool)
        return 2
    for path in paths:
        print(f"{path}: {'stale' if check else 'written'}", file=sys.stderr)  # noqa: T201 (a command line tool)
        if not check:
            path.write_text(generate(path.parent), encoding="utf-8")
    return 1 if check and paths else 0


if __name__ == "__main__":
    sys.exit(main())
