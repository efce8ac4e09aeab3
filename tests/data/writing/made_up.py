"""Masks with the traps of outlines, what writers make of them, and what a program draws that reads the files."""

import json
import pathlib
import urllib.parse
import xml.etree.ElementTree as ET

import numpy as np
import shapely
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter

from data.annotations.drawing import AnnotatedObject, draw
from data.annotations.shapes import Bitmap, Polygon
from data.formats import FORMATS
from data.label_map import LabelMap
from data.writing import WRITERS, AnnotatedImage
from data.writing.folders import annotation_folders

NAMES = ("background", "cat", "big dog", "a <\"&'>é")
LABELS = LabelMap.from_names(NAMES)
IDS = {name: index for index, name in enumerate(NAMES)}
# The formats that are read and written.
BOTH = sorted(set(FORMATS) & set(WRITERS))


def smooth(seed, height, width, classes=4, size=2.0):
    """A mask as models predict them."""
    random = np.random.default_rng(seed)
    return np.stack([gaussian_filter(random.normal(size=(height, width)), size) for _ in range(classes)]).argmax(0)


def masks():
    """Masks by the names of their images."""
    rings = np.zeros((31, 43), np.uint8)
    for depth in range(1, 15, 2):
        rings[depth : 31 - depth, depth : 43 - depth] = 1 + depth // 2 % 3
        rings[depth + 1 : 30 - depth, depth + 1 : 42 - depth] = 0
    touching = np.full((16, 21), 1, np.uint8)
    touching[3, 3] = touching[4, 4] = touching[5, 3] = touching[4, 2] = 2  # Holes that touch at corners.
    touching[9:14, 4:9] = 0
    touching[11, 6] = 3
    touching[9:14, 12:17] = np.eye(5)
    touching[0, 0] = touching[15, 20] = touching[0, 20] = 0
    found = {
        "rings.png": rings,
        "sub/touching holes.jpg": touching,
        "sub/noise é.png": np.random.default_rng(0).integers(0, 4, (23, 17)),
        "lines.png": np.kron(np.eye(9), np.ones((1, 3))) + 2 * np.eye(9, 27),
        "smooth.jpg": smooth(1, 90, 120),
        "full.png": np.full((7, 5), 2),
        "one.png": np.ones((1, 1)),
        "empty.jpg": np.zeros((6, 8)),
    }
    return {name: mask.astype(np.uint8) for name, mask in found.items()}


def write(output, formats, found, tolerance=0.0, label_map=LABELS):
    """Writes annotations of masks, whose images are said to be in `photos`, beside the output."""
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with annotation_folders(str(output), formats, label_map, tolerance) as folders:
        for name, mask in found.items():
            result = name.rpartition(".")[0]
            path = str(output.parent / "photos" / name)
            folders.add(AnnotatedImage(name, result, path, *mask.shape, folders.regions(mask)))
    return [output / f"annotations_{name}" for name in formats]


def as_data_set(name, written, found):
    """Puts images to annotations that `write` has written, as people do; the folder of both."""
    photos = written.parents[1] / "photos"
    if name == "yolo":  # The images belong in a folder of its own.
        photos = written / "images" / "train"
    for image, mask in found.items():
        (photos / image).parent.mkdir(parents=True, exist_ok=True)
        # No two are alike.
        pixels = np.random.default_rng(len(image) + mask.size).integers(0, 256, [*mask.shape, 3]).astype(np.uint8)
        Image.fromarray(pixels).save(photos / image)
    if name == "label-studio":
        accept(written)
    return written if name == "yolo" else written.parents[1]


def shapes(name, folder, image, height, width):
    """The shapes of an image as (class id, shape), read as simply as can be."""
    stem = image.rpartition(".")[0]
    if name == "coco":
        content = json.loads((folder / "annotations.json").read_text())
        (number,) = [entry["id"] for entry in content["images"] if entry["file_name"] == image]
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        for entry in content["annotations"]:
            if entry["image_id"] == number:
                yield IDS[names[entry["category_id"]]], Polygon(entry["segmentation"])
    elif name == "yolo":
        names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
        for line in (folder / "labels" / "train" / f"{stem}.txt").read_text().splitlines():
            number, *shares = line.split()
            corners = np.array(shares, float).reshape(-1, 2) * (width, height)
            yield IDS[names[int(number)]], Polygon([corners.ravel().tolist()])
    elif name == "labelme":
        content = json.loads((folder / f"{stem}.json").read_text())
        for shape in content["shapes"]:
            yield IDS[shape["label"]], Polygon([np.ravel(shape["points"]).tolist()])
    elif name == "cvat":
        (element,) = ET.parse(folder / "annotations.xml").getroot().findall(f"image[@name='{image}']")
        for shape in element:
            yield IDS[shape.get("label")], (_cvat_mask if shape.tag == "mask" else _cvat_polygon)(shape)
    elif name == "label-studio":
        tasks = json.loads((folder / "tasks.json").read_text())
        (task,) = [task for task in tasks if urllib.parse.unquote(task["data"]["image"]).endswith(f"?d={image}")]
        for result in task["predictions"][0]["result"]:
            corners = np.array(result["value"]["points"]) / 100 * (width, height)
            yield IDS[result["value"]["polygonlabels"][0]], Polygon([corners.ravel().tolist()])
    else:
        for feature in json.loads((folder / f"{stem}.geojson").read_text())["features"]:
            outline, *holes = ([np.ravel(ring).tolist()] for ring in feature["geometry"]["coordinates"])
            mask = Polygon(outline).mask(height, width)
            for hole in holes:
                mask &= ~Polygon(hole).mask(height, width)
            yield IDS[feature["properties"]["classification"]["name"]], Bitmap(mask)


def _cvat_mask(element):
    left, top, width, height = (int(element.get(key)) for key in ("left", "top", "width", "height"))
    runs = [int(text) for text in element.get("rle").split(",")]
    return Bitmap(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width), left, top)


def _cvat_polygon(element):
    return Polygon([[float(value) for pair in element.get("points").split(";") for value in pair.split(",")]])


def drawn(name, folder, image, mask):
    """Class ids that the files hold for an image."""
    objects = [AnnotatedObject(image, class_id, shape) for class_id, shape in shapes(name, folder, image, *mask.shape)]
    return draw(objects, *mask.shape)[0]


def farthest(mask, other):
    """How far from an edge of a mask the centers of pixels lie in which another one differs."""
    rows, columns = np.nonzero(mask != other)
    if not len(rows):
        return 0.0
    padded = np.pad(mask.astype(int), 1, constant_values=-1)
    y, x = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    lines = [np.stack([x, y, x, y + 1], 1)]
    y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    lines.append(np.stack([x, y, x + 1, y], 1))
    edges = shapely.STRtree(shapely.linestrings(np.concatenate(lines).reshape(-1, 2, 2)))
    centers = shapely.points(columns + 0.5, rows + 0.5)
    return float(edges.query_nearest(centers, return_distance=True, all_matches=False)[1].max())


def accept(folder):
    """As Label Studio does when people accept predictions and export."""
    path = pathlib.Path(folder) / "tasks.json"
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks, start=1):
        (prediction,) = task.pop("predictions")
        task |= {"id": number, "annotations": [{"id": number, "completed_by": 1, "result": prediction["result"]}]}
    path.write_text(json.dumps(tasks))
