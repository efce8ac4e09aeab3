"""ADE20K's scene parsing benchmark, and what is like it and is not it."""

import pathlib

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.convert import convert
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.ade20k import Ade20kReader

# As published: tabs, a blank after a number, and names with commas, some with a blank at the end.
CLASSES = """Idx\tRatio\tTrain\tVal\tStuff\tName
1\t0.1576\t11664\t1172\t1\twall
2\t0.1072\t6046\t612\t1\tbuilding, edifice
3\t0.0878\t8265\t796\t1\tsky
4 \t0.0183\t2423\t225\t0\tbed \n
"""
NAMES = ("wall", "building", "sky", "bed")
# [6, 8] values: 0 is "other".
VALUES = np.repeat(np.array([[0, 1, 2, 3, 4, 4, 0, 1]], np.uint8), 6, axis=0)
CLASS_IDS = np.where(VALUES == 0, IGNORE_LABEL, VALUES.astype(int) - 1)


def pair(folder, name, values=VALUES, numbers=None):
    for kind in ("images", "annotations"):
        (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(folder / f"images/{name}.jpg")
    Image.fromarray(values).save(folder / f"annotations/{name}.png")
    if numbers is not None:
        (folder / "annotations_instance" / name).parent.mkdir(parents=True, exist_ok=True)
        # Red is a category of the Places Challenge, green the object.
        mask = np.dstack([(numbers > 0) * 7, numbers, 0 * numbers]).astype(np.uint8)
        Image.fromarray(mask).save(folder / f"annotations_instance/{name}.png")


def ade(folder, **pairs):
    folder.mkdir(exist_ok=True)
    (folder / "objectInfo150.txt").write_text(CLASSES)
    (folder / "sceneCategories.txt").write_text("ADE_train_00000001 airport_terminal\nADE_val_00000001 abbey\n\n")
    for name in ("training/ADE_train_00000001", "training/ADE_train_00000002", "validation/ADE_val_00000001"):
        pair(folder, name, **pairs)
    return folder


def listing(folder, **options):
    return Ade20kReader(folder=str(folder), **options).listing()


def read(folder, **options):
    reader = Ade20kReader(folder=str(folder), **options)
    source = reader.listing().sources[0]
    assert reader.label_map
    return cloudpickle.loads(cloudpickle.dumps(reader)).read(source)


def message(folder, **options):
    with pytest.raises(UserError) as caught:
        _ = read(folder, **options)
    return str(caught.value)


def recognized(folder):
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    return next((name for name, reader in FORMATS.items() if reader.recognize(str(folder), files)), None)


@pytest.mark.parametrize("below", [".", "ADEChallengeData2016"])
def test_masks_splits_and_scenes_are_as_published(tmp_path, below):
    ade(tmp_path / below)
    reader = Ade20kReader(folder=str(tmp_path))
    assert reader.label_map.names == NAMES
    found = reader.listing()
    prefix = "" if below == "." else f"{below}/"
    assert [(one.source_id, one.split, one.slice) for one in found.sources] == [
        (f"{prefix}images/training/ADE_train_00000001", "train", "airport_terminal"),
        (f"{prefix}images/training/ADE_train_00000002", "train", ""),
        (f"{prefix}images/validation/ADE_val_00000001", "eval", "abbey"),
    ]
    assert (found.set_aside, found.ignored) == ([], [])
    labeled = read(tmp_path)
    assert np.array_equal(labeled.class_ids, CLASS_IDS)
    assert labeled.instances is None
    assert recognized(tmp_path) == "ade20k"


def test_classes_are_chosen_and_others_are_ignored(tmp_path):
    ade(tmp_path)
    reader = Ade20kReader(folder=str(tmp_path), classes="sky, inside: [wall, bed]")
    assert reader.label_map.names == ("sky", "inside")
    expected = np.select([VALUES == 3, (VALUES == 1) | (VALUES == 4)], [0, 1], IGNORE_LABEL)
    assert np.array_equal(read(tmp_path, classes="sky, inside: [wall, bed]").class_ids, expected)
    # 0 says that nobody knows what is there, which is no background.
    with_background = read(tmp_path, classes="sky", others="background").class_ids
    assert np.array_equal(with_background, np.select([VALUES == 3, VALUES == 0], [1, IGNORE_LABEL], 0))
    assert "there is no class sky, heavens" in message(tmp_path, classes="'sky, heavens', bed")


def test_first_names_that_are_not_unique_are_not_taken(tmp_path):
    ade(tmp_path)
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tName\n1\tscreen, blind\n2\tscreen, silver screen\n3\tsky\n4\tbed\n"
    )
    assert Ade20kReader(folder=str(tmp_path)).label_map.names[:2] == ("screen, blind", "screen, silver screen")


def test_labels_may_come_from_a_file_that_says_what_0_and_255_are(tmp_path):
    ade(tmp_path)
    (tmp_path / "objectInfo150.txt").unlink()
    assert "objectInfo150.txt is missing" in message(tmp_path)
    labels = tmp_path / "own.yaml"
    labels.write_text("".join(f"- {{name: {name}, value: {value}}}\n" for value, name in enumerate(["thing", *NAMES])))
    assert np.array_equal(read(tmp_path, labels=str(labels)).class_ids, VALUES)
    shifted = VALUES - 1  # 0 becomes 255.
    pair(tmp_path, "training/ADE_train_00000001", shifted)
    entries = "".join(f"- {{name: {name}, value: {value}}}\n" for value, name in enumerate(NAMES))
    labels.write_text(f"{entries}- {{ignore: [255]}}\n")
    assert np.array_equal(read(tmp_path, labels=str(labels)).class_ids, CLASS_IDS)


def test_masks_whose_values_were_shifted_are_not_read_as_other_classes(tmp_path):
    ade(tmp_path)
    pair(tmp_path, "training/ADE_train_00000001", VALUES - 1)
    with pytest.raises(
        BadImageError, match=r"ADE_train_00000001.png: it holds 255, which the published masks never do"
    ):
        read(tmp_path)


def test_objects_are_told_apart_where_their_masks_are(tmp_path):
    numbers = np.zeros(VALUES.shape, int)
    numbers[:, 4], numbers[:, 5], numbers[:3, 7], numbers[:, 0] = 9, 200, 3, 4
    ade(tmp_path, numbers=numbers)
    labeled = read(tmp_path)
    assert np.array_equal(labeled.class_ids, CLASS_IDS)
    # Numbered in their order; that at the left has no class.
    expected = np.zeros(VALUES.shape, int)
    expected[:3, 7], expected[:, 4], expected[:, 5] = 1, 2, 3
    assert np.array_equal(labeled.instances, expected)
    assert labeled.instances.dtype == np.uint16
    assert np.unique(read(tmp_path, classes="wall", others="background").instances).tolist() == [0, 1]
    path = tmp_path / "annotations_instance/training/ADE_train_00000001.png"
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(path)
    with pytest.raises(BadImageError, match=r"ADE_train_00000001.png has 9x6 pixels, its mask 8x6"):
        read(tmp_path)
    path.write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"the mask of its objects .*ADE_train_00000001.png: unreadable"):
        read(tmp_path)
    path.unlink()
    (entry,) = listing(tmp_path).set_aside
    assert entry.reason == "no mask of its objects annotations_instance/training/ADE_train_00000001.png"


def test_files_without_counterpart_are_named(tmp_path):
    ade(tmp_path)
    (tmp_path / "annotations/training/ADE_train_00000002.png").unlink()
    (tmp_path / "images/validation/ADE_val_00000001.jpg").unlink()
    (tmp_path / "images/testing").mkdir()
    Image.fromarray(VALUES).save(tmp_path / "images/testing/ADE_test_00000001.jpg")
    found = listing(tmp_path)
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.set_aside] == [
        ("ADE_train_00000002.jpg", "no mask annotations/training/ADE_train_00000002.png"),
        ("ADE_val_00000001.png", "no image images/validation/ADE_val_00000001.jpg"),
    ]
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.ignored] == [
        ("ADE_test_00000001.jpg", "its folder has no annotations"),
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (VALUES + 5, "class id 5 at row 0, column 0 is not in the label map"),
        (
            VALUES[:4],
            r"sizes differ: the image has 8x6 pixels, the mask .*annotations/training/ADE_train_00000001.png 8x4",
        ),
        (np.dstack([VALUES, VALUES, 3 * VALUES]), "color"),
    ],
)
def test_a_mask_that_does_not_fit_sets_its_image_aside(tmp_path, values, reason):
    ade(tmp_path)
    pair(tmp_path, "training/ADE_train_00000001", values)
    with pytest.raises(BadImageError, match=reason):
        read(tmp_path)
    mask = tmp_path / "annotations/training/ADE_train_00000001.png"
    mask.write_bytes(mask.read_bytes()[:50])
    with pytest.raises(BadImageError, match=f"its mask {mask}: "):
        read(tmp_path)


def test_the_full_data_set_is_known_and_not_read(tmp_path):
    folder = tmp_path / "images/ADE/training/urban/street"
    folder.mkdir(parents=True)
    (tmp_path / "index_ade20k.pkl").write_bytes(b"")
    for name in ("ADE_train_00016869.jpg", "ADE_train_00016869_seg.png"):
        Image.fromarray(np.dstack([10 * VALUES, VALUES, VALUES])).save(folder / name)
    assert recognized(tmp_path) == "ade20k"
    assert "is the full ADE20K, whose thousands of classes" in message(tmp_path)
    (tmp_path / "index_ade20k.pkl").unlink()
    assert recognized(tmp_path) == "ade20k"


def test_other_folders_are_not_taken_for_it(tmp_path):
    pair(tmp_path, "training/street")
    assert recognized(tmp_path) != "ade20k"
    assert "has no folders images/ and annotations/" in message(tmp_path / "images")
    ade(tmp_path / "one")
    ade(tmp_path / "two")
    (tmp_path / "annotations/training/street.png").unlink()
    assert "has several data sets; name the folder of one: one/, two/" in message(tmp_path)


def test_a_line_that_is_no_scene_is_named(tmp_path):
    (ade(tmp_path) / "sceneCategories.txt").write_text("ADE_train_00000001 street\nADE_train_00000002\n")
    assert "sceneCategories.txt, line 2: a line is the name of an image and its scene" in message(tmp_path)


def test_a_conversion_needs_a_test_split_and_says_how_to_get_one(tmp_path):
    ade(tmp_path / "source")
    for index in range(3, 12):
        pair(tmp_path / "source", f"training/ADE_train_{index:08d}")
    with pytest.raises(UserError, match=r"test would be empty .*--split train=\S+,test="):
        convert(Ade20kReader(folder=str(tmp_path / "source")), str(tmp_path / "records"))
    reader = Ade20kReader(folder=str(tmp_path / "source"), split="train=0.7,test=0.3")
    report = convert(reader, str(tmp_path / "records"))
    assert report["splits"]["eval"]["examples"] == 1
    assert report["splits"]["test"]["examples"] > 0


def test_a_data_set_may_be_in_a_bucket(tmp_path, bucket):
    for path in ade(tmp_path, numbers=VALUES.astype(int)).rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    reader, local = (Ade20kReader(folder=folder) for folder in ("gs://segpipe/in", str(tmp_path)))
    assert reader.label_map == local.label_map
    found, expected = reader.listing().sources, local.listing().sources
    assert [(one.source_id, one.slice) for one in found] == [(one.source_id, one.slice) for one in expected]
    assert np.array_equal(reader.read(found[0]).class_ids, local.read(expected[0]).class_ids)
