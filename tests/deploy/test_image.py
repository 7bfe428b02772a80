"""The image's build steps, run without a container engine: what the Dockerfile copies, its script, another user.

That the image itself can be built is not shown here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.deploy.helm import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILE: Final = (ROOT / "deploy" / "Dockerfile").read_text()
USER: Final = 65532
INSTALL_SECONDS: Final = 600


def copied() -> list[tuple[str, str]]:
    """What the build stage takes from the repository, and where to."""
    lines = re.findall(r"^COPY (?!--from)(.+) (\S+)$", DOCKERFILE, re.MULTILINE)
    return [(source, target) for sources, target in lines for source in sources.split()]


def as_another_user(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command as the image does: a user without a name or home, nothing in the environment.

    Whoever is not root runs it as themselves: modes hold for them, too.
    """
    someone: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": ()} if os.geteuid() == 0 else {}
    return subprocess.run(command, cwd="/", env={}, umask=0o077, capture_output=True, text=True, check=False, **someone)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that other users may enter, as those of pytest are not."""
    made = Path(tempfile.mkdtemp(prefix="azpolicy-image-"))
    made.chmod(0o755)
    yield made
    for each in made.rglob("*/"):
        each.chmod(0o755)
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that the other user may run, too: one in somebody's home is often none."""
    asks = "import pip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, *filter(None, map(shutil.which, ("python3", "/usr/bin/python3")))):
        try:
            as_another_user([candidate, "-c", asks]).check_returncode()
        except (PermissionError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip(f"there is no Python 3.11 with pip here that user {USER} may run")


@pytest.fixture(scope="module")
def installed(folder: Path, python: str) -> Path:
    """What the build stage hands over: its script's environment, made read-only as an image's files are."""
    source = folder / "source"
    for name, target in copied():
        place = source / target
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)
    (script,) = re.findall(r"^RUN .*(deploy/\S+) /opt/azpolicy$", DOCKERFILE, re.MULTILINE)
    made = folder / "opt" / "azpolicy"
    subprocess.run([source / script, made], check=True, umask=0o077, env={**os.environ, "PYTHON": python})
    shutil.rmtree(source)
    for each in (made, *made.rglob("*")):
        if not each.is_symlink():
            each.chmod(each.stat().st_mode & ~0o222)
    return made


def state(tree: Path) -> dict[Path, tuple[int, int, int]]:
    """Whatever a write would change."""
    return {path: (at.st_mtime_ns, at.st_size, at.st_mode) for path in tree.rglob("*") for at in [path.lstat()]}


@pytest.mark.timeout(INSTALL_SECONDS)
def test_another_user_runs_the_commands_from_a_read_only_installation_and_nothing_is_written(
    installed: Path, folder: Path
) -> None:
    shutil.copytree(ROOT / "examples" / "snapshot", folder / "snapshot")
    command = str(installed / "bin" / "azpolicy")
    before = state(folder)

    helped = as_another_user([command, "--help"])
    rendered = as_another_user([command, "render", "--snapshot", str(folder / "snapshot")])

    assert (helped.returncode, helped.stderr) == (0, "")
    assert (rendered.returncode, rendered.stderr) == (0, ""), rendered.stderr
    assert rendered.stdout.count("\nkind: ConstraintTemplate\n") == 6
    assert state(folder) == before


@pytest.mark.timeout(INSTALL_SECONDS)
def test_the_installation_has_what_the_lock_names_and_nothing_that_installs_or_builds(installed: Path) -> None:
    names = {each.name.partition("-")[0].lower() for each in installed.rglob("*.dist-info")}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert names - {name.replace("-", "_") for name in locked} == {"azure_policy_sync"}
    assert not (installed / "bin" / "pip").exists()


def test_what_the_build_copies_is_not_ignored_and_the_rest_is() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    allowed = {line[1:] for line in lines if line[0] == "!"}

    assert lines[0] == "*"
    assert {name for name, _ in copied()} == allowed


def test_both_stages_have_the_same_base_and_the_last_one_only_copies() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]

    assert set(bases) == {"${PYTHON_IMAGE}"}
    assert "\nRUN " not in last
    assert last.endswith(f'\nUSER {USER}:{USER}\nWORKDIR /\nENTRYPOINT ["azpolicy"]\nCMD ["run"]\n')
