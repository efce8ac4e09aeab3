"""CVAT's XML for images, version 1.1 (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import XMLGenerator

from data.writing.writer import AnnotatedImage, Writer, hexadecimal, points, readable

if TYPE_CHECKING:
    from data.label_map import Label
    from data.writing.outlines.regions import Region


class CvatWriter(Writer):
    """`annotations.xml`: a polygon for each region; one with holes is a mask, since CVAT's polygons have none.

    Parts of one object are a group.
    """

    def __init__(self, folder: str, destination: str, labels: Sequence[Label]):
        super().__init__(folder, destination, labels)
        file = self.open_file("annotations.xml")
        self._xml = XMLGenerator(file, encoding="utf-8", short_empty_elements=True)
        self._images = 0
        self._xml.startDocument()
        self._start("annotations")
        self._element("version", "1.1")
        for name in ("meta", "task", "labels"):
            self._start(name)
        for label in labels:
            self._start("label")
            self._element("name", label.name)
            self._element("color", hexadecimal(label.color))
            self._element("type", "any")
            self._element("attributes", "")
            self._end("label")
        for name in ("labels", "task", "meta"):
            self._end(name)

    def add(self, image: AnnotatedImage) -> None:
        shapes = [
            self._shape(region, {"group_id": str(region.object)} if len(regions) > 1 else {})
            for regions in image.objects()
            for region in regions
        ]
        size = {"width": str(image.width), "height": str(image.height)}
        self._start("image", {"id": str(self._images), "name": readable(image.name), **size})
        for name, attributes in shapes:
            self._start(name, attributes)
            self._end(name)
        self._end("image")
        self._images += 1

    def _shape(self, region: Region, group: dict[str, str]) -> tuple[str, dict[str, str]]:
        common = {"label": self.names[region.class_id], "source": "auto", "occluded": "0", **group}
        if not region.has_holes:
            corners = ";".join(f"{x},{y}" for x, y in points(region.ring))
            return "polygon", {**common, "points": corners, "z_order": "0"}
        left, top, right, bottom = region.bounds
        box = {"left": left, "top": top, "width": right - left, "height": bottom - top}
        runs = ", ".join(map(str, region.runs()))
        return "mask", {**common, "rle": runs, **{key: str(value) for key, value in box.items()}, "z_order": "0"}

    def finish(self) -> None:
        self._end("annotations")
        self._xml.endDocument()
        super().finish()

    def _start(self, name: str, attributes: dict[str, str] | None = None) -> None:
        self._xml.startElement(name, attributes or {})  # type: ignore[arg-type]

    def _end(self, name: str) -> None:
        self._xml.endElement(name)
        self._xml.ignorableWhitespace("\n")

    def _element(self, name: str, text: str) -> None:
        self._start(name)
        self._xml.characters(text)
        self._end(name)
