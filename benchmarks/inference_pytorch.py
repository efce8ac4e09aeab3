"""The plain U-Net in PyTorch, for `inference`: `eager|compiled SHAPE BATCH SECONDS` prints what `timed` finds."""

import json
import os
import sys
from typing import Any

import torch
from inference import timed
from plain_pytorch import UNet


def main(kind: str, shape: tuple[int, int, int], batch: int, seconds: float) -> None:
    """Measures and prints."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network: Any = UNet(shape[-1], 32, 3).eval().to(memory_format=torch.channels_last)
    if kind == "compiled":
        network = torch.compile(network)

    def segment(pixels: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub(120).mul(0.02)
            logits = network(images.contiguous(memory_format=torch.channels_last))
            confidence, class_ids = logits.softmax(dim=1).max(dim=1)
            return class_ids.byte().numpy(), confidence.numpy()

    print(json.dumps(timed(segment, shape, batch, seconds)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
