"""When Gatekeeper is asked again about what it says nothing of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.cluster.kinds import LiveObject
from controller.cluster.readiness import NUDGE_SECONDS, NUDGES_AT_ONCE
from controller.operator.stale_status import BUSY_PATIENCE, LONGEST_PATIENCE, StaleStatus
from tests.unit.cluster_builders import constraint, live, member, mutator, template

if TYPE_CHECKING:
    from controller.gatekeeper.model import DesiredObject

START = 100.0


def heard(of: DesiredObject, *, generation: int = 1, observed: int = 1) -> LiveObject:
    found = live(of, generation=generation)
    return LiveObject(found.ref, {**found.manifest, "status": {"byPod": [{"observedGeneration": observed}]}})


def silent(*objects: LiveObject, at: float = START) -> StaleStatus:
    stale = StaleStatus()
    for each in objects:
        stale.seen(each.ref, each, at)
    return stale


@pytest.mark.parametrize("of", [template(), constraint(), mutator()])
def test_it_is_asked_once_it_was_given_time(of: DesiredObject) -> None:
    stale = silent(live(of))

    assert stale.due(START + NUDGE_SECONDS - 0.1) == ()
    assert stale.due(START + NUDGE_SECONDS) == (of.ref,)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(heard(template()), id="it speaks"),
        pytest.param(None, id="it is gone"),
        pytest.param(live(template(), deleting=True), id="it is being deleted"),
    ],
)
def test_there_is_nothing_to_ask_any_more(found: LiveObject | None) -> None:
    stale = silent(live(template()))
    stale.seen(template().ref, found, START + 1)

    assert stale.due(START + NUDGE_SECONDS) == ()


def test_a_status_of_an_earlier_generation_is_no_word_about_this_one() -> None:
    stale = silent(heard(template(), generation=2))

    assert stale.due(START + NUDGE_SECONDS) == (template().ref,)


@pytest.mark.parametrize("change", [{"generation": 2}, {"uid": "another"}])
def test_each_version_is_given_its_time(change: dict[str, object]) -> None:
    stale = silent(live(template()))
    stale.seen(template().ref, live(template(), **change), START + 10)  # type: ignore[arg-type]

    assert stale.due(START + NUDGE_SECONDS) == ()
    assert stale.due(START + 10 + NUDGE_SECONDS) == (template().ref,)


def test_a_look_at_the_same_version_does_not_start_its_time_anew() -> None:
    stale = silent(live(template()))
    stale.seen(template().ref, live(template()), START + 10)

    assert stale.due(START + NUDGE_SECONDS) == (template().ref,)


def test_each_question_comes_after_twice_the_time_of_the_one_before_and_at_most_an_hour() -> None:
    stale, now, waits = silent(live(template())), START, []
    for _ in range(10):
        before = now
        while not stale.due(now):
            now += 1
        stale.nudged(template().ref, now)
        waits.append(now - before)

    assert waits[:4] == [NUDGE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert waits[-2:] == [LONGEST_PATIENCE, LONGEST_PATIENCE]


def test_of_many_a_few_are_asked_about_the_longest_silent_first() -> None:
    stale = StaleStatus()
    objects = [live(constraint(by=member(str(number)))) for number in range(NUDGES_AT_ONCE + 3)]
    for age, each in enumerate(objects):
        stale.seen(each.ref, each, START - age)
    first = stale.due(START + NUDGE_SECONDS)

    assert first == tuple(each.ref for each in reversed(objects[3:]))
    for ref in first:
        stale.nudged(ref, START + NUDGE_SECONDS)
    assert set(stale.due(START + NUDGE_SECONDS)) == {each.ref for each in objects[:3]}


def test_who_is_not_silent_was_not_asked() -> None:
    stale = StaleStatus()
    stale.nudged(template().ref, START)

    assert stale.due(START + LONGEST_PATIENCE) == ()


def test_a_gatekeeper_that_takes_up_one_after_the_other_is_left_alone_for_long_and_not_for_ever() -> None:
    waiting, others = live(template()), [live(template(f"K8sOther{number}")) for number in range(20)]
    stale = silent(waiting, *others)

    for number, each in enumerate(others):
        now = START + 20.0 * (number + 1)
        told = heard(template(f"K8sOther{number}"))
        stale.seen(each.ref, told, now)
        assert bool(stale.due(now + 1)) == (now + 1 >= START + BUSY_PATIENCE)


def test_what_speaks_after_a_nudge_does_not_make_gatekeeper_busy() -> None:
    nudged, other = live(template()), live(template("K8sOther"))
    stale = silent(nudged, other)
    stale.nudged(nudged.ref, START + NUDGE_SECONDS)
    stale.seen(nudged.ref, heard(template()), START + NUDGE_SECONDS + 1)

    assert stale.due(START + NUDGE_SECONDS + 1) == (other.ref,)
