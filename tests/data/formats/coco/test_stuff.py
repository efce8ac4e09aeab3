"""COCO-Stuff's maps: two kinds of numbers for the same classes, and how they are told apart."""

import pathlib

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.coco.stuff import CocoStuffReader
from data.formats.mask_folder import MaskFolderReader

# The form of the authors' labels.txt; 12 is in no image of COCO.
KNOWN = {0: "unlabeled", 1: "person", 2: "bicycle", 12: "street sign", 92: "banner", 157: "sky-other", 182: "wood"}
LABELS = "".join(f"{number}: {KNOWN.get(number, f'class {number}')}\n" for number in range(183))
# [4, 6] numbers as labels.txt has them: person, bicycle, banner, sky, wood, unlabeled.
NUMBERS = np.repeat(np.array([[1, 2, 92, 157, 182, 0]]), 4, axis=0)
EXPECTED = [["person", "bicycle", "banner", "sky-other", "wood", None]] * 4
NAMES = ("000000000009", "000000000025")
SPLITS = ("train2017", "val2017")


def write(folder, kind, names=NAMES, numbers=NUMBERS):
    """Maps as published: one less with 255 for unlabeled, or stuff alone with all things as 183, in a palette."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if kind == "stuffthingmaps":
            Image.fromarray((numbers - 1).astype(np.uint8)).save(folder / f"{name}.png")
        else:
            stuff = np.where((numbers > 0) & (numbers < 92), 183, numbers).astype(np.uint8)
            image = Image.fromarray(stuff).convert("P")
            image.putpalette([value * 7 % 256 for value in range(768)])
            image.save(folder / f"{name}.png")


def images(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.full((4, 6, 3), 99, np.uint8)).save(folder / f"{name}.jpg")


LAYOUTS = {
    "stuffthingmaps": ("{split}", "stuffthingmaps_trainval2017/{split}"),
    "pixelmaps": ("images/{split}", "annotations/stuff_{split}_pixelmaps"),
    "stuffthingmaps, by the authors' instructions": ("images/{split}", "annotations/{split}"),
    "pixelmaps, moved": ("images/{split}", "annotations/{split}"),
}


def coco(folder, layout="stuffthingmaps"):
    kind = layout.partition(",")[0]
    folder.mkdir(exist_ok=True)
    (folder / "labels.txt").write_text(LABELS)
    for number, split in enumerate(SPLITS):
        names = [f"{number}{name[1:]}" for name in NAMES]
        images(folder / LAYOUTS[layout][0].format(split=split), names)
        write(folder / LAYOUTS[layout][1].format(split=split), kind, names)
    return folder


def listing(folder, **options):
    return CocoStuffReader(folder=str(folder), **options).listing()


def read(folder, index=0, **options):
    """The names of the pixels' classes, as a worker reads them."""
    reader = CocoStuffReader(folder=str(folder), **options)
    names, source = reader.label_map.names, reader.listing().sources[index]
    labeled = cloudpickle.loads(cloudpickle.dumps(reader)).read(source)
    return [[None if one == IGNORE_LABEL else names[one] for one in row] for row in labeled.class_ids.tolist()]


def recognized(folder):
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    return next((name for name, reader in FORMATS.items() if reader.recognize(str(folder), files)), None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_number_is_the_class_that_the_authors_mean(tmp_path, layout):
    coco(tmp_path, layout)
    expected = EXPECTED
    if layout.startswith("pixelmaps"):
        expected = [["other" if name in ("person", "bicycle") else name for name in row] for row in EXPECTED]
    assert [read(tmp_path, index) for index in range(4)] == [expected] * 4
    found = listing(tmp_path)
    assert [source.split for source in found.sources] == ["train", "train", "eval", "eval"]
    assert (found.set_aside, found.ignored) == ([], [])
    assert recognized(tmp_path) == "coco-stuff"
    # 91 kinds of stuff, and the 80 things that occur, or all of these as one.
    assert len(CocoStuffReader(folder=str(tmp_path)).label_map) == (92 if layout.startswith("pixelmaps") else 171)


def test_other_masks_with_names_of_coco_are_not_taken_for_it(tmp_path):
    coco(tmp_path, "pixelmaps, moved")
    (tmp_path / "labels.txt").write_text("0: background\n1: person\n")
    assert recognized(tmp_path) != "coco-stuff"
    (tmp_path / "labels.txt").unlink()
    assert recognized(tmp_path) != "coco-stuff"


def test_the_labels_alone_would_give_other_classes(tmp_path):
    """Why there is this format: mask-folder takes the numbers of labels.txt for those in the maps."""
    coco(tmp_path, "stuffthingmaps, by the authors' instructions")
    reader = MaskFolderReader(folder=str(tmp_path), masks="annotations", labels=str(tmp_path / "labels.txt"))
    ids = reader.read(reader.listing().sources[0]).class_ids
    assert [reader.label_map.names[one] for one in ids[0][:3]] == ["unlabeled", "person", "class 91"]


def test_both_kinds_beside_each_other_need_a_choice(tmp_path):
    coco(tmp_path)
    for number, split in enumerate(SPLITS):
        write(tmp_path / f"stuff_{split}_pixelmaps", "pixelmaps", [f"{number}{name[1:]}" for name in NAMES])
    with pytest.raises(UserError, match="has both kinds of maps: give --maps stuffthingmaps if"):
        listing(tmp_path)
    assert read(tmp_path, maps="stuffthingmaps") == EXPECTED
    assert read(tmp_path, maps="pixelmaps")[0][:3] == ["other", "other", "banner"]


def test_maps_that_do_not_tell_need_a_choice(tmp_path):
    coco(tmp_path, "pixelmaps, moved")
    for path in (tmp_path / "annotations").rglob("*.png"):
        Image.fromarray(np.full((4, 6), 120, np.uint8)).save(path)
    with pytest.raises(UserError, match="does not tell which kind of maps it has: give --maps"):
        listing(tmp_path)
    assert read(tmp_path, maps="pixelmaps")[0][0] == "class 120"
    assert read(tmp_path, maps="stuffthingmaps")[0][0] == "class 121"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 44, 92, 255], "holds 44, which is a thing that no image of COCO has if it is one less"),
        ([1, 3, 157, 182], "holds 182 as in labels.txt, and 1, so it is neither"),
        ([157, 182, 255, 255], "holds 182 as in labels.txt, and 255, so it is neither"),
    ],
)
def test_maps_of_ones_own_are_neither_kind(tmp_path, numbers, message):
    """All numbers as in labels.txt, things too, would be read as the class after theirs."""
    coco(tmp_path, "pixelmaps, moved")
    for path in (tmp_path / "annotations").rglob("*.png"):
        Image.fromarray(np.repeat(np.array([numbers], np.uint8), 4, axis=0)).save(path)
    with pytest.raises(UserError, match=message):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("maps", "number", "reason"),
    [
        ("stuffthingmaps", 11, "class id 11 at row 0"),
        ("stuffthingmaps", 182, "class id 182 at row 0"),
        ("pixelmaps", 5, "class id 5 at row 0"),
        ("pixelmaps", 255, "it holds 255, as stuffthingmaps do"),
    ],
)
def test_a_number_that_only_the_other_kind_has_sets_the_image_aside(tmp_path, maps, number, reason):
    coco(tmp_path, maps)
    map_ = next((tmp_path).rglob("000000000009.png"))
    Image.fromarray(np.full((4, 6), number, np.uint8)).save(map_)
    with pytest.raises(BadImageError, match=f"its map {map_}, read as one of {maps}: {reason}"):
        read(tmp_path)


def test_a_broken_map_is_named(tmp_path):
    coco(tmp_path)
    map_ = next(tmp_path.rglob("000000000009.png"))
    write(map_.parent, "stuffthingmaps", ["000000000009"], NUMBERS[:3])
    with pytest.raises(BadImageError, match=f"the image has 6x4 pixels, the mask {map_} 6x3"):
        read(tmp_path)
    map_.write_bytes(map_.read_bytes()[:50])
    with pytest.raises(BadImageError, match=f"its map {map_}, read as one of stuffthingmaps: "):
        read(tmp_path)


def test_classes_are_chosen_and_what_is_unlabeled_stays_ignored(tmp_path):
    coco(tmp_path)
    rows = read(tmp_path, classes="creature: [person], sky-other")
    assert rows[0] == ["creature", None, None, "sky-other", None, None]
    rows = read(tmp_path, classes="creature: [person], sky-other", others="background")
    assert rows[0] == ["creature", "background", "background", "sky-other", "background", None]


def test_files_without_counterpart_are_named(tmp_path):
    coco(tmp_path)
    (tmp_path / "train2017/000000000009.jpg").unlink()
    (tmp_path / "stuffthingmaps_trainval2017/val2017/100000000009.png").unlink()
    images(tmp_path / "test2017", ["000000000001"])
    found = listing(tmp_path)
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.set_aside] == [
        ("100000000009.jpg", "it has no map 100000000009.png"),
        ("000000000009.png", "it has no image 000000000009.jpg"),
    ]
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.ignored] == [
        ("000000000001.jpg", "no image in its folder has a map"),
    ]


def test_names_that_several_splits_have_are_told_apart_by_folders(tmp_path):
    coco(tmp_path)
    images(tmp_path / "val2017")
    write(tmp_path / "stuffthingmaps_trainval2017/val2017", "stuffthingmaps")
    found = listing(tmp_path)
    assert len(found.sources) == 6
    assert all(pathlib.Path(one.image).parent.name == pathlib.Path(one.mask).parent.name for one in found.sources)
    images(tmp_path / "more")
    several = [entry for entry in listing(tmp_path).set_aside if "it has several maps: stuff" in entry.reason]
    assert [pathlib.Path(entry.input).parent.name for entry in several] == ["more", "more"]


def test_labels_are_needed_and_must_be_those_of_coco_stuff(tmp_path):
    coco(tmp_path)
    (tmp_path / "labels.txt").rename(tmp_path / "names.txt")
    with pytest.raises(UserError, match=r"has no labels.txt with the names of the classes; get it from"):
        _ = CocoStuffReader(folder=str(tmp_path)).label_map
    assert read(tmp_path, labels=str(tmp_path / "names.txt")) == EXPECTED
    (tmp_path / "names.txt").write_text("1: person\n2: sky\n")
    with pytest.raises(UserError, match="the labels have no classes 92 to 182"):
        read(tmp_path, labels=str(tmp_path / "names.txt"))


def test_maps_of_other_tools_are_not_taken(tmp_path):
    coco(tmp_path)
    for name in ("panoptic_train2017/000000000009.png", "train2017/000000000009_labelTrainIds.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / name)
    found = listing(tmp_path)
    assert (len(found.sources), found.set_aside) == (4, [])


def test_a_data_set_may_be_in_a_bucket(tmp_path, bucket):
    for path in coco(tmp_path, "stuffthingmaps, by the authors' instructions").rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    reader, local = (CocoStuffReader(folder=folder) for folder in ("gs://segpipe/in", str(tmp_path)))
    assert reader.label_map == local.label_map
    found, expected = reader.listing().sources, local.listing().sources
    assert [(one.source_id, one.split) for one in found] == [(one.source_id, one.split) for one in expected]
    assert np.array_equal(reader.read(found[0]).class_ids, local.read(expected[0]).class_ids)
