"""What `azpolicy explain` tells: each fact of a member, of one that does not apply and of one that is not known."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from controller.azure.snapshot import read_snapshot
from controller.cli.main import main
from controller.commands.explain import as_json, as_text, explain
from controller.errors import InputError
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.providers import make_provider
from controller.policy.model import NotAppliedReason, UnresolvedReason
from controller.text import WIDTH
from tests.snapshots import CLUSTER_ID, GROUP, POLICY, STORE, Snapshot, TemplateFolder

if TYPE_CHECKING:
    from pathlib import Path

    from controller.gatekeeper.model import DesiredState

KIND = "K8sAzureV1Explained"


class Azure:
    """A snapshot with a definition `label`, its template in a folder, and what a test assigns."""

    def __init__(self, folder: Path) -> None:
        self.bundle = TemplateFolder(folder / "templates")
        self.snapshot = Snapshot(folder / "snapshot")
        self.url = self.bundle.write("explained/v1", KIND)
        self.label = self.snapshot.define("label", self.url, version="1.2.0")

    def desired(self) -> DesiredState:
        state = read_snapshot(self.snapshot.folder, None)
        provider = make_provider(str(self.bundle.folder))
        return asyncio.run(desired_state(state, provider, now=datetime(2026, 1, 1, tzinfo=UTC), marks=OwnershipMarks()))

    def members(self, *assignments: str) -> list[dict[str, Any]]:
        """What the JSON says of the members."""
        document: dict[str, Any] = json.loads(as_json(explain(self.desired(), assignments)))
        members: list[dict[str, Any]] = document["members"]
        return members

    def member(self) -> dict[str, Any]:
        [member] = self.members()
        return member

    def text(self) -> str:
        return "\n".join(as_text(explain(self.desired())))

    def property(self, name: str, value: object) -> None:
        """Sets a property of the assignment `one`."""
        file = self.snapshot.folder / "assignment-one.json"
        document = json.loads(file.read_text())
        document["properties"][name] = value
        self.snapshot.write("assignment-one", document)


@pytest.fixture
def azure(tmp_path: Path) -> Azure:
    return Azure(tmp_path)


def test_an_enforced_member_tells_version_effect_template_and_objects(azure: Azure) -> None:
    azure.snapshot.assign("one", azure.label, version="1.*.*", effect="Audit")

    member = azure.member()

    assert (member["outcome"], member["applies"], member["reason"]) == ("Rendered", True, "")
    assert member["definition"] == {
        "id": azure.label,
        "name": "Definition label",
        "versionAsked": "1.*.*",
        "version": "1.2.0",
    }
    assert member["effect"] == {"value": "audit", "from": "assignment parameter", "enforcementAction": "dryrun"}
    assert member["template"]["name"] == KIND.lower()
    assert member["template"]["url"] == f"{STORE}/explained/v1/template.yaml"
    assert len(member["template"]["digest"]) == 64
    assert [made["kind"] for made in member["objects"]] == ["ConstraintTemplate", KIND]


def test_a_member_of_an_initiative_tells_the_versions_of_both(azure: Azure) -> None:
    initiative = azure.snapshot.initiative("base", {"member-a": azure.label})
    azure.snapshot.assign("one", initiative, version="1.*.*")

    member = azure.member()

    assert member["initiative"]["id"] == initiative
    assert (member["initiative"]["versionAsked"], member["initiative"]["version"]) == ("1.*.*", "1.0.0")
    assert (member["referenceId"], member["definition"]["version"]) == ("member-a", "1.2.0")


def test_an_overridden_version_is_the_one_asked_for(azure: Azure) -> None:
    azure.snapshot.define("label", azure.url, version="2.0.0")
    azure.snapshot.assign("one", azure.snapshot.initiative("base", {"member-a": azure.label}))
    selector = {"kind": "policyDefinitionReferenceId", "in": ["member-a"]}
    azure.property("overrides", [{"kind": "definitionVersion", "value": "1.*.*", "selectors": [selector]}])

    definition = azure.member()["definition"]

    assert (definition["versionAsked"], definition["version"]) == ("1.*.*", "1.2.0")


def _override(azure: Azure) -> None:
    azure.property("overrides", [{"kind": "policyEffect", "value": "Audit"}])


@pytest.mark.parametrize(
    ("change", "effect", "origin", "action"),
    [
        (lambda _: None, "deny", "definition default", "deny"),
        (
            lambda azure: azure.property("parameters", {"effect": {"value": "Audit"}}),
            "audit",
            "assignment parameter",
            "dryrun",
        ),
        (_override, "audit", "override", "dryrun"),
        (lambda azure: azure.property("enforcementMode", "DoNotEnforce"), "deny", "definition default", "dryrun"),
    ],
    ids=["default", "parameter", "override", "enforcement mode"],
)
def test_an_effect_tells_where_it_is_from(azure: Azure, change: Any, effect: str, origin: str, action: str) -> None:
    azure.snapshot.assign("one", azure.label)
    change(azure)

    assert azure.member()["effect"] == {"value": effect, "from": origin, "enforcementAction": action}


def test_an_enforcement_mode_that_changes_what_is_done_is_told(azure: Azure) -> None:
    azure.snapshot.assign("one", azure.label)
    azure.property("enforcementMode", "DoNotEnforce")

    assert "enforcementAction dryrun as enforcementMode is DoNotEnforce" in " ".join(azure.text().split())


def test_a_member_that_does_not_apply_tells_the_rule_and_what_would_change_it(azure: Azure) -> None:
    azure.snapshot.assign("one", azure.label)
    azure.property("notScopes", [GROUP])

    member = azure.member()

    assert (member["outcome"], member["applies"], member["reason"]) == ("NotApplied", False, "NotScopes")
    assert member["message"] == f"notScopes excludes {GROUP}"
    assert "remove the scope" in member["advice"]
    assert (member["effect"], member["template"], member["objects"]) == (None, None, [])


def test_a_member_that_is_not_known_tells_why_and_what_to_do(azure: Azure) -> None:
    azure.snapshot.assign("one", f"{POLICY}/policyDefinitions/nowhere")

    member = azure.member()

    assert (member["outcome"], member["applies"], member["reason"]) == ("Unresolved", None, "DefinitionMissing")
    assert "nowhere is missing" in member["message"]
    assert "azpolicy export" in member["advice"]


def test_every_reason_has_its_advice() -> None:
    from controller.commands.explain import _ADVICE

    assert set(_ADVICE) == {*NotAppliedReason, *UnresolvedReason}


@pytest.mark.parametrize("name", ["ONE", f"{CLUSTER_ID}{POLICY}/policyAssignments/one", "Assignment One"])
def test_an_assignment_is_found_by_name_id_and_display_name_in_any_case(azure: Azure, name: str) -> None:
    for each in ("one", "two"):
        azure.snapshot.assign(each, azure.label)
    azure.property("displayName", "Assignment one")
    [wanted] = [each for each in azure.members() if each["assignmentName"] == "Assignment one"]
    name = wanted["assignmentId"].upper() if name.startswith("/") else name

    assert azure.members(name) == [wanted]


def test_an_assignment_that_is_not_there_is_an_error_that_names_those_that_are(azure: Azure) -> None:
    azure.snapshot.assign("one", azure.label)

    with pytest.raises(InputError, match=r"no assignment 'other'.*there is one"):
        explain(azure.desired(), ["one", "other"])


def test_the_text_keeps_to_its_width_but_for_what_must_not_be_cut(azure: Azure) -> None:
    azure.snapshot.assign("one", azure.label)
    azure.snapshot.assign("two", f"{POLICY}/policyDefinitions/{'nowhere-' * 20}")
    azure.property("displayName", "words " * 60)

    wide = [line for line in azure.text().splitlines() if len(line) > WIDTH]

    assert wide
    assert all(" " not in line.strip() for line in wide)


def test_text_from_elsewhere_cannot_start_a_line_or_move_the_cursor(azure: Azure) -> None:
    azure.snapshot.assign("one", azure.label)
    azure.property("displayName", "fine\n  + forged, enforced\x1b[2J")

    text = azure.text()

    assert "\x1b" not in text
    assert not any(line.startswith("  + forged") for line in text.splitlines())


def test_the_command_prints_json_and_ends_with_2_when_strict_and_something_is_unknown(
    azure: Azure, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.snapshot.assign("one", f"{POLICY}/policyDefinitions/nowhere")
    options = ["explain", "--snapshot", str(azure.snapshot.folder), "-o", "json"]

    codes = []
    for further in ([], ["--strict"]):
        with pytest.raises(SystemExit) as ended:
            main([*options, *further])
        codes.append(ended.value.code)
        assert json.loads(capsys.readouterr().out)["counts"] == {"NotApplied": 0, "Rendered": 0, "Unresolved": 1}

    assert codes == [0, 2]


def test_a_template_that_the_definition_carries_is_to_be_corrected_there(azure: Azure) -> None:
    carried = {"sourceType": "Base64Encoded", "content": "%%%"}
    azure.snapshot.assign("one", azure.snapshot.define("carried", azure.url, templateInfo=carried))

    member = next(each for each in azure.members() if each["reason"])

    assert member["reason"] == "TemplateMalformed"
    assert "the base64 template in the definition: it is not base64 text" in member["message"]
    assert member["advice"] == "correct the document that it names, in the definition or where it is kept"
