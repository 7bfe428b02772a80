"""Writes the bill of materials of a wheel: itself, and every package that requirements.lock puts beside it in an image.

The lock file says what is installed, so it is the source of names, versions, digests and relations; the packages' own
metadata, where installed here at the same version, adds their licences. Nothing else goes in, no clock and no chance:
the same wheel and lock give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import uuid
import zipfile
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    target = wheel.with_suffix(".cdx.json")
    target.write_text(JsonV1Dot6(make_bom(wheel, read_lock(lock))).output_as_string(indent=2) + "\n", encoding="utf-8")
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
    """Writes it for each wheel given; 2 where the lock file is none."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sbom", description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    given = parser.parse_args(arguments)
    try:
        for wheel in given.wheels:
            print(write_sbom(wheel, given.lock))
    except LockError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
