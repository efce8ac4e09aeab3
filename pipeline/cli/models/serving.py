"""Commands that use a model: `predict` and `serve`."""

from __future__ import annotations

import collections
import logging
import re
from typing import TYPE_CHECKING, Any

import click

from data.base.errors import UserError
from data.writing import WRITERS
from models.exports import FORMATS, SAVED_MODEL
from pipeline.cli.common import EXIT_FAILED, MODEL_OPTION, check_model, quiet
from pipeline.cli.models.progress import Progress, shown_name

if TYPE_CHECKING:
    from models.serving.volumes.measures import Measures


RUNTIME_OPTION = click.option(
    "--runtime",
    type=click.Choice(["auto", SAVED_MODEL, *FORMATS]),
    default="auto",
    show_default=True,
    help="What the network runs as: the SavedModel in TensorFlow, or one of the exports that the version holds; auto "
    "takes the fastest of those in floats on this machine.",
)


@click.command(no_args_is_help=True)
@MODEL_OPTION
@RUNTIME_OPTION
@click.option("--output", required=True, metavar="DIR", help="Folder for masks and overlays.")
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=100_000_000,
    show_default=True,
    help="Largest image; it takes about 15 bytes of memory a pixel.",
)
@click.option(
    "--write",
    "formats",
    multiple=True,
    type=click.Choice(list(WRITERS)),
    help="Annotations for a labeling tool as well, in DIR/annotations_FORMAT. May be repeated.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="PIXELS",
    help="How far outlines in annotations may lie from the edges of the mask's pixels; 0 keeps each pixel.",
)
@click.option("--polygons", is_flag=True, help="Of scenes, a GeoPackage with the polygons of each class as well.")
@click.option("--frames", is_flag=True, help="Of videos, the mask of each frame as well.")
@click.option(
    "--masks",
    metavar="DIR",
    help="Masks that people made of the volumes, called as these: predictions are measured by them. For a single "
    "volume, it may be the file.",
)
@click.option(
    "--labels",
    metavar="FILE",
    help="Which values of these masks are which class, as for `segpipe convert`; by default, values are class ids.",
)
@click.option("--quiet", "is_quiet", is_flag=True, help="Print errors only, and with --masks the means.")
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE…")
def predict(
    model: str,
    runtime: str,
    output: str,
    max_pixels: int,
    formats: tuple[str, ...],
    tolerance: float,
    polygons: bool,
    frames: bool,
    masks: str | None,
    labels: str | None,
    is_quiet: bool,
    inputs: tuple[str, ...],
) -> int:
    """Segment images: write a mask of class ids and a colored overlay for each, at its own size.

    IMAGE is a file, a folder (all images below it), a quoted pattern, or a TFRecord file from `segpipe convert` (all
    images in it). A name that exists is never taken for a pattern. It may also be a volume: a NIfTI file, a folder with
    the files of a DICOM series, or a TIFF with several pages; or a video, which is not looked for in folders.

    \b
      segpipe predict --model output/my_run/serving --output predictions photo.jpg
      segpipe predict --model output/my_run/serving --output predictions 'photos/**/*.png' more_photos/

    photo.jpg becomes DIR/photo_mask.png and DIR/photo_overlay.png; below a folder, results lie as the images do. Where
    several images would share a name, it keeps the suffix (photo.jpg_mask.png) and, if need be, folders. Nothing is
    overwritten but earlier results, and no result is taken for an image, unless it is given by name.

    A volume scan.nii.gz, or a DICOM series in the folder scan, becomes DIR/scan_mask.nii.gz with its affine and shape,
    a stack of pages DIR/scan_mask.tif; the model's slices, spacing and neighbors are those that it learned from.

    With --masks, volumes are compared with masks of people, voxel by voxel: Dice, IoU and the 95th percentile of the
    distance between surfaces in millimeters, by class, in DIR/predictions.jsonl, and their means over the volumes at
    the end (docs/volumes.md). Names of masks may have a prefix or a suffix, such as _seg, in common.

    \b
      segpipe predict --model output/my_run/serving --output predictions scans/ --masks masks/

    With --write, people correct the predictions in a labeling tool instead of drawing (docs/serving.md says how each
    tool imports them). DIR/annotations_FORMAT must not exist, since it may hold corrections.

    A model that tells objects apart writes DIR/photo_instances.png as well, 16 bits with the number of each pixel's
    object, and draws edges of objects in white. Results in COCO's forms are in DIR/objects_coco.json (a list of
    objects with scores) and in DIR/objects_panoptic.json with the pictures DIR/photo_panoptic.png.

    Of a scene, a GeoTIFF with a CRS, it writes DIR/scene_mask.tif alone: a GeoTIFF on the same ground, with the label
    map's colors and 255, its nodata value, where the scene has no data; with --polygons DIR/scene_polygons.gpkg as
    well. Scenes may have any size, since they are read window by window (docs/scenes.md).

    A video clip.mov becomes DIR/clip_overlay.mp4, upright, in its own times and without sound; with --frames there is
    DIR/clip_000001_mask.png for its first frame, and so on (docs/serving.md).

    DIR/predictions.jsonl has a line for each image: class shares and confidence, or the error. A file that cannot be
    used is reported and the others are still predicted; the exit code is then 1, and else 0.
    """
    check_model(model)
    if labels and not masks:
        raise UserError("--labels says what the values of --masks mean; give the masks too")
    from data.writing.folders import check_free, folder_of

    check_free(output, formats)
    progress = Progress(is_quiet)
    progress.tell("Loading TensorFlow …")
    quiet()
    from models.serving.inputs import find_inputs
    from models.serving.predict import predict as run_prediction

    found = find_inputs(list(inputs), output)
    if found.left_out:
        count = len(found.left_out)
        progress.tell(f"{count} results of predict, or files in its output folder, are not taken for images")
    paired = {}
    if masks:
        from models.serving.volumes.masks import find_masks

        of_people = find_masks(found.files, masks)
        paired = of_people.paths
        for remark in of_people.remarks:
            progress.warn(shown_name(remark))
    total = None if any(".tfrecord" in path for path in found.files) else len(found.files)
    bad = good = unfit = 0
    shares: collections.Counter[str] = collections.Counter()
    objects: collections.Counter[str] = collections.Counter()
    measured: list[Measures] = []
    predictions = run_prediction(
        model,
        found.files,
        output,
        max_pixels,
        progress.show,
        formats,
        tolerance,
        polygons,
        paired,
        labels or "",
        frames,
        runtime,
        progress.tell,
    )
    with progress.of(total):
        for number, prediction in enumerate(predictions, start=1):
            progress.done(number)
            if prediction.error is not None:
                bad += 1
                place = f"{number}/{total}" if total else number
                progress.warn(f"[{place}] {shown_name(prediction.image)}: {prediction.error}")
                continue
            good += 1
            shares.update(prediction.class_shares)
            objects.update(prediction.object_counts or {})
            measured += [prediction.measures] if prediction.measures else []
            if prediction.measures_error:
                unfit += 1
                progress.warn(f"{shown_name(prediction.image)} is not measured: {prediction.measures_error}")
    if not is_quiet:
        if found_objects := [f"{count} of {name}" for name, count in objects.items() if count]:
            click.echo(f"Objects: {', '.join(found_objects)}")
        if of_classes := [f"{name} {share / good:.1%}" for name, share in shares.items() if share]:
            click.echo(f"Classes{', mean over the images' if good > 1 else ''}: {', '.join(of_classes)}")
        unusable = f"; {bad} could not be used" if bad else ""
        click.echo(f"{good} image{'' if good == 1 else 's'} written to {output}{unusable}")
        for name in dict.fromkeys(formats):
            click.echo(f"Annotations for {name} are in {folder_of(output, name)}")
    _echo_means(measured)
    return EXIT_FAILED if bad or unfit else 0


def _echo_means(measured: list[Measures]) -> None:
    """Prints the means over volumes, a line for each class."""
    from models.serving.volumes.measures import DICE, DISTANCE, IOU, means

    if measured:
        click.echo(f"Means over the volumes that were measured ({len(measured)}):")
    distance = "95th percentile of surface distances"
    kinds = ((DICE, "Dice", ".4f", ""), (IOU, "IoU", ".4f", ""), (DISTANCE, distance, ".2f", " mm"))
    for name, found in means(measured).items():
        shown = []
        for key, words, style, unit in kinds:
            if key in found:
                value, count = found[key]
                # A class that is missing has no distance, which must not look like a good one.
                of_some = f" ({count} of {len(measured)})" if count < len(measured) else ""
                shown.append(f"{words} {value:{style}}{unit}{of_some}")
        click.echo(f"  {name}: {', '.join(shown) or 'in no volume'}")


@click.command(no_args_is_help=True)
@MODEL_OPTION
@RUNTIME_OPTION
@click.option("--name", default="segpipe", show_default=True, help="The model's name in the paths.")
@click.option(
    "--example",
    "examples",
    multiple=True,
    metavar="IMAGE",
    help="Image, folder, quoted pattern or TFRecord file: the page offers the first six to everyone who opens it.",
)
@click.option(
    "--keep",
    "keep_folder",
    metavar="DIR",
    help="Keep a sample of the requests, with answers, in TFRecords by the day; by default none is kept. They may be "
    "personal data.",
)
@click.option(
    "--keep-share",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Probability that a request is kept.",
)
@click.option(
    "--keep-days",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Days that are kept, today included; older ones are deleted.",
)
@click.option(
    "--keep-megabytes",
    type=click.FloatRange(0.001),
    default=1024.0,
    show_default=True,
    help="Most that is kept; the oldest goes first.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8501,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Time between two looks for a new version.",
)
@click.option(
    "--max-body-megabytes",
    type=click.FloatRange(0.001),
    default=32.0,
    show_default=True,
    help="Largest request; others get 413.",
)
@click.option(
    "--max-pixels", type=click.IntRange(1), default=25_000_000, show_default=True, help="Largest image; others get 413."
)
@click.option(
    "--max-request-pixels",
    type=click.IntRange(1),
    default=100_000_000,
    show_default=True,
    help="Pixels in all images of a request; others get 413.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Images that go through the model at once.",
)
@click.option(
    "--max-waiting",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Requests that may wait; others get 503.",
)
@click.option(
    "--receive-seconds",
    type=click.FloatRange(0.1),
    default=30.0,
    show_default=True,
    help="Time to receive a request; then 408.",
)
@click.option(
    "--answer-seconds",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Time to answer it; then 504, and what is left of it is not computed.",
)
def serve(
    model: str,
    runtime: str,
    name: str,
    examples: tuple[str, ...],
    host: str,
    port: int,
    poll_seconds: float,
    keep_folder: str | None,
    keep_share: float,
    keep_days: int,
    keep_megabytes: float,
    **limits: Any,
) -> None:
    """Serve a model to try it: a page for people, TF Serving's REST paths for programs.

    \b
      curl -d '{"instances": [{"b64": "'$(base64 -w0 photo.jpg)'"}]}' http://127.0.0.1:8501/v1/models/segpipe:predict

    A version that is pushed while the server runs takes over without losing a request; one that cannot be loaded is
    passed over. /healthz and /metrics (Prometheus) show the server's state. What nobody waits for any more, because the
    time is up or the client has gone, is not computed. Ctrl-C and SIGTERM end the server once the requests in progress
    are answered; the exit code is then 0. In production, use TF Serving itself; clients need no change.

    With --keep, `segpipe monitor` can watch what is asked (docs/loop.md). Whatever goes wrong with the keeping ends it,
    with a line in the log, and the server goes on.
    """
    check_model(model)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise UserError("--name may consist of letters, digits and . _ -")
    click.echo("Loading TensorFlow …", err=True)
    quiet()
    import asyncio

    from models.serving.server.examples import read_examples
    from models.serving.server.follower import Follower
    from models.serving.server.server import Limits, ModelServer
    from models.serving.server.server import serve as run_server
    from models.serving.traffic.keeping import Keeper

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("segpipe.model_server")
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    bounds, follower = Limits(**limits), Follower(model, poll_seconds, runtime)
    shown_first = read_examples(examples, follower.model.input, bounds.max_pixels)
    keeper = Keeper(keep_folder, keep_share, keep_days, keep_megabytes) if keep_folder else None
    server = ModelServer(follower, name, bounds, shown_first, keeper)
    shown = f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        click.echo(f"Serving version {server.follower.model.version} at http://{shown}:{port}/")

    try:
        asyncio.run(run_server(server, host, port, ready))
    finally:
        if keeper:
            keeper.close()
