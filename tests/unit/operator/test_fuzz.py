"""Whatever is done to it or beside it, the cluster is as Azure says once it is quiet, and nothing of others is touched.

AZPOLICY_FUZZ_CASES is the number of hostile deeds (300 by default), AZPOLICY_FUZZ_SEED the first round's seed: the same
deeds are tried at each run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster import apply, plan
from controller.cluster.ownership import ownership
from tests.unit.operator import fuzz

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = int(os.environ.get("AZPOLICY_FUZZ_CASES", "300"))
SEED = int(os.environ.get("AZPOLICY_FUZZ_SEED", str(fuzz.SEED)))


@pytest.mark.timeout(3600)
def test_whatever_is_done_all_is_as_desired_once_it_is_quiet() -> None:
    told: list[str] = []

    assert fuzz.run(CASES, SEED, told=told.append) == 0, "\n".join(told)


@pytest.mark.parametrize("deed", fuzz.DEEDS, ids=lambda deed: deed.name)
def test_whatever_is_done_again_and_again_all_is_as_desired_once_it_is_quiet(deed: fuzz.Deed) -> None:
    round_of = [fuzz.Step(deed.name, SEED + number, number % 3 * 0.3) for number in range(12)]

    assert fuzz.fault_of(round_of) == ""


def ours_by_marks_alone(live: Any, marks: Any, **_: Any) -> Any:
    return ownership(live, marks)


@pytest.mark.parametrize(
    ("name", "broken", "deed"),
    [
        ("ownership", ours_by_marks_alone, fuzz.strip_everything),
        ("HOLDS", (), fuzz.hold),
    ],
)
def test_the_fuzzer_finds_a_fault_and_the_deed_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: object, deed: Callable[..., None]
) -> None:
    for module in (plan, apply):
        monkeypatch.setattr(module, name, broken, raising=False)
    harmless = [fuzz.Step("azure_is_well", number, 0.0) for number in range(3)]
    guilty = fuzz.Step(deed.__name__, 7, 0.0)

    assert fuzz.cut_down([*harmless, guilty, *harmless]) == [guilty]
    assert fuzz.fault_of([guilty]).startswith("AssertionError: /apis/")
    assert fuzz.fault_of(harmless) == ""
