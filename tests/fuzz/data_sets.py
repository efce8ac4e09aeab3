"""Draws data sets whose meaning is known: labels, what they are called and stored as, and files of images and masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from data.contract import IGNORE_LABEL
from data.label_map import LabelMap, distinct_colors
from data.label_map_files import parse_labels
from tests.data.decoding import encodings
from tests.data.formats.layouts import Example, Layout

NAMES = [
    "a", "b [1]", "c*?", "straße", "é", "park/é_1", "park/b", "한글/각", "it's", 'q"t', "100%", "d#e", "-f", "~g",
    "h.i", "j k/l", "(m)", "n$o", "p&q", "{r}", "s;t", "u!v",
]  # fmt: skip
SPLITS = ("train", "eval", "test")
# Shown for what has no color of its own; none of the colors below.
NO_CLASS = (250, 3, 7)
# Ways to store values and colors that leave nothing in doubt, where the labels do not either.
PLAIN_VALUES = ("gray PNG, 8", "gray PNG, 16", "gray TIFF, 8", "TIFF, 32", "float", "gray BMP", "ids in RGB")
PLAIN_COLORS = ("colors, ",)
# Four squares of the ids 0 to 3.
AREAS = np.kron(np.array([[0, 1], [2, 3]]), np.ones((8, 8), np.int64))
# Colors that as values of gray are ids, too.
GRAYS = [(gray, gray, gray) for gray in (0, 1, 2, 3, 127, 128, 254, 255)]


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the masks of a data set mean.

    Attributes:
      options: of `MaskFolderReader`, which say so.
      label_map: the classes.
      values: the values that masks have for each class id, and for 255.
      has_colors: whether the user gives the colors.
    """

    options: dict[str, Any]
    label_map: LabelMap
    values: dict[int, list[int]]
    has_colors: bool

    @property
    def ids(self) -> list[int]:
        return list(range(len(self.label_map)))

    def may_be_either(self, ids: np.ndarray) -> bool:
        """Whether a mask in gray could hold the values of these classes, or their colors, or those of others."""
        if not self.has_colors:
            return False
        used = set(np.unique(ids).tolist())
        values = {value for class_id in used for value in self.values.get(class_id, [])}
        colors = [label.color for label in self.label_map.root if label.id in used]
        grays = {label.color[0] for label in self.label_map.root if len(set(label.color)) == 1}
        all_values = {value for values in self.values.values() for value in values} | {1, 255}
        return bool(values & grays) or any(len(set(color)) == 1 and color[0] in all_values for color in colors)


@st.composite
def labels(draw: Any) -> Labels:
    """Class names, ids, values and colors as users give them."""
    kind = draw(st.sampled_from(["names", "foreground", "colors", "values", "values and colors", "gaps"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = 2 if kind == "foreground" else draw(st.integers(2, 30) | st.just(150) | st.just(2))
    names = [f"class {index}" for index in range(count)]
    if kind in ("names", "foreground"):
        options: dict[str, Any] = {"classes": names}
        values = {index: [index] for index in range(count)} | {IGNORE_LABEL: [255]}
        if kind == "foreground":
            white = draw(st.sampled_from([255, 255, 7, 1000]))
            options["foreground"] = white
            values = {0: [0], 1: [white], IGNORE_LABEL: [255] if white != 255 else []}
        return Labels(options, LabelMap.from_names(names), values, False)
    highest = draw(st.sampled_from([255, 255, 60000])) if kind in ("values", "values and colors") else 254
    numbers = rng.permutation(highest + 1)
    values = {index: [index] for index in range(count)}
    if kind == "gaps":
        values = {index: [int(value)] for index, value in enumerate(np.sort(numbers[:count]))}
    elif kind != "colors":
        values = {index: [int(number)] for index, number in enumerate(numbers[:count])}
        if draw(st.booleans()) and 2 * count <= highest:
            values[0].append(int(numbers[count]))
    taken = {value for of_class in values.values() for value in of_class}
    ignored = [value for value in (0, 255, int(numbers[-1])) if value not in taken and draw(st.booleans())]
    values[IGNORE_LABEL] = sorted({*ignored, *({255} - taken)})
    entries = []
    colors = _colors(draw, rng, count + 1)
    has_colors = kind in ("colors", "values and colors") or (kind == "gaps" and draw(st.booleans()))
    for index, name in enumerate(names):
        color = f", color: {list(colors[index])}" if has_colors else ""
        id_ = values[index][0] if kind == "gaps" else index
        value = f", value: {values[index]}" if kind.startswith("values") else ""
        entries.append(f"- {{id: {id_}, name: {name}{value}{color}}}")
    if has_colors and (255, 255, 255) in colors[:count] and 255 not in ignored:
        # White that the user gave to a class weighs more than what 255 means by default.
        values[IGNORE_LABEL] = [value for value in values[IGNORE_LABEL] if value != 255]
    if has_colors and draw(st.booleans()):
        own = f", value: {values[IGNORE_LABEL]}" if values[IGNORE_LABEL] and kind != "gaps" else ""
        if own or 255 in values[IGNORE_LABEL]:
            entries.append(f"- {{id: 255, name: void{own}, color: {list(colors[count])}}}")
    if ignored:
        entries.append(f"- {{ignore: {ignored}}}")
    read = parse_labels("\n".join(entries), "labels.yaml")
    return Labels({"labels": read}, read.label_map, values, has_colors)


def _colors(draw: Any, rng: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
    """Colors of classes: any, or some of them grays."""
    found = [tuple(color) for color in rng.integers(0, 256, (count, 3)).tolist()]
    how = draw(st.sampled_from(["any", "black first", "grays", "near", "given"]))
    if how == "black first":
        found[0] = (0, 0, 0)
    elif how == "grays":
        grays = draw(st.permutations(GRAYS))
        places = rng.permutation(count)[: len(grays)]
        for place, gray in zip(places, grays[: draw(st.integers(1, len(grays)))], strict=False):
            found[place] = gray
    elif how == "near":
        found = [(index % 16 * 3, index // 16 * 5, 40) for index in range(count)]
    elif how == "given":
        found = list(distinct_colors(count))
    return found if len(set(found)) == count else list(distinct_colors(count))


def scene(rng: np.random.Generator, ids: list[int], ignored: bool) -> np.ndarray:
    """Class ids of a picture: [height, width] int64."""
    height, width = rng.integers(1, 65, 2).tolist()
    kind = rng.choice(["polygons", "polygons", "one class", "noise", "thin", "stripes"])
    if kind == "one class":
        found = np.full((height, width), rng.choice(ids))
    elif kind == "noise":
        found = rng.choice(rng.choice(ids, min(len(ids), 4)), (height, width))
    else:
        image = Image.new("I", (width, height), int(rng.choice(ids)))
        pen = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(1, 8))):
            points = [
                (int(x), int(y)) for x, y in zip(rng.integers(0, width, 4), rng.integers(0, height, 4), strict=True)
            ]
            if kind == "polygons":
                pen.polygon(points, fill=int(rng.choice(ids)))
            elif kind == "thin":
                pen.line(points, fill=int(rng.choice(ids)))
            else:
                pen.rectangle((0, points[0][1], width, points[0][1] + 3), fill=int(rng.choice(ids)))
        found = np.array(image)
    if ignored:
        top, left = rng.integers(0, height), rng.integers(0, width)
        found = found.copy()
        found[top : top + 5, left : left + 5] = IGNORE_LABEL
    return found.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A pair, and what it means.

    Attributes:
      example: its files.
      ids: [height, width].
      pixels: of the image, [height, width] or [height, width, 3].
      way: how the mask is stored.
    """

    example: Example
    ids: np.ndarray
    pixels: np.ndarray
    way: str


def stored_values(ids: np.ndarray, values: dict[int, list[int]], rng: np.random.Generator) -> np.ndarray:
    """Ids as the values that masks have for them, any where there are several."""
    found = np.zeros(ids.shape, np.int64)
    for class_id in np.unique(ids):
        found[ids == class_id] = rng.choice(values[int(class_id)], np.count_nonzero(ids == class_id))
    return found


def ways_to_store(
    ids: np.ndarray, labels: Labels, family: str, shown: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """All ways to store a mask by what its labels are said to be: as `values`, as `colors`, or `any`."""
    ways: dict[str, Any] = {}
    known = {label.id for label in labels.label_map.root}
    if family != "colors" and all(labels.values.get(int(class_id)) for class_id in np.unique(ids)):
        values = stored_values(ids, labels.values, rng)
        ways |= encodings.ways_to_store_values(values)
        is_white_said = any(255 in labels.values[class_id] for class_id in labels.ids)
        is_ignored_said = "labels" in labels.options and 255 in labels.options["labels"].values
        if 255 in values and not is_white_said and (len(labels.ids) == 2 or is_ignored_said):
            # Pillow may store 0 and 255 in a bit, whose white is id 1 where there are two classes, or 255 is ignored
            # because the user says so.
            ways.pop("gray GIF", None)
        if values.max() < 256:
            palette = shown.copy()
            if labels.has_colors:
                palette[:] = NO_CLASS
                for label in labels.label_map.root:
                    for value in labels.values[label.id]:
                        if value < 256:
                            palette[value] = label.color
            ways |= encodings.ways_to_store_indices(values, palette)
            if is_white_said and set(np.unique(values)) <= {0, 255}:
                ways |= encodings.ways_to_store_black_and_white(values)
    # Made-up colors are only stored by segpipe's own pictures.
    if family != "values" and set(np.unique(ids).tolist()) <= known:
        ways |= encodings.ways_to_store_colors(ids, labels.label_map, rng)
    return ways


def shown_palette(draw: Any, rng: np.random.Generator, labels: Labels) -> np.ndarray:
    """[256, 3], what a tool shows each value as where nobody gave colors."""
    how = draw(st.sampled_from(["vivid", "grays", "stretched grays", "given"]))
    if how == "grays":
        return np.repeat(np.arange(256)[:, np.newaxis], 3, axis=1)
    if how == "stretched grays":
        step = max(1, 255 // max(len(labels.label_map) - 1, 1))
        return np.repeat((np.arange(256) * step % 256)[:, np.newaxis], 3, axis=1)
    if how == "given":
        return np.array(distinct_colors(256))
    return rng.integers(0, 256, (256, 3))


def image_file(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[bytes, np.ndarray]:
    """An image and its pixels, in a lossless format."""
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    kind = str(rng.choice(["PNG", "gray PNG", "BMP", "TIFF", "RGBA", "WebP", "interlaced", "gray TIFF"]))
    image = Image.fromarray(pixels)
    if kind.startswith("gray"):
        return encodings.saved(Image.fromarray(pixels[..., 0]), kind.removeprefix("gray ")), pixels[..., 0]
    if kind == "RGBA":
        image.putalpha(Image.fromarray(pixels[..., 1]))
        return encodings.saved(image, "PNG"), pixels
    if kind == "WebP":
        return encodings.saved(image, "WEBP", lossless=True), pixels
    if kind == "interlaced":
        return encodings.png(pixels, 8, encodings.RGB, interlaced=True), pixels
    return encodings.saved(image, kind if kind in ("BMP", "TIFF") else "PNG"), pixels


@st.composite
def data_sets(draw: Any, is_whole: bool = False) -> tuple[Labels, list[Picture]]:
    """Labels, and three to eight pictures whose masks are stored in one to four ways.

    Where the data set is to be whole, it has all splits, and hardly ever anything doubtful.
    """
    meaning = draw(labels())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shown = shown_palette(draw, rng, meaning)
    has_splits = is_whole or draw(st.booleans())
    wanted: list[str] = []
    pictures = []
    most = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=3, max_size=8, unique=True))
    ids_used = meaning.ids if draw(st.booleans()) else meaning.ids[: draw(st.integers(1, len(meaning.ids)))]
    family = draw(st.sampled_from(["values", "colors", "any"]))
    is_plain, plain = (
        is_whole or draw(st.integers(0, 3)) == 0,
        PLAIN_VALUES + (PLAIN_COLORS if meaning.has_colors else ()),
    )
    for number, name in enumerate(names):
        ids = scene(rng, ids_used, not is_whole and rng.random() < 0.25)
        ways = ways_to_store(ids, meaning, family, shown, rng)
        if pictures and family == "any" and meaning.may_be_either(ids):
            continue  # Such masks are read as the others of their data set are, so that only these must agree.
        if not ways:
            ids[ids == 255] = 0
            ways = ways_to_store(ids, meaning, family, shown, rng)
        if is_plain:
            ways = {way: ways[way] for way in ways if way.startswith(plain)} or ways
        known = [way for way in wanted if way in ways]
        if len(wanted) < most or not known:
            way = str(rng.choice(sorted(ways)))
            wanted.append(way)
        else:
            way = str(rng.choice(known))
        image, pixels = image_file(rng, ids.shape)
        split = SPLITS[number % 3] if has_splits else ""
        pictures.append(Picture(Example(name, split, image, ways[way]()), ids, pixels, way))
    return meaning, pictures


def fitting(layout: Layout, pictures: list[Picture]) -> Layout:
    """A layout that can hold the pictures: without splits, no folder of a split comes first."""
    if layout.order == "split first" and not pictures[0].example.split:
        return dataclasses.replace(layout, order="kind first")
    return layout
