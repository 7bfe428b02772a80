"""Writes the bill of materials of a wheel or of a packaged chart, as CycloneDX JSON beside it.

A wheel's has the wheel and every package that requirements.lock puts beside it in an image. The lock file says what is
installed, so it is the source of names, versions, digests and relations; the packages' own metadata, where installed
here at the same version, adds their licences. A chart's has the chart, the image that its values name and its
subcharts. Nothing else goes in, no clock and no chance: the same files give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
import uuid
import zipfile
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import yaml
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import parse_wheel_filename

from deploy.lockfile import LockError, read_lock

if TYPE_CHECKING:
    from deploy.lockfile import Locked

ROOT: Final = Path(__file__).resolve().parent.parent
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "azpolicy.dev")
_OLD_CLASSIFIER: Final = "License :: OSI Approved :: "


def write_sbom(wheel: Path, lock: Path) -> Path:
    """Writes `<wheel's name>.cdx.json` beside the wheel and says where."""
    return _write(wheel, make_bom(wheel, read_lock(lock)))


def write_chart_sbom(package: Path) -> Path:
    """Writes `<package's name>.cdx.json` beside a packaged chart (`helm package`) and says where."""
    return _write(package, make_chart_bom(package))


def _write(beside: Path, bom: Bom) -> Path:
    target = beside.with_suffix(".cdx.json")
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n", encoding="utf-8")
    return target


def make_bom(wheel: Path, lock: tuple[Locked, ...]) -> Bom:
    """The wheel as root, the locked packages as components, and who depends on whom."""
    root = _wheel_component(wheel)
    components = {root.name: root} | {locked.name: _component(locked) for locked in lock}
    bom = Bom(
        serial_number=_serial_number(root, lock),
        metadata=BomMetaData(
            component=root, tools=ToolRepository(components=[this_component()]), timestamp=_date_of(wheel)
        ),
        components=[components[locked.name] for locked in lock],
    )
    for name, component in components.items():
        bom.register_dependency(component, [components[locked.name] for locked in lock if name in locked.via])
    return bom


def make_chart_bom(package: Path) -> Bom:
    """The chart as root; the image that its values name by a digest, if they do, and the charts in it as components."""
    with tarfile.open(package) as archive:
        chart = _from_archive(archive, "*/Chart.yaml")
        image = _from_archive(archive, "*/values.yaml")["image"]
        inner = [_chart_component(yaml.safe_load(file)) for file in _members(archive, "*/charts/*/Chart.yaml")]
        date = datetime.fromtimestamp(max(member.mtime for member in archive.getmembers()), UTC)
    root = _chart_component(chart)
    root.hashes = [_sha256(hashlib.sha256(package.read_bytes()).hexdigest())]
    parts = [_image_component(image["repository"], image["digest"]), *inner] if image["digest"] else inner
    bom = Bom(
        serial_number=_serial_number(root, ()),
        metadata=BomMetaData(component=root, tools=ToolRepository(components=[this_component()]), timestamp=date),
        components=parts,
    )
    bom.register_dependency(root, parts)
    return bom


def _chart_component(chart: dict[str, Any]) -> Component:
    name, version = str(chart["name"]), str(chart["version"])
    purl = PackageURL("helm", name=name, version=version)
    return Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=str(purl), purl=purl)


def _image_component(repository: str, digest: str) -> Component:
    name = repository.rpartition("/")[2]
    purl = PackageURL("oci", name=name, version=digest, qualifiers={"repository_url": repository})
    return Component(
        name=repository,
        version=digest,
        type=ComponentType.CONTAINER,
        bom_ref=str(purl),
        purl=purl,
        hashes=[_sha256(digest.removeprefix("sha256:"))],
    )


def _members(archive: tarfile.TarFile, pattern: str) -> list[bytes]:
    """The contents of the files whose path has this pattern, a part of it for each part."""
    found = [each for each in archive.getmembers() if _fits(PurePosixPath(each.name), pattern)]
    return [content.read() for each in found if (content := archive.extractfile(each))]


def _fits(path: PurePosixPath, pattern: str) -> bool:
    return len(path.parts) == len(PurePosixPath(pattern).parts) and path.match(pattern)


def _from_archive(archive: tarfile.TarFile, pattern: str) -> dict[str, Any]:
    (content,) = _members(archive, pattern)
    document: dict[str, Any] = yaml.safe_load(content)
    return document


def _serial_number(root: Component, lock: tuple[Locked, ...]) -> uuid.UUID:
    """A number that another wheel or lock would not have, and the same ones always have."""
    return uuid.uuid5(_NAMESPACE, "\n".join((*(digest.content for digest in root.hashes), *map(str, lock))))


def _date_of(wheel: Path) -> datetime:
    """The date that the build gave to the files in the wheel (SOURCE_DATE_EPOCH)."""
    with zipfile.ZipFile(wheel) as archive:
        return datetime(*max(member.date_time for member in archive.infolist()), tzinfo=UTC)


def _wheel_component(wheel: Path) -> Component:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        folder = zipfile.Path(archive, f"{wheel.name.split('-', 1)[0]}-{version}.dist-info/")
        licences = _licences(PathDistribution(folder))
    return Component(
        name=name,
        version=str(version),
        type=ComponentType.APPLICATION,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", name=name, version=str(version)),
        hashes=[_sha256(hashlib.sha256(wheel.read_bytes()).hexdigest())],
        licenses=licences,
    )


def _component(locked: Locked) -> Component:
    """The digests are not the component's own: it has one for each file that may be installed."""
    purl = PackageURL("pypi", name=locked.name, version=locked.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="The files that the lock file allows, one digest each.",
        hashes=map(_sha256, locked.hashes),
    )
    return Component(
        name=locked.name,
        version=locked.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{locked.name}=={locked.version}",
        purl=purl,
        external_references=[files],
        licenses=_installed_licences(locked),
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _installed_licences(locked: Locked) -> list[License]:
    try:
        installed = distribution(locked.name)
    except PackageNotFoundError:
        return []
    return _licences(installed) if installed.version == locked.version else []


def _licences(installed: Distribution) -> list[License]:
    """What the package declares: an SPDX expression if it has one, else its own words, if they are no whole text."""
    declared = [text for field in ("License-Expression", "License") for text in installed.metadata.get_all(field) or []]
    classifiers = [c for c in installed.metadata.get_all("Classifier") or [] if c.startswith(_OLD_CLASSIFIER)]
    names = [text for text in declared if "\n" not in text] or [c.removeprefix(_OLD_CLASSIFIER) for c in classifiers]
    make = LicenseFactory().make_from_string
    return [make(name, license_acknowledgement=LicenseAcknowledgement.DECLARED) for name in names]


def main(arguments: list[str] | None = None) -> int:
    """Writes it for each wheel (.whl) and packaged chart (.tgz) given; 2 where the lock file is none."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sbom", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    given = parser.parse_args(arguments)
    try:
        for file in given.files:
            print(write_chart_sbom(file) if file.suffix == ".tgz" else write_sbom(file, given.lock))
    except LockError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
