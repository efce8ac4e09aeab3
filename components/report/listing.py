"""All test images by name, to be searched."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

# The most that the list may take, as a share of the file.
_SHARE = 0.25


def list_images(names: list[str], values: np.ndarray, pictured: list[str], max_bytes: int) -> dict[str, Any]:
    """The images, worst first, without those of the best for which the file has no room.

    Args:
      names: of the images; two may have the same.
      values: mean IoU of each; not a number for images without a labeled or predicted pixel, which come last.
      pictured: names of the pictures in the report.
      max_bytes: of the whole report.

    Returns:
      `names`; `values`, with None for not a number; `pictures`, the index of each image's picture, or -1.
    """
    place = {name: index for index, name in reversed(list(enumerate(pictured)))}
    found: dict[str, list[Any]] = {"names": [], "values": [], "pictures": []}
    room = _SHARE * max_bytes
    for index in np.argsort(values, kind="stable").tolist():
        value = round(float(values[index]), 4) if np.isfinite(values[index]) else None
        row = {"names": names[index], "values": value, "pictures": place.get(names[index], -1)}
        room -= len(json.dumps([*row.values()]))
        if room < 0:
            break
        for key, item in row.items():
            found[key].append(item)
    return found
