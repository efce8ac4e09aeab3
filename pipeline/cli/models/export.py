"""The command that brings a model into other forms, and checks those that a version holds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from data.base.errors import UserError, one_line
from data.base.files import is_remote
from models.exports import FORMATS
from pipeline.cli.common import MODEL_OPTION, check_model, format_iou, plain_console, quiet

if TYPE_CHECKING:
    from models.exports.exports import MeasuredExport


@click.command(no_args_is_help=True)
@MODEL_OPTION
@click.option(
    "--to",
    "formats",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help="A form to make. May be repeated.",
)
@click.option("--output", metavar="DIR", help="Folder for the files; it must not exist, or be empty.")
@click.option(
    "--data",
    metavar="DIR",
    help="TFRecords from `segpipe convert`: integers are calibrated on the train split, all forms measured on the test "
    "split.",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1),
    metavar="IOU",
    help="How much mean IoU a form may have less than the SavedModel; by default 0.01, and 0.03 in integers.",
)
@click.option("--check", is_flag=True, help="Make nothing: check and run the exports that the version holds.")
def export(
    model: str,
    formats: tuple[str, ...],
    output: str | None,
    data: str | None,
    max_loss: float | None,
    check: bool,
) -> None:
    """Export a model for phones, browsers and other runtimes, or check the exports that a version holds.

    \b
      segpipe export --model output/my_run/serving --to tflite_int8 --to onnx --data my_data --output exports
      segpipe export --model output/my_run/serving --check

    \b
    tflite           model.tflite, for LiteRT (TensorFlow Lite), in 32-bit floats
    tflite_float16   model_float16.tflite, half as large
    tflite_int8      model_int8.tflite, in integers: a quarter of the size, for phones and boards
    onnx             model.onnx, for ONNX Runtime, browsers, TensorRT and OpenVINO, and for Triton with config.pbtxt

    They take pixels at the model's size, normalize them, and give class ids, confidence and logits; docs/exports.md has
    a program for each. With --data each is measured beside the SavedModel on the same pixels; one that loses more than
    it may ends the command with exit code 1, and nothing is written. A run with `export: [tflite_int8, onnx]` in its
    configuration does the same, and pushes them inside the version.
    """
    check_model(model)
    if check:
        if formats or output or data:
            raise UserError("--check makes nothing; leave --to, --output and --data out")
        _check(model)
        return
    if not formats or not output:
        raise UserError("say which forms with --to, and where they go with --output; or --check those that are there")
    if is_remote(output):
        raise UserError(f"--output {output} must be a folder on this machine")
    if os.path.exists(output) and not (os.path.isdir(output) and not os.listdir(output)):
        raise UserError(f"--output {output} exists; name another folder, or delete this one")
    for name in formats:
        FORMATS[name].require_packages()
        if FORMATS[name].is_quantized and not data:
            raise UserError(
                f"--to {name} takes training images, to find the ranges of values: give their folder with --data"
            )
    files = _files_of(data) if data else {"train": [], "test": []}
    click.echo("Loading TensorFlow …", err=True)
    quiet()
    import tensorflow as tf

    from models.exports.exports import lossy, make_exports, read_examples
    from models.exports.network import Network
    from models.exports.settings import ExportSettings
    from models.serving.versions import model_folder

    network = Network(model_folder(model))
    folder = os.path.dirname(os.path.abspath(output))
    os.makedirs(folder, exist_ok=True)
    # Beside the destination, which then appears whole.
    scratch = tempfile.mkdtemp(prefix=".segpipe-export-", dir=folder)
    try:
        images = (image for image, _ in read_examples(files["train"]))
        test = network.seen(read_examples(files["test"])) if data else [network.noise()]
        try:
            with _converters_kept_quiet() as say:
                found = make_exports(network, list(dict.fromkeys(formats)), scratch, images, test, say)
        except (tf.errors.OpError, ValueError) as error:  # Of decoding, and of class ids that the model has not.
            raise UserError(f"{data or model} cannot be used: {one_line(error)}") from None
        losses = ExportSettings(formats=list(dict.fromkeys(formats))).max_losses
        if max_loss is not None:
            losses = dict.fromkeys(losses, max_loss)
        _show(found)
        if data and (reasons := lossy(found, losses)):
            raise UserError("; ".join(reasons) + "; nothing was written (--max-loss says how much may be lost)")
        os.chmod(scratch, 0o755)
        if os.path.isdir(output):
            os.rmdir(output)
        os.rename(scratch, output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    click.echo(f"Written to {output}")


@contextlib.contextmanager
def _converters_kept_quiet() -> Iterator[Callable[[str], None]]:
    """What C++ libraries write to stderr is kept from it; yields what writes a line there all the same."""
    sys.stderr.flush()
    with open(os.dup(2), "w", encoding="utf-8") as terminal, tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield lambda line: print(f"{line} …", file=terminal, flush=True)
        finally:
            os.dup2(terminal.fileno(), 2)


def _files_of(data: str) -> dict[str, list[str]]:
    from pipeline.config.data import DataSettings

    return DataSettings(input=data).files_by_split()


def _check(model: str) -> None:
    click.echo("Loading TensorFlow …", err=True)
    quiet()
    from models.exports.exports import check_exports
    from models.serving.versions import model_folder

    folder = model_folder(model)
    with _converters_kept_quiet():
        found = check_exports(folder)
    if not found:
        raise UserError(f"{folder} holds no exports; `export: [onnx]` in the configuration of a run puts one there")
    _show(found)
    click.echo(f"{folder}: all exports are whole, and run")


def _show(found: dict[str, MeasuredExport]) -> None:
    from rich.table import Table

    table = Table(box=None)
    for column in ("form", "MB", "mean IoU", "same class", "ms an image"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for name, item in found.items():
        size = f"{item.bytes / 1e6:.1f}" if item.bytes else ""
        table.add_row(name, size, format_iou(item.mean_iou), f"{item.agreement:.2%}", f"{item.milliseconds:.1f}")
    plain_console().print(table)
