"""Rows under headings."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
      label: the line's name.
      texts: one for each column.
      best: index of the best value, or None if no value is best.
      differences: for each column but the first, by how much it differs from the first; none where that says nothing.
    """

    label: str
    texts: list[str]
    best: int | None = None
    differences: tuple[str, ...] = ()


def to_table(columns: list[str], sections: dict[str, list[Row]]) -> Table:
    """A table for the terminal; the best value of a row is bold.

    Args:
      columns: the heads of the columns, those of differences last.
      sections: rows by heading.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, overflow="fold")
    for heading, rows in sections.items():
        if rows:
            table.add_row(Text(heading, style="bold underline"))
        for row in rows:
            cells = [Text(text, style="bold" if index == row.best else "") for index, text in enumerate(row.texts)]
            table.add_row(row.label, *cells, *row.differences)
    return table
