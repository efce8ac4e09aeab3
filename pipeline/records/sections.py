"""Rows under headings, for the terminal and as HTML."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from rich.table import Table

_TEMPLATE_PATH = pathlib.Path(__file__).with_name("sections.html")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
      label: the line's name.
      texts: one for each column.
      best: index of the best value, or None if no value is best.
    """

    label: str
    texts: list[str]
    best: int | None = None


def to_table(columns: list[str], sections: dict[str, list[Row]]) -> Table:
    """A table for the terminal; the best value of a row is bold.

    Args:
      columns: the heads of the columns.
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
            table.add_row(row.label, *cells)
    return table


def to_html(title: str, columns: dict[str, str | None], sections: dict[str, list[Row]]) -> str:
    """A self-contained HTML page.

    Args:
      title: the page's heading.
      columns: the heads of the columns, each with the path of the file that it links to, or None.
      sections: rows by heading.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE_PATH.parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(_TEMPLATE_PATH.name).render(title=title, columns=columns, sections=sections)
