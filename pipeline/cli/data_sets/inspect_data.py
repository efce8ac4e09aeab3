"""The command that looks at data before anything is trained."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from data.base.errors import UserError
from data.base.files import is_remote, write_text
from pipeline.cli.common import open_in_browser, quiet, relative
from pipeline.cli.data_sets.formats import FormatCommand, as_options, given, make_reader
from pipeline.cli.data_sets.recognized import recognized

if TYPE_CHECKING:
    from data.inspection.survey.inputs import Inputs

_FORMAT = click.Option(
    ["--format", "dataset_format"],
    metavar="FORMAT",
    help="Format of the data set, as for `segpipe convert`, if it is not to be recognized; not for TFRecords.",
)
_PROGRESS_SECONDS = 5.0
# A process that reads fewer images than these takes longer to start than it saves.
_IMAGES_PER_PROCESS = 200


class _InspectCommand(FormatCommand):
    source_metavar = "SOURCE|TFRECORDS"


@click.command("inspect", cls=_InspectCommand, params=[_FORMAT], no_args_is_help=True)
@click.option(
    "--output",
    "output",
    default="inspection.html",
    show_default=True,
    metavar="FILE",
    help="The page to write.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes that read images  [default: one for every 200 images, and no more than there are processors]",
)
def inspect(
    dataset_format: str | None,
    output: str,
    open_it: bool,
    workers: int | None,
    source: str | None = None,
    **options: Any,
) -> None:
    """Look at a data set before anything is trained, and write an HTML page about it.

    SOURCE is a data set of a format, read as `segpipe convert` would read it; TFRECORDS is a folder of TFRecords with a
    labels.yaml, or with {SPAN} in its path those of all spans. The page shows images with their masks, shares and sizes
    by class and split, sizes and values of the images, what cannot be used and why, and what is doubtful.
    """
    if open_it and is_remote(output):
        raise UserError("--open is for a page on this machine; give --output a path here")
    if os.path.isdir(output):
        raise UserError(
            f"--output {output} is a folder; name a file, such as {os.path.join(output, 'inspection.html')}"
        )
    quiet()
    from data.inspection.page.content import make_page
    from data.inspection.survey.doubts import find_doubts
    from data.inspection.survey.processes import Processes
    from data.inspection.survey.summary import summarize
    from data.inspection.survey.survey import survey

    inputs = _inputs(dataset_format, source, options)
    with Processes(inputs, workers or _most_useful(inputs.total)) as processes:
        with _progress() as progress:
            found = survey(source or str(dataset_format), processes, progress)
        doubts = find_doubts(found)
        write_text(output, make_page(processes, found, doubts))
    for line in summarize(found, doubts):
        click.echo(line)
    click.echo(f"Written to {relative(output)}")
    if open_it:
        open_in_browser(output)


def _most_useful(total: int | None) -> int:
    """How many processes to start for so many inputs."""
    processors = len(os.sched_getaffinity(0))
    return processors if total is None else max(1, min(processors, total // _IMAGES_PER_PROCESS))


def _inputs(dataset_format: str | None, source: str | None, options: dict[str, Any]) -> Inputs:
    from data.inspection.survey.inputs import DataSet, Records, are_tfrecords

    if dataset_format is not None:
        return DataSet(make_reader(dataset_format, {**options, "folder": source}))
    if are_tfrecords(str(source)):
        if typed := given(options):
            raise UserError(f"{as_options(typed)[0]} is for data sets; {source} holds TFRecords")
        return Records(str(source))
    return DataSet(recognized(str(source), options).reader)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """Tells on the terminal, or every few seconds in a log, how many inputs are done."""
    is_terminal = sys.stderr.isatty()
    last = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last < (0.2 if is_terminal else _PROGRESS_SECONDS):
            return
        last = time.monotonic()
        text = f"{done:,} of {total:,} inputs" if total else f"{done:,} inputs"
        click.echo(f"\r{text}\x1b[K" if is_terminal else text, nl=not is_terminal, err=True)

    try:
        yield show
    finally:
        if is_terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
