"""Label Studio's exports, as its own library understands them, and what is wrong with broken ones."""

import base64
import io
import json
import pickle
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.label_studio.reader import LabelStudioReader
from data.inspection.recognize import recognize
from tests.data.annotations.brushes import encode_brush

WIDTH, HEIGHT = 40, 30
CONFIG = """<View>
  <Image name="img" value="$image"/>
  <Header value="$title"/>
  <BrushLabels name="brush" toName="img">
    <Label value="Road" background="#ff0000"/><Label value="Automobile" alias="Car" background="blue"/>
  </BrushLabels>
  <KeyPointLabels name="points" toName="img"><Label value="Nose"/></KeyPointLabels>
</View>"""


def result(kind, value, labels=("Car",), **more):
    named = {kind: list(labels)} if labels and kind.endswith("labels") else {}
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, **named},
        "from_name": "label",
        "to_name": "img",
        "type": kind,
        **more,
    }


def polygon(*points, labels=("Car",), **more):
    return result("polygonlabels", {"points": points, "closed": True}, labels, **more)


def box(x, y, width, height, rotation=0, labels=("Car",), **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return result("rectanglelabels", value, labels, **more)


def brush(mask, labels=("Road",), **more):
    return result("brushlabels", {"format": "rle", "rle": encode_brush(mask)}, labels, **more)


def annotation(*results, **more):
    return {"completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(results), **more}


def task(number, *annotations, image=None, **more):
    data = {"image": image or f"/data/upload/1/0a1b2c3d-{number}.png"}
    predicted = [{"model_version": "m", "result": [box(0, 0, 100, 100, labels=["Dog"])]}]
    return {
        "id": number,
        "data": data,
        "annotations": list(annotations),
        "predictions": predicted,
        "drafts": [],
        **more,
    }


def write(folder, tasks, images=None, name="export.json", config=""):
    """An export with an image for each task, in another folder than the JSON file."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(tasks if isinstance(tasks, str) else json.dumps(tasks), encoding="utf-8")
    for number, image in enumerate(images or [f"images/{one['id']}.png" for one in tasks]):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(folder / image)
    if config:
        (folder / "config.xml").write_text(config)
    return folder


def reader(folder, **options):
    return LabelStudioReader(folder=str(folder), **options)


def read(folder, name="images/1", **options):
    """The class ids and the objects of an image, as a worker reads them."""
    used = reader(folder, **options)
    sources = {source.source_id: source for source in used.listing().sources}
    labeled = pickle.loads(pickle.dumps(used)).read(sources[name])
    return labeled.class_ids, labeled.instances


def reasons(folder, **options):
    """What is set aside at first or when it is read, with the reason."""
    used = reader(folder, **options)
    listing = used.listing()
    found = {entry.input.removeprefix(f"{folder}/"): entry.reason for entry in listing.set_aside}
    for source in listing.sources:
        try:
            used.read(source)
        except BadImageError as error:
            found[source.image.removeprefix(f"{folder}/")] = str(error)
    return found


def splits(folder, **options):
    return {source.source_id: source.split for source in reader(folder, **options).listing().sources}


def area(top, bottom, left, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_later_regions_lie_over_earlier_ones_and_each_is_an_object(tmp_path):
    road = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.4
    results = [
        brush(road),
        polygon((0, 0), (50, 0), (50, 50), (0, 50)),
        result("keypointlabels", {"x": 80, "y": 80, "width": 0.5}, ["Nose"]),
        result("choices", {"choices": ["sunny"]}),
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        box(25, 20, 50, 20, labels=["Road"], image_rotation=90),  # Drawn in a view that was turned.
    ]
    write(tmp_path, [task(1, annotation(*results))])
    ids, instances = read(tmp_path)
    expected = np.where(road, 2, 0)
    expected[:15, :20] = 1
    expected[6:12, 10:30] = 2
    assert reader(tmp_path).label_map.names == ("background", "Car", "Road")
    assert (ids == expected).all()
    objects = np.where(road, 1, 0)
    objects[:15, :20] = 2
    objects[6:12, 10:30] = 3
    assert (instances == objects).all()


def test_the_configuration_gives_order_and_colors(tmp_path):
    write(tmp_path, [task(1, annotation(box(0, 0, 50, 50)))], config=CONFIG)
    labels = reader(tmp_path).label_map.root
    assert [(label.name, label.color) for label in labels] == [
        ("background", (0, 0, 0)),
        ("Road", (255, 0, 0)),
        ("Car", (0, 0, 255)),
    ]
    assert set(np.unique(read(tmp_path)[0])) == {0, 2}


def test_labels_that_the_configuration_does_not_have_are_no_classes(tmp_path):
    tasks = [task(1, annotation(box(0, 0, 50, 50), box(0, 0, 9, 9, labels=["Caar"], id="r"))), task(2, annotation())]
    write(tmp_path, tasks, config=CONFIG)
    assert reader(tmp_path).label_map.names == ("background", "Road", "Car")
    assert reasons(tmp_path) == {
        "images/1.png": f"{tmp_path}/export.json: task 1: result 2 (r) has the label Caar, which is not in config.xml; "
        "is it Car? Correct it, add it there, or name it in --classes"
    }
    assert read(tmp_path, classes="Car: [Car, Caar]")[0].max() == 1
    # Where tasks bring labels of their own, and where there is no configuration, nothing says which there may be.
    (tmp_path / "config.xml").write_text(CONFIG.replace('"brush" toName="img"', '"brush" toName="img" value="$own"'))
    assert reader(tmp_path).label_map.names == ("background", "Road", "Car", "Caar")
    (tmp_path / "config.xml").unlink()
    assert reader(tmp_path).label_map.names == ("background", "Caar", "Car")


def test_shapes_and_labels_that_share_an_id_are_one_region(tmp_path):
    points = {"points": [[0, 0], [50, 0], [50, 100], [0, 100]]}
    pair = [
        result("polygon", points, (), id="a"),
        result("labels", {**points, "labels": ["Car"]}, (), id="a"),
        result("textarea", {**points, "text": ["red"]}, (), id="a"),
        result("keypoint", {"x": 1, "y": 1, "width": 1}, (), id="b"),
        result("labels", {"x": 1, "y": 1, "width": 1, "labels": ["Nose"]}, (), id="b"),
        # With one result instead of two, as newer versions may write it.
        result("rectangle", {"x": 50, "y": 0, "width": 25, "height": 100, "labels": ["Road"]}, (), id="c"),
    ]
    write(tmp_path, [task(1, annotation(*pair))])
    ids, instances = read(tmp_path)
    assert reader(tmp_path).label_map.names == ("background", "Car", "Road")
    assert (ids == np.repeat([1, 2, 0], [20, 10, 10])).all()
    assert (instances == ids).all()


COCO = """
import json, sys
from unittest.mock import MagicMock
sys.modules["ujson"] = json
for name in ("lxml", "nltk", "nltk.tokenize", "nltk.tokenize.treebank", "jwt", "requests"):  # Which are not needed.
    sys.modules[name] = MagicMock()
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.utils import convert_annotation_to_yolo_obb
inputs = [{"type": "Image", "value": "image", "valueType": None}]
control = {"type": "PolygonLabels", "to_name": ["img"], "inputs": inputs}
schema = {"label": {**control, "labels": ["Car"], "labels_attrs": {"Car": {}}}}
source, out = sys.argv[1:]
Converter(schema, None, download_resources=False).convert_to_coco(source, out, output_image_dir=out, is_dir=False)
results = json.load(open(source))[1]["annotations"][0]["result"]
boxes = [convert_annotation_to_yolo_obb({**one, **one["value"]}, normalize=False) for one in results]
print(json.dumps([json.load(open(out + "/result.json"))["annotations"], boxes]))
"""


def test_polygons_and_turned_boxes_are_where_label_studio_exports_them(labeling_tools, tmp_path):
    random = np.random.default_rng(3)
    polygons = [polygon(*(random.random((count, 2)) * 104 - 2).tolist()) for count in (3, 4, 7, 12, 40)]
    boxes = [box(*(random.random(4) * 60).tolist(), angle) for angle in (0, 30, 90, 200.5, 359)]
    write(tmp_path, [task(1, annotation(*polygons)), task(2, annotation(*boxes))])
    output = labeling_tools(COCO, str(tmp_path / "export.json"), str(tmp_path / "coco"))
    annotations, corners = json.loads(output.splitlines()[-1])
    outlines = [[one["segmentation"][0] for one in annotations if one["segmentation"]], np.reshape(corners, (5, -1))]
    for name, exported in zip(("images/1", "images/2"), outlines, strict=True):
        expected = np.zeros((HEIGHT, WIDTH), int)
        for number, outline in enumerate(exported, 1):
            runs = coco_mask.frPyObjects([list(outline)], HEIGHT, WIDTH)
            expected[coco_mask.decode(runs)[..., 0] > 0] = number
        assert len(exported) == 5
        assert (read(tmp_path, name)[1] == expected).all()


def test_ellipses_bitmasks_and_vectors(tmp_path):
    painted = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    painted[20:, 30:, 3] = 7
    file = io.BytesIO()
    Image.fromarray(painted).save(file, "PNG")
    corners = [(0, 60), (20, 60), (20, 100), (0, 100)]
    vertices = [
        {"id": str(number), "prevPointId": str(number - 1) if number else None, "x": x, "y": y, "isBezier": False}
        for number, (x, y) in enumerate(corners)
    ]
    results = [
        result("ellipselabels", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 90}),
        result(
            "bitmasklabels", {"imageDataURL": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"}
        ),
        result("vectorlabels", {"vertices": vertices, "closed": True}),
        result("vectorlabels", {"vertices": vertices, "closed": False}, ["Line"]),
    ]
    write(tmp_path, [task(1, annotation(*results))])
    instances = read(tmp_path)[1]
    # Turned by 90°, it is 3 pixels wide and 8 high on each side of the center.
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((x - 20) / 3) ** 2 + ((y - 15) / 8) ** 2
    assert (instances[inside < 0.9] == 1).all()
    assert (instances[inside > 1.1] != 1).all()
    assert ((instances == 2) == area(20, 30, 30, 40)).all()
    assert ((instances == 3) == area(18, 30, 0, 8)).all()
    assert instances.max() == 3
    assert reader(tmp_path).label_map.names == ("background", "Car")


def test_ground_truth_counts_then_the_newest_annotation(tmp_path):
    old = annotation(box(0, 0, 50, 100), id=1, updated_at="2024-01-01T00:00:00.000000Z")
    new = annotation(box(50, 0, 50, 100), id=2, created_at="2024-01-02T02:00:00+05:00")
    skipped = annotation(box(0, 0, 100, 100), id=3, updated_at="2025-01-01T00:00:00Z", was_cancelled=True)
    left, right = area(0, 30, 0, 20), area(0, 30, 20, 40)
    for number, annotations, expected in [
        (1, [new, old, skipped], right),
        (2, [{**old, "ground_truth": True}, new], left),
        (3, [old, {**old, "result": [box(50, 0, 50, 100)]}], right),  # Without other signs, the later in the file.
    ]:
        write(tmp_path / str(number), [task(1, *annotations)])
        assert ((read(tmp_path / str(number))[0] == 1) == expected).all()


@pytest.mark.parametrize("time", ["2024-01-02T00:00:00.5Z", "2024-01-02 00:00:00.1234567+01:00", 1704150000])
def test_times_are_read_in_any_usual_form(tmp_path, time):
    new = annotation(box(50, 0, 50, 100), id=1, created_at=time)
    old = annotation(box(0, 0, 50, 100), id=2, created_at="2024-01-01T00:00:00Z")
    write(tmp_path, [task(1, new, old)])
    assert ((read(tmp_path)[0] == 1) == area(0, 30, 20, 40)).all()


def test_it_is_not_guessed_which_annotation_is_the_newest(tmp_path):
    new = annotation(box(50, 0, 50, 100), id=1, created_at="yesterday")
    old = annotation(box(0, 0, 50, 100), id=2, created_at="2024-01-01T00:00:00Z")
    write(tmp_path, [task(1, new, old), task(2, new)])
    assert list(reasons(tmp_path)) == ["images/1.png"]
    reason = reasons(tmp_path)["images/1.png"]
    assert reason.startswith(f"{tmp_path}/export.json: task 1: it is doubtful which annotation is the newest")
    assert "yesterday" in reason


def test_pixels_on_which_annotators_disagree_are_ignored(tmp_path):
    first = annotation(box(0, 0, 50, 100), id=1)
    second = annotation(box(25, 0, 50, 100), box(25, 0, 12.5, 100, labels=["Road"]), id=2)
    write(tmp_path, [task(1, first, second)])
    ids, instances = read(tmp_path, annotators="agreement")
    assert (ids == np.repeat([255, 255, 1, 255, 0], [10, 5, 5, 10, 10])).all()
    assert (instances == np.repeat([0, 1, 0], [15, 5, 20])).all()
    write(tmp_path, [task(1, first, {**second, "ground_truth": True})])
    assert not (read(tmp_path, annotators="agreement")[0] == 255).any()


def test_tasks_without_annotations_are_left_out_or_background_and_empty_ones_are_background(tmp_path):
    skipped = annotation(was_cancelled=True)
    write(tmp_path, [task(1, annotation(box(0, 0, 50, 50))), task(2, annotation()), task(3), task(4, skipped)])
    (tmp_path / "images" / "5.png").write_bytes((tmp_path / "images" / "1.png").read_bytes())
    listing = reader(tmp_path).listing()
    assert [source.source_id for source in listing.sources] == ["images/1", "images/2"]
    assert [entry.input.rpartition("/")[2] for entry in listing.ignored] == ["3.png", "4.png", "5.png"]
    assert "task 3; --unlabeled background takes it" in listing.ignored[0].reason
    assert listing.ignored[2].reason == "no task is about it"
    assert not read(tmp_path, "images/2")[0].any()
    assert not read(tmp_path, "images/4", unlabeled="background")[0].any()
    assert len(splits(tmp_path, unlabeled="background")) == 4


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("/data/upload/1/0a1b2c3d-cat.png", "cat.png"),
        ("/data/upload/1/0a1b2c3d-cat.png", "images/0a1b2c3d-cat.png"),
        ("/data/upload/0a1b2c3d-c%C3%A4t.png", "cät.png"),
        ("/data/upload/1/0a1b2c3d-big_cat_1.png", "pets/big cat (1).png"),
        ("http://localhost:8080/data/upload/7/0a1b2c3d-cat.png", "cat.png"),
        ("/data/local-files/?d=pets/big%20cats/cat.png", "big cats/cat.png"),
        ("http://localhost:8080/data/local-files?d=pets/cat.png", "pets/cat.png"),
        ("s3://bucket/pets/cat.png", "pets/cat.png"),
        ("gs://bucket/pets/cat 1.png", "cat 1.png"),
        ("https://example.org/pets/cat%201.png?X-Amz-Signature=1/2.png&b=c", "pets/cat 1.png"),
        ("/tasks/1/resolve/?fileuri=czM6Ly9iL3BldHMvY2F0LnBuZw==", "pets/cat.png"),
        ("pets\\cat.png", "pets/cat.png"),
        ("../pets/cat.png", "pets/cat.png"),
        ("pets/50%cat?.png", "pets/50%cat?.png"),
    ],
)
def test_images_are_found_by_urls_and_paths(tmp_path, reference, image):
    tasks = [task(1, annotation(box(0, 0, 50, 50)), image=reference)]
    write(tmp_path, tasks, [image, "pets/dog.png"], name="labels/export.json")
    assert [source.image for source in reader(tmp_path).listing().sources] == [str(tmp_path / image)]


def test_images_that_may_be_those_of_several_tasks_are_set_aside(tmp_path):
    labels = annotation(box(0, 0, 50, 50))
    references = ["/data/upload/1/11111111-a.png", "/data/upload/1/22222222-a.png", "https://example.org/b.png?x=1"]
    tasks = [task(number, labels, image=reference) for number, reference in enumerate(references)]
    # The third image is in two tasks, with signatures that differ.
    tasks.append(task(3, annotation(), image="https://example.org/b.png?x=2"))
    write(tmp_path, tasks, ["a.png", "b.png"])
    found = reasons(tmp_path)
    assert set(found) == {"export.json: task 0", "export.json: task 1"}
    assert "a.png may be 11111111-a.png or 22222222-a.png" in found["export.json: task 0"]
    assert set(splits(tmp_path)) == {"b"}
    assert not read(tmp_path, "b")[0].any()  # The later of two annotations that have no time.


def test_an_upload_that_may_be_several_images_is_set_aside(tmp_path):
    tasks = [task(1, annotation(box(0, 0, 50, 50)), image="/data/upload/1/0a1b2c3d-a_b.png"), task(2, annotation())]
    write(tmp_path, tasks, ["a_b.png", "a b.png", "2.png"])
    found = reasons(tmp_path)["export.json: task 1"]
    assert found == "0a1b2c3d-a_b.png may be a b.png or a_b.png; rename the right one to 0a1b2c3d-a_b.png"


def test_several_images_of_a_task(tmp_path):
    data = {"left": "l.png", "right": "r.png", "pages": ["p0.png", "p1.png"], "preview": "t.png", "title": "A"}
    results = [
        box(0, 0, 100, 100, to_name="a"),
        box(0, 0, 50, 100, to_name="b"),
        box(50, 0, 50, 100, to_name="c", item_index=1),
    ]
    images = ["l.png", "r.png", "p0.png", "p1.png", "t.png"]
    write(tmp_path, [task(1, annotation(*results), data=data)], images)
    assert "result 1 is on a, which is none of left, right, pages, preview" in reasons_of_nothing(tmp_path)
    tags = '<Image name="a" value="$left"/><Image name="b" value="$right"/><Image name="c" valueList="$pages"/>'
    labels = '<RectangleLabels name="label" toName="a,b, c"><Label value="Car"/></RectangleLabels>'
    (tmp_path / "config.xml").write_text(f'<View>{tags}<Image name="d" value="$preview"/>{labels}</View>')
    assert set(splits(tmp_path)) == {"l", "r", "p0", "p1"}
    shares = {name: read(tmp_path, name)[0].mean() for name in ("l", "r", "p0", "p1")}
    assert shares == {"l": 1, "r": 0.5, "p0": 0, "p1": 0.5}
    # Tags that are called like the data need no configuration, and an image without any region is not shown.
    named = [box(0, 0, 100, 100, to_name="left"), box(0, 0, 50, 100, to_name="x", source="$right")]
    (tmp_path / "config.xml").unlink()
    write(tmp_path, [task(1, annotation(*named), data=data)], images)
    assert set(splits(tmp_path)) == {"l", "r"}


def reasons_of_nothing(folder):
    """The first reason where nothing is left that has a class."""
    return LabelStudioReader(folder=str(folder)).export.set_aside[0].reason


def test_splits_are_those_of_files_or_folders_or_dealt(tmp_path):
    labels = annotation(box(0, 0, 50, 50))
    parts = {"train": [1, 2, 3], "val": [4], "test": [5]}
    for split, numbers in parts.items():
        write(tmp_path / "files", [task(number, labels) for number in numbers], name=f"{split}_2024.json")
        images = [f"{split}/{number}.png" for number in numbers]
        write(tmp_path / "folders", "[]", images, name="empty.json")
    write(tmp_path / "folders", [task(number, labels) for number in range(1, 6)], ["train/1.png"])
    expected = {1: "train", 2: "train", 3: "train", 4: "eval", 5: "test"}
    assert splits(tmp_path / "files") == {f"images/{number}": split for number, split in expected.items()}
    folders = {"eval": "val"}
    assert splits(tmp_path / "folders") == {
        f"{folders.get(split, split)}/{number}": split for number, split in expected.items()
    }
    sources = reader(tmp_path / "files").listing().sources
    assert {source.stated_split for source in sources} == {"train", "eval", "test"}
    write(tmp_path / "files", [task(4, labels), task(5, labels)], name="val_2024.json")
    with pytest.raises(UserError, match=r"5.png is in several splits: .*task 5 \(test\), .*task 5 \(eval\)"):
        splits(tmp_path / "files")


def test_files_of_storages_and_json_lines_hold_the_same(tmp_path):
    tasks = [task(number, annotation(box(number * 10, 0, 10, 100), id=number)) for number in range(1, 4)]
    write(tmp_path / "list", tasks)
    images = [f"images/{number}.png" for number in range(1, 4)]
    write(tmp_path / "lines", "\n".join(map(json.dumps, tasks)) + "\n", images, name="tasks.jsonl")
    for one in tasks:
        write(tmp_path / "tasks", [one], name=f"labels/{one['id']}.json")
        write(tmp_path / "tasks", json.dumps(one, indent=2), images, name=f"labels/{one['id']}.json")
        # Storages get each annotation with its task, in a file without an extension.
        of_task = {"id": one["id"], "data": one["data"]}
        single = json.dumps({**one["annotations"][0], "task": of_task})
        write(tmp_path / "annotations", single, images, name=f"labels/{one['id'] + 100}")
    older = {**annotation(box(0, 0, 100, 100), id=9), "updated_at": "2001-01-01T00:00:00Z"}
    newer = {**annotation(box(10, 0, 10, 100), id=1), "updated_at": "2002-01-01T00:00:00Z"}
    for name, content in (("109", older), ("101", newer)):
        content = {**content, "task": {"id": 1, "data": tasks[0]["data"]}}
        write(tmp_path / "annotations", json.dumps(content), images, name=f"labels/{name}")
    expected = [read(tmp_path / "list", f"images/{number}")[0] for number in range(1, 4)]
    for form in ("lines", "tasks", "annotations"):
        for number, ids in enumerate(expected, 1):
            assert (read(tmp_path / form, f"images/{number}")[0] == ids).all()


def test_several_labels_of_a_region_need_a_choice(tmp_path):
    regions = annotation(box(0, 0, 50, 100, labels=["Car", "Truck"]), box(50, 0, 50, 100, labels=["Car", "red"]))
    write(tmp_path, [task(1, regions)])
    found = reasons(tmp_path)["images/1.png"]
    assert "export.json: task 1: result 1 has the labels Car and Truck, of different classes" in found
    ids, _ = read(tmp_path, classes="vehicle: [Car, Truck]")
    assert (ids == 1).all()


VALID = {"original_width": WIDTH, "original_height": HEIGHT}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (polygon((0, 0), (10, 10), id="p"), r"result 2 \(p\): its polygon has 2 points, and needs three"),
        (polygon((0, 0), (10, 10), (10,)), "its polygon is not one of Label Studio's: .*points"),
        (polygon((0, 0), (10, 10), (10, None)), "its polygon is not one of Label Studio's: .*points"),
        (polygon((0, 0), (10, 10), (400, 300)), "at 400 percent of its size; are these pixels"),
        (polygon((0, 0), (10, 10), (1e300, 3)), "at 1e[+]300 percent"),
        (result("polygonlabels", {"points": [[0, 0], [9, 0], [9, 9]], "closed": False}), "its polygon is not closed"),
        (result("polygonlabels", {}), "missing required field `points`"),
        (box(0, 0, "wide", 10), "its rectangle is not one of Label Studio's: .*width"),
        (box(0, 0, True, 10), "its rectangle is not one of Label Studio's: .*width"),
        (box(0, 0, 10, 10, labels=()), "result 2 has no label; give it one, or delete it"),
        (box(0, 0, 10, 10, labels=[3]), "its labels are not a list of names"),
        (
            box(0, 0, 10, 10, original_width=30),
            "different sizes of the image: 40x30 in .*result 1, 30x30 in .*result 2",
        ),
        (box(0, 0, 10, 10, original_width=-1), "its image has -1x30 pixels"),
        (box(0, 0, 10, 10, original_width="x"), "result 2 is not one of Label Studio's: .*original_width"),
        (box(0, 0, 10, 10, to_name=["img"]), "result 2 is not one of Label Studio's: .*to_name"),
        (box(0, 0, 10, 10, item_index=3), "result 2 is on image 3 of image, and there are 1"),
        (brush(np.ones((HEIGHT, WIDTH + 1), bool)), "covers 1230 pixels, and an image of 40x30 has 1200"),
        (result("brushlabels", {"format": "rle"}), "missing required field `rle`"),
        (result("brushlabels", {"format": "coco", "rle": [1]}), "its brush has the format 'coco' instead of 'rle'"),
        (result("brushlabels", {"format": "rle", "rle": [1, 2.5]}), "its brush is not one of Label Studio's"),
        (result("bitmasklabels", {"imageDataURL": "data:image/png;base64,AAAA"}), "its bitmask is broken"),
        (result("bitmasklabels", {"imageDataURL": "https://a/b.png"}), "its bitmask is not an image in base64"),
        (result("vectorlabels", {"closed": True, "vertices": [{"x": 1, "y": 1, "isBezier": True}]}), "has curves"),
        (
            result("vectorlabels", {"closed": True, "vertices": [{"x": n, "y": n, "id": str(n)} for n in (1, 2, 3)]}),
            "its vector has branches",
        ),
        (result("cuboidlabels", {}), "is of the type 'cuboidlabels', which is not read"),
        ({**VALID, "type": "polygonlabels", "value": [1, 2]}, "result 2 is not one of Label Studio's: .*value"),
        ("text", "result 2 is not one of Label Studio's: Expected `object`, got `str`"),
        (None, "result 2 is not one of Label Studio's: Expected `object`, got `null`"),
        (VALID, "result 2 is not one of Label Studio's: .*`type`"),
    ],
)
def test_broken_regions_are_named(tmp_path, broken, reason):
    write(tmp_path, [task(1, annotation(box(0, 0, 50, 50), broken)), task(2, annotation(box(0, 0, 50, 50)))])
    ((where, found),) = reasons(tmp_path).items()
    assert where in ("images/1.png", "export.json: task 1")
    assert "task 1" in where + found
    assert re.search(reason, found)


def test_parts_of_the_image_are_no_percent(tmp_path):
    tiny = polygon((0.1, 0.1), (0.9, 0.1), (0.9, 0.8))
    wrong, right = annotation(tiny, box(0.2, 0.3, 0.5, 0.5)), annotation(tiny, box(0, 0, 50, 50))
    write(tmp_path, [task(1, wrong), task(2, right)])
    with pytest.raises(BadImageError, match=r"task 1: all that is annotated lies between 0 and 1 percent .* by 100$"):
        read(tmp_path)
    assert (read(tmp_path, "images/2")[0] == 1).sum() == WIDTH * HEIGHT // 4


def test_empty_files_may_have_been_labels(tmp_path):
    one = task(1, annotation(box(0, 0, 50, 50)))
    (write(tmp_path / "lists", [one], name="train.json") / "val.json").write_text("\n")
    with pytest.raises(UserError, match=r"val\.json is empty, and may have been the labels of many images; export"):
        reader(tmp_path / "lists").listing()
    write(tmp_path / "tasks", json.dumps(one), ["images/1.png"], name="labels/1.json")
    (tmp_path / "tasks/labels/2.json").touch()
    (lost,) = reader(tmp_path / "tasks").listing().set_aside
    assert lost.input.endswith("labels/2.json")
    assert "it is empty" in lost.reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"data": {"image": "/data/upload/1/0a1b2c3d-none.png"}}, "there is no image 0a1b2c3d-none.png in"),
        ({"data": {"image": "../../../none.png"}}, "leads out of the data set"),
        ({"data": {"text": "hello", "n": 3}}, "its data names no image; it has text, n"),
        ({"data": {}}, "its data names no image; it has nothing"),
        ({"data": None}, "it is not a task of Label Studio: .*data"),
        ({"annotations": {"result": []}}, "it is not a task of Label Studio: .*annotations"),
        ({"annotations": [{"result": None}]}, "it is not a task of Label Studio: .*result"),
        ({"annotations": [17]}, "it is not a task of Label Studio: .*annotations"),
    ],
)
def test_broken_tasks_are_named(tmp_path, changed, reason):
    good = task(2, annotation(box(0, 0, 50, 50)))
    write(tmp_path, [{**task(1, annotation(box(0, 0, 50, 50))), **changed}, good, 5], ["images/1.png", "images/2.png"])
    found = reasons(tmp_path)
    assert found.pop("export.json: entry 3").startswith("it is not a task")
    ((where, why),) = found.items()
    assert where in ("export.json: task 1", "export.json: entry 1")
    assert re.search(reason, why)
    assert set(splits(tmp_path)) == {"images/2"}


def test_an_image_of_another_size_is_set_aside(tmp_path):
    write(tmp_path, [task(1, annotation(box(0, 0, 50, 50, original_width=41))), task(2, annotation(box(0, 0, 9, 9)))])
    assert re.search(r"export\.json: task 1 says 41x", reasons(tmp_path)["images/1.png"])


def test_blanks_around_a_label_make_no_other_class(tmp_path):
    write(
        tmp_path,
        [task(1, annotation(box(0, 0, 9, 9, labels=["Car "]))), task(2, annotation(box(0, 0, 9, 9, labels=["Car"])))],
        config='<View><Image name="image" value="$image"/><RectangleLabels name="l" toName="image">'
        '<Label value=" Car"/></RectangleLabels></View>',
    )
    assert reader(tmp_path).label_map.names == ("background", "Car")


def test_files_that_are_no_export_are_explained(tmp_path):
    good = [task(1, annotation(box(0, 0, 50, 50)))]
    write(tmp_path, good)
    text = json.dumps(good)
    minimal = [{"image": "1.png", "id": 1, "label": [], "annotator": 1, "annotation_id": 1, "lead_time": 2.0}]
    old = [{"id": 1, "data": {"image": "1.png"}, "completions": [{"result": []}]}]
    coco = {"images": [], "annotations": [], "categories": []}
    for content, message in [
        (
            text[:-20],
            r"export.json: it is cut off or otherwise broken: .*; export the project from Label Studio as JSON",
        ),
        (json.dumps(minimal), "export.json is a JSON-MIN export, which leaves out"),
        (json.dumps(old), "export.json is of a Label Studio before 1.0"),
        (json.dumps(coco), "no export with Label Studio's tasks, and export.json is not one"),
        ("", "no export with Label Studio's tasks"),
        (
            json.dumps([task(1, annotation(result("choices", {"choices": ["a"]})))]),
            "has a region with an area and a label",
        ),
    ]:
        (tmp_path / "export.json").write_text(content)
        with pytest.raises(UserError, match=message):
            reader(tmp_path).label_map  # noqa: B018
    (tmp_path / "export.json").write_text(text)
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "2.json").write_text(json.dumps(good[0])[:-30])
    listing = reader(tmp_path).listing()
    assert [source.source_id for source in listing.sources] == ["images/1"]
    assert [entry.input for entry in listing.ignored] == [str(tmp_path / "coco.json")]
    assert [(entry.input, entry.reason[:13]) for entry in listing.set_aside] == [
        (f"{tmp_path / '2.json'}: the task", "it is cut off")
    ]
    (tmp_path / "config.xml").write_text("<View><Image")
    with pytest.raises(UserError, match=r"config.xml is not a labeling configuration: .*; save it anew, or remove it"):
        reader(tmp_path).label_map  # noqa: B018


def test_a_folder_is_recognized(tmp_path):
    # So much that the first and the last part of the file, which tell what it is, hold no whole task.
    labels = annotation(*[brush(np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.5)] * 50)
    write(tmp_path, [task(number, labels) for number in range(12)], config=CONFIG)
    recognized = recognize(str(tmp_path))
    assert recognized.format == "label-studio"
    assert recognized.label_map.names == ("background", "Road", "Car")
    assert FORMATS["label-studio"].recognize(str(tmp_path), ["images/1.png"]) is None
    (tmp_path / "export.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert LabelStudioReader.recognize(str(tmp_path), ["export.json"]) is None


def test_data_sets_in_buckets(tmp_path, bucket):
    write(tmp_path, [task(1, annotation(box(0, 0, 50, 50))), task(2, annotation())], config=CONFIG)
    for path in tmp_path.rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    assert reader("gs://segpipe/in").label_map == reader(tmp_path).label_map
    assert splits("gs://segpipe/in") == splits(tmp_path)
    assert np.array_equal(read("gs://segpipe/in"), read(tmp_path))
    assert reasons("gs://segpipe/in") == {}


def test_two_shapes_of_one_id_are_named(tmp_path):
    same = [box(0, 0, 50, 50, id="a"), box(50, 0, 50, 50, id="a")]
    write(tmp_path, [task(1, annotation(*same)), task(2, annotation(box(0, 0, 50, 50)))])
    assert "result 2 (a) and result 1 (a) have one id and two shapes" in reasons(tmp_path)["export.json: task 1"]
