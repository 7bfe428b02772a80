"""`azpolicy export` against the stand-in: the snapshot means the same as Azure, and is written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from controller.commands.export import write_export
from controller.errors import InputError
from tests.azure.faults import FaultKind
from tests.azure.world import (
    GROUP,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    make_assignment,
    make_cluster,
    make_definition,
)
from tests.snapshots import TemplateFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.azure.conftest import Shell
    from tests.azure.standin import Standin

DETAILS: Final = {"apiGroups": [""], "kinds": ["Pod"], "values": {"labels": ["forbidden"]}}


def files(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_the_snapshot_renders_to_the_same_objects_byte_for_byte(arm: Standin, shell: Shell, tmp_path: Path) -> None:
    """With members that are enforced, exempt, excluded by a management group, and without a template."""
    url = TemplateFolder(tmp_path / "templates").write("exported/v1", "K8sAzureV1Exported")
    for scope, version in (("", "1.0.0"), ("", "1.2.0"), (SUBSCRIPTION, "1.0.0")):
        definition = make_definition("labels", version, scope=scope)
        definition["properties"]["policyRule"]["then"]["details"] = {
            "templateInfo": {"sourceType": "PublicURL", "url": url},
            **DETAILS,
        }
        arm.documents.put(definition)
    arm.documents.management_groups = frozenset({"corp"})
    custom = definition_id("labels", SUBSCRIPTION)
    arm.documents.put(make_assignment("built-in", definition_id("labels"), definitionVersion="1.*.*"))
    arm.documents.put(make_assignment("custom", custom, scope=GROUP, enforcementMode="DoNotEnforce"))
    arm.documents.put(make_assignment("excluded", custom, scope=SUBSCRIPTION, notScopes=[MANAGEMENT_GROUP]))
    elsewhere = MANAGEMENT_GROUP.replace("corp", "lab")
    arm.documents.put(make_assignment("elsewhere", custom, scope=SUBSCRIPTION, notScopes=[elsewhere]))
    templates = ["--templates", str(tmp_path / "templates")]

    exported = shell("export", str(tmp_path / "saved"), *shell.azure)
    from_azure = shell("render", *shell.azure, *templates)
    from_snapshot = shell("render", "--snapshot", str(tmp_path / "saved"), *templates)

    assert exported[0] == 0, exported[2]
    assert from_azure[1].count("\nkind: K8sAzureV1Exported\n") == 3
    assert from_snapshot == from_azure
    assert shell("explain", "--snapshot", str(tmp_path / "saved"), *templates) == shell(
        "explain", *shell.azure, *templates
    )


def test_an_export_again_replaces_what_the_first_left_and_nothing_is_left_beside_it(
    arm: Standin, shell: Shell, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    shell("export", str(folder), *shell.azure)
    before = files(folder)
    arm.documents.delete(assignment_id("alpha"))

    assert shell("export", str(folder), *shell.azure)[0] == 0

    [gone] = before.keys() - files(folder).keys()
    assert gone.startswith("policyAssignments/alpha-")
    assert sorted(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("kind", [FaultKind.FORBIDDEN, FaultKind.NOT_FOUND, FaultKind.NO_VALUE, FaultKind.NO_JSON])
def test_a_reading_that_fails_leaves_the_earlier_export_as_it_was(
    kind: FaultKind, arm: Standin, shell: Shell, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    shell("export", str(folder), *shell.azure)
    before = files(folder)
    arm.documents.delete(assignment_id("alpha"))
    arm.fail(kind, "policyAssignments", times=1000)

    code, _, err = shell("export", str(folder), *shell.azure)

    assert (code, err.startswith("error: "), err.count("\n")) == (2, True, 1)
    assert files(folder) == before


@pytest.mark.parametrize(
    "name", ["notes.txt", "policyAssignments/mine.json", ".git/HEAD", "a/b/alpha-0123456789ab.json"]
)
def test_a_folder_with_files_that_no_export_wrote_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "saved"
    write_export(folder, [make_cluster()])
    before = files(folder)
    theirs = folder / name
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("{}")

    with pytest.raises(InputError, match="was not written by azpolicy export"):
        write_export(folder, [make_cluster(), make_definition("probes")])

    assert files(folder) == before | {name: "{}"}


def test_a_link_or_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")

    for name in ("link", "file"):
        with pytest.raises(InputError, match="is not a folder"):
            write_export(tmp_path / name, [make_cluster()])


def test_documents_that_contradict_each_other_leave_the_earlier_export_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    write_export(folder, [make_cluster()])
    before = files(folder)

    with pytest.raises(InputError, match="two different documents"):
        write_export(folder, [make_definition("probes"), make_definition("probes", displayName="another")])

    assert files(folder) == before
    assert sorted(tmp_path.iterdir()) == [folder]


def test_the_new_export_comes_into_place_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that fails puts the earlier export back. Patched, as no file system fails on demand."""
    folder = tmp_path / "saved"
    write_export(folder, [make_cluster()])
    before = files(folder)
    renames: list[tuple[str, str]] = []
    rename: Callable[[str, str], None] = os.rename

    def fails_for_the_new_one(source: str, target: str) -> None:
        renames.append((str(source), str(target)))
        if str(source).endswith("new"):
            raise OSError(5, "Input/output error", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_new_one)
    with pytest.raises(InputError, match="cannot be written: Input/output error"):
        write_export(folder, [make_definition("probes")])

    assert files(folder) == before
    assert [target for _, target in renames].count(str(folder)) == 2


def test_azure_and_a_snapshot_at_once_are_refused(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("export", str(tmp_path / "saved"), "--snapshot", str(tmp_path), *shell.azure)

    assert code == 2
    assert "remove --snapshot" in err
    assert not (tmp_path / "saved").exists()
