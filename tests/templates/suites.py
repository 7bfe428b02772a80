"""Reads the bundle's gator suites: which constraint meets which objects, and what is expected of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "templates"


@dataclass(frozen=True, slots=True)
class Case:
    """An object (or AdmissionReview) under a constraint, with what Gatekeeper has synced."""

    name: str
    constraint: Mapping[str, Any]
    object: Mapping[str, Any]
    inventory: tuple[Mapping[str, Any], ...]
    assertions: tuple[Mapping[str, Any], ...]
    """gator's, with `violations` in each."""

    @property
    def matched(self) -> bool:
        """Whether the constraint's match takes the object; a constraint of a suite matches by kinds alone."""
        match = self.constraint["spec"].get("match", {})
        if unknown := set(match) - {"kinds"}:
            raise ValueError(f"{self.name}: the match has {', '.join(sorted(unknown))}, which nothing here understands")
        request = self.object.get("request", {})
        kind = request["kind"]["kind"] if request else self.object["kind"]
        return "kinds" not in match or any(kind in each["kinds"] for each in match["kinds"])

    @property
    def allowed(self) -> bool:
        """Whether no violation is expected."""
        return [each["violations"] for each in self.assertions] in ([0], ["no"])


def folder_name(folder: Path) -> str:
    """`<name>/<vN>`, a template's folder in the bundle."""
    return folder.relative_to(BUNDLE).as_posix()


def load(path: Path) -> Any:
    """The YAML document of a file."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def cases(folder: Path) -> Iterator[Case]:
    """Every case of a folder's suite."""
    for test in load(folder / "suite.yaml")["tests"]:
        constraint = load(folder / test["constraint"])
        for case in test.get("cases", []):
            # gator expects no violation where a case asserts nothing, and some where an assertion has no figure.
            asserted = case.get("assertions") or [{"violations": "no"}]
            yield Case(
                name=f"{folder_name(folder)}: {test['name']}: {case['name']}",
                constraint=constraint,
                object=load(folder / case["object"]),
                inventory=tuple(load(folder / path) for path in case.get("inventory", [])),
                assertions=tuple({"violations": "yes", **each} for each in asserted),
            )
