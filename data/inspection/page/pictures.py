"""Pictures of the page: a sample that shows each class, and pairs that look the same."""

from __future__ import annotations

import base64
import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image

from data.contract import IGNORE_LABEL
from data.decoding.image_type import ImageType
from data.formats import Source
from data.inspection.survey.inputs import Content, Inputs
from data.inspection.survey.measures import open_reduced, thumbnail
from data.inspection.survey.processes import Processes
from data.inspection.survey.survey import Survey
from data.label_map import LabelMap

COUNT = 24
# With many classes, so many more are taken as show the classes that the others do not.
_MOST = 60
_SIDE = 320
# A class is shown by a picture of which it is this share.
_SHOWN = 0.01


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of the sample.

    Attributes:
      source: the image.
      image: data URI of the image.
      mask: data URI of its classes in their colors, of the same size.
      shares: of its pixels, by class, the largest first.
    """

    source: Source
    image: str
    mask: str
    shares: dict[int, float]


def choose(survey: Survey) -> list[Source]:
    """Images that show each class: for each one those with a good share of it, rare classes first."""
    occurring = {index: sum(counts.pixels[index] for counts in survey.splits.values()) for index in survey.candidates}
    by_rarity = sorted(occurring, key=lambda index: (occurring[index], index))
    best = {index: sorted(survey.candidates[index], reverse=True) for index in by_rarity}
    chosen: dict[Source, None] = {}
    shown: set[int] = set()
    for index in by_rarity:
        if index not in shown and len(chosen) < _MOST:
            candidate = next((item for item in best[index] if item.source not in chosen), best[index][0])
            chosen[candidate.source] = None
            shown |= {index, *(other for other, share in candidate.shares.items() if share >= _SHOWN)}
    # Then in turns, until there are enough.
    while len(chosen) < COUNT:
        before = len(chosen)
        for index in by_rarity:
            candidates = (item.source for item in best[index] if item.source not in chosen)
            if len(chosen) < COUNT and (source := next(candidates, None)):
                chosen[source] = None
        if len(chosen) == before:
            break
    return [*chosen]


def draw(processes: Processes, sources: list[Source], images: ImageType | None) -> dict[Source, Picture]:
    """Reads images again and draws them; one that can no longer be read is left out."""
    drawn = processes.map(_draw, processes.inputs.find(sources), images)
    return {picture.source: picture for picture in drawn if picture}


def _draw(inputs: Inputs, source: Source, content: Content | None, images: ImageType | None) -> Picture | None:
    try:
        encoded, ids = inputs.read(source, content)
        small = Image.fromarray(thumbnail(open_reduced(encoded, _SIDE, images), _SIDE))
    except Exception:  # It could be read a moment ago; whatever happened to it is not worth the page.
        return None
    mask = Image.fromarray(ids).resize(small.size, Image.Resampling.NEAREST)
    counts = np.bincount(ids.ravel(), minlength=256)
    order = sorted(np.flatnonzero(counts[:IGNORE_LABEL]).tolist(), key=lambda index: -counts[index])
    shares = {index: float(counts[index] / ids.size) for index in order}
    return Picture(source, _data_uri(small, "JPEG", quality=80), _mask_uri(np.asarray(mask), inputs.label_map), shares)


def _mask_uri(ids: np.ndarray, label_map: LabelMap) -> str:
    """Ids in the colors of their classes; ignored pixels are transparent, unless the label map gives them a color."""
    image = Image.fromarray(ids)
    palette = np.zeros((256, 3), np.uint8)
    for label in label_map.root:
        palette[label.id] = label.color
    image.putpalette(palette.tobytes())
    if any(label.id == IGNORE_LABEL for label in label_map.root):
        return _data_uri(image, "PNG")
    return _data_uri(image, "PNG", transparency=IGNORE_LABEL)


def _data_uri(image: Image.Image, file_format: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
