"""Where the bundle decides otherwise than the templates that Azure has published, as its deviations.yaml says.

The file is this project's own and ships with the bundle; docs/deviations.md is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from controller.gatekeeper.documents import DocumentKind, Origin
from controller.gatekeeper.naming import TEMPLATE_SOURCE, TEMPLATE_URL
from controller.gatekeeper.sources import bundle_root, store_path
from controller.gatekeeper.yamltext import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from controller.gatekeeper.model import DesiredObject

FILE: Final = "deviations.yaml"


class Newly(StrEnum):
    """What becomes of an object when Azure's template gives way to the bundle's."""

    DENIED = "denied"
    ADMITTED = "admitted"


@dataclass(frozen=True, slots=True)
class Change:
    """What one template of the bundle decides otherwise: the deviation's id, its direction, and which objects."""

    id: str
    newly: Newly
    what: str

    def __str__(self) -> str:
        return f"newly {self.newly} ({self.id}): {self.what}"


@dataclass(frozen=True, slots=True)
class Deviations:
    """All changes that a cluster can see, by the template's folder in the bundle (`<name>/<vN>`).

    `unverified` are the folders of templates that Azure never published: whether they differ is not known.
    """

    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    unverified: frozenset[str] = frozenset()

    def of(self, template: DesiredObject) -> tuple[Change, ...]:
        """The changes that a template brings; none where it is not the bundle's."""
        return self.changes.get(_folder(template), ())

    def is_unverified(self, template: DesiredObject) -> bool:
        """Whether it is a template of the bundle that could be compared with nothing of Azure's."""
        return _folder(template) in self.unverified


def _folder(template: DesiredObject) -> str:
    """Where in the bundle a template was read; empty where it was read elsewhere."""
    metadata: Any = template.manifest["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get(TEMPLATE_SOURCE) != Origin.BUNDLE:
        return ""
    path = store_path(annotations.get(TEMPLATE_URL, "")) or ""
    return path.removesuffix(f"/{DocumentKind.TEMPLATE}.yaml")


def read_deviations(bundle: Path | None = None) -> Deviations:
    """Those of the bundle. The file is a part of the program: an error in it is a bug, and raised as it comes."""
    document: Any = read_yaml(((bundle or bundle_root()) / FILE).read_text(encoding="utf-8"))
    found: dict[str, tuple[Change, ...]] = {}
    for deviation in document["deviations"]:
        for each in deviation["changes"]:
            if not each.get("offline"):
                change = Change(deviation["id"], Newly(each["newly"]), each["what"])
                found[each["template"]] = (*found.get(each["template"], ()), change)
    return Deviations(found, frozenset(each["template"] for each in document["unverified"]))
