"""The command that begins: from a folder to a label map, a configuration, and the next commands."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import click

from data.base.errors import UserError
from data.base.files import exists, write_text
from data.contract import LABEL_MAP_FILE, SPLITS
from pipeline.cli.common import program, quiet
from pipeline.cli.convert import convert_with
from pipeline.cli.data_sets.formats import FormatCommand, chosen_format
from pipeline.cli.data_sets.recognized import conversion, progress, recognized

if TYPE_CHECKING:
    from data.inspection.recognize import Recognized

_FORMAT = click.Option(
    ["--format", "dataset_format"],
    metavar="FORMAT",
    help="Format of the data set, as for `segpipe convert`, if it is not to be recognized.",
)


@click.command(cls=FormatCommand, params=[_FORMAT], no_args_is_help=True)
@click.option("--name", metavar="NAME", help="Name of the pipeline and of its folders in output/  [default: SOURCE's]")
@click.option(
    "--config",
    "config_path",
    default="my_run.yaml",
    show_default=True,
    metavar="FILE",
    help="Configuration to write; labels.yaml goes beside it.",
)
@click.option("--convert", "converts", is_flag=True, help="Convert the images too; then only the run is left to do.")
@click.option("--overwrite", is_flag=True, help="Replace FILE, labels.yaml and an earlier conversion where they exist.")
@click.pass_context
def init(
    ctx: click.Context,
    dataset_format: str | None,
    name: str | None,
    config_path: str,
    converts: bool,
    overwrite: bool,
    source: str | None = None,
    **options: Any,
) -> None:
    """Begin with a folder of images and their labels: find out what it is, and write all that a first run needs.

    SOURCE is looked at, and left as it is. What it is taken for is printed with the reasons, and with what had to be
    assumed. Then a configuration is written, with a reason beside each value that was chosen from the data, and, for
    masks, labels.yaml, which names the classes; change in them what you know better. Last come the two commands that
    convert the images and train, evaluate and push a first model. With --convert the first of them is done at once.

    \b
    What is recognized:
      data sets of the formats below, as annotation tools export them and as they are published
      folders of images and of masks, whatever they are called, with subfolders for splits or without
      names that differ in a suffix: street.jpg and street_mask.png, also side by side
      masks of class ids from any number on, of 0 and 255, of colors, with palettes; 255 beside other ids is ignored
      names of classes in a label map of an annotation tool
      TFRecords with a labels.yaml, which need no conversion
    """
    if source is None:
        raise UserError(f"--format {dataset_format} needs no SOURCE, so there is nothing to look at; convert it")
    labels_path = os.path.join(os.path.dirname(config_path), LABEL_MAP_FILE)
    source = source.rstrip("/") or source
    name = _name(source) if name is None else name
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", name):
        raise UserError(f"--name {name}: takes lower-case letters, digits and -, such as my-run")
    quiet()
    from data.inspection.classes import labels_text
    from data.inspection.recognize import is_tfrecords, look
    from pipeline.config.proposal import propose_run

    _check_free([config_path], overwrite)
    if dataset_format is None and is_tfrecords(source):
        _of_tfrecords(source, name, config_path)
        return
    found = recognized(source, options, chosen_format(ctx))
    writes_labels = found.labels is not None and not _is_same(labels_path, found)
    if writes_labels:
        _check_free([labels_path], overwrite)
    sample = look(found, progress())
    tfrecords = f"output/{name.replace('-', '_')}_tfrecords"
    counts = {split: found.count(split) for split in SPLITS}
    for path, reason in sample.unusable[:5]:
        click.echo(f"Cannot be used: {path}: {reason}")
    run = [program(), "run", "--config", config_path]
    if converts:
        # Before anything is written, so that what is refused can be tried again.
        convert_with(found.reader, found.format, tfrecords, overwrite=overwrite, listing=found.listing)
        commands = [run]
    else:
        _show_left_out(found)
        commands = [conversion(found, tfrecords, labels_path if found.labels else None), run]
    click.echo()
    if writes_labels and found.labels:
        write_text(labels_path, labels_text(found.labels))
        click.echo(f"Written: {labels_path}, the classes: {', '.join(found.label_map.names)}")
    write_text(config_path, propose_run(name, tfrecords, counts, sample, found.label_map))
    click.echo(f"Written: {config_path}, with the reasons for its values")
    _next(commands)


def _name(source: str) -> str:
    """The name of a folder, as Kubeflow takes names."""
    base = os.path.basename(os.path.abspath(source)) if "://" not in source else source.rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-")[:100] or "my-run"


def _check_free(paths: list[str], overwrite: bool) -> None:
    taken = [path for path in paths if exists(path)]
    if taken and not overwrite:
        raise UserError(f"{taken[0]} exists already; add --overwrite to replace it, or --config for another place")


def _is_same(path: str, found: Recognized) -> bool:
    """Whether the label map in a file is the one that was found: it was found there, and stays as it is."""
    from data.label_map_files import load_labels

    try:
        return load_labels(path) == found.labels
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


def _show_left_out(found: Recognized) -> None:
    left_out = found.listing.set_aside
    for entry in left_out[:5]:
        click.echo(f"Left out: {entry.input}: {entry.reason}")
    if len(left_out) > 5:
        click.echo(f"… and {len(left_out) - 5} others")


def _next(commands: list[list[str]]) -> None:
    click.echo("\nNext:")
    for command in commands:
        click.echo(f"  {shlex.join(command)}")
