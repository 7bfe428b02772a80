"""The order of a run: nobody waits for a long file that began last, and processors have work while clusters wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tests.cluster.conftest import HERE, LONGEST, pytest_collection_modifyitems

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Item:
    """As much of a collected test as the order needs."""

    def __init__(self, path: Path) -> None:
        self.path, self.marks = path, list[object]()

    def add_marker(self, mark: object) -> None:
        self.marks.append(mark)


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONGEST if not (HERE / name).is_file()] == []


def test_the_longest_files_come_first_then_the_clusters_others_then_all_others() -> None:
    elsewhere, short = HERE.parent / "azure" / "test_cloud.py", HERE / "test_catalogue.py"
    items = [Item(path) for path in (elsewhere, short, HERE / LONGEST[1], HERE / LONGEST[0])]

    pytest_collection_modifyitems(cast("list[pytest.Item]", items))

    assert [item.path for item in items] == [HERE / LONGEST[0], HERE / LONGEST[1], short, elsewhere]
    assert [bool(item.marks) for item in items] == [True, True, True, False]
