"""What people ask of a running operator, all of it through PolicySync default: sync now, pause, go on.

Nothing is done here but the asking: the operator answers in the status, and that is waited for.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from controller.cluster.resources import patch_policy_sync, read_policy_sync
from controller.commands.status import PolicySync
from controller.errors import ClusterError, InputError, Refused
from controller.gatekeeper.naming import FORCE_PRUNE, REQUESTED_AT
from controller.times import duration, write_moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from controller.cluster.client import KubeClient

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


async def request_sync(client: KubeClient, now: datetime, force_prune: str = "") -> PolicySync:
    """Has the source polled now, and refused deletions done; Refused where the digest names none that there are."""
    asked = {REQUESTED_AT: write_moment(now, "microseconds")}
    if force_prune:
        await _check_refused(client, force_prune)
        asked[FORCE_PRUNE] = force_prune
    return await _request(client, {"metadata": {"annotations": asked}})


async def _check_refused(client: KubeClient, digest: str) -> None:
    document = await read_policy_sync(client)
    refused = PolicySync.of(document).refused_digest if document else ""
    if refused != digest:
        there = f"the waiting ones have {refused}" if refused else "there are none"
        raise Refused(f"no refused deletions have the digest {digest}: {there}; see azpolicy status")


async def request_suspension(client: KubeClient, until: datetime, reason: str) -> PolicySync:
    """Has all writing stop until then; an earlier suspension is replaced."""
    return await _request(client, {"spec": {"suspend": {"until": write_moment(until), "reason": reason or None}}})


async def request_resumption(client: KubeClient) -> PolicySync:
    """Ends a suspension, where there is one."""
    return await _request(client, {"spec": {"suspend": None}})


async def _request(client: KubeClient, changes: Mapping[str, Any]) -> PolicySync:
    return PolicySync.of(await patch_policy_sync(client, changes))


def is_answered(asked: PolicySync) -> Callable[[PolicySync], bool]:
    """Tells of a later PolicySync whether the sync that was asked for has ended, Gatekeeper's part included."""

    def answered(now: PolicySync) -> bool:
        # Somebody who asked after us has replaced our request: what answers theirs came after ours, too.
        handled = bool(now.handled) and now.handled in {asked.requested, now.requested}
        reconciling = now.condition("Reconciling")
        return handled and (reconciling is None or reconciling.as_expected)

    return answered


def is_taken_up(asked: PolicySync) -> Callable[[PolicySync], bool]:
    """Whether a later PolicySync shows that the operator uses the requested settings."""
    return lambda now: now.observed >= asked.generation


async def wait_for(client: KubeClient, answered: Callable[[PolicySync], bool], seconds: float) -> PolicySync:
    """PolicySync as soon as the operator has answered; ClusterError when that takes longer."""
    pause = _FIRST_PAUSE
    try:
        async with asyncio.timeout(seconds):
            while True:
                document = await read_policy_sync(client)
                if document and answered(sync := PolicySync.of(document)):
                    return sync
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
    except TimeoutError as error:
        raise ClusterError(
            f"asked, but no answer within {seconds:g} s: azpolicy status shows whether an operator runs"
        ) from error


async def change_settings(
    client: KubeClient, request: Callable[[KubeClient], Awaitable[PolicySync]], wait_s: float | None
) -> PolicySync | None:
    """Changes PolicySync and waits until the operator uses the change; None without waiting."""
    asked = await request(client)
    return None if wait_s is None else await wait_for(client, is_taken_up(asked), wait_s)


def end_of_suspension(until: str | None, lasting: str | None, now: datetime) -> datetime:
    """The moment that --until or --for names, in whole seconds; InputError for a past one, or not just one given."""
    if (until is None) is (lasting is None):
        raise InputError("when does the suspension end? give either --until TIME or --for DURATION")
    end = _end_at(until) if until is not None else _end_after(lasting or "", now)
    if end <= now:
        raise InputError(f"the suspension would end before it begins: {write_moment(end)} is in the past")
    return end.replace(microsecond=0)


def _end_at(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        # A time without its zone would be somebody's guess.
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InputError(f"--until {text!r}: give a time with its zone, such as 2030-01-31T18:00:00Z")


def _end_after(text: str, now: datetime) -> datetime:
    try:
        return now + timedelta(seconds=duration(text, "--for"))
    except OverflowError as error:
        raise InputError(f"--for {text!r} is too long: give one such as 90m or 8h") from error
