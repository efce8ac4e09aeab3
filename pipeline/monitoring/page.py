"""What the monitor found, as one HTML page that needs nothing but itself."""

from __future__ import annotations

import pathlib

from components.report.charts import over_days
from data.base import pages
from models.monitoring.comparison import CLASSES, EMBEDDINGS
from pipeline.monitoring.monitor import Watched

_TEMPLATE = pathlib.Path(__file__).with_name("page.html")
# What is on the page.
_DAYS = 60
_TITLES = {
    CLASSES: "Predicted classes: distance of their shares",
    EMBEDDINGS: "What the encoder sees: distance",
    "confidence": "Confidence",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "saturation": "Saturation",
    "warmth": "Warmth: red minus blue",
    "sharpness": "Sharpness: log10 of fine detail",
    "size": "Size: root of the number of pixels",
}


def render(name: str, found: Watched) -> str:
    """The page.

    Args:
      name: of the pipeline.
      found: what the monitor found.
    """
    days = found.days[-_DAYS:]
    tested = [day for day in days if day.tests]
    charts = []
    for what, title in _TITLES.items():
        points = [
            (day.day, test.now, test.before, test.p < day.level)
            for day in tested
            for test in day.tests
            if test.name == what
        ]
        if points:
            reference = "by chance, 99 of 100" if what in (CLASSES, EMBEDDINGS) else "training data"
            charts.append(over_days(title, points, reference))
    return pages.template(_TEMPLATE).render(name=name, found=found, days=days[::-1], charts=charts)
