"""What several commands share."""

from __future__ import annotations

import logging
import math
import os
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import is_remote
from data.base.links import without_link

if TYPE_CHECKING:
    from rich.console import Console

    from models.evaluation.gate import Best
    from pipeline.records.runs import Run


# For what opens files to say that it cannot.
_OPENING_SECONDS = 10.0
EXIT_FAILED = 1
EXIT_REFUSED = 2

SET_OPTION = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the file, such as train.epochs=10. May be repeated.",
)


MODEL_OPTION = click.option(
    "--model",
    required=True,
    metavar="DIR",
    help="A push destination, for its deployed version, or a single version.",
)


def check_model(model: str) -> None:
    """Raises a UserError if what `--model` names is not there."""
    if not is_remote(model) and not os.path.isdir(model):
        raise UserError(f"--model {model} is not a folder")


def format_iou(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def program() -> str:
    """How to call segpipe again: by name where the PATH has it, else as it was called."""
    return "segpipe" if shutil.which("segpipe") else in_command(relative(sys.argv[0]))


def relative(path: str) -> str:
    """A path as people see it: from the current folder, where it is below it."""
    path = without_link(path)
    relative = os.path.relpath(path)
    return path if is_remote(path) or relative.startswith("..") else relative


def in_command(path: str) -> str:
    """A path as an argument of a command for a shell."""
    return shlex.quote(os.path.join(os.curdir, path) if path.startswith("-") else path)


def open_in_browser(path: str) -> None:
    """Opens a file as the desktop does, without that program's own words.

    Raises:
      UserError: if that cannot be done.
    """
    command = "open" if sys.platform == "darwin" else "xdg-open"
    reason = f"{command} is not installed"
    try:
        opening = subprocess.Popen(
            [command, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        reason = f"{command} failed" if opening.wait(_OPENING_SECONDS) else ""
    except OSError:
        pass
    except subprocess.TimeoutExpired:  # Without a desktop, it runs the browser itself until that is closed.
        return
    if reason:
        raise UserError(f"no browser can be started here ({reason}); open {path} with one")


def plain_console() -> Console:
    """Where tables go: what they show is shown as it is, though it may look like rich's own markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    return Console(width=width, markup=False, emoji=False, highlight=False)


def _compared_with(result: Run, is_there: bool) -> str:
    """The version that the gate compared a model with, and whether that is deployed."""
    version = result.baseline_version
    if not is_there:
        return f"Deployed model (version {version})"
    if version == result.pushed_version:
        return f"Deployed model (version {version}, which is this one)"
    return f"Version {version}, which it replaced"


def _best(best: Best) -> list[str]:
    """The version that the gate compares with beside the deployed one, and those that it cannot compare with."""
    lines = ["No other version was measured on this test split (gate.against: best)."]
    if best.value is not None:
        lines = [f"Best of the last versions on this test split (version {best.version}): {format_iou(best.value)}"]
    if best.left_out:
        numbers = ", ".join(map(str, best.left_out))
        lines.append(f"  Not compared, as measured on other test data or at another size, or not at all: {numbers}")
    return lines


def _measured(result: Run, is_there: bool) -> list[str]:
    """The metric by which models of the task are compared, and mean IoU if that is another one.

    Args:
      result: the run.
      is_there: whether its model is deployed.
    """
    from models.evaluation.metric_table import METRICS, of_classes
    from models.evaluation.settings import WATCHED
    from models.exports.exports import SAVED_MODEL

    watched = WATCHED[result.configuration.get("task", "semantic")]
    by_class = result.class_iou
    if watched != "mean_iou":
        has_objects = of_classes("class_ap", result.metrics)
        by_class = {
            name: value
            for name, value in of_classes("class_pq", result.metrics).items()
            if watched == "pq" or has_objects.get(name) is not None
        }
    classes = ", ".join(f"{name} {format_iou(value)}" for name, value in by_class.items())
    size = "each image's own size" if result.resolution == "original" else "the model's size"
    ends = [end for name in ("lower", "upper") if (end := result.metrics.get(f"{watched}_{name}")) is not None]
    words = METRICS[watched].words
    deployed = (result.baseline_metrics or {}).get(watched)
    lines = [
        f"{words[0].upper()}{words[1:]} on the test split, at {size}: {format_iou(result.metrics.get(watched))} "
        f"({classes})",
        f"  95 % confidence interval over images: {' to '.join(map(format_iou, ends)) or 'none'}",
    ]
    if watched != "mean_iou":
        classes = ", ".join(f"{name} {format_iou(value)}" for name, value in result.class_iou.items())
        lines.append(f"  Mean IoU of the classes: {format_iou(result.mean_iou)} ({classes})")
    if deployed is not None:
        lines.append(f"{_compared_with(result, is_there)}: {format_iou(deployed)}")
    else:
        verb = "was" if is_there else "is"
        lines.append(f"There {verb} no deployed model with this task and these classes to compare with.")
    if result.best is not None:
        lines += _best(result.best)
    if result.newest_span is not None:
        deployed = result.newest_baseline_mean_iou
        against = "" if deployed is None else f" (version {result.baseline_version}: {format_iou(deployed)})"
        what = "On" if watched == "mean_iou" else "Mean IoU on"
        lines.append(
            f"{what} the test split of the newest span, {result.newest_span}: "
            f"{format_iou(result.newest_mean_iou)}{against}"
        )
    if result.exports:
        found = {name: format_iou(item.mean_iou) for name, item in result.exports.items()}
        reference = found.pop(SAVED_MODEL)
        shown = ", ".join(f"{name} {value}" for name, value in found.items())
        lines.append(f"Exports, mean IoU at the model's size: {shown} (the SavedModel: {reference})")
    return lines


def print_summary(console: Console, result: Run, config_path: str = "FILE", overrides: Sequence[str] = ()) -> None:
    from models.serving.versions import deployed_version

    version, path = result.pushed_version, str(result.pushed_path)
    is_deployed = version is not None and version == deployed_version(os.path.dirname(path))
    lines = _measured(result, is_deployed)
    if version is None:
        lines += ["The model was not pushed:", *(f"  {reason}" for reason in result.reasons)]
        lines += _how_to_begin(result, config_path, overrides)
    elif is_deployed:
        verdict = "Pushed" if result.state == "pushed" else "Nothing new; the model is deployed already"
        lines += [
            f"{verdict} as version {version}: {relative(path)}",
            "Predict with it:",
            f"  {program()} predict --model {in_command(relative(os.path.dirname(path)))} IMAGE… --output predictions",
        ]
    elif result.state == "pushed":
        lines.append(f"Pushed as version {version}.")
    else:
        lines.append("Nothing new.")
    lines += what_became_of(result, config_path)
    if result.report:
        lines.append(f"Report: {relative(result.report)}")
    console.print("\n".join(["", *lines]), highlight=False, markup=False, emoji=False, soft_wrap=True)


def _how_to_begin(result: Run, config_path: str, overrides: Sequence[str]) -> list[str]:
    """What to do about a first model that mean IoU alone keeps from being deployed."""
    from models.evaluation.gate import MIN_MEAN_IOU_KEY

    refused = [check for check in result.checks if not check.passed]
    if result.baseline_version or len(result.reasons) != 1 or [one.key for one in refused] != [MIN_MEAN_IOU_KEY]:
        return []
    value = refused[0].value
    if value is None:
        return []
    # What was measured passes, rounded down.
    bound = math.floor(value * 100) / 100
    # As the run was called; the last of several values counts.
    settings = [f"--set {in_command(item)}" for item in (*overrides, f"{MIN_MEAN_IOU_KEY}={bound:g}")]
    return [
        "Nothing to compare with is deployed, so a lower threshold may do. To deploy it, without training again:",
        f"  {program()} run --config {in_command(config_path)} {' '.join(settings)}",
        "For a better one, train longer (train.minutes) or with more images; the report shows where it is wrong.",
    ]


def what_became_of(run: Run, config_path: str) -> list[str]:
    """Where the model of a run is if it was pushed and is not deployed any more, and how to deploy it again."""
    from models.serving.versions import deployed_version, rolled_back, rolled_back_path, servable_versions

    version = run.pushed_version
    destination = os.path.dirname(str(run.pushed_path))
    deployed = deployed_version(destination) if version is not None else None
    if version is None or version == deployed:
        return []
    instead = "no version is deployed now" if deployed is None else f"version {deployed} is deployed now"
    if version in servable_versions(destination):
        where = f"is still there, {relative(str(run.pushed_path))}"
    elif version in rolled_back(destination):
        where = f"was rolled back, to {relative(rolled_back_path(destination, version))}"
    else:
        return [f"Its model was version {version}, which was removed from {relative(destination)}; {instead}."]
    return [
        f"Its model, version {version}, {where}; {instead}. To deploy it again:",
        f"  {program()} rollback --config {in_command(config_path)} {version}",
    ]


def quiet() -> None:
    """Keeps TensorFlow's and Google's start-up messages from the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    # Beam's words on looking for credentials, among others.
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or record.name.startswith("segpipe"))
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("absl").setLevel(logging.ERROR)
