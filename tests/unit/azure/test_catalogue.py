"""Azure's own definitions and initiatives, read and resolved: the counts are Azure's, so a change in them is ours.

They are no part of this repository: the tests run where a checkout has them beside it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.azure.model import Absent, Assignment, fold
from controller.azure.parse import cluster_of
from controller.azure.snapshot import read_snapshot
from controller.gatekeeper.desired import desired_state
from controller.gatekeeper.model import Rendered
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.providers import make_provider
from controller.gatekeeper.sources import bundle_root, store_path
from controller.policy.model import (
    EffectivePolicy,
    MutationPolicy,
    PublicUrl,
    TemplatePolicy,
    Unresolved,
    UnresolvedReason,
)
from controller.policy.resolve import resolve
from tests.unit.azure_builders import CLUSTER_ID, CONNECTED_ID, NOW, SUBSCRIPTION, assignment_id, outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.azure.model import AzureState, Initiative, Parameter, PolicyDefinition
    from controller.jsontypes import Json
    from controller.policy.model import Resolution

CATALOGUE = Path(__file__).resolve().parents[4] / "shared" / "azure-policy"
BASELINE = "a8640138-9b0a-4a28-b8cb-1666c838647d"
RESTRICTED = "42b8ef37-b724-4e24-bbc8-7a7708edfe00"
SAFEGUARDS = "c047ea8e-9c78-49b2-958b-37e56d291a44"
VALUES: dict[str, Json] = {"string": "x", "array": ["x"], "object": {}, "boolean": True, "integer": 1}


@pytest.fixture(scope="module")
def catalogue() -> AzureState:
    if not CATALOGUE.is_dir():
        pytest.skip("Azure's definitions are not beside this checkout")
    return read_snapshot(CATALOGUE, CLUSTER_ID)


def needed(parameters: Mapping[str, Parameter]) -> dict[str, Json]:
    """A value of its type for every parameter that has no default."""
    return {name: VALUES[each.type] for name, each in parameters.items() if isinstance(each.default, Absent)}


def assign(what: PolicyDefinition | Initiative, name: str, parameters: Mapping[str, Json] | None = None) -> Assignment:
    return Assignment(
        id=assignment_id(name),
        name=name,
        display_name=what.display_name,
        scope=SUBSCRIPTION,
        definition_id=what.id,
        parameters={**needed(what.parameters), **(parameters or {})},
        effective_version=str(what.version),
        is_initiative="policySetDefinitions" in what.id,
    )


def assign_all(
    versions: Mapping[str, tuple[PolicyDefinition, ...]] | Mapping[str, tuple[Initiative, ...]],
) -> tuple[Assignment, ...]:
    every = [each for group in versions.values() for each in group]
    return tuple(assign(each, f"{each.name}-{each.version}") for each in every)


def form(resolution: Resolution) -> str:
    """What became of a definition, in one word."""
    match resolution:
        case EffectivePolicy(policy=TemplatePolicy(legacy=True)):
            return "old form"
        case EffectivePolicy(policy=TemplatePolicy()):
            return "template"
        case EffectivePolicy(policy=MutationPolicy()):
            return "mutation"
        case _:
            return outcome(resolution)


def newest(versions: tuple[Initiative, ...]) -> Initiative:
    return max(versions, key=lambda each: (each.version is not None, each.version))


def of_initiative(catalogue: AzureState, name: str) -> tuple[Initiative, ...]:
    return next(group for key, group in catalogue.initiatives.items() if key.endswith(name))


def test_the_whole_catalogue_reads_as_one_snapshot(catalogue: AzureState) -> None:
    assert catalogue.unreadable == {}
    assert sum(map(len, catalogue.definitions.values())) == 243
    assert sum(map(len, catalogue.initiatives.values())) == 38
    assert all(each.version for group in catalogue.definitions.values() for each in group)


@pytest.mark.parametrize(
    ("cluster_id", "expected"),
    [
        (CLUSTER_ID, {"template": 95, "mutation": 19, "old form": 91, "RuleNotMet": 30, "LegacyForm": 8}),
        (CONNECTED_ID, {"template": 77, "old form": 101, "RuleNotMet": 48, "LegacyForm": 17}),
    ],
    ids=["managed cluster", "connected cluster"],
)
def test_every_definition_assigned_alone(catalogue: AzureState, cluster_id: str, expected: dict[str, int]) -> None:
    state = replace(catalogue, cluster=cluster_of(cluster_id), assignments=assign_all(catalogue.definitions))

    found = resolve(state, NOW)

    assert Counter(map(form, found)) == expected


async def test_old_forms_whose_template_is_in_the_bundle_are_enforced_offline(catalogue: AzureState) -> None:
    state = replace(catalogue, cluster=cluster_of(CONNECTED_ID), assignments=assign_all(catalogue.definitions))
    provider = make_provider("bundle")
    held = {path.relative_to(bundle_root()).as_posix() for path in bundle_root().rglob("template.yaml")}
    old = {
        each.member.assignment_id: store_path(each.policy.template.url) in held
        for each in resolve(state, NOW)
        if isinstance(each, EffectivePolicy) and isinstance(each.policy, TemplatePolicy) and each.policy.legacy
        if isinstance(each.policy.template, PublicUrl)
    }

    desired = await desired_state(state, provider, now=NOW, marks=OwnershipMarks())

    became = {each.member.assignment_id: each for each in desired.outcomes if each.member.assignment_id in old}
    refused = {name: each.reason for name, each in became.items() if isinstance(each, Unresolved)}
    assert refused == {name: UnresolvedReason.LEGACY_FORM for name, bundled in old.items() if not bundled}
    enforced = {name for name, each in became.items() if isinstance(each, Rendered)}
    assert enforced == {name for name, bundled in old.items() if bundled}
    assert len(enforced) >= 73


def test_every_initiative_assigned_alone(catalogue: AzureState) -> None:
    state = replace(catalogue, assignments=assign_all(catalogue.initiatives))

    found = resolve(state, NOW)

    assert len(found) == 390
    assert Counter(map(form, found)) == {"template": 335, "Disabled": 49, "DefinitionMissing": 6}
    # Initiatives of 2020 pin no version: today's definitions have other parameters.
    notes = {note for each in found if isinstance(each, EffectivePolicy) for note in each.notes}
    assert notes == {f"parameter '{name}' is not declared, so its value is ignored" for name in ("minPort", "maxPort")}
    # The definitions of another mode, which are no part of the catalogue.
    missing = {each.member.definition_id[-36:] for each in found if isinstance(each, Unresolved)}
    assert missing == {"5dc99dae-cfb2-42cc-8762-9aae02b74e27", "a8eff44f-8c92-45c3-a3fb-9880802d67a7"}


@pytest.mark.parametrize(("name", "members"), [(BASELINE, 5), (RESTRICTED, 8), (SAFEGUARDS, 27)])
def test_an_initiative_denies_by_all_its_members_when_told_to(catalogue: AzureState, name: str, members: int) -> None:
    initiative = newest(of_initiative(catalogue, name))
    assignment = assign(initiative, name, {"effect": "Deny"})

    found = resolve(replace(catalogue, assignments=(assignment,)), NOW)

    assert len(found) == members
    assert {outcome(each) for each in found} <= {"deny", "Disabled"}
    assert {each.effect_from for each in found if isinstance(each, EffectivePolicy)} == {"assignment parameter"}


def test_the_baseline_takes_the_versions_that_it_pins(catalogue: AzureState) -> None:
    initiative = newest(of_initiative(catalogue, BASELINE))

    found = resolve(replace(catalogue, assignments=(assign(initiative, "a"),)), NOW)

    for each in found:
        assert each.member.version.split(".")[0] == each.member.version_asked.split(".")[0]
        heads = catalogue.definitions[fold(each.member.definition_id)]
        assert each.member.version in {str(head.version) for head in heads}


def test_each_assignment_of_an_initiative_resolves_to_all_its_members(catalogue: AzureState) -> None:
    initiative = newest(of_initiative(catalogue, SAFEGUARDS))
    assignments = tuple(assign(initiative, f"a{index:03}", {"effect": "Deny"}) for index in range(200))

    found = resolve(replace(catalogue, assignments=assignments), NOW)

    assert len(found) == 200 * 27
