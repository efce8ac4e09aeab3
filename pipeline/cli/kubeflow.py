"""Commands for Kubeflow Pipelines."""

from __future__ import annotations

import re
from typing import Any

import click

from data.base.errors import UserError
from pipeline.cli.common import (
    EXIT_FAILED,
    EXIT_REFUSED,
    SET_OPTION,
    in_command,
    plain_console,
    quiet,
)
from pipeline.cli.kubeflow_server import connect, server_options


@click.command("compile", no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@SET_OPTION
@click.option(
    "--image", required=True, metavar="IMAGE", help="Image in which each step runs (make image), as nodes pull it."
)
@click.option("--output", required=True, metavar="FILE", help="YAML file to write.")
def compile_command(config_path: str, overrides: tuple[str, ...], image: str, output: str) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2, or for Vertex AI (kubeflow.platform: vertex).

    The graph is the same as in `segpipe run`, with the parameters span, epochs (or minutes, if the file has
    train.minutes) and min_mean_iou. The same configuration, label map, image, code and installed packages give
    the same bytes. For the rest, see docs/kubeflow.md.
    """
    from pipeline.config import load_config
    from pipeline.runners.kubeflow.paths import on_cluster

    config = load_config(config_path, overrides)
    on_cluster(config)
    for caveat in (*config.kubeflow.caveats(), *config.beam.caveats()):
        click.echo(caveat, err=True)
    click.echo("Loading TFX …", err=True)
    quiet()
    from pipeline.runners.kubeflow.compiler import compile_pipeline

    text = compile_pipeline(config, image)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"Written to {output}; `segpipe submit {in_command(output)}` runs it.")


_PIPELINE_ARGUMENT = click.argument("pipeline", metavar="PIPELINE.YAML")


_PARAMETER_OPTION = click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the runs, such as epochs=20. May be repeated.",
)


_EXPERIMENT_OPTION = click.option(
    "--experiment", default="segpipe", show_default=True, help="Experiment that lists the runs."
)


_ROOT_OPTION = click.option(
    "--pipeline-root", metavar="URI", help="Where artifacts go. [default: the server's setting]"
)


def _parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UserError(f"--parameter {text}: takes NAME=VALUE, such as epochs=20")
        found[name] = value
    return found


@click.command(no_args_is_help=True)
@_PIPELINE_ARGUMENT
@server_options
@_PARAMETER_OPTION
@_EXPERIMENT_OPTION
@_ROOT_OPTION
@click.option(
    "--wait",
    is_flag=True,
    help="Show the steps until the run ends, and exit like `segpipe run`; survives half an hour without the server.",
)
def submit(
    pipeline: str,
    host: str | None,
    namespace: str | None,
    parameters: tuple[str, ...],
    experiment: str,
    pipeline_root: str | None,
    wait: bool,
) -> int:
    """Run a compiled pipeline on a Kubeflow Pipelines server.

    The pipeline is uploaded, as a new version if the server has one of that name. A token is read from
    KF_PIPELINES_TOKEN, a cookie from KF_PIPELINES_COOKIE; without them, a pod in a cluster uses its service account.
    """
    from pipeline.runners.kubeflow.client import read_pipeline

    values = _parameters(parameters)
    read_pipeline(pipeline, values)
    server = connect(host, namespace)
    run_id = server.submit(pipeline, values, experiment, root=pipeline_root)
    click.echo(f"Run {run_id} was started.")
    if not wait:
        return 0
    result = server.wait(run_id, click.echo)
    click.echo(f"Run {run_id}: {result.state}" + (f": {result.reason}" if result.reason else ""))
    return {"pushed": 0, "refused": EXIT_REFUSED}.get(result.state, EXIT_FAILED)


@click.group()
def schedule() -> None:
    """Run a compiled pipeline again and again on a Kubeflow Pipelines server."""


@schedule.command("create", no_args_is_help=True)
@_PIPELINE_ARGUMENT
@server_options
@_PARAMETER_OPTION
@_EXPERIMENT_OPTION
@_ROOT_OPTION
@click.option("--name", help="Name of the schedule. [default: the pipeline's]")
@click.option("--cron", metavar="FIELDS", help='Six fields in UTC, seconds first: "0 0 3 * * 1" is Mondays at 3:00.')
@click.option("--every", metavar="TIME", help="Instead of --cron: 30m, 12h or 7d.")
def create_schedule(
    pipeline: str,
    host: str | None,
    namespace: str | None,
    parameters: tuple[str, ...],
    experiment: str,
    pipeline_root: str | None,
    name: str | None,
    cron: str | None,
    every: str | None,
) -> None:
    """Start runs on a schedule: one at a time, and missed runs are skipped.

    A schedule of the same name is replaced; that is how a new version of the pipeline or the image gets into it.
    """
    from pipeline.runners.kubeflow.client import read_pipeline

    if bool(cron) == bool(every):
        raise UserError("give --cron or --every")
    if cron and len(cron.split()) != 6:
        raise UserError(f'--cron {cron}: takes six fields, seconds first, such as "0 0 3 * * 1"')
    seconds = None
    if every:
        match = re.fullmatch(r"([1-9][0-9]*)([mhd])", every)
        if not match:
            raise UserError(f"--every {every}: takes a number and m, h or d, such as 12h")
        seconds = int(match[1]) * {"m": 60, "h": 3600, "d": 86400}[match[2]]
    values = _parameters(parameters)
    name = name or read_pipeline(pipeline, values)
    server = connect(host, namespace)
    server.schedule(pipeline, values, experiment, name, cron, seconds, root=pipeline_root)
    click.echo(f"Schedule {name} was created.")


@schedule.command("list")
@server_options
def list_schedules(host: str | None, namespace: str | None) -> None:
    """List the schedules on the server."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("schedule", "trigger", "state"):
        table.add_column(column, overflow="fold")
    for item in connect(host, namespace).list_schedules():
        table.add_row(item.name, item.trigger, "enabled" if item.is_enabled else "paused")
    plain_console().print(table)


@schedule.command("pause", no_args_is_help=True)
@click.argument("name")
@server_options
def pause_schedule(name: str, host: str | None, namespace: str | None) -> None:
    """Pause a schedule: no runs start until `resume`."""
    connect(host, namespace).pause(name)
    click.echo(f"Schedule {name} is paused.")


@schedule.command("resume", no_args_is_help=True)
@click.argument("name")
@server_options
def resume_schedule(name: str, host: str | None, namespace: str | None) -> None:
    """Resume a paused schedule."""
    connect(host, namespace).resume(name)
    click.echo(f"Schedule {name} is enabled.")


@schedule.command("delete", no_args_is_help=True)
@click.argument("name")
@server_options
def delete_schedule(name: str, host: str | None, namespace: str | None) -> None:
    """Delete a schedule; its runs stay."""
    connect(host, namespace).delete(name)
    click.echo(f"Schedule {name} was deleted.")
