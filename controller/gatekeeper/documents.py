"""The document of a template source, checked before it is used: one template, mutator or constraint file.

The text comes from the network or from a policy definition. Of its metadata only name, labels and annotations are used:
owner references, finalizers or a namespace in it would act on the cluster in ways that no policy says.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from controller.gatekeeper.naming import MUTATION_GROUP, TEMPLATE_GROUP, owned_key
from controller.gatekeeper.rego import references
from controller.gatekeeper.syncset import SyncDataError, required_data
from controller.gatekeeper.yamltext import MAX_BYTES, YamlError, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.gatekeeper.rego import Reference
    from controller.gatekeeper.syncset import DataKind
    from controller.jsontypes import Json

MUTATOR_KINDS: Final = frozenset({"Assign", "AssignMetadata", "ModifySet", "AssignImage"})
_VERSIONS: Final = frozenset({"v1", "v1beta1", "v1alpha1"})
_KIND = re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class DocumentKind(StrEnum):
    """What a policy definition asks a source for; also the stem of the file's name in the bundle."""

    TEMPLATE = "template"
    MUTATION = "mutation"
    CONSTRAINT = "constraint"


class Origin(StrEnum):
    """Where a document was really read, which may not be where the definition points; a folder is a mirror too."""

    URL = "url"
    BUNDLE = "bundle"
    BASE64 = "base64"
    MIRROR = "mirror"


class DocumentError(Exception):
    """The text is not a document of the wanted kind; `str()` says why, to be put after the document's address."""


@dataclass(frozen=True, slots=True)
class TemplateDocument:
    """A ConstraintTemplate as served: `name` is `constraint_kind` in lower case, `digest` that of the bytes.

    `data` are the kinds that it asks for, `lookups` the places where its Rego looks objects up, asked for or not.
    """

    name: str
    constraint_kind: str
    manifest: Mapping[str, Json]
    digest: str
    origin: Origin
    data: frozenset[DataKind] = frozenset()
    lookups: frozenset[Reference] = frozenset()


@dataclass(frozen=True, slots=True)
class MutationDocument:
    """A mutator as served."""

    name: str
    manifest: Mapping[str, Json]
    digest: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ConstraintDocument:
    """A constraint file as served; still text, as an old-form one becomes YAML only once values are filled in."""

    text: str
    digest: str
    origin: Origin


Document = TemplateDocument | MutationDocument | ConstraintDocument


def read_document(kind: DocumentKind, content: bytes, origin: Origin) -> Document:
    """Checks served bytes and makes them a document, or raises DocumentError."""
    if len(content) > MAX_BYTES:
        raise DocumentError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DocumentError("it is UTF-16 text: save it as UTF-8") from error
        raise DocumentError(f"it is not UTF-8 text (byte {error.start})") from error
    digest = hashlib.sha256(content).hexdigest()
    match kind:
        case DocumentKind.TEMPLATE:
            return _template(text, digest, origin)
        case DocumentKind.MUTATION:
            return _mutation(text, digest, origin)
        case DocumentKind.CONSTRAINT:
            return ConstraintDocument(text, digest, origin)


def read_mapping(text: str) -> dict[str, Json]:
    """The one YAML document in `text`, which must be a mapping, or DocumentError."""
    try:
        value = read_yaml(text)
    except YamlError as error:
        raise DocumentError(str(error)) from error
    if not isinstance(value, dict):
        raise DocumentError("it is not a Kubernetes object")
    return value


def as_mapping(value: Json, place: str) -> dict[str, Json]:
    """The value at `place`, which must be a mapping; absent and null are empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DocumentError(f"{place} is not a mapping")
    return value


def clean_metadata(manifest: Mapping[str, Json]) -> dict[str, Json]:
    """Labels and annotations of a document, without keys that are ours to set; nothing else of its metadata is used."""
    metadata = as_mapping(manifest.get("metadata"), "metadata")
    kept: dict[str, Json] = {}
    for part in ("labels", "annotations"):
        entries = as_mapping(metadata.get(part), f"metadata.{part}")
        for key, value in entries.items():
            if not isinstance(value, str):
                raise DocumentError(f"metadata.{part}.{key} is not text")
        kept[part] = {key: value for key, value in entries.items() if not owned_key(key)}
    return kept


def _template(text: str, digest: str, origin: Origin) -> TemplateDocument:
    manifest = read_mapping(text)
    _check_type(manifest, TEMPLATE_GROUP, frozenset({"ConstraintTemplate"}))
    names: Json = manifest
    for place in ("spec", "crd", "spec", "names"):
        names = as_mapping(as_mapping(names, place).get(place), place)
    kind = as_mapping(names, "names").get("kind")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise DocumentError(f"spec.crd.spec.names.kind is {kind!r}, which is not the name of a kind")
    name = _name(manifest)
    if name != kind.lower():
        raise DocumentError(f"metadata.name is {name!r}, but its kind {kind} needs {kind.lower()!r}")
    if not as_mapping(manifest["spec"], "spec").get("targets"):
        raise DocumentError("spec.targets is missing")
    annotations = as_mapping(clean_metadata(manifest)["annotations"], "metadata.annotations")
    try:
        data = required_data(annotations)
    except SyncDataError as error:
        raise DocumentError(str(error)) from error
    return TemplateDocument(name, kind, manifest, digest, origin, data, references(manifest))


def _mutation(text: str, digest: str, origin: Origin) -> MutationDocument:
    manifest = read_mapping(text)
    _check_type(manifest, MUTATION_GROUP, MUTATOR_KINDS)
    spec = as_mapping(manifest.get("spec"), "spec")
    if not spec:
        raise DocumentError("spec is missing")
    as_mapping(spec.get("match"), "spec.match")
    clean_metadata(manifest)
    return MutationDocument(_name(manifest), manifest, digest, origin)


def _check_type(manifest: Mapping[str, Json], group: str, kinds: frozenset[str]) -> None:
    api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise DocumentError(f"its kind is {kind!r}, not {' or '.join(sorted(kinds))}")
    found, _, version = str(api_version).partition("/")
    if found != group or version not in _VERSIONS:
        raise DocumentError(f"its apiVersion is {api_version!r}, not {group}/v1, v1beta1 or v1alpha1")


def _name(manifest: Mapping[str, Json]) -> str:
    name = as_mapping(manifest.get("metadata"), "metadata").get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 253:  # noqa: PLR2004 - Kubernetes' limit
        raise DocumentError(f"metadata.name is {name!r}, which is not the name of a Kubernetes object")
    return name
