"""The command that looks for wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from data.base.files import exists, join, write_text
from pipeline.cli.common import SET_OPTION, in_command, plain_console, program, quiet, relative

if TYPE_CHECKING:
    from models.auditing.audit import Finding
    from models.auditing.judges import Judges

# Lines of the table on the terminal.
_LISTED = 10
_HOW_TO = "Remove the # before the name of an image to leave it out with `segpipe convert --exclude`."
_PAGE, _TABLE, _EXCLUSIONS = "index.html", "audit.csv", "exclude.txt"


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.option(
    "--top",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    metavar="N",
    help="How many of the labels the page shows with pictures and exclude.txt proposes.",
)
@click.option(
    "--output",
    "folder",
    metavar="DIR",
    help="Folder for the page and the lists.  [default: audit/ in the output folder]",
)
def audit(config_path: str, overrides: tuple[str, ...], top: int, folder: str | None) -> None:
    """Look for wrong labels: those that the deployed model and its confidence contradict, worst first.

    \b
      segpipe audit --config my_run.yaml
      segpipe convert … --exclude output/my_run/audit/exclude.txt --overwrite

    All labels of data.input are judged, in train, eval and test, at each image's own size. DIR/index.html shows the
    worst with image, label and prediction, DIR/audit.csv lists all, and DIR/exclude.txt proposes the worst for `segpipe
    convert --exclude`: it excludes nothing until a person has looked and removed the # before a name. Names whose # was
    removed before stay.

    A model trained with train.folds judges each image of train and eval by the network that has not learned from it;
    any other has learned from the labels of train, wrong ones too.
    """
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    files, label_map = config.data.files_by_split(), config.load_label_map()
    quiet()
    from models.serving.versions import deployed_version, version_path

    version = deployed_version(config.push_destination)
    if version is None:
        raise UserError(
            f"no model is deployed at {config.push_destination}, and one has to judge the labels: "
            f"`{program()} run --config {in_command(config_path)}` trains one"
        )
    click.echo("Loading TensorFlow …", err=True)
    from data.exclusions import proposed_exclusions, read_exclusions
    from models.auditing.audit import audit as run_audit
    from models.auditing.audit import to_csv
    from models.auditing.judges import Judges
    from pipeline.cli.models.progress import Progress
    from pipeline.records.pages.audit import render
    from pipeline.records.pages.overview import write_overview

    judges = Judges(version_path(config.push_destination, version))
    if judges.label_map.names != label_map.names:
        raise UserError(
            f"version {version} tells apart {', '.join(judges.label_map.names)}, and the labels "
            f"{', '.join(label_map.names)}: train a model on these first"
        )
    progress = Progress(is_quiet=False)
    with progress.of(None):
        found = run_audit(judges, files, top, progress.done)
    if not found.findings:
        reason = found.unusable[0][1] if found.unusable else "it holds no example"
        raise UserError(f"no label in {config.data.input} can be judged: {reason}")
    folder = folder or join(config.output, "audit")
    # What a person has chosen must not come back with the next conversion.
    chosen = join(folder, _EXCLUSIONS)
    excluded = read_exclusions(chosen) if exists(chosen) else []
    page = render(config.name, version, judges, found)
    worst = found.findings[:top]
    write_text(join(folder, _TABLE), to_csv(found.findings, label_map))
    write_text(chosen, proposed_exclusions([one.image for one in worst], excluded, [_HOW_TO]))
    write_text(join(folder, _PAGE), page)
    write_overview(config)  # It has a link to the page.
    _print(worst, judges, found.unusable)
    click.echo(f"Page: {relative(join(folder, _PAGE))}")
    click.echo(f"All labels: {relative(join(folder, _TABLE))}")
    click.echo(
        f"Correct these labels in your tool, or remove the # before the names to leave out in {relative(chosen)}. Then "
        f"convert again as before, with --overwrite and --exclude {in_command(relative(chosen))}"
    )


def _print(worst: Sequence[Finding], judges: Judges, unusable: Sequence[tuple[str, str]]) -> None:
    """The worst as a table, and what must be known of them."""
    from rich.table import Table

    from models.auditing.audit import in_words, who_judged

    table = Table(box=None, pad_edge=False)
    for column in ("image", "split", "score", "why"):
        table.add_column(column, overflow="fold")
    for one in worst[:_LISTED]:
        table.add_row(one.image, one.split, f"{one.contradiction.score:.3f}", in_words(one, judges.label_map))
    plain_console().print(table)
    click.echo(who_judged(judges))
    for image, reason in unusable:
        click.echo(f"not judged: {image}: {reason}", err=True)
    if in_test := sum(one.split == "test" for one in worst):
        click.secho(
            f"Warning: test has {in_test} of the worst {len(worst)}, and its labels decide the gate: look at these "
            "first. Once they are corrected or left out, figures cannot be compared with those before.",
            err=True,
            bold=True,
        )
