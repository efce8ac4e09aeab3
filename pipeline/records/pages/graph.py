"""A graph of steps as SVG, from top to bottom, narrow enough for a phone.

Its layers are those of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures",
1981: a step is below all that it used, and long arrows keep a place in each layer that they cross.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

# In pixels, as are all sizes below.
_BOX_WIDTH, _LANE_WIDTH = 164, 10
_GAP, _LAYER_GAP, _MARGIN = 14, 30, 3
_TITLE_HEIGHT, _LINE_HEIGHT, _PADDING = 18, 15, 8
# How many letters fit into a box; all have the same width, but for those of some scripts, which have twice that.
_LETTERS = 22
_SWEEPS = 8


@dataclasses.dataclass(frozen=True)
class Node:
    """A box.

    Attributes:
      name: its title, which no other box has.
      lines: more about it; long ones are wrapped.
      used: names of the boxes from which arrows lead to it.
      kind: `step`, `earlier` for a step of an earlier run, or `thing` for what is no step.
    """

    name: str
    lines: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    kind: str = "step"


# A place in a layer: a box, or where an arrow from one box to another crosses it.
_Place = str | tuple[str, str, int]


def draw_graph(nodes: Iterable[Node], description: str) -> Markup:
    """The graph; arrows that a way over other boxes implies are left out.

    Args:
      nodes: in an order in which each comes after those that it used.
      description: the graph in words.
    """
    by_name = {node.name: node for node in nodes}
    used = _reduced({name: [one for one in node.used if one in by_name] for name, node in by_name.items()})
    layers, arrows = _layers(used)
    _order(layers, arrows)
    wrapped = {name: [part for line in node.lines for part in wrap(line)] for name, node in by_name.items()}
    width = 2 * _MARGIN + max(sum(map(_width, layer)) + _GAP * (len(layer) - 1) for layer in layers)
    x: dict[_Place, float] = {}
    top: dict[_Place, float] = {}
    bottom: dict[_Place, float] = {}
    y = float(_MARGIN)
    for layer in layers:
        left = (width - sum(map(_width, layer)) - _GAP * (len(layer) - 1)) / 2
        tallest = max(_height(wrapped[place]) if isinstance(place, str) else 0 for place in layer)
        for place in layer:
            x[place] = left + _width(place) / 2
            top[place] = y
            bottom[place] = y + (_height(wrapped[place]) if isinstance(place, str) else tallest)
            left += _width(place) + _GAP
        y += tallest + _LAYER_GAP
    parts = [_arrow(x[a], bottom[a], x[b], top[b], isinstance(b, str)) for a, b in arrows]
    # Within a layer, from the end of a short box or an arrow's lane on.
    parts += [f'<path d="M{x[p]:.1f} {top[p]:.1f}V{bottom[p]:.1f}"/>' for p in x if not isinstance(p, str)]
    boxes = [_box(node, wrapped[node.name], x[node.name], top[node.name]) for node in by_name.values()]
    height = y - _LAYER_GAP + _MARGIN
    return Markup(
        f'<svg class="graph" role="img" aria-label="{escape(description)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="tip" d="M0 0.5 8 4 0 7.5z"/></marker></defs>'
        f"<g>{''.join(parts)}</g>{''.join(boxes)}</svg>"
    )


def wrap(text: str) -> list[str]:
    """Breaks a line where it is too long for a box, at blanks and within paths where that is possible."""
    lines = [""]
    for part in re.findall(r"[^ /_,;-]*[ /_,;-]?", text):
        if lines[-1] and _length(lines[-1] + part.rstrip()) > _LETTERS and _length(part) <= _LETTERS:
            lines.append("")
        for letter in part:
            if _length(lines[-1] + letter.rstrip()) > _LETTERS:
                lines.append("")
            lines[-1] += letter
    return [line.strip() for line in lines if line.strip()]


def _length(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _reduced(used: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Only the arrows without which a box could not be reached from another one."""
    before: dict[str, set[str]] = {}
    for name, own in used.items():
        before[name] = {one for direct in own for one in (direct, *before[direct])}
    return {name: [one for one in own if not any(one in before[other] for other in own)] for name, own in used.items()}


def _layers(used: Mapping[str, list[str]]) -> tuple[list[list[_Place]], list[tuple[_Place, _Place]]]:
    """Which box is in which layer, as low as it can be, and the arrows from each layer to the next."""
    height: dict[str, int] = {}
    for name in reversed(list(used)):
        height[name] = 1 + max((height[other] for other, own in used.items() if name in own), default=-1)
    last = max(height.values())
    layers: list[list[_Place]] = [[] for _ in range(last + 1)]
    for name in used:
        layers[last - height[name]].append(name)
    arrows: list[tuple[_Place, _Place]] = []
    for name, own in used.items():
        for one in own:
            before: _Place = one
            for layer in range(last - height[one] + 1, last - height[name]):
                place = (one, name, layer)
                layers[layer].append(place)
                arrows.append((before, place))
                before = place
            arrows.append((before, name))
    return layers, arrows


def _order(layers: list[list[_Place]], arrows: list[tuple[_Place, _Place]]) -> None:
    """Puts each place near those that it is connected with, so that few arrows cross."""
    for sweep in range(_SWEEPS):
        is_down = sweep % 2 == 0
        for index in range(1, len(layers)) if is_down else range(len(layers) - 2, -1, -1):
            fixed = layers[index - 1 if is_down else index + 1]
            position = {place: order - (len(fixed) - 1) / 2 for order, place in enumerate(fixed)}
            middle = {}
            for order, place in enumerate(layers[index]):
                near = [position[a] for a, b in arrows if b == place and a in position]
                near += [position[b] for a, b in arrows if a == place and b in position]
                middle[place] = (sum(near) / len(near) if near else 0.0, order)
            layers[index].sort(key=middle.__getitem__)


def _width(place: _Place) -> int:
    return _BOX_WIDTH if isinstance(place, str) else _LANE_WIDTH


def _height(lines: list[str]) -> int:
    return 2 * _PADDING + _TITLE_HEIGHT + _LINE_HEIGHT * len(lines)


def _arrow(x: float, y: float, to_x: float, to_y: float, has_tip: bool) -> str:
    bend = _LAYER_GAP / 2
    # From a box that is lower than others in its layer it goes straight down to where all of them end.
    start = to_y - _LAYER_GAP
    tip = ' marker-end="url(#tip)"' if has_tip else ""
    end = to_y - (1 if has_tip else 0)
    return (
        f'<path{tip} d="M{x:.1f} {y:.1f}V{start:.1f}C{x:.1f} {start + bend:.1f} {to_x:.1f} {to_y - bend:.1f} '
        f'{to_x:.1f} {end:.1f}"/>'
    )


def _box(node: Node, lines: list[str], x: float, top: float) -> str:
    left = x - _BOX_WIDTH / 2
    texts = [
        f'<text x="{left + _PADDING:.1f}" y="{top + _PADDING + _TITLE_HEIGHT - 5 + _LINE_HEIGHT * (index + 1):.1f}">'
        f"{escape(line)}</text>"
        for index, line in enumerate(lines)
    ]
    return (
        f'<g class="box {escape(node.kind)}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{_BOX_WIDTH}" height="{_height(lines)}" rx="6"/>'
        f'<text class="title" x="{left + _PADDING:.1f}" y="{top + _PADDING + _TITLE_HEIGHT - 5:.1f}">'
        f"{escape(node.name)}</text>{''.join(texts)}</g>"
    )
