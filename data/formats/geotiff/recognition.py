"""Does a folder hold scenes with their masks, and how large are the windows that they have room for?"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from data.base.files import is_remote, join, read_bytes
from data.decoding.errors import BadImageError
from data.decoding.images import looks_flat
from data.formats.base.reader import Recognition
from data.formats.geotiff import polygons
from data.formats.geotiff.scene import crs_name, opened, read_header
from data.listing.items import LEFT_BY_TOOLS
from data.listing.layout import Layout, find_layout

_EXTENSIONS = (".tif", ".tiff")
# Of vectors, as `find_layout` knows images alone.
_STAND_IN = ".tif"
# A scene has room for so many windows in a row, if they need not be smaller than the smallest.
_WINDOWS_IN_A_ROW = 4
_SMALLEST = 32
# So many scenes, none of which has a longer side, were cut before; looking at some of very many is enough.
_FEWEST_CHIPS, _LARGEST_CHIP, _MOST_LOOKS = 20, 1024, 200
# Names of the attribute that holds classes, if there are several.
_ATTRIBUTES = ("class", "class_name", "classname", "label", "category", "landcover", "land_cover", "type", "name")
# An attribute with more values than these has names of things, not of classes.
_MOST_CLASSES = 60


@dataclasses.dataclass(frozen=True)
class _Found:
    """Where scenes and masks are: `masks` is a vector file for all scenes, or empty."""

    layout: Layout | None
    scenes: list[str]
    masks: str
    first_mask: str

    @property
    def scene(self) -> str:
        """The first by name."""
        return min(self.scenes)


def recognize_scenes(folder: str, files: list[str], window: int) -> Recognition | None:
    """Whether a folder holds scenes that lie somewhere on the ground, and masks of them.

    Args:
      folder: the folder.
      files: paths of all files in it, relative.
      window: pixels of a window, if scenes have room for it.
    """
    found = None if is_remote(folder) else _find(folder, files)
    if found is None:
        return None
    try:
        with opened(join(folder, found.scene)) as raster:
            scene = read_header(raster, found.scene)
    except (BadImageError, OSError):
        return None
    if not scene.crs:
        return None
    reasons = [f"{found.scene} is a raster in {crs_name(scene.crs)}", *(found.layout.reasons if found.layout else ())]
    options: dict[str, Any] = dict(found.layout.options) if found.layout else {}
    assumptions = list(found.layout.assumptions) if found.layout else []
    if found.masks:
        reasons.append(f"{found.masks} is the only vector file")
        options["masks"] = found.masks
        if (images := found.scene.rpartition("/")[0] or ".") != "images":
            options["images"] = images.partition("/")[0]
    if chip := _chip(folder, found.scenes):
        options["window"] = chip
        assumptions.append(
            f"windows of {chip} pixels, if --window names no other number, since no scene has a side of more than "
            f"{_LARGEST_CHIP}, so they were cut before; --format mask-folder takes them as plain images"
        )
    elif max(scene.height, scene.width) < _WINDOWS_IN_A_ROW * window:
        sizes = [window >> power for power in range(8)]
        room = [size for size in sizes if size * _WINDOWS_IN_A_ROW <= max(scene.height, scene.width)]
        options["window"] = max([_SMALLEST, *room[:1]])
        assumptions.append(
            f"windows of {options['window']} pixels, if --window names no other number, since scenes such as "
            f"{found.scene} have {scene.width}x{scene.height}"
        )
    if not polygons.is_vector(found.first_mask):
        return Recognition(tuple(reasons), options, needs_labels=True, assumptions=tuple(assumptions))
    classes = _classes(join(folder, found.first_mask))
    if classes is None:
        return Recognition(tuple(reasons), options, needs_labels=False, assumptions=tuple(assumptions))
    attribute, names = classes
    options |= {"attribute": attribute, "classes": ",".join(names)} if attribute else {"classes": "background,object"}
    said = f"its attribute {attribute} has the classes" if attribute else "no attribute has classes, so all are objects"
    assumptions.append(f"{found.first_mask}: {said}; pixels of no polygon are background")
    return Recognition(tuple(reasons), options, assumptions=tuple(assumptions))


def _find(folder: str, files: list[str]) -> _Found | None:
    shown = [file for file in files if not any(part[0] == "." or part in LEFT_BY_TOOLS for part in file.split("/"))]
    rasters = [file for file in shown if file.lower().endswith(_EXTENSIONS)]
    vectors = [file for file in shown if polygons.is_vector(file)]
    if not rasters:
        return None
    if len(vectors) == 1 and len({file.rpartition("/")[0] for file in rasters}) == 1 and len(rasters) > 1:
        return _Found(None, rasters, vectors[0], vectors[0])
    # So that masks that are vectors pair as rasters do.
    real = {os.path.splitext(file)[0] + _STAND_IN: file for file in vectors} | {file: file for file in rasters}
    others = [file for file in shown if file not in rasters and file not in vectors]

    def is_flat(file: str) -> bool:
        path = real.get(file, file)
        return polygons.is_vector(path) or looks_flat(read_bytes(join(folder, path)))

    layout = find_layout([*real, *others], is_flat)
    if layout is None:
        return None
    of_images = _of(layout.images, layout.naming.images.cut, real)
    of_masks = _of(layout.masks, layout.naming.masks.cut, real)
    scenes = [file for file in of_images if file.lower().endswith(_EXTENSIONS)]
    if layout.images == layout.masks:
        scenes = [file for file in scenes if file not in of_masks]
    return _Found(layout, scenes, "", min(of_masks)) if scenes and of_masks else None


def _chip(folder: str, scenes: list[str]) -> int | None:
    """The smallest side of scenes that were cut into small ones before; None if they were not."""
    if len(scenes) < _FEWEST_CHIPS:
        return None
    sides: list[int] = []
    for name in scenes[:: -(-len(scenes) // _MOST_LOOKS)]:
        try:
            with opened(join(folder, name)) as raster:
                sides += raster.height, raster.width
        except (BadImageError, OSError):  # The reader will say why.
            continue
        if max(sides) > _LARGEST_CHIP:
            return None
    return max(min(sides), _SMALLEST) if sides else None


def _of(place: str, cut: Any, real: dict[str, str]) -> list[str]:
    """The files of a role; its folder may be in several folders."""
    parts = place.split("/")
    return [
        path
        for name, path in real.items()
        if (place == "." or name.startswith(f"{place}/") or name.split("/")[1 : 1 + len(parts)] == parts)
        and cut(os.path.splitext(name)[0].rpartition("/")[2])
    ]


def _classes(path: str) -> tuple[str, list[str]] | None:
    """The attribute of polygons that holds classes, and these, first background; an empty name if there is none.

    None if the file cannot be read, of which the reader will say why.
    """
    try:
        found = polygons.attributes(path)
    except BadImageError:
        return None
    fitting = {name: values for name, values in found.items() if 1 < len(values) <= _MOST_CLASSES}
    named = [name for usual in _ATTRIBUTES for name in fitting if name.casefold() == usual]
    texts = [name for name, values in fitting.items() if not all(value.lstrip("-").isdigit() for value in values)]
    chosen = next(iter([*named, *(texts if len(texts) == 1 else [])]), "")
    if not chosen:
        return "", []
    return chosen, list(dict.fromkeys(["background", *fitting[chosen]]))
