"""Tables for people, who copy from them: what is copied is never cut or folded, in any terminal."""

from collections.abc import Collection
from typing import Literal

from rich.table import Column, Table
from rich.text import Text

from deployments.commands.console import console

ROOM, SPACE = 12, 2
"""Characters for a column that is folded, at least; and those around each column."""


def plain_table(
    *columns: str, whole: Collection[str] = (), right: str = "", title: str | None = None
) -> Table:
    """Return a table without lines; the columns that are not `whole` are folded to fit."""
    table = Table(box=None, header_style="dim", title=title, title_justify="left")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name == right else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole)
    return table


def say_table(table: Table) -> None:
    """Print a table; if its whole columns need more than the terminal has, it is wider than that."""
    needed = sum(_width(column) + SPACE for column in table.columns)
    console.print(table, width=max(console.width, needed), crop=False)


def _width(column: Column) -> int:
    texts = [Text.from_markup(str(cell)) for cell in (column.header, *column.cells)]
    return max(text.cell_len for text in texts) if column.no_wrap else ROOM
