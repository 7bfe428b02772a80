"""What the operator knows of violations: whatever a status says is read, and it is never too much."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from controller.cluster.lean import FIRST, Violation
from controller.gatekeeper.probe import probe_objects
from controller.report import violations
from controller.report.violations import Findings, ViolationStore
from tests.unit.cluster_builders import MARKS, constraint, desired_state, live, member, template
from tests.unit.report.audits import AUDITED, audit, audited, finding

ONE = constraint(by=member("one"))
TWO = constraint(by=member("two"))


def store(*wanted: Any) -> ViolationStore:
    """A store that lists the violations of these."""
    made = ViolationStore(lists=True)
    made.expect(desired_state(template(), *wanted))
    return made


def found(store: ViolationStore, *objects: Any) -> None:
    """The store is told a whole inventory."""
    store.found({each.ref: each for each in objects})


def test_each_violation_is_listed_in_plain_order_with_all_that_names_its_object() -> None:
    known = store(ONE)
    deployment = finding(1, group="apps", kind="Deployment", name="a", enforcementAction="warn")

    found(known, audited(ONE, finding(2), deployment, total=40))

    pod = Violation("shop", "Pod", "web-002", "pod web-002 is bad", "", "v1", "deny")
    first = Violation("shop", "Deployment", "a", "pod web-001 is bad", "apps", "v1", "warn")
    assert known.of(ONE.ref) == Findings(40, (first, pod))
    assert [each.api_version for each in (first, pod)] == ["apps/v1", "v1"]


def test_only_what_is_new_is_told() -> None:
    known, told = store(ONE, TWO), Counter[str]()
    known.on_change(lambda: told.update(["changed"]))
    found(known, audited(ONE, finding(1)), audited(TWO))
    before = known.of(ONE.ref)
    assert told.total() == 1

    known.observed(ONE.ref, audited(ONE, finding(1), auditTimestamp="2026-03-01T12:01:00Z"))
    found(known, audited(ONE, finding(1)), audited(TWO))
    assert known.of(ONE.ref) is before
    assert told.total() == 1

    known.observed(ONE.ref, audited(ONE))
    assert known.of(ONE.ref) == Findings(0)
    assert told.total() == 2

    known.observed(ONE.ref, None)
    known.observed(ONE.ref, None)
    assert list(known) == [(TWO.ref, Findings(0))]
    assert told.total() == 3


def test_what_an_audit_found_again_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known, read = store(ONE), Counter[str]()
    monkeypatch.setattr(violations, "listed_violations", lambda *_: read.update(["violations"]) or ())
    first = audited(ONE, finding(1))
    found(known, first)

    again = first.audited({**first.manifest, "status": audit(ONE, finding(1), auditTimestamp="2026-03-01T12:01:00Z")})
    known.observed(ONE.ref, again)
    found(known, again)
    assert read.total() == 1

    known.observed(ONE.ref, audited(ONE, finding(1)))
    assert read.total() == 2


def test_a_constraint_that_was_not_audited_has_no_findings() -> None:
    known = store(ONE)

    found(known, live(ONE))

    assert known.of(ONE.ref) is None


def test_only_desired_constraints_count() -> None:
    known = store(ONE)
    probe = probe_objects(MARKS, "azpolicy-system")
    known.expect(desired_state(template(), ONE, *probe))

    found(known, audited(ONE), audited(TWO, finding(1)), audited(probe[1], finding(1)))

    assert [ref for ref, _ in known] == [ONE.ref]
    known.observed(TWO.ref, audited(TWO, finding(1)))
    assert known.of(TWO.ref) is None


def test_an_object_that_a_watch_event_brought_is_not_read_again_by_a_list_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, live = store(ONE), audited(ONE, finding(1))
    known.observed(ONE.ref, live)
    monkeypatch.setattr(violations, "listed_violations", None)

    found(known, live)

    assert known.of(ONE.ref) == Findings(
        1, (Violation("shop", "Pod", "web-001", "pod web-001 is bad", "", "v1", "deny"),)
    )


def test_lists_that_are_wanted_from_now_on_come_with_the_next_inventory() -> None:
    known, live = ViolationStore(), audited(ONE, finding(1))
    known.expect(desired_state(template(), ONE))
    found(known, live)
    assert known.complete

    known.lists = True
    assert not known.complete
    found(known, live)

    assert known.complete
    assert [each.name for each in dict(known)[ONE.ref].listed] == ["web-001"]


def test_without_lists_there_are_the_totals_alone() -> None:
    known = ViolationStore()
    known.expect(desired_state(template(), ONE))

    found(known, audited(ONE, finding(1), total=7))

    assert known.of(ONE.ref) == Findings(7)
    assert known.share == FIRST


def test_every_constraint_has_an_equal_share_of_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(violations, "MOST", 20)
    many = [finding(number) for number in range(30)]

    known = store(ONE, TWO)
    found(known, audited(TWO, *many), audited(ONE, *reversed(many)))

    listed = {ref: findings.listed for ref, findings in known}
    assert [each.name for each in listed[ONE.ref]] == [f"web-{number:03}" for number in range(10)]
    assert listed[ONE.ref] == listed[TWO.ref]
    assert {findings.total for _, findings in known} == {30}


@pytest.mark.parametrize(
    "status",
    [
        None,
        "x",
        [],
        {"violations": "x"},
        {"auditTimestamp": AUDITED},
        {"auditTimestamp": 1, "totalViolations": 1},
        {"auditTimestamp": AUDITED, "totalViolations": "1"},
        {"auditTimestamp": AUDITED, "totalViolations": True},
        {"auditTimestamp": AUDITED, "totalViolations": -1},
    ],
)
def test_a_status_that_says_nothing_is_no_audit(status: Any) -> None:
    known = store(ONE)
    wanted = live(ONE)

    found(known, replace(wanted, manifest={**wanted.manifest, "status": status}))

    assert known.of(ONE.ref) is None


def test_what_is_no_violation_in_a_status_fails_nothing() -> None:
    known = store(ONE)
    odd = {"kind": ["Pod"], "name": "n" * 9999, "namespace": 7, "message": "m" * 9999, "version": {}}

    found(known, audited(ONE, None, "x", [], {}, odd, total=1))

    findings = known.of(ONE.ref)
    assert findings is not None
    assert findings.total == 5
    assert [(len(each.name), len(each.message)) for each in findings.listed] == [(0, 0), (256, 256)]
    assert {each.kind for each in findings.listed} == {""}
