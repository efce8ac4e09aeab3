"""Label Studio's tasks with predictions, which people correct (https://labelstud.io/guide/predictions)."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from data.writing.writer import AnnotatedImage, Writer, hexadecimal, numbers, readable

if TYPE_CHECKING:
    from data.label_map import Label

# What regions and the labeling interface call each other.
_FROM, _TO, _DATA = "label", "image", "image"
# Of the URLs under which Label Studio serves the files of the folder LOCAL_FILES_DOCUMENT_ROOT.
_LOCAL_FILES = "/data/local-files/?d="


class LabelStudioWriter(Writer):
    """`tasks.json`, with a polygon in percent for each region, and `label_config.xml`, the project's interface.

    Holes are joined to the outline by cuts without width.
    """

    def __init__(self, folder: str, destination: str, labels: Sequence[Label]):
        super().__init__(folder, destination, labels)
        self._tasks = 0
        self._file = self.open_file("tasks.json")
        self._file.write("[")

    def add(self, image: AnnotatedImage) -> None:
        results = []
        for number, region in enumerate(image.regions, start=1):
            flat = numbers(region.ring)
            share = [
                [100 * x / image.width, 100 * y / image.height] for x, y in zip(flat[::2], flat[1::2], strict=True)
            ]
            results.append(
                {
                    "id": f"region_{number}",
                    "from_name": _FROM,
                    "to_name": _TO,
                    "type": "polygonlabels",
                    "original_width": image.width,
                    "original_height": image.height,
                    "image_rotation": 0,
                    "value": {"points": share, "closed": True, "polygonlabels": [self.names[region.class_id]]},
                }
            )
        url = _LOCAL_FILES + urllib.parse.quote(readable(image.name))
        task = {"data": {_DATA: url}, "predictions": [{"model_version": "segpipe", "result": results}]}
        self._file.write((",\n" if self._tasks else "\n") + json.dumps(task))
        self._tasks += 1

    def finish(self) -> None:
        self._file.write("\n]\n")
        labels = "".join(
            f"    <Label value={quoteattr(label.name)} background={quoteattr(hexadecimal(label.color))}/>\n"
            for label in self.labels
        )
        self.write_file(
            "label_config.xml",
            f'<View>\n  <Image name="{_TO}" value="${_DATA}"/>\n  <PolygonLabels name="{_FROM}" toName="{_TO}">\n'
            f"{labels}  </PolygonLabels>\n</View>\n",
        )
        super().finish()
