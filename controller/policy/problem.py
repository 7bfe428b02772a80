"""Why a member cannot be resolved, on its way from where it is found to where the member is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.policy.model import UnresolvedReason


class Problem(Exception):  # noqa: N818 - ends as an Unresolved of one member
    """The meaning of a member here is not known: a stable reason, and a message with the place and what to do."""

    def __init__(self, reason: UnresolvedReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
