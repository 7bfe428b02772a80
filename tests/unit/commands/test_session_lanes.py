"""How many requests of a command are in flight. In virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.client import KubeClient, Response
from controller.cluster.lanes import LIMITS, Lane
from controller.commands.session import connect
from controller.config import ClusterOptions
from tests.unit.virtual_time import in_virtual_time

if TYPE_CHECKING:
    import pytest

MANY: Final = 500


def test_a_command_uses_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    flying: list[int] = [0]

    async def answer(*_: Any, **__: Any) -> Response:
        flying.append(flying[-1] + 1)
        await asyncio.sleep(1)
        flying.append(flying[-1] - 1)
        return Response(200, {"kind": "Thing"})

    monkeypatch.setattr(KubeClient, "_once", answer)

    @in_virtual_time
    async def check() -> None:
        client = connect(ClusterOptions(None, None))
        await asyncio.gather(*(client.request("PUT", f"/{number}") for number in range(MANY)))

    check()

    assert max(flying) == max(LIMITS.values()) > LIMITS[Lane.SYNC]
