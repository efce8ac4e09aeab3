"""Writes small data sets as CVAT exports them, by the structure that its manual gives for its formats."""

from __future__ import annotations

import pathlib
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 18
LABELS = [("car", "#ff0000", "polygon"), ("tree", "#00ff00", "any"), ("lane", "#0000ff", "polyline")]


def element(kind: str, **attributes: object) -> str:
    """An element without content."""
    return f"<{kind} {' '.join(f'{key}={quoteattr(str(value))}' for key, value in attributes.items())}></{kind}>"


def polygon(label: str, *points: float, **others: object) -> str:
    """A polygon with x and y of its points in turn."""
    pairs = ";".join(f"{x:.2f},{y:.2f}" for x, y in zip(points[::2], points[1::2], strict=True))
    return element("polygon", label=label, source="manual", occluded=0, points=pairs, **{"z_order": 0, **others})


def mask(label: str, pixels: np.ndarray, left: int, top: int, **others: object) -> str:
    """A mask of the pixels of a box, as run lengths along its rows."""
    values = np.concatenate([[0], pixels.ravel().astype(int), [-1]])
    ends = np.flatnonzero(values[1:] != values[:-1])
    runs = np.diff(np.concatenate([[0], ends])).tolist()
    height, width = pixels.shape
    rle = ", ".join(str(run) for run in runs)
    return element(
        "mask", label=label, rle=rle, left=left, top=top, width=width, height=height, **{"z_order": 0, **others}
    )


def labels_text(labels: list[tuple[str, str, str]]) -> str:
    """The element with the labels."""
    entries = (
        f"<label><name>{escape(name)}</name><color>{color}</color><type>{type_}</type><attributes><attribute>"
        "<name>kind</name><input_type>text</input_type><default_value/><values/></attribute></attributes></label>"
        for name, color, type_ in labels
    )
    return f"<labels>{''.join(entries)}</labels>"


def document(*parts: str, labels: list[tuple[str, str, str]] = LABELS, task: str = "<mode>annotation</mode>") -> str:
    """A file of a task."""
    head = (
        f"<meta><task><id>7</id><name>t</name>{task}{labels_text(labels)}<segments/></task><dumped>now</dumped></meta>"
    )
    return '<?xml version="1.0" encoding="utf-8"?>\n' + "\n".join(
        ["<annotations>", "<version>1.1</version>", head, *parts, "</annotations>"]
    )


def image(name: str, *shapes: str, **others: object) -> str:
    """An image with its shapes, one a line."""
    start = element("image", id=0, name=name, width=WIDTH, height=HEIGHT, **others).removesuffix("</image>")
    return "\n".join([start, *shapes, "</image>"])


def write_image(path: pathlib.Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    """A gray image, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 90, 90)).save(path)


def write_export(folder: pathlib.Path, text: str, *names: str, images: str = "images") -> pathlib.Path:
    """An export of a file and images."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotations.xml").write_text(text, encoding="utf-8")
    for name in names:
        write_image(folder / images / name)
    return folder


def write_masks(folder: pathlib.Path, masks: dict[str, np.ndarray], colors: list[tuple[str, str]], subset: str) -> None:
    """An export of masks: class ids are painted in the colors of the label map, in its order."""
    lines = ["# label:color_rgb:parts:actions", *(f"{name}:{color}::" for name, color in colors)]
    table = np.array([[int(channel) for channel in color.split(",")] for _, color in colors], np.uint8)
    for kind in ("SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / "labelmap.txt").write_text("\n".join(lines) + "\n")
    for name, ids in masks.items():
        (folder / "SegmentationClass" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(table[ids]).save(folder / "SegmentationClass" / f"{name}.png")
        write_image(folder / "JPEGImages" / f"{name}.jpg", ids.shape[1], ids.shape[0])
    (folder / "ImageSets" / "Segmentation" / f"{subset}.txt").write_text("".join(f"{name}\n" for name in masks))
