"""Makes COCO data sets, and reads them to the end."""

import json

import numpy as np
from PIL import Image

from data.decoding.errors import BadImageError, why_unusable
from data.formats.coco.reader import CocoReader

WIDTH, HEIGHT = 30, 20
CATEGORIES = ({"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 90, "name": "bird"})


def pictures(folder, *names, size=(WIDTH, HEIGHT)):
    """Makes image files; none is like another."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(str(path).encode())
        pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def image(key, name, **fields):
    """An entry of `images`."""
    return {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT, **fields}


def box(left, top, right, bottom):
    """The outline of a box."""
    return [left, top, right, top, right, bottom, left, bottom]


def annotation(key, image_key, category=3, segmentation=None, **fields):
    """An entry of `annotations`."""
    segmentation = [box(1, 1, 9, 9)] if segmentation is None else segmentation
    entry = {"id": key, "image_id": image_key, "category_id": category, "segmentation": segmentation, "iscrowd": 0}
    return {**entry, **fields}


def store(folder, images, annotations, categories=CATEGORIES, file="annotations/instances.json"):
    """Writes an annotation file."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"info": {}, "images": images, "annotations": annotations, "categories": list(categories)}
    path.write_text(json.dumps(content))
    return path


def listing(folder, **options):
    """The listing of a folder."""
    return CocoReader(folder=str(folder), **options).listing()


def splits(folder, **options):
    """The split of each example of a folder, by name."""
    return {source.source_id: source.split for source in listing(folder, **options).sources}


def read_all(folder, **options):
    """The labels of each example by name, and what was set aside, each with its reason."""
    reader = CocoReader(folder=str(folder), **options)
    found = reader.listing()
    start = len(str(folder)) + 1
    set_aside = {one.input.removeprefix(f"{folder}/"): one.reason for one in found.set_aside}
    labels = {}
    for source in found.sources:
        try:
            labels[source.source_id] = reader.read(source)
        except BadImageError as error:
            set_aside[source.image[start:]] = why_unusable(error)
    return labels, set_aside
