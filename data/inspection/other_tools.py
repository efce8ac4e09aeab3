"""Which tools have JSON files that no format reads, and what do these tools export that segpipe reads?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from data.formats.base.heads import JsonKeys, json_keys

_MOST_HEADS = 3


@dataclasses.dataclass(frozen=True)
class _Tool:
    """A kind of JSON file.

    Attributes:
      name: whose it is.
      keys: those that it has, and that no other kind has together.
      remedy: what to do.
      is_list: whether its outermost value is a list.
    """

    name: str
    keys: frozenset[str]
    remedy: str
    is_list: bool = False

    def has_written(self, keys: JsonKeys) -> bool:
        """Whether a file with these keys is its."""
        return self.keys <= keys.all and (keys.is_list or not self.is_list)


_TOOLS = (
    _Tool(
        "VGG Image Annotator",
        frozenset({"regions", "shape_attributes"}),
        "load it there, and export the annotations in COCO format",
    ),
    _Tool(
        "Segment Anything",
        frozenset({"predicted_iou", "segmentation"}),
        "its masks have no classes; give them some in a labeling tool, and export COCO's JSON",
    ),
    _Tool("Supervisely", frozenset({"classTitle", "objects"}), "export the project there as COCO"),
    _Tool("Supervisely", frozenset({"objects", "tags", "size"}), "export the project there as COCO"),
    _Tool(
        "Datumaro",
        frozenset({"items", "categories", "label_id"}),
        "convert it with `datum convert -f coco -- --save-media`",
    ),
    _Tool("Darwin (V7)", frozenset({"item", "slots", "annotations"}), "export the data set there as COCO"),
    _Tool(
        "a model's results for COCO",
        frozenset({"image_id", "category_id", "score"}),
        "it has no images and categories; labels are in an instances file",
        is_list=True,
    ),
)


def other_tool(folder: str, files: Sequence[str]) -> str:
    """What to do about the JSON files of a tool whose own format is not read; empty if there are none.

    Args:
      folder: the data set.
      files: paths of its files, relative.
    """
    for file in [file for file in files if file.lower().endswith(".json")][:_MOST_HEADS]:
        keys = json_keys(folder, file)
        for tool in _TOOLS:
            if tool.has_written(keys):
                return f"{file} looks like a file of {tool.name}: {tool.remedy}."
    return ""
