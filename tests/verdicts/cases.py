"""Reads what Azure's published templates answer: objects and requests, a file for each template."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.templates.suites import ROOT

FOLDER = ROOT.parent / "shared" / "azure-verdicts"


@dataclass(frozen=True, slots=True)
class Case:
    """An object as an audit has it, or an AdmissionReview, under a constraint's parameters."""

    template: str
    """`<name>/<vN>`, the template's folder in the bundle."""
    parameters: Mapping[str, Any]
    manifest: Mapping[str, Any]
    inventory: tuple[Mapping[str, Any], ...] = ()
    """What Gatekeeper has synced."""

    @property
    def request(self) -> Mapping[str, Any]:
        """The admission request; empty for an object by itself."""
        request: Mapping[str, Any] = self.manifest.get("request", {}) if self.is_request else {}
        return request

    @property
    def is_request(self) -> bool:
        """Whether this is a request, and no object by itself."""
        return bool(self.manifest["kind"] == "AdmissionReview")

    @property
    def object(self) -> Mapping[str, Any]:
        """The object under review."""
        judged: Mapping[str, Any] = self.request["object"] if self.is_request else self.manifest
        return judged

    @property
    def spec(self) -> Mapping[str, Any]:
        """The object's spec; empty where it has none."""
        spec: Mapping[str, Any] = self.object.get("spec") or {}
        return spec


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Azure's template says of a case."""

    case: Case
    denied: bool


def verdicts(folder: Path = FOLDER) -> Iterator[Verdict]:
    """Every verdict in the folder, by template."""
    for path in sorted(folder.glob("*/v*.jsonl")):
        template = path.relative_to(folder).with_suffix("").as_posix()
        for line in path.read_text(encoding="utf-8").splitlines():
            read = json.loads(line)
            manifest = read["review"] if "review" in read else read["object"]
            yield Verdict(Case(template, read["parameters"], manifest), read["denied"])
