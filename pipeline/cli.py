"""The command line. Heavy packages are imported by the commands that need them, so that help is there at once."""

from __future__ import annotations

import dataclasses
import glob
import json
import logging
import os
import re
import shutil
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click

from data.errors import UserError
from data.files import exists, is_remote

if TYPE_CHECKING:
    from rich.console import Console

    from data.readers import Reader
    from pipeline.kubeflow_client import Server
    from pipeline.runs import Run, Trial
    from pipeline.sections import Row

EXIT_FAILED = 1
EXIT_REFUSED = 2

_SET_OPTION = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the file, such as train.epochs=10. May be repeated.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Image segmentation from labelled images to a served model, on TensorFlow Extended.

    \b
    A first model of your own:
      segpipe convert --format mask-folder --classes background,road my_images my_tfrecords
      segpipe run --config my_run.yaml
      segpipe predict --model MODEL photo.jpg --output predictions

    Exit codes: 0 done, 1 failed (with a message that says why), 2 the gate refused the model.
    """


@cli.command(no_args_is_help=True)
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
        raise UserError("--workers is for this machine; with --config, beam.workers counts")
    _quiet()
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
    from pipeline.beam import RunnerSettings, check_cluster
    from pipeline.config import load_config

    beam: RunnerSettings = load_config(config_path).beam if config_path else RunnerSettings(workers=workers or 1)
    check_cluster(beam)

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
        from data.readers.brain_mri import BrainMriReader

        if shares:
            raise UserError("--split: brain-mri has fixed splits, slabs of slices with gaps between them")
        return BrainMriReader()
    if dataset_format == "oxford-pets":
        from data.readers import oxford_pets

        return oxford_pets.OxfordPetsReader(source, border, shares or oxford_pets.DEFAULT_SHARES, max_pixels)
    from data.readers.mask_folder import MaskFolderReader

    if bool(classes) == bool(labels):
        raise UserError("mask-folder needs --classes with the names of the classes, or --labels with a labels.yaml")
    label_map = (
        LabelMap.load(labels) if labels else LabelMap.from_names([name.strip() for name in str(classes).split(",")])
    )
    return MaskFolderReader(source, label_map, shares, max_pixels)


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@_SET_OPTION
def run(config_path: str, overrides: tuple[str, ...]) -> int:
    """Run the pipeline: validate, transform, train, evaluate, push what passes the gate.

    Components whose inputs, settings and code are the same as before are not run again.
    """
    from pipeline.config import load_config

    _quiet()
    config = load_config(config_path, overrides)
    config.newest_input()
    config.load_label_map()
    config.beam.check()  # Before TFX is loaded, which takes a while.
    click.echo("Loading TFX …", err=True)
    from rich.console import Console

    from pipeline.local_runner import RunFailedError, run_locally

    console = Console()
    try:
        result = run_locally(config, console)
    except RunFailedError as error:
        raise UserError(str(error)) from error
    _print_summary(console, result)
    return EXIT_REFUSED if result.state == "refused" else 0


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@_SET_OPTION
def retrain(config_path: str, overrides: tuple[str, ...]) -> int:
    """Take one turn of a schedule: run the pipeline if there is a reason to, and tell how it ended.

    Nothing is trained if data, code, packages and configuration are those of the last run that ended, or, with
    retrain.trigger: drift, if the newest data is like that which the deployed model was trained on. Whom to tell is in
    the section notify. docs/retraining.md has units for systemd, a line for cron, and Kubeflow's way.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    _quiet()
    from rich.console import Console

    from pipeline.retraining import retrain as take_turn

    console = Console()
    turn = take_turn(config, console, lambda line: click.echo(line, err=True))
    if turn.drift is not None:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in turn.drift.items())
        click.echo(f"Drift of the newest data from what the deployed model was trained on: {shown}")
    for problem in turn.problems:
        click.echo(f"Not told: {problem}", err=True)
    if turn.outcome == "ran":
        assert turn.run is not None
        _print_summary(console, turn.run)
        return EXIT_REFUSED if turn.run.state == "refused" else 0
    if turn.outcome == "nothing new":
        assert turn.run is not None
        click.echo(f"Nothing is new since run {turn.run.run_id}, which ended {turn.run.state}; nothing was trained.")
    else:
        click.echo(f"No drift above retrain.max_drift {config.retrain.max_drift:g}; nothing was trained.")
    return 0


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@_SET_OPTION
def join(config_path: str, overrides: tuple[str, ...]) -> None:
    """Take part in the training of a run on another machine (train.strategy: multi_worker).

    Waits until `segpipe run`, with the same FILE, comes to its training on the machine that TF_CONFIG calls worker 0.
    The output folder must be on a file system that all workers share.
    """
    from models.multi_worker import join as join_training
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    join_training(config.checkpoints_path)


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file with a section tune.")
@_SET_OPTION
def tune(config_path: str, overrides: tuple[str, ...]) -> None:
    """Search for hyperparameters: short trainings with values from tune.space, best first.

    Runs the pipeline up to its tuner; a search that was killed goes on where it stopped. `segpipe run` with the same
    configuration then trains with the best values.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    if config.tune is None:
        raise UserError(
            f"{config_path} has no section tune; add one such as\n"
            "  tune: {trials: 20, epochs: 10, space: {train.learning_rate: {low: 0.0001, high: 0.01, scale: log}}}"
        )
    config.newest_input()
    config.load_label_map()
    click.echo("Loading TFX …", err=True)
    _quiet()
    from rich.console import Console

    from pipeline.local_runner import RunFailedError, run_locally
    from pipeline.metadata import database_of
    from pipeline.runs import load_trials

    console = Console()
    try:
        result = run_locally(config, console, last="Tuner")
    except RunFailedError as error:
        raise UserError(str(error)) from error
    _print_trials(load_trials(database_of(config), result.run_id), list(config.tune.space))


def _print_trials(trials: list[Trial], keys: list[str]) -> None:
    import yaml
    from rich.console import Console
    from rich.table import Table

    from models.search_space import format_value
    from models.settings import set_value

    table = Table(box=None, pad_edge=False)
    for column in ("mean IoU", *keys):
        table.add_column(column, justify="right", overflow="fold")
    for trial in trials:
        table.add_row(_iou(trial.mean_iou), *(format_value(trial.values[key]) for key in keys))
    click.echo()
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    sections: dict[str, Any] = {}
    for key in keys:
        set_value(sections, key, trials[0].values[key])
    click.echo("\nThe best values, for the configuration file:\n")
    click.echo(yaml.safe_dump(sections, sort_keys=False), nl=False)


@cli.command("compile", no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the run.")
@_SET_OPTION
@click.option(
    "--image", required=True, metavar="IMAGE", help="Image that each step runs in (make image), as nodes pull it."
)
@click.option("--output", required=True, metavar="FILE", help="The pipeline, as YAML.")
def compile_command(config_path: str, overrides: tuple[str, ...], image: str, output: str) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2, or for Vertex AI (kubeflow.platform: vertex).

    It is the same graph as of `segpipe run`, with the parameters span, epochs and min_mean_iou. The same configuration,
    label map, image and code give the same bytes. docs/kubeflow.md tells the rest.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    config.on_cluster()
    click.echo("Loading TFX …", err=True)
    _quiet()
    from pipeline.kubeflow_runner import compile_pipeline

    text = compile_pipeline(config, image)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"Written to {output}; `segpipe submit {output}` runs it.")


_PIPELINE_ARGUMENT = click.argument("pipeline", metavar="PIPELINE.YAML")
_PARAMETER_OPTION = click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the runs, such as epochs=20. May be repeated.",
)
_EXPERIMENT_OPTION = click.option(
    "--experiment", default="segpipe", show_default=True, help="What the runs are listed under."
)
_ROOT_OPTION = click.option(
    "--pipeline-root", metavar="URI", help="Where artifacts go. [default: where the server says]"
)


def _server_options(command: Any) -> Any:
    command = click.option("--namespace", help="Of a server with several users.")(command)
    return click.option(
        "--host",
        metavar="URL",
        envvar="KF_PIPELINES_ENDPOINT",
        help="The server's API. [default: that of this cluster]",
    )(command)


def _parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UserError(f"--parameter {text}: takes name=value, such as epochs=20")
        found[name] = value
    return found


def _server(host: str | None, namespace: str | None) -> Server:
    _quiet()
    from pipeline.kubeflow_client import Server

    return Server(host, namespace)


@cli.command(no_args_is_help=True)
@_PIPELINE_ARGUMENT
@_server_options
@_PARAMETER_OPTION
@_EXPERIMENT_OPTION
@_ROOT_OPTION
@click.option("--wait", is_flag=True, help="Show its steps until it ends, and exit as `segpipe run` does.")
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

    It is uploaded, as a new version of the pipeline of its name if there is one. A token is taken from
    KF_PIPELINES_TOKEN, a cookie from KF_PIPELINES_COOKIE; without them, in a cluster, the pod's service account counts.
    """
    from pipeline.kubeflow_client import read_pipeline

    values = _parameters(parameters)
    read_pipeline(pipeline, values)
    server = _server(host, namespace)
    run_id = server.submit(pipeline, values, experiment, root=pipeline_root)
    click.echo(f"Run {run_id} was started.")
    if not wait:
        return 0
    result = server.wait(run_id, click.echo)
    click.echo(f"Run {run_id}: {result.state}" + (f": {result.reason}" if result.reason else ""))
    return {"pushed": 0, "refused": EXIT_REFUSED}.get(result.state, EXIT_FAILED)


@cli.group()
def schedule() -> None:
    """Run a compiled pipeline again and again on a Kubeflow Pipelines server."""


@schedule.command("create", no_args_is_help=True)
@_PIPELINE_ARGUMENT
@_server_options
@_PARAMETER_OPTION
@_EXPERIMENT_OPTION
@_ROOT_OPTION
@click.option("--name", help="Of the schedule. [default: the pipeline's]")
@click.option("--cron", metavar="FIELDS", help='Six fields in UTC, seconds first: "0 0 3 * * 1" is Mondays at three.')
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
    """Start runs by a schedule: one at a time, and turns that were missed are not made up for.

    A schedule of the same name is replaced; that is how a new version of the pipeline or the image gets into it.
    """
    from pipeline.kubeflow_client import read_pipeline

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
    server = _server(host, namespace)
    server.schedule(pipeline, values, experiment, name, cron, seconds, root=pipeline_root)
    click.echo(f"Schedule {name} was created.")


@schedule.command("list")
@_server_options
def list_schedules(host: str | None, namespace: str | None) -> None:
    """List the schedules on the server."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("schedule", "trigger", "state"):
        table.add_column(column, overflow="fold")
    for item in _server(host, namespace).list_schedules():
        table.add_row(item.name, item.trigger, "enabled" if item.is_enabled else "paused")
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@schedule.command("pause", no_args_is_help=True)
@click.argument("name")
@_server_options
def pause_schedule(name: str, host: str | None, namespace: str | None) -> None:
    """Start no more runs, until `resume`."""
    _server(host, namespace).pause(name)
    click.echo(f"Schedule {name} is paused.")


@schedule.command("resume", no_args_is_help=True)
@click.argument("name")
@_server_options
def resume_schedule(name: str, host: str | None, namespace: str | None) -> None:
    """End a pause."""
    _server(host, namespace).resume(name)
    click.echo(f"Schedule {name} is enabled.")


@schedule.command("delete", no_args_is_help=True)
@click.argument("name")
@_server_options
def delete_schedule(name: str, host: str | None, namespace: str | None) -> None:
    """Delete a schedule; its runs stay."""
    _server(host, namespace).delete(name)
    click.echo(f"Schedule {name} was deleted.")


def _print_summary(console: Console, result: Run) -> None:
    from components.versions import rolled_back, versions

    classes = ", ".join(f"{name} {_iou(value)}" for name, value in result.class_iou.items())
    size = "each image's own size" if result.resolution == "original" else "the model's size"
    interval = " to ".join(map(_iou, result.mean_iou_interval or []))
    lines = [
        f"Mean IoU on the test split, at {size}: {_iou(result.mean_iou)} ({classes})",
        f"  95 % confidence interval over images: {interval or 'none'}",
    ]
    if result.baseline_mean_iou is not None:
        lines.append(f"Deployed model (version {result.baseline_version}): {_iou(result.baseline_mean_iou)}")
    else:
        lines.append("There is no deployed model with these classes; the absolute thresholds alone decided.")
    if result.newest_span is not None:
        deployed = result.newest_baseline_mean_iou
        against = "" if deployed is None else f" (deployed: {_iou(deployed)})"
        lines.append(
            f"On the test split of the newest span, {result.newest_span}: {_iou(result.newest_mean_iou)}{against}"
        )
    if result.state == "refused":
        lines += ["The gate refused the model; nothing was pushed:", *(f"  {reason}" for reason in result.reasons)]
    else:
        destination = os.path.dirname(str(result.pushed_path))
        is_there = result.pushed_version in versions(destination)
        verdict = "Pushed"
        if result.state == "unchanged":
            fate = "was deployed, and later removed,"
            if is_there:
                fate = "is deployed already"
            elif result.pushed_version in rolled_back(destination):
                fate = "was deployed, and later rolled back,"
            verdict = f"Nothing new; the model {fate}"
        lines += [
            f"{verdict} as version {result.pushed_version}: {_relative(str(result.pushed_path))}",
        ]
        if is_there:
            folder = _relative(destination)
            lines += ["Predict with it:", f"  {_program()} predict --model {folder} IMAGE… --output predictions"]
    if result.report:
        lines.append(f"Report: {_relative(result.report)}")
    console.print("\n".join(["", *lines]), highlight=False, markup=False, soft_wrap=True)


def _iou(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _program() -> str:
    """How to call segpipe again: by name where the PATH has it, else as it was called."""
    return "segpipe" if shutil.which("segpipe") else _relative(sys.argv[0])


def _relative(path: str) -> str:
    relative = os.path.relpath(path)
    return path if is_remote(path) or relative.startswith("..") else relative


_RUNS_OPTION = click.option(
    "--config", "config_path", metavar="FILE", help="YAML file of the runs. [default: all of output/]"
)


def _load_runs(config_path: str | None, overrides: tuple[str, ...]) -> list[Run]:
    """The runs of a pipeline, or of all pipelines in output/, oldest first."""
    if config_path:
        from pipeline.config import load_config
        from pipeline.metadata import database_of
        from pipeline.runs import load_runs

        config = load_config(config_path, overrides)
        return load_runs(database_of(config), config.name)
    paths = sorted(glob.glob(os.path.join("output", "*", "metadata.sqlite")))
    if not paths:
        raise UserError("no run found in output/; name another place with --config")
    from pipeline.metadata import sqlite_database
    from pipeline.runs import load_runs

    listed = []
    for path in paths:
        try:
            listed += load_runs(sqlite_database(os.path.abspath(path)))
        except UserError as error:
            if len(paths) == 1:
                raise
            click.echo(f"left out: {error}", err=True)
    return listed


def _find_run(runs: list[Run], wanted: str) -> Run:
    found = [run for run in runs if run.run_id.startswith(wanted)]
    if len(found) != 1:
        raise UserError(
            f"{'no run' if not found else 'more than one run'} begins with {wanted}; `segpipe runs` lists them"
        )
    return found[0]


@cli.command()
@_RUNS_OPTION
@_SET_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with everything that is known.")
@_server_options
def runs(
    config_path: str | None, overrides: tuple[str, ...], as_json: bool, host: str | None, namespace: str | None
) -> None:
    """List the runs of a pipeline, or of all pipelines in output/, oldest first; with --host, those on that server."""
    from rich.console import Console
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
            _iou(item.mean_iou),
            " ".join(f"{name} {_iou(value)}" for name, value in item.class_iou.items()),
            str(item.pushed_version or ""),
            f"{sum(component.seconds for component in item.components):.0f}",
            "; ".join(item.reasons),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _print_server_runs(
    host: str, namespace: str | None, config_path: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    from rich.console import Console
    from rich.table import Table

    from pipeline.config import load_config

    name = load_config(config_path, overrides).name if config_path else None
    listed = _server(host, namespace).list_runs(name)
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
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@cli.command()
@_RUNS_OPTION
@_SET_OPTION
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@click.argument("run_id", metavar="[RUN]", required=False)
def report(config_path: str | None, overrides: tuple[str, ...], open_it: bool, run_id: str | None) -> None:
    """Print where the HTML report of a run is.

    RUN is the beginning of a run's name, as `segpipe runs` lists them; without it, the newest run that has a report.
    """
    _quiet()
    listed = _load_runs(config_path, overrides)
    if run_id is None:
        with_report = sorted((run for run in listed if run.report), key=lambda run: run.run_id)
        if not with_report:
            raise UserError("no run has a report yet")
        found = with_report[-1]
    else:
        found = _find_run(listed, run_id)
    if not found.report:
        raise UserError(f"run {found.run_id} has no report: it is {found.state}")
    if not exists(found.report):
        raise UserError(f"the report of run {found.run_id} was removed; it was {found.report}")
    click.echo(_relative(found.report))
    if open_it and is_remote(found.report):
        raise UserError("it is not on this machine; copy it to look at it")
    if open_it and click.launch(found.report):
        raise UserError("no browser could be started")


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@_SET_OPTION
@click.argument("version", metavar="[VERSION]", type=click.IntRange(0), required=False)
def rollback(config_path: str, overrides: tuple[str, ...], version: int | None) -> None:
    """Deploy an earlier version at once; without VERSION, the one before the deployed one.

    The versions that are newer are moved aside, where servers do not look, and the next runs do not push them again.
    With the number of one of them, it comes back.
    """
    from pipeline.config import load_config

    destination = load_config(config_path, overrides).push_destination
    _quiet()
    from components.versions import roll_back

    before, now = roll_back(destination, version)
    click.echo(
        f"Version {now} is deployed in the place of version {before}: {_relative(os.path.join(destination, str(now)))}"
    )


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@_SET_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with everything that is known.")
def history(config_path: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """List the versions that were pushed, oldest first: from which runs and data, how good, what each replaced."""
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    _quiet()
    from rich.console import Console
    from rich.table import Table

    from pipeline.history import load_history

    listed = load_history(config)
    if as_json:
        for item in listed:
            click.echo(json.dumps(dataclasses.asdict(item)))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "state", "run", "mean IoU", "replaced", "data", "rolled back"):
        table.add_column(column, justify="right" if column == "mean IoU" else "left", overflow="fold")
    for item in listed:
        table.add_row(
            str(item.version),
            item.state,
            item.run_id or "unknown",
            _iou(item.mean_iou),
            str(item.replaced or ""),
            ", ".join(map(_relative, item.data)),
            "; ".join(f"{event['time']} by {event['by']}, to {event['to']}" for event in item.rollbacks),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@cli.command(no_args_is_help=True)
@_RUNS_OPTION
@_SET_OPTION
@click.option("--html", "html_path", metavar="FILE", help="Write the comparison as HTML, too.")
@click.argument("run_ids", metavar="RUN RUN…", nargs=-1, required=True)
def compare(
    config_path: str | None, overrides: tuple[str, ...], html_path: str | None, run_ids: tuple[str, ...]
) -> None:
    """Put runs side by side: what was configured differently, and what came of it.

    RUN is the beginning of a run's name, as `segpipe runs` lists them.
    """
    if len(run_ids) < 2:
        raise UserError("compare takes two runs or more; `segpipe runs` lists them")
    listed = _load_runs(config_path, overrides)
    from pipeline.comparison import compare_runs

    chosen = [_find_run(listed, run_id) for run_id in run_ids]
    _print_sections("Comparison of runs", {run.run_id: run.report for run in chosen}, compare_runs(chosen), html_path)


def _print_sections(
    title: str, columns: dict[str, str | None], sections: dict[str, list[Row]], html_path: str | None
) -> None:
    from rich.console import Console

    from pipeline.sections import to_html, to_table

    Console(width=None if sys.stdout.isatty() else 200).print(to_table(list(columns), sections))
    if html_path:
        with open(html_path, "w", encoding="utf-8") as file:
            file.write(to_html(title, columns, sections))
        click.echo(f"Written to {html_path}")


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@_SET_OPTION
@click.option(
    "--keep", type=click.IntRange(1), required=True, metavar="N", help="How many of the newest runs and versions stay."
)
@click.option("--yes", is_flag=True, help="Delete; without it, only show what would go.")
def clean(config_path: str, overrides: tuple[str, ...], keep: int, yes: bool) -> None:
    """Delete what old runs left: artifacts, pushed versions, checkpoints and logs.

    The newest N runs and the newest N versions stay, the deployed one among them, with everything that they were made
    of. Without --yes nothing is deleted.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    _quiet()
    from pipeline.retention import clean as run_clean

    leftovers = run_clean(config, keep, is_dry_run=not yes)
    for item in leftovers:
        click.echo(f"{item.size / 1e6:10.2f} MB  {_relative(item.path)}  ({item.reason})")
    total = sum(item.size for item in leftovers) / 1e6
    verdict = "deleted" if yes else "would be deleted; --yes deletes"
    if leftovers:
        click.echo(f"{len(leftovers)} folders and files, {total:.1f} MB, {verdict}")
    else:
        click.echo("There is nothing to delete.")


@cli.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@_SET_OPTION
@click.option("--html", "html_path", metavar="FILE", help="Write it as HTML, too.")
@click.argument("version", metavar="VERSION", type=click.IntRange(0))
def lineage(config_path: str, overrides: tuple[str, ...], html_path: str | None, version: int) -> None:
    """Tell what a pushed version was made of: data, schema, configuration, code, packages, metrics."""
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    _quiet()
    from pipeline.lineage import trace

    found = trace(config, version)
    _print_sections(f"{config.name}, version {version}", {str(version): found.report}, found.sections, html_path)


@cli.command(no_args_is_help=True)
@click.option(
    "--model", required=True, metavar="DIR", help="A pushed version, or the push destination for the newest one."
)
@click.option("--output", required=True, metavar="DIR", help="Where masks and overlays go.")
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE…")
def predict(model: str, output: str, inputs: tuple[str, ...]) -> int:
    """Segment images: a mask of class ids and a coloured overlay for each, at its own size.

    IMAGE is a file, a folder for all images below it, a quoted pattern, or a TFRecord file of `segpipe convert` for all
    images in it. DIR/predictions.jsonl has a line for each image: class shares and confidence, or the error. A file
    that cannot be read is reported, the others are done all the same, and the exit code is 1.
    """
    if not is_remote(model) and not os.path.isdir(model):
        raise UserError(f"--model {model} is not a folder")
    click.echo("Loading TensorFlow …", err=True)
    _quiet()
    from pipeline.predict import find_inputs
    from pipeline.predict import predict as run_prediction

    files = find_inputs(list(inputs))
    total = "" if any(".tfrecord" in path for path in files) else f"/{len(files)}"
    bad = count = 0
    for count, prediction in enumerate(run_prediction(model, files, output), start=1):
        bad += prediction.error is not None
        outcome = prediction.error or ", ".join(
            f"{name} {share:.1%}" for name, share in prediction.class_shares.items() if share
        )
        click.echo(f"[{count}{total}] {prediction.image}: {outcome}", err=prediction.error is not None)
    click.echo(f"{count - bad} images written to {output}" + (f"; {bad} could not be used" if bad else ""))
    return EXIT_FAILED if bad else 0


@cli.command(no_args_is_help=True)
@click.option(
    "--model", required=True, metavar="DIR", help="The push destination, which is followed, or one version of a model."
)
@click.option("--name", default="segpipe", show_default=True, help="The model's name in the paths.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0 takes a free one.")
@click.option(
    "--poll-seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Between looks at DIR."
)
@click.option("--max-body-megabytes", type=click.FloatRange(0.001), default=32.0, show_default=True)
@click.option("--max-pixels", type=click.IntRange(1), default=25_000_000, show_default=True, help="Of an image.")
@click.option("--max-batch", type=click.IntRange(1), default=16, show_default=True, help="Images answered at once.")
@click.option("--max-waiting", type=click.IntRange(1), default=128, show_default=True, help="Requests; others get 503.")
@click.option("--receive-seconds", type=click.FloatRange(0.1), default=30.0, show_default=True, help="For a request.")
@click.option("--answer-seconds", type=click.FloatRange(0.1), default=60.0, show_default=True, help="For its answer.")
def serve(model: str, name: str, host: str, port: int, poll_seconds: float, **limits: Any) -> None:
    """Try a model: a page for people, and TF Serving's REST paths for programs.

    \b
      curl -d '{"instances": [{"b64": "'$(base64 -w0 photo.jpg)'"}]}' http://127.0.0.1:8501/v1/models/segpipe:predict

    A version that is pushed while the server runs takes over without losing a request; one that cannot be loaded is
    left out. /healthz and /metrics (Prometheus) tell how it goes. Ends with Ctrl-C or SIGTERM, after finishing what it
    has begun. For production use TF Serving itself; clients need no change.
    """
    if not is_remote(model) and not os.path.isdir(model):
        raise UserError(f"--model {model} is not a folder")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise UserError("--name takes letters, digits and . _ -")
    click.echo("Loading TensorFlow …", err=True)
    _quiet()
    import asyncio

    from components.model_server.loaded_model import Follower
    from components.model_server.server import Limits, ModelServer
    from components.model_server.server import serve as run_server

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("segpipe.model_server")
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    server = ModelServer(Follower(model, poll_seconds), name, Limits(**limits))
    shown = f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        click.echo(f"Serving version {server.follower.model.version} at http://{shown}:{port}/")

    asyncio.run(run_server(server, host, port, ready))


def _quiet() -> None:
    """Keeps TensorFlow's and Google's start-up messages from the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    # Beam's words on looking for credentials, among others.
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or record.name.startswith("segpipe"))
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("absl").setLevel(logging.ERROR)


def main() -> None:
    """Entry point of `segpipe`."""
    try:
        # Not click's own error handling: it exits with 2 for a wrong option, which here means "refused".
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = EXIT_FAILED
    except (UserError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        status = EXIT_FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        status = 130
    sys.exit(status or 0)


if __name__ == "__main__":
    main()
