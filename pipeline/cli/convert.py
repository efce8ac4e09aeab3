"""The command that makes data sets; each format declares its own options."""

from __future__ import annotations

import collections
import logging
import os
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from data.base.errors import UserError
from data.base.files import is_remote
from data.base.links import pattern_letters
from pipeline.cli.common import in_command, program, quiet
from pipeline.cli.data_sets.formats import FormatCommand, make_reader
from pipeline.cli.data_sets.recognized import conversion, recognized

if TYPE_CHECKING:
    from data.formats import Reader
    from data.inspection.recognize import Recognized

# Of more classes than this only the largest are printed; conversion.json has all.
_MOST_SHARES, _FEWER_SHARES = 30, 20

_FORMAT = click.Option(
    ["--format", "dataset_format"],
    metavar="FORMAT",
    help="Format of the data set, or the import path of your own, package.module:Class, which Beam's workers must be "
    "able to import  [default: the one that SOURCE is recognized as]",
)


class _ConvertCommand(FormatCommand):
    destinations: Mapping[str, str] = {"destination": "DEST"}


@click.command(cls=_ConvertCommand, params=[_FORMAT], no_args_is_help=True)
@click.option(
    "--shards",
    type=click.IntRange(1),
    metavar="N",
    help="TFRecord files per split  [default: 1 per 1000 examples or 100 MB]",
)
@click.option(
    "--max-set-aside",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Share of the inputs that may be unusable before the conversion fails.",
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Beam worker processes on this machine  [default: 1]"
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="Convert on the cluster that the section beam of this configuration names. Its workers must see SOURCE and "
    "DEST under these paths.",
)
@click.option(
    "--exclude",
    metavar="FILE",
    help="Leave out the images that this file names, one a line: source ids, as in the list of `segpipe audit`.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier conversion in DEST, once the new one is complete.")
@click.option(
    "--span",
    metavar="N|DATE",
    help="Add to the data that is already there: write to DEST/N. A date such as 2026-11-23 is the number 20261123. "
    "With data.input: DEST/{SPAN} a run trains on all spans, or on the newest data.window of them.",
)
def convert(
    dataset_format: str | None,
    shards: int | None,
    max_set_aside: float,
    workers: int | None,
    config_path: str | None,
    exclude: str | None,
    overwrite: bool,
    span: str | None,
    destination: str,
    source: str | None = None,
    **options: Any,
) -> None:
    """Convert a data set to TFRecords in DEST.

    Without --format, SOURCE is recognized by the files in it, and what it is taken for is printed with the reasons and
    with what had to be assumed. Options of the recognized format overrule this.

    Inputs that cannot be used are set aside and listed, with the reason, in DEST/conversion.json.
    """
    if workers and config_path:
        raise UserError("--workers is for this machine; with --config, beam.options.workers counts")
    from data.exclusions import read_exclusions

    excluded = read_exclusions(exclude) if exclude else []
    quiet()
    if config_path:  # Workers of a cluster have other current folders.
        source, destination = _absolute(source), _absolute(destination)
    if dataset_format is None:
        found = _recognize(str(source), destination, options, is_addition=span is not None)
        dataset_format, reader, listing = found.format, found.reader, found.listing
    else:
        reader, listing = make_reader(dataset_format, {**options, "folder": source}), None
    destination = destination.rstrip("/")
    is_addition, beside = False, ""
    if span is not None:
        from data.spans import SPAN, converted_beside, parse_span, span_path, spans_beside

        number = parse_span(span)
        pattern = destination if SPAN in destination else os.path.join(destination, SPAN)
        destination = span_path(pattern, number)
        is_addition = spans_beside(pattern, number, reader.label_map)
        beside = converted_beside(pattern, number)
    letters = " ".join(pattern_letters(destination))
    if letters and (config_path or is_remote(destination)):
        raise UserError(f"DEST {destination} holds {letters}, which Beam takes for a pattern; name one without")
    convert_with(
        reader,
        dataset_format,
        destination,
        workers,
        config_path,
        shards=shards,
        max_set_aside=max_set_aside,
        is_addition=is_addition,
        beside=beside,
        overwrite=overwrite,
        listing=listing,
        exclude=excluded,
    )


def _recognize(source: str, destination: str, options: Mapping[str, Any], is_addition: bool) -> Recognized:
    """What a folder is taken for; prints it, and how to say it."""
    from data.inspection.recognize import is_tfrecords

    if is_tfrecords(source):
        raise UserError(
            f"{source} holds TFRecords of each split and a labels.yaml: it is converted already; "
            f"`{program()} plan {in_command(source)}` writes a configuration for it"
        )
    found = recognized(source, options, is_addition=is_addition)
    if found.options and not found.labels:
        command = shlex.join(conversion(found, destination))
        click.echo(f"To read it in the same way when files are added:\n  {command}")
    return found


def convert_with(
    reader: Reader,
    dataset_format: str,
    destination: str,
    workers: int | None = None,
    config_path: str | None = None,
    **settings: Any,
) -> None:
    """Converts what a reader reads, and prints what came of it.

    Args:
      reader: of the data set.
      dataset_format: name of its format.
      destination: folder for the TFRecords.
      workers: processes on this machine.
      config_path: configuration with the cluster that converts instead of this machine.
      settings: of `data.convert.convert`.

    Raises:
      UserError: if it cannot be converted.
    """
    click.echo("Loading Beam and TensorFlow …", err=True)
    from data.convert import convert as run_conversion
    from data.remarks import remarks
    from pipeline.config import load_config
    from pipeline.runners.beam.direct import DirectRunner
    from pipeline.runners.beam.settings import RunnerSettings

    beam = RunnerSettings(options=DirectRunner(workers=workers or 1))
    if config_path:
        beam = load_config(config_path).beam
    beam.options.check()
    if beam.options.caveat:
        click.echo(beam.options.caveat, err=True)
    _show_progress()
    report = run_conversion(
        reader,
        destination,
        beam_arguments=beam.pipeline_arguments(f"convert-{re.sub('[^a-z0-9]+', '-', dataset_format.lower())}"),
        **settings,
    )
    for name, counts in report["splits"].items():
        shares = _shares(counts["pixel_shares"])
        groups = f" of {counts['groups']} groups" if "groups" in counts else ""
        click.echo(f"{name:5}  {counts['examples']:6} images{groups}   {shares}")
    for entry in report["set_aside"]:
        click.echo(f"set aside: {entry['input']}: {entry['reason']}")
    reasons = collections.Counter(entry["reason"] for entry in report["ignored"])
    for reason, count in reasons.items():
        click.echo(f"left out: {count} ({reason})")
    for line in remarks(report):
        click.echo(line)
    click.echo(f"Written to {destination}; the report is {os.path.join(destination, 'conversion.json')}")
    for line in report["warnings"]:
        click.secho(f"Warning: {line}", err=True, bold=True)


def _shares(pixel_shares: Mapping[str, float]) -> str:
    """The share of each class, or of the largest if there are very many."""
    shown = dict(pixel_shares)
    if len(shown) > _MOST_SHARES:
        shown = dict(sorted(shown.items(), key=lambda item: -item[1])[:_FEWER_SHARES])
    rest = f", … and {len(pixel_shares) - len(shown)} others" if len(shown) < len(pixel_shares) else ""
    return ", ".join(f"{label} {share:.1%}" for label, share in shown.items()) + rest


def _absolute(path: Any) -> Any:
    return path if path is None or "://" in path else os.path.abspath(path)


def _show_progress() -> None:
    """Lets through only what the workers log about their progress, and segpipe's warnings."""
    handler = logging.StreamHandler()
    handler.addFilter(
        lambda record: record.name.startswith("segpipe") or "converted by this worker" in record.getMessage()
    )
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger().setLevel(logging.INFO)
