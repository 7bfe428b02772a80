"""What counts as drift: a change of what was carried out, not what could not be carried out until now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.cluster.apply import Action, ChangeSet, Result
from controller.report.conditions import Mode
from controller.report.journal import Journal
from controller.report.metrics import Metrics
from controller.report.reporter import Reporter
from tests.unit.cluster_builders import MARKS, constraint, member
from tests.unit.fake_api import FakeApi

if TYPE_CHECKING:
    from collections.abc import Sequence

WANTED = constraint()
FAILED = Result(WANTED.ref, Action.BLOCKED, "TemplateNotReady", "not ready")


@pytest.mark.parametrize(
    ("syncs", "drift"),
    [
        pytest.param([], False, id="before the first sync"),
        pytest.param([()], True, id="carried out"),
        pytest.param([(FAILED,)], False, id="never carried out"),
        pytest.param([(), (FAILED,)], True, id="carried out once, and failed since"),
        pytest.param([(FAILED,), ()], True, id="carried out at the second try"),
    ],
)
async def test_what_is_written_is_drift_if_it_was_carried_out_before(
    syncs: Sequence[Sequence[Result]], drift: bool
) -> None:
    metrics = Metrics(lambda: 0.0)
    journal = Journal(metrics, Reporter(FakeApi(), MARKS, metrics, "test"))
    journal.want({WANTED.ref: WANTED})
    for problems in syncs:
        journal.carried(ChangeSet(tuple(problems)))

    assert journal.tell(Result(WANTED.ref, Action.CREATED), Mode.ENFORCE) is drift


async def test_what_azure_changed_is_no_drift() -> None:
    metrics = Metrics(lambda: 0.0)
    journal = Journal(metrics, Reporter(FakeApi(), MARKS, metrics, "test"))
    journal.want({WANTED.ref: WANTED})
    journal.carried(ChangeSet(()))
    journal.want({WANTED.ref: constraint(labels=["other"])})

    assert not journal.tell(Result(WANTED.ref, Action.REPLACED), Mode.ENFORCE)


async def test_what_was_told_of_objects_that_are_gone_is_forgotten() -> None:
    metrics = Metrics(lambda: 0.0)
    journal = Journal(metrics, Reporter(FakeApi(), MARKS, metrics, "test"))
    for number in range(100):
        told = Result(constraint(by=member(str(number))).ref, Action.RETAINED, "Unresolved", "kept")
        journal.tell(told, Mode.ENFORCE)
        journal.carried(ChangeSet((told,)))

    assert len(journal._told) == 1
