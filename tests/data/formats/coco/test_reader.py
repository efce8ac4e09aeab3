"""COCO's instances as people have them, against pycocotools."""

import json
import pickle

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from data import contract
from data.base.errors import UserError
from data.contract import CROWD, IGNORE_LABEL
from data.convert import convert
from data.formats.coco.reader import CocoReader
from tests.data.formats.coco.files import (
    CATEGORIES,
    HEIGHT,
    WIDTH,
    annotation,
    box,
    image,
    listing,
    pictures,
    read_all,
    splits,
    store,
)


def compressed(segmentation):
    runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH))
    return {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode()}


def uncompressed(segmentation):
    pixels = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH))).T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], pixels, [2]])))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff(np.concatenate([[0], edges])).tolist()}


def test_objects_of_real_photographs_have_the_pixels_that_pycocotools_gives_them(fruits):
    coco = COCO(str(fruits / "trainval.json"))
    reader = CocoReader(folder=str(fruits))
    compared = 0
    for source in reader.listing().sources:
        for one in reader.objects(source, 600, 800):
            (entry,) = coco.loadAnns([int(one.name.rpartition(" ")[2])])
            assert coco.loadImgs(entry["image_id"])[0]["file_name"] == f"{source.source_id.rpartition('/')[2]}.jpg"
            assert reader.label_map.names[one.class_id] == coco.loadCats(entry["category_id"])[0]["name"]
            assert np.array_equal(one.shape.mask(600, 800), coco.annToMask(entry) == 1)
            compared += 1
    assert compared == len(coco.anns) == 165


def test_what_becomes_of_shapes_crowds_and_overlaps(tmp_path):
    shapes = [
        [box(2, 2, 6, 6), box(10.3, 3.6, 14.2, 9.9)],
        [box(1, 1, 20, 15)],
        [[5, 5, 25.5, 8, 12, 18.5]],
        [box(0, 0, 29, 19)],
    ]
    annotations = [
        annotation("a", 5, 3, shapes[0], area=55),
        annotation(2, 5, 7, compressed(shapes[1]), area=266),
        annotation(3.0, 5, 90, uncompressed(shapes[2]), area=140),
        annotation(4, 5, 7, compressed(shapes[3]), iscrowd=1, area=9),
    ]
    store(pictures(tmp_path, "a.png", "b.png"), [image(5, "a.png"), image(6, "b.png")], annotations)
    labels, set_aside = read_all(tmp_path)
    assert set_aside == {}
    expected, numbers = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint16)
    for index, class_id, number in ((3, IGNORE_LABEL, CROWD), (1, 2, 1), (2, 3, 2), (0, 1, 3)):
        mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(shapes[index], HEIGHT, WIDTH))) == 1
        expected[mask], numbers[mask] = class_id, number
    assert np.array_equal(labels["a"].class_ids, expected)
    assert np.array_equal(labels["a"].instances, numbers)
    assert not labels["b"].class_ids.any()
    assert not labels["b"].instances.any()


def test_without_areas_pixels_decide_what_lies_on_top(tmp_path):
    large, small = [box(0, 0, 20, 15)], [box(3, 3, 6, 6)]
    for name, areas in {
        "none": ({}, {}),
        "one": ({"area": 1}, {"area": None}),
        "zero": ({"area": 0}, {"area": 9}),
    }.items():
        folder = pictures(tmp_path / name, "a.png")
        objects = [annotation(1, 1, 7, small, **areas[1]), annotation(2, 1, 3, large, **areas[0])]
        store(folder, [image(1, "a.png")], objects)
        assert read_all(folder)[0]["a"].class_ids[4, 4] == 2
    folder = pictures(tmp_path / "said", "a.png")
    store(folder, [image(1, "a.png")], [annotation(1, 1, 7, small, area=9), annotation(2, 1, 3, large, area=8)])
    assert read_all(folder)[0]["a"].class_ids[4, 4] == 1


def test_unusual_but_clear_ways_to_write_it(tmp_path):
    images = [
        {"id": "1", "file_name": "C:\\photos\\a.png"},
        image(2, "https://example.org/bucket/b%20b.png?token=1", width=None, height=None),
        {"id": 3, "coco_url": "http://images.example.org/train2017/c.png", "width": 30.0, "height": 0},
        image(4, "photos/../d.png"),
    ]
    flat = annotation(1, 1, 3, box(1, 1, 9, 9))
    others = [
        annotation(2, 2.0, "7", iscrowd=False),
        {"image_id": 3, "category_id": 90, "segmentation": [box(1, 1, 9, 9)]},
        annotation(4, 4, area=None, ignore=1),
    ]
    path = store(
        pictures(tmp_path, *(f"images/{name}.png" for name in ("a", "b b", "c", "d"))), images, [flat, *others]
    )
    labels, set_aside = read_all(tmp_path)
    assert set_aside == {}
    assert {name: one.class_ids[5, 5] for name, one in labels.items()} == {
        "images/a": 1,
        "images/b b": 2,
        "images/c": 3,
        "images/d": IGNORE_LABEL,
    }
    text = path.read_text()
    for content in (
        text.encode("utf-8-sig"),
        text.encode("utf-16"),
        text.replace('"area": null', '"area": NaN').encode(),
        text.replace('"info": {}', '"info": {"a": -Infinity, "b": "NaN, \\" NaN"}').encode(),
        json.dumps(json.loads(text), indent=4).encode(),
    ):
        path.write_bytes(content)
        again, set_aside = read_all(tmp_path)
        assert set_aside == {}
        assert all(np.array_equal(again[name].class_ids, one.class_ids) for name, one in labels.items())


def published(folder):
    """The files of COCO 2017 as they are unpacked, with equal names in both folders."""
    pictures(folder, "train2017/1.png", "train2017/2.png", "val2017/1.png", "test2017/5.png")
    for split in ("train", "val"):
        images = [image(1, "1.png")] + [image(2, "2.png")] * (split == "train")
        store(folder, images, [annotation(1, 1)], file=f"annotations/instances_{split}2017.json")
        persons = [annotation(1, 1, keypoints=[1, 2, 2], num_keypoints=1)]
        store(folder, images, persons, CATEGORIES[:1], f"annotations/person_keypoints_{split}2017.json")
        store(folder, images, [{"id": 1, "image_id": 1, "caption": "a"}], (), f"annotations/captions_{split}2017.json")
        segments = [{"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 1, "category_id": 3}]}]
        store(folder, images, segments, file=f"annotations/panoptic_{split}2017.json")
    (folder / "annotations/image_info_test2017.json").write_text(json.dumps({"images": [image(1, "5.png")]}))
    return folder


def test_the_published_files_and_their_splits(tmp_path):
    found = listing(published(tmp_path))
    assert {source.source_id: (source.split, source.stated_split) for source in found.sources} == {
        "train2017/1": ("train", "train"),
        "train2017/2": ("train", "train"),
        "val2017/1": ("eval", "eval"),
    }
    reasons = {one.input.removeprefix(f"{tmp_path}/"): one.reason for one in found.ignored}
    assert "instances_train2017.json is read" in reasons["annotations/captions_val2017.json"]
    assert "not name it" in reasons["test2017/5.png"]
    assert len(reasons) == 8
    only = listing(tmp_path, annotations="annotations/instances_val2017.json")
    assert [source.source_id for source in only.sources] == ["val2017/1"]
    assert set(splits(tmp_path, split="train=0.5,eval=0.5").values()) <= {"train", "eval"}


def test_files_in_each_split_as_roboflow_exports_them(tmp_path):
    group = {"id": 0, "name": "animals", "supercategory": "none"}
    categories = [group, *({**one, "supercategory": "animals"} for one in CATEGORIES)]
    for split in ("train", "valid", "test"):
        pictures(tmp_path, f"{split}/a.png")
        store(tmp_path, [image(0, "a.png")], [annotation(0, 0)], categories, f"{split}/_annotations.coco.json")
    assert splits(tmp_path) == {"train/a": "train", "valid/a": "eval", "test/a": "test"}
    assert CocoReader(folder=str(tmp_path)).label_map.names == ("background", "cat", "dog", "bird")
    # With an object it is a class.
    store(tmp_path, [image(0, "a.png")], [annotation(0, 0, 0)], categories, "test/_annotations.coco.json")
    assert CocoReader(folder=str(tmp_path)).label_map.names == ("background", "animals", "cat", "dog", "bird")


def test_folders_that_leave_the_split_in_doubt_are_reported(tmp_path):
    for fold in ("fold1", "fold2"):
        pictures(tmp_path, f"{fold}/train/a.png")
        store(tmp_path, [image(0, "a.png")], [annotation(0, 0)], file=f"{fold}/train/_annotations.coco.json")
    with pytest.raises(UserError, match="fold1, which may stand for a split"):
        listing(tmp_path)


def test_classes_may_have_keypoints_that_no_object_has(tmp_path):
    for split, more in (("train", {"keypoints": []}), ("val", {})):
        pictures(tmp_path, f"{split}/a.png")
        categories = [{**one, **more} for one in CATEGORIES]
        store(tmp_path, [image(0, "a.png")], [annotation(0, 0)], categories, f"annotations/instances_{split}.json")
    assert splits(tmp_path) == {"train/a": "train", "val/a": "eval"}


def test_a_folder_of_the_annotation_file_may_be_the_split(tmp_path):
    for split in ("train", "val"):
        pictures(tmp_path, f"images/{split}_a.png")
        store(tmp_path, [image(0, f"{split}_a.png")], [annotation(0, 0)], file=f"annotations/{split}/instances.json")
    assert splits(tmp_path) == {"images/train_a": "train", "images/val_a": "eval"}


def test_files_without_a_split_are_one_data_set(tmp_path):
    for task in ("task_1", "task_2"):
        pictures(tmp_path, f"{task}/images/a.png")
        store(tmp_path, [image(1, "a.png")], [annotation(1, 1)], file=f"{task}/annotations/instances_default.json")
    assert set(splits(tmp_path)) == {"task_1/images/a", "task_2/images/a"}
    found = listing(tmp_path)
    assert {source.stated_split for source in found.sources} == {""}


def test_an_image_may_be_in_one_file_only(tmp_path):
    pictures(tmp_path, "images/a.png", "images/b.png")
    for name in ("anna", "ben"):
        store(tmp_path, [image(1, "a.png"), image(2, "b.png")], [annotation(1, 1)], file=f"{name}.json")
    with pytest.raises(UserError, match=r"a\.png is in anna\.json and in ben\.json; say with --annotations"):
        listing(tmp_path)
    assert set(splits(tmp_path, annotations="ben.json")) == {"images/a", "images/b"}


def test_annotations_may_lie_elsewhere(tmp_path):
    pictures(tmp_path / "photos", "a.png")
    path = store(tmp_path, [image(1, "a.png")], [annotation(1, 1)])
    for name in (str(path), "../annotations/instances.json"):
        assert set(splits(tmp_path / "photos", annotations=name)) == {"a"}
    with pytest.raises(UserError, match=r"there is no none\.json"):
        listing(tmp_path / "photos", annotations="none.json")


def test_all_may_be_in_a_bucket(bucket, tmp_path):
    store(pictures(tmp_path, "images/a.png"), [image(1, "a.png"), image(2, "b.png")], [annotation(1, 1, 7)])
    for path in tmp_path.rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    for folder, options in (
        ("gs://segpipe/in", {}),
        ("gs://segpipe/in/", {"annotations": "annotations/instances.json"}),
    ):
        labels, set_aside = read_all(folder, **options)
        assert {name: (one.class_ids == 2).sum() for name, one in labels.items()} == {"images/a": 64}
        assert set(set_aside) == {"annotations/instances.json: image 2"}


def test_files_agree_on_classes_by_name(tmp_path):
    cat, dog, bird = CATEGORIES
    pictures(tmp_path, "train/a.png", "val/a.png")
    store(tmp_path, [image(1, "a.png")], [annotation(1, 1, 7)], [cat, dog, bird], "instances_train.json")
    other = [{"id": 1, "name": "bird"}, {"id": 2, "name": "dog"}]
    store(tmp_path, [image(1, "a.png")], [annotation(1, 1, 2)], other, "instances_val.json")
    labels, set_aside = read_all(tmp_path)
    assert set_aside == {}
    assert {name: one.class_ids[5, 5] for name, one in labels.items()} == {"train/a": 2, "val/a": 2}
    store(tmp_path, [image(1, "a.png")], [annotation(1, 1, 1)], [{"id": 1, "name": "Dog"}], "instances_val.json")
    with pytest.raises(UserError, match=r"different categories: .*instances_val\.json has Dog and .*--classes"):
        CocoReader(folder=str(tmp_path)).label_map  # noqa: B018
    labels, _ = read_all(tmp_path, classes="cat, dog: [dog, Dog]")
    assert {name: one.class_ids[5, 5] for name, one in labels.items()} == {"train/a": 2, "val/a": 2}


def test_a_class_that_never_occurs_can_be_left_out(tmp_path):
    pictures(tmp_path, *(f"{split}/{split}.png" for split in ("train", "val", "test")))
    entries = [image(number, f"{split}/{split}.png") for number, split in enumerate(("train", "val", "test"))]
    store(tmp_path, entries, [annotation(number, number) for number in range(3)])
    reader = CocoReader(folder=str(tmp_path))
    (line,) = convert(reader, str(tmp_path / "out"))["warnings"]
    assert line.startswith("no pixel is of dog, bird: --classes leaves classes out")


def test_classes_are_chosen_by_name(tmp_path):
    objects = [annotation(1, 1, 3), annotation(2, 1, 7, [box(11, 1, 19, 9)]), annotation(3, 1, 90, [box(2, 2, 5, 5)])]
    store(pictures(tmp_path, "a.png"), [image(1, "a.png")], objects)
    labels = read_all(tmp_path, classes="pet: [dog, cat]")[0]["a"]
    assert (labels.class_ids[3, 3], labels.class_ids[8, 8], labels.class_ids[5, 15]) == (0, 1, 1)
    assert (labels.instances[3, 3], labels.instances.max()) == (0, 2)
    labels = read_all(tmp_path, classes="pet: [dog, cat]", others="ignore")[0]["a"]
    assert (labels.class_ids[3, 3], labels.instances[3, 3]) == (IGNORE_LABEL, 0)


def test_stuff_is_not_numbered(tmp_path):
    folder = store(
        pictures(tmp_path / "a", "a.png"), [image(1, "a.png")], [annotation(1, 1)], file="stuff_val.json"
    ).parent
    assert not read_all(folder)[0]["a"].instances.any()
    categories = [{**CATEGORIES[0], "isthing": 0}, CATEGORIES[1]]
    objects = [annotation(1, 1), annotation(2, 1, 7, [box(2, 2, 4, 4)])]
    store(pictures(tmp_path / "b", "a.png"), [image(1, "a.png")], objects, categories)
    assert np.unique(read_all(tmp_path / "b")[0]["a"].instances).tolist() == [0, 1]


def test_images_without_annotations_are_background_or_left_out(tmp_path):
    pictures(tmp_path, "train/a.png", "train/b.png", "test/c.png", "test/d.png")
    store(tmp_path, [image(1, "a.png"), image(2, "b.png")], [annotation(1, 1)], file="instances_train.json")
    store(tmp_path, [image(1, "c.png")], [], file="instances_test.json")
    # A file without any annotation is one whose labels are not public.
    assert set(splits(tmp_path)) == {"train/a", "train/b"}
    assert set(splits(tmp_path, annotations="instances_train.json,instances_test.json")) == {"train/a", "train/b"}
    assert set(splits(tmp_path, unlabeled="background")) == {"train/a", "train/b", "test/c"}
    found = listing(tmp_path, unlabeled="ignore")
    assert [source.source_id for source in found.sources] == ["train/a"]
    ignored = {one.input.removeprefix(f"{tmp_path}/"): one.reason for one in found.ignored}
    assert ignored["train/b.png"] == "instances_train.json has no annotation of it"
    assert set(ignored) == {"train/b.png", "test/c.png", "test/d.png", "instances_test.json"}
    assert found.set_aside == []


def test_workers_need_no_annotation_file(tmp_path):
    path = store(pictures(tmp_path, "a.png"), [image(1, "a.png")], [annotation(1, 1)])
    reader = CocoReader(folder=str(tmp_path))
    (source,) = reader.listing().sources
    stored = pickle.dumps(reader)
    path.unlink()
    assert (pickle.loads(stored).read(source).class_ids == 1).sum() == 64


def test_objects_are_stored_by_the_contract(tmp_path):
    images = [image(index, f"{index}.png") for index in range(8)]
    pictures(tmp_path / "in", *(one["file_name"] for one in images))
    store(tmp_path / "in", images, [annotation(index, index, 7) for index in range(8)])
    report = convert(CocoReader(folder=str(tmp_path / "in")), str(tmp_path / "out"), is_addition=True)
    assert report["set_aside"] == []
    read = 0
    for record in tf.data.TFRecordDataset([str(path) for path in (tmp_path / "out").glob("*.tfrecord")]):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        mask, instances = (features[name].bytes_list.value[0] for name in (contract.MASK, contract.INSTANCES))
        assert (tf.io.decode_png(mask).numpy() == 2).sum() == 64
        assert (tf.io.decode_png(instances, dtype=tf.uint16).numpy() == 1).sum() == 64
        read += 1
    assert read == 8


@pytest.mark.parametrize(
    ("file", "content", "is_taken"),
    [
        ("annotations/instances_train2017.json", {"annotations": [annotation(1, 1)]}, True),
        ("trainval.json", {"annotations": [annotation(1, 1)]}, True),
        ("person_keypoints_val2017.json", {"annotations": [annotation(1, 1, keypoints=[])]}, True),
        ("results.json", [annotation(1, 1)], False),
        ("annotations/panoptic_val2017.json", {"annotations": [{"image_id": 1, "segments_info": []}]}, False),
        ("annotations/captions_val2017.json", {"annotations": [{"image_id": 1, "caption": ""}]}, False),
        ("image_info_test2017.json", {"images": [image(1, "a.png")]}, False),
        ("images/a.json", {"shapes": [{"label": "cat", "points": []}], "imagePath": "a.png"}, False),
        ("package.json", {"name": "x"}, False),
    ],
)
def test_the_format_is_known_by_its_json(tmp_path, file, content, is_taken):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(content))
    assert (CocoReader.recognize(str(tmp_path), [file, "images/a.png"]) is not None) is is_taken


def test_the_format_is_known_by_parts_of_a_large_file(tmp_path):
    filler = [image(index, f"{index}.png") for index in range(20_000)]
    store(
        tmp_path,
        filler,
        [annotation(1, 1)] * 20_000,
        CATEGORIES,
        "a.json",
    )
    assert CocoReader.recognize(str(tmp_path), ["a.json"])


def test_each_image_may_have_a_file(tmp_path):
    for number in range(15):
        pictures(tmp_path, f"{number}.png")
        store(tmp_path, [image(1, f"{number}.png")], [annotation(1, 1)], file=f"{number}.json")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert CocoReader.recognize(str(tmp_path), files)
    assert len(splits(tmp_path)) == 15
