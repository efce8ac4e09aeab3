"""Commands that make data sets."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from pipeline.cli.common import (
    quiet,
)

if TYPE_CHECKING:
    from data.formats import Reader


@click.command(no_args_is_help=True)
@click.option(
    "--format",
    "dataset_format",
    required=True,
    type=click.Choice(["oxford-pets", "mask-folder", "brain-mri"]),
    help="Layout of the data set; brain-mri needs no SOURCE.",
)
@click.option("--classes", metavar="A,B,…", help="mask-folder: class names in the order of the ids in the masks.")
@click.option(
    "--labels", metavar="FILE", help="mask-folder: a labels.yaml with names and colors, instead of --classes."
)
@click.option(
    "--split",
    metavar="SHARES",
    help="Shares by a stable hash of each name, such as train=0.8,eval=0.1,test=0.1. oxford-pets has its own test "
    "list: give train and eval. By default mask-folder takes subfolders train, eval and test, if there are.",
)
@click.option(
    "--border",
    type=click.Choice(["class", "ignore"]),
    default="class",
    show_default=True,
    help="oxford-pets: the unclassified border is a class, or ignored.",
)
@click.option(
    "--shards", type=click.IntRange(1), metavar="N", help="TFRecord files a split [default: 1 per 1000 or 100 MB]"
)
@click.option(
    "--max-set-aside",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of the inputs that may be unusable before the conversion fails.",
)
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True, help="Larger images are set aside."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Beam worker processes on this machine [default: 1]",
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="Take the section beam of a run's configuration: converts on that cluster. SOURCE and DEST must be paths that "
    "its workers see.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier conversion in DEST.")
@click.option(
    "--span",
    metavar="N|DATE",
    help="Add to what is there already: write to DEST/N. A date such as 2026-11-23 is the number 20261123. With "
    "data.input: DEST/{SPAN} a run trains on all spans, or on the newest data.window of them.",
)
@click.argument("paths", nargs=-1, metavar="[SOURCE] DEST")
def convert(
    dataset_format: str,
    classes: str | None,
    labels: str | None,
    split: str | None,
    border: str,
    shards: int | None,
    max_set_aside: float,
    max_pixels: int,
    workers: int | None,
    config_path: str | None,
    overwrite: bool,
    span: str | None,
    paths: tuple[str, ...],
) -> None:
    """Convert a data set to TFRecords in DEST.

    \b
    oxford-pets  images/, annotations/: the Oxford-IIIT Pet data set as published
    mask-folder  images/ and masks/, paired by name, with any subfolders
    brain-mri    slices of a brain template that the package nilearn ships

    Unusable inputs are set aside and listed with the reason in DEST/conversion.json.
    """
    wanted = 1 if dataset_format == "brain-mri" else 2
    if len(paths) != wanted:
        raise UserError(f"--format {dataset_format} takes {'DEST' if wanted == 1 else 'SOURCE and DEST'}")
    if workers and config_path:
        raise UserError("--workers is for this machine; with --config, beam.options.workers counts")
    quiet()
    # Workers of a cluster have other current folders.
    paths = tuple(path if "://" in path else os.path.abspath(path) for path in paths) if config_path else paths
    reader = _reader(dataset_format, paths[0], classes, labels, split, border, max_pixels)
    destination = paths[-1].rstrip("/")
    is_addition = False
    if span is not None:
        from data.spans import SPAN, parse_span, span_path, spans_beside

        number = parse_span(span)
        pattern = destination if SPAN in destination else os.path.join(destination, SPAN)
        destination = span_path(pattern, number)
        is_addition = spans_beside(pattern, number, reader.label_map)
    click.echo("Loading Beam and TensorFlow …", err=True)
    from data.convert import convert as run_conversion
    from pipeline.config import load_config
    from pipeline.runners.beam.direct import DirectRunner
    from pipeline.runners.beam.settings import RunnerSettings

    beam = RunnerSettings(options=DirectRunner(workers=workers or 1))
    if config_path:
        beam = load_config(config_path).beam
    beam.options.check()
    if beam.options.caveat:
        click.echo(beam.options.caveat, err=True)

    # Progress comes from the workers' log.
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: "converted by this worker" in record.getMessage())
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger().setLevel(logging.INFO)
    report = run_conversion(
        reader,
        destination,
        shards=shards,
        max_set_aside=max_set_aside,
        is_addition=is_addition,
        overwrite=overwrite,
        beam_arguments=beam.pipeline_arguments(f"convert-{dataset_format}"),
    )
    for name, counts in report["splits"].items():
        shares = ", ".join(f"{label} {share:.1%}" for label, share in counts["pixel_shares"].items())
        click.echo(f"{name:5}  {counts['examples']:6} images   {shares}")
    for entry in report["set_aside"]:
        click.echo(f"set aside: {entry['input']}: {entry['reason']}")
    if report["ignored"]:
        click.echo(f"not listed by the data set, left out: {len(report['ignored'])}")
    click.echo(f"Written to {destination}; the report is {os.path.join(destination, 'conversion.json')}")


def _reader(
    dataset_format: str,
    source: str,
    classes: str | None,
    labels: str | None,
    split: str | None,
    border: str,
    max_pixels: int,
) -> Reader:
    from data.label_map import LabelMap
    from data.splits import parse_shares

    shares = parse_shares(split) if split else None
    if dataset_format != "mask-folder" and (classes or labels):
        raise UserError(f"--classes and --labels are for mask-folder; {dataset_format} has its own classes")
    if dataset_format != "oxford-pets" and border != "class":
        raise UserError("--border is for oxford-pets")
    if dataset_format == "brain-mri":
        from data.formats.brain_mri import BrainMriReader

        if shares:
            raise UserError("--split: brain-mri has fixed splits, slabs of slices with gaps between them")
        return BrainMriReader()
    if dataset_format == "oxford-pets":
        from data.formats import oxford_pets

        return oxford_pets.OxfordPetsReader(source, border, shares or oxford_pets.DEFAULT_SHARES, max_pixels)
    from data.formats.mask_folder import MaskFolderReader

    if bool(classes) == bool(labels):
        raise UserError("mask-folder needs --classes with the names of the classes, or --labels with a labels.yaml")
    label_map = (
        LabelMap.load(labels) if labels else LabelMap.from_names([name.strip() for name in str(classes).split(",")])
    )
    return MaskFolderReader(source, label_map, shares, max_pixels)
