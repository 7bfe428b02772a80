"""Documents to types: what is read, what is refused, and how far one malformed document reaches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from controller.azure.model import (
    ABSENT,
    Assignment,
    ClusterResource,
    Exemption,
    Initiative,
    PolicyDefinition,
    Selector,
    Unreadable,
    Version,
    VersionKind,
    fold,
)
from controller.azure.parse import build_state, parse_resource, type_of
from controller.errors import InputError
from tests.unit.azure_builders import (
    CLUSTER_ID,
    CONNECTED_ID,
    GROUP,
    INVISIBLE,
    MANAGEMENT_GROUP,
    POLICY,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_initiative,
    make_parameter,
    make_reference,
    make_state,
    with_properties,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.azure.parse import Resource
    from controller.jsontypes import Json


def parse(document: dict[str, Json]) -> Resource | None:
    return parse_resource(document, "a.json")


def unreadable(document: dict[str, Json]) -> str:
    parsed = parse(document)
    assert isinstance(parsed, Unreadable)
    return parsed.reason


def properties(document: dict[str, Json]) -> dict[str, Json]:
    told = document["properties"]
    assert isinstance(told, dict)
    return told


def flat(document: dict[str, Json]) -> dict[str, Json]:
    return {**{key: value for key, value in document.items() if key != "properties"}, **properties(document)}


def test_an_assignment_keeps_what_decides_what_it_means() -> None:
    document = make_assignment(
        effect="Deny",
        notScopes=[GROUP],
        enforcementMode="DoNotEnforce",
        definitionVersion="1.*.*",
        effectiveDefinitionVersion="1.4.0",
        overrides=[
            {
                "kind": "policyEffect",
                "value": "Audit",
                "selectors": [{"kind": "policyDefinitionReferenceId", "in": ["one"]}],
            }
        ],
        resourceSelectors=[{"name": "eu", "selectors": [{"kind": "resourceLocation", "notIn": ["eastus"]}]}],
    )

    found = parse(document)

    assert isinstance(found, Assignment)
    assert (found.scope, found.not_scopes) == (SUBSCRIPTION, (GROUP,))
    assert found.parameters == {"effect": "Deny"}
    assert (found.enforcement_mode, found.definition_version, found.effective_version) == (
        "DoNotEnforce",
        "1.*.*",
        "1.4.0",
    )
    assert found.overrides[0].selectors == (Selector("policyDefinitionReferenceId", ("one",)),)
    assert found.resource_selectors[0].selectors == (Selector("resourceLocation", None, ("eastus",)),)
    assert not found.is_initiative


def test_an_assignment_of_a_policy_set_definition_is_one_of_an_initiative() -> None:
    found = parse(make_assignment(of=initiative_id().upper().replace("PROVIDERS", "providers")))

    assert isinstance(found, Assignment)
    assert found.is_initiative


def test_the_scope_of_an_assignment_is_told_by_its_id_unless_it_says_so_itself() -> None:
    told = parse(with_properties(make_assignment(scope=MANAGEMENT_GROUP), {"scope": SUBSCRIPTION}))
    untold = parse(make_assignment(scope=MANAGEMENT_GROUP))

    assert isinstance(told, Assignment)
    assert isinstance(untold, Assignment)
    assert (told.scope, untold.scope) == (SUBSCRIPTION, MANAGEMENT_GROUP)


@pytest.mark.parametrize(
    "document",
    [
        make_assignment(effect="Deny"),
        make_definition(),
        make_initiative(),
        make_exemption(),
    ],
    ids=["assignment", "definition", "initiative", "exemption"],
)
def test_the_flat_form_of_the_azure_cli_reads_like_arms_own(document: dict[str, Json]) -> None:
    assert parse(flat(document)) == parse(document)


def test_nulls_that_the_azure_cli_prints_count_as_absent() -> None:
    nulls: dict[str, Json] = dict.fromkeys(
        ("notScopes", "overrides", "resourceSelectors", "definitionVersion", "enforcementMode", "scope")
    )

    assert parse(with_properties(make_assignment(), nulls)) == parse(make_assignment())


@pytest.mark.parametrize("kind", ["policyAssignments", "policyassignments", "POLICYASSIGNMENTS"])
def test_types_compare_in_any_case(kind: str) -> None:
    document = make_assignment() | {"type": f"microsoft.AUTHORIZATION/{kind}"}

    assert isinstance(parse(document), Assignment)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (make_assignment(), Assignment),
        (make_definition(), PolicyDefinition),
        (make_initiative(), Initiative),
        (make_exemption(), Exemption),
        (make_cluster(), ClusterResource),
        (make_cluster(CONNECTED_ID), ClusterResource),
    ],
    ids=["assignment", "definition", "initiative", "exemption", "managed cluster", "connected cluster"],
)
def test_without_a_type_the_id_tells_what_it_is(document: dict[str, Json], kind: type) -> None:
    document = {key: value for key, value in document.items() if key != "type"}

    assert isinstance(parse(document), kind)


def test_a_resource_of_another_type_is_none_of_ours() -> None:
    assert parse({"id": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/one"}) is None


@pytest.mark.parametrize(
    ("resource_id", "expected"),
    [
        (CLUSTER_ID, "Microsoft.ContainerService/managedClusters"),
        (assignment_id(scope=CLUSTER_ID), f"{POLICY}/policyAssignments"),
        (f"{definition_id()}/versions/1.0.0", f"{POLICY}/policyDefinitions/versions"),
        (
            f"{CLUSTER_ID}/agentPools/one".replace("providers", "PROVIDERS"),
            "Microsoft.ContainerService/managedClusters/agentPools",
        ),
        (GROUP, "Microsoft.Resources/resourceGroups"),
        ("", ""),
    ],
)
def test_an_id_spells_its_type(resource_id: str, expected: str) -> None:
    assert type_of(resource_id) == expected


@pytest.mark.parametrize(
    ("properties", "metadata", "expected"),
    [
        ({"version": "2.1.0"}, {"version": "9.9.9"}, Version(2, 1, 0)),
        ({}, {"version": "1.2.3-PREVIEW"}, Version(1, 2, 3, VersionKind.PREVIEW)),
        ({}, {"version": "1.2.3-Deprecated"}, Version(1, 2, 3, VersionKind.DEPRECATED)),
        ({}, {"version": "spring release"}, None),
        ({}, {"version": 3}, None),
        ({}, {}, None),
    ],
    ids=[
        "properties before metadata",
        "metadata, suffix in capitals",
        "deprecated in any case",
        "free text in metadata says nothing",
        "a number in metadata says nothing",
        "none",
    ],
)
def test_the_version_of_a_definition(
    properties: dict[str, Json], metadata: dict[str, Json], expected: Version | None
) -> None:
    found = parse(with_properties(make_definition(version=None), {**properties, "metadata": metadata}))

    assert isinstance(found, PolicyDefinition)
    assert found.version == expected


@pytest.mark.parametrize(
    ("document", "head"),
    [(make_definition(version=None), definition_id()), (make_initiative(version=None), initiative_id())],
    ids=["definition", "initiative"],
)
def test_a_version_document_belongs_to_its_head(document: dict[str, Json], head: str) -> None:
    version = document | {
        "id": f"{head}/versions/3.2.1",
        "type": f"{document['type']}/versions",
        "name": "3.2.1",
    }

    found = parse(version)

    assert isinstance(found, PolicyDefinition | Initiative)
    assert (found.id, found.name, found.version) == (head, head.rsplit("/", maxsplit=1)[-1], Version(3, 2, 1))


def test_parameters_keep_their_names_and_lose_the_case_of_their_types() -> None:
    declared: dict[str, Json] = {
        "Ports": make_parameter("ARRAY", defaultValue=[], allowedValues=[[], [80]]),
        "needed": make_parameter("string"),
        "printed": make_parameter("string", defaultValue=None),
    }

    found = parse(make_definition(parameters=declared))

    assert isinstance(found, PolicyDefinition)
    assert (found.parameters["Ports"].type, found.parameters["Ports"].allowed_values) == ("array", ([], [80]))
    assert found.parameters["needed"].default is ABSENT
    assert found.parameters["printed"].default is ABSENT


def test_an_exemption_keeps_its_scope_its_members_and_its_end() -> None:
    document = make_exemption(
        scope=GROUP,
        policyDefinitionReferenceIds=["one", "two"],
        expiresOn="2026-03-01T12:00:00Z",
        exemptionCategory="Mitigated",
    )

    found = parse(document)

    assert isinstance(found, Exemption)
    assert (found.scope, found.reference_ids, found.category) == (GROUP, ("one", "two"), "Mitigated")
    assert found.expires_on == datetime(2026, 3, 1, 12, tzinfo=UTC)


BROKEN: dict[str, tuple[dict[str, Json], str]] = {
    "properties of another type": (make_assignment() | {"properties": []}, "properties must be an object, is a list"),
    "no definition": (make_assignment(of=""), "properties.policyDefinitionId is missing"),
    "a definition that is none": (make_assignment(of=GROUP), "names neither a definition nor an initiative"),
    "a scope that is none": (
        with_properties(make_assignment(), {"scope": "everywhere"}),
        "properties.scope must be a resource id",
    ),
    "a scope above everything": (
        with_properties(make_assignment(), {"scope": "/"}),
        "properties.scope must be a resource id",
    ),
    "an empty excluded scope": (make_assignment(notScopes=[""]), "properties.notScopes must be resource ids"),
    "excluded scopes that are no list": (make_assignment(notScopes=GROUP), "notScopes must be a list, is a string"),
    "parameters that are a list": (
        with_properties(make_assignment(), {"parameters": [1]}),
        "properties.parameters must be an object",
    ),
    "a parameter without a value": (
        with_properties(make_assignment(), {"parameters": {"effect": {}}}),
        "properties.parameters.effect has no 'value'",
    ),
    "parameters that differ in case": (make_assignment(parameters={"Effect": 1, "effect": 2}), "Azure ignores case"),
    "an override without kind": (make_assignment(overrides=[{"value": "Deny"}]), "overrides[0].kind is missing"),
    "a selector's values": (
        make_assignment(resourceSelectors=[{"selectors": [{"kind": "resourceLocation", "in": [1]}]}]),
        "resourceSelectors[0].selectors[0].in[0] must be a string, is a number",
    ),
    "no rule": (make_definition() | {"properties": {"mode": "All"}}, "properties.policyRule is missing"),
    "a version that is none": (make_definition(version="latest"), "properties.version must be like 1.2.3"),
    "a parameter without type": (make_definition(parameters={"x": {}}), "parameters.x.type is missing"),
    "allowed values": (
        make_definition(parameters={"x": make_parameter("String", allowedValues="a")}),
        "allowedValues must be a list",
    ),
    "an exemption of nothing": (make_exemption(of=""), "properties.policyAssignmentId is missing"),
    "an expiry that is no date": (make_exemption(expiresOn="soon"), "expiresOn must be a date and time"),
    "half a surrogate pair": (make_assignment(effect="\ud83d"), "half a surrogate pair"),
    "infinity": (make_assignment(parameters={"x": float("inf")}), "not a JSON number"),
}


@pytest.mark.parametrize(("document", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_malformed_resource_is_unreadable_and_names_its_place(document: dict[str, Json], reason: str) -> None:
    found = unreadable(document)

    assert found.startswith("a.json: ")
    assert reason in found


def test_a_document_nested_too_deeply_is_unreadable() -> None:
    value: Json = "x"
    for _ in range(200):
        value = [value]

    assert "nested deeper than" in unreadable(make_assignment(parameters={"x": value}))


def test_a_malformed_version_spoils_its_definition() -> None:
    document = make_definition(version="x") | {"id": f"{definition_id()}/versions/1.0.0"}

    found = parse(document)

    assert isinstance(found, Unreadable)
    assert found.id == definition_id()


def test_a_malformed_exemption_says_whom_it_concerns() -> None:
    found = parse(make_exemption(expiresOn="soon"))

    assert isinstance(found, Unreadable)
    assert found.concerns == assignment_id()


def test_members_of_the_old_form_without_reference_ids_are_named_by_their_definitions() -> None:
    found = parse(
        make_initiative(
            {"policyDefinitionId": definition_id("probes")},
            {"policyDefinitionId": definition_id("images"), "policyDefinitionReferenceId": None},
            {"policyDefinitionId": definition_id("Probes")},
            make_reference("probes-2", of=definition_id("labels")),
            {"policyDefinitionReferenceId": ""},
        )
    )

    assert isinstance(found, Initiative)
    assert [each.reference_id for each in found.references] == ["probes", "images", "Probes-3", "probes-2", "member"]
    assert [bool(each.fault) for each in found.references] == [False, False, False, False, True]


def test_a_malformed_member_leaves_the_others_readable() -> None:
    found = parse(
        make_initiative(
            make_reference("one"),
            make_reference("two") | {"parameters": "x"},
            make_reference("ONE"),
            make_reference("four", of=""),
        )
    )

    assert isinstance(found, Initiative)
    assert [bool(reference.fault) for reference in found.references] == [False, True, True, True]
    assert "appears twice" in found.references[2].fault


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "neither 'id' nor 'type'"),
        ({"error": {"code": "AuthorizationFailed"}}, "neither 'id' nor 'type'"),
        ({"id": 7}, "must be strings"),
        ({"type": f"{POLICY}/policyAssignments"}, "needs its full resource id"),
        ({"type": f"{POLICY}/policyAssignments", "id": "a"}, "needs its full resource id"),
        ({"type": "Microsoft.ContainerService/managedClusters", "id": "/web"}, "is not a cluster's id"),
    ],
    ids=["nothing", "an error", "a number", "no id", "a name", "not a cluster's id"],
)
def test_what_cannot_be_told_apart_is_an_error_that_names_its_place(document: dict[str, Json], reason: str) -> None:
    with pytest.raises(InputError, match=r"^a\.json: ") as caught:
        parse(document)

    assert reason in str(caught.value)


@pytest.mark.parametrize("letter", INVISIBLE, ids=ascii)
@pytest.mark.parametrize(
    "make", [make_assignment, make_definition, lambda name: make_initiative(name=name)], ids=["assigned", "one", "set"]
)
def test_a_name_that_cannot_be_seen_makes_that_one_unreadable_used_or_not(
    make: Callable[[str], dict[str, Json]], letter: str
) -> None:
    document = make(f"no{letter}root")

    state = make_state(document, make_assignment("good"), make_definition())

    [found] = state.unreadable.values()
    assert found.id == document["id"]
    assert "characters that cannot be seen" in found.reason
    assert found.reason.isprintable()
    assert [each.name for each in state.assignments] == ["good"]


@pytest.mark.parametrize("letter", INVISIBLE, ids=ascii)
def test_an_exemption_whose_name_cannot_be_seen_concerns_its_assignment_alone(letter: str) -> None:
    found = parse(make_exemption(f"no{letter}root", of=assignment_id()))

    assert isinstance(found, Unreadable)
    assert found.concerns == assignment_id()


def test_another_cluster_whose_name_cannot_be_seen_is_no_matter() -> None:
    state = make_state(make_cluster(), make_cluster(f"{CLUSTER_ID}\u200b"), cluster_id=None)

    assert state.cluster.id == CLUSTER_ID


def test_versions_of_one_id_are_kept_side_by_side() -> None:
    state = make_state(make_definition(version="1.0.0"), make_definition(version="2.0.0"))

    assert [str(each.version) for each in state.definitions[fold(definition_id())]] == ["1.0.0", "2.0.0"]


def test_the_same_document_twice_is_one() -> None:
    state = make_state(make_assignment(), make_assignment(), make_definition(), make_definition())

    assert len(state.assignments) == 1
    assert len(state.definitions[fold(definition_id())]) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (make_assignment(effect="Deny"), make_assignment(effect="Audit")),
        (make_definition(displayName="a"), make_definition(displayName="b")),
        (make_cluster(), make_cluster(location="eastus")),
        (
            make_assignment(effect="Deny"),
            make_assignment(effect="Audit") | {"id": assignment_id().replace("subscriptions", "SUBSCRIPTIONS")},
        ),
    ],
    ids=["assignment", "definition of one version", "cluster", "in another case"],
)
def test_different_content_under_one_id_names_both_places(one: dict[str, Json], other: dict[str, Json]) -> None:
    with pytest.raises(InputError, match=r"#0 and #1 both contain .* with different content"):
        make_state(one, other)


def test_the_cluster_is_the_only_one_there() -> None:
    state = make_state(make_cluster(CONNECTED_ID), cluster_id=None)

    assert (state.cluster.id, state.cluster.type) == (CONNECTED_ID, "Microsoft.Kubernetes/connectedClusters")


def test_the_cluster_is_chosen_by_its_id_in_any_case() -> None:
    state = make_state(make_cluster(), make_cluster(CONNECTED_ID), cluster_id=f"{CLUSTER_ID.upper()}/")

    assert state.cluster.id == CLUSTER_ID
    assert state.cluster.document is not None


def test_of_a_cluster_without_document_its_id_tells_type_and_name() -> None:
    cluster = make_state(cluster_id=CONNECTED_ID).cluster

    assert (cluster.type, cluster.name) == ("Microsoft.Kubernetes/connectedClusters", "edge")
    assert cluster.document is None


def test_several_clusters_are_listed_to_choose_from() -> None:
    with pytest.raises(InputError, match="--cluster-id") as caught:
        make_state(make_cluster(), make_cluster(CONNECTED_ID), cluster_id=None)

    assert CLUSTER_ID in str(caught.value)
    assert CONNECTED_ID in str(caught.value)


def test_no_cluster_asks_for_its_id() -> None:
    with pytest.raises(InputError, match="--cluster-id"):
        make_state(make_assignment(), cluster_id=None)


@pytest.mark.parametrize(
    "cluster_id",
    ["web", GROUP, f"{CLUSTER_ID}/agentPools/one", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web", "/"],
)
def test_an_id_that_is_no_clusters_is_refused(cluster_id: str) -> None:
    with pytest.raises(InputError, match="is not a cluster's id"):
        make_state(cluster_id=cluster_id)


def test_unreadable_resources_are_kept_by_folded_id() -> None:
    state = make_state(make_assignment(of=""))

    assert state.unreadable.keys() == {fold(assignment_id())}


def test_what_is_proven_gone_is_kept() -> None:
    assert build_state([], CLUSTER_ID, frozenset({"x"})).gone == {"x"}
