"""A snapshot is read whole or not at all, and written so that it reads back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from controller.azure.snapshot import LARGEST_FILE, _files, fingerprint, read_snapshot, write_snapshot
from controller.errors import AzpolicyError, InputError, SourceError
from tests.unit.azure_builders import (
    CLUSTER_ID,
    assignment_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_initiative,
    make_state,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from controller.jsontypes import Json

RESOURCES = [make_cluster(), make_assignment(), make_definition(), make_initiative(), make_exemption()]
DOCUMENTS: Json = [*RESOURCES]


def write(path: Path, content: Json) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("content", [DOCUMENTS, {"value": DOCUMENTS}, {"value": DOCUMENTS, "nextLink": None}])
def test_a_file_holds_an_array_or_a_list_response(tmp_path: Path, content: Json) -> None:
    assert read_snapshot(write(tmp_path / "all.json", content), None) == make_state(*RESOURCES)


def test_a_folder_holds_files_at_any_depth(tmp_path: Path) -> None:
    for index, document in enumerate(RESOURCES):
        write(tmp_path / "/".join("abcde"[:index]) / f"{index}.json", document)

    assert read_snapshot(tmp_path, None) == make_state(*RESOURCES)


def test_files_of_other_kinds_and_hidden_ones_are_no_part_of_it(tmp_path: Path) -> None:
    write(tmp_path / "a.json", DOCUMENTS)
    (tmp_path / "README.md").write_text("{", encoding="utf-8")
    (tmp_path / ".hidden.json").write_text("{", encoding="utf-8")
    write(tmp_path / ".git" / "b.json", 7)

    assert read_snapshot(tmp_path, None) == make_state(*RESOURCES)


def test_a_mounted_volume_reads_like_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "..2026_03_01" / "a.json", DOCUMENTS)
    (tmp_path / "..data").symlink_to("..2026_03_01")
    (tmp_path / "a.json").symlink_to("..data/a.json")

    assert read_snapshot(tmp_path, None) == make_state(*RESOURCES)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "kept" / "a.json", DOCUMENTS)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "linked").symlink_to(tmp_path / "kept")
    (tmp_path / "kept" / "round").symlink_to(snapshot)
    (tmp_path / "kept" / "self").symlink_to(".")

    assert read_snapshot(snapshot, None) == make_state(*RESOURCES)
    assert len(_files(snapshot)) == 1


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(DOCUMENTS).encode())

    assert read_snapshot(path, None) == make_state(*RESOURCES)


BROKEN: dict[str, tuple[bytes, str]] = {
    "broken JSON names the line": (b'{\n "id": "/a",\n}', r"a\.json: line 3, column 1"),
    "truncated": (b'[{"id": "/a"', r"a\.json: line 1"),
    "empty": (b"", r"a\.json: is empty"),
    "blank": (b" \n", r"a\.json: is empty"),
    "a string": (b'"x"', r"a\.json: must contain an ARM resource"),
    "a number": (b"7", r"a\.json: must contain an ARM resource"),
    "null": (b"null", r"a\.json: must contain an ARM resource"),
    "an array of numbers": (b"[1]", r"a\.json\[0\]: must be an ARM resource"),
    "a list response without a list": (b'{"value": {}}', r"a\.json: 'value' must be a list"),
    "no resource": (b"{}", r"a\.json: this is not an ARM resource"),
    "Latin-1": (b'{\n"id": "\xe4"}', r"a\.json: line 2: not UTF-8"),
    "UTF-16": ('{"id": "/a"}'.encode("utf-16"), r"a\.json: line 1: not UTF-8"),
    "too deep": (b"[" * 100_000, r"a\.json: is nested too deeply"),
    "a key twice": (b'{"id": "/a", "id": "/b"}', r"a\.json: the key 'id' appears twice"),
    "not a number": (b'{"id": NaN}', r"a\.json: NaN is not a JSON number"),
    "a number beyond measure": (b'{"id": ' + b"9" * 10_000 + b"}", r"a\.json: contains a number with too many digits"),
    "null bytes": (b"\0\0\0\0", r"a\.json: line 1"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    write(tmp_path / "b.json", DOCUMENTS)

    with pytest.raises(InputError, match=reason) as caught:
        read_snapshot(tmp_path, None)

    assert "\n" not in str(caught.value)


def test_one_document_nested_without_end_is_unreadable_and_its_neighbours_are_read(tmp_path: Path) -> None:
    deep = make_assignment("deep", parameters={"x": {"value": "DEEP"}})
    text = json.dumps([make_cluster(), deep, make_assignment("good"), make_definition()])
    (tmp_path / "all.json").write_text(text.replace('"DEEP"', "[" * 5000 + "]" * 5000))

    state = read_snapshot(tmp_path, None)

    [found] = state.unreadable.values()
    assert found.id == deep["id"]
    assert "nested deeper" in found.reason
    assert [each.name for each in state.assignments] == ["good"]


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)

    with pytest.raises(InputError, match="larger than 64 MiB"):
        read_snapshot(path, None)


def test_a_page_of_a_longer_list_is_no_snapshot(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"value": DOCUMENTS, "nextLink": "https://management.azure.com/next"})

    with pytest.raises(SourceError, match="one page of a list"):
        read_snapshot(path, None)


def test_a_folder_without_json_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no JSON file in it"):
        read_snapshot(tmp_path, CLUSTER_ID)


@pytest.mark.parametrize(
    "read", [lambda path: read_snapshot(path, CLUSTER_ID), fingerprint], ids=["read", "fingerprint"]
)
def test_a_path_that_is_not_there_is_an_error_that_names_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        read(tmp_path / "nowhere")


def test_a_link_to_nowhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("gone.json")

    with pytest.raises(InputError, match=r"a\.json: cannot be read"):
        read_snapshot(tmp_path, CLUSTER_ID)


def test_differing_documents_of_one_id_name_both_files(tmp_path: Path) -> None:
    write(tmp_path / "a.json", make_assignment(effect="Deny"))
    write(tmp_path / "b.json", [make_cluster(), make_assignment(effect="Audit")])

    with pytest.raises(InputError, match=r"a\.json and .*b\.json\[1\] both contain"):
        read_snapshot(tmp_path, None)


def test_files_that_change_while_they_are_read_make_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.json", DOCUMENTS)
    fingerprints = iter(["before", "after"])
    # Nothing but a race would change the files between the two looks.
    monkeypatch.setattr("controller.azure.snapshot.fingerprint", lambda _: next(fingerprints))

    with pytest.raises(SourceError, match="changed while it was read"):
        read_snapshot(tmp_path, None)


def test_the_fingerprint_changes_with_every_change_of_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", DOCUMENTS)
    seen = [fingerprint(tmp_path)]
    write(tmp_path / "b.json", [])
    seen.append(fingerprint(tmp_path))
    path.rename(tmp_path / "c.json")
    seen.append(fingerprint(tmp_path))
    os.utime(tmp_path / "c.json", ns=(1, 1))
    seen.append(fingerprint(tmp_path))
    (tmp_path / "b.json").unlink()
    seen.append(fingerprint(tmp_path))

    assert len(set(seen)) == len(seen)
    assert fingerprint(tmp_path) == seen[-1]


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    files = write_snapshot(tmp_path, RESOURCES)

    assert len(files) == len(RESOURCES)
    assert read_snapshot(tmp_path, None) == make_state(*RESOURCES)


def test_versions_of_one_definition_get_files_of_their_own(tmp_path: Path) -> None:
    versions = [make_definition(version="1.0.0"), make_definition(version="2.0.0"), make_definition("other")]

    assert len(write_snapshot(tmp_path, versions)) == 3
    assert read_snapshot(tmp_path, CLUSTER_ID) == make_state(*versions)


def test_names_and_content_of_files_do_not_depend_on_order(tmp_path: Path) -> None:
    first = write_snapshot(tmp_path / "a", RESOURCES)
    second = write_snapshot(tmp_path / "b", [dict(reversed(each.items())) for each in reversed(RESOURCES)])

    assert [(path.name, path.read_bytes()) for path in first] == [(path.name, path.read_bytes()) for path in second]


def test_another_export_replaces_the_last_and_leaves_others_files_alone(tmp_path: Path) -> None:
    write_snapshot(tmp_path, RESOURCES)
    kept = write(tmp_path / "policyAssignments" / "mine.json", make_assignment("mine"))

    write_snapshot(tmp_path, [make_cluster()])

    assert kept.exists()
    assert {each.id for each in read_snapshot(tmp_path, None).assignments} == {assignment_id("mine")}


def test_an_export_that_changes_nothing_touches_nothing(tmp_path: Path) -> None:
    write_snapshot(tmp_path, RESOURCES)
    before = fingerprint(tmp_path)

    write_snapshot(tmp_path, RESOURCES)

    assert fingerprint(tmp_path) == before


def test_an_export_of_two_documents_under_one_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two different documents"):
        write_snapshot(tmp_path, [make_assignment(effect="Deny"), make_assignment(effect="Audit")])


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(AzpolicyError, match="cannot be written"):
        write_snapshot(tmp_path / "file", RESOURCES)


def test_hostile_names_stay_inside_the_folder(tmp_path: Path) -> None:
    document = make_assignment("../../etc/passwd\0")

    files = write_snapshot(tmp_path / "export", [document])

    assert all(file.resolve().is_relative_to(tmp_path / "export") for file in files)
