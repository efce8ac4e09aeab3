"""Commands that run the pipeline."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

from data.base.errors import UserError
from pipeline.cli.common import (
    EXIT_REFUSED,
    SET_OPTION,
    format_iou,
    plain_console,
    print_summary,
    quiet,
    what_became_of,
)

if TYPE_CHECKING:
    from pipeline.records.runs import Trial


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@SET_OPTION
def run(config_path: str, overrides: tuple[str, ...]) -> int:
    """Run the pipeline: validate, transform, train, evaluate, and push the model if it passes the gate.

    Components whose inputs, settings and code have not changed are not run again.

    Of FILE, name, output and data.input are needed. The other keys are in docs/: data in data.md and retraining.md;
    preprocessing, model, train and tune in training.md and the README; evaluation, gate and report in evaluation.md;
    serving in serving.md; export in exports.md; retrain, notify, push and metadata in retraining.md; monitor and track
    in loop.md; beam in scaling.md; kubeflow in kubeflow.md. By default gate.min.mean_iou is 0.5.
    """
    from pipeline.config import load_config

    quiet()
    config = load_config(config_path, overrides)
    config.check_output()
    config.data.newest_input()
    config.load_label_map()
    config.beam.check()  # Before TFX is loaded, which takes a while.
    config.prepare_weights()
    config.prepare_exports()
    config.track.require_packages()
    for caveat in (*config.data.notices(), *config.beam.caveats()):
        click.echo(caveat, err=True)
    click.echo("Loading TFX …", err=True)
    from rich.console import Console

    from pipeline.runners.local import RunFailedError, run_locally

    console = Console()
    try:
        result = run_locally(config, console)
    except RunFailedError as error:
        raise UserError(str(error)) from error
    print_summary(console, result, config_path, overrides)
    return EXIT_REFUSED if result.state == "refused" else 0


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@SET_OPTION
def retrain(config_path: str, overrides: tuple[str, ...]) -> int:
    """Run the pipeline if there is a reason to, and notify people and programs of how it ended; for schedules.

    Nothing is trained if data, code, packages and configuration are those of the last finished run, or, with
    retrain.trigger: drift, if the newest data resembles what the deployed model was trained on. The section notify of
    FILE says whom to notify. docs/retraining.md shows units for systemd, a line for cron, and schedules on Kubeflow.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    quiet()
    from rich.console import Console

    from pipeline.retraining.retrain import retrain as run_if_needed

    console = Console()
    result = run_if_needed(config, console, lambda line: click.echo(line, err=True))
    if result.drift is not None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in result.drift.items())
        click.echo(f"Drift of the newest data from what the deployed model was trained on: {shown}")
    for problem in result.problems:
        click.echo(f"Notification failed: {problem}", err=True)
    if result.outcome == "ran":
        assert result.run is not None
        print_summary(console, result.run, config_path, overrides)
        return EXIT_REFUSED if result.run.state == "refused" else 0
    if result.outcome == "nothing new":
        assert result.run is not None
        click.echo(f"Nothing has changed since run {result.run.run_id} ({result.run.state}); nothing was trained.")
        for line in what_became_of(result.run, config_path):
            click.echo(line)
    else:
        and_traffic = ", and served traffic has not changed" if config.monitor.kept else ""
        click.echo(
            f"The drift is not above retrain.max_drift, {config.retrain.max_drift:g}{and_traffic}; nothing was trained."
        )
    return 0


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@SET_OPTION
def join(config_path: str, overrides: tuple[str, ...]) -> None:
    """Join the training of a run on another machine (train.strategy: multi_worker).

    Waits until `segpipe run` with the same FILE starts training on the machine that TF_CONFIG calls worker 0. The
    output folder must be on a file system that all workers share.
    """
    from models.training.multi_worker import join as join_training
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    join_training(config.checkpoints_path)


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file with a section tune.")
@SET_OPTION
def tune(config_path: str, overrides: tuple[str, ...]) -> None:
    """Search for hyperparameters by short trainings with values from tune.space; lists the trials, best first.

    Runs the pipeline up to its tuner. A search that was interrupted continues where it stopped. `segpipe run` with the
    same configuration then trains with the best values.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    if config.tune is None:
        raise UserError(
            f"{config_path} has no section tune; add one, such as\n"
            "  tune: {trials: 20, epochs: 10, space: {train.learning_rate: {low: 0.0001, high: 0.01, scale: log}}}"
        )
    config.check_output()
    config.data.newest_input()
    config.load_label_map()
    config.prepare_weights()
    click.echo("Loading TFX …", err=True)
    quiet()
    from rich.console import Console

    from pipeline.records.metadata import database_of
    from pipeline.records.runs import load_trials
    from pipeline.runners.local import RunFailedError, run_locally

    console = Console()
    try:
        result = run_locally(config, console, last="Tuner")
    except RunFailedError as error:
        raise UserError(str(error)) from error
    _print_trials(load_trials(database_of(config), result.run_id), list(config.tune.space))


def _print_trials(trials: list[Trial], keys: list[str]) -> None:
    import yaml
    from rich.table import Table

    from data.base.section import set_value
    from models.tuning.search_space import format_value

    table = Table(box=None, pad_edge=False)
    for column in ("trial", "mean IoU", *keys):
        table.add_column(column, justify="right", overflow="fold")
    for trial in trials:
        values = (format_value(trial.values[key]) for key in keys)
        table.add_row(str(trial.number), format_iou(trial.mean_iou), *values)
    click.echo()
    plain_console().print(table)
    sections: dict[str, Any] = {}
    for key in keys:
        set_value(sections, key.split("."), trials[0].values[key])
    click.echo("\nThe best values, for the configuration file:\n")
    click.echo(yaml.safe_dump(sections, sort_keys=False), nl=False)
