"""In which forms do predictions go back to the tools with which people label?

One file for each format; nothing heavy is imported here.
"""

from data.writing.coco import CocoWriter
from data.writing.cvat import CvatWriter
from data.writing.geojson import GeoJsonWriter
from data.writing.label_studio import LabelStudioWriter
from data.writing.labelme import LabelmeWriter
from data.writing.writer import AnnotatedImage, Writer
from data.writing.yolo import YoloWriter

WRITERS: dict[str, type[Writer]] = {
    "coco": CocoWriter,
    "yolo": YoloWriter,
    "labelme": LabelmeWriter,
    "cvat": CvatWriter,
    "label-studio": LabelStudioWriter,
    "geojson": GeoJsonWriter,
}

__all__ = ["WRITERS", "AnnotatedImage", "Writer"]
