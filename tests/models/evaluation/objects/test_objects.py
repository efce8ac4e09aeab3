"""Held against pycocotools, and against panoptic quality as the paper defines it."""

import itertools

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data.contract import CROWD, IGNORE_LABEL
from models.evaluation.objects import panoptic_quality as pq
from models.evaluation.objects.average_precision import Detections
from models.evaluation.objects.segments import VOID, Segments, keys, overlaps

CLASSES, IS_THING = 4, np.array([False, True, False, True])


def random_scene(generator, size, most, void=True, crowd=True):
    """Class ids and objects: rectangles and stuff, where later ones cover earlier ones."""
    class_ids = np.where(np.arange(size)[:, np.newaxis] < size // 2, 0, 2) * np.ones([1, size], int)
    instances = np.zeros([size, size], int)
    for number in range(1, generator.integers(0, most + 1) + 1):
        top, left = generator.integers(0, size, 2)
        height, width = generator.integers(1, size // 2, 2)
        here = slice(top, top + height), slice(left, left + width)
        class_ids[here], instances[here] = generator.choice([1, 3]), number
    if crowd:
        here = slice(0, size // 3), slice(size // 2, size)
        class_ids[here], instances[here] = 1, CROWD
    if void:
        class_ids[size // 4 : size // 3, :], instances[size // 4 : size // 3, :] = IGNORE_LABEL, 0
    return class_ids, instances


def disturbed(generator, class_ids, instances):
    """A prediction: each object moved a little, lost, or of another class."""
    found, numbers = np.where((class_ids == 0) | (class_ids == 2), class_ids, 0), np.zeros_like(instances)
    for number in np.unique(instances[instances > 0]):
        if generator.random() < 0.15:
            continue
        shape = np.roll(instances == number, generator.integers(-2, 3, 2), axis=(0, 1))
        of = class_ids[instances == number]
        class_id = of[0] if generator.random() < 0.85 else generator.choice([1, 3])
        found[shape] = class_id if class_id != IGNORE_LABEL else 1
        numbers[shape] = number if number != CROWD else 999
    return found, numbers


def segments_of(label, prediction):
    return Segments.of(overlaps(keys(*label, IS_THING), keys(*prediction, IS_THING)))


def reference_quality(label, prediction):
    """Section 4 of the paper, with masks: sums of IoU, TP, FP, FN by class."""

    def masks(class_ids, instances):
        for class_id in range(CLASSES):
            here = class_ids == class_id
            for number in np.unique(instances[here]):
                yield class_id, number, here & (instances == number)

    void = label[0] == IGNORE_LABEL
    labeled, crowds = [], np.zeros([CLASSES, *void.shape], bool)
    for class_id, number, mask in masks(*label):
        if IS_THING[class_id] and number in (0, CROWD):
            crowds[class_id] |= mask
        else:
            labeled.append((class_id, mask))
    predicted = [(c, m) for c, n, m in masks(*prediction) if not (IS_THING[c] and n == 0)]
    totals = np.zeros([4, CLASSES])
    hit_labels, hit_predictions = set(), set()
    for (i, (a, label_mask)), (j, (b, mask)) in itertools.product(enumerate(labeled), enumerate(predicted)):
        iou = (label_mask & mask).sum() / (label_mask | mask)[~void].sum() if (label_mask & mask).any() else 0
        if a == b and iou > 0.5:
            totals[:2, a] += iou, 1
            hit_labels.add(i)
            hit_predictions.add(j)
    for j, (class_id, mask) in enumerate(predicted):
        if j not in hit_predictions and (mask & (void | crowds[class_id])).sum() / mask.sum() <= 0.5:
            totals[2, class_id] += 1
    for i, (class_id, _) in enumerate(labeled):
        totals[3, class_id] += i not in hit_labels
    return totals


@pytest.mark.parametrize("seed", range(8))
def test_panoptic_quality_is_that_of_the_paper(seed):
    generator = np.random.default_rng(seed)
    for _ in range(5):
        label = random_scene(generator, 40, 12)
        prediction = disturbed(generator, *label)
        totals = pq.quality_totals(segments_of(label, prediction), CLASSES)
        np.testing.assert_allclose(totals, reference_quality(label, prediction), rtol=0, atol=1e-12)


def test_quality_is_the_product_of_its_parts():
    totals = np.array([[3.2, 0, 0], [4, 0, 0], [1, 2, 0], [3, 0, 0]])
    np.testing.assert_allclose(pq.panoptic_quality(totals), [3.2 / 6, 0, np.nan])
    np.testing.assert_allclose(
        pq.panoptic_quality(totals), pq.segmentation_quality(totals) * pq.recognition_quality(totals)
    )
    assert pq.matched_share(totals) == 4 / 10
    assert np.isnan(pq.matched_share(np.zeros([4, 2])))


def coco_precision(scenes):
    """[10] mean precision of class 1 by pycocotools, without a limit of objects."""
    labels, found = [], []
    for image, (label, prediction, scores) in enumerate(scenes):
        for number in np.unique(label[1][label[0] == 1]):
            mask = np.asfortranarray((label[0] == 1) & (label[1] == number), np.uint8)
            labels.append(
                {
                    "id": len(labels) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": int(number == CROWD),
                    "area": int(mask.sum()),
                    "segmentation": coco_masks.encode(mask),
                }
            )
        for number in np.unique(prediction[1][prediction[0] == 1]):
            mask = np.asfortranarray((prediction[0] == 1) & (prediction[1] == number), np.uint8)
            found.append(
                {
                    "image_id": image,
                    "category_id": 1,
                    "score": float(scores[1, number]),
                    "segmentation": coco_masks.encode(mask),
                }
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image, "height": 40, "width": 40} for image in range(len(scenes))],
        "annotations": labels,
        "categories": [{"id": 1, "name": "thing"}],
        "info": {},
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(found), "segm")
    evaluation.params.maxDets = [1, 10, 10000]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, 0, 2].mean(axis=1)


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_is_that_of_coco(seed):
    generator = np.random.default_rng(seed)
    scenes, parts = [], []
    for _ in range(12):
        label = random_scene(generator, 40, 12, void=False, crowd=seed % 2 == 0)
        prediction = disturbed(generator, *label)
        scores = generator.permutation(4000).reshape(4, 1000) / 4000
        scenes.append((label, prediction, scores))
        segments = segments_of(label, prediction)
        of = scores[segments.predicted.class_ids, segments.predicted.keys % 65536]
        parts.append(Detections.of(segments, of, 1))
    np.testing.assert_allclose(Detections.sum(parts).average_precision(), coco_precision(scenes), rtol=0, atol=1e-6)


def test_two_halves_of_an_object_are_one_hit_and_one_miss():
    label = np.full([4, 4], 1), np.full([4, 4], 7)
    prediction = np.full([4, 4], 1), np.repeat([[1, 1, 2, 2]], 4, axis=0)
    segments = segments_of(label, prediction)
    found = Detections.of(segments, np.array([0.3, 0.6]), 1)
    assert found.is_hit[:, 0].tolist() == [True, False]
    assert found.scores.tolist() == pytest.approx([0.6, 0.3])
    assert not found.is_hit[:, 1:].any()
    assert pq.quality_totals(segments, CLASSES)[:, 1].tolist() == [0, 0, 2, 1]


def test_what_has_no_label_or_is_a_crowd_is_neither_hit_nor_invented():
    class_ids = np.array([[IGNORE_LABEL, IGNORE_LABEL, 1, 1, 0, 0]])
    label = class_ids, np.where(class_ids == 1, CROWD, 0)
    prediction = np.array([[1, 1, 1, 1, 1, 0]]), np.array([[5, 5, 6, 6, 8, 0]])
    segments = segments_of(label, prediction)
    assert (keys(*label, IS_THING) == VOID).sum() == 2
    assert pq.quality_totals(segments, CLASSES)[:, 1].tolist() == [0, 0, 1, 0]
    found = Detections.of(segments, np.array([0.0, 0.9, 0.8, 0.7]), 1)
    assert found.is_ignored[:, 0].tolist() == [True, True, False]
    assert found.labeled == 0
    assert np.isnan(found.average_precision()).all()


def test_an_empty_image_has_no_segment_of_a_thing():
    empty = np.zeros([3, 3], int), np.zeros([3, 3], int)
    segments = segments_of(empty, empty)
    assert pq.quality_totals(segments, CLASSES)[:, 0].tolist() == [1, 1, 0, 0]
    assert len(Detections.of(segments, np.ones(1), 1).scores) == 0
