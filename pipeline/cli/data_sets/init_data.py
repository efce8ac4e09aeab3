"""The command that begins: from a folder to a label map, a configuration, and the next commands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from data.base.errors import UserError
from data.base.files import write_text
from data.contract import LABEL_MAP_FILE, SPLITS
from pipeline.cli.common import in_command, program, quiet
from pipeline.cli.convert import convert_with
from pipeline.cli.data_sets.formats import FormatCommand, chosen_format
from pipeline.cli.data_sets.proposing import (
    MINUTES_OPTION,
    NAME_OPTION,
    check_free,
    config_option,
    name_of,
    plan_run,
    run_command,
    show_next,
    write_plan,
)
from pipeline.cli.data_sets.recognized import conversion, progress, recognized

if TYPE_CHECKING:
    from data.inspection.recognize import Recognized

_FORMAT = click.Option(
    ["--format", "dataset_format"],
    metavar="FORMAT",
    help="Format of the data set, as for `segpipe convert`, if it is not to be recognized.",
)


@click.command(cls=FormatCommand, params=[_FORMAT], no_args_is_help=True)
@NAME_OPTION
@config_option("; labels.yaml goes beside it")
@MINUTES_OPTION
@click.option("--convert", "converts", is_flag=True, help="Convert the images too; then only the run is left to do.")
@click.option("--overwrite", is_flag=True, help="Replace FILE, labels.yaml and an earlier conversion where they exist.")
@click.pass_context
def init(
    ctx: click.Context,
    dataset_format: str | None,
    name: str | None,
    config_path: str,
    minutes: float | None,
    converts: bool,
    overwrite: bool,
    source: str | None = None,
    **options: Any,
) -> None:
    """Begin with a folder of images and their labels: find out what it is, and write all that a first run needs.

    SOURCE is looked at, and left as it is. What it is taken for is printed with the reasons, and with what had to be
    assumed. Then a configuration is planned from the data and this machine, as `segpipe plan` does for data that is
    converted already, and written with a reason beside each value that was chosen, and, for masks, labels.yaml, which
    names the classes; change in them what you know better. Last come the two commands that convert the images and
    train, evaluate and push a first model. With --convert the first of them is done at once.

    \b
    What is recognized:
      data sets of the formats below, as annotation tools export them and as they are published
      folders of images and of masks, whatever they are called, with subfolders for splits or without
      names that differ in a suffix: street.jpg and street_mask.png, also side by side
      masks of class ids from any number on, of 0 and 255, of colors, with palettes; 255 beside other ids is ignored
      names of classes in a label map of an annotation tool
    """
    if source is None:
        raise UserError(f"--format {dataset_format} needs no SOURCE, so there is nothing to look at; convert it")
    labels_path = os.path.join(os.path.dirname(config_path), LABEL_MAP_FILE)
    source = source.rstrip("/") or source
    name = name_of(source, name)
    quiet()
    from data.inspection.classes import labels_text
    from data.inspection.recognize import is_tfrecords, look

    if os.path.exists(source):  # Else, what is wrong is the path.
        check_free(config_path, overwrite)
    if dataset_format is None and is_tfrecords(source):
        raise UserError(
            f"{source} is converted already; `{program()} plan {in_command(source)}` writes its configuration"
        )
    found = recognized(source, options, chosen_format(ctx))
    writes_labels = found.labels is not None and not _is_same(labels_path, found)
    if writes_labels:
        check_free(labels_path, overwrite)
    sample = look(found, progress())
    tfrecords = f"output/{name.replace('-', '_')}_tfrecords"
    counts = {split: found.count(split) for split in SPLITS}
    for path, reason in sample.unusable[:5]:
        click.echo(f"Cannot be used: {path}: {reason}")
    run = run_command(config_path)
    if converts:
        # Before anything is written, so that what is refused can be tried again.
        convert_with(found.reader, found.format, tfrecords, overwrite=overwrite, listing=found.listing)
        commands = [run]
    else:
        _show_left_out(found)
        commands = [conversion(found, tfrecords, labels_path if found.labels else None), run]
    click.echo()
    planned = plan_run(counts, sample, found.label_map, minutes)
    if writes_labels and found.labels:
        write_text(labels_path, labels_text(found.labels))
        click.echo(f"Written: {labels_path}, the classes: {', '.join(found.label_map.names)}")
    write_plan(planned, name, tfrecords, config_path)
    show_next(commands, planned)


def _is_same(path: str, found: Recognized) -> bool:
    """Whether the label map in a file is the one that was found: it was found there, and stays as it is."""
    from data.label_map_files import load_labels

    try:
        return load_labels(path) == found.labels
    except UserError:
        return False


def _show_left_out(found: Recognized) -> None:
    left_out = found.listing.set_aside
    for entry in left_out[:5]:
        click.echo(f"Left out: {entry.input}: {entry.reason}")
    if len(left_out) > 5:
        click.echo(f"… and {len(left_out) - 5} others")
