"""Names and marks are a contract with what is already in clusters: these tests hold it by hand-made values."""

from __future__ import annotations

import hashlib

import pytest

from controller.errors import InputError
from controller.gatekeeper.naming import OwnershipMarks, RunningTemplate, constraint_name, is_managed_name, owned_key
from controller.policy.model import Member

ASSIGNMENT = "/subscriptions/s/providers/Microsoft.Authorization/policyAssignments/baseline"
DEFINITION = "/providers/Microsoft.Authorization/policyDefinitions/d"


def test_a_constraint_is_named_by_prefix_template_cut_to_30_characters_and_20_digits_of_its_identity() -> None:
    identity = f"{ASSIGNMENT.casefold()}\nnoprivileged\n{DEFINITION.casefold()}"

    name = constraint_name("k8sazurev2containerallowedimages", ASSIGNMENT, "NoPrivileged", DEFINITION)

    digits = hashlib.sha256(identity.encode()).hexdigest()[:20]
    assert name == f"azurepolicy-k8sazurev2containerallowedimag-{digits}"
    assert len(name) == 63


def test_ids_spelled_in_another_case_or_with_a_closing_slash_give_the_same_name() -> None:
    assert constraint_name("t", ASSIGNMENT, "Ref", DEFINITION) == constraint_name(
        "t", ASSIGNMENT.upper() + "/", "rEF", DEFINITION.upper()
    )


@pytest.mark.parametrize(
    "other", [(ASSIGNMENT + "2", "r", DEFINITION), (ASSIGNMENT, "r2", DEFINITION), (ASSIGNMENT, "r", "")]
)
def test_another_assignment_reference_or_definition_gives_another_name(other: tuple[str, str, str]) -> None:
    assert constraint_name("t", *other) != constraint_name("t", ASSIGNMENT, "r", DEFINITION)


def test_ids_do_not_run_into_each_other() -> None:
    assert constraint_name("t", "a", "bc", "d") != constraint_name("t", "ab", "c", "d")


def test_a_name_cut_behind_a_dot_stays_a_name_that_kubernetes_takes() -> None:
    name = constraint_name("a" * 29 + ".rest", ASSIGNMENT, "", DEFINITION)

    assert name.startswith(f"azurepolicy-{'a' * 29}-")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (constraint_name("k8sazurev3hostfilesystem", "a", "b", "c"), True),
        (constraint_name("x", "a", "b", "c"), True),
        ("azurepolicy-k8sazurev3hostfilesystem-0123456789abcdef0123", True),
        ("azurepolicy-k8sazurev3hostfilesystem-0123456789abcdef012", False),
        ("azurepolicy-k8sazurev3hostfilesystem-0123456789ABCDEF0123", False),
        ("azurepolicy--0123456789abcdef0123", False),
        (f"azurepolicy-{'a' * 31}-0123456789abcdef0123", False),
        ("my-azurepolicy-x-0123456789abcdef0123", False),
        ("require-labels", False),
    ],
)
def test_only_names_of_the_pattern_are_ours_to_prune(name: str, ours: bool) -> None:
    assert is_managed_name(name) is ours


@pytest.mark.parametrize(
    ("key", "owned"),
    [
        ("managed-by", True),
        ("azure-policy-assignment-id", True),
        ("azure-policy-definition-id-7", True),
        ("constraint-installed-by", True),
        ("constraint-template", True),
        ("azpolicy.dev/template-digest", True),
        ("app.kubernetes.io/managed-by", False),
        ("metadata.gatekeeper.sh/requires-sync-data", False),
        ("example.com/constraint-note", False),
        ("description", False),
    ],
)
def test_keys_of_marks_are_ours_alone_and_others_are_not(key: str, owned: bool) -> None:
    assert owned_key(key) is owned


def test_a_constraint_says_where_it_comes_from_and_absent_ids_are_empty_text() -> None:
    annotations = OwnershipMarks().member_annotations(Member(ASSIGNMENT, DEFINITION))

    assert annotations == {
        "azure-policy-assignment-id": ASSIGNMENT,
        "azure-policy-definition-id": DEFINITION,
        "azure-policy-definition-reference-id": "",
        "azure-policy-setdefinition-id": "",
        "constraint-installed-by": "azure-policy-sync",
    }


def test_a_constraint_with_a_file_of_its_own_names_its_address() -> None:
    annotations = OwnershipMarks().member_annotations(Member(ASSIGNMENT, DEFINITION), "https://store/constraint.yaml")

    assert annotations["constraint-url"] == "https://store/constraint.yaml"


def test_a_template_lists_the_definitions_that_bring_it_numbered_in_the_order_of_their_ids() -> None:
    annotations = OwnershipMarks("team").template_annotations(
        ["/B", "/a", "/b", "/C"], url="https://u", origin="bundle", digest="d"
    )

    assert annotations == {
        "azure-policy-definition-id-1": "/a",
        "azure-policy-definition-id-2": "/B",
        "azure-policy-definition-id-3": "/C",
        "constraint-template": "https://u",
        "constraint-template-installed-by": "team",
        "azpolicy.dev/template-source": "bundle",
        "azpolicy.dev/template-digest": "d",
    }


def test_marks_that_were_written_tell_which_template_runs() -> None:
    annotations = OwnershipMarks().template_annotations(["/a"], url="https://u", origin="url", digest="d")

    assert RunningTemplate.of(annotations) == RunningTemplate("https://u", "d")


@pytest.mark.parametrize("value", ["", "two words", "-x", "a" * 64, "naïve"])
def test_a_managed_by_value_that_kubernetes_would_refuse_is_refused_at_once(value: str) -> None:
    with pytest.raises(InputError, match="managed-by"):
        OwnershipMarks(value)
