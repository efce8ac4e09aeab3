"""The command that says which images to label next."""

from __future__ import annotations

import collections
import datetime
import os
import shlex
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError
from models.suggestions import SOURCES
from pipeline.cli.common import SET_OPTION, in_command, program, quiet
from pipeline.cli.models.progress import Progress, shown_name

if TYPE_CHECKING:
    from data.label_map import LabelMap
    from models.suggestions.candidates import Candidate, Place
    from pipeline.config import Config

# So many images that cannot be used are named.
_NAMED = 5


@click.command(no_args_is_help=True)
@click.option("--config", "config_path", required=True, metavar="FILE", help="YAML file of the runs.")
@SET_OPTION
@click.option(
    "--from",
    "sources",
    multiple=True,
    required=True,
    metavar="DIR",
    help="Images without labels: a folder, a quoted pattern, TFRecords, or what `serve --keep` has kept. May be "
    "repeated.",
)
@click.option("--count", type=click.IntRange(1), default=20, show_default=True, help="How many images to suggest.")
@click.option("--output", required=True, metavar="DIR", help="Folder to make for the labeling tool.")
@click.option(
    "--write",
    "form",
    type=click.Choice(list(SOURCES)),
    default="labelme",
    show_default=True,
    help="The tool, or its form, in which the model's masks are written.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="PIXELS",
    help="How far outlines may lie from the edges of the mask's pixels; 0 keeps each pixel.",
)
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True, help="Larger images are left out."
)
@click.option("--quiet", "is_quiet", is_flag=True, help="Print only what comes next, and errors.")
def suggest(
    config_path: str,
    overrides: tuple[str, ...],
    sources: tuple[str, ...],
    count: int,
    output: str,
    form: str,
    tolerance: float,
    max_pixels: int,
    is_quiet: bool,
) -> None:
    """Suggest which images to label next, with the deployed model's masks to correct.

    They are drawn from those that the model is least sure of, so that they are unlike each other (docs/loop.md). What
    is labeled already, by its name in data.input or as it looks like an image there, is not suggested, and neither are
    two images that look alike.

    \b
      segpipe suggest --config my_run.yaml --from kept/ --count 20 --output to_label
      segpipe suggest --config my_run.yaml --from photos/ --count 20 --output to_label --write cvat

    DIR/images/train has the images, DIR/suggestions.csv says why each was chosen. What comes next is printed: how the
    tool opens them, and the `segpipe convert --span` that brings the labels into the train split.

    Images that cannot be used are named and left out; it is an error if there is none to suggest.
    """
    from data.writing.folders import check_empty

    check_empty(output)
    progress = Progress(is_quiet)
    progress.tell("Loading TensorFlow …")
    quiet()
    from pipeline.config import load_config

    config = load_config(config_path, overrides)
    labeled_paths = config.data.labeled_files()
    from models.serving.inputs import find_inputs
    from models.serving.loaded_model import load_model
    from models.serving.versions import model_folder
    from models.suggestions.candidates import Viewer, images_at, plain_name
    from models.suggestions.choice import choose
    from models.suggestions.folder import Suggestion, write

    folder = model_folder(config.push_destination)
    model = load_model(folder)
    found = find_inputs(list(sources), output)
    files = {path: name for path, name in found.files.items() if not os.path.basename(path).startswith(".")}
    viewer = Viewer(folder)
    left_out: collections.Counter[str] = collections.Counter()

    def leave_out(place: Place, reason: str) -> None:
        left_out[reason] += 1
        if sum(left_out.values()) <= _NAMED:
            progress.warn(f"{shown_name(place.label)} is left out: {reason}")

    candidates: list[Candidate] = []
    with progress.of(None):
        labeled = viewer.labeled(labeled_paths, progress.done)
        for one in viewer.candidates(images_at(files, max_pixels), leave_out, progress.done):
            if plain_name(one.place.name) in labeled.names:
                left_out["an image of this name is labeled already"] += 1
            else:
                candidates.append(one)
    import numpy as np

    from data.near_duplicates import pack

    uncertainty = np.array([one.uncertainty for one in candidates])
    choice = choose(
        uncertainty,
        np.array([one.embedding for one in candidates]).reshape(len(candidates), viewer.dimensions),
        pack(one.hash for one in candidates),
        pack(labeled.hashes),
        count,
    )
    left_out["it looks like an image that is labeled already"] += choice.labeled
    left_out["it looks like another one that is suggested"] += choice.alike
    if not is_quiet:
        for reason, number in (+left_out).items():
            click.echo(f"left out: {number} ({reason})")
    if not choice.chosen:
        raise UserError(f"{', '.join(sources)}: there is no image to suggest")
    suggestions = [Suggestion(candidates[i], float((uncertainty < uncertainty[i]).mean())) for i in choice.chosen]
    write(model, suggestions, output, form, tolerance, max_pixels)
    click.echo(f"{len(suggestions)} of {len(candidates)} images are in {output}, and why in suggestions.csv there.")
    for line in next_steps(config, config_path, model.label_map, output, form):
        click.echo(line)


def next_steps(config: Config, config_path: str, label_map: LabelMap, output: str, form: str) -> list[str]:
    """Lines that say how the tool opens the images, and how labels come back.

    Args:
      config: of the runs.
      config_path: its file.
      label_map: the model's.
      output: the folder with the suggestions.
      form: the tool's.
    """
    from data.spans import SPAN
    from models.suggestions.folder import IMAGES

    images, written = os.path.join(output, IMAGES), os.path.join(output, f"annotations_{form}")
    into = os.path.join(output, "images")
    back = f"and put the file that it exports into {into}."
    lines = {
        "labelme": [
            "Correct them:",
            f"  labelme {in_command(images)} --labels {in_command(os.path.join(into, 'labels.txt'))}",
        ],
        "cvat": [
            f"Make a task of {images} in CVAT, upload {written}/annotations.xml as CVAT 1.1, correct the masks,",
            f"export the task as CVAT for images 1.1, {back}",
        ],
        "coco": [
            f"Upload {images} to the tool, and {written}/annotations.json as annotations in COCO's form,",
            f"correct them, {back}",
        ],
        "label-studio": [
            f"Make a project in Label Studio, with {images} as its local files, whose labeling interface is",
            f"{into}/label_config.xml; import {written}/tasks.json, submit each task, {back}",
        ],
        "yolo": [f"Correct the polygons in {os.path.join(output, 'labels')} with a tool that opens YOLO's data sets."],
    }[form]
    destination = config.data.input
    if SPAN not in destination:
        lines += [
            f"What comes back is a span of its own: move {destination} to {destination}/1 first, and in {config_path}",
            f"write  data: {{input: {destination}/{SPAN}}}  (docs/retraining.md).",
        ]
        destination, span = f"{destination}/{SPAN}", next_span([1])
    else:
        from data.spans import find_spans

        span = next_span(list(find_spans(destination)))
    source = in_command(os.path.join(output, SOURCES[form]).rstrip(os.sep))
    return [
        *lines,
        "Bring the labels back, into the train split:",
        f"  {program()} convert --format {form} --span {span} {_class_options(label_map)} {source} "
        f"{in_command(destination.removesuffix(f'/{SPAN}'))}",
        "And train on all:",
        f"  {program()} retrain --config {in_command(config_path)}",
    ]


def _class_options(label_map: LabelMap) -> str:
    """Options with which labels have the classes of the model, in their order, though some may not occur."""
    import yaml

    from data.annotations.classes import is_background

    # As YAML's inner lists, which --classes takes.
    names = yaml.safe_dump(list(label_map.names), default_flow_style=True, allow_unicode=True, width=2**31)
    options = f"--classes {shlex.quote(names.strip()[1:-1])}"
    if any(map(is_background, label_map.names)):
        return options
    return f"{options} --others ignore --uncovered ignore"


def next_span(spans: list[int]) -> int:
    """A number above those of all spans; today's date, unless they are no dates."""
    newest = max(spans)
    today = int(f"{datetime.date.today():%Y%m%d}")
    return max(today, newest + 1) if newest > 19700101 else newest + 1
