"""What is wrong with a page as it is seen, in a real browser, on phones and large screens, light and dark."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

WIDTHS = (390, 1280)
_HEIGHT = 800
# Of the brightness, 0 to 255, by which an edge must differ from the page to be seen as a shade.
_SEEN = 6

# What sticks out of the page, and is in no box that scrolls or cuts it off.
_OUT_OF_SIGHT = """
const wide = [...document.querySelectorAll('body *')].filter(element => {
  const { right, width } = element.getBoundingClientRect();
  if (!width || right <= document.documentElement.clientWidth + 1) return false;
  for (let box = element; box && box !== document.body; box = box.parentElement)
    if (box !== element && getComputedStyle(box).overflowX !== 'visible') return false;
  return getComputedStyle(element).position !== 'fixed';
});
return wide.filter(element => !wide.includes(element.parentElement))
  .map(element => `${element.tagName} ${element.id || element.getAttribute('class') || ''}`);
"""

# Boxes that hide a part of what they hold, a table among it; `scrolls` says whether it can be reached.
_CUT_BOXES = """
return [...document.querySelectorAll('body *')].filter(box => {
  const style = getComputedStyle(box);
  return style.overflowX !== 'visible' && box.clientWidth && box.scrollWidth > box.clientWidth + 1 &&
    box.querySelector('table, svg') && box.checkVisibility();
}).map(box => {
  return { box, scrolls: getComputedStyle(box).overflowX !== 'hidden', name: box.querySelector('table, svg').id };
});
"""

# Texts, in HTML and SVG, whose color is too near to that of what is behind them.
_UNREADABLE = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const opaque = color => color.length && (color.length < 4 || color[3] > 0.5);
function behind(element) {
  for (let box = element; box; box = box.parentElement) {
    const color = rgb(getComputedStyle(box).backgroundColor);
    if (opaque(color)) return color;
  }
  return [255, 255, 255];
}
function behindInDrawing(text) {
  const drawing = text.ownerSVGElement, place = text.getBoundingClientRect();
  const x = place.left + place.width / 2, y = place.top + place.height / 2;
  let color = behind(drawing.parentElement);
  for (const shape of drawing.querySelectorAll('rect, path, circle, polygon')) {
    const isBelow = shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
    if (!isBelow || shape.closest('defs, clipPath')) continue;
    const box = shape.getBoundingClientRect(), style = getComputedStyle(shape), fill = rgb(style.fill);
    const isFilled = style.fill !== 'none' && style.fillOpacity > 0.5 && style.opacity > 0.5 && opaque(fill);
    if (isFilled && box.left < x && x < box.right && box.top < y && y < box.bottom) color = fill;
  }
  return color;
}
const wrong = [];
for (const text of document.querySelectorAll('svg text'))
  if (text.textContent.trim() && text.checkVisibility() &&
      contrast(rgb(getComputedStyle(text).fill), behindInDrawing(text)) < 3) wrong.push(text.textContent);
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || element.closest('svg, script, style') || !element.checkVisibility()) continue;
  if (contrast(rgb(getComputedStyle(element).color), behind(element)) < 4) wrong.push(walker.currentNode.data.trim());
}
return wrong;
"""


def forms(browser: Any, widths: tuple[int, ...] = WIDTHS) -> Iterator[str]:
    """Shows the page of a browser as a phone does and as a large screen does, light and dark; yields which it is."""
    try:
        for width in widths:
            size = {"width": width, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            for scheme in ("light", "dark"):
                wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
                yield f"{width} pixels, {scheme}"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def faults(browser: Any) -> list[str]:
    """What is wrong with the page as it is shown now.

    A table may be wider than the screen if it scrolls, and if a shade at the edge says so. A text needs another color
    than what is behind it.
    """
    found = [f"wider than the screen: {name}" for name in browser.execute_script(_OUT_OF_SIGHT)]
    for cut in browser.execute_script(_CUT_BOXES):
        if not cut["scrolls"]:
            found.append(f"cut off: {cut['name']}")
        elif not _has_shade(browser, cut["box"]):
            found.append(f"scrolls without a sign of it: {cut['name']}")
    return found + [f"text of the color behind it: {text}" for text in browser.execute_script(_UNREADABLE)]


def _has_shade(browser: Any, box: Any) -> bool:
    """Whether the right edge of a box that scrolls looks otherwise than that of the same box at the end of its way."""
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", box)
    edges = []
    for place in (0, 100_000):
        browser.execute_script("arguments[0].scrollLeft = arguments[1]", box, place)
        x, y, width, height = browser.execute_script(
            "const box = arguments[0].getBoundingClientRect();"
            "return [box.left + scrollX, box.top + scrollY, box.width, box.height]",
            box,
        )
        clip = {"x": x + width - 6, "y": y, "width": 5, "height": height, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        pixels = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("L")
        edges.append(float(np.median(np.asarray(pixels))))
    browser.execute_script("arguments[0].scrollLeft = 0", box)
    return abs(edges[0] - edges[1]) >= _SEEN
