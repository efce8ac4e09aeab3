"""COCO's instances (https://cocodataset.org/#format-data): one JSON for all images.

Holes are in polygons, joined to the outline by cuts without width. Run lengths would hold them too, but Label Studio's
and Ultralytics' importers read polygons alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.writing.writer import AnnotatedImage, Writer, numbers, readable

if TYPE_CHECKING:
    from data.label_map import Label


class CocoWriter(Writer):
    """`annotations.json`: categories have the ids of the label map, each region or object is an annotation."""

    def __init__(self, folder: str, destination: str, labels: Sequence[Label]):
        super().__init__(folder, destination, labels)
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        self._file = self.open_file("annotations.json")
        categories = [{"id": label.id, "name": label.name, "supercategory": "", **_isthing(label)} for label in labels]
        self._file.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')

    def add(self, image: AnnotatedImage) -> None:
        number = len(self._images) + 1
        lines = []
        for index, regions in enumerate(image.objects(), start=self._annotations + 1):
            lefts, tops, rights, bottoms = zip(*(region.bounds for region in regions), strict=True)
            left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
            annotation = {
                "id": index,
                "image_id": number,
                "category_id": regions[0].class_id,
                "segmentation": [numbers(region.ring) for region in regions],
                "area": sum(region.polygon.area for region in regions),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }
            lines.append(("\n" if index == 1 else ",\n") + json.dumps(annotation))
        self._file.write("".join(lines))
        self._annotations += len(lines)
        entry = {"id": number, "file_name": readable(image.name), "width": image.width, "height": image.height}
        self._images.append(entry)

    def finish(self) -> None:
        images = ",\n".join(map(json.dumps, self._images))
        self._file.write(f'\n],\n"images": [\n{images}\n]}}\n')
        super().finish()


def _isthing(label: Label) -> dict[str, int]:
    """As COCO's panoptic files say it, so that what is learned from corrections has the same things."""
    return {} if label.kind is None else {"isthing": int(label.kind == "thing")}
