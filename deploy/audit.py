"""Asks whether vulnerabilities are published of what requirements.lock installs, and says aloud where nobody answered.

pip-audit does the asking. Two of its answers are not what they seem: a service that knows none of the packages makes it
report "no known vulnerabilities" and exit with 0, and a service that cannot be reached makes it exit with 1, as a
finding does. Here either is SKIPPED, in capitals: it passes, for a build must not need the network, but not silently.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deploy.lockfile import LockError, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.lockfile import Locked

ROOT: Final = Path(__file__).resolve().parent.parent
LONGEST_SECONDS: Final = 300
FOUND, BAD_INPUT, UNCHECKED = 1, 2, 3


class AcceptedError(Exception):
    """An entry of the list of accepted vulnerabilities that says too little; the message names it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A vulnerability that somebody decided to live with, up to and including a day."""

    id: str
    until: date
    reason: str

    @classmethod
    def of(cls, entry: Any) -> Accepted:
        """Reads one entry; AcceptedError where its id, day or reason is missing or empty."""
        match entry:
            case {"id": str(known), "until": date() as until, "reason": str(reason), **rest} if (
                known and reason.strip()
            ):
                if not rest and not isinstance(until, datetime):
                    return cls(known, until, reason)
        raise AcceptedError(f"accepted vulnerability {entry}: give id, until (a date) and reason, and nothing else")


@dataclass(frozen=True, slots=True)
class Finding:
    """A published vulnerability of a locked package."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fix = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no version fixes it yet"
        return f"{self.package} {self.version}: {', '.join(self.ids)}; {fix}"


@dataclass(frozen=True, slots=True)
class Report:
    """What the service answered: `unchecked` are packages that it does not know, or all with a reason why."""

    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]
    reason: str


def read_accepted(path: Path) -> tuple[Accepted, ...]:
    """The accepted vulnerabilities, expired ones included."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AcceptedError(f"{path.name}: {error}") from error
    return tuple(map(Accepted.of, content.get("accepted", [])))


@dataclass(frozen=True, slots=True)
class Service:
    """The service to ask: the package index's own list, or an OSV service at a URL, such as a mirror within a firm."""

    osv_url: str = ""

    def audit(self, lock: Sequence[Locked], accepted: Sequence[Accepted]) -> Report:
        """The answer about all packages; where there is none about the first, the others are not asked for."""
        first = self._ask(lock[:1], accepted)
        if first.unchecked:
            return Report(first.findings, tuple(locked.name for locked in lock), first.reason)
        return self._ask(lock, accepted)

    def _ask(self, lock: Sequence[Locked], accepted: Sequence[Accepted]) -> Report:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.writelines(f"{locked.line()}\n" for locked in lock)
            requirements.flush()
            command = [sys.executable, "-m", "pip_audit", *self._options(requirements.name, accepted)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
            except subprocess.TimeoutExpired:
                return Report((), tuple(locked.name for locked in lock), f"no end after {LONGEST_SECONDS} s")
        try:
            return report_of(json.loads(done.stdout)["dependencies"])
        except ValueError:
            words = done.stderr.strip().splitlines() or ["pip-audit says nothing"]
            return Report((), tuple(locked.name for locked in lock), words[-1])

    def _options(self, requirements: str, accepted: Sequence[Accepted]) -> Iterator[str]:
        yield from ("--requirement", requirements, "--require-hashes", "--disable-pip")
        yield from ("--format", "json", "--desc", "off", "--aliases", "on", "--progress-spinner", "off")
        yield from ("--vulnerability-service", "osv", "--osv-url", self.osv_url) if self.osv_url else ()
        for known in accepted:
            yield from ("--ignore-vuln", known.id)


def report_of(dependencies: Sequence[dict[str, Any]]) -> Report:
    findings = tuple(
        Finding(each["name"], each["version"], (found["id"], *found["aliases"]), tuple(found["fix_versions"]))
        for each in dependencies
        for found in each.get("vulns", ())
    )
    unknown = tuple(each["name"] for each in dependencies if "skip_reason" in each)
    return Report(findings, unknown, "the service does not know what it was asked for")


def verdict(report: Report, expired: Sequence[Accepted], *, checked: int, strict: bool) -> tuple[int, list[str]]:
    """The exit code, and every line that has to be said.

    | found or expired | not checked | exit code            |
    |------------------|-------------|----------------------|
    | yes              | any         | 1                    |
    | no               | none        | 0                    |
    | no               | some or all | 0; 3 where `strict`  |
    """
    lines = [f"vulnerability FOUND: {finding}" for finding in report.findings]
    lines += [f"vulnerability acceptance EXPIRED on {old.until}: {old.id} ({old.reason})" for old in expired]
    failed = FOUND if lines else 0
    if not report.unchecked:
        return failed, lines or [f"vulnerability check passed: nothing is known against {checked} packages"]
    which = "nothing was checked" if len(report.unchecked) == checked else ", ".join(report.unchecked)
    return failed or (UNCHECKED if strict else 0), [*lines, f"vulnerability check SKIPPED: {which}: {report.reason}"]


def main(arguments: list[str] | None = None, *, today: date | None = None) -> int:
    """Prints what was found; the exit code is `verdict`'s, or 2 where a file given cannot be used."""
    given = _parser().parse_args(arguments)
    today = today or datetime.now(UTC).date()
    try:
        lock, accepted = read_lock(given.lock), read_accepted(given.accepted)
    except (AcceptedError, LockError, OSError) as error:
        print(f"vulnerability check FAILED: {error}")
        return BAD_INPUT
    expired = [each for each in accepted if each.until < today]
    report = Service(given.osv_url).audit(lock, [each for each in accepted if each not in expired])
    code, lines = verdict(report, expired, checked=len(lock), strict=given.strict)
    print(*lines, sep="\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.audit", description=__doc__)
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--accepted", type=Path, default=ROOT / "deploy" / "accepted-vulnerabilities.toml")
    parser.add_argument("--osv-url", default="", help="ask this OSV service (…/v1/query) instead of the package index")
    parser.add_argument("--strict", action="store_true", help="fail (3) where not everything was checked, for releases")
    return parser


if __name__ == "__main__":
    sys.exit(main())
