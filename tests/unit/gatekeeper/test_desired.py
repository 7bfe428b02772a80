"""However long it takes to work a reading out, the event loop lives on: lease and probes depend on it."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import TYPE_CHECKING, Any

import pytest

from controller.gatekeeper import desired, sources
from controller.gatekeeper.naming import OwnershipMarks
from controller.gatekeeper.providers import make_provider
from tests.unit.azure_builders import NOW, make_assignment, make_cluster, make_definition, make_details, make_state

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATE = base64.b64encode(b"kind: ConstraintTemplate\n").decode()
_PATIENCE = 10.0


@pytest.mark.parametrize(
    ("module", "step"),
    [
        pytest.param(desired, "resolve", id="resolving"),
        pytest.param(desired, "translate", id="translating"),
        pytest.param(sources, "read_document", id="reading a document"),
    ],
)
async def test_the_loop_beats_while_a_step_takes_long(module: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    beat, loop = threading.Event(), asyncio.get_running_loop()
    real: Callable[..., Any] = getattr(module, step)

    def slow(*arguments: Any, **named: Any) -> Any:
        loop.call_soon_threadsafe(beat.set)
        # On the loop's own thread the heart could not beat, and this would wait in vain.
        assert beat.wait(_PATIENCE), "the event loop stood still"
        return real(*arguments, **named)

    monkeypatch.setattr(module, step, slow)
    details = make_details(templateInfo={"sourceType": "Base64Encoded", "content": TEMPLATE})
    state = make_state(make_cluster(), make_assignment(effect="Deny"), make_definition(details=details))

    found = await desired.desired_state(state, make_provider("bundle"), now=NOW, marks=OwnershipMarks())

    assert len(found.outcomes) == 1
