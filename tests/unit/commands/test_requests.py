"""Asking a running operator: what is written into PolicySync, and when its status counts as the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from controller.cluster.client import Response
from controller.cluster.resources import KindsMissing
from controller.commands.requests import (
    end_of_suspension,
    is_answered,
    is_taken_up,
    request_resumption,
    request_suspension,
    request_sync,
    wait_for,
)
from controller.commands.status import PolicySync
from controller.errors import ClusterError, InputError, Refused
from tests.resources import SYNC, SYNCS, condition, policy_sync
from tests.unit.fake_api import FakeApi, status

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
ASKED = "2026-03-01T12:00:00.000250Z"
REQUESTED_AT = "azpolicy.dev/requested-at"
FORCE_PRUNE = "azpolicy.dev/force-prune"


@pytest.fixture
async def api() -> FakeApi:
    """A cluster with a PolicySync in sync."""
    made = FakeApi()
    await made.request("POST", SYNCS, body=policy_sync())
    return made


async def there(api: FakeApi) -> Mapping[str, Any]:
    document = await api.get(SYNC)
    assert document is not None
    return document


async def test_a_sync_is_asked_for_by_the_time_and_nothing_else_is_changed(api: FakeApi) -> None:
    before = await there(api)

    asked = await request_sync(api, NOW)

    after = await there(api)
    assert asked.requested == after["metadata"]["annotations"][REQUESTED_AT] == ASKED
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])
    assert api.calls[-2].query == {"fieldManager": "azpolicy-cli"}


async def test_refused_deletions_are_forced_by_the_digest_that_names_them(api: FakeApi) -> None:
    await api.patch(SYNC, {"status": {"refusedDeletions": {"count": 3, "digest": "9f3a"}}}, manager="operator")

    await request_sync(api, NOW, "9f3a")

    assert (await there(api))["metadata"]["annotations"] == {REQUESTED_AT: ASKED, FORCE_PRUNE: "9f3a"}


@pytest.mark.parametrize(
    ("refused", "words"), [({"count": 3, "digest": "9f3a"}, "the waiting ones have 9f3a"), (None, "there are none")]
)
async def test_another_digest_is_refused_before_anything_is_asked(
    api: FakeApi, refused: Mapping[str, Any] | None, words: str
) -> None:
    await api.patch(SYNC, {"status": {"refusedDeletions": refused}}, manager="operator")

    with pytest.raises(Refused, match=words):
        await request_sync(api, NOW, "0000")

    assert (await there(api))["metadata"]["annotations"] == {}


async def test_a_suspension_takes_the_place_of_an_earlier_one(api: FakeApi) -> None:
    await request_suspension(api, NOW.replace(microsecond=0), "node upgrade")
    assert (await there(api))["spec"] == {"suspend": {"until": "2026-03-01T12:00:00Z", "reason": "node upgrade"}}

    await request_suspension(api, NOW.replace(hour=13, microsecond=0), "")
    assert (await there(api))["spec"] == {"suspend": {"until": "2026-03-01T13:00:00Z"}}

    await request_resumption(api)
    assert (await there(api))["spec"] == {}


async def test_where_there_is_nothing_to_ask_the_error_says_what_is_missing() -> None:
    with pytest.raises(ClusterError, match="no PolicySync default: the operator creates it"):
        await request_sync(FakeApi(), NOW)

    without_kinds = FakeApi()
    without_kinds.at("GET", "/policysyncs", status(404, "the server could not find the requested resource"))
    with pytest.raises(KindsMissing, match="kubectl apply -f crds/"):
        await request_sync(without_kinds, NOW)


async def test_a_missing_right_is_told_in_the_servers_words(api: FakeApi) -> None:
    api.at("PATCH", SYNC, status(403, 'policysyncs is forbidden: User "eve" cannot patch', "Forbidden"))

    with pytest.raises(ClusterError, match=r"writing PolicySync default: .*eve"):
        await request_sync(api, NOW)


@pytest.mark.parametrize(
    ("handled", "requested", "reconciling", "answered"),
    [
        ("ours", "ours", "False", True),
        ("ours", "ours", None, True),
        ("ours", "ours", "True", False),
        ("earlier", "ours", "False", False),
        ("", "ours", "False", False),
        ("", "", "False", False),
        ("ours", "later", "False", True),
        ("later", "later", "False", True),
        ("earlier", "later", "False", False),
    ],
)
def test_a_request_is_answered_once_it_or_a_later_one_is_handled_and_all_is_taken_up(
    handled: str, requested: str, reconciling: str | None, *, answered: bool
) -> None:
    ours = PolicySync.of(policy_sync(annotations={REQUESTED_AT: "ours"}))
    conditions = [condition("Ready")] + ([condition("Reconciling", reconciling)] if reconciling else [])
    now = policy_sync(*conditions, annotations={REQUESTED_AT: requested}, lastHandledRequest=handled)

    assert is_answered(ours)(PolicySync.of(now)) is answered


def test_settings_are_taken_up_with_their_generation() -> None:
    asked = PolicySync.of(policy_sync(generation=3))

    assert not is_taken_up(asked)(PolicySync.of(policy_sync(generation=3, observedGeneration=2)))
    assert is_taken_up(asked)(PolicySync.of(policy_sync(generation=3)))


async def test_the_answer_is_waited_for(api: FakeApi) -> None:
    asked = await request_sync(api, NOW)
    handled = {**policy_sync(lastHandledRequest=ASKED), "metadata": {"name": "default", "uid": "x"}}
    api.at("GET", SYNCS, times=2)
    api.at("GET", SYNCS, Response(200, {"kind": "PolicySyncList", "items": [handled]}))

    answered = await wait_for(api, is_answered(asked), 5.0)

    assert answered.handled == ASKED
    assert api.count("GET") == 3


async def test_an_answer_that_does_not_come_is_an_error(api: FakeApi) -> None:
    asked = await request_sync(api, NOW)

    with pytest.raises(ClusterError, match=r"no answer within 0\.2 s: azpolicy status shows"):
        await wait_for(api, is_answered(asked), 0.2)


@pytest.mark.parametrize(
    ("until", "duration", "end"),
    [
        ("2026-03-01T18:00:00Z", None, "2026-03-01T18:00:00+00:00"),
        ("2026-03-01T18:00:00.5+02:00", None, "2026-03-01T16:00:00+00:00"),
        (None, "90m", "2026-03-01T13:30:00+00:00"),
        (None, "26h30m15s", "2026-03-02T14:30:15+00:00"),
        (None, "30m30m", "2026-03-01T13:00:00+00:00"),
    ],
)
def test_a_suspension_ends_at_a_time_or_after_a_duration(until: str | None, duration: str | None, end: str) -> None:
    assert end_of_suspension(until, duration, NOW).isoformat() == end


@pytest.mark.parametrize(
    ("until", "duration", "words"),
    [
        (None, None, "either --until TIME or --for DURATION"),
        ("2026-03-01T18:00:00Z", "1h", "either --until TIME or --for DURATION"),
        ("2026-03-01T11:59:59Z", None, "2026-03-01T11:59:59Z is in the past"),
        (None, "0s", "is in the past"),
        ("2026-03-01T18:00:00", None, "with its zone"),
        ("tomorrow", None, "with its zone"),
        ("0001-01-01T00:00:00+14:00", None, "with its zone"),
        (None, "1 hour", "is not a duration"),
        (None, "-1h", "is not a duration"),
        (None, "999999999999999h", "too long"),
    ],
)
def test_a_suspension_needs_an_end_that_is_to_come(until: str | None, duration: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        end_of_suspension(until, duration, NOW)
