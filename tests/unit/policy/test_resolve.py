"""From documents to what each member means: reach, versions, parameters, effects, and how far a fault reaches."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from controller.azure.model import EnforcementMode, fold
from controller.azure.parse import build_state, cluster_of, parse_resource
from controller.policy.model import EffectivePolicy, NotApplied, TemplatePolicy, Unresolved
from controller.policy.resolve import resolve
from tests.unit.azure_builders import (
    CLUSTER_ID,
    CONNECTED_ID,
    GROUP,
    MANAGEMENT_GROUP,
    NOW,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_details,
    make_exemption,
    make_initiative,
    make_parameter,
    make_reference,
    make_state,
    outcome,
    outcomes,
    resolve_all,
    resolve_one,
    with_properties,
)

if TYPE_CHECKING:
    from controller.jsontypes import Json
    from controller.policy.model import Resolution

TWO = make_initiative(
    make_reference("one", parameters={"effect": "[parameters('effect')]"}),
    make_reference("two", parameters={"effect": "[parameters('effect')]"}),
)


def effective(*documents: dict[str, Json]) -> EffectivePolicy:
    found = resolve_one(*documents)
    assert isinstance(found, EffectivePolicy), found
    return found


def message(resolution: Resolution) -> str:
    assert isinstance(resolution, NotApplied | Unresolved)
    return resolution.message


def whole(resolution: Resolution) -> bool:
    return resolution.member.whole


# Members and their order.


def test_an_assigned_definition_becomes_an_effective_policy() -> None:
    found = effective(make_assignment(effect="Deny", definitionVersion="1.*.*"), make_definition(version="1.2.3"))

    assert (found.effect, found.enforcement_mode) == ("deny", EnforcementMode.DEFAULT)
    assert found.member.definition_id == definition_id()
    assert (found.member.version, found.member.version_asked) == ("1.2.3", "1.*.*")
    assert (found.member.reference_id, found.member.initiative_id, found.member.whole) == ("", "", False)


def test_an_assigned_initiative_becomes_its_members_in_order() -> None:
    found = resolve_all(make_assignment(of=initiative_id()), TWO, make_definition())

    assert [each.member.reference_id for each in found] == ["one", "two"]
    assert {each.member.initiative_id for each in found} == {initiative_id()}


def test_the_order_is_that_of_assignment_ids_whatever_the_order_of_files() -> None:
    documents = [make_assignment("b"), make_assignment("A"), make_assignment("c"), make_definition()]

    assert resolve_all(*documents) == resolve_all(*reversed(documents))
    assert [each.member.assignment_name for each in resolve_all(*documents)] == ["A", "b", "c"]


def test_one_definition_may_be_assigned_more_than_once() -> None:
    found = resolve_all(make_assignment("a", effect="Deny"), make_assignment("b", effect="Audit"), make_definition())

    assert outcomes(found) == ["deny", "audit"]


# Scopes.


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (CLUSTER_ID, "audit"),
        (GROUP, "audit"),
        (GROUP.upper(), "audit"),
        (SUBSCRIPTION, "audit"),
        (MANAGEMENT_GROUP, "audit"),
        (f"{GROUP}-2", "OutOfScope"),
        (GROUP[:-1], "OutOfScope"),
        (f"{CLUSTER_ID}/agentPools/one", "OutOfScope"),
        ("/subscriptions/other", "OutOfScope"),
    ],
)
def test_an_assignment_applies_at_or_above_the_cluster(scope: str, expected: str) -> None:
    assert outcome(resolve_one(make_assignment(scope=scope), make_definition())) == expected


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ([CLUSTER_ID], "NotScopes"),
        ([f"{GROUP.upper()}/"], "NotScopes"),
        ([SUBSCRIPTION], "NotScopes"),
        ([f"{GROUP}-2", "/subscriptions/other"], "audit"),
        ([MANAGEMENT_GROUP], "ScopeUnknown"),
        ([MANAGEMENT_GROUP, GROUP], "NotScopes"),
    ],
)
def test_excluded_scopes(excluded: list[Json], expected: str) -> None:
    assert outcome(resolve_one(make_assignment(notScopes=excluded), make_definition())) == expected


@pytest.mark.parametrize(
    ("above", "expected"), [(frozenset({fold(MANAGEMENT_GROUP)}), "NotScopes"), (frozenset[str](), "audit")]
)
def test_management_groups_are_excluded_exactly_where_the_source_tells_which_are_above(
    above: frozenset[str], expected: str
) -> None:
    state = make_state(make_assignment(notScopes=[MANAGEMENT_GROUP]), make_definition())

    (found,) = resolve(replace(state, management_groups=above), NOW)

    assert outcome(found) == expected


def test_an_assignment_that_does_not_reach_the_cluster_speaks_for_all_its_members() -> None:
    found = resolve_one(make_assignment(of=initiative_id(), notScopes=[GROUP]), TWO)

    assert whole(found)
    assert message(found).startswith(f"assignment {assignment_id()}: ")


# Resource selectors.


def select(kind: str, *, within: list[Json] | None = None, outside: list[Json] | None = None) -> list[Json]:
    return [{"name": "s", "selectors": [{"kind": kind, "in": within, "notIn": outside}]}]


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (select("resourceLocation", within=["West Europe"]), "audit"),
        (select("RESOURCELOCATION", within=["eastus"]), "ResourceSelector"),
        (select("resourceLocation", outside=["eastus"]), "audit"),
        (select("resourceLocation", outside=["westeurope"]), "ResourceSelector"),
        (select("resourceType", within=["microsoft.containerservice/MANAGEDCLUSTERS"]), "audit"),
        (select("resourceType", outside=["Microsoft.ContainerService/managedClusters"]), "ResourceSelector"),
        (select("resourceWithoutLocation", within=["subscriptionLevelResources"]), "ResourceSelector"),
        (select("resourceLocation", within=["eastus"]) + select("resourceType", outside=["x"]), "audit"),
        (
            [
                {
                    "selectors": [
                        {"kind": "resourceLocation", "in": ["westeurope"]},
                        {"kind": "resourceType", "in": ["x"]},
                    ]
                }
            ],
            "ResourceSelector",
        ),
        ([{"name": "all", "selectors": []}], "audit"),
        (select("resourceRolloutPercentage"), "SelectorUnknown"),
        (select("userPrincipalId", within=["x"]), "SelectorUnknown"),
        (select("groupPrincipalId", within=["x"]), "SelectorUnknown"),
        (select("policyDefinitionReferenceId", within=["x"]), "SelectorUnknown"),
        (select("resourceLocation"), "SelectorUnknown"),
        (select("resourceLocation", outside=["x"], within=["y"]), "SelectorUnknown"),
        (select("userPrincipalId", within=["x"]) + select("resourceType", outside=["x"]), "audit"),
        (
            [{"selectors": [{"kind": "userPrincipalId", "in": ["x"]}, {"kind": "resourceType", "in": ["x"]}]}],
            "ResourceSelector",
        ),
    ],
)
def test_resource_selectors(selectors: list[Json], expected: str) -> None:
    found = resolve_one(make_assignment(resourceSelectors=selectors), make_definition(), make_cluster())

    assert outcome(found) == expected


def rollout(progress: Json) -> list[Json]:
    return [{"name": "SDPRollout", "selectors": [{"kind": "resourceRolloutPercentage", "progress": progress}]}]


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0, "ResourceSelector"),
        (100, "audit"),
        (100.0, "audit"),
        (80, "SelectorUnknown"),
        (-1, "SelectorUnknown"),
        (101, "SelectorUnknown"),
        (None, "SelectorUnknown"),
        ("100", "Unreadable"),
        (True, "Unreadable"),
    ],
)
def test_a_rollout_that_has_not_begun_or_has_ended_is_decided_and_any_other_is_not(
    progress: Json, expected: str
) -> None:
    assert outcome(resolve_one(make_assignment(resourceSelectors=rollout(progress)), make_definition())) == expected


@pytest.mark.parametrize(("progress", "expected"), [(0, "audit"), (100, "Exempt"), (80, "SelectorUnknown")])
def test_a_rollout_of_an_exemption_is_decided_alike(progress: int, expected: str) -> None:
    exemption = make_exemption(resourceSelectors=rollout(progress))

    assert outcome(resolve_one(make_assignment(), make_definition(), exemption)) == expected


def test_a_rollout_that_is_not_decided_says_why() -> None:
    found = resolve_one(make_assignment(resourceSelectors=rollout(80)), make_definition())

    assert "the rollout has reached 80 % of the resources, and Azure alone knows which" in message(found)


def test_a_location_that_is_not_known_leaves_the_assignment_unresolved() -> None:
    selectors = select("resourceLocation", within=["westeurope"])

    found = resolve_one(make_assignment(resourceSelectors=selectors), make_definition())

    assert outcome(found) == "SelectorUnknown"


def test_an_excluded_cluster_stays_excluded_whatever_its_selectors_say() -> None:
    document = make_assignment(notScopes=[GROUP], resourceSelectors=select("userPrincipalId", within=["x"]))

    assert outcome(resolve_one(document, make_definition())) == "NotScopes"


# Exemptions.


@pytest.mark.parametrize(
    ("exemption", "expected"),
    [
        (make_exemption(), ["Exempt"]),
        (make_exemption(of=assignment_id().upper()), ["Exempt"]),
        (make_exemption(of=assignment_id("b")), ["audit", "audit"]),
        (make_exemption(scope=GROUP), ["Exempt"]),
        (make_exemption(scope=MANAGEMENT_GROUP), ["Exempt"]),
        (make_exemption(scope=f"{GROUP}-2"), ["audit", "audit"]),
        (make_exemption(scope=f"{CLUSTER_ID}/agentPools/one"), ["audit", "audit"]),
        (make_exemption(policyDefinitionReferenceIds=["TWO"]), ["audit", "Exempt"]),
        (make_exemption(policyDefinitionReferenceIds=["one", "two"]), ["Exempt", "Exempt"]),
        (make_exemption(policyDefinitionReferenceIds=["three"]), ["audit", "audit"]),
        (make_exemption(resourceSelectors=select("resourceLocation", within=["westeurope"])), ["Exempt"]),
        (make_exemption(resourceSelectors=select("resourceLocation", within=["eastus"])), ["audit", "audit"]),
        (make_exemption(resourceSelectors=select("userPrincipalId", within=["x"])), ["SelectorUnknown"]),
        (
            make_exemption(
                resourceSelectors=select("userPrincipalId", within=["x"]), policyDefinitionReferenceIds=["one"]
            ),
            ["SelectorUnknown", "audit"],
        ),
        (make_exemption(expiresOn="soon"), ["Unreadable"]),
        (make_exemption(expiresOn="soon", of=assignment_id("b")), ["audit", "audit"]),
        (make_exemption(of=""), ["Unreadable"]),
    ],
)
def test_exemptions(exemption: dict[str, Json], expected: list[str]) -> None:
    found = resolve_all(make_assignment(of=initiative_id()), TWO, make_definition(), make_cluster(), exemption)

    assert outcomes(found) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(-1, "Exempt"), (0, "audit"), (1, "audit")])
def test_an_exemption_ends_to_the_second(seconds: int, expected: str) -> None:
    exemption = make_exemption(expiresOn=NOW.isoformat())

    found = resolve_one(make_assignment(), make_definition(), exemption, now=NOW + timedelta(seconds=seconds))

    assert outcome(found) == expected


def test_an_exempt_member_is_exempt_although_its_definition_is_missing() -> None:
    exemption = make_exemption(policyDefinitionReferenceIds=["one"])

    found = resolve_all(make_assignment(of=initiative_id()), TWO, exemption)

    assert outcomes(found) == ["Exempt", "DefinitionMissing"]


def test_an_exemption_says_who_exempts_and_until_when() -> None:
    found = resolve_one(make_assignment(), make_definition(), make_exemption(expiresOn="2030-01-02T03:04:05Z"))

    assert "policyExemptions/e (Waiver) until 2030-01-02T03:04:05Z" in message(found)


# Enforcement mode and effect.


@pytest.mark.parametrize(
    ("mode", "effect", "expected"),
    [
        ("Default", "Deny", "deny"),
        ("DEFAULT", "Deny", "deny"),
        ("DoNotEnforce", "Deny", "deny"),
        ("donotenforce", "Mutate", "NotEnforced"),
        ("Enroll", "Deny", "deny"),
        ("Enroll", "Mutate", "NotEnrolled"),
        ("Default", "Mutate", "mutate"),
        ("Perhaps", "Deny", "EnforcementModeUnknown"),
    ],
)
def test_enforcement_modes(mode: str, effect: str, expected: str) -> None:
    mutation: dict[str, Json] = {"mutationInfo": {"sourceType": "PublicURL", "url": "https://x/mutation.yaml"}}
    definition = make_definition(details=mutation if effect == "Mutate" else None)

    found = resolve_one(make_assignment(effect=effect, enforcementMode=mode), definition)

    assert outcome(found) == expected


def test_an_enrolled_assignment_is_noted_as_not_enforced() -> None:
    found = effective(make_assignment(effect="Deny", enforcementMode="enroll"), make_definition())

    assert found.enforcement_mode is EnforcementMode.ENROLL
    assert any("Enroll" in note for note in found.notes)


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        ("deny", "deny"),
        ("DENY", "deny"),
        ("aUdIt", "audit"),
        ("DISABLED", "Disabled"),
        ("Modify", "Effect"),
        ("", "Effect"),
        ("EnforceOPAConstraint", "LegacyForm"),
        ("enforceRegoPolicy", "LegacyForm"),
        ("mutate", "Effect"),
    ],
)
def test_effects_compare_in_any_case(effect: str, expected: str) -> None:
    assert outcome(resolve_one(make_assignment(effect=effect), make_definition())) == expected


@pytest.mark.parametrize("effect", [None, 7, ["Deny"], {}])
def test_an_effect_that_is_no_string_is_unresolved(effect: Json) -> None:
    assert outcome(resolve_one(make_assignment(), make_definition(effect=effect))) == "Effect"


def test_a_mutation_that_does_not_mutate_is_unresolved() -> None:
    details: Json = {"mutationInfo": {"sourceType": "PublicURL", "url": "https://x/mutation.yaml"}}

    assert outcome(resolve_one(make_assignment(effect="Deny"), make_definition(details=details))) == "Effect"


@pytest.mark.parametrize("mode", ["All", "Indexed", "Microsoft.KeyVault.Data", "Microsoft.ContainerService.Data"])
def test_other_modes_are_not_for_the_cluster(mode: str) -> None:
    assert outcome(resolve_one(make_assignment(), make_definition(mode=mode))) == "OtherMode"


def test_the_mode_compares_in_any_case() -> None:
    assert outcome(resolve_one(make_assignment(), make_definition(mode="MICROSOFT.kubernetes.data"))) == "audit"


# The rule's `if`.


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "type", "equals": "microsoft.containerservice/managedclusters"}, "audit"),
        ({"field": "type", "in": ["AKS Engine"]}, "RuleNotMet"),
        ({"value": "[parameters('effect')]", "equals": "audit"}, "audit"),
        ({"value": "[parameters('effect')]", "equals": "deny"}, "RuleNotMet"),
        ({"field": "Microsoft.ContainerService/managedClusters/enableRBAC", "equals": True}, "RuleUnknown"),
        ({"field": "tags.env", "equals": "prod"}, "RuleUnknown"),
        ({"value": "[nonsense(]", "equals": "prod"}, "RuleUnknown"),
        ("x", "RuleUnknown"),
    ],
)
def test_a_definition_applies_where_its_rule_is_met(condition: Json, expected: str) -> None:
    assert outcome(resolve_one(make_assignment(), make_definition(condition=condition))) == expected


def test_connected_clusters_are_told_from_managed_ones() -> None:
    condition: Json = {"field": "type", "equals": "Microsoft.Kubernetes/connectedClusters"}
    documents = [make_assignment(), make_definition(condition=condition)]
    parsed = [(str(index), parse_resource(each, "x")) for index, each in enumerate(documents)]
    state = build_state([(place, each) for place, each in parsed if each is not None], CLUSTER_ID)

    (managed,) = resolve(state, NOW)
    (connected,) = resolve(replace(state, cluster=cluster_of(CONNECTED_ID)), NOW)

    assert outcomes([managed, connected]) == ["RuleNotMet", "audit"]


def test_policy_tells_the_rule_how_it_was_assigned() -> None:
    details = make_details(values={"by": "[policy().assignmentId]", "as": "[policy().definitionReferenceId]"})
    reference = make_reference("one")

    found = effective(make_assignment(of=initiative_id()), make_initiative(reference), make_definition(details=details))

    assert isinstance(found.policy, TemplatePolicy)
    assert found.policy.values == {"by": assignment_id(), "as": "one"}


@pytest.mark.parametrize("call", ["policy()", "POLICY ()", "policy\t()"])
def test_two_members_that_are_given_the_same_are_told_apart_by_policy(call: str) -> None:
    definition = make_definition(details=make_details(values={"as": f"[{call}.definitionReferenceId]"}))

    found = resolve_all(make_assignment(of=initiative_id()), TWO, definition)

    policies = [each.policy for each in found if isinstance(each, EffectivePolicy)]
    assert [each.values for each in policies if isinstance(each, TemplatePolicy)] == [{"as": "one"}, {"as": "two"}]


def test_values_that_are_equal_but_of_another_type_stay_apart() -> None:
    definition = make_definition(
        details=make_details(values={"x": "[parameters('x')]"}), parameters={"x": make_parameter("Float")}
    )
    given: list[Json] = [1, 1.0, True]

    found = resolve_all(
        *(make_assignment(str(index), parameters={"x": x}) for index, x in enumerate(given)), definition
    )

    policies = [each.policy for each in found if isinstance(each, EffectivePolicy)]
    assert [repr(each.values["x"]) for each in policies if isinstance(each, TemplatePolicy)] == ["1", "1.0"]
    assert outcome(found[2]) == "Parameter"


# What is known not to apply wins over what is not known.


@pytest.mark.parametrize(
    "definition",
    [
        make_definition(condition={"field": "Microsoft.X/y", "equals": 1}),
        make_definition(details={}),
        make_definition(details=make_details(values="[parameters('gone')]")),
        make_definition(parameters={"ports": make_parameter("Array", defaultValue="x")}),
    ],
    ids=["a rule in doubt", "no details", "a missing parameter", "a parameter of the wrong type"],
)
def test_a_disabled_member_is_not_applied_whatever_else_is_wrong(definition: dict[str, Json]) -> None:
    assert outcome(resolve_one(make_assignment(effect="Disabled"), definition)) == "Disabled"
    assert outcome(resolve_one(make_assignment(effect="Deny"), definition)) not in {"Disabled", "deny"}


def test_a_rule_that_is_not_met_wins_over_an_effect_that_is_not_known() -> None:
    definition = make_definition(effect="[parameters('gone')]", condition={"field": "type", "equals": "x"})

    assert outcome(resolve_one(make_assignment(), definition)) == "RuleNotMet"


# Overrides.


def override(value: str, *selectors: Json, kind: str = "policyEffect") -> Json:
    return {"kind": kind, "value": value, **({"selectors": list(selectors)} if selectors else {})}


def members(*reference_ids: str, key: str = "in") -> Json:
    return {"kind": "policyDefinitionReferenceId", key: list(reference_ids)}


def location(*names: str) -> Json:
    return {"kind": "resourceLocation", "in": list(names)}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([override("Deny")], ["deny", "deny"]),
        ([override("disabled", members("TWO"))], ["audit", "Disabled"]),
        ([override("deny", members("two", key="notIn"))], ["deny", "audit"]),
        ([override("deny", members("one"), location("westeurope"))], ["deny", "audit"]),
        ([override("deny", members("one"), location("eastus"))], ["audit", "audit"]),
        ([override("deny", members("one")), override("disabled")], ["deny", "Disabled"]),
        ([override("disabled"), override("deny", members("one"))], ["Disabled", "Disabled"]),
        ([override("Deny", kind="POLICYEFFECT")], ["deny", "deny"]),
        ([override("Deny", kind="policyColour")], ["OverrideUnknown", "OverrideUnknown"]),
        ([override("Deny", {"kind": "userPrincipalId", "in": ["x"]})], ["OverrideUnknown", "OverrideUnknown"]),
        ([override("Deny", {"kind": "userPrincipalId", "in": ["x"]}, members("one"))], ["OverrideUnknown", "audit"]),
        ([override("Modify", members("one"))], ["Effect", "audit"]),
    ],
)
def test_effects_are_overridden_in_order(overrides: list[Json], expected: list[str]) -> None:
    found = resolve_all(
        make_assignment(of=initiative_id(), overrides=overrides), TWO, make_definition(), make_cluster()
    )

    assert outcomes(found) == expected


def test_an_override_reaches_an_assigned_definition() -> None:
    found = effective(make_assignment(effect="Audit", overrides=[override("Deny")]), make_definition())

    assert (found.effect, found.effect_from) == ("deny", "override")


def test_a_member_disabled_by_an_override_needs_no_definition() -> None:
    found = resolve_all(make_assignment(of=initiative_id(), overrides=[override("Disabled")]), TWO)

    assert outcomes(found) == ["Disabled", "Disabled"]


VERSIONS = [make_definition(version=version) for version in ("1.0.0", "1.1.0", "2.0.0")]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "1.1.0"),
        ([override("2.*.*", kind="definitionVersion")], "2.0.0"),
        ([override("2.*.*", kind="policyVersion")], "2.0.0"),
        ([override("2.*.*", location("westeurope"), kind="definitionVersion")], "2.0.0"),
        ([override("2.*.*", location("eastus"), kind="definitionVersion")], "1.1.0"),
        ([override("2.*.*", members("one"), kind="definitionVersion")], "1.1.0"),
    ],
)
def test_the_version_of_an_assigned_definition_is_overridden(overrides: list[Json], expected: str) -> None:
    document = make_assignment(definitionVersion="1.*.*", effectiveDefinitionVersion="1.1.0", overrides=overrides)

    assert effective(document, make_cluster(), *VERSIONS).member.version == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ["1.1.0", "1.1.0"]),
        ([override("2.*.*", members("two"), kind="definitionVersion")], ["1.1.0", "2.0.0"]),
        ([override("1.*.*", kind="definitionVersion")], ["1.1.0", "1.1.0"]),
    ],
)
def test_the_version_of_a_member_is_overridden_where_selectors_name_it(
    overrides: list[Json], expected: list[str]
) -> None:
    initiative = make_initiative(
        make_reference("one", definitionVersion="1.*.*"), make_reference("two", definitionVersion="1.*.*")
    )

    found = resolve_all(make_assignment(of=initiative_id(), overrides=overrides), initiative, *VERSIONS)

    assert [each.member.version for each in found] == expected


# Versions.


@pytest.mark.parametrize(
    ("at_hand", "asked", "expected"),
    [
        (["1.0.0", "1.2.0", "2.0.0"], "1.*.*", "1.2.0"),
        (["1.0.0", "1.2.0", "1.10.0"], "1.*.*", "1.10.0"),
        (["1.2.0", "1.2.9", "1.3.0"], "1.2.*", "1.2.9"),
        (["1.2.0", "1.2.9"], "1.2.0", "1.2.0"),
        (["1.0.0", "2.0.0", "3.0.0-preview"], "", "2.0.0"),
        (["1.0.0-preview", "1.1.0-preview"], "", "1.1.0-preview"),
        (["1.0.0", "1.1.0-preview"], "1.*.*", "1.0.0"),
        (["1.0.0", "1.1.0-preview"], "1.*.*-preview", "1.1.0-preview"),
        (["1.2.0", "1.1.0-preview"], "1.*.*-PREVIEW", "1.2.0"),
        (["1.0.0", "2.1.0-preview"], "2.*.*", "2.1.0-preview"),
        (["1.0.0", "1.1.0-deprecated"], "1.*.*", "1.1.0-deprecated"),
        (["1.0.0", "1.0.0-preview"], "1.*.*-preview", "1.0.0"),
        (["1.0.0", "1.0.0-preview"], "1.0.0-preview", "1.0.0-preview"),
        (["1.0.0-preview"], "1.0.0", "1.0.0-preview"),
        ([None], "", ""),
        ([None], "1.*.*", ""),
        ([None], "2.*.*", None),
        (["1.0.0"], "2.*.*", None),
        (["1.0.0"], "newest", None),
        (["1.0.0"], "*", None),
    ],
)
def test_the_version_that_is_asked_for(at_hand: list[str | None], asked: str, expected: str | None) -> None:
    found = resolve_one(
        make_assignment(definitionVersion=asked), *(make_definition(version=version) for version in at_hand)
    )

    if expected is None:
        assert outcome(found) == "VersionMissing"
        assert asked in message(found)
    else:
        assert isinstance(found, EffectivePolicy)
        assert found.member.version == expected


def test_the_effective_version_that_azure_tells_wins_over_the_highest_at_hand() -> None:
    document = make_assignment(definitionVersion="1.*.*", effectiveDefinitionVersion="1.0.0")

    assert effective(document, *VERSIONS).member.version == "1.0.0"


def test_a_member_asks_for_its_own_version() -> None:
    initiative = make_initiative(
        make_reference("one", definitionVersion="1.*.*"),
        make_reference("two", definitionVersion="2.*.*"),
        make_reference("three", definitionVersion="1.*.*", effectiveDefinitionVersion="1.0.0"),
        make_reference("four", definitionVersion="7.*.*"),
    )

    found = resolve_all(make_assignment(of=initiative_id()), initiative, *VERSIONS)

    assert [each.member.version for each in found] == ["1.1.0", "2.0.0", "1.0.0", ""]
    assert outcome(found[-1]) == "VersionMissing"


def test_an_assignment_asks_for_a_version_of_its_initiative() -> None:
    one = make_initiative(make_reference("one"), version="1.0.0")
    two = make_initiative(make_reference("two"), version="2.0.0")

    found = resolve_all(make_assignment(of=initiative_id(), definitionVersion="1.*.*"), one, two, make_definition())

    assert [each.member.reference_id for each in found] == ["one"]


# What is missing or malformed, and how far it reaches.


def test_a_missing_definition_leaves_its_member_unresolved_and_the_others_in_force() -> None:
    initiative = make_initiative(make_reference("one", of=definition_id("gone")), make_reference("two"))

    found = resolve_all(make_assignment(of=initiative_id()), initiative, make_definition())

    assert outcomes(found) == ["DefinitionMissing", "audit"]
    assert definition_id("gone") in message(found[0])
    assert message(found[0]).startswith(f"assignment {assignment_id()} member one: ")
    assert not whole(found[0])


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], "DefinitionMissing"),
        ([make_initiative(version="x")], "Unreadable"),
        ([make_initiative(version="2.0.0")], "VersionMissing"),
    ],
)
def test_an_initiative_that_is_not_to_be_had_speaks_for_all_its_members(
    documents: list[dict[str, Json]], expected: str
) -> None:
    found = resolve_one(make_assignment(of=initiative_id(), definitionVersion="1.*.*"), *documents)

    assert outcome(found) == expected
    assert whole(found)


def test_a_malformed_assignment_speaks_for_all_its_members() -> None:
    found = resolve_all(with_properties(make_assignment("a"), {"scope": 7}), make_assignment("b"), make_definition())

    assert outcomes(found) == ["Unreadable", "audit"]
    assert whole(found[0])
    assert found[0].member.assignment_id == assignment_id("a")


def test_a_malformed_definition_is_unresolved_where_it_is_used() -> None:
    found = resolve_one(make_assignment(), make_definition(version="x"))

    assert outcome(found) == "Unreadable"
    assert "properties.version must be like 1.2.3" in message(found)


def test_a_malformed_member_leaves_the_others_in_force() -> None:
    initiative = make_initiative(make_reference("one") | {"parameters": 7}, make_reference("two"))

    found = resolve_all(make_assignment(of=initiative_id()), initiative, make_definition())

    assert outcomes(found) == ["Unreadable", "audit"]


def test_an_initiative_within_an_initiative_is_refused_without_going_round() -> None:
    found = resolve_one(make_assignment(of=initiative_id()), make_initiative(make_reference(of=initiative_id())))

    assert outcome(found) == "DefinitionMissing"
    assert "is an initiative" in message(found)


@pytest.mark.parametrize("rule", [{"then": 7}, {"then": {"effect": "deny"}}, {"x": 1}, {"if": {}, "then": {}}])
def test_a_rule_of_another_shape_is_unresolved(rule: Json) -> None:
    found = resolve_one(make_assignment(), with_properties(make_definition(), {"policyRule": rule}))

    assert isinstance(found, Unresolved)


# Parameters.

MEMBER = make_definition(
    details=make_details(values="[parameters('level')]"),
    parameters={"level": make_parameter("Object", defaultValue={"from": "definition"})},
)


@pytest.mark.parametrize(
    ("assigned", "default", "mapped", "expected"),
    [
        ("assignment", "initiative", True, "assignment"),
        (None, "initiative", True, "initiative"),
        ("assignment", "initiative", False, "definition"),
    ],
)
def test_the_precedence_of_parameter_values(assigned: str | None, default: str, mapped: bool, expected: str) -> None:
    initiative = make_initiative(
        make_reference(parameters={"LEVEL": "[parameters('Level')]"} if mapped else {}),
        parameters={"level": make_parameter("object", defaultValue={"from": default})},
    )
    given: dict[str, Json] = {"leVel": {"from": assigned}} if assigned else {}

    found = effective(make_assignment(of=initiative_id(), parameters=given), initiative, MEMBER)

    assert isinstance(found.policy, TemplatePolicy)
    assert found.policy.values == {"from": expected}


@pytest.mark.parametrize(
    ("parameters", "mapping", "definition_effect", "expected"),
    [
        ({"effect": "Deny"}, {"effect": "[parameters('effect')]"}, "[parameters('effect')]", "assignment parameter"),
        ({"EFFECT": "Deny"}, {"Effect": "[parameters('effect')]"}, "[parameters('effect')]", "assignment parameter"),
        ({}, {"effect": "[parameters('effect')]"}, "[parameters('effect')]", "initiative default"),
        ({"effect": "Deny"}, {"effect": "Audit"}, "[parameters('effect')]", "initiative"),
        ({"effect": "Deny"}, {}, "[parameters('effect')]", "definition default"),
        ({"effect": "Deny"}, {}, "Audit", "definition"),
    ],
)
def test_an_effect_says_where_it_is_from(
    parameters: dict[str, Json], mapping: dict[str, Json], definition_effect: str, expected: str
) -> None:
    found = effective(
        make_assignment(of=initiative_id(), parameters=parameters),
        make_initiative(make_reference(parameters=mapping)),
        make_definition(effect=definition_effect),
    )

    assert found.effect_from == expected


@pytest.mark.parametrize(
    ("given", "expected"), [({"effect": "Deny"}, "assignment parameter"), ({}, "definition default")]
)
def test_the_effect_of_an_assigned_definition_says_where_it_is_from(given: dict[str, Json], expected: str) -> None:
    assert effective(make_assignment(parameters=given), make_definition()).effect_from == expected


TYPES: dict[str, list[Json]] = {
    "String": ["x", ""],
    "Array": [[], ["x"]],
    "Object": [{}, {"a": 1}],
    "Boolean": [True, False],
    "Integer": [0, -7],
    "Float": [0.5, 3],
    "DateTime": ["2026-03-01T00:00:00Z"],
}
WRONG: dict[str, list[Json]] = {
    "String": [1, None, [], {}, True],
    "Array": ["x", {}, None],
    "Object": [[], "x", None],
    "Boolean": ["true", 1, None],
    "Integer": [1.5, "1", True, None],
    "Float": ["1", True, None],
    "DateTime": ["tomorrow", 1, None],
    "Colour": ["red"],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in TYPES.items() for value in values])
@pytest.mark.parametrize("spell", [str, str.upper, str.lower])
def test_a_value_of_the_declared_type_is_used(kind: str, value: Json, spell: type[str]) -> None:
    details = make_details(values={"x": "[parameters('x')]"})
    definition = make_definition(details=details, parameters={"x": make_parameter(spell(kind))})

    found = effective(make_assignment(parameters={"x": value}), definition)

    assert isinstance(found.policy, TemplatePolicy)
    assert found.policy.values == {"x": value}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values])
def test_a_value_of_another_type_is_unresolved_and_says_so(kind: str, value: Json) -> None:
    definition = make_definition(parameters={"x": make_parameter(kind)})

    found = resolve_one(make_assignment(parameters={"x": value}), definition)

    assert outcome(found) == "Parameter"
    assert "parameter 'x'" in message(found)
    assert kind.casefold() in message(found)


DISABLED_BY_DEFAULT = {"effect": make_parameter("String", defaultValue="Disabled")}


def test_a_value_that_cannot_be_used_does_not_leave_the_default_in_force() -> None:
    definition = make_definition(parameters=DISABLED_BY_DEFAULT)

    assert outcome(resolve_one(make_assignment(parameters={"effect": 7}), definition)) == "Parameter"


def test_a_mapping_that_cannot_be_worked_out_does_not_leave_the_default_in_force() -> None:
    initiative = make_initiative(make_reference(parameters={"EFFECT": "[parameters('gone')]"}))

    found = resolve_one(
        make_assignment(of=initiative_id()), initiative, make_definition(parameters=DISABLED_BY_DEFAULT)
    )

    assert outcome(found) == "Parameter"
    assert "the initiative's value for parameter 'EFFECT'" in message(found)


def test_a_default_of_the_wrong_type_does_not_matter_where_a_value_is_given() -> None:
    definition = make_definition(parameters={"x": make_parameter("Array", defaultValue="x")})

    assert outcome(resolve_one(make_assignment(), definition)) == "Parameter"
    assert outcome(resolve_one(make_assignment(parameters={"X": []}), definition)) == "audit"


def test_a_missing_parameter_names_itself_the_place_and_the_mend() -> None:
    details = make_details(values={"imageRegex": "[parameters('Images')]"})
    definition = make_definition(details=details, parameters={"images": make_parameter("String")})

    found = resolve_one(make_assignment(), definition)

    assert outcome(found) == "Parameter"
    assert "policyRule.then.details.values.imageRegex: parameter 'Images' has no value" in message(found)
    assert "give it one in the assignment" in message(found)


def test_a_parameter_of_the_initiative_without_a_value_names_itself() -> None:
    details = make_details(values={"x": "[parameters('x')]"})
    definition = make_definition(details=details, parameters={"x": make_parameter("String", defaultValue="d")})
    initiative = make_initiative(
        make_reference("one", parameters={"x": "[parameters('needed')]"}),
        make_reference("two"),
        parameters={"needed": make_parameter("String")},
    )

    found = resolve_all(make_assignment(of=initiative_id()), initiative, definition)

    assert outcomes(found) == ["Parameter", "audit"]
    assert "the initiative's value for parameter 'x': parameter 'needed' has no value" in message(found[0])


def test_a_function_that_is_not_known_is_unresolved_by_name() -> None:
    found = resolve_one(make_assignment(), make_definition(details=make_details(values={"x": "[frobnicate('x')]"})))

    assert outcome(found) == "Expression"
    assert "frobnicate" in message(found)
    assert "policyRule.then.details.values.x" in message(found)


def test_a_value_that_is_not_allowed_is_used_and_noted() -> None:
    declared = {"x": make_parameter("String", allowedValues=["a", "b"], defaultValue="a")}
    definition = make_definition(details=make_details(values={"x": "[parameters('x')]"}), parameters=declared)

    found = effective(make_assignment(parameters={"x": "c"}), definition)

    assert isinstance(found.policy, TemplatePolicy)
    assert found.policy.values == {"x": "c"}
    assert found.notes == ("parameter 'x' has a value that is not among its allowedValues: 'c'",)


def test_an_allowed_value_in_another_case_needs_no_note() -> None:
    assert effective(make_assignment(effect="dENY"), make_definition()).notes == ()


def test_a_parameter_that_is_not_declared_is_noted_and_ignored() -> None:
    found = effective(make_assignment(parameters={"y": 1}), make_definition())

    assert found.notes == ("parameter 'y' is not declared, so its value is ignored",)


def test_notes_stand_in_one_order_whatever_the_order_of_the_values() -> None:
    names = [f"p{n}" for n in range(8)]

    one, other = (
        effective(make_assignment(parameters=dict.fromkeys(given, "x")), make_definition()).notes
        for given in (names, names[::-1])
    )

    assert one == other
    assert len(one) == len(names)


def test_what_a_parameter_holds_is_not_evaluated_again() -> None:
    definition = make_definition(
        details=make_details(values={"x": "[parameters('x')]"}), parameters={"x": make_parameter("String")}
    )

    found = effective(make_assignment(parameters={"x": "[parameters('effect')]"}), definition)

    assert isinstance(found.policy, TemplatePolicy)
    assert found.policy.values == {"x": "[parameters('effect')]"}


def test_allowed_values_of_an_array_hold_for_each_element() -> None:
    declared = make_parameter("Array", defaultValue=[], allowedValues=["NET_RAW", "ALL"])
    definition = make_definition(parameters={"x": declared})

    inside = resolve_one(make_assignment(parameters={"x": ["ALL", "NET_RAW"]}), definition)
    outside = resolve_one(make_assignment(parameters={"x": ["ALL", "KILL"]}), definition)

    assert isinstance(inside, EffectivePolicy)
    assert inside.notes == ()
    assert isinstance(outside, EffectivePolicy)
    assert outside.notes == ("parameter 'x' has a value that is not among its allowedValues: ['ALL', 'KILL']",)


def test_an_initiatives_note_is_said_by_the_members_that_use_the_parameter() -> None:
    details = make_details(values={"x": "[parameters('x')]"})
    definition = make_definition(details=details, parameters={"x": make_parameter("String", defaultValue="d")})
    initiative = make_initiative(
        make_reference("one"),
        make_reference("two", parameters={"x": "[parameters('shared')]"}),
        parameters={"shared": make_parameter("String", defaultValue="a", allowedValues=["a"])},
    )
    assignment = make_assignment(of=initiative_id(), parameters={"shared": "b", "nobodys": 1})

    one, two = resolve_all(assignment, initiative, definition)

    assert isinstance(one, EffectivePolicy)
    assert one.notes == ("parameter 'nobodys' is not declared, so its value is ignored",)
    assert isinstance(two, EffectivePolicy)
    assert two.notes == ("parameter 'shared' has a value that is not among its allowedValues: 'b'",)


def test_of_two_parameters_without_a_value_the_one_at_the_place_is_named() -> None:
    details = make_details(values={"first": "[parameters('zone')]", "second": "[parameters('area')]"})
    declared = {"zone": make_parameter("String"), "area": make_parameter("String")}

    found = resolve_one(make_assignment(), make_definition(details=details, parameters=declared))

    assert "policyRule.then.details.values.first: parameter 'zone' has no value" in message(found)


def test_an_escape_for_arm_templates_is_told_where_it_keeps_a_parameter_from_being_read() -> None:
    details = make_details(values={"images": ["[[parameters('images')]", "[[a-z]+"]})
    declared = {"images": make_parameter("String", defaultValue="x")}

    found = effective(make_assignment(), make_definition(details=details, parameters=declared))

    (note,) = found.notes
    assert note.startswith(
        "policyRule.then.details.values.images[0]: [[parameters('images')] is text, as [[ is an escape"
    )


def test_an_escaped_effect_says_so() -> None:
    found = resolve_one(make_assignment(), make_definition(effect="[[parameters('effect')]"))

    assert outcome(found) == "Effect"
    assert "policyRule.then.effect: [[parameters('effect')] is text, as [[ is an escape" in message(found)


def test_an_escape_in_an_initiatives_mapping_is_told() -> None:
    details = make_details(values={"x": "[parameters('x')]"})
    definition = make_definition(details=details, parameters={"x": make_parameter("String", defaultValue="d")})
    initiative = make_initiative(make_reference("one", parameters={"x": "[[parameters('x')]"}))

    (found,) = resolve_all(make_assignment(of=initiative_id()), initiative, definition)

    assert isinstance(found, EffectivePolicy)
    (note,) = found.notes
    assert note == (
        "the initiative's parameters.x: [[parameters('x')] is text, as [[ is an escape that only ARM templates need:"
        " write one ["
    )


def test_an_assignment_that_cannot_be_read_has_the_last_part_of_its_id_as_its_name() -> None:
    broken = with_properties(make_assignment("limits"), {"notScopes": "everywhere"})

    (found,) = resolve_all(broken)

    assert outcome(found) == "Unreadable"
    assert found.member.assignment_name == "limits"
