"""What a person sees of a run while it goes on."""

from __future__ import annotations

import logging
import os
import time
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

Ending = Literal["done", "cached", "failed"]

# Without a terminal, progress within a component, after its first message, becomes a line at most this often.
_LINE_SECONDS = 10.0
_STYLES = {"waiting": "dim", "running": "bold cyan", "done": "green", "cached": "blue", "failed": "bold red"}


class LiveView(logging.Handler):
    """A table of the components on a terminal, lines elsewhere.

    The loop that runs the components says which one starts and how it ends; details of one that runs are the messages
    of segpipe's own loggers. Warnings stay.

    Args:
      console: where it is shown. Its stream may be redirected while the view is open, which has a copy of it.
      components: names, in the order in which they run.
    """

    def __init__(self, console: Console, components: list[str]):
        super().__init__(logging.INFO)
        self._console = Console(
            file=os.fdopen(os.dup(console.file.fileno()), "w"),
            force_terminal=console.is_terminal,
            width=console.width,
        )
        self._states = dict.fromkeys(components, "waiting")
        self._details = dict.fromkeys(components, "")
        self._seconds = dict.fromkeys(components, 0.0)
        self._started = self._last_line = time.monotonic()
        self._current = ""
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)

    def __enter__(self) -> LiveView:
        logging.getLogger().addHandler(self)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        if self._console.is_terminal:
            self._live.stop()
        self._console.file.close()

    def start(self, component: str) -> None:
        """Shows that a component starts."""
        self._current = component
        self._started = time.monotonic()
        self._states[component] = "running"

    def end(self, ending: Ending) -> None:
        """Shows how the component that was started last ended."""
        component, self._current = self._current, ""
        self._states[component] = ending
        self._seconds[component] = time.monotonic() - self._started
        if not self._console.is_terminal:
            self._line(f"{component}: {ending} ({self._seconds[component]:.1f} s)")

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a message of segpipe's as a detail of the component that runs."""
        if not record.name.startswith("segpipe.") or not self._current:
            return
        if record.levelno >= logging.WARNING:
            # Above the table on a terminal, whose line for a detail is short and soon taken by the next one.
            self._line(f"{self._current}: {record.levelname.lower()}: {record.getMessage()}")
        else:
            is_first = not self._details[self._current]
            self._details[self._current] = record.getMessage()
            is_due = is_first or time.monotonic() - self._last_line > _LINE_SECONDS
            if not self._console.is_terminal and is_due:
                self._line(f"{self._current}: {record.getMessage()}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
        self._last_line = time.monotonic()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("component")
        table.add_column("state")
        table.add_column("seconds", justify="right")
        table.add_column("")
        for component, state in self._states.items():
            is_running = component == self._current
            seconds = time.monotonic() - self._started if is_running else self._seconds[component]
            table.add_row(
                component,
                Text(state, _STYLES[state]),
                f"{seconds:.1f}" if state != "waiting" else "",
                Text(self._details[component], "dim", overflow="ellipsis", no_wrap=True),
            )
        return table
