"""A status sheet on a terminal. The only module that imports rich, and only `azpolicy status` imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from controller.commands.status_view import Tone

if TYPE_CHECKING:
    from controller.commands.status_view import Row, Sheet, Table

# Only what tells how it went has a colour: the rest is for reading.
_PAINTED: Final = frozenset({"OUTCOME", "REASON"})


def show(sheet: Sheet, console: Console | None = None) -> None:
    """Prints the sheet as wide as the terminal is; long texts go on below, nothing is cut off."""
    screen = console or Console(highlight=False, markup=False, emoji=False)
    facts = Grid.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for fact in sheet.facts:
        facts.add_row(Text(fact.name), Text(fact.text, style=_style(fact.tone)))
    screen.print(facts)
    for table in sheet.tables:
        screen.print()
        screen.print(Text(table.title, style="bold", overflow="fold"))
        screen.print(_grid(table))
        for row in table.rows:
            if row.note:
                screen.print(Text(f"{row.cells[0]}: {row.note}", style=_style(row.tone), overflow="fold"))


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in table.columns:
        grid.add_column(column, overflow="fold")
    for row in table.rows:
        grid.add_row(*_cells(table, row))
    return grid


def _cells(table: Table, row: Row) -> list[Text]:
    """Text objects, never text to be parsed: a name may look like rich's own markup."""
    styled = zip(table.columns, row.cells, strict=True)
    return [Text(cell, style=_style(row.tone) if column in _PAINTED else "") for column, cell in styled]


def _style(tone: Tone) -> str:
    return "" if tone is Tone.PLAIN else tone.value
