"""Commands that take a data set: the options of the format that --format names, each declared by the format itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from data.base.errors import UserError

if TYPE_CHECKING:
    import pydantic

    from data.formats import Reader

_CHOSEN = "segpipe.format"


class FormatCommand(click.Command):
    """Has the options of the format that --format names, or without --format those of all formats.

    Attributes:
      source_metavar: name of the argument SOURCE as long as no format is named.
      destinations: name and metavar of the arguments after SOURCE; a format without a folder has these alone.
    """

    source_metavar: str = "SOURCE"
    destinations: Mapping[str, str] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A first look, for --format alone: it decides which other options there are.
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        option = [parameter for parameter in self.params if parameter.name == "dataset_format"]
        only_format = click.Command(self.name, params=option, add_help_option=False, context_settings=settings)
        name = only_format.make_context(self.name, list(args), resilient_parsing=True).params["dataset_format"]
        if name is None:
            return super().parse_args(ctx, args)
        ctx.meta[_CHOSEN] = (name, find_format(name))
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _explained(error, name) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        common = [*super().get_params(ctx)]
        taken = {flag for parameter in common for flag in parameter.opts}
        _, chosen = ctx.meta.get(_CHOSEN, (None, None))
        options = _options(chosen) if chosen else _options_of_all()
        for option in options:
            if chosen and (clash := taken.intersection(option.opts)):
                raise UserError(f"{chosen.__module__}:{chosen.__name__}: {clash.pop()} is an option of all formats")
        paths = self._paths(chosen)
        return [*common, *options, *(click.Argument([path], metavar=metavar) for path, metavar in paths.items())]

    def _paths(self, chosen: type[Reader] | None) -> dict[str, str]:
        """Name and metavar of each argument."""
        source = "SOURCE" if chosen else self.source_metavar
        takes_source = chosen is None or "folder" in chosen.model_fields
        return {**({"source": source} if takes_source else {}), **self.destinations}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from data.base.help_text import description, summary
        from data.formats import FORMATS

        own = [*self.params, self.get_help_option(ctx)]
        if _CHOSEN not in ctx.meta:
            with formatter.section("Options"):
                _write_options(ctx, formatter, own)
            with formatter.section("Formats"):
                formatter.write_dl([(name, summary(reader)) for name, reader in FORMATS.items()])
                formatter.write_paragraph()
                formatter.write_text(
                    f"`{ctx.command_path} --format FORMAT --help` has the options of a format. They may also be given "
                    "without --format, for a SOURCE that is recognized as a format that has them."
                )
            return
        name, reader = ctx.meta[_CHOSEN]
        with formatter.section(" ".join(["--format", name, *self._paths(reader).values()])):
            formatter.write_text(summary(reader))
            if description(reader):
                formatter.write_paragraph()
                formatter.write_text(description(reader))
            _write_options(ctx, formatter, _options(reader))
        with formatter.section("Options of all formats"):
            _write_options(ctx, formatter, own)


def chosen_format(ctx: click.Context) -> tuple[str, type[Reader]] | None:
    """Name and reader of the format that --format names."""
    chosen: tuple[str, type[Reader]] | None = ctx.meta.get(_CHOSEN)
    return chosen


def _write_options(ctx: click.Context, formatter: click.HelpFormatter, parameters: list[Any]) -> None:
    records = [record for parameter in parameters if (record := parameter.get_help_record(ctx))]
    if records:
        formatter.write_dl(records)


def find_format(name: str) -> type[Reader]:
    from data.base.variants import find_variant
    from data.formats import FORMATS, Reader

    try:
        return find_variant(name, FORMATS, Reader, "format")  # type: ignore[type-abstract]
    except ValueError as error:
        raise UserError(f"--format: {error}") from None


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _options(reader: type[Reader]) -> list[click.Option]:
    """An option for each field of a format, its own first, and last those of most formats."""
    from data.base.help_text import key_help

    texts = key_help(reader)
    declared = [key for kind in reader.__mro__ for key in vars(kind).get("__annotations__", {})]
    keys = [key for key in dict.fromkeys(declared) if key in reader.model_fields and key != "folder"]
    return [_option(key, reader.model_fields[key], texts.get(key, "")) for key in keys]


def _options_of_all() -> list[click.Option]:
    """An option for each field of any format, as text: the format that is recognized says what it may be."""
    from data.formats import FORMATS

    fields = {key: field for reader in FORMATS.values() for key, field in reader.model_fields.items()}
    del fields["folder"]
    return [
        click.Option([f"{_flag(key)}/{_flag('no_' + key)}", key], default=None)
        if field.annotation is bool
        else click.Option([_flag(key), key])
        for key, field in fields.items()
    ]


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


def _explained(error: click.NoSuchOption, name: str) -> click.UsageError:
    """Says which format has the option, if another has it, or what takes its place."""
    from data.formats import FORMATS

    if error.option_name == "--intensity-range":
        taken = "images keep their values, so leave it out; preprocessing.percentiles of a configuration clips extremes"
        return click.UsageError(f"No such option: --intensity-range ({taken}).", error.ctx)
    owners = [owner for owner, reader in FORMATS.items() if any(error.option_name in o.opts for o in _options(reader))]
    if not owners:
        return error
    belongs = f"{error.option_name} is an option of --format {', '.join(owners)}"
    return click.UsageError(f"No such option with --format {name}: {belongs}.", error.ctx)


def make_reader(name: str, values: Mapping[str, Any]) -> Reader:
    import pydantic

    try:
        return find_format(name).model_validate(given(values))
    except pydantic.ValidationError as error:
        raise unreadable(error, f"--format {name}") from None


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed."""
    return {key: value for key, value in values.items() if value is not None}


def unreadable(error: pydantic.ValidationError, otherwise: str) -> UserError:
    """What is wrong with options of a format.

    Args:
      error: of the format.
      otherwise: what is to be named where no single option is wrong.
    """
    lines = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        place = f"{_flag(str(item['loc'][0]))} {item['input']}" if item["loc"] else otherwise
        lines.append(f"{place}: {message}")
    return UserError("\n".join(lines))


def as_options(values: Mapping[str, Any]) -> list[str]:
    """Options of a format as they are typed."""
    typed: list[str] = []
    for key, value in values.items():
        if isinstance(value, bool):
            typed.append(_flag(key if value else f"no_{key}"))
        else:
            typed += [_flag(key), str(value)]
    return typed
