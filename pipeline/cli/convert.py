"""The command that makes data sets; each format declares its own options."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from data.base.errors import UserError
from pipeline.cli.common import quiet

if TYPE_CHECKING:
    import pydantic

    from data.formats import Reader

_CHOSEN = "segpipe.format"
_FORMAT = click.Option(
    ["--format", "dataset_format"],
    required=True,
    metavar="FORMAT",
    help="Format of the data set: one of the above, or the import path of your own, package.module:Class, which Beam's "
    "workers must be able to import.",
)


class _ConvertCommand(click.Command):
    """Has the options of the format that --format names; its help without --format lists all formats."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A first look, for --format alone: it decides which other options there are.
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        only_format = click.Command(self.name, params=[_FORMAT], add_help_option=False, context_settings=settings)
        name = only_format.make_context(self.name, list(args), resilient_parsing=True).params["dataset_format"]
        if name is not None:
            ctx.meta[_CHOSEN] = (name, _find(name))
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _explained(error, name) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        common = [*super().get_params(ctx)]
        if _CHOSEN not in ctx.meta:
            return [*common, click.Argument(["paths"], nargs=-1, metavar="[SOURCE] DEST")]
        _, reader = ctx.meta[_CHOSEN]
        options, taken = _options(reader), {flag for parameter in common for flag in parameter.opts}
        for option in options:
            if clash := taken.intersection(option.opts):
                raise UserError(f"{reader.__module__}:{reader.__name__}: {clash.pop()} is an option of all formats")
        paths = ["source", "destination"] if _takes_source(reader) else ["destination"]
        metavars = {"source": "SOURCE", "destination": "DEST"}
        return [*common, *options, *(click.Argument([path], metavar=metavars[path]) for path in paths)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from data.base.help_text import description, summary
        from data.formats import FORMATS

        chosen = ctx.meta.get(_CHOSEN)
        for name, reader in [chosen] if chosen else FORMATS.items():
            with formatter.section(f"--format {name} {'SOURCE DEST' if _takes_source(reader) else 'DEST'}"):
                formatter.write_text(summary(reader))
                if chosen and description(reader):
                    formatter.write_paragraph()
                    formatter.write_text(description(reader))
                _write_options(ctx, formatter, _options(reader))
        with formatter.section("Options of all formats"):
            _write_options(ctx, formatter, [*self.params, self.get_help_option(ctx)])


def _write_options(ctx: click.Context, formatter: click.HelpFormatter, parameters: list[Any]) -> None:
    records = [record for parameter in parameters if (record := parameter.get_help_record(ctx))]
    if records:
        formatter.write_dl(records)


def _find(name: str) -> type[Reader]:
    from data.base.variants import find_variant
    from data.formats import FORMATS, Reader

    try:
        return find_variant(name, FORMATS, Reader, "format")  # type: ignore[type-abstract]
    except ValueError as error:
        raise UserError(f"--format: {error}") from None


def _takes_source(reader: type[Reader]) -> bool:
    return "folder" in reader.model_fields


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _options(reader: type[Reader]) -> list[click.Option]:
    """An option for each field of a format."""
    from data.base.help_text import key_help

    texts = key_help(reader)
    fields = {key: field for key, field in reader.model_fields.items() if key != "folder"}
    return [_option(key, field, texts.get(key, "")) for key, field in fields.items()]


def _option(key: str, field: pydantic.fields.FieldInfo, text: str) -> click.Option:
    # The option itself has no default: a value that is not given is left to the format.
    help_text = text[:1].upper() + text[1:]
    if not field.is_required() and (default := _as_text(field.default)):
        help_text += f"  [default: {default}]"
    settings: dict[str, Any] = {"required": field.is_required(), "help": help_text}
    if field.annotation is bool:
        return click.Option([f"{_flag(key)}/{_flag('no_' + key)}", key], default=None, **settings)
    if get_origin(field.annotation) is Literal:
        return click.Option([_flag(key), key], type=click.Choice(get_args(field.annotation)), **settings)
    return click.Option([_flag(key), key], metavar=field.title or "VALUE", **settings)


def _as_text(default: Any) -> str:
    """A default as it would be written as the value of an option; empty if there is nothing to show."""
    if isinstance(default, dict):
        return ",".join(f"{key}={value}" for key, value in default.items())
    return "" if default is None or default == () else str(default)


def _explained(error: click.NoSuchOption, name: str | None) -> click.UsageError:
    """Says which format has the option, if another has it."""
    from data.formats import FORMATS

    owners = [owner for owner, reader in FORMATS.items() if any(error.option_name in o.opts for o in _options(reader))]
    if not owners:
        return error
    belongs = f"{error.option_name} is an option of --format {' and '.join(owners)}"
    message = f"No such option with --format {name}: {belongs}." if name else f"Missing option '--format': {belongs}."
    return click.UsageError(message, error.ctx)


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
@click.option("--overwrite", is_flag=True, help="Replace an earlier conversion in DEST, once the new one is complete.")
@click.option(
    "--span",
    metavar="N|DATE",
    help="Add to the data that is already there: write to DEST/N. A date such as 2026-11-23 is the number 20261123. "
    "With data.input: DEST/{SPAN} a run trains on all spans, or on the newest data.window of them.",
)
def convert(
    dataset_format: str,
    shards: int | None,
    max_set_aside: float,
    workers: int | None,
    config_path: str | None,
    overwrite: bool,
    span: str | None,
    destination: str,
    source: str | None = None,
    **options: Any,
) -> None:
    """Convert a data set to TFRecords in DEST.

    Inputs that cannot be used are set aside and listed, with the reason, in DEST/conversion.json.
    """
    if workers and config_path:
        raise UserError("--workers is for this machine; with --config, beam.options.workers counts")
    quiet()
    if config_path:  # Workers of a cluster have other current folders.
        source, destination = _absolute(source), _absolute(destination)
    reader = _make_reader(dataset_format, {**options, "folder": source})
    destination = destination.rstrip("/")
    is_addition, scaled_beside = False, None
    if span is not None:
        from data.spans import SPAN, parse_span, range_beside, span_path, spans_beside

        number = parse_span(span)
        pattern = destination if SPAN in destination else os.path.join(destination, SPAN)
        destination = span_path(pattern, number)
        is_addition = spans_beside(pattern, number, reader.label_map)
        scaled_beside = range_beside(pattern, number, getattr(reader, "intensity_range", None))
    click.echo("Loading Beam and TensorFlow …", err=True)
    from data.convert import convert as run_conversion
    from data.convert import remarks
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
        shards=shards,
        max_set_aside=max_set_aside,
        is_addition=is_addition,
        range_beside=scaled_beside,
        overwrite=overwrite,
        beam_arguments=beam.pipeline_arguments(f"convert-{re.sub('[^a-z0-9]+', '-', dataset_format.lower())}"),
    )
    for name, counts in report["splits"].items():
        shares = ", ".join(f"{label} {share:.1%}" for label, share in counts["pixel_shares"].items())
        click.echo(f"{name:5}  {counts['examples']:6} images   {shares}")
    for entry in report["set_aside"]:
        click.echo(f"set aside: {entry['input']}: {entry['reason']}")
    for line in remarks(report):
        click.echo(line)
    if report["ignored"]:
        click.echo(f"left out, since the data set does not list them: {len(report['ignored'])}")
    click.echo(f"Written to {destination}; the report is {os.path.join(destination, 'conversion.json')}")


def _absolute(path: Any) -> Any:
    return path if path is None or "://" in path else os.path.abspath(path)


def _make_reader(name: str, values: Mapping[str, Any]) -> Reader:
    import pydantic

    reader = _find(name)
    try:
        return reader.model_validate({key: value for key, value in values.items() if value is not None})
    except pydantic.ValidationError as error:
        lines = []
        for item in error.errors():
            message = item["msg"].removeprefix("Value error, ")
            place = f"{_flag(str(item['loc'][0]))} {item['input']}" if item["loc"] else f"--format {name}"
            lines.append(f"{place}: {message}")
        raise UserError("\n".join(lines)) from None


def _show_progress() -> None:
    """Lets through only what the workers log about their progress, and segpipe's warnings."""
    handler = logging.StreamHandler()
    handler.addFilter(
        lambda record: record.name.startswith("segpipe") or "converted by this worker" in record.getMessage()
    )
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger().setLevel(logging.INFO)
