"""Files written in one step."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Puts the content in place in one step: readers see the old or the new file, never half of one. OSError.

    The file before its last step lies in the same folder, under a name that begins with `.azpolicy-`; the user's umask
    decides who may read it, as with any other file.
    """
    unfinished = path.with_name(f".azpolicy-{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
