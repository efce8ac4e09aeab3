"""Writes the configuration that is planned for a data set, for both commands that do: `init` and `plan`."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import exists, write_text
from pipeline.cli.common import program

if TYPE_CHECKING:
    from data.inspection.sample import Sample
    from data.label_map import LabelMap
    from pipeline.planning import Plan


def _finite(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("takes a number of minutes")
    return value


NAME_OPTION = click.option(
    "--name", metavar="NAME", help="Name of the pipeline and of its folders in output/  [default: the data's]"
)
MINUTES_OPTION = click.option(
    "--minutes",
    type=click.FloatRange(0, 1e6, min_open=True),
    callback=_finite,
    metavar="N",
    help="Minutes that training may take; they decide how large images can be  [default: 30, or fewer if enough]",
)


def config_option(also: str = "") -> Callable[[click.decorators.FC], click.decorators.FC]:
    """The option that names the file to write.

    Args:
      also: what else is said about it.
    """
    help_text = f"Configuration to write{also}."
    return click.option(
        "--config", "config_path", default="my_run.yaml", show_default=True, metavar="FILE", help=help_text
    )


def name_of(data: str, name: str | None) -> str:
    """The pipeline's name: as it was given, or after the folder of the data.

    Raises:
      UserError: if Kubeflow would not take it.
    """
    if name is None:
        base = os.path.basename(os.path.abspath(data)) if "://" not in data else data.rpartition("/")[2]
        return re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-").removesuffix("-tfrecords")[:100] or "my-run"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", name):
        raise UserError(f"--name {name}: takes lower-case letters, digits and -, such as my-run")
    return name


def check_free(path: str, overwrite: bool) -> None:
    """Raises a UserError if there is such a file, unless it may be replaced."""
    if exists(path) and not overwrite:
        raise UserError(f"{path} exists already; add --overwrite to replace it, or --config for another place")


def plan_run(counts: Mapping[str, int], sample: Sample, label_map: LabelMap, minutes: float | None) -> Plan:
    """Plans a run on this machine, and prints what was decided and why.

    Args:
      counts: images of each split.
      sample: what some of them look like.
      label_map: the classes.
      minutes: that training may take; None lets the plan decide.

    Raises:
      UserError: if nothing can be planned because nothing is labeled.
    """
    from pipeline.planning import DataFacts, make_plan, this_machine

    plan = make_plan(DataFacts.of_sample(counts, sample, label_map), this_machine(), minutes)
    click.echo(f"Planned for {plan.machine.words}:")
    for choice in plan.decided:
        click.echo(f"  {choice.in_yaml}: {choice.reason}")
    return plan


def write_plan(plan: Plan, name: str, tfrecords: str, config_path: str) -> None:
    """Writes the configuration of a plan.

    Args:
      plan: what was decided.
      name: the pipeline's.
      tfrecords: folder that the data is converted to.
      config_path: file to write.
    """
    write_text(config_path, plan.text(name, tfrecords))
    click.echo(f"Written: {config_path}, with the reasons for its values")


def show_next(commands: list[list[str]], plan: Plan) -> None:
    """Prints the commands that are left to do, and how long training takes in what was planned."""
    minutes = next(choice.value for choice in plan.choices if choice.key == "train.minutes")
    click.echo(f"\nTraining will take {minutes:g} minutes; --minutes plans for fewer or more. Next:")
    for command in commands:
        click.echo(f"  {shlex.join(command)}")


def run_command(config_path: str) -> list[str]:
    """The command that runs a configuration."""
    return [program(), "run", "--config", config_path]
