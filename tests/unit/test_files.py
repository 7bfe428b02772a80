"""Files written in one step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from controller.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_as_a_whole_and_under_the_users_umask(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    before = os.umask(0o027)
    try:
        replace_file(path, b"old")
        replace_file(path, b"new")
    finally:
        os.umask(before)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    with pytest.raises(OSError, match=r".+"):
        replace_file(folder, b"content")

    assert list(tmp_path.iterdir()) == [folder]
