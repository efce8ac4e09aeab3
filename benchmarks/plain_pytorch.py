"""The plain PyTorch loop that `quality` compares with: `DATA.npz SECONDS SEED PREDICTIONS.npy FILTERS`.

The same U-Net; Adam, cross-entropy, random mirroring, the weights of the least validation loss.
"""

import copy
import sys
import time

import numpy as np
import torch
from torch import nn

_BATCH_SIZE = 8
_DEPTH = 4


def _block(channels: int, filters: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (channels, filters):
        layers += [nn.Conv2d(inputs, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """[batch, channels, height, width] → [batch, C, height, width] logits (Ronneberger et al., "U-Net", 2015)."""

    def __init__(self, channels: int, filters: int, num_classes: int):
        super().__init__()
        widths = [filters * 2**level for level in range(_DEPTH + 1)]
        self.encoder = nn.ModuleList(
            _block(inputs, outputs) for inputs, outputs in zip([channels, *widths], widths, strict=False)
        )
        pairs = [(widths[level + 1], widths[level]) for level in reversed(range(_DEPTH))]
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in pairs)
        self.decoder = nn.ModuleList(_block(2 * width, width) for _, width in pairs)
        self.head = nn.Conv2d(filters, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            images = block(images if level == 0 else nn.functional.max_pool2d(images, 2))
            skips.append(images)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            images = block(torch.cat([skip, up(images)], dim=1))
        return self.head(images)


def main(data: str, seconds: float, seed: int, predictions: str, filters: int) -> None:
    """Trains for a time, and saves the class ids of the test images."""
    started = time.monotonic()
    torch.manual_seed(seed)
    arrays = np.load(data)
    num_classes = 1 + max(int(arrays[name][arrays[name] < 255].max()) for name in ("train_y", "test_y"))
    images = {
        split: torch.from_numpy(arrays[f"{split}_x"]).permute(0, 3, 1, 2).float().div(255)
        for split in ("train", "eval", "test")
    }
    labels = {split: torch.from_numpy(arrays[f"{split}_y"]).long() for split in images}
    model = UNet(arrays["train_x"].shape[-1], filters, num_classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss(ignore_index=255)
    least, best, epoch_seconds = float("inf"), copy.deepcopy(model.state_dict()), 0.0
    while time.monotonic() - started + epoch_seconds < seconds:
        epoch_started = time.monotonic()
        model.train()
        for chosen in torch.randperm(len(images["train"])).split(_BATCH_SIZE):
            image, label = images["train"][chosen], labels["train"][chosen]
            mirrored = torch.rand(len(chosen)) < 0.5
            image = torch.where(mirrored[:, None, None, None], image.flip(3), image)
            label = torch.where(mirrored[:, None, None], label.flip(2), label)
            optimizer.zero_grad()
            loss_of(model(image.contiguous(memory_format=torch.channels_last)), label).backward()
            optimizer.step()
        loss = loss_of(_logits(model, images["eval"]), labels["eval"]).item()
        if loss < least:
            least, best = loss, copy.deepcopy(model.state_dict())
        epoch_seconds = time.monotonic() - epoch_started
    print(time.monotonic() - started)
    model.load_state_dict(best)
    np.save(predictions, _logits(model, images["test"]).argmax(dim=1).numpy().astype(np.uint8))


@torch.no_grad()
def _logits(model: UNet, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    return torch.cat([model(batch) for batch in images.split(_BATCH_SIZE)])


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
