"""A bare training step in PyTorch, for `step`: `plain|default eager|compiled PIXELS BATCH STEPS` prints what it found.

That is the images a second, the parameters of the network, and the number format, the faster of two. `plain` is U-Net
with 32 filters; `default` is what segpipe trains by default: EfficientNet-Lite0 on the image, enlarged if it is small,
U-Net's decoder with 16 filters, and the loss on each level but the deepest. Maps lie in memory with the channels last.
"""

import json
import os
import sys
import time
from typing import Any

import torch
from plain_pytorch import UNet, _block
from torch import nn
from torch.nn import functional

_CLASSES, _FILTERS, _WARM_UP = 3, 16, 3
# Below it, segpipe enlarges the image for the encoder.
_ENLARGED_BELOW = 158


class DefaultNetwork(nn.Module):
    """[batch, 3, height, width] → logits of each level of the decoder but the deepest, the finest first."""

    def __init__(self, pixels: int):
        super().__init__()
        import segmentation_models_pytorch as smp

        self.times = 2 if pixels < _ENLARGED_BELOW else 1
        self.encoder = smp.encoders.get_encoder("tu-tf_efficientnet_lite0", weights=None)
        channels = list(self.encoder.out_channels[1:])
        if self.times == 1:
            self.image = _block(3, _FILTERS)
            channels = [_FILTERS, *channels]
        widths = [_FILTERS * 2**level for level in range(len(channels) - 1)]
        below = [*widths[1:], channels[-1]]
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, w, 2, stride=2) for b, w in zip(below, widths, strict=True))
        pairs = zip(channels[:-1], widths, strict=True)
        self.blocks = nn.ModuleList(_block(skip + width, width) for skip, width in pairs)
        self.logits = nn.ModuleList(nn.Conv2d(width, _CLASSES, 1) for width in widths[:-1])

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        seen = functional.interpolate(images, scale_factor=2.0, mode="bilinear") if self.times == 2 else images
        features = self.encoder(seen)[1:]
        if self.times == 1:
            features = [self.image(images), *features]
        *skips, maps = features
        logits = []
        for level in reversed(range(len(skips))):
            maps = self.blocks[level](torch.cat([self.up[level](maps), skips[level]], dim=1))
            if level < len(self.logits):
                logits.append(self.logits[level](maps))
        return logits[::-1]


def main(network: str, kind: str, pixels: int, batch: int, steps: int) -> None:
    """Measures and prints."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    rates = {name: _rate(network, kind, pixels, batch, steps, number) for name, number in _FORMATS.items()}
    number_format = max(rates, key=lambda name: rates[name][0])
    rate, parameters = rates[number_format]
    print(json.dumps({"images_per_s": rate, "parameters": parameters, "format": number_format}))


_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def _rate(network: str, kind: str, pixels: int, batch: int, steps: int, number: torch.dtype) -> tuple[float, int]:
    torch.manual_seed(0)
    model: Any = UNet(3, 32, _CLASSES) if network == "plain" else DefaultNetwork(pixels)
    model = model.to(memory_format=torch.channels_last).train()
    parameters = sum(weights.numel() for weights in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    called = torch.compile(model) if kind == "compiled" else model
    images = torch.randn(batch, 3, pixels, pixels).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, _CLASSES, (batch, pixels, pixels))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=number == torch.bfloat16):
            outputs = called(images)
        outputs = [outputs] if network == "plain" else outputs
        loss = torch.zeros(())
        for level, logits in enumerate(outputs):
            stride = 2**level
            chosen = labels[:, stride // 2 :: stride, stride // 2 :: stride]
            loss = loss + 0.5**level * functional.cross_entropy(logits.float(), chosen, ignore_index=255)
        loss.backward()
        optimizer.step()

    for _ in range(_WARM_UP):
        step()
    started = time.monotonic()
    for _ in range(steps):
        step()
    return steps * batch / (time.monotonic() - started), parameters


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
