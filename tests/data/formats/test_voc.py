"""Data sets in the layout of Pascal VOC: which images are examples, in which splits, and what their masks mean."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.convert import convert
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.voc.classes import VOC_CLASSES, color
from data.formats.voc.reader import VocReader
from data.inspection.recognize import recognize
from data.label_map_files import parse_labels

PALETTE = [channel for index in range(256) for channel in color(index)]
# Background, an aeroplane, a person with its outline of void.
IDS = np.zeros((6, 8), np.uint8)
IDS[:2, :3] = 1
IDS[3:, 4:] = 255
IDS[4:, 5:] = 15
OBJECTS = np.zeros((6, 8), np.uint8)
OBJECTS[:2, :3] = 2
OBJECTS[3:, 4:] = 255
OBJECTS[4:, 5:] = 1


def image(path, size=(8, 6), value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 9, 9)).save(path)


def indexed(path, ids, palette=PALETTE):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(ids)
    if palette:
        mask.putpalette(palette)
    mask.save(path)


def voc(folder, names=("2007_000032", "2007_000033", "2007_000039"), ids=IDS, lists=None):
    for value, name in enumerate(names):
        image(folder / f"JPEGImages/{name}.jpg", value=value)
        indexed(folder / f"SegmentationClass/{name}.png", ids)
        indexed(folder / f"SegmentationObject/{name}.png", OBJECTS)
    for list_name, lines in (lists or {}).items():
        path = folder / "ImageSets/Segmentation" / list_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return folder


def listing(folder, **options):
    return VocReader(folder=str(folder), **options).listing()


def splits(folder, **options):
    return {pathlib.Path(one.source_id).name: one.split for one in listing(folder, **options).sources}


def read(folder, name="2007_000032", **options):
    reader = VocReader(folder=str(folder), **options)
    (source,) = [source for source in reader.listing().sources if source.source_id.endswith(name)]
    return reader.read(source)


def refusal(folder, **options):
    with pytest.raises(UserError) as caught:
        listing(folder, **options)
    return str(caught.value)


def unusable(folder, **options):
    with pytest.raises(BadImageError) as caught:
        read(folder, **options)
    return str(caught.value)


def test_indices_are_classes_and_objects(tmp_path):
    labeled = read(voc(tmp_path))
    np.testing.assert_array_equal(labeled.class_ids, IDS)
    np.testing.assert_array_equal(labeled.instances, np.where(OBJECTS == 255, 65535, OBJECTS.astype(int)))
    label_map = VocReader(folder=str(tmp_path)).label_map
    assert len(label_map) == 21
    assert [label_map.names[index] for index in (0, 1, 15, 20)] == ["background", "aeroplane", "person", "tvmonitor"]
    # As the development kit publishes them.
    assert [label_map.palette[index] for index in (0, 1, 7, 15, 20)] == [
        (0, 0, 0), (128, 0, 0), (128, 128, 128), (192, 128, 128), (0, 64, 128)
    ]  # fmt: skip


def rgb(path, ids):
    Image.fromarray(np.array(PALETTE, np.uint8).reshape(256, 3)[ids]).save(path)


def reordered(path, ids):
    """Index i becomes 200 - i, and void becomes 7; the colors stay with what they mean."""
    new = np.where(ids == 255, 7, 200 - ids.astype(int)).astype(np.uint8)
    palette = [channel for index in range(256) for channel in color(255 if index == 7 else max(200 - index, 0))]
    indexed(path, new, palette)


def gray(path, ids):
    indexed(path, ids, None)


@pytest.mark.parametrize("store", [rgb, reordered, gray], ids=["rgb", "reordered", "gray"])
def test_other_encodings_hold_the_same(tmp_path, store):
    voc(tmp_path)
    store(tmp_path / "SegmentationClass/2007_000032.png", IDS)
    store(tmp_path / "SegmentationObject/2007_000032.png", OBJECTS)
    labeled = read(tmp_path)
    np.testing.assert_array_equal(labeled.class_ids, IDS)
    person, aeroplane = int(labeled.instances[5, 7]), int(labeled.instances[0, 0])
    assert {person, aeroplane} == {1, 2}
    expected = np.select([OBJECTS == 255, OBJECTS == 1, OBJECTS == 2], [65535, person, aeroplane], 0)
    np.testing.assert_array_equal(labeled.instances, expected)


def test_a_gray_value_is_no_color_of_a_class(tmp_path):
    """Gray 128 is the color of cars, but no index of a class."""
    voc(tmp_path)
    indexed(tmp_path / "SegmentationClass/2007_000032.png", np.where(IDS == 1, 128, 0).astype(np.uint8), None)
    assert "class id 128 at row 0, column 0" in unusable(tmp_path)


def test_lists_are_splits(tmp_path):
    lists = {
        "train.txt": ["2007_000032", ""],
        "val.txt": ["2007_000033"],
        "trainval.txt": ["2007_000032", "2007_000033"],
    }
    voc(tmp_path, lists=lists)
    image(tmp_path / "JPEGImages/2007_000999.jpg")
    found = listing(tmp_path)
    assert splits(tmp_path) == {"2007_000032": "train", "2007_000033": "eval"}
    ignored = {pathlib.Path(one.input).stem: one.reason for one in found.ignored}
    assert ignored == {"2007_000039": "no list names it", "2007_000999": "no list names it"}
    assert not found.set_aside
    assert found.sources[0].source_id == "JPEGImages/2007_000032"


def test_a_missing_list_is_the_rest_of_trainval(tmp_path):
    voc(tmp_path, lists={"train.txt": ["2007_000032"], "trainval.txt": ["2007_000032", "2007_000033"]})
    assert splits(tmp_path) == {"2007_000032": "train", "2007_000033": "eval"}


def test_trainval_alone_is_dealt_by_hash(tmp_path):
    names = [f"2007_{number:06d}" for number in range(60)]
    voc(tmp_path, names, lists={"trainval.txt": names})
    assert set(splits(tmp_path).values()) == {"train", "eval", "test"}
    # In a folder that could be taken for one of a split, too, as an archive of many people has it.
    (tmp_path / "VOC2012_train_val").mkdir()
    for path in ("JPEGImages", "SegmentationClass", "ImageSets"):
        (tmp_path / path).rename(tmp_path / "VOC2012_train_val" / path)
    assert set(splits(tmp_path).values()) == {"train", "eval", "test"}


def test_without_lists_images_without_masks_are_left_out(tmp_path):
    voc(tmp_path)
    image(tmp_path / "JPEGImages/2007_000999.jpg")
    indexed(tmp_path / "SegmentationClass/2007_000998.png", IDS)
    found = listing(tmp_path)
    assert len(found.sources) == 3
    assert [one.reason for one in found.ignored] == ["no mask"]
    assert [one.reason for one in found.set_aside] == ["there is no image 2007_000998 in JPEGImages"]


def test_lines_that_cannot_be_used_are_set_aside(tmp_path):
    lines = ["2007_000032", "2007_000777", "../../etc/passwd", "2007_000034", "2007_000033.jpg", "2007_000039 1"]
    voc(tmp_path, lists={"train.txt": lines, "extra.txt": ["2007_000032"]})
    image(tmp_path / "JPEGImages/2007_000034.jpg")
    found = listing(tmp_path)
    assert splits(tmp_path) == dict.fromkeys(["2007_000032", "2007_000033", "2007_000039"], "train")
    train = str(tmp_path / "ImageSets/Segmentation/train.txt")
    assert [(one.input, one.reason) for one in found.set_aside] == [
        (f"{train}:2", "there is no image 2007_000777 in JPEGImages"),
        (f"{train}:3", "../../etc/passwd leads out of JPEGImages; lists have names of images in it"),
        (str(tmp_path / "JPEGImages/2007_000034.jpg"), f"{train}:4: 2007_000034 has no mask in SegmentationClass"),
    ]
    assert [pathlib.Path(one.input).name for one in found.ignored] == ["extra.txt"]


def test_tests_whose_masks_are_not_public_are_left_out(tmp_path):
    lists = {"train.txt": ["2007_000032", "2007_000033"], "val.txt": ["2007_000039"], "test.txt": ["2008_000001"]}
    voc(tmp_path, lists=lists)
    image(tmp_path / "JPEGImages/2008_000001.jpg")
    found = listing(tmp_path)
    assert not found.set_aside
    assert [one.reason.rpartition("names it, ")[2] for one in found.ignored] == ["and no image of that list has a mask"]
    assert "test" not in splits(tmp_path).values()
    reader = VocReader(folder=str(tmp_path))
    assert "the data set has train and eval only" in reader.fill_splits(found.sources)
    working = reader.working_split(found.sources)
    assert set(splits(tmp_path, split=working).values()) == {"train", "eval", "test"}


def test_an_image_is_in_one_split(tmp_path):
    voc(tmp_path, lists={"train.txt": ["2007_000032", "2007_000033"], "val.txt": ["2007_000033"]})
    message = refusal(tmp_path)
    assert "2007_000033 is in the lists of two splits" in message
    assert "train.txt:2" in message
    assert "val.txt:1" in message
    assert len(splits(tmp_path, split="train=0.5,val=0.3,test=0.2")) == 2


def test_a_folder_around_it_and_several_years(tmp_path):
    voc(tmp_path / "VOCdevkit/VOC2012", lists={"train.txt": ["2007_000032"]})
    assert list(splits(tmp_path).values()) == ["train"]
    assert listing(tmp_path).sources[0].source_id == "VOCdevkit/VOC2012/JPEGImages/2007_000032"
    voc(tmp_path / "VOCdevkit/VOC2007", ["000032"], lists={"test.txt": ["000032"]})
    assert "give one of them, such as" in refusal(tmp_path)


def test_masks_of_others_for_more_images(tmp_path):
    voc(tmp_path, lists={"train.txt": ["2007_000032"], "val.txt": ["2007_000033"], "trainaug.txt": ["2008_000002"]})
    image(tmp_path / "JPEGImages/2008_000002.jpg")
    assert len(splits(tmp_path)) == 2
    for name in ("2007_000032", "2007_000033", "2008_000002"):
        indexed(tmp_path / f"SegmentationClassAug/{name}.png", IDS, None)
    found = splits(tmp_path, masks="SegmentationClassAug")
    assert found == {"2007_000032": "train", "2007_000033": "eval", "2008_000002": "train"}
    assert "--masks names another" in refusal(tmp_path, masks="Nothing")
    assert "--masks SegmentationClassAug reads these" in next(entry.reason for entry in listing(tmp_path).ignored)


def test_lists_of_others_have_paths_and_a_folder_of_their_own(tmp_path):
    voc(tmp_path, lists={"train.txt": ["2007_000032"], "val.txt": ["2007_000033"]})
    image(tmp_path / "JPEGImages/2008_000002.jpg")
    for name in ("2007_000032", "2007_000033", "2008_000002"):
        indexed(tmp_path / f"SegmentationClassAug/{name}.png", IDS, None)
    line = "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"
    paths = [line.format(name) for name in ("2007_000032", "2008_000002")]
    own = tmp_path / "ImageSets/SegmentationAug"
    own.mkdir()
    (own / "train_aug.txt").write_text("\n".join([*paths, "/JPEGImages/2007_000033.jpg /x/2007_000032.png"]))
    (own / "val.txt").write_text(line.format("2007_000033"))
    found = splits(tmp_path, masks="SegmentationClassAug")
    assert found == {"2007_000032": "train", "2008_000002": "train", "2007_000033": "eval"}
    (entry,) = listing(tmp_path, masks="SegmentationClassAug").set_aside
    assert entry.input.endswith("train_aug.txt:3")
    assert len(splits(tmp_path)) == 2


def test_names_of_other_classes(tmp_path):
    voc(tmp_path, ["a"], np.where(IDS == 15, 2, IDS).astype(np.uint8))
    names = tmp_path / "class_names.txt"
    names.write_text("_background_\nhammer\nsaw\n")
    reader = VocReader(folder=str(tmp_path))
    assert reader.label_map.names == ("background", "hammer", "saw")
    assert set(np.unique(read(tmp_path, "a").class_ids)) == {0, 1, 2, 255}
    rgb(tmp_path / "SegmentationClass/a.png", np.where(IDS == 15, 2, IDS))
    assert set(np.unique(read(tmp_path, "a").class_ids)) == {0, 1, 2, 255}
    names.write_text("hammer\nsaw\n")
    with pytest.raises(UserError, match="the first line names what the value 0 is"):
        _ = VocReader(folder=str(tmp_path)).label_map
    names.unlink()
    labels = parse_labels("- {name: none}\n- {name: hammer}\n- {name: saw}\n", "labels.yaml")
    assert VocReader(folder=str(tmp_path), labels=labels).label_map.names == ("none", "hammer", "saw")
    text = "- {name: none, kind: stuff}\n- {name: hammer, kind: thing}\n- {name: saw, kind: thing}\n- {name: box}\n"
    reader = VocReader(
        folder=str(tmp_path), labels=parse_labels(text, "labels.yaml"), classes="none, tool: [hammer, saw]"
    )
    assert [label.kind for label in reader.label_map.root] == ["stuff", "thing"]


def test_labels_of_cvat_are_not_those_of_voc(tmp_path):
    voc(tmp_path)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nhammer:128,0,0::\n")
    with pytest.raises(UserError, match="--format cvat"):
        _ = VocReader(folder=str(tmp_path)).label_map
    assert VocReader.recognize(str(tmp_path), _files(tmp_path)) is None


def test_classes_are_chosen_by_name(tmp_path):
    voc(tmp_path)
    labeled = read(tmp_path, classes="vehicle: [aeroplane, car]")
    np.testing.assert_array_equal(labeled.class_ids, np.where(IDS == 15, 255, IDS))
    np.testing.assert_array_equal(labeled.instances, np.select([OBJECTS == 2, OBJECTS == 255], [1, 65535], 0))
    labeled = read(tmp_path, classes="person", others="background")
    np.testing.assert_array_equal(labeled.class_ids, np.select([IDS == 15, IDS == 255], [1, 255], 0))
    with pytest.raises(UserError, match="did you mean aeroplane"):
        _ = VocReader(folder=str(tmp_path), classes="airplane").label_map


def test_what_is_broken_is_named(tmp_path):
    voc(tmp_path)
    mask, objects = (tmp_path / f"Segmentation{kind}/2007_000032.png" for kind in ("Class", "Object"))
    indexed(objects, OBJECTS[:5])
    assert unusable(tmp_path) == f"{objects}: it has 8x5 pixels, and the mask of the classes 8x6"
    objects.write_bytes(objects.read_bytes()[:-20])
    assert str(objects) in unusable(tmp_path)
    indexed(mask, np.where(IDS == 15, 21, IDS).astype(np.uint8))
    assert re.match(rf"its mask {mask}: .*index 21 is no class id", unusable(tmp_path))
    indexed(mask, IDS[:, :7])
    assert unusable(tmp_path) == f"sizes differ: the image has 8x6 pixels, the mask {mask} 7x6"
    mask.write_bytes(mask.read_bytes()[:40])
    assert unusable(tmp_path).startswith(f"its mask {mask}: ")
    image(tmp_path / "JPEGImages/2007_000032.png")
    (doubtful,) = listing(tmp_path).set_aside
    assert "may be JPEGImages/2007_000032.jpg and JPEGImages/2007_000032.png" in doubtful.reason
    assert "has no folder with JPEGImages and SegmentationClass" in refusal(tmp_path / "JPEGImages")


def test_data_sets_in_buckets(tmp_path, bucket):
    names = ["2007_000032", "2007_000033", "2007_000039"]
    voc(tmp_path, names, lists={"train.txt": names[:1], "val.txt": names[1:]})
    for path in tmp_path.rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    assert VocReader.recognize("gs://segpipe/in", _files(tmp_path))
    assert splits("gs://segpipe/in") == splits(tmp_path)
    found, expected = read("gs://segpipe/in"), read(tmp_path)
    assert np.array_equal(found.class_ids, expected.class_ids)
    assert np.array_equal(found.instances, expected.instances)


def test_objects_of_another_image_are_named(tmp_path):
    voc(tmp_path)
    objects = tmp_path / "SegmentationObject/2007_000032.png"
    indexed(objects, np.roll(OBJECTS, 4, axis=1))
    reason = f"{objects}: 100% of the pixels of its objects are of another class than the rest"
    assert re.match(reason, unusable(tmp_path))
    # A class that is not learned is a class all the same.
    indexed(objects, OBJECTS)
    assert set(np.unique(read(tmp_path, classes="person", others="background").class_ids)) <= {0, 1, 255}
    objects.unlink()
    assert read(tmp_path).instances is None


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_is_recognized(tmp_path):
    names = [f"2007_{number:06d}" for number in range(40)]
    published = voc(tmp_path / "VOC2012", names, lists={"train.txt": names[:30], "val.txt": names[30:]})
    (published / "Annotations").mkdir()
    boxes = "<annotation><folder>VOC2012</folder><object><name>person</name></object></annotation>"
    (published / "Annotations/2007_000001.xml").write_text(boxes)
    found = recognize(str(published))
    assert found.format == "voc"
    assert found.label_map.names == tuple(one.name for one in VOC_CLASSES)
    assert {split: found.count(split) for split in ("train", "eval")}["eval"] == 10
    other = voc(tmp_path / "other", [f"part{number}" for number in range(40)], np.where(IDS == 255, 0, IDS % 13))
    found = recognize(str(other))
    assert found.format == "voc"
    assert found.label_map.names[0] == "background"
    assert len(found.label_map) == 3
    numbered = VocReader.recognize("", ["VOC2007/JPEGImages/000001.jpg", "VOC2007/SegmentationClass/000001.png"])
    assert "the classes are the 21 of Pascal VOC" in numbered.assumptions[0]
    (tmp_path / "boxes").mkdir()
    assert VocReader.recognize(str(tmp_path / "boxes"), ["JPEGImages/a.jpg", "Annotations/a.xml"]) is None
    assert list(FORMATS)[-1] == "mask-folder"


def test_values_beyond_the_names_shift_no_classes(tmp_path):
    folder = voc(tmp_path / "voc", [f"a{number}" for number in range(40)], np.where(IDS == 15, 2, IDS).astype(np.uint8))
    (folder / "class_names.txt").write_text("_background_\napple\n")
    with pytest.raises(UserError, match="index 2 is no class id") as caught:
        convert(VocReader(folder=str(folder)), str(tmp_path / "out"))
    assert "labels.yaml" not in str(caught.value)  # In which 0 would be another class.


def test_it_is_converted(tmp_path):
    names = [f"2007_{number:06d}" for number in range(40)]
    folder = voc(tmp_path / "voc", names, lists={"train.txt": names[:30], "val.txt": names[30:]})
    with pytest.raises(UserError, match=r"test would be empty .*--split train=[\d.]+,test=[\d.]+ gives"):
        convert(VocReader(folder=str(folder)), str(tmp_path / "out"))
    report = convert(VocReader(folder=str(folder), split="train=0.8,test=0.2"), str(tmp_path / "out"))
    assert report["splits"]["eval"]["examples"] == 10
    assert not report["set_aside"]
    (remark,) = report["warnings"]
    assert "pottedplant" not in remark
    assert "boat, bottle, bus, car, cat, chair, cow, diningtable, … and 8 others: " in remark
    assert "--classes leaves classes out" in remark
    assert "labels.yaml" not in remark
