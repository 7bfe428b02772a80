"""A snapshot folder, written as a whole: a reader never finds half of one, not even after a crash."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controller.azure.snapshot import is_exported, write_snapshot
from controller.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.jsontypes import Json

_DEPTH: Final = 2  # a folder for each kind, its files in it


def write_export(folder: Path, documents: Iterable[Mapping[str, Json]]) -> int:
    """Puts a new snapshot in the place of the folder and of an earlier export in it; returns the number of files.

    InputError, before anything is written, where the folder holds anything else.
    """
    folder = folder.absolute()
    _refuse_others(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, as only a rename within one file system is one step.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
            written = write_snapshot(Path(aside, "new"), documents)
            _swap(Path(aside, "new"), folder, Path(aside, "old"))
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from error
    return len(written)


def _refuse_others(folder: Path) -> None:
    """InputError for the first file that no export wrote: all of the folder is about to be replaced."""
    hint = "name a folder that is new, empty or written by azpolicy export"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is not a folder: {hint}")
    for found in sorted(folder.rglob("*")):
        kept_whole = len(found.relative_to(folder).parts) <= _DEPTH and not found.is_symlink()
        if not kept_whole or not (found.is_dir() or is_exported(found)):
            raise InputError(
                f"{found}: was not written by azpolicy export, which would replace the whole folder: {hint}"
            )


def _swap(new: Path, folder: Path, old: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    shutil.copymode(folder, new)
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
