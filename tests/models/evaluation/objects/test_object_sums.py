import numpy as np
import pytest

from models.evaluation import in_graph
from models.evaluation.metric_table import METRICS, measure
from models.evaluation.objects.object_sums import ObjectSums
from models.evaluation.objects.segments import keys, overlaps
from models.evaluation.sums import Sums
from tests.models.evaluation.objects.test_objects import CLASSES, IS_THING, disturbed, random_scene

NAMES = ["sky", "car", "ground", "person"]


def images(seed, count):
    """Name, seed, overlaps and scores of made-up images."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        label = random_scene(generator, 40, 12)
        prediction = disturbed(generator, *label)
        counted = overlaps(keys(*label, IS_THING), keys(*prediction, IS_THING))
        yield f"image {index}", 7 * index, np.pad(counted, [(0, 3), (0, 0)]), generator.random(1000)


def sums_of(chosen):
    sums = Sums.zeros(CLASSES)
    for name, seed, counted, scores in chosen:
        confusion = np.eye(CLASSES, dtype=np.int64)
        sums.add(name, seed, confusion, np.ones([3, CLASSES], np.int64), np.array([40, 40]))
        sums.add_objects(name, seed, counted, scores)
    return sums


def test_parts_add_up_in_any_order():
    everything = list(images(0, 12))
    whole = measure(NAMES, sums_of(everything))
    merged = Sums.zeros(CLASSES)
    for part in (everything[7:], [], everything[:7]):
        merged.merge(sums_of(part))
    assert merged.objects.kept_images() == sums_of(everything).objects.kept_images()
    of_parts = measure(NAMES, merged)
    assert of_parts.keys() == whole.keys()
    for name, value in whole.items():
        assert of_parts[name] == pytest.approx(value, nan_ok=True), name


def test_all_that_is_measured_of_objects_has_a_row():
    values = measure(NAMES, sums_of(images(0, 12)), sums_of(images(1, 12)))
    for metric in METRICS.values():
        for name in NAMES:
            assert (metric.key(name) in values) != metric.of_groups
    assert values["pq_lower"] < values["pq"] < values["pq_upper"]
    assert values["pq"] == pytest.approx(np.mean([values[f"class_pq_{name}"] for name in NAMES]))
    assert values["pq_things"] == pytest.approx(np.mean([values["class_pq_car"], values["class_pq_person"]]))
    assert (
        values["ap50"] >= values["ap"] == pytest.approx(np.nanmean([values["class_ap_car"], values["class_ap_person"]]))
    )
    assert values["pq_change_lower"] <= values["pq_change"] <= values["pq_change_upper"]
    assert values["counting_error"] >= 0 <= values["count_agreement"] <= 1


def test_a_model_without_objects_has_none_of_the_rows():
    sums = Sums.zeros(CLASSES)
    assert not [name for name in measure(NAMES, sums) if METRICS.get(name, METRICS["iou"]).of_objects]


def test_a_change_against_itself_is_none():
    values = measure(NAMES, *[sums_of(images(0, 12)) for _ in range(2)])
    assert [values[f"pq_things_change{end}"] for end in ("", "_lower", "_upper")] == [0, 0, 0]


def test_counts_and_areas():
    """Two objects of 4 pixels, of which one is found; one that is not there; and stuff, which counts nowhere here."""
    class_ids, objects = np.zeros([8, 8], int), np.zeros([8, 8], int)
    class_ids[:2, :2], objects[:2, :2] = 1, 1
    class_ids[4:6, 4:6], objects[4:6, 4:6] = 1, 2
    found, own = np.zeros([8, 8], int), np.zeros([8, 8], int)
    found[:2, :2], own[:2, :2] = 1, 1
    found[7, :], own[7, :] = 3, 2
    counted = overlaps(keys(class_ids, objects, IS_THING), keys(found, own, IS_THING))
    sums = ObjectSums.zeros(CLASSES)
    sums.add("one", 1, counted, np.array([0.9, 0.4]))
    assert sums.by_area[:, 2].tolist() == [2, 1, 1.0, 0]
    assert sums.by_area[:, 3].tolist() == [0, 0, 0, 1]
    assert sums.by_area.sum(axis=1).tolist() == [2, 1, 1, 1]
    assert sums.shares.tolist() == [1 / 3, 1]
    # One car instead of two, and one person instead of none.
    assert sums.counts.tolist() == [1, 3, 2]
    assert [(image.labeled, image.predicted) for image in sums.images] == [(2, 2)]
    assert sums.is_thing.tolist() == [False, True, False, True]


@pytest.mark.parametrize("seed", range(3))
def test_the_graph_counts_the_same_overlaps(seed):
    generator = np.random.default_rng(seed)
    label = random_scene(generator, 40, 12)
    prediction = disturbed(generator, *label)
    found = in_graph.segment_overlaps(*label, *prediction, tuple(IS_THING.tolist())).numpy()
    expected = overlaps(keys(*label, IS_THING), keys(*prediction, IS_THING))
    np.testing.assert_array_equal(found[np.lexsort([found[:, 1], found[:, 0]])], expected)
