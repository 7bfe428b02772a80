"""Microsoft's own defaults: no note may say of one of them that it can never match, and none is refused unseen."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.azure.snapshot import read_snapshot
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.documents import Origin
from controller.gatekeeper.model import Rendered
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.sources import Folder, TemplateSources, bundle_root
from controller.policy.model import Unresolved, UnresolvedReason
from tests.snapshots import CLUSTER_ID, GROUP, POLICY, Snapshot

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredState

AZURE: Final = Path(__file__).parents[4] / "shared" / "azure-policy"
# What is true of old versions: two allow nothing, as their own descriptions say, and initiatives that pin no version of
# their definitions give the newest one parameters that it does not have any more.
TRUE: Final = [
    "allowedProfiles is an empty list, which allows nothing",
    "parameter 'maxPort' is not declared, so its value is ignored",
    "parameter 'minPort' is not declared, so its value is ignored",
    # Some of Microsoft's definitions have no parameter source; beside them stand some that are expanded by default.
    "the policy names no source, so it is Original, Azure's default: what expansion makes is not judged",
]


def assign(snapshot: Snapshot, name: str, of: str, version: str, effect: str) -> None:
    properties: dict[str, Any] = {
        "scope": GROUP,
        "policyDefinitionId": of,
        "definitionVersion": version,
        "enforcementMode": "Default",
        "parameters": {},
        "overrides": [{"kind": "policyEffect", "value": effect}] if effect else [],
    }
    assignment_id = f"{GROUP}{POLICY}/policyAssignments/{name}"
    kind = "Microsoft.Authorization/policyAssignments"
    document = {"id": assignment_id, "type": kind, "name": name, "properties": properties}
    snapshot.write(f"assignment-{name}", document)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> DesiredState:
    """Every version of every definition and initiative, assigned with its defaults, as it is and to be audited."""
    if not AZURE.is_dir():
        pytest.skip("Azure's definitions are not beside this checkout")
    snapshot = Snapshot(tmp_path_factory.mktemp("defaults"))
    for folder in ("definitions", "initiatives"):
        shutil.copytree(AZURE / folder, snapshot.folder / folder)
        for number, file in enumerate(sorted((AZURE / folder).glob("*/*.json"))):
            document = json.loads(file.read_text())
            of = str(document["id"]).partition("/versions/")[0]
            version = document["properties"].get("version") or file.stem
            for effect in ("", "Audit"):
                assign(snapshot, f"{folder}-{number}{effect}", of, version, effect)
    provider = TemplateSources([Folder(bundle_root(), Origin.BUNDLE)])
    state = read_snapshot(snapshot.folder, CLUSTER_ID)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return asyncio.run(desired_state(state, provider, now=now, marks=OwnershipMarks()))


def test_no_default_of_azures_has_a_note(everything: DesiredState) -> None:
    rendered = [each for each in everything.outcomes if isinstance(each, Rendered)]
    noted = {note.rpartition(".")[2] for each in rendered for note in each.notes}

    print(f"{len(rendered)} members with Microsoft's defaults, {len(noted)} different notes")
    assert len(rendered) > 500
    assert sorted(noted) == TRUE


def test_what_is_refused_of_azures_defaults_is_told(everything: DesiredState) -> None:
    reasons = {UnresolvedReason.PARAMETER, UnresolvedReason.DETAILS}
    told = [each for each in everything.outcomes if isinstance(each, Unresolved) and each.reason in reasons]
    refused = sorted({each.message.partition(": ")[2] for each in told if "has no value" not in each.message})

    assert refused == []
