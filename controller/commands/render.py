"""Objects as YAML text, on one stream or as a folder that `kubectl apply -f` takes in the right order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from controller.errors import InputError
from controller.files import replace_file
from controller.gatekeeper.model import Role
from controller.gatekeeper.yamltext import write_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from controller.gatekeeper.model import DesiredObject

MARK: Final = "# Written by azpolicy render, which replaces and removes it: change the assignment instead.\n"
_ORDER: Final = {role: position for position, role in enumerate(Role, start=1)}
_OURS: Final = re.compile(r"[1-9]-.+\.yaml")


def texts(objects: Iterable[DesiredObject]) -> Iterator[str]:
    """Each object as a YAML document that begins with `---`."""
    return (write_yaml([desired.manifest]) for desired in objects)


def file_name(desired: DesiredObject) -> str:
    """The object's file; the digit in front makes an alphabetical listing the order in which to apply."""
    return f"{_ORDER[desired.role]}-{desired.ref.kind.lower()}-{desired.ref.name}.yaml"


def write_folder(folder: Path, objects: Sequence[DesiredObject]) -> None:
    """One file per object, each replaced as a whole; earlier files of ours that no object needs any more are removed.

    InputError, before anything is written, where a file that we did not write stands in the way.
    """
    wanted = dict(zip(map(file_name, objects), texts(objects), strict=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in folder.iterdir() if path.name in wanted or _OURS.fullmatch(path.name)}
        ours = {name for name in present if _is_ours(folder / name)}
        if foreign := sorted(present & wanted.keys() - ours):
            raise InputError(f"{folder / foreign[0]} was not written by azpolicy: move it away or name another folder")
        for name, text in wanted.items():
            replace_file(folder / name, (MARK + text).encode())
        for name in ours - wanted.keys():
            (folder / name).unlink()
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()
