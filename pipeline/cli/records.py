"""Commands that show runs and versions, roll back, and clean up."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import exists, is_remote, write_text
from pipeline.cli.common import SET_OPTION, format_iou, open_in_browser, plain_console, quiet, relative
from pipeline.cli.kubeflow_server import connect, server_options

if TYPE_CHECKING:
    from pipeline.records.retention import Leftover
    from pipeline.records.runs import Run


# What `clean` lists one by one.
_LISTED_BYTES = 10_000
RUNS_OPTION = click.option(
    "--config", "config_path", metavar="FILE", help="YAML file of the runs. [default: all runs in output/]"
)


def _load_runs(config_path: str | None, overrides: tuple[str, ...]) -> list[Run]:
    """The runs of a pipeline, or of all pipelines in output/, oldest first."""
    if config_path:
        from pipeline.config import load_config
        from pipeline.records.metadata import database_of
        from pipeline.records.runs import load_runs

        config = load_config(config_path, overrides)
        return load_runs(database_of(config), config.name)
    paths = sorted(glob.glob(os.path.join("output", "*", "metadata.sqlite")))
    if not paths:
        raise UserError("there is no run in output/; name the runs' configuration with --config")
    from pipeline.records.metadata import sqlite_database
    from pipeline.records.runs import load_runs

    listed = []
    for path in paths:
        try:
            listed += load_runs(sqlite_database(os.path.abspath(path)))
        except UserError as error:
            if len(paths) == 1:
                raise
            click.echo(f"skipped: {error}", err=True)
    return listed


def _find_run(runs: list[Run], wanted: str) -> Run:
    found = [run for run in runs if run.run_id.startswith(wanted)]
    if len(found) != 1:
        count = "more than one run" if found else "no run"
        raise UserError(f"{count} begins with {wanted}; `segpipe runs` lists them")
    return found[0]


@click.command()
@RUNS_OPTION
@SET_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known, one JSON object a line.")
@server_options
def runs(
    config_path: str | None, overrides: tuple[str, ...], as_json: bool, host: str | None, namespace: str | None
) -> None:
    """List the runs of a pipeline, or of all pipelines in output/, oldest first; with --host, the runs on a server."""
    from rich.table import Table

    if host:
        _print_server_runs(host, namespace, config_path, overrides, as_json)
        return
    listed = _load_runs(config_path, overrides)
    if as_json:
        for item in listed:
            click.echo(json.dumps(dataclasses.asdict(item)))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("pipeline", "run", "state", "mean IoU", "per class", "version", "seconds", "why"):
        table.add_column(column, justify="right" if column in ("mean IoU", "seconds") else "left", overflow="fold")
    for item in listed:
        table.add_row(
            item.pipeline,
            item.run_id,
            item.state,
            format_iou(item.mean_iou),
            " ".join(f"{name} {format_iou(value)}" for name, value in item.class_iou.items()),
            str(item.pushed_version or ""),
            f"{sum(component.seconds for component in item.components):.0f}",
            "; ".join(item.reasons),
        )
    plain_console().print(table)


def _print_server_runs(
    host: str, namespace: str | None, config_path: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    from rich.table import Table

    from pipeline.config import load_config

    name = load_config(config_path, overrides).name if config_path else None
    listed = connect(host, namespace).list_runs(name)
    if as_json:
        for item in listed:
            click.echo(json.dumps(dataclasses.asdict(item), default=str))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "name", "state", "seconds", "why"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for item in listed:
        seconds = "" if item.seconds is None else f"{item.seconds:.0f}"
        table.add_row(item.run_id, item.name, item.state, seconds, item.reason)
    plain_console().print(table)


@click.command()
@RUNS_OPTION
@SET_OPTION
@click.option("--open", "open_it", is_flag=True, help="Open the report in the browser.")
@click.argument("run_id", metavar="[RUN]", required=False)
def report(config_path: str | None, overrides: tuple[str, ...], open_it: bool, run_id: str | None) -> None:
    """Print the path of a run's HTML report.

    RUN is the beginning of a run's name in `segpipe runs`; without it, the newest run that has a report is taken.
    """
    quiet()
    listed = _load_runs(config_path, overrides)
    if run_id is None:
        with_report = sorted((run for run in listed if run.report), key=lambda run: run.run_id)
        if not with_report:
            raise UserError("no run has a report yet")
        found = with_report[-1]
    else:
        found = _find_run(listed, run_id)
    if not found.report:
        raise UserError(f"run {found.run_id} has no report; its state: {found.state}")
    if not exists(found.report):
        raise UserError(f"the report of run {found.run_id} was deleted; it was {found.report}")
    click.echo(relative(found.report))
    if open_it and is_remote(found.report):
        raise UserError("the report is not on this machine; copy it here to open it")
    if open_it:
        open_in_browser(found.report)


@click.command("open")
@RUNS_OPTION
@SET_OPTION
def open_overview(config_path: str | None, overrides: tuple[str, ...]) -> None:
    """Open the overview of a pipeline in the browser: what is deployed, how runs went, what to do next.

    It is the file index.html in the output folder, which runs, retrain, rollback, monitor and audit write; with
    --config, it is written anew first. Without, the one in output/ that was written last is opened.
    """
    if config_path:
        from pipeline.config import load_config

        config = load_config(config_path, overrides)
        quiet()
        from pipeline.records.pages.overview import overview_path, write_overview

        path = overview_path(config)
        write_overview(config)
        if not os.path.exists(path):
            raise UserError(
                f"there is no overview {relative(path)}, as there is no run yet; start one with `segpipe run`"
            )
    else:
        found = [
            path
            for folder in ("", "*")
            for path in glob.glob(os.path.join("output", folder, "index.html"))
            if os.path.basename(os.path.dirname(path)) not in ("monitor", "audit")
        ]
        if not found:
            raise UserError("there is no overview in output/; name the configuration of the runs with --config")
        path = max(found, key=os.path.getmtime)
    click.echo(relative(path))
    open_in_browser(path)


@click.command(no_args_is_help=True)
@RUNS_OPTION
@SET_OPTION
@click.option("--html", "html_path", metavar="FILE", help="Write the comparison as a page, with pictures, instead.")
@click.argument("run_ids", metavar="RUN RUN…", nargs=-1, required=True)
def compare(
    config_path: str | None, overrides: tuple[str, ...], html_path: str | None, run_ids: tuple[str, ...]
) -> None:
    """Show runs side by side: outcomes, metrics with their differences, seconds, and what was configured differently.

    The page that --html writes also shows the test images on which the runs differ most, predicted by the model of
    each. RUN is the beginning of a run's name in `segpipe runs`.
    """
    if len(run_ids) < 2:
        raise UserError("compare takes at least two runs; `segpipe runs` lists all runs")
    quiet()
    listed = _load_runs(config_path, overrides)
    chosen = [_find_run(listed, run_id) for run_id in run_ids]
    from pipeline.records.comparison import compare_runs
    from pipeline.records.sections import to_table

    comparison = compare_runs(chosen)
    if html_path:
        from pipeline.records.pages.comparison import render

        _write_page(html_path, render(comparison))
        return
    names = [f"{letter} {run.run_id}" for letter, run in zip(comparison.letters, chosen, strict=True)]
    plain_console().print(to_table([*names, *comparison.difference_heads], comparison.sections))
    for remark in comparison.remarks:
        click.echo(remark)


def _write_page(path: str, html: str) -> None:
    write_text(path, html)
    click.echo(f"Written to {relative(path)}")


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known, one JSON object a line.")
def history(config_path: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """List the pushed versions, oldest first, with their runs, data and mean IoU, and what each replaced.

    Below best is how far a version's mean IoU is below the highest so far on the same test images: small losses that
    gate.regression allows add up there. The first version that was measured on other test images has none.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    quiet()
    from rich.table import Table

    from pipeline.records.lineage import load_history

    listed = load_history(config)
    if as_json:
        for item in listed:
            click.echo(json.dumps(dataclasses.asdict(item)))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "state", "run", "mean IoU", "below best", "replaced", "data", "rolled back"):
        table.add_column(column, justify="right" if column in ("mean IoU", "below best") else "left", overflow="fold")
    for item in listed:
        table.add_row(
            str(item.version),
            item.state,
            item.run_id or "unknown",
            format_iou(item.mean_iou),
            "" if item.below_best is None else f"{item.below_best:.4f}",
            str(item.replaced or ""),
            ", ".join(map(relative, item.data)),
            "; ".join(f"{event['time']} by {event['by']}, to {event['to']}" for event in item.rollbacks),
        )
    plain_console().print(table)


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.option("--html", "html_path", metavar="FILE", help="Write the lineage as a page, with a graph, instead.")
@click.argument("version", metavar="VERSION", type=click.IntRange(0))
def lineage(config_path: str, overrides: tuple[str, ...], html_path: str | None, version: int) -> None:
    """Show what a pushed version was made of: data, schema, configuration, code, packages, metrics."""
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    quiet()
    from pipeline.records.lineage import trace
    from pipeline.records.sections import to_table

    found = trace(config, version)
    if html_path:
        from pipeline.records.pages.lineage import render

        _write_page(html_path, render(config.name, version, found))
        return
    plain_console().print(to_table([str(version)], found.sections))


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.argument("version", metavar="[VERSION]", type=click.IntRange(0), required=False)
def rollback(config_path: str, overrides: tuple[str, ...], version: int | None) -> None:
    """Deploy an earlier version at once: VERSION, or the one before the deployed one.

    Newer versions are moved aside, where servers do not look, and later runs do not push them again. To bring one of
    them back, give its number.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    destination = config.push_destination
    quiet()
    from models.serving.versions import roll_back

    before, now = roll_back(destination, version)
    click.echo(
        f"Version {now} is deployed instead of version {before}: {relative(os.path.join(destination, str(now)))}"
    )
    from pipeline.records.pages.overview import write_overview

    write_overview(config)


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.option(
    "--keep",
    type=click.IntRange(1),
    required=True,
    metavar="N",
    help="Keep the newest N runs and N versions.",
)
@click.option("--yes", is_flag=True, help="Delete; without it, only list what would be deleted.")
def clean(config_path: str, overrides: tuple[str, ...], keep: int, yes: bool) -> None:
    """Delete what old runs left: artifacts, pushed versions, checkpoints and logs.

    The newest N runs and the newest N versions, the deployed one among them, stay with everything that they were made
    of. Without --yes nothing is deleted.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    quiet()
    from pipeline.records.retention import clean as run_clean

    leftovers = run_clean(config, keep, is_dry_run=not yes)
    for line in leftover_lines(leftovers, is_done=yes):
        click.echo(line)
    if yes:
        from pipeline.records.pages.overview import write_overview

        write_overview(config)  # Links to what is gone would lead nowhere.


def leftover_lines(leftovers: list[Leftover], is_done: bool) -> Iterator[str]:
    """What is, or would be, deleted; what is too small for a line of its own is counted."""
    if not leftovers:
        yield "There is nothing to delete."
        return
    small = 0
    for item in leftovers:
        if item.size < _LISTED_BYTES:
            small += 1
        else:
            yield f"{item.size / 1e6:10.2f} MB  {relative(item.path)}  ({item.reason})"
    if small:
        yield f"{small} of less than {_LISTED_BYTES / 1e6:g} MB each"
    total = sum(item.size for item in leftovers) / 1e6
    fate = "deleted" if is_done else "would be deleted; to delete them, add --yes"
    yield f"{len(leftovers)} folders and files, {total:.1f} MB, {fate}"
