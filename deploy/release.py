"""What a release needs besides its builds: one version everywhere, its notes, and the chart that names its image.

python -m deploy.release check v0.1.0                            exit 1 with one line for each thing that does not fit
python -m deploy.release notes v0.1.0                            the section of CHANGELOG.md
python -m deploy.release chart dist/chart --image NAME@sha256:…  the chart's folder as it is published

.github/workflows/release.yaml runs these.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = Path("deploy/chart")
_IMAGE: Final = re.compile(r"(?P<repository>[a-z0-9][^\s@]*)@(?P<digest>sha256:[0-9a-f]{64})")
_CHANGELOG_SECTION: Final = re.compile(r"^## (?:v?(?P<version>\d\S*)).*\n(?P<text>(?:(?!## ).*\n?)*)", re.MULTILINE)


class ReleaseError(Exception):
    """The release cannot be made from these files; the message says why, one line each."""


def check(root: Path, tag: str) -> None:
    """Checks that `tag` is `v` and the version that the package, the chart and the changelog have.

    Raises ReleaseError that names every file that has another version.
    """
    version = tag.removeprefix("v")
    wrong = [f"{place} has version {found}, not {version}" for place, found in _versions(root) if found != version]
    if not tag.startswith("v"):
        wrong.append(f"the tag {tag} does not begin with v")
    try:
        notes(root, tag)
    except ReleaseError as error:
        wrong.append(str(error))
    if wrong:
        raise ReleaseError("\n".join(wrong))


def _versions(root: Path) -> Iterator[tuple[str, str]]:
    yield "pyproject.toml", tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = yaml.safe_load((root / CHART / "Chart.yaml").read_text(encoding="utf-8"))
    yield f"{CHART}/Chart.yaml (version)", str(chart["version"])
    yield f"{CHART}/Chart.yaml (appVersion)", str(chart["appVersion"])


def notes(root: Path, tag: str) -> str:
    """The changelog's text for this release; ReleaseError where there is none."""
    version = tag.removeprefix("v")
    for section in _CHANGELOG_SECTION.finditer((root / "CHANGELOG.md").read_text(encoding="utf-8")):
        if section["version"] == version and section["text"].strip():
            return section["text"].strip()
    raise ReleaseError(f"CHANGELOG.md has no text under a heading '## {version}'")


def make_chart(root: Path, target: Path, image: str, subcharts: tuple[Path, ...] = ()) -> None:
    """Makes `target` the chart whose image is `image`, `NAME@sha256:…`, with copies of the subcharts.

    The chart in the repository has no image: whoever installs it names one of their own. A published chart has to work
    as it is, and to name exactly the image that was built with it. Raises ReleaseError where `image` has no digest.
    """
    if not (named := _IMAGE.fullmatch(image)):
        raise ReleaseError(f"{image} is not NAME@sha256:DIGEST: a release names its image by its digest")
    shutil.copytree(root / CHART, target)
    for key in ("repository", "digest"):
        _replace_line(target / "values.yaml", f'  {key}: ""', f"  {key}: {named[key]}")
    images = f"annotations:\n  artifacthub.io/images: |\n    - name: azpolicy\n      image: {image}"
    _replace_line(target / "Chart.yaml", "annotations:", images)
    for subchart in subcharts:
        copy = target / "charts" / subchart.name
        # Without the modes: files of a Go module cache are read-only.
        shutil.copytree(subchart, copy, copy_function=shutil.copyfile)
        for folder in (copy, *copy.rglob("*/")):
            folder.chmod(0o755)


def _replace_line(file: Path, line: str, text: str) -> None:
    """Replaces the one line of a file that is `line`: comments and order of the others stay."""
    lines = file.read_text(encoding="utf-8").split("\n")
    if (count := lines.count(line)) != 1:
        raise ReleaseError(f"{file.name} has {count} lines {line!r}, not one")
    file.write_text("\n".join(text if each == line else each for each in lines), encoding="utf-8")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Runs one command; 0, or 1 with what is wrong on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "notes"):
        commands.add_parser(name).add_argument("tag")
    chart = commands.add_parser("chart")
    chart.add_argument("target", type=Path)
    chart.add_argument("--image", required=True)
    chart.add_argument("--subchart", type=Path, action="append", default=[])
    given = parser.parse_args(arguments)
    try:
        if given.command == "check":
            check(root, given.tag)
        elif given.command == "notes":
            print(notes(root, given.tag))
        else:
            make_chart(root, given.target, given.image, tuple(given.subchart))
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
