"""The command that begins: from a folder to a label map, a configuration, and the next commands."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import exists, write_text
from data.contract import LABEL_MAP_FILE, SPLITS
from pipeline.cli.common import program, quiet

if TYPE_CHECKING:
    from data.inspection.recognize import Recognized

_PROGRESS_SECONDS = 5.0


@click.command(no_args_is_help=True)
@click.option("--name", metavar="NAME", help="Name of the pipeline and of its folders in output/  [default: SOURCE's]")
@click.option(
    "--config",
    "config_path",
    default="my_run.yaml",
    show_default=True,
    metavar="FILE",
    help="Configuration to write; labels.yaml goes beside it.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE and labels.yaml where they exist.")
@click.argument("source", metavar="SOURCE")
def init(source: str, name: str | None, config_path: str, overwrite: bool) -> None:
    """Begin with a folder of images and masks: find out what it is, and write all that a first run needs.

    SOURCE is looked at, and left as it is. What it is taken for is printed with the reasons, and with what had to be
    assumed. Then labels.yaml is written, which names the classes, and a configuration with a reason beside each value
    that was chosen from the data; change in them what you know better. Last come the two commands that convert the
    images and train, evaluate and push a first model.

    \b
    What is recognized:
      folders of images and of masks, whatever they are called, with subfolders for splits or without
      names that differ in a suffix: street.jpg and street_mask.png, also side by side
      masks of class ids from any number on, of 0 and 255, of colors, with palettes; 255 beside other ids is ignored
      names of classes in a label map of an annotation tool
      data sets in their published layout, as `segpipe convert --help` lists them
      TFRecords with a labels.yaml, which need no conversion
    """
    labels_path = os.path.join(os.path.dirname(config_path), LABEL_MAP_FILE)
    source = source.rstrip("/") or source
    name = _name(source) if name is None else name
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", name):
        raise UserError(f"--name {name}: takes lower-case letters, digits and -, such as my-run")
    quiet()
    from data.inspection.classes import labels_text
    from data.inspection.recognize import is_tfrecords, look, recognize
    from pipeline.config.proposal import propose_run

    if is_tfrecords(source):
        _check_free([config_path], overwrite)
        _of_tfrecords(source, name, config_path)
        return
    _check_free([config_path], overwrite)
    recognized = recognize(source, _progress())
    writes_labels = recognized.labels is not None and not _is_same(labels_path, recognized)
    if writes_labels:
        _check_free([labels_path], overwrite)
    sample = look(recognized, _progress())
    tfrecords = f"output/{name.replace('-', '_')}_tfrecords"
    counts = {split: recognized.count(split) for split in SPLITS}
    _explain(recognized, counts)
    for path, reason in sample.unusable[:5]:
        click.echo(f"Cannot be used: {path}: {reason}")
    if writes_labels and recognized.labels:
        write_text(labels_path, labels_text(recognized.labels))
        click.echo(f"\nWritten: {labels_path}, the classes: {', '.join(recognized.label_map.names)}")
    write_text(config_path, propose_run(name, tfrecords, counts, sample, recognized.label_map))
    click.echo(f"Written: {config_path}, with the reasons for its values")
    _next([_conversion(recognized, labels_path, tfrecords), [program(), "run", "--config", config_path]])


def _name(source: str) -> str:
    """The name of a folder, as Kubeflow takes names."""
    base = os.path.basename(os.path.abspath(source)) if "://" not in source else source.rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-")[:100] or "my-run"


def _check_free(paths: list[str], overwrite: bool) -> None:
    taken = [path for path in paths if exists(path)]
    if taken and not overwrite:
        raise UserError(f"{taken[0]} exists already; add --overwrite to replace it, or --config for another place")


def _is_same(path: str, recognized: Recognized) -> bool:
    """Whether the label map in a file is the one that was found: it was found there, and stays as it is."""
    from data.label_map_files import load_labels

    try:
        return load_labels(path) == recognized.labels
    except UserError:
        return False


def _of_tfrecords(source: str, name: str, config_path: str) -> None:
    click.echo("Loading TensorFlow …", err=True)
    from data.inspection.records import look_at_records
    from data.label_map import LabelMap
    from pipeline.config.proposal import propose_run

    label_map = LabelMap.load(os.path.join(source, LABEL_MAP_FILE))
    counts, sample = look_at_records(source, label_map)
    click.echo(f"{source} holds TFRecords of each split, and labels.yaml: it is converted already.")
    write_text(config_path, propose_run(name, source, counts, sample, label_map))
    click.echo(f"Written: {config_path}, with the reasons for its values")
    _next([[program(), "run", "--config", config_path]])


def _explain(recognized: Recognized, counts: dict[str, int]) -> None:
    click.echo(f"{recognized.folder} is read as --format {recognized.format}:")
    for reason in recognized.reasons:
        click.echo(f"  {reason}")
    click.echo(f"  splits: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    if recognized.assumptions:
        click.echo("Assumed:")
        for assumption in recognized.assumptions:
            click.echo(f"  {assumption}")
    left_out = recognized.listing.set_aside
    for entry in left_out[:5]:
        click.echo(f"Left out: {entry.input}: {entry.reason}")
    if len(left_out) > 5:
        click.echo(f"… and {len(left_out) - 5} others")


def _conversion(recognized: Recognized, labels_path: str, tfrecords: str) -> list[str]:
    options = {**recognized.options, **({"labels": labels_path} if recognized.labels else {})}
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    return [program(), "convert", "--format", recognized.format, *flags, recognized.folder, tfrecords]


def _next(commands: list[list[str]]) -> None:
    click.echo("\nNext:")
    for command in commands:
        click.echo(f"  {shlex.join(command)}")


def _progress() -> Callable[[str, int, int], None]:
    """Tells every few seconds how many files are done."""
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _PROGRESS_SECONDS:
            last = time.monotonic()
            click.echo(f"{done:,} of {total:,} {what} looked at", file=sys.stderr)

    return show
