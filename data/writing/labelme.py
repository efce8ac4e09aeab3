"""Labelme's files (https://github.com/wkentaro/labelme): a JSON for each image, which it finds by a relative path."""

from __future__ import annotations

import json
import os
from typing import Any

from data.writing.writer import AnnotatedImage, Writer, points, readable

# Whose structure the files have.
_VERSION = "5.5.0"


class LabelmeWriter(Writer):
    """`NAME.json` for each image, with a polygon for each region, and `labels.txt` for labelme's `--labels`.

    Holes are joined to the outline by cuts without width. Parts of one object have a number as their group.
    """

    def add(self, image: AnnotatedImage) -> None:
        shapes: list[dict[str, Any]] = [
            {
                "label": self.names[region.class_id],
                "points": points(region.ring),
                "group_id": region.object if len(regions) > 1 else None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for regions in image.objects()
            for region in regions
        ]
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": self._image_path(image),
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        self.write_file(f"{image.result}.json", json.dumps(content))

    def _image_path(self, image: AnnotatedImage) -> str:
        if not image.path:
            return readable(image.name)
        here = os.path.dirname(os.path.join(os.path.realpath(self.destination), image.result))
        folder, name = os.path.split(image.path)
        return readable(os.path.relpath(os.path.join(os.path.realpath(folder), name), here))

    def finish(self) -> None:
        self.write_file("labels.txt", "".join(f"{label.name}\n" for label in self.labels))
        super().finish()
