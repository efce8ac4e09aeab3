"""What is said of an image once it is predicted."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from models.serving.volumes.measures import Measures

# What only models that tell objects apart have, and what only images have.
_OF_OBJECTS = {"instances", "panoptic", "object_counts", "objects"}
_OF_IMAGES = {"overlay", "height", "width"}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The result for one image; if there is an error, there is no mask.

    Attributes:
      image: file, or name in a TFRecord.
      error: why it could not be used.
      mask: path of the class ids.
      overlay: path of the colored image.
      instances: path of the objects' numbers, 16 bits; only of models that tell objects apart, as the next three.
      panoptic: path of the numbers of all segments, as COCO's panoptic format stores them.
      polygons: path of the polygons of a scene, if they are wanted.
      object_counts: objects by class name, without classes that have none.
      objects: each object's class, score, box (top, left, bottom, right) and area, in the order of their numbers.
      height: of the image, in pixels.
      width: of the image, in pixels.
      shape: of a volume's array, which has no overlay; None for an image.
      frames: of a video, whose overlay is one; if there is an error, too, of the frames before it.
      class_shares: share of its pixels, by class name.
      confidence: mean probability of the predicted classes.
      measures: of a volume, by its mask of people, if it has one that fits.
      measures_error: why the mask could not be used.
    """

    image: str
    error: str | None = None
    mask: str = ""
    overlay: str = ""
    instances: str = ""
    panoptic: str = ""
    polygons: str = ""
    object_counts: dict[str, int] | None = None
    objects: list[dict[str, Any]] | None = None
    height: int = 0
    width: int = 0
    shape: list[int] | None = None
    frames: int | None = None
    class_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    confidence: float = 0.0
    measures: Measures | None = None
    measures_error: str = ""

    def line(self, has_objects: bool) -> str:
        """Its line of `predictions.jsonl`, of a model that tells objects apart or of another one."""
        fields = dataclasses.asdict(self)
        kept = {"image", "error", "overlay", "frames"} if self.error else fields.keys() - {"error"}
        if not has_objects or self.shape or self.frames:
            kept -= _OF_OBJECTS
        kept -= _OF_IMAGES if self.shape else {"shape"}
        kept -= {key for key in ("frames", "measures") if fields[key] is None}
        kept -= {key for key, value in fields.items() if value == ""}
        return json.dumps({key: value for key, value in fields.items() if key in kept}) + "\n"
