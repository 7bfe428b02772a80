"""What the tests of this folder share: a stand-in, readers of it, and waits that take no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from controller.azure.access import Limits
from controller.azure.arm import ArmReader
from controller.cli.main import main
from tests.azure.standin import Standin
from tests.azure.world import (
    CLUSTER_ID,
    MANAGEMENT_GROUP,
    SUBSCRIPTION,
    assignment_id,
    definition_id,
    initiative_id,
    make_assignment,
    make_cluster,
    make_definition,
    make_exemption,
    make_initiative,
)

OpenReader: TypeAlias = Callable[..., AbstractAsyncContextManager[ArmReader]]


class Waits(list[float]):
    """Stands in for `asyncio.sleep`: notes each wait, in seconds, and does not wait."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    """The waits of the reader under test."""
    return Waits()


@pytest.fixture
def arm() -> Iterator[Standin]:
    """A cluster with an assignment of each sort: built-in, custom, an initiative at a management group, exempt."""
    documents = [
        make_cluster(),
        make_definition("probes", "1.0.0"),
        make_definition("probes", "1.2.0"),
        make_definition("images", scope=SUBSCRIPTION),
        make_initiative("baseline", {definition_id("probes"): "1.*.*", definition_id("images", SUBSCRIPTION): ""}),
        make_assignment("alpha", definition_id("probes"), definitionVersion="1.*.*"),
        make_assignment("beta", definition_id("images", SUBSCRIPTION), scope=SUBSCRIPTION),
        make_assignment("gamma", initiative_id("baseline"), scope=MANAGEMENT_GROUP),
        make_exemption("waiver", assignment_id("alpha")),
    ]
    with Standin(documents, page_size=2) as standin:
        yield standin


@pytest.fixture
def open_reader(arm: Standin, waits: Waits) -> OpenReader:
    """Opens a reader of the stand-in's cluster; keywords are its clock and its limits."""

    @asynccontextmanager
    async def opened(*, clock: Callable[[], float] = time.monotonic, **limits: Any) -> AsyncIterator[ArmReader]:
        settings = replace(arm.settings(CLUSTER_ID), limits=Limits(**limits))
        async with ArmReader(settings, credential=arm.credential(), sleep=waits, clock=clock) as reader:
            yield reader
        await _connections_closed()

    return opened


async def _connections_closed() -> None:
    """Waits until the goodbyes of TLS are said: a request that was given up leaves them to the loop, which must run."""
    transports: Mapping[int, Any] = getattr(asyncio.get_running_loop(), "_transports", {})
    async with asyncio.timeout(10):
        while any(each.get_extra_info("socket").fileno() >= 0 for each in list(transports.values())):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Shell:
    """The command as a user runs it, in this process; its exit code and output."""

    def __init__(self, arm: Standin, capsys: pytest.CaptureFixture[str]) -> None:
        cloud = arm.cloud
        self._capsys = capsys
        self.azure = ["--cluster-id", CLUSTER_ID, "--cloud", "custom", "--cloud-endpoint", cloud.endpoint]
        self.azure += ["--cloud-authority", cloud.authority, "--cloud-ca-file", cloud.ca_file]
        self.azure += ["--cloud-audience", "https://arm.test", "--credential", "client-secret"]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err


@pytest.fixture
def shell(arm: Standin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name, value in arm.environ.items():
        monkeypatch.setenv(name, value)
    return Shell(arm, capsys)
