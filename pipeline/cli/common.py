"""What several commands share."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import is_remote
from data.base.links import without_link

if TYPE_CHECKING:
    from rich.console import Console

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


def _measured(result: Run) -> list[str]:
    """The metric by which models of the task are compared, and mean IoU if that is another one."""
    from models.evaluation.metric_table import METRICS, of_classes
    from models.evaluation.settings import WATCHED

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
    deployed = result.baseline_mean_iou
    lines = [
        f"{words[0].upper()}{words[1:]} on the test split, at {size}: {format_iou(result.metrics.get(watched))} "
        f"({classes})",
        f"  95 % confidence interval over images: {' to '.join(map(format_iou, ends)) or 'none'}",
    ]
    if watched != "mean_iou":
        classes = ", ".join(f"{name} {format_iou(value)}" for name, value in result.class_iou.items())
        lines.append(f"  Mean IoU of the classes: {format_iou(result.mean_iou)} ({classes})")
        deployed = next((check.deployed for check in result.checks if check.key == "gate.regression"), None)
    if deployed is not None:
        lines.append(f"Deployed model (version {result.baseline_version}): {format_iou(deployed)}")
    else:
        lines.append("There is no deployed model with this task and these classes to compare with.")
    if result.newest_span is not None:
        deployed = result.newest_baseline_mean_iou
        against = "" if deployed is None else f" (deployed: {format_iou(deployed)})"
        what = "On" if watched == "mean_iou" else "Mean IoU on"
        lines.append(
            f"{what} the test split of the newest span, {result.newest_span}: "
            f"{format_iou(result.newest_mean_iou)}{against}"
        )
    return lines


def print_summary(console: Console, result: Run) -> None:
    from models.serving.versions import rolled_back, servable_versions

    lines = _measured(result)
    if result.state == "refused":
        lines += ["The model was not pushed:", *(f"  {reason}" for reason in result.reasons)]
    else:
        destination = os.path.dirname(str(result.pushed_path))
        is_there = result.pushed_version in servable_versions(destination)
        verdict = "Pushed"
        if result.state == "unchanged":
            fate = "was deployed, and later removed,"
            if is_there:
                fate = "is deployed already"
            elif result.pushed_version in rolled_back(destination):
                fate = "was deployed, and later rolled back,"
            verdict = f"Nothing new; the model {fate}"
        lines += [
            f"{verdict} as version {result.pushed_version}: {relative(str(result.pushed_path))}",
        ]
        if is_there:
            folder = in_command(relative(destination))
            lines += ["Predict with it:", f"  {program()} predict --model {folder} IMAGE… --output predictions"]
    if result.report:
        lines.append(f"Report: {relative(result.report)}")
    console.print("\n".join(["", *lines]), highlight=False, markup=False, emoji=False, soft_wrap=True)


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
