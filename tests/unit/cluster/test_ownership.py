"""Whose an object is: every cell of the table in ownership.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.cluster.ownership import Ownership, member_of, ownership
from controller.gatekeeper.expansion import expansion_templates, with_source
from controller.gatekeeper.model import Role
from controller.gatekeeper.naming import FIELD_MANAGER, OwnershipMarks
from controller.gatekeeper.syncset import syncset
from controller.policy.model import MemberKey
from tests.unit.cluster_builders import MARKS, constraint, live, mutator, template

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredObject

EXPANSIONS = expansion_templates([with_source(constraint(), "All")], MARKS)
OURS, FOREIGN = Ownership.OURS, Ownership.FOREIGN
LABELS = {"ours": {"managed-by": MARKS.managed_by}, "another's": {"managed-by": "somebody"}, "none": {}}
INSTALLERS = ("constraint-installed-by", "constraint-template-installed-by")


def managers(*, entry: bool) -> tuple[str, ...]:
    return ("kubectl", FIELD_MANAGER) if entry else ("kubectl",)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("of", [template(), constraint(), mutator()], ids=["template", "constraint", "mutator"])
def test_what_we_want_and_our_field_manager_has_written_is_ours(of: DesiredObject, label: str) -> None:
    found = live(of, labels=LABELS[label], annotations={}, managers=managers(entry=True))

    assert ownership(found, MARKS, desired=True) is OURS


@pytest.mark.parametrize("installed_by", ["ours", "another's"])
@pytest.mark.parametrize(("label", "whose"), [("ours", OURS), ("none", OURS), ("another's", FOREIGN)])
@pytest.mark.parametrize("of", [template(), constraint(), mutator()], ids=["template", "constraint", "mutator"])
def test_what_we_do_not_want_is_not_ours_where_another_installation_has_labelled_it(
    of: DesiredObject, label: str, installed_by: str, whose: Ownership
) -> None:
    by = {"ours": MARKS.managed_by, "another's": "somebody"}[installed_by]
    annotations = dict.fromkeys(INSTALLERS, by)
    found = live(of, labels=LABELS[label], annotations=annotations, managers=managers(entry=True))

    assert ownership(found, MARKS) is whose


def test_what_an_adopted_installation_has_labelled_is_ours() -> None:
    found = live(constraint(), labels=LABELS["another's"], managers=managers(entry=True))

    assert ownership(found, OwnershipMarks(MARKS.managed_by, frozenset({"somebody"}))) is OURS


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("of", [constraint(), mutator()], ids=["constraint", "mutator"])
def test_a_name_that_our_digits_make_is_ours_once_it_is_desired(of: DesiredObject, label: str) -> None:
    found = live(of, labels=LABELS[label], annotations={}, managers=managers(entry=False))

    assert ownership(found, MARKS, desired=True) is OURS


@pytest.mark.parametrize(
    ("label", "installed_by", "whose"),
    [
        pytest.param("ours", "ours", OURS, id="our label and our annotation make it ours"),
        pytest.param("ours", "none", OURS, id="our label alone makes it ours"),
        pytest.param("ours", "another's", OURS, id="our label counts more than another's annotation"),
        pytest.param("another's", "ours", FOREIGN, id="another's label counts more than our annotation"),
        pytest.param("another's", "none", FOREIGN, id="another's label makes it foreign"),
        pytest.param("none", "ours", OURS, id="our annotation makes it ours where no label speaks"),
        pytest.param("none", "none", FOREIGN, id="what bears no mark is foreign"),
        pytest.param("none", "another's", FOREIGN, id="another's annotation makes it foreign"),
    ],
)
@pytest.mark.parametrize("annotation", INSTALLERS)
@pytest.mark.parametrize(
    ("of", "desired"),
    [(template(), True), (template(), False), (constraint(), False), (mutator(), False)],
    ids=["wanted template", "template", "constraint", "mutator"],
)
def test_without_an_entry_or_a_name_of_ours_the_marks_tell(
    of: DesiredObject, label: str, installed_by: str, annotation: str, whose: Ownership, *, desired: bool
) -> None:
    installer = {"ours": {annotation: MARKS.managed_by}, "another's": {annotation: "somebody"}, "none": {}}
    found = live(of, labels=LABELS[label], annotations=installer[installed_by], managers=managers(entry=False))

    assert ownership(found, MARKS, desired=desired) is whose


@pytest.mark.parametrize(
    ("uid", "desired", "whose"),
    [
        pytest.param("uid-now", True, OURS, id="what we wrote is ours"),
        pytest.param("uid-now", False, OURS, id="what we wrote is ours when nothing desires it any more, too"),
        pytest.param("uid-before", True, OURS, id="a name that we wrote is ours while it is desired, whoever made it"),
        pytest.param("uid-before", False, FOREIGN, id="what somebody made in place of ours is theirs otherwise"),
        pytest.param(None, True, FOREIGN, id="a name that we never wrote tells nothing"),
    ],
)
@pytest.mark.parametrize("label", ["another's", "none"])
@pytest.mark.parametrize(
    "of",
    [template(), syncset((), MARKS), *EXPANSIONS, constraint(), mutator()],
    ids=["template", "SyncSet", *(each.ref.name for each in EXPANSIONS), "constraint", "mutator"],
)
def test_what_we_remember_counts_whatever_an_object_bears(
    of: DesiredObject, label: str, uid: str | None, whose: Ownership, *, desired: bool
) -> None:
    found = live(of, labels=LABELS[label], annotations={}, managers=(), uid="uid-now")
    written = {} if uid is None else {of.ref: uid}
    # The digits in the name of a desired constraint or mutator make it ours as they always did.
    by_name = desired and of.role in (Role.CONSTRAINT, Role.MUTATOR)

    assert ownership(found, MARKS, desired=desired, written=written) is (OURS if by_name else whose)


def test_a_writer_of_status_under_our_name_does_not_make_an_object_ours() -> None:
    entry = {"manager": FIELD_MANAGER, "operation": "Update", "subresource": "status"}
    found = live(template(), labels={}, annotations={})
    metadata = {**found.metadata, "managedFields": [entry]}

    assert ownership(type(found)(found.ref, {**found.manifest, "metadata": metadata}), MARKS) is FOREIGN


def test_an_object_without_labels_annotations_and_managed_fields_is_foreign() -> None:
    found = live(template())
    bare = {"name": found.ref.name, "labels": None, "annotations": None, "managedFields": None}

    assert ownership(type(found)(found.ref, {**found.manifest, "metadata": bare}), MARKS, desired=True) is FOREIGN


def test_the_mark_is_a_setting() -> None:
    found = live(template(), labels={"managed-by": "other-sync"}, annotations={}, managers=())

    assert ownership(found, OwnershipMarks("other-sync")) is OURS
    assert ownership(found, MARKS) is FOREIGN


def test_a_member_is_known_by_its_annotations_however_they_are_spelled() -> None:
    annotations = {"azure-policy-assignment-id": "/A/B/", "azure-policy-definition-reference-id": "Ref"}

    assert member_of(annotations) == MemberKey.of("/a/b", "ref")


@pytest.mark.parametrize("annotations", [{}, {"azure-policy-assignment-id": ""}])
def test_annotations_without_an_assignment_name_no_member(annotations: dict[str, str]) -> None:
    assert member_of(annotations) is None
