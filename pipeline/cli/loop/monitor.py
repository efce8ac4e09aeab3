"""The command that compares served traffic with the training data."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import join
from pipeline.cli.common import SET_OPTION, plain_console, quiet, relative

if TYPE_CHECKING:
    from pipeline.monitoring.monitor import Watched

EXIT_ALERT = 3
# Days of the table on the terminal.
_LISTED = 14


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.option(
    "--from", "kept", metavar="DIR", help="Folder of `segpipe serve --keep`.  [default: monitor.kept in FILE]"
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for programs.")
def monitor(config_path: str, overrides: tuple[str, ...], kept: str | None, as_json: bool) -> int:
    """Compare served traffic, day by day, with the data that the deployed model was trained on.

    \b
      segpipe serve --model output/my_run/serving --keep kept/
      segpipe monitor --config my_run.yaml --from kept/

    Reads what `segpipe serve --keep` kept of the requests that the deployed version answered: how images look, which
    classes the model finds, how sure it is, and what its encoder sees. Images of eval and test stand for the training
    data. Each day is tested; the level, monitor.level, bounds how often chance alone alerts (docs/loop.md).

    Writes into monitor/ in the output folder: index.html (curves over time), alerts.jsonl, and segpipe.prom (metrics
    for Prometheus by node_exporter's textfile collector). `notify` with the state drift tells of a day's alert once.

    Exit codes: 0 nothing has changed, 1 failed, 3 alert: on the newest day, or on one that was not told before.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    kept = kept or config.monitor.kept
    if not kept:
        raise UserError(f"{config_path} has no monitor.kept; name the folder of `segpipe serve --keep` with --from")
    config.check_output()
    click.echo("Loading TensorFlow …", err=True)
    quiet()
    from pipeline.monitoring.days import PAGE, alert_of, folder_of
    from pipeline.monitoring.monitor import watch
    from pipeline.monitoring.reporting import report

    found = watch(config, kept, lambda line: click.echo(line, err=True))
    for problem in report(config, found):
        click.echo(f"Notification failed: {problem}", err=True)
    if as_json:
        content = {**dataclasses.asdict(found), "alert": found.is_alert, "alerts": [alert_of(day) for day in found.new]}
        click.echo(json.dumps(content))
    else:
        _print(found)
        click.echo(f"Page: {relative(join(folder_of(config), PAGE))}")
    return EXIT_ALERT if found.is_alert else 0


def _print(found: Watched) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("day", "version", "images", "chance", "what changed"):
        table.add_column(column, overflow="fold")
    for day in found.days[-_LISTED:]:
        what = "\n".join(test.words for test in day.alerts) or ("nothing" if day.tests else "too few images")
        table.add_row(day.day, str(day.version), str(day.images), day.chance, what)
    if found.days:
        plain_console().print(table)
    for remark in dict.fromkeys(found.remarks):
        click.echo(f"Note: {remark}", err=True)
    if not any(day.version == found.version for day in found.days):
        click.echo(f"Nothing was kept of what version {found.version} answered.")
    elif found.is_alert:
        click.echo("Alert: served traffic has changed.")
    elif found.newest:
        click.echo("Served traffic is like the training data.")
    else:
        click.echo("No day has enough images.")
