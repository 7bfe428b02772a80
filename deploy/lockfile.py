"""The lock files as data. The reader takes nothing but exact versions with SHA-256 digests and who asked for them.

What it does not know is an error and not skipped: a line such as `--index-url` or one without a digest would change
what gets installed and must not pass unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENTRY: Final = re.compile(
    r"""
    (?P<name>[a-z0-9][-a-z0-9]*)==(?P<version>[0-9][0-9A-Za-z.!+]*)(?:\ ;\ (?P<marker>[^\\\n]+?))?\ \\\n
    (?P<hashes>(?:\ {4}--hash=sha256:[0-9a-f]{64}\ \\\n)*\ {4}--hash=sha256:[0-9a-f]{64}\n)
    \ {4}\#\ via(?P<via>\ \S.*|(?:\n\ {4}\#\ {3}\S.*)+)\n
    """,
    re.VERBOSE,
)
_ASKING: Final = re.compile(r"^(?: {4}#)? +(\S+)", re.MULTILINE)


class LockError(Exception):
    """A line of a lock file that is no pinned and hashed requirement; the message names it."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One package at one version; `hashes` are the SHA-256 of each of its files, `via` who depends on it."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]

    def line(self) -> str:
        """The requirement as pip reads it."""
        requirement = f"{self.name}=={self.version}{f' ; {self.marker}' if self.marker else ''}"
        return " ".join((requirement, *(f"--hash=sha256:{digest}" for digest in self.hashes)))


def read_lock(path: Path) -> tuple[Locked, ...]:
    """Every entry of a lock file, in its order; LockError names the first line that is none."""
    return tuple(_entries(path.read_text(encoding="utf-8"), path.name))


def _entries(text: str, name: str) -> Iterator[Locked]:
    at = 0
    while at < len(text):
        found = _ENTRY.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise LockError(f"{name}, line {line}: the entry is no exact version with sha256 hashes: run `make lock`")
        yield Locked(
            found["name"],
            found["version"],
            found["marker"] or "",
            tuple(re.findall(r"[0-9a-f]{64}", found["hashes"])),
            tuple(_ASKING.findall(found["via"])),
        )
        at = found.end()
