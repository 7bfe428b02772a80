"""What is reported of one live object, and what of it an audit that finds the same changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from controller.gatekeeper.model import Role
from controller.report import health
from controller.report.health import health_of
from tests.unit.cluster_builders import constraint
from tests.unit.report.audits import audit, audited, finding

if TYPE_CHECKING:
    import pytest

ONE = constraint()
LATER = "2026-03-01T12:01:00Z"


def test_of_an_audit_that_finds_the_same_only_its_time_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    live = audited(ONE, finding(1))
    before = health_of(live, Role.CONSTRAINT)
    status = audit(ONE, finding(1), auditTimestamp=LATER)
    metadata = {**live.metadata, "resourceVersion": "2000"}
    again = live.audited({**live.manifest, "metadata": metadata, "status": status})
    monkeypatch.delattr(health, "first_violations")

    after = health_of(again, Role.CONSTRAINT, before)

    assert after == before
    assert (after.audited, after.version) == (datetime(2026, 3, 1, 12, 1, tzinfo=UTC), "2000")
    assert (after.first, after.content) == (before.first, live.content)


def test_other_content_is_judged_anew() -> None:
    before = health_of(audited(ONE, finding(1)), Role.CONSTRAINT)

    after = health_of(audited(ONE, finding(1), finding(2)), Role.CONSTRAINT, before)

    assert (before.violations, after.violations) == (1, 2)
    assert len(after.first) == 2
