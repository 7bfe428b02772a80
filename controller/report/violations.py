"""The violations that live constraints list, as the operator knows them: by constraint, compact, and bounded.

Gatekeeper's audit writes them into the status of each constraint, the first of them in plain order (20 by default,
`--constraint-violations-limit`), each message cut to 256 characters:
https://open-policy-agent.github.io/gatekeeper/website/docs/audit. How many there are in all, it writes beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from controller.cluster.foreign import list_at, mapping_at, text_at, whole_at
from controller.cluster.lean import FIRST, Violation, listed_violations
from controller.gatekeeper.model import Role
from controller.gatekeeper.probe import without_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from controller.cluster.kinds import LiveObject
    from controller.gatekeeper.model import DesiredState, ObjectRef

MOST: Final = 50_000
"""How many violations are kept in all, about 25 MB of them."""
_MOST_OF_ONE: Final = 500


class Findings(NamedTuple):
    """What the last audit found of one constraint: how many objects violate it, and those of them that are known."""

    total: int
    listed: tuple[Violation, ...] = ()


class ViolationStore:
    """The findings of every desired constraint that was audited; those that are not in it were not.

    Without `lists` it keeps the totals alone. With it, every constraint has an equal share of MOST: what is cut depends
    on what is desired and found, never on what arrived first.
    """

    def __init__(self, *, lists: bool = False) -> None:
        self.lists = lists
        self._constraints: frozenset[ObjectRef] = frozenset()
        self._findings: dict[ObjectRef, Findings] = {}
        self._changed: Callable[[], None] = lambda: None
        self._found_lists: bool | None = None
        self._read_of: dict[ObjectRef, tuple[object, int]] = {}

    @property
    def complete(self) -> bool:
        """Whether it knows a whole inventory, with lists where it is to keep them."""
        return self._found_lists is self.lists

    def on_change(self, changed: Callable[[], None]) -> None:
        """Calls `changed` whenever anything is new."""
        self._changed = changed

    def expect(self, desired: DesiredState) -> None:
        """The constraints that count from now on."""
        objects = without_probe(desired.objects)
        self._constraints = frozenset(each.ref for each in objects if each.role is Role.CONSTRAINT)

    @property
    def share(self) -> int:
        """How many violations of each constraint must be read, and are kept where violations are listed."""
        if not self.lists:
            return FIRST
        return max(FIRST, min(_MOST_OF_ONE, MOST // max(1, len(self._constraints))))

    def found(self, objects: Mapping[ObjectRef, LiveObject]) -> None:
        """Takes over a complete inventory: what is not in it is not there."""
        there: dict[ObjectRef, Findings] = {}
        read_of: dict[ObjectRef, tuple[object, int]] = {}
        for ref in self._constraints:
            if (live := objects.get(ref)) is None:
                continue
            # Most were read when a watch event brought them.
            if found := self._findings.get(ref) if self._is_read(ref, live) else self._read(ref, live):
                there[ref] = found
            read_of[ref] = self._source(live)
        self._read_of = read_of
        self._found_lists = self.lists
        before, self._findings = self._findings, there
        if before != there:
            self._changed()

    def observed(self, ref: ObjectRef, live: LiveObject | None) -> None:
        """Takes over an object as a watch event shows it, or its end."""
        if live is not None and self._is_read(ref, live):
            return
        before = self._findings.get(ref)
        after = None
        self._read_of.pop(ref, None)
        if live is not None and ref in self._constraints:
            after = self._read(ref, live)
            self._read_of[ref] = self._source(live)
        if after == before:
            return
        if after is None:
            del self._findings[ref]
        else:
            self._findings[ref] = after
        self._changed()

    def of(self, ref: ObjectRef) -> Findings | None:
        """What the last audit found of a constraint, None where none was made yet."""
        return self._findings.get(ref)

    def copy(self) -> dict[ObjectRef, Findings]:
        """All findings as they are now, in no order."""
        return dict(self._findings)

    def __iter__(self) -> Iterator[tuple[ObjectRef, Findings]]:
        """Every audited constraint in plain order."""
        return iter(sorted(self._findings.items()))

    def _source(self, live: LiveObject) -> tuple[object, int]:
        """What decides over what is read of an object: its content, and how many violations are kept."""
        return live.content, self.share if self.lists else 0

    def _is_read(self, ref: ObjectRef, live: LiveObject) -> bool:
        return self._read_of.get(ref) == self._source(live)

    def _read(self, ref: ObjectRef, live: LiveObject) -> Findings | None:
        """The findings in a status, which may say anything; those known already are the same values as before."""
        status = mapping_at(live.manifest, "status")
        total = whole_at(status, "totalViolations", default=-1)
        if total < 0 or not text_at(status, "auditTimestamp"):
            return None
        known = self._findings.get(ref)
        # Gatekeeper counts what it lists along; who else writes a status may not.
        total = max(total, len(list_at(status, "violations")))
        listed = listed_violations(status, self.share) if self.lists else ()
        if known is not None and (total, listed) == known:
            return known
        return Findings(total, listed)
