"""What an audit found, as a page."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from components.report import pictures
from data.base import pages
from data.decoding.pictures import picture_of
from data.label_map import LabelMap
from models.auditing.audit import Audit, Example, Finding, in_words, who_judged
from models.auditing.judges import Judges
from models.inputs.settings import PreprocessingSettings

_TEMPLATE_PATH = pathlib.Path(__file__).with_name("audit.html")
_SIDE = 320
# Of the labels without pictures; the table in CSV has all.
_MOST_LISTED = 200


def render(name: str, version: int, judges: Judges, found: Audit) -> str:
    """The page as HTML that needs nothing else.

    Args:
      name: of the pipeline.
      version: of the model that judged.
      judges: the model.
      found: what it found.
    """
    shape, label_map = PreprocessingSettings.of_facts(judges.facts["preprocessing"]), judges.label_map
    shown, others = found.findings[: len(found.examples)], found.findings[len(found.examples) :]
    return pages.template(_TEMPLATE_PATH).render(
        name=name,
        version=version,
        judged=who_judged(judges),
        count=len(found.findings),
        shown=[
            (finding, in_words(finding, label_map), _layers(finding, example, shape, label_map))
            for finding, example in zip(shown, found.examples, strict=True)
        ],
        in_test=sum(finding.split == "test" for finding in shown),
        others=[(finding, in_words(finding, label_map)) for finding in others[:_MOST_LISTED]],
        left=max(0, len(others) - _MOST_LISTED),
        unusable=found.unusable,
        label_map=label_map,
    )


def _layers(finding: Finding, example: Example, shape: PreprocessingSettings, label_map: LabelMap) -> dict[str, str]:
    label, prediction = (
        tf.io.decode_png(encoded, 1).numpy()[..., 0] for encoded in (example.label, example.prediction)
    )
    height, width = label.shape
    picture = pictures.Picture(
        pictures.Choice("", finding.image, finding.contradiction.mean_iou),
        (width, height),
        picture_of(example.image, shape.band_names, shape.nodata),
        label,
        prediction,
    )
    return pictures.layers(picture, label_map, _SIDE)
