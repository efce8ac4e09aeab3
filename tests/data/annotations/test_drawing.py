"""Shapes and their pixels, against pycocotools, and what lies over what."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from data.annotations.drawing import AnnotatedObject, draw
from data.annotations.shapes import Bitmap, Polygon, Runs, ellipse, rectangle
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.errors import BadImageError


def test_masks_of_real_polygons_equal_those_of_pycocotools(fruits):
    content = json.loads((fruits / "trainval.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        height, width = sizes[annotation["image_id"]]
        runs = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], height, width))
        mask = Polygon(annotation["segmentation"]).mask(height, width)
        assert np.array_equal(mask, coco_mask.decode(runs).astype(bool))
        for counts in (runs["counts"].decode(), _uncompressed(mask)):
            assert np.array_equal(Runs(counts, height, width).mask(height, width), mask)


def _uncompressed(mask):
    values = np.concatenate([[False], mask.T.ravel(), [True]])
    edges = np.flatnonzero(values[1:] != values[:-1])
    return np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()[: -1 if mask.T.ravel()[-1] else None]


def test_a_pixel_belongs_to_a_shape_if_its_center_lies_inside():
    square = Polygon([[1, 1, 4, 1, 4, 3, 1, 3]])
    assert (square.mask(5, 6).sum(), square.area(5, 6)) == (6, 6)
    mask = rectangle(4, 3, 1, 1).mask(5, 6)
    assert (mask.sum(), mask[1:3, 1:4].all()) == (6, True)
    rows, columns = np.indices((60, 80)) + 0.5
    circle = (columns - 30) ** 2 + (rows - 25) ** 2 < 20**2
    assert np.count_nonzero(ellipse(30, 25, 20, 20).mask(60, 80) != circle) <= 12
    assert np.array_equal(ellipse(30, 25, 20, 10, 90).mask(60, 80), ellipse(30, 25, 10, 20).mask(60, 80))


def test_what_lies_beyond_the_image_is_cut_off():
    assert Polygon([[-5, -5, 3, -5, 3, 2, -5, 2]]).mask(5, 6).sum() == 6
    assert Bitmap(np.ones((4, 4), bool), left=-2, top=3).mask(5, 6).sum() == 4
    assert Bitmap(np.ones((2, 2), bool), left=6, top=-2).mask(5, 6).sum() == 0


@pytest.mark.parametrize(("left", "top"), [(9, 1), (1, 9), (-9, 1), (1, -9)])
def test_what_lies_outside_of_the_image_altogether_is_an_error(left, top):
    outline = [left, top, left + 3, top, left + 3, top + 2]
    for shape in (Polygon([outline]), Bitmap(np.ones((2, 3), bool), left, top)):
        with pytest.raises(BadImageError, match="it lies outside of the image, which has 6x5 pixels; was the image"):
            shape.mask(5, 6)
    # Parts of an object may be cut off.
    assert Polygon([[1, 1, 4, 1, 4, 3, 1, 3], outline]).mask(5, 6).sum() == 6


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Polygon([[1, 1, 4, 1]]), "has 2 points"),
        (Polygon([[1, 1, 4, 1, 1, 1]]), "has 2 different points, and needs three"),
        (Polygon([[1, 1, 4, 1] * 3]), "has 2 different points"),
        (rectangle(2, 2, 2, 2), "has 1 different points"),
        (rectangle(2, 1, 2, 4), "has 2 different points"),
        (ellipse(2, 2, 0, 0), "has 1 different points"),
        (Polygon([[1, 1, 4, 1, 4, 3, 1]]), "odd number"),
        (Polygon([[1, 1, 4, 1, 4, float("nan")]]), "finite"),
        (Polygon([[1, 1, 4, 1, 4, 1e9]]), "so far apart"),
        (Runs([3, 4], 5, 6), "cover 7 pixels, the image has 30"),
        (Runs([10, 20], 6, 5), "cover 5x6 pixels, the image 6x5"),
        (Runs([-5, 35], 5, 6), "whole numbers"),
    ],
)
def test_broken_shapes_are_named_with_their_annotation(shape, message):
    with pytest.raises(BadImageError, match=f"^annotation 7: .*{message}"):
        draw([AnnotatedObject("annotation 7", 1, shape)], 5, 6)


def test_shapes_between_the_centers_of_pixels_are_no_mistake():
    small = [rectangle(1.1, 1.1, 1.3, 1.3), Polygon([[0, 0, 0, 3, 0, 5]]), rectangle(6, 1, 8, 3)]
    class_ids, _ = draw([AnnotatedObject("small", 1, shape) for shape in small], 5, 6)
    assert not class_ids.any()


def test_later_objects_lie_over_earlier_ones_and_crowds_below_all():
    objects = [
        AnnotatedObject("a", 1, rectangle(0, 0, 4, 2)),
        AnnotatedObject("b", 2, rectangle(2, 0, 5, 2), instance="x"),
        AnnotatedObject("sky", 3, rectangle(0, 3, 6, 4), is_thing=False),
        AnnotatedObject("b2", 2, rectangle(0, 4, 2, 5), instance="x"),
        AnnotatedObject("crowd", 1, rectangle(0, 0, 6, 2), is_crowd=True),
    ]
    class_ids, instances = draw(objects, 5, 6)
    assert class_ids[0].tolist() == [1, 1, 2, 2, 2, IGNORE_LABEL]
    assert instances[0].tolist() == [1, 1, 2, 2, 2, CROWD]
    assert (class_ids[3].tolist(), instances[3].tolist()) == ([3] * 6, [0] * 6)
    assert instances[4].tolist() == [2, 2, 0, 0, 0, 0]
    assert class_ids[2].tolist() == [0] * 6
    assert draw([], 5, 6, IGNORE_LABEL)[0].min() == IGNORE_LABEL


def test_objects_of_classes_that_are_not_learned_have_no_number():
    shapes = [rectangle(left, 0, left + 1, 1) for left in range(3)]
    objects = [
        AnnotatedObject("a", class_id, shape) for class_id, shape in zip((0, IGNORE_LABEL, 1), shapes, strict=True)
    ]
    class_ids, instances = draw(objects, 1, 3)
    assert (class_ids.tolist(), instances.tolist()) == ([[0, IGNORE_LABEL, 1]], [[0, 0, 1]])
