"""The command that plans a run for data that is converted."""

from __future__ import annotations

import click

from data.base.errors import UserError
from data.base.files import exists, is_folder, join
from pipeline.cli.common import in_command, program, quiet
from pipeline.cli.data_sets.proposing import (
    MINUTES_OPTION,
    NAME_OPTION,
    check_free,
    config_option,
    name_of,
    plan_run,
    run_command,
    show_next,
    write_plan,
)
from pipeline.cli.data_sets.recognized import progress


@click.command(no_args_is_help=True)
@click.argument("data")
@MINUTES_OPTION
@NAME_OPTION
@config_option()
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def plan(data: str, minutes: float | None, name: str | None, config_path: str, overwrite: bool) -> None:
    """Plan a run from the data and this machine, and write its configuration, with a reason beside each value.

    DATA is a folder of TFRecords with a labels.yaml, as `segpipe convert` and `segpipe init --convert` write it, or
    with {SPAN} in its path those of all spans. Some hundred images and masks are looked at, which takes seconds.

    \b
    What is decided, and from what:
      size of the input    the minutes, the speed of this machine, and the images' own size and shape
      resizing or patches  how wide each class's structures are, in pixels: poles, gaps, borders
      encoder              which ImageNet weights are on this machine
      batch size           memory, number of images
      loss, weights        shares of the classes
      augmentation, gate   gray or color, names of the classes, number of test images

    Plan on the machine that is to train. The plan is where to start: change in the file what you know better, such as
    flips of images that have no upside. `segpipe run --config FILE` takes it as it is.

    \b
    segpipe plan output/my_data_tfrecords
    segpipe plan output/my_data_tfrecords --minutes 120 --config longer.yaml
    """
    data = data.rstrip("/") or data
    name = name_of(_without_span(data), name)
    check_free(config_path, overwrite)
    _check_converted(data)
    quiet()
    click.echo("Loading TensorFlow …", err=True)
    from data.inspection.records import look_at_records

    counts, sample, label_map = look_at_records(data, progress())
    for path, reason in sample.unusable[:5]:
        click.echo(f"Cannot be used: an example in {path}: {reason}")
    planned = plan_run(counts, sample, label_map, minutes)
    write_plan(planned, name, data, config_path)
    show_next([run_command(config_path)], planned)


def _without_span(data: str) -> str:
    from data.spans import SPAN

    return data.partition(SPAN)[0].rstrip("/-_") or "my-run"


def _check_converted(data: str) -> None:
    """Raises a UserError that names the remedy if this is no folder that a run takes."""
    from data.contract import LABEL_MAP_FILE, SPLITS
    from data.input_files import find_input_files
    from data.spans import SPAN, find_spans

    folder = list(find_spans(data).values())[-1] if SPAN in data else data
    if not is_folder(folder):
        raise UserError(f"{folder} is not a folder; `segpipe init --convert` makes one from images and their labels")
    files = find_input_files(folder)
    missing = [split for split in SPLITS if not files.of_split[split]]
    if len(missing) == len(SPLITS):
        raise UserError(
            f"{folder} holds no TFRecords named {', '.join(f'{split}-*' for split in SPLITS)}. If it holds images and "
            f"their labels, `{program()} init --convert {in_command(folder)}` converts them, and plans too"
        )
    if missing and folder == data:
        raise UserError(
            f"{folder} holds no TFRecords named {', '.join(f'{split}-*' for split in missing)}; a run needs all three "
            "splits, and `segpipe convert` writes them"
        )
    if not exists(join(folder, LABEL_MAP_FILE)):
        raise UserError(f"{folder} holds no {LABEL_MAP_FILE}, which names the classes; README.md shows what is in it")
