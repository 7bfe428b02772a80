"""When a repair waits, and for how long."""

from __future__ import annotations

import pytest

from controller.cluster.fights import FREE_REPAIRS, LONGEST_HOLD, WINDOW, FightDetector
from tests.unit.cluster_builders import constraint, template

REF = constraint().ref


def fought(times: int, *, at: float = 100.0) -> FightDetector:
    fights = FightDetector()
    for _ in range(times):
        fights.repaired(REF, at)
    return fights


@pytest.mark.parametrize("times", range(FREE_REPAIRS))
def test_the_first_repairs_do_not_wait(times: int) -> None:
    assert fought(times).delay(REF, 100.0) == 0
    assert fought(times).fighting(100.0) == ()


@pytest.mark.parametrize(
    ("times", "hold"), [(5, 1.0), (6, 2.0), (7, 4.0), (8, 8.0), (9, 15.0), (10, 15.0), (5000, 15.0)]
)
def test_from_the_fifth_repair_on_the_hold_doubles_up_to_its_limit(times: int, hold: float) -> None:
    assert fought(times).delay(REF, 100.0) == hold
    assert fought(times).fighting(100.0) == (REF,)


def test_the_hold_counts_from_the_last_repair() -> None:
    assert fought(7).delay(REF, 103.0) == 1.0
    assert fought(7).delay(REF, 104.5) == 0


def test_a_fight_that_goes_on_is_told_without_a_break_and_keeps_its_longest_hold() -> None:
    fights, now = FightDetector(), 0.0
    told = []
    for _ in range(60):
        now += fights.delay(REF, now)
        fights.repaired(REF, now)
        told.append((fights.fighting(now + 1), fights.delay(REF, now)))

    assert told[-40:] == [((REF,), LONGEST_HOLD)] * 40


def test_a_fight_ends_when_a_window_passes_without_a_repair() -> None:
    fights = fought(9)

    assert fights.fighting(100.0 + WINDOW) == (REF,)
    assert fights.fighting(100.1 + WINDOW) == ()
    assert fights.delay(REF, 100.1 + WINDOW) == 0


def test_a_fight_over_one_object_holds_up_no_other() -> None:
    assert fought(9).delay(template().ref, 100.0) == 0


def test_objects_at_peace_are_forgotten() -> None:
    fights = fought(9)

    fights.fighting(100.1 + WINDOW)

    assert not fights._repairs
