"""The budget of the expressions of one member: a line of text can ask for terabytes, or for a year of counting.

Everything that they read or make is charged by its size, so that whoever writes a policy cannot stop the sync of all
the others. What they make must also be what JSON and Kubernetes can carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.azure.parse import DEEPEST_DOCUMENT
from controller.policy.grammar import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controller.jsontypes import Json

COST_LIMIT: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class CostBudget:
    """What is left to one member, in characters and elements."""

    left: int = COST_LIMIT

    def spend(self, units: int) -> None:
        """Takes so much from the budget; ExpressionError once nothing is left, and every time after that."""
        self.left -= units
        if self.left < 0:
            raise ExpressionError(f"takes more work than {COST_LIMIT:,} characters and elements")

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
