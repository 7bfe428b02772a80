"""The status for people: one sheet of facts and tables, as text here and for a terminal in a module of its own.

One sheet serves both, so that a pipe does not tell what a terminal does not. JSON and YAML are the resources' own
documents (docs/status.md). Pure; what is shown comes from elsewhere and is made plain here.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from controller.azure.declared import described
from controller.cluster.foreign import text_at
from controller.gatekeeper.yamltext import write_yaml
from controller.text import plain
from controller.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from controller.cluster.lease import Lease
    from controller.commands.status import AssignedPolicy, PolicySync, Status

SCHEMA: Final = "azpolicy.dev/status/v1"


class Tone(StrEnum):
    """How a fact or row is meant; the word is the colour that a terminal shows it in."""

    GOOD = "green"
    ODD = "yellow"
    BAD = "red"
    QUIET = "dim"
    PLAIN = "none"


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its text."""

    name: str
    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a table's row, and a note below it if there is more."""

    cells: tuple[str, ...]
    tone: Tone = Tone.PLAIN
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that is shown, in order; every text is plain and on one line."""

    facts: tuple[Fact, ...]
    tables: tuple[Table, ...]


TONES: Final = {
    "Enforced": Tone.GOOD,
    "NotApplied": Tone.QUIET,
    "Pending": Tone.ODD,
    "Planned": Tone.ODD,
    "Unresolved": Tone.BAD,
    "Failed": Tone.BAD,
}
_COUNTS: Final = {
    "assignments": "assignments",
    "enforced": "enforced",
    "notApplied": "not applied",
    "unresolved": "unresolved",
    "objects": "objects",
    "conflicts": "conflicts",
    "problems": "problems",
}
_POLICY_COLUMNS: Final = ("POLICY", "EFFECT", "ACTION", "OUTCOME", "REASON", "VIOLATIONS")
_CHANGE_COLUMNS: Final = ("TIME", "ACTION", "OBJECT", "CAUSE", "EDITOR", "DETAIL")
ALL_MEMBERS: Final = "(all of it)"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def sheet(status: Status, now: datetime) -> Sheet:
    """What is worth a look first, then each assignment's policies, then the last changes; `now` is aware."""
    groups = groupby(status.policies, key=lambda each: each.assignment_id)
    tables = [_policies(list(policies)) for _, policies in groups]
    if status.sync and status.sync.changes:
        tables.append(_changes(status.sync))
    return Sheet(facts(status, now), tuple(tables))


def facts(status: Status, now: datetime) -> tuple[Fact, ...]:
    """What is worth a look first; `now` is aware."""
    return tuple(Fact(fact.name, plain(fact.text), fact.tone) for fact in _facts(status, now))


# --- facts -----------------------------------------------------------------------------------------------------------


def _facts(status: Status, now: datetime) -> Iterator[Fact]:
    sync = status.sync
    if sync is None:
        yield Fact("Ready", "no PolicySync default: the operator creates it, and has not started here yet", Tone.BAD)
    else:
        yield from _health(sync)
        yield Fact("Cluster", described(sync.cluster_id) or "not known yet")
        yield Fact("Source", sync.source or "not known yet")
        yield _mode(sync, now)
    yield from _operators(status.leases, now)
    if sync and (counted := _counted(sync)):
        yield Fact("Counts", counted)
    yield _outcomes(status.policies)
    if sync and sync.refused:
        yield refused(sync)


def _health(sync: PolicySync) -> Iterator[Fact]:
    """Ready whatever it says, and each other condition that is not as it should be."""
    ready = sync.condition("Ready")
    if ready is None:
        yield Fact("Ready", "nothing is reported yet: check whether the operator runs", Tone.BAD)
    for each in sync.conditions:
        if each is ready or not each.as_expected:
            message = f": {each.message}" if each.message else ""
            tone = Tone.GOOD if each.as_expected else Tone.BAD if each is ready else Tone.ODD
            yield Fact(each.type, f"{each.holds} ({each.reason}){message}", tone)
        elif each.type == "GatekeeperReady" and each.message:
            # What its webhook does when nobody answers, and whether enforcement is proven.
            yield Fact("Gatekeeper", each.message)
    if sync.observed < sync.generation:
        text = f"those of generation {sync.generation} are not in use yet; the status is of {sync.observed}"
        yield Fact("Settings", text, Tone.ODD)


def _mode(sync: PolicySync, now: datetime) -> Fact:
    until = parse_moment(sync.suspended_until)
    if until is None or until <= now:
        return Fact("Mode", sync.mode or "not known yet", Tone.ODD if sync.mode == "DryRun" else Tone.PLAIN)
    why = f": {sync.suspended_why}" if sync.suspended_why else ""
    asked = "" if sync.mode == "Suspended" else f"{sync.mode or 'not known yet'}, to be "
    return Fact("Mode", f"{asked}Suspended until {sync.suspended_until}{why}", Tone.ODD)


def _operators(leases: Sequence[Lease] | None, now: datetime) -> Iterator[Fact]:
    if leases is None:
        yield Fact("Operator", "not known: this account may not read its Lease", Tone.QUIET)
    elif not leases:
        yield Fact("Operator", "no Lease: there is none, or it runs without --leader-elect", Tone.QUIET)
    for lease in leases or ():
        namespace = text_at(lease.manifest, "metadata", "namespace")
        renewed = parse_moment(lease.renewed)
        age = now - renewed if renewed else timedelta()
        if not lease.holder:
            yield Fact("Operator", f"nobody holds the Lease in {namespace}: none leads", Tone.BAD)
        elif age.total_seconds() > lease.duration:
            text = f"{lease.holder} in {namespace} last renewed its Lease {_age(age)} ago: it does not lead"
            yield Fact("Operator", text, Tone.BAD)
        else:
            yield Fact("Operator", f"{lease.holder} in {namespace}")


def _age(age: timedelta) -> str:
    """As kubectl tells ages: in the largest unit that fits."""
    seconds = int(age.total_seconds())
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds // size}{unit}"


def _counted(sync: PolicySync) -> str:
    return ", ".join(f"{sync.counts[key]} {word}" for key, word in _COUNTS.items() if key in sync.counts)


def _outcomes(policies: Sequence[AssignedPolicy]) -> Fact:
    """How many of the policies that are shown ended how."""
    if not policies:
        return Fact("Policies", "none to show")
    counts = Counter(each.outcome for each in policies)
    known = [outcome for outcome in TONES if counts[outcome]]
    counted = ", ".join(f"{counts[each]} {each}" for each in [*known, *sorted(counts.keys() - TONES.keys())])
    violations = sum(each.violations or 0 for each in policies)
    return Fact("Policies", f"{counted}; {violations} violations")


def refused(sync: PolicySync) -> Fact:
    """The deletions that wait to be forced, and the command that does it."""
    command = f"azpolicy sync --force-prune {shlex.quote(sync.refused_digest)}"
    text = f"{sync.refused} deletions that Azure does not prove; if they are intended: {command}"
    return Fact("Refused", text, Tone.BAD)


# --- tables ----------------------------------------------------------------------------------------------------------


def _policies(policies: Sequence[AssignedPolicy]) -> Table:
    first = policies[0]
    initiative = f" [{first.initiative}]" if first.initiative else ""
    rows = (_row(each) for each in policies)
    return Table(plain(f"{first.assignment}{initiative} {first.assignment_id}"), _POLICY_COLUMNS, tuple(rows))


def _row(each: AssignedPolicy) -> Row:
    violations = "" if each.violations is None else str(each.violations)
    cells = (each.policy or ALL_MEMBERS, each.effect, each.action, each.outcome, each.reason, violations)
    note = each.message if each.is_problem else ""
    return Row(tuple(map(plain, cells)), TONES.get(each.outcome, Tone.ODD), plain(note))


def _changes(sync: PolicySync) -> Table:
    rows = ((each.time, each.action, each.object, each.cause, each.editor, each.detail) for each in sync.changes)
    return Table("Last changes", _CHANGE_COLUMNS, tuple(Row(tuple(map(plain, cells))) for cells in rows))


# --- as text, JSON and YAML ------------------------------------------------------------------------------------------


def as_text(shown: Sheet) -> Iterator[str]:
    """Aligned lines without colours and lines of boxes, however wide the terminal is."""
    width = max(len(fact.name) for fact in shown.facts)
    yield from (f"{fact.name:<{width}}  {fact.text}" for fact in shown.facts)
    for table in shown.tables:
        yield ""
        yield table.title
        yield from _aligned(table)


def _aligned(table: Table) -> Iterator[str]:
    columns = zip(table.columns, *(row.cells for row in table.rows), strict=True)
    widths = [max(map(len, column)) for column in columns]
    yield _line(table.columns, widths)
    for row in table.rows:
        yield _line(row.cells, widths)
        if row.note:
            yield f"      {row.note}"


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"  {'  '.join(padded)}".rstrip()


def document(status: Status) -> Mapping[str, Any]:
    """What `-o json` and `-o yaml` print; docs/status.md has the keys."""
    return {
        "schema": SCHEMA,
        "policySync": status.sync and status.sync.document,
        "assignedPolicies": [each.document for each in status.policies],
        "leases": None if status.leases is None else [each.manifest for each in status.leases],
    }


def as_json(status: Status) -> str:
    """One JSON document, keys sorted, ASCII alone, ending in a newline."""
    return json.dumps(document(status), indent=2, sort_keys=True) + "\n"


def as_yaml(status: Status) -> str:
    """The same as YAML."""
    return write_yaml([document(status)])


FORMATS: Final[Mapping[str, Callable[[Status], str]]] = {"json": as_json, "yaml": as_yaml}


def result_line(head: str, sync: PolicySync) -> str:
    """What a request to the operator came to, on one line."""
    ready = sync.condition("Ready")
    said = f"{ready.holds} ({ready.reason})" if ready else "not reported"
    counted = _counted(sync)
    return plain(f"{head}: ready {said}, mode {sync.mode or 'not reported'}{f'; {counted}' if counted else ''}")
