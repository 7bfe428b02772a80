"""What the expressions of a reading may cost: a line of text can ask for terabytes, or for a year of counting.

Everything that they read or make is charged by its size, each text by its length, calls and conditions by a flat price.
A unit is less than half a microsecond of work. Every member has a share of its own, which is many times what a built-in
policy needs; what it takes beyond that comes out of a reserve that all members of one reading draw on. So nobody who
writes a policy can hold up all the others. What expressions make must also be what JSON and Kubernetes can carry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from controller.azure.parse import DEEPEST_DOCUMENT
from controller.policy.grammar import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controller.jsontypes import Json

MEMBER_SHARE: Final = 64 * 1024
MEMBER_LIMIT: Final = 16 * 1024 * 1024
READING_RESERVE: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class CostReserve:
    """What all members of one reading may take together beyond their own shares, in units."""

    left: int = READING_RESERVE


@dataclass(slots=True)
class CostBudget:
    """What one member may spend, in units: its own share, then the reading's reserve, MEMBER_LIMIT at most."""

    reserve: CostReserve = field(default_factory=CostReserve)
    spent: int = 0
    granted: int = MEMBER_SHARE

    def spend(self, units: int) -> None:
        """Takes so much off; ExpressionError once there is nothing left, and ever after."""
        self.spent += units
        if self.spent > self.granted:
            self._draw(self.spent - self.granted)

    def _draw(self, missing: int) -> None:
        if self.spent > MEMBER_LIMIT:
            raise ExpressionError(f"takes more work than {MEMBER_LIMIT:,} characters and elements")
        if missing > self.reserve.left:
            raise ExpressionError(
                f"takes more work than its own {MEMBER_SHARE:,} characters and elements, and other members have used "
                f"up the {READING_RESERVE:,} that all share: simplify the expressions that read or make most"
            )
        self.reserve.left -= missing
        self.granted = self.spent

    def read(self, value: Json) -> None:
        """Charges for a value that is there already; what is shared in it counts as often as it comes."""
        if isinstance(value, str):
            self.spend(len(value))
        elif isinstance(value, list | dict):
            for _ in self._levels(value):
                pass

    def make(self, value: Json) -> None:
        """Charges for a new value; ExpressionError also where no document could contain it."""
        if isinstance(value, str):
            self.spend(len(value))
            _check_text(value)
        elif isinstance(value, list | dict):
            for depth, level in enumerate(self._levels(value)):
                if depth > DEEPEST_DOCUMENT:
                    raise ExpressionError(f"the result is nested deeper than {DEEPEST_DOCUMENT} levels")
                for each in level:
                    if isinstance(each, str):
                        _check_text(each)

    def _levels(self, value: Json) -> Iterator[list[Json]]:
        """The value, its children, their children and so on; each level is charged before it is made."""
        level = [value]
        while level:
            below: list[Json] = []
            for each in level:
                if isinstance(each, str):
                    self.spend(len(each))
                elif isinstance(each, list):
                    self.spend(len(each))
                    below += each
                elif isinstance(each, dict):
                    self.spend(2 * len(each))
                    below += each
                    below += each.values()
            yield level
            level = below


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ExpressionError("the result contains half of a character") from None
