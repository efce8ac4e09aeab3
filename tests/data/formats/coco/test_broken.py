"""Broken instances files: what cannot be used is set aside by name, or stops with one message; never anything else."""

import json
import re

import pytest

from data.base.errors import UserError
from data.inspection.recognize import recognize
from tests.data.formats.coco.files import CATEGORIES, annotation, box, image, listing, pictures, read_all, splits, store

RUNS = {"size": [20, 30], "counts": [100, 500]}


def with_annotation(**fields):
    return [image(1, "a.png"), image(2, "b.png")], [annotation(17, 1, **fields), annotation(18, 2)]


def with_segmentation(segmentation):
    return with_annotation(segmentation=segmentation)


def with_image(**fields):
    return [image(1, "a.png", **fields), image(2, "b.png")], [annotation(17, 1), annotation(18, 2)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_segmentation([[1, 1, 5, 5]]), "polygon has 2 points"),
        (with_segmentation([box(1, 1, 5, 5), []]), "polygon has 0 points"),
        (with_segmentation([[1, 1, 5, 5, 9, 1, 3]]), "odd number"),
        (with_segmentation([[1, 1, 5, 5, 9, None]]), "segmentation is neither outlines"),
        (with_segmentation([[1, 1, 5, 5, 9, "1"]]), "segmentation is neither outlines"),
        (with_segmentation([[[1, 1], [5, 5], [9, 1]]]), "segmentation is neither outlines"),
        (with_segmentation([1, 1, 5, 5, 9, [1]]), "mixes numbers and outlines"),
        (with_segmentation([[1, 1, 5, 5, 9, 1e300]]), "so far apart"),
        (with_segmentation([[0, 0, 9e5, 9e5] * 9]), "so far apart"),
        (with_segmentation("none"), "segmentation is neither outlines"),
        (with_segmentation(7), "segmentation is neither outlines"),
        (with_segmentation({"size": [20, 30]}), "segmentation is neither outlines"),
        (with_segmentation({**RUNS, "size": [30, 20]}), "run lengths cover 20x30 pixels, the image 30x20"),
        (with_segmentation({**RUNS, "counts": [100, 501]}), "cover 601 pixels"),
        (with_segmentation({**RUNS, "counts": [700, -100]}), "whole numbers"),
        (with_segmentation({**RUNS, "counts": [2**62, 2**62, 2**62, 2**62, 600]}), "cover 18446744073709552216 pixels"),
        (with_segmentation({**RUNS, "counts": "623"}), "cover 11 pixels"),
        (with_segmentation({**RUNS, "counts": "PPPP"}), "compressed text"),
        (with_segmentation({**RUNS, "counts": "größe"}), "compressed text"),
        (with_segmentation({**RUNS, "counts": "oooooooooooooooo1"}), "compressed text"),
        (with_segmentation([]), "has no segmentation"),
        (with_segmentation([[]]), "has no segmentation"),
        (with_annotation(category_id=4), "category_id 4 is not in categories"),
        (with_annotation(category_id=None), "category_id None is not in categories"),
        (with_annotation(category_id={"id": 3}), "is not in categories"),
        (with_annotation(category_id=[3] * 1000), r"category_id \[3, 3, 3, 3, 3, 3, ...\] is not"),
        (with_annotation(iscrowd="yes"), "iscrowd is 'yes'"),
        (with_annotation(iscrowd=[1]), r"iscrowd is \[1\]"),
    ],
)
def test_an_image_with_a_broken_annotation_is_set_aside(tmp_path, content, reason):
    store(pictures(tmp_path, "a.png", "b.png"), *content)
    labels, set_aside = read_all(tmp_path)
    assert set(labels) == {"b"}
    assert set(set_aside) == {"a.png"}
    assert re.match(rf"annotations/instances\.json: annotation 17: .*{reason}", set_aside["a.png"]), set_aside


def test_splits_that_broken_annotations_leave_empty_are_explained(tmp_path):
    names = ["a.png", "b.png", "c.png"]
    annotations = [annotation(number, number) for number in (1, 2)] + [annotation(17, 3, category_id=4)]
    store(pictures(tmp_path, *names), [image(number, name) for number, name in enumerate(names, 1)], annotations)
    with pytest.raises(UserError, match=r"be empty .*\nImages that cannot be used \(1\):\n.*annotation 17: its"):
        recognize(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "where", "reason"),
    [
        (with_image(file_name="c.png"), "annotations/instances.json: image 1", "there is no image c.png"),
        (with_image(file_name="../../a.png"), "annotations/instances.json: image 1", "leads out of the data set"),
        (with_image(file_name=None), "annotations/instances.json: image 1", "names no image"),
        (with_image(file_name=["a.png"]), "annotations/instances.json: image 1", "names no image"),
        (with_image(file_name="b.png"), "b.png", "image 1 and image 2 are the same image"),
        (with_image(width=20, height=30), "a.png", "the image has 30x20 pixels, annotations/instances.json says 20x30"),
        (with_image(width="30"), "a.png", "instances.json: image 1: its width is '30'"),
        (with_image(height=-1), "a.png", "its height is -1"),
        (with_image(height=10**400), "a.png", "its height is 1000"),
        (with_image(id=2), "a.png", "a.png and b.png have the same id"),
        (with_image(id=None), "annotations/instances.json: images[0]", "no id"),
        (with_image(id=True), "annotations/instances.json: images[0]", "no id"),
        (with_annotation(image_id=9), "annotations/instances.json: annotation 17", "no image with the id 9"),
        (with_annotation(image_id=None), "annotations/instances.json: annotation 17", "no image with the id"),
        (([image(2, "b.png"), 5], [annotation(1, 2)]), "annotations/instances.json: images[1]", "expected object"),
        (
            ([image(2, "b.png")], [annotation(1, 2), "x"]),
            "annotations/instances.json: annotations[1]",
            "expected object",
        ),
    ],
)
def test_a_broken_entry_is_named(tmp_path, content, where, reason):
    store(pictures(tmp_path, "a.png", "b.png"), *content)
    labels, set_aside = read_all(tmp_path)
    assert set(labels) <= {"a", "b"}
    assert reason.casefold() in set_aside[where].casefold()


def test_numbers_beyond_all_measure_are_no_ids(tmp_path):
    path = store(pictures(tmp_path, "a.png", "b.png"), *with_annotation(area=123456789))
    for number in ("1e400", "1" * 5000):
        path.write_text(path.read_text().replace("123456789", number).replace('"id": 17', f'"id": {number}'))
        labels, set_aside = read_all(tmp_path)
        assert set(labels) >= {"b"}
        assert len(labels) + len(set_aside) >= 2


def valid():
    content = {"images": [image(1, "a.png")], "annotations": [annotation(1, 1)], "categories": list(CATEGORIES)}
    return content, json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (valid()[1][:200], "ends after 200 bytes"),
        (b"", "has no JSON|ends after 0 bytes"),
        (valid()[1].replace(b'"iscrowd": 0', b'"iscrowd": nil'), "byte 188, in .*iscrowd"),
        (valid()[1] + b"}", "trailing characters"),
        (valid()[1].replace(b'cat"', b'c\xe4t"'), r"categories\[0\]: it is not UTF-8"),
        (json.dumps(valid()[0]).encode("utf-16")[:-3], "not utf-16"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
        ({**valid()[0], "annotations": None}, "annotations: expected array, got null"),
        ({**valid()[0], "images": {"1": image(1, "a.png")}}, "images: expected array, got object"),
        ([valid()[0]], "expected object, got array"),
        ({**valid()[0], "categories": []}, "has no categories"),
        ({**valid()[0], "categories": [7]}, r"categories\[0\]: .*expected object"),
        ({**valid()[0], "categories": [{"id": 3}]}, r"categories\[0\] has no name"),
        ({**valid()[0], "categories": [{"name": "cat"}]}, r"categories\[0\] has no id"),
        (
            {**valid()[0], "categories": [*CATEGORIES, {"id": 3, "name": "x"}]},
            "categories cat and x have the same id, 3",
        ),
        ({**valid()[0], "categories": [{"id": 3, "name": "a\0b"}, *CATEGORIES[1:]]}, "which YAML files cannot hold"),
        ({**valid()[0], "annotations": [annotation(1, 1, segmentation=[], bbox=[1, 1, 2, 2])]}, "boxes only"),
    ],
)
def test_a_file_that_is_none_stops_with_one_message(tmp_path, content, message):
    path = tmp_path / "instances.json"
    pictures(tmp_path, "a.png")
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UserError, match=message):
        listing(tmp_path, annotations="instances.json")


def test_an_empty_file_may_have_been_another_split(tmp_path):
    store(pictures(tmp_path, "a.png"), [image(1, "a.png")], [annotation(5, 1)], file="train.json")
    (tmp_path / "val.json").write_text("\n")
    with pytest.raises(UserError, match=r"val\.json is not complete JSON: it ends after"):
        listing(tmp_path)


def test_a_folder_without_instances_says_what_it_has(tmp_path):
    (pictures(tmp_path, "a.png") / "captions_val.json").write_text('{"annotations": [{"image_id": 1, "caption": "a"}]}')
    with pytest.raises(UserError, match=r"(?s)--annotations FILE.*captions_val\.json: it has captions"):
        listing(tmp_path)


def test_a_file_without_any_of_its_images_is_named_with_the_option(tmp_path):
    pictures(tmp_path, "val2017/b.png")
    store(tmp_path, [image(1, "a.png")], [annotation(1, 1)], file="annotations/instances_train2017.json")
    store(tmp_path, [image(1, "b.png")], [annotation(1, 1)], file="annotations/instances_val2017.json")
    with pytest.raises(UserError) as caught:
        listing(tmp_path)
    assert "annotations/instances_train2017.json: none of its 1 images is in" in str(caught.value)
    assert str(caught.value).endswith("with --annotations annotations/instances_val2017.json")
    assert len(listing(tmp_path, annotations="annotations/instances_val2017.json").sources) == 1


def test_an_image_that_only_another_split_has_is_missing(tmp_path):
    pictures(tmp_path, "images/train/a.png", "images/val/a.png", "images/val/b.png")
    store(tmp_path, [image(1, "a.png"), image(2, "b.png")], [annotation(1, 1)], file="annotations/instances_train.json")
    labels, set_aside = read_all(tmp_path)
    assert set(labels) == {"images/train/a"}
    reason = "b.png is missing in train; images/val/b.png is of another split"
    assert set_aside == {"annotations/instances_train.json: image 2": reason}


def test_a_file_decides_on_the_split_if_all_images_are_in_another_folder(tmp_path):
    pictures(tmp_path, "train/a.png", "train/b.png")
    store(tmp_path, [image(1, "a.png")], [annotation(1, 1)], file="train.json")
    store(tmp_path, [image(1, "b.png")], [annotation(1, 1)], file="val.json")
    assert splits(tmp_path) == {"train/a": "train", "train/b": "eval"}


@pytest.mark.parametrize(
    ("numbers", "used", "beyond"), [((0, 1, 2), (1, 2, 3), "3, .* none has 0"), ((1, 2, 3), (0, 1, 2), "0, .* has 3")]
)
def test_classes_that_are_counted_from_another_number_are_not_shifted(tmp_path, numbers, used, beyond):
    names = dict(zip(numbers, ("cat", "dog", "bird"), strict=True))
    pictures(tmp_path, "a.png")
    annotations = [annotation(number, 1, category=number) for number in used]
    store(tmp_path, [image(1, "a.png")], annotations, [{"id": key, "name": name} for key, name in names.items()])
    with pytest.raises(UserError, match=f"category_id {beyond}"):
        listing(tmp_path)


def test_an_image_that_is_listed_twice_alike_is_one(tmp_path):
    pictures(tmp_path, "a.png")
    store(tmp_path, [image(1, "a.png"), image(1, "a.png")], [annotation(1, 1)])
    labels, set_aside = read_all(tmp_path)
    assert (set(labels), set_aside) == ({"a"}, {})


def test_outlines_in_parts_of_the_image_are_not_taken_for_pixels(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    parts, tiny = [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], [[0, 0, 1, 0, 1, 1, 0, 1]]
    store(tmp_path, [image(1, "a.png"), image(2, "b.png")], [annotation(1, 1, 3, parts), annotation(2, 2, 3, tiny)])
    labels, set_aside = read_all(tmp_path)
    assert "coordinates are all between 0 and 1" in set_aside["a.png"]
    assert (labels["b"].class_ids > 0).sum() == 1


def test_an_outline_beyond_an_image_of_unstated_size_is_doubtful(tmp_path):
    pictures(tmp_path, "a.png", "b.png", "c.png")
    images = [image(1, "a.png", width=None), image(2, "b.png", height=0), image(3, "c.png")]
    far, near = [box(20, 5, 60, 10)], [box(20, 5, 31, 10)]
    store(tmp_path, images, [annotation(1, 1, 3, far), annotation(2, 2, 3, near), annotation(3, 3, 3, far)])
    labels, set_aside = read_all(tmp_path)
    assert set(labels) == {"b", "c"}
    assert "annotation 1: it reaches to x 60 in an image of 30x20 pixels" in set_aside["a.png"]


def test_an_image_of_another_size_names_the_annotation_file(tmp_path):
    pictures(tmp_path, "a.png", size=(15, 10))
    store(tmp_path, [image(1, "a.png")], [annotation(1, 1)])
    reason = "sizes differ: the image has 15x10 pixels, annotations/instances.json says 30x20"
    assert read_all(tmp_path)[1] == {"a.png": reason}


def test_without_any_image_no_file_is_to_be_left_out(tmp_path):
    for split in ("train", "val"):
        store(tmp_path, [image(1, "a.png")], [annotation(1, 1)], file=f"instances_{split}.json")
    reason = f"there is no image a.png in {tmp_path}"
    assert {one.reason for one in listing(tmp_path).set_aside} == {reason}
