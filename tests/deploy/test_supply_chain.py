"""What gets onto a machine with azpolicy: pinned, listed, asked about, and built the same by whoever builds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
import venv
import zipfile
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import audit
from deploy.lockfile import Locked, LockError, read_lock
from deploy.sbom import write_sbom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN_TIME_DOCUMENTS = {
    "template.yaml",
    "constraint.yaml",
    "mutation.yaml",
    "remedy.yaml",
    "deviations.yaml",
    "meanings.yaml",
}


# --- the lock files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [RUNTIME, DEV], ids=lambda path: path.name)
def test_every_line_of_a_lock_file_is_an_exact_version_with_digests_and_names_no_place_to_fetch_it(lock: Path) -> None:
    entries = read_lock(lock)

    assert len(entries) == len({each.name for each in entries}) > 40
    assert "://" not in lock.read_text()


@pytest.mark.parametrize(
    ("lock", "declared"),
    [(RUNTIME, PROJECT["project"]["dependencies"]), (DEV, PROJECT["dependency-groups"]["dev"])],
    ids=["run time", "development"],
)
def test_every_declared_dependency_is_locked_within_its_range(lock: Path, declared: list[str]) -> None:
    locked = {each.name: each.version for each in read_lock(lock)}

    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_what_is_tested_is_what_gets_installed() -> None:
    tested = {each.name: (each.version, each.hashes) for each in read_lock(DEV)}

    assert {each.name: (each.version, each.hashes) for each in read_lock(RUNTIME)}.items() <= tested.items()


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple\n",
        "anchor>=1\n    # via harbour\n",
        "anchor==1.0\n    # via harbour\n",
        f"anchor==1.0 \\\n    --hash=md5:{'a' * 32}\n    # via harbour\n",
        f"anchor==1.0 \\\n    --hash=sha256:{'a' * 63}\n    # via harbour\n",
        f"anchor @ https://packages.example/anchor.whl \\\n    --hash=sha256:{'a' * 64}\n    # via harbour\n",
    ],
)
def test_a_line_that_would_install_something_unpinned_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    lock = write_lock(tmp_path, harbour="2.0")
    lock.write_text(lock.read_text() + line)

    with pytest.raises(LockError, match=r"requirements\.lock, line 4: "):
        read_lock(lock)


def write_lock(folder: Path, **versions: str) -> Path:
    lock = folder / "requirements.lock"
    entries = (
        f"{name}=={version} \\\n    --hash=sha256:{'c' * 64}\n    # via azure-policy-sync\n"
        for name, version in versions.items()
    )
    lock.write_text("".join(entries))
    return lock


# --- the wheel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files() -> list[str]:
    """What a clone of the repository holds, and what is about to be added to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def build(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds the wheel as `make wheel` does, from a copy of the repository."""

    def build(name: str, *, umask: int, mtime: int, **environ: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        for file in files:
            copy = folder / "source" / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy)
            copy.chmod(copy.stat().st_mode & ~umask)
            os.utime(copy, (mtime, mtime))
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", *options, "."],
            cwd=folder / "source",
            env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **environ},
            umask=umask,
            check=True,
        )
        return next(folder.glob("*.whl"))

    return build


@pytest.fixture(scope="module")
def wheel(build: Callable[..., Path]) -> Path:
    return build("wheel", umask=0o022, mtime=1_600_000_000, TZ="UTC", LC_ALL="C")


def test_the_wheel_is_the_same_bytes_whoever_builds_it_where_and_when(wheel: Path, build: Callable[..., Path]) -> None:
    circumstances = {"TZ": "Pacific/Auckland", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7"}
    other = build("somewhere-else", umask=0o077, mtime=1_650_000_000, **circumstances)

    assert other.name == wheel.name
    assert other.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_the_program_and_of_the_bundle_what_is_read_at_run_time(wheel: Path, files: list[str]) -> None:
    documents = {
        name.replace("templates/", "controller/bundle/", 1)
        for name in files
        if name.startswith("templates/") and Path(name).name in RUN_TIME_DOCUMENTS and "/samples/" not in name
    }

    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert len(documents) > 80
    assert held == documents | {name for name in files if name.startswith("controller/")}


def test_an_installed_wheel_renders_far_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # The dependencies are those of this environment; its .pth files, and so the repository, are not followed.
    libraries = next(place.glob("lib/python*/site-packages"))
    libraries.joinpath("borrowed.pth").write_text(f"{Path(pytest.__file__).resolve().parents[1]}\n")
    snapshot = shutil.copytree(ROOT / "examples" / "snapshot", tmp_path / "snapshot")

    def run(*command: str | Path) -> str:
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    where = run(python, "-c", "from controller.gatekeeper.sources import bundle_root; print(bundle_root())")
    rendered = run(place / "bin" / "azpolicy", "render", "--snapshot", snapshot)

    assert Path(where.strip()) == libraries / "controller" / "bundle"
    assert rendered.count("azpolicy.dev/template-source: bundle\n") > 3


# --- the bill of materials -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sbom(wheel: Path) -> Path:
    return write_sbom(wheel, RUNTIME)


def test_the_bill_of_materials_keeps_to_the_schema_of_cyclonedx(sbom: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.read_text()) is None


def test_the_bill_of_materials_lists_the_wheel_and_all_that_is_locked_with_digests_and_licences(
    sbom: Path, wheel: Path
) -> None:
    bom = json.loads(sbom.read_text())
    root = bom["metadata"]["component"]

    digest = subprocess.run(["sha256sum", wheel], check=True, capture_output=True, text=True).stdout.split()[0]
    assert root["purl"] == f"pkg:pypi/azure-policy-sync@{PROJECT['project']['version']}"
    assert root["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert root["licenses"][0]["license"]["id"] == "Apache-2.0"
    assert {(c["name"], c["version"], c["purl"]): digests(c) for c in bom["components"]} == {
        (each.name, each.version, f"pkg:pypi/{each.name}@{each.version}"): set(each.hashes)
        for each in read_lock(RUNTIME)
    }
    assert [c["name"] for c in bom["components"] if not c.get("licenses")] == []


def test_the_bill_of_materials_says_why_each_package_is_there(sbom: Path) -> None:
    bom = json.loads(sbom.read_text())
    needs = {each["ref"]: each.get("dependsOn", []) for each in bom["dependencies"]}
    root = bom["metadata"]["component"]["bom-ref"]

    reached, beyond = set(), [root]
    while beyond:
        reached.add(ref := beyond.pop())
        beyond += set(needs[ref]) - reached

    declared = {canonicalize_name(Requirement(each).name) for each in PROJECT["project"]["dependencies"]}
    assert {ref.partition("==")[0] for ref in needs[root]} == declared
    assert reached == {root} | {each["bom-ref"] for each in bom["components"]}


def test_the_bill_of_materials_is_the_same_bytes_when_it_is_made_again(sbom: Path, wheel: Path, tmp_path: Path) -> None:
    again = write_sbom(Path(shutil.copy(wheel, tmp_path)), RUNTIME)

    assert again.read_bytes() == sbom.read_bytes()


def test_another_lock_file_makes_another_bill_of_materials(sbom: Path, wheel: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(wheel, tmp_path))

    other = json.loads(write_sbom(copy, write_lock(tmp_path, anchor="1.0")).read_text())

    assert [each["name"] for each in other["components"]] == ["anchor"]
    assert other["serialNumber"] != json.loads(sbom.read_text())["serialNumber"]


def digests(component: Mapping[str, Any]) -> set[str]:
    return {each["content"] for reference in component["externalReferences"] for each in reference["hashes"]}


# --- the vulnerability check -----------------------------------------------------------------------------------------


@contextmanager
def osv_service(known: Mapping[str, list[str]], status: int = 200) -> Iterator[str]:
    """A stand-in for the OSV service, by package the names of its vulnerabilities; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            found = [{"id": each, "summary": "It leaks.", "affected": []} for each in known.get(asked, [])]
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Runs the check on a lock file with two packages on 1 June 2030; its exit code and lines."""
    lock = write_lock(tmp_path, anchor="1.0", buoy="2.0")
    accepted = tmp_path / "accepted.toml"

    def run(url: str, *options: str, entries: str = "") -> tuple[int, list[str]]:
        accepted.write_text(entries)
        arguments = ["--lock", str(lock), "--accepted", str(accepted), "--osv-url", url, *options]
        code = audit.main(arguments, today=date(2030, 6, 1))
        return code, capsys.readouterr().out.splitlines()

    return run


def entry(known: str, until: str) -> str:
    return f'[[accepted]]\nid = "{known}"\nuntil = {until}\nreason = "not used"\n'


def test_nothing_known_against_any_package_passes(check: Callable[..., tuple[int, list[str]]]) -> None:
    with osv_service({}) as url:
        result = check(url, "--strict")

    assert result == (0, ["vulnerability check passed: nothing is known against 2 packages"])


def test_a_vulnerability_fails_unless_it_is_accepted_until_a_day_that_is_not_over(
    check: Callable[..., tuple[int, list[str]]],
) -> None:
    accepted = entry("OSV-1", "2030-06-01") + entry("OSV-2", "2030-05-31")

    with osv_service({"anchor": ["OSV-1", "OSV-2"], "buoy": ["OSV-3"]}) as url:
        code, lines = check(url, entries=accepted)

    assert code == 1
    assert lines == [
        "vulnerability FOUND: anchor 1.0: OSV-2; no version fixes it yet",
        "vulnerability FOUND: buoy 2.0: OSV-3; no version fixes it yet",
        "vulnerability acceptance EXPIRED on 2030-05-31: OSV-2 (not used)",
    ]


def test_a_service_that_is_away_or_broken_is_told_aloud(check: Callable[..., tuple[int, list[str]]]) -> None:
    with osv_service({}, status=503) as url:
        broken = check(url)

    away = check(url)

    for code, lines in (broken, away):
        assert code == 0
        assert [line.startswith("vulnerability check SKIPPED: nothing was checked: ") for line in lines] == [True]


@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 3)])
def test_packages_that_the_service_does_not_know_are_not_taken_for_good(strict: bool, code: int) -> None:
    report = audit.report_of([{"name": "anchor", "version": "1.0", "vulns": []}, {"name": "buoy", "skip_reason": "?"}])

    answer = audit.verdict(report, (), checked=2, strict=strict)

    assert answer == (code, ["vulnerability check SKIPPED: buoy: the service does not know what it was asked for"])


@pytest.mark.parametrize(
    "entries",
    [
        '[[accepted]]\nid = "OSV-1"\nuntil = 2030-06-01\n',
        '[[accepted]]\nid = "OSV-1"\nuntil = 2030-06-01\nreason = " "\n',
        '[[accepted]]\nid = "OSV-1"\nreason = "not used"\n',
        '[[accepted]]\nid = "OSV-1"\nuntil = "never"\nreason = "not used"\n',
        entry("", "2030-06-01"),
        entry("OSV-1", "2030-06-01") + "severity = 1\n",
        "[[accepted]\n",
    ],
)
def test_an_acceptance_without_a_reason_and_a_last_day_is_refused(
    check: Callable[..., tuple[int, list[str]]], entries: str
) -> None:
    code, lines = check("http://127.0.0.1:9", entries=entries)

    assert code == 2
    assert [line.partition(":")[0] for line in lines] == ["vulnerability check FAILED"]


def test_the_list_of_accepted_vulnerabilities_can_be_read() -> None:
    audit.read_accepted(ROOT / "deploy" / "accepted-vulnerabilities.toml")


def test_pip_reads_back_what_the_check_writes_for_it() -> None:
    locked = Locked("anchor", "1.0", "sys_platform == 'win32'", ("a" * 64, "b" * 64), ("app",))

    assert locked.line() == (f"anchor==1.0 ; sys_platform == 'win32' --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}")


@pytest.mark.parametrize(
    ("lint", "tests", "found", "expected"),
    [(0, 0, 0, 0), (0, 0, 1, 0), (0, 2, 0, 2), (0, 2, 1, 2), (3, 0, 0, 3), (3, 0, 1, 3), (3, 2, 0, 2)],
)
def test_ci_runs_lint_and_tests_fails_by_either_and_reports_what_the_check_found(
    tmp_path: Path, lint: int, tests: int, found: int, expected: int
) -> None:
    make = tmp_path / "make"
    codes = f"lint) exit {lint};; test) exit {tests};; audit) exit {found};;"
    make.write_text(f"#!/bin/sh\necho made $1\ncase $1 in {codes} esac\n")
    make.chmod(0o755)
    (tmp_path / "chromium").symlink_to(make)  # what is there is not installed

    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([ROOT / ".ci/run"], env={"PATH": path}, capture_output=True, text=True, check=False)

    assert done.returncode == expected
    assert done.stdout == "made lint\nmade test\nmade audit\n"
    assert done.stderr.startswith("CI: this does not fail the build") is bool(found)
