"""Which pods policies look at, and when there are ExpansionTemplates: in the translation, and of what is carried."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from controller.gatekeeper.carried import carry_forward
from controller.gatekeeper.expansion import EXPANSION_REFS, Expansion, expansion_templates, with_source, workloads
from controller.gatekeeper.model import DesiredObject, Rendered, Role
from controller.policy.model import Match, Unresolved, UnresolvedReason
from tests.unit.cluster_builders import MARKS, constraint, desired_state, member, template
from tests.unit.gatekeeper.test_translate import (
    MUTATION_TEXT,
    MUTATION_URL,
    PODS,
    URL,
    desired,
    documents,
    make_mutation,
    make_policy,
    template_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.gatekeeper.model import DesiredState

SERVICES: Final = Match(api_groups=("",), kinds=("Service",))
GENERATED: Final = replace(PODS, source="Generated")
EVERYTHING: Final = replace(PODS, source="All")
ORIGINAL: Final = replace(PODS, source="Original")
SOURCES: Final = pytest.mark.parametrize("match", [EVERYTHING, GENERATED], ids=["All", "Generated"])


def expansions(objects: Iterable[DesiredObject]) -> list[DesiredObject]:
    return [each for each in objects if each.role is Role.EXPANSION]


def sources(state: DesiredState, role: Role = Role.CONSTRAINT) -> list[str]:
    """The sources of the constraints or mutators, in the order of their members; empty where none is said."""
    made = sorted((o for o in state.objects if o.role is role), key=lambda o: o.members[0].reference_id)
    specs: list[Any] = [o.manifest["spec"] for o in made]
    return [spec["match"].get("source", "") for spec in specs]


def notes(state: DesiredState) -> list[tuple[str, ...]]:
    return [each.notes for each in state.outcomes if isinstance(each, Rendered)]


@SOURCES
def test_expansion_is_there_while_a_policy_looks_at_generated_pods(match: Match) -> None:
    state = desired(make_policy(match=match))

    found = expansions(state.objects)

    assert tuple(each.ref for each in found) == EXPANSION_REFS
    assert all(each.members == () for each in found)
    assert not any("enforcementAction" in each.manifest["spec"] for each in found)  # type: ignore[operator]
    assert {kind for each in found for kind in workloads(each.manifest, each.ref)} == {
        "CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet",
    }  # fmt: skip
    assert {each.manifest["spec"]["templateSource"] for each in found} == {  # type: ignore[index,call-overload]
        "spec.template",
        "spec.jobTemplate.spec.template",
    }


@pytest.mark.parametrize("match", [PODS, ORIGINAL], ids=["nothing", "Original"])
def test_no_policy_that_says_so_no_expansion(match: Match) -> None:
    state = desired(make_policy(match=match))

    assert expansions(state.objects) == []
    assert sources(state) == ["Original"]


def test_a_mutation_that_looks_at_generated_pods_needs_expansion_too() -> None:
    assert expansions(desired(make_mutation(match=replace(PODS, source="Generated"))).objects)


def test_expansion_that_is_off_makes_nothing_and_says_what_then_looks_at_nothing() -> None:
    state = desired(
        make_policy(match=GENERATED, reference="1"),
        make_policy(match=EVERYTHING, reference="2"),
        expansion=Expansion.OFF,
    )

    assert expansions(state.objects) == []
    assert sources(state) == ["Generated", "All"]
    [[note], none] = notes(state)
    assert "the setting expansion is off" in note
    assert none == ()


def test_a_policy_on_pods_that_says_nothing_has_azures_default() -> None:
    """Gatekeeper's is All: such a policy would deny Deployments because another one is for them."""
    state = desired(
        make_policy(match=EVERYTHING, reference="1"),
        make_policy(match=PODS, reference="2"),
        make_policy(match=SERVICES, reference="3"),
        make_mutation(reference="4", match=PODS),
    )

    assert sources(state) == ["All", "Original", ""]
    assert sources(state, Role.MUTATOR) == ["Original"]
    assert ["Azure's default" in " ".join(each) for each in notes(state)] == [False, True, False, True]
    # Where nothing is expanded it makes no difference, and nothing is said.
    assert not any(notes(desired(make_policy(match=PODS))))


def test_all_widens_every_policy_on_pods_and_says_so() -> None:
    state = desired(
        make_policy(match=PODS, reference="1"),
        make_policy(match=ORIGINAL, reference="2"),
        make_policy(match=GENERATED, reference="3"),
        make_policy(match=SERVICES, reference="4"),
        make_mutation(reference="5", match=PODS),
        expansion=Expansion.ALL,
    )

    assert sources(state) == ["All", "All", "Generated", ""]
    # Without it a workload would be denied for what the mutation corrects in its pods.
    assert sources(state, Role.MUTATOR) == ["All"]
    told = [any("by the setting expansion: all" in note for note in each) for each in notes(state)]
    assert told == [True, True, False, False, True]
    assert expansions(state.objects)


def test_all_makes_no_expansion_where_no_policy_is_on_pods() -> None:
    assert expansions(desired(make_policy(match=SERVICES), expansion=Expansion.ALL).objects) == []


def test_a_rule_about_owners_is_not_widened_and_its_own_word_is_taken_with_a_warning() -> None:
    """Before Gatekeeper 3.22 a generated pod has no owner: block-naked-pods would deny every workload."""
    served = documents({URL: template_text(rego="package thing\nx := input.review.object.metadata.ownerReferences")})

    widened = desired(make_policy(match=PODS), served=served, expansion=Expansion.ALL)
    said = desired(make_policy(match=EVERYTHING), served=served)

    assert sources(widened) == ["Original"]
    assert sources(said) == ["All"]
    assert "stays Original" in notes(widened)[0][0]
    [[note]] = notes(said)
    assert "since Gatekeeper 3.22" in note


def test_a_source_in_a_mutations_own_file_counts() -> None:
    text = MUTATION_TEXT.replace("{scope: Namespaced", "{source: Generated, scope: Namespaced")

    assert expansions(desired(make_mutation(), served=documents(mutations={MUTATION_URL: text})).objects)


NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
WIDE: Final = with_source(constraint(by=member("wide", definition="wide")), "All")
PLAIN: Final = constraint(by=member("plain", definition="plain"))
LAST: Final = desired_state(template(), *expansion_templates([WIDE], MARKS), PLAIN, WIDE)
UNKNOWN: Final = Unresolved(WIDE.members[0], UnresolvedReason.UNREADABLE, "403")


def test_expansion_is_carried_with_the_policy_that_needs_it() -> None:
    now = desired_state(template(members=PLAIN.members), PLAIN, outcomes=(UNKNOWN,), listed=("wide", "plain"))

    found = carry_forward(now, LAST, NOW, MARKS)

    assert [each.ref for each in expansions(found.objects)] == list(EXPANSION_REFS)


def test_expansion_that_was_off_then_is_not_carried() -> None:
    last = replace(LAST, objects=tuple(each for each in LAST.objects if each.role is not Role.EXPANSION))
    now = desired_state(outcomes=(UNKNOWN,), listed=("wide",))

    found = carry_forward(now, last, NOW, MARKS)

    assert WIDE in found.objects
    assert expansions(found.objects) == []
