"""YOLO's data sets for segmentation: classes, splits, lines and their pixels."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.yolo.reader import YoloReader

SQUARE = "0 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8"
YAML = "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames: [cat, dog]\n"


def png(width=20, height=10):
    content = io.BytesIO()
    Image.new("RGB", (width, height)).save(content, "PNG")
    return content.getvalue()


def files(folder, contents):
    """Makes files: text, an image for None."""
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png() if content is None else content.encode())
    return folder


@pytest.fixture
def folder(tmp_path):
    """A data set as Ultralytics documents it: outlines, an empty label file, an image without one."""
    splits = {"train": "abc", "val": "d", "test": "e"}
    images = {f"images/{split}/{name}.png": None for split, names in splits.items() for name in names}
    labels = {"train/a": SQUARE, "train/b": "", "val/d": SQUARE, "test/e": f"1{SQUARE[1:]}\n"}
    return files(tmp_path, {"data.yaml": YAML, **images, **{f"labels/{k}.txt": v for k, v in labels.items()}})


def listing(folder, **options):
    return YoloReader(folder=str(folder), **options).listing()


def splits(folder, **options):
    return {source.source_id: source.split for source in listing(folder, **options).sources}


def read(folder, label, width=20, height=10, name="images/train/a", **options):
    """The class ids and instances of an image with this label file."""
    files(folder, {f"{name.replace('images', 'labels')}.txt": label})
    (folder / f"{name}.png").write_bytes(png(width, height))
    reader = YoloReader(folder=str(folder), **options)
    source = next(source for source in reader.listing().sources if source.source_id == name)
    reader.label_map  # As before the reader travels.  # noqa: B018
    found = pickle.loads(pickle.dumps(reader)).read(source)
    return found.class_ids, found.instances


def test_classes_splits_and_negatives(folder):
    assert YoloReader(folder=str(folder)).label_map.names == ("background", "cat", "dog")
    assert splits(folder) == {
        "images/train/a": "train",
        "images/train/b": "train",
        "images/train/c": "train",
        "images/val/d": "eval",
        "images/test/e": "test",
    }
    class_ids, instances = read(folder, f"{SQUARE}\n1 0 0 0.1 0 0.1 0.2 0 0.2\n")
    expected = np.zeros((10, 20), np.uint8)
    expected[2:8, 5:15] = 1
    expected[:2, :2] = 2
    assert np.array_equal(class_ids, expected)
    assert np.array_equal(instances, expected)
    assert not read(folder, "\n")[0].any()
    found = listing(folder, unlabeled="ignore")
    assert [entry.reason for entry in found.ignored] == ["it has no label file"]
    assert found.set_aside == []


def test_a_split_without_any_label_file_is_not_background(folder):
    (folder / "labels/test/e.txt").unlink()
    found = listing(folder)
    assert "images/test/e" not in {source.source_id for source in found.sources}
    assert "no image of test has a label file" in found.ignored[0].reason
    assert splits(folder, unlabeled="background")["images/test/e"] == "test"


def test_smaller_objects_lie_over_larger_ones_and_equal_lines_are_one_place(folder):
    outer = "0 0 0 1 0 1 1 0 1"
    for lines in ([outer, f"1{SQUARE[1:]}"], [f"1{SQUARE[1:]}", outer]):
        class_ids, instances = read(folder, "\n".join(lines))
        assert (class_ids[5, 10], class_ids[0, 0]) == (2, 1)
        assert (instances[5, 10], instances[0, 0]) == (2, 1)


def test_parts_that_a_thin_bridge_joins_count_with_all_their_pixels(folder):
    # As Ultralytics writes the parts of one object, which may run in opposite directions.
    bridged = "0 0 0 0.5 0 0.5 1 0 1 0 0.5 0.75 0.5 0.75 1 1 1 1 0.5 0.75 0.5 0 0.5"
    small = "1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4"
    class_ids, _ = read(folder, f"{small}\n{bridged}")
    assert class_ids[2, 4] == 2
    assert class_ids[7, 17] == 1
    assert class_ids[7, 12] == 0


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (f"{SQUARE}\n0 0.5 0.5 0.2 0.2", "line 2: it is a box"),
        (f"{SQUARE}\n\n2 0 0 1 0 1 1", "line 3: there is no class 2; there are 0 to 1"),
        ("0.5 0 0 1 0 1 1", "line 1: there is no class 0.5"),
        ("cat 0 0 1 0 1 1", "line 1: 'cat' is not a number"),
        ("0 0 0 1 nan 1 1", "line 1: nan is not a finite number"),
        ("0 0,0 1,0 1,1", "'0,0' is not a number"),
        ("0 0 0 1 0 1 1 0.9", "line 1: it has 7 coordinates, an odd number"),
        ("0 0 0", "line 1: its outline has 1 points, and needs three"),
        ("0", "line 1: its outline has 0 points"),
        ("0 0 0 320 0 320 240", "line 1: its coordinate 320 is not between 0 and 1; are these pixels"),
        ("0 0 0 1 -0.3 1 1", "line 1: its coordinate -0.3 is not between 0 and 1$"),
        ("\x00\ufffd 1", "not a number"),
    ],
)
def test_broken_lines_are_named(folder, label, message):
    files(folder, {"labels/train/b.txt": SQUARE})
    with pytest.raises(BadImageError, match=rf"^labels/train/a.txt: .*{message}"):
        read(folder, label)


def test_a_rounding_error_at_the_edge_is_none(folder):
    assert read(folder, "0.0 -1e-3 0 1.0000005 0 1.001 1 0 1")[0].all()


def test_label_files_that_are_no_text_are_named(folder):
    (folder / "labels/train/a.txt").write_bytes(b"\xff\xfe0\x00 \x00")
    reader = YoloReader(folder=str(folder))
    source = next(source for source in reader.listing().sources if source.source_id == "images/train/a")
    with pytest.raises(BadImageError, match=r"labels/train/a.txt: no text in UTF-8"):
        reader.read(source)


def test_the_layout_of_roboflow(tmp_path):
    kinds = {
        split: {f"{split}/images/{split}.png": None, f"{split}/labels/{split}.txt": SQUARE}
        for split in ("train", "valid")
    }
    description = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['no', '1']\n"
    files(tmp_path, {"data.yaml": description, "README.roboflow.txt": "fruit", **kinds["train"], **kinds["valid"]})
    assert splits(tmp_path) == {"train/images/train": "train", "valid/images/valid": "eval"}
    found = listing(tmp_path)
    assert [(entry.input[-9:], "no ../test/images" in entry.reason) for entry in found.ignored] == [("data.yaml", True)]
    assert YoloReader(folder=str(tmp_path)).label_map.names == ("background", "no", "1")


@pytest.mark.parametrize(
    "description",
    [
        "path: /home/me/sets/fruit\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {0: cat, 1: dog}\n",
        "path: ../fruit\ntrain: [images/train]\nval: [./images/val/]\ntest: images/test\nnames: {1: dog, 0: cat}\n",
        "train: C:\\fruit\\images\\train\nval: /content/images/val\ntest: images/test\nnc: 2\nnames: [cat, dog]\n",
        "train: train.txt\nval: lists/val.txt\ntest: /x/images/test\nnames: [cat, dog]\n",
    ],
)
def test_paths_of_other_machines_lead_into_the_folder(folder, description):
    (folder / "data.yaml").unlink()
    lists = {
        "train.txt": "./images/train/a.png\n./images/train/b.png\n\nimages/train/c.png\n",
        "lists/val.txt": "/home/me/fruit/images/val/d.png\n",
    }
    files(folder, {"coco128-seg.yaml": description, **lists})
    assert sorted(splits(folder).values()) == ["eval", "test", "train", "train", "train"]


def test_images_that_a_list_names_and_that_are_missing_are_set_aside(folder):
    description = "train: train.txt\nval: images/val\nnames: [cat, dog]\n"
    files(folder, {"data.yaml": description, "train.txt": "images/train/a.png\nimages/train/x.png\n../../y.png\n"})
    found = listing(folder)
    assert [(entry.input.rpartition("/")[2], entry.reason[:26]) for entry in found.set_aside] == [
        ("train.txt: line 2", "there is no image images/t"),
        ("train.txt: line 3", "../../y.png leads out of t"),
    ]
    assert {entry.reason for entry in found.ignored} == {"data.yaml names it in no split"}
    assert len(found.ignored) == 3


def test_label_files_without_an_image_are_set_aside(folder):
    files(folder, {"labels/train/x.txt": SQUARE, "labels/train/classes.txt": "cat\ndog\n"})
    found = listing(folder)
    assert [(entry.input.rpartition("/")[2], entry.reason) for entry in found.set_aside] == [
        ("x.txt", "there is no image of its name")
    ]


def test_classes_txt_and_labels_beside_the_images(tmp_path):
    names = [f"pictures/{name}" for name in "abcdefghij"]
    images = {f"{name}.png": None for name in names}
    files(tmp_path, {"classes.txt": "cat\ndog\n", "notes.txt": "mine", "pictures/z.txt": SQUARE, **images})
    files(tmp_path, {f"{name}.txt": SQUARE for name in names[1:]} | {"pictures/readme.txt": "see"})
    found = listing(tmp_path)
    assert len(found.sources) == 9
    assert YoloReader(folder=str(tmp_path)).label_map.names == ("background", "cat", "dog")
    assert [entry.input.rpartition("/")[2] for entry in found.set_aside] == ["z.txt"]
    assert [entry.reason for entry in found.ignored] == ["it has no label file, and is not in images/"]


def test_train_and_val_of_the_same_images_are_one(folder):
    files(folder, {"data.yaml": "train: images/train\nval: images/train\nnames: [cat, dog]\n"})
    found = listing(folder)
    assert {source.stated_split for source in found.sources} == {"train"}
    assert any("eval has the same images as train" in entry.reason for entry in found.ignored)
    assert {*splits(folder, split={"train": 0.5, "eval": 0.25, "test": 0.25}).values()} <= {"train", "eval", "test"}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("names: [cat, dog]\ntrain: [", "data.yaml cannot be read as YAML"),
        ("train: images/train\nval: images/vla\nnames: [cat]", "no images/vla in .*, which it names as eval"),
        ("train: images/train\nval: images\nnames: [cat]", "images/train/a.png is in train and in eval; take it out"),
        ("train: images/train\nval: {a: b}\nnames: [cat]", "val takes a folder"),
        ("train: images/train/a.png\nnames: [cat]", "neither a folder nor a text file"),
        ("train: images/train\nnames: [cat, ~x, '']", "names takes a list of class names"),
        ("train: images/train\nnames: cat.names", "names takes a list"),
        ("train: images/train\nnames: {cat: 0}", "names takes a list"),
        ("train: images/train\nnc: 3\nnames: [cat, dog]", "nc is 3, but names has 2 classes"),
        ("train: images/train\nnc: many", "nc takes the number"),
        ("train: images/train\nnames: [cat]\nkpt_shape: [17, 3]", "points of poses"),
    ],
)
def test_broken_descriptions_are_named(folder, description, message):
    files(folder, {"data.yaml": description})
    with pytest.raises(UserError, match=f"{folder}.*{message}"):
        listing(folder)


def test_what_names_the_classes_is_needed_and_only_once(folder):
    (folder / "data.yaml").rename(folder / "other.yaml")
    files(folder, {"third.yaml": YAML.replace("cat", "horse"), "yolov8-seg.yaml": "nc: 80\nbackbone: []\n"})
    with pytest.raises(UserError, match=r"other.yaml and .*third.yaml describe different data sets"):
        listing(folder)
    (folder / "other.yaml").unlink()
    (folder / "third.yaml").unlink()
    with pytest.raises(UserError, match=r"no data.yaml that names the classes, and no classes.txt; write"):
        listing(folder)
    files(folder, {"classes.txt": "cat\n\ndog\n"})
    with pytest.raises(UserError, match=r"classes.txt: line 2 is blank"):
        listing(folder)


def test_a_data_set_of_boxes_is_refused(folder):
    for file in folder.glob("labels/*/*.txt"):
        file.write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(UserError, match=r"is for detection: its labels are boxes, as in labels/train/a.txt: line 1"):
        listing(folder)


def test_data_sets_in_buckets(folder, bucket):
    for path in (path for path in folder.rglob("*") if path.is_file()):
        bucket.blob(f"set/{path.relative_to(folder)}").upload_from_filename(path)
    reader = YoloReader(folder="gs://segpipe/set")
    found = reader.listing()
    assert len(found.sources) == 5
    assert reader.read(found.sources[0]).class_ids[5, 10] == 1


def test_names_are_stable_and_workers_get_no_lists_of_files(folder):
    reader = YoloReader(folder=str(folder))
    before = len(pickle.dumps(reader))
    reader.listing()
    reader.label_map  # noqa: B018
    files(folder, {f"images/train/image_{number}.png": None for number in range(50)})
    after = YoloReader(folder=str(folder))
    after.listing()
    after.label_map  # noqa: B018
    assert len(pickle.dumps(after)) == len(pickle.dumps(reader))
    assert len(pickle.dumps(reader)) < before + 2000


def test_recognition(folder, tmp_path_factory):
    reader = FORMATS["yolo"]
    found = reader.recognize(str(folder), YoloReader(folder=str(folder)).files)
    assert "images (4) have text files such as labels/" in found.reasons[0]
    assert found.reasons[1] == "data.yaml names 2 classes"
    assert "images without a label file (1) show no object" in found.assumptions[0]
    assert "four corners" in found.assumptions[1]
    other = files(
        tmp_path_factory.mktemp("other"), {"a.png": None, "a.txt": "a photograph of a cat", "masks/a.png": None}
    )
    assert reader.recognize(str(other), YoloReader(folder=str(other)).files) is None


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("0 10 10 30 10 30 30\n", "are these pixels"),
        ("0,0.1,0.1,0.3,0.1,0.3,0.3\n", "is not a number"),
    ],
)
def test_what_is_wrong_with_all_labels_of_a_described_data_set_is_said(folder, label, message):
    for file in folder.glob("labels/*/*.txt"):
        file.write_text(label)
    assert YoloReader.recognize(str(folder), YoloReader(folder=str(folder)).files)
    with pytest.raises(BadImageError, match=message):
        read(folder, label)


def test_a_description_without_names_is_of_something_else(folder):
    files(folder, {"args.yaml": "task: segment\nmode: train\nnames: null\n"})
    (folder / "data.yaml").rename(folder / "pets.yaml")
    assert YoloReader(folder=str(folder)).description.file == "pets.yaml"


_ULTRALYTICS = """
import json, sys
import cv2
import numpy as np
height, width, polygons = json.loads(sys.argv[1])
masks = []
for polygon in polygons:
    mask = np.zeros((height, width), np.uint8)
    corners = (np.array(polygon).reshape(-1, 2) * [width, height]).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1)
    masks.append(mask)
final = np.zeros((height, width), np.int32)
order = np.argsort([-int(mask.sum()) for mask in masks], kind="stable")
for index in order:
    final[masks[index] > 0] = index + 1
print(json.dumps(final.tolist()))
"""


def test_pixels_differ_from_those_of_ultralytics_only_at_outlines(folder, labeling_tools):
    """Which cuts coordinates off to whole pixels, and counts the outline as inside: 510 pixels, 1.5 around it."""
    height, width = 200, 300
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    polygons = []
    for x, y, radius in [(0.3, 0.4, 0.25), (0.35, 0.45, 0.1), (0.7, 0.6, 0.28), (0.02, 0.9, 0.15)]:
        wave = radius * (1 + 0.2 * np.sin(5 * angles))
        corners = np.stack([x + wave * np.cos(angles) * height / width, y + wave * np.sin(angles)], 1).clip(0, 1)
        polygons.append(corners.ravel().round(6).tolist())
    theirs = np.array(json.loads(labeling_tools(_ULTRALYTICS, json.dumps([height, width, polygons]))))
    lines = [" ".join(map(str, [index % 2, *polygon])) for index, polygon in enumerate(polygons)]
    ours, instances = read(folder, "\n".join(lines), width, height)
    differs = (ours > 0) != (theirs > 0)
    differs |= np.where(theirs > 0, (theirs - 1) % 2 + 1, 0) != ours
    far = np.ones((height, width), bool)
    for polygon in polygons:
        corners = np.array(polygon).reshape(-1, 2) * [width, height]
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            for part in np.linspace(0, 1, 30):
                x, y = start + part * (end - start)
                far[max(int(y - 1.5), 0) : int(y + 1.5) + 1, max(int(x - 1.5), 0) : int(x + 1.5) + 1] = False
    assert not (differs & far).any()
    assert differs.sum() == 510
    assert len(np.unique(instances)) == 5
