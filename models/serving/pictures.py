"""The pictures that `predict` writes of an image."""

from __future__ import annotations

import contextlib
import os

import numpy as np
from PIL import Image, PngImagePlugin

from models.serving.loaded_model import strips
from models.serving.results.files import MARK

# Of zlib: photographs shrink hardly more at higher levels, which take four times as long.
_COMPRESSION = 1


def draw_overlay(
    pixels: np.ndarray, class_ids: np.ndarray, palette: np.ndarray, edges: np.ndarray | None
) -> Image.Image:
    """The image under half-transparent colors of its classes; edges of objects are white.

    Args:
      pixels: [height, width, 3] uint8.
      class_ids: [height, width] uint8.
      palette: [C, 3] uint8.
      edges: [height, width] bool, or None without objects.
    """
    height, width = class_ids.shape
    overlay = Image.new("RGB", (width, height))
    for strip in strips(height, width):
        # In 16 bits, which the sum needs.
        blended = (pixels[strip] + palette[class_ids[strip]].astype(np.uint16)) // 2
        if edges is not None:
            blended[edges[strip]] = 255
        overlay.paste(Image.fromarray(blended.astype(np.uint8)), (0, strip.start))
    return overlay


def save_pictures(images: dict[str, Image.Image]) -> None:
    """Writes PNG files by their paths, all or none: half a mask must not be taken for a whole one."""
    mark = PngImagePlugin.PngInfo()
    mark.add_text(*MARK)
    unfinished = {path: f"{path}.partial" for path in images}
    try:
        for path, image in images.items():
            image.save(unfinished[path], format="PNG", pnginfo=mark, compress_level=_COMPRESSION)
        # Of a link, the link is replaced and not what it leads to.
        for path, written in unfinished.items():
            os.replace(written, path)
    except BaseException:
        for path in unfinished.values():
            with contextlib.suppress(OSError):
                os.remove(path)
        raise
