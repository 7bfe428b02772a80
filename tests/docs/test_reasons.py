"""docs/operations.md says what to do about each reason that a result can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cluster.reasons import Reason

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_has_a_row_that_says_what_to_do(reason: Reason) -> None:
    rows = [row.split("|")[1] for row in OPERATIONS.read_text().splitlines() if row.startswith("| `")]

    assert any(f"`{reason}`" in row for row in rows)
