"""How a command says how far its work is."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator

import click


class Progress:
    """How far the work is, on standard error: on a terminal a bar, else a line now and then.

    Args:
      is_quiet: show warnings only.
    """

    _SECONDS = 10.0

    def __init__(self, is_quiet: bool):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._is_quiet = is_quiet
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=is_quiet or not self._console.is_terminal,
        )
        self._total: int | None = None
        self._last = time.monotonic()

    @contextlib.contextmanager
    def of(self, total: int | None) -> Iterator[None]:
        """Within its context the bar is shown.

        Args:
          total: number of images, or None if that is not known.
        """
        self._total = total
        self._task = self._bar.add_task("", total=total)
        with self._bar:
            yield

    def show(self, image: str, share: float) -> None:
        """Says how far an image is, from 0 to 1."""
        name = shown_name(image)
        self._bar.update(self._task, description=f"{os.path.basename(name)} {share:.0%}" if share < 1 else "")
        self._now_and_then(f"{name}: {share:.0%}")

    def done(self, number: int) -> None:
        """Says how many images are done."""
        self._bar.update(self._task, completed=number, description="")
        self._now_and_then(f"{number:,} of {self._total:,} images" if self._total else f"{number:,} images")

    def tell(self, text: str) -> None:
        """Shows a line."""
        if not self._is_quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Shows a line, whatever else is shown."""
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def _now_and_then(self, text: str) -> None:
        """Shows a line where there is no bar, unless the last one was a moment ago."""
        if not self._console.is_terminal and time.monotonic() - self._last >= self._SECONDS:
            self._last = time.monotonic()
            self.tell(text)


def shown_name(name: str) -> str:
    """A name that stays on its line, whatever bytes it has."""
    return re.sub(r"[\x00-\x1f\x7f]", "_", click.format_filename(name))
