"""The numbers that plans rest on: speeds, measured on processor cores and estimated for GPUs, and thresholds."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class EncoderNumbers:
    """An encoder under the decoder `unet`, as plans use it.

    Attributes:
      images_per_second: training on two processor cores, counted in images of 128×128 pixels.
      bytes_per_pixel: memory that a training step takes for each pixel of its batch.
      enlarged: how many times as much of both it takes where the encoder enlarges the images.
    """

    images_per_second: float
    bytes_per_pixel: float
    enlarged: float = 1.0


PRETRAINED, RANDOM = "efficientnet_lite0", "plain"
ENCODERS = {
    PRETRAINED: EncoderNumbers(images_per_second=62, bytes_per_pixel=2500, enlarged=2),
    RANDOM: EncoderNumbers(images_per_second=97, bytes_per_pixel=2500),
}
# The block of convolutions of `machine._core_speed` on the cores that have these speeds.
BLOCK_SECONDS = 0.0138
# Images whose shorter side has fewer pixels are too small for the strides of up to 32 of pretrained encoders.
LEAST_SIDE_PRETRAINED = 64
# Filters of `plain` at full resolution, on processor cores and on a GPU; the speed above is that of the first.
PLAIN_FILTERS, PLAIN_FILTERS_GPU = 16, 32
# A GPU is as fast as so many pairs of cores: an estimate.
GPU_SPEED = 100
# More cores than these do not speed up a training.
MOST_CORES = 32
# Share of the time that goes into training steps; the rest is evaluation, compilation and checkpoints.
USEFUL_SHARE = 0.85
# Share of the memory that a training step may take.
MEMORY_SHARE = 0.5

MINUTES = 30.0
# Images that a training has to show at the full size, counted again in each pass, before larger images pay.
SHOWN = 10_000
# And passes over the training images.
PASSES = 5
# Images that a training has to show for the encoder's enlargement of small ones to pay.
SHOWN_ENLARGED = 2_500
# A training of its own accord ends when it has shown so many times as many.
ENOUGH = 4

# Pixels: below this area models learn little; above, an image does not pass through the model at once.
LEAST_AREA, MOST_AREA = 128 * 128, 1024 * 1024
# Pixels of an input's side are multiples of this, and of half of it for small images.
STEP, SMALL_STEP, SMALL_IMAGE = 32, 16, 96
# Images may be stretched by so much; beyond that they are padded.
MOST_STRETCHED = 1.6

# A structure that is narrower, in pixels of the model's input, is hardly seen.
LEAST_WIDTH = 2.0
# Share of the pixels, as the mean over the classes, that resizing may make so narrow.
MOST_LOST = 0.05

# Patches, in pixels a side, and how often a training should see all of the images' pixels through them.
LEAST_PATCH, MOST_PATCH = 128, 512
LEAST_PATCH_PASSES = 4

# Batches: the usual size by device, the least, and optimizer steps that a training should have.
BATCH_SIZE, BATCH_SIZE_GPU, LEAST_BATCH_SIZE = 8, 16, 4
LEAST_STEPS = 600

# A class with a smaller share of the pixels is rare.
RARE = 0.05
# Classes whose shares differ by no larger a factor need no weights.
BALANCED = 4.0
# Brightness and contrast where levels may be relied on to vary, as in photographs.
COLOR_JITTER = 0.3
# Test images that tell small differences from chance.
TELLING = 100
