"""The verdicts of our bundle beside Azure's, a row for each template."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.verdicts import deviations, judge, rules
from tests.verdicts.cases import Verdict

HEADER = ("template", "reviews", "holes", "wrong denies", "not judged", "deviations")


@dataclass(slots=True)
class Row:
    """A template's disagreements: those that no deviation explains, and how many each explains."""

    reviews: int = 0
    holes: list[Verdict] = field(default_factory=list)
    wrong_denies: list[Verdict] = field(default_factory=list)
    not_judged: int = 0
    explained: Counter[str] = field(default_factory=Counter)


def compare(verdicts: Sequence[Verdict]) -> dict[str, Row]:
    """A row for each template that the verdicts are of."""
    rows = defaultdict[str, Row](Row)
    ours = judge.denied([verdict.case for verdict in verdicts])
    for verdict, denied in zip(verdicts, ours, strict=True):
        row = rows[verdict.case.template]
        row.reviews += 1
        if misses_a_status(verdict):
            row.not_judged += 1
            continue
        if denied == verdict.denied:
            continue
        if ids := list(deviations.explaining(verdict.case, ours=denied)):
            row.explained.update(ids)
        else:
            (row.wrong_denies if denied else row.holes).append(verdict)
    return dict(rows)


def misses_a_status(verdict: Verdict) -> bool:
    """Whether Azure has denied a pod all of whose images the provider verifies, by their names.

    Azure's template reads what containers run from the pod's status. It was asked about running pods, too, whose status
    the file does not have, so that nobody can say what it saw.
    """
    case = verdict.case
    asks = case.template == "image-integrity-notation-verification/v1"
    return asks and verdict.denied and "status" not in case.object and not rules.denied(case)


def lines(rows: dict[str, Row]) -> Iterable[str]:
    """The table as text, with a last line of sums."""
    cells: list[tuple[str, ...]] = [HEADER]
    cells += [_cells(template, row) for template, row in rows.items()]
    cells.append(_cells(f"{len(rows)} templates", _sum(rows.values())))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for template, *others in cells:
        yield "  ".join([template.ljust(widths[0]), *map(str.rjust, others[:-1], widths[1:]), others[-1]]).rstrip()


def _cells(template: str, row: Row) -> tuple[str, ...]:
    explained = ", ".join(f"{name}: {count}" for name, count in sorted(row.explained.items(), key=_number))
    counts = (row.reviews, len(row.holes), len(row.wrong_denies), row.not_judged)
    return template, *map(str, counts), explained


def _number(pair: tuple[str, int]) -> tuple[str, int]:
    return pair[0][0], int(pair[0][1:])


def _sum(rows: Iterable[Row]) -> Row:
    total = Row()
    for row in rows:
        total.reviews += row.reviews
        total.holes += row.holes
        total.wrong_denies += row.wrong_denies
        total.not_judged += row.not_judged
        total.explained += row.explained
    return total
