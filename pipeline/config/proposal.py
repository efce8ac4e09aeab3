"""A configuration for a data set that nobody has trained on: each value with the reason for it."""

from __future__ import annotations

import dataclasses
import math
import statistics
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from data.contract import SPLITS
from data.inspection.sample import Sample
from data.label_map import LabelMap

# Pixels of the model's input, as in configs/oxford_pets.yaml: a few minutes of training on two cores.
_AREA = 128 * 128
_LARGEST_PATCH = 256
# Images shown in a whole training at `_AREA`, as in that file; most epochs are at small sizes, without which each of
# them takes three times as long.
_SHOWN = 20_000
_SHOWN_AT_FULL_SIZE = 7_000
_EPOCHS = (20, 200)
_RARE = 0.05
_COLUMN = 34
_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class _Line:
    """A key with its value, and the reason for it."""

    key: str
    value: Any
    reason: str = ""


def propose_run(name: str, tfrecords: str, counts: Mapping[str, int], sample: Sample, label_map: LabelMap) -> str:
    """The text of a configuration file.

    Args:
      name: the pipeline's.
      tfrecords: folder that the data set is converted to.
      counts: examples of each split.
      sample: what images and masks look like.
      label_map: the classes.
    """
    output = f"output/{name.replace('-', '_')}"
    lines = [
        _Line("name", name),
        _Line("output", output, f"artifacts, metadata, logs; pushed models in {output}/serving"),
        _Line("data.input", tfrecords, f"{', '.join(f'{counts[split]} {split}' for split in SPLITS)} images"),
    ]
    preprocessing = _preprocessing(sample)
    lines += preprocessing
    values = {line.key.partition(".")[2]: line.value for line in preprocessing}
    lines += _model(values["height"], values["width"])
    lines += _training(counts["train"], sample, values)
    lines += _augmentation(values["channels"], label_map)
    lines += _gate(counts["test"], sample, label_map)
    lines += _serving(sample, values["resize"])
    header = [
        f"# Proposed by `segpipe init`, which looked at {len(sample.pairs)} of {sum(counts.values())} images.",
        "# The reason for a value stands beside it; a value without one is the default. docs/training.md and",
        "# docs/evaluation.md have all keys.",
    ]
    return "\n".join([*header, *_lay_out(lines)]) + "\n"


def shrinking(sample: Sample, height: int, width: int) -> float:
    """How many times smaller the model's input is than half of the images, by the side that shrinks more."""
    return statistics.median(max(size[0] / height, size[1] / width) for size in sample.sizes)


def _preprocessing(sample: Sample) -> list[_Line]:
    heights, widths = (sorted(size[axis] for size in sample.sizes) for axis in (0, 1))
    aspect = statistics.median(width / height for height, width in sample.sizes)
    typical = f"{statistics.median_low(widths)}x{statistics.median_low(heights)}"
    clipped = min(max(aspect, 1 / 4), 4)
    height = _side(math.sqrt(_AREA / clipped), statistics.median_low(heights))
    width = _side(math.sqrt(_AREA * clipped), statistics.median_low(widths))
    factor = shrinking(sample, height, width)
    lost = sample.classes_lost(factor)
    aspects = np.quantile([width / height for height, width in sample.sizes], [0.05, 0.95])
    if factor > 2 and lost > 0.1:
        height, width = (
            min(_LARGEST_PATCH, max(16, statistics.median_low(sides) // 16 * 16)) for sides in (heights, widths)
        )
        reason = (
            f"resized to {_AREA:,} pixels, {lost:.0%} of the classes in masks would hardly be seen; so patches are cut"
        )
        resize, size_reason = "none", f"of the patches; images have {typical} pixels, as width x height"
    else:
        shown = f"{heights[0]} to {heights[-1]}" if heights[0] != heights[-1] else str(heights[0])
        size_reason = (
            f"images are {typical} (width x height) in the middle, {shown} high; about {_AREA:,} pixels of "
            "the same shape train on a CPU"
        )
        if factor <= 1:
            size_reason = f"images are {typical} (width x height) in the middle, and are not made larger"
        if aspects[1] <= 1.05 * aspects[0]:
            resize, reason = "stretch", "the images have one shape, so nothing is distorted much"
        else:
            resize = "pad"
            reason = f"width / height is {aspects[0]:.2f} to {aspects[1]:.2f}; this keeps it, and objects in shape"
    channels = 1 if sample.is_gray else 3
    return [
        _Line("preprocessing.height", height, size_reason),
        _Line("preprocessing.width", width),
        _Line("preprocessing.channels", channels, "all images are gray" if sample.is_gray else "images have colors"),
        _Line("preprocessing.resize", resize, reason),
    ]


def _side(pixels: float, of_images: int) -> int:
    """A multiple of 16 near so many pixels, not above what the images have by more than the rounding."""
    return max(16, min(round(pixels / 16) * 16, math.ceil(of_images / 16) * 16))


def _model(height: int, width: int) -> list[_Line]:
    depth = max(1, min(4, int(math.log2(min(height, width))) - 2))
    smallest = f"{-(-height // 2**depth)}x{-(-width // 2**depth)}"
    return [
        _Line("model.encoder", "plain", "with unet the default; docs/training.md has others"),
        _Line("model.decoder", "unet"),
        _Line("model.filters", 16, "for training on a CPU; on a GPU, 32 or 64 learn more"),
        _Line("model.depth", depth, f"halved so often, {height}x{width} become {smallest}"),
    ]


def _training(count: int, sample: Sample, values: Mapping[str, Any]) -> list[_Line]:
    batch_size = 8 if count < 2000 else 16
    batch_reason = "" if count < 2000 else "with many images, fewer and larger steps"
    if count < 16:
        batch_size, batch_reason = max(2, min(4, count)), f"of {count} images, for several steps in each epoch"
    factor = 1.0 if values["resize"] == "none" else shrinking(sample, values["height"], values["width"])
    # The smallest size in training has a quarter of the input's height and width.
    lost = sample.classes_lost(factor * 4)
    is_thin = lost > 0.15
    shown = _SHOWN_AT_FULL_SIZE if is_thin else _SHOWN
    pixels = float(count * _AREA)
    if values["resize"] == "none":
        pixels = count * statistics.mean(height * width for height, width in sample.sizes)
    epochs = max(_EPOCHS[0], min(_EPOCHS[1], math.ceil(shown * _AREA / max(pixels, 1))))
    bound = {_EPOCHS[0]: "at least", _EPOCHS[1]: "at most"}.get(epochs, "")
    epochs_reason = (
        f"{count} training images; this shows {shown:,} images in all"
        if not bound
        else (f"{count} training images; {bound} {epochs} epochs")
    )
    if values["resize"] == "none":
        epochs_reason = f"{count} training images, cut into patches that cover them in each epoch"
    shares = sample.shares
    rarest = min(range(len(shares)), key=lambda index: shares[index] or 1)
    is_rare = 0 < shares[rarest] < _RARE
    lines = [
        _Line("train.epochs", epochs, epochs_reason),
        _Line("train.batch_size", batch_size, batch_reason),
        _Line(
            "train.loss",
            {"cross_entropy": 1, "dice": 1} if is_rare else "cross_entropy",
            f"the rarest class has {_percent(shares[rarest])} of the pixels"
            + ("; dice counts each class alike" if is_rare else ", so none needs a loss of its own"),
        ),
        _Line("train.class_weights", "root_median_frequency"),
        _Line("train.learning_rate", 0.002),
    ]
    if is_thin:
        why = f"at a quarter of the size, {lost:.0%} of the classes in masks would hardly be seen"
        lines.append(_Line("train.small_sizes", 0, why))
    else:
        lines.append(_Line("train.small_sizes", 0.8))
    return lines


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _augmentation(channels: int, label_map: LabelMap) -> list[_Line]:
    sided = [name for name in label_map.names if {"left", "right"} & set(name.lower().replace("-", "_").split("_"))]
    flip_reason = f"mirrored, {sided[0]} would be on the other side" if sided else "no class's name has left or right"
    gray = "in gray images, the level may be what tells classes apart" if channels == 1 else ""
    return [
        _Line("train.augmentation.flip_horizontal", not sided, flip_reason),
        _Line("train.augmentation.flip_vertical", False, "true for images without an upside, as from a microscope"),
        _Line("train.augmentation.rotation_degrees", 20),
        _Line("train.augmentation.scale", 1.5),
        _Line("train.augmentation.brightness", 0 if gray else 0.3, gray),
        _Line("train.augmentation.contrast", 0 if gray else 0.3),
    ]


def _gate(test_count: int, sample: Sample, label_map: LabelMap) -> list[_Line]:
    shares = sample.shares
    occurring = sum(share > 0 for share in shares)
    largest = max(range(len(shares)), key=lambda index: shares[index])
    baseline = shares[largest] / max(occurring, 1)
    way = min(1 / 4, 2 / max(occurring, 1))
    threshold = math.floor(100 * (baseline + (1 - baseline) * way)) / 100
    name = label_map.names[largest]
    asked = "a quarter" if way == 1 / 4 else f"{way:.0%}, as {occurring} classes are many,"
    lines = [
        _Line(
            "gate.min.mean_iou",
            threshold,
            f"{name} everywhere would have {baseline:.2f}; this asks for {asked} of the way from there to 1. Raise it "
            "to what you need; gate.min.iou takes values by class",
        )
    ]
    if test_count < 100:
        why = f"{test_count} test images cannot tell small differences from chance"
        return [*lines, _Line("gate.regression", "not_significantly_worse", why)]
    return [*lines, _Line("gate.regression", 0.01, "how far below the deployed model's mean IoU a new one may be")]


def _serving(sample: Sample, resize: str) -> list[_Line]:
    largest = max(height * width for height, width in sample.sizes) / 1e6
    seconds = max(5, math.ceil(5 * largest)) if resize == "none" else 5
    why = f"for one image; the largest that was seen has {largest:.1f} million pixels"
    return [
        _Line("serving.max_latency_seconds", seconds, why),
        _Line("serving.max_memory_megabytes", 4096),
    ]


def _lay_out(lines: list[_Line]) -> list[str]:
    """YAML with a blank line between sections, and reasons in a column of their own."""
    laid: list[str] = []
    above: list[str] = []
    for line in lines:
        *sections, key = line.key.split(".")
        shared = 0
        while shared < min(len(above), len(sections)) and above[shared] == sections[shared]:
            shared += 1
        if sections and not shared:
            laid.append("")
        laid += [f"{'  ' * depth}{sections[depth]}:" for depth in range(shared, len(sections))]
        above = sections
        value = yaml.safe_dump(line.value, default_flow_style=True, width=1000, allow_unicode=True)
        text = f"{'  ' * len(sections)}{key}: {value.removesuffix(chr(10)).removesuffix(chr(10) + '...')}"
        laid += _with_reason(text, line.reason)
    return laid


def _with_reason(text: str, reason: str) -> list[str]:
    if not reason:
        return [text]
    column = max(_COLUMN, len(text) + 2)
    first, *others = textwrap.wrap(reason, _WIDTH - column - 2)
    return [f"{text.ljust(column)}# {first}", *(f"{' ' * column}# {part}" for part in others)]
