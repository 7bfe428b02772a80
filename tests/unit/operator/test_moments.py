"""What changes because its moment comes: an exemption ends, whether or not Azure can be read then. In virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from controller.errors import ClusterError, SourceError
from controller.gatekeeper.naming import CONSTRAINT_GROUP
from controller.gatekeeper.providers import make_provider
from controller.policy.assigned import next_change
from controller.source import Source
from tests.snapshots import template_text
from tests.unit.azure_builders import (
    CLUSTER_ID,
    NOW,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_state,
)
from tests.unit.cluster_builders import constraint, desired_state, member, template
from tests.unit.operator.scripted import SETTINGS, SOURCE, START, Operator, ScriptedSource, cluster, restored, until
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from pathlib import Path

    from controller.azure.model import AzureState
    from controller.source import InCluster
    from tests.unit.fake_api import FakeApi

HOUR: Final = timedelta(hours=1)
TEMPLATE: Final = template()
ONE: Final = constraint(by=member("one"))
TWO: Final = constraint(by=member("two"))


@dataclass
class Reader:
    """Says one thing, until it cannot be read any more."""

    answer: AzureState | Exception
    figures: dict[str, float] = field(default_factory=dict)

    async def read(self, cluster: InCluster) -> AzureState:  # noqa: ARG002 - it asks nothing of it
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def changed(self) -> bool:
        return False


class Real:
    """The real source behind a reader, as what the loops take."""

    def __init__(self, reader: Reader, templates: Path) -> None:
        self.source = Source(reader, make_provider(str(templates)), SOURCE)


def exempt(*ends: timedelta) -> AzureState:
    exemptions = [make_exemption(f"e{n}", expiresOn=(START + end).isoformat()) for n, end in enumerate(ends)]
    return make_state(make_cluster(), make_assignment(effect="Deny"), make_definition(), *exemptions)


def constraints(api: FakeApi) -> list[str]:
    return [path for path in api.paths if CONSTRAINT_GROUP in path]


def operator_of(api: FakeApi, reader: Reader, templates: Path) -> Operator:
    real = Real(reader, templates)
    settings = replace(SETTINGS, source=replace(SOURCE, cluster_id=CLUSTER_ID))
    operator = Operator(api, cast("ScriptedSource", real), settings)
    real.source.now = operator.state.now
    return operator


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    file = tmp_path / "no-root" / "v1" / "template.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(template_text("K8sNoRoot", schema={}))
    return tmp_path


def test_an_exemption_ends_when_it_says_so_although_azure_is_away_and_the_operator_restarts(templates: Path) -> None:
    @in_virtual_time
    async def check() -> None:
        api, reader = cluster(), Reader(exempt(HOUR))
        async with operator_of(api, reader, templates).running() as operator:
            await until(lambda: operator.state.status.settled)
            reader.answer = SourceError("Azure answered 503")
            await asyncio.sleep(HOUR.total_seconds() - 60)
            assert operator.state.status.source_error
            assert constraints(api) == []

            await until(lambda: len(constraints(api)) == 1, seconds=70)
            await asyncio.sleep(10)

        [path] = constraints(api)
        api.drop(path)
        async with operator_of(api, reader, templates).running():
            await until(lambda: constraints(api) == [path], seconds=10)

    check()


def test_an_exemption_ends_between_two_polls(templates: Path) -> None:
    @in_virtual_time
    async def check() -> None:
        api, reader = cluster(), Reader(exempt(timedelta(seconds=100), timedelta(seconds=300)))
        async with operator_of(api, reader, templates).running():
            await asyncio.sleep(299)
            assert constraints(api) == []

            await until(lambda: len(constraints(api)) == 1, seconds=5)

    check()


@in_virtual_time
async def test_a_moment_at_which_the_cluster_cannot_be_read_is_made_up_for_without_haste() -> None:
    api, source = cluster(), ScriptedSource(desired_state(TEMPLATE, ONE))
    async with Operator(api, source).running() as operator:
        await operator.in_sync(TEMPLATE, ONE)
        source.changes_at = operator.state.now() + timedelta(seconds=20)
        source.later = ClusterError("the API server does not answer")
        operator.loops.wake()
        await asyncio.sleep(60)
        assert 5 <= source.looked_again <= 10

        source.later = desired_state(TEMPLATE, ONE, TWO)

        await until(lambda: restored(api, TWO), seconds=10)
        looked = source.looked_again
        await asyncio.sleep(600)
        assert source.looked_again == looked


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((), None),
        ((-HOUR, timedelta()), None),
        ((2 * HOUR, HOUR, -HOUR), HOUR),
    ],
)
def test_the_next_change_is_the_first_end_of_an_exemption_that_is_to_come(ends: tuple[Any, ...], expected: Any) -> None:
    assert next_change(exempt(*ends), NOW) == (NOW + expected if expected else None)
