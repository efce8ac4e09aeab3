"""What a version was made of, as a page."""

from __future__ import annotations

import pathlib

from data.base import pages
from data.base.files import exists, is_remote
from pipeline.records.lineage import Lineage
from pipeline.records.pages.graph import draw_graph

_TEMPLATE_PATH = pathlib.Path(__file__).with_name("lineage.html")


def render(name: str, version: int, lineage: Lineage) -> str:
    """The page as HTML that needs nothing else.

    Args:
      name: of the pipeline.
      version: the version.
      lineage: its.
    """
    report = lineage.report
    is_here = report is not None and not is_remote(report) and exists(report)
    return pages.template(_TEMPLATE_PATH).render(
        name=name,
        version=version,
        state=lineage.state,
        report=pathlib.Path(str(report)).absolute().as_uri() if is_here else None,
        graph=draw_graph(lineage.graph, f"How version {version} was made: the steps, and which of them used which"),
        has_earlier=any(node.kind == "earlier" for node in lineage.graph),
        sections={heading: rows for heading, rows in lineage.sections.items() if rows},
    )
