"""Data sets in the layout of Cityscapes: their examples, and what labels, objects and polygons become."""

import json
import math
import pathlib
import random
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.convert import convert
from data.decoding.errors import BadImageError
from data.formats.cityscapes.classes import LABELS
from data.formats.cityscapes.reader import CityscapesReader
from data.inspection.recognize import recognize

BY_NAME = {label.name: label for label in LABELS}
# A street under the sky, two cars of which one hides the other, and a group of people.
OBJECTS = (
    ("road", [[0, 12], [31, 12], [31, 23], [0, 23]]),
    ("sky", [[0, 0], [31, 0], [31, 11], [0, 11]]),
    ("parking", [[0, 20], [5, 20], [5, 23], [0, 23]]),
    ("car", [[8, 10], [15, 10], [15, 16], [8, 16]]),
    ("car", [[12, 12], [20, 12], [20, 18], [12, 18]]),
    ("persongroup", [[24, 9], [29, 9], [29, 15], [24, 15]]),
    ("license plate", [[14, 14], [16, 14], [16, 15], [14, 15]]),
    ("ego vehicle", [[0, 22], [31, 22], [31, 23], [0, 23]]),
)
SIZE = (32, 24)
PLACES = (("train", "aachen"), ("train", "bochum"), ("train", "zurich"), ("val", "frankfurt"))
# In the order of the draw calls above, by the tool's rules: objects of a class count from 0.
_VALUES = (7, 23, 9, 26000, 26001, 24, None, 1)


def polygons(objects=OBJECTS, size=SIZE):
    entries = [{"label": label, "polygon": polygon} for label, polygon in objects]
    return {"imgWidth": size[0], "imgHeight": size[1], "objects": entries}


def masks():
    """LabelIds and instanceIds of OBJECTS."""
    instances = np.zeros(SIZE[::-1], np.int32)
    for (_, ring), value in zip(OBJECTS, _VALUES, strict=True):
        (left, top), _, (right, bottom), _ = ring
        if value is not None:
            instances[top : bottom + 1, left : right + 1] = value
    return np.where(instances >= 1000, instances // 1000, instances).astype(np.uint8), instances


def scene(folder, name, truth="gtFine", kinds=("labelIds", "instanceIds", "polygons"), labels=None):
    """Makes an image with its labels; its name is such as train/aachen/aachen_000000_000019."""
    path = folder / f"leftImg8bit/{name}_leftImg8bit.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(list(folder.rglob("*")))).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(noise).save(path)
    ids, instances = masks() if labels is None else (labels, labels.astype(np.int32))
    stem = folder / f"{truth}/{name}_{truth}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    if "labelIds" in kinds:
        Image.fromarray(ids).save(f"{stem}_labelIds.png")
        Image.fromarray(np.full_like(ids, 3)).save(f"{stem}_labelTrainIds.png")
        Image.new("RGB", SIZE).save(f"{stem}_color.png")
    if "instanceIds" in kinds:
        Image.fromarray(instances).save(f"{stem}_instanceIds.png")
    if "polygons" in kinds:
        pathlib.Path(f"{stem}_polygons.json").write_text(json.dumps(polygons()))
    return stem


def street(folder, **options):
    return scene(folder, "train/aachen/aachen_000000_000019", **options)


def read(folder, **options):
    reader = CityscapesReader(folder=str(folder), **options)
    return reader.read(reader.listing().sources[0])


def unusable(folder):
    with pytest.raises(BadImageError) as caught:
        read(folder)
    return str(caught.value)


def test_the_classes_of_the_benchmark(tmp_path):
    street(tmp_path)
    labeled = read(tmp_path)
    ids, values = masks()
    expected = np.full_like(ids, 255)
    for label in LABELS:
        if label.train_id not in (-1, 255):
            expected[ids == label.id] = label.train_id
    np.testing.assert_array_equal(labeled.class_ids, expected)
    cars = np.select([values == 26000, values == 26001], [1, 2], 0)
    np.testing.assert_array_equal(labeled.instances, np.where(values == 24, 65535, cars))
    label_map = CityscapesReader(folder=str(tmp_path)).label_map
    assert label_map.names[:3] + label_map.names[-1:] == ("road", "sidewalk", "building", "bicycle")
    assert label_map.palette[13] == (0, 0, 142)
    assert len(label_map) == 19


def test_all_classes_or_some(tmp_path):
    street(tmp_path)
    reader = CityscapesReader(folder=str(tmp_path), label_set="all")
    assert len(reader.label_map) == 30
    labeled = read(tmp_path, label_set="all")
    assert reader.label_map.names[labeled.class_ids[21, 0]] == "parking"
    assert labeled.class_ids[23, 0] == 255  # The ego vehicle.
    labeled = read(tmp_path, classes="vehicle: [car, truck], parking", others="background")
    assert [labeled.class_ids[place] for place in ((11, 9), (21, 0), (0, 0), (23, 0))] == [1, 2, 0, 255]
    with pytest.raises(UserError, match=r"there is no class cars \(did you mean car"):
        _ = CityscapesReader(folder=str(tmp_path), classes="cars, bus").label_map


@pytest.mark.parametrize("kinds", [("instanceIds",), ("polygons",)])
def test_one_kind_of_file_is_enough(tmp_path, kinds):
    street(tmp_path / "all")
    street(tmp_path / "one", kinds=kinds)
    one, all_ = read(tmp_path / "one"), read(tmp_path / "all")
    np.testing.assert_array_equal(one.class_ids, all_.class_ids)
    np.testing.assert_array_equal(one.instances, all_.instances)


def test_cities_are_groups_and_slices(tmp_path):
    cities = ("train/aachen", "train/bochum", "train/bremen", "val/lindau")
    for city in cities:
        for number in range(4):
            scene(tmp_path, f"{city}/{city.partition('/')[2]}_{number:06d}_000019")
    reader = CityscapesReader(folder=str(tmp_path))
    listing = reader.listing()
    assert {(one.slice, one.group, one.split) for one in listing.sources} == {
        *((city, city, "train") for city in ("aachen", "bochum", "bremen")),
        ("lindau", "lindau", "eval"),
    }
    shares = reader.working_split(listing.sources)
    split = CityscapesReader(folder=str(tmp_path), split=shares).listing().sources
    assert {one.split for one in split} == {"train", "eval", "test"}
    assert len({(one.slice, one.split) for one in split}) == 4
    # Where the data set itself divides a city, it is no group.
    scene(tmp_path, "val/aachen/aachen_000009_000019")
    assert {one.group for one in CityscapesReader(folder=str(tmp_path)).listing().sources} == {""}


def test_a_single_city_is_divided_by_the_options_of_the_message(tmp_path):
    for number in range(20):
        scene(tmp_path / "cityscapes", f"train/aachen/aachen_{number:06d}_000019")
        scene(tmp_path / "cityscapes", f"val/lindau/lindau_{number:06d}_000019")
    source = str(tmp_path / "cityscapes")
    with pytest.raises(UserError, match=r"test would be empty .* a city stays whole") as caught:
        convert(CityscapesReader(folder=source), str(tmp_path / "out"))
    pattern, shares = re.search(r"--group-by (\S+) --split (\S+)", str(caught.value)).groups()
    found = CityscapesReader(folder=source, group_by=pattern, split=shares).listing().sources
    assert {one.split for one in found} == {"train", "eval", "test"}


def test_labels_of_tests_that_are_not_public_are_left_out(tmp_path):
    street(tmp_path)
    border = np.full(SIZE[::-1], 3, np.uint8)
    border[3:, 3:] = 0
    for number in range(30):
        scene(tmp_path, f"test/berlin/berlin_{number:06d}_000019", labels=border)
    listing = CityscapesReader(folder=str(tmp_path)).listing()
    assert [one.split for one in listing.sources] == ["train"]
    assert not listing.set_aside
    assert len(listing.ignored) == 30
    assert listing.ignored[0].reason.startswith("labels of tests are not public; nobody labeled it")
    assert listing.ignored[0].reason.endswith("(10 of 30 were looked at)")
    # Without any labels, or with a few of one's own.
    for path in (tmp_path / "gtFine/test").rglob("*.*"):
        path.unlink()
    listing = CityscapesReader(folder=str(tmp_path)).listing()
    assert {one.reason for one in listing.ignored} == {"gtFine has no labels of images of test"}
    for number in range(5):
        scene(tmp_path, f"test/berlin/berlin_{number:06d}_000019", labels=masks()[0] if number else border)
    listing = CityscapesReader(folder=str(tmp_path)).listing()
    assert sorted(one.split for one in listing.sources) == ["test"] * 4 + ["train"]


def test_an_image_that_nobody_labeled_is_set_aside(tmp_path):
    street(tmp_path, labels=np.zeros(SIZE[::-1], np.uint8))
    assert "nobody labeled it" in unusable(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    street(tmp_path)
    scene(tmp_path, "train/aachen/aachen_000001_000019", kinds=())
    lonely = scene(tmp_path, "train/aachen/aachen_000002_000019")
    (tmp_path / "leftImg8bit/train/aachen/aachen_000002_000019_leftImg8bit.png").unlink()
    scene(tmp_path, "train_extra/ulm/ulm_000002_000019", kinds=())
    listing = CityscapesReader(folder=str(tmp_path)).listing()
    assert [(pathlib.Path(one.input).name, one.reason) for one in listing.set_aside] == [
        (
            "aachen_000001_000019_leftImg8bit.png",
            "there is no train/aachen/aachen_000001_000019_gtFine_labelIds.png",
        ),
        (f"{lonely.name}_labelIds.png", "there is no image train/aachen/aachen_000002_000019_leftImg8bit"),
    ]
    assert [one.reason for one in listing.ignored] == ["gtFine has no labels of images of train_extra"]


def test_coarse_labels(tmp_path):
    street(tmp_path, truth="gtCoarse")
    scene(tmp_path, "train_extra/ulm/ulm_000002_000019", truth="gtCoarse")
    listing = CityscapesReader(folder=str(tmp_path), masks="gtCoarse").listing()
    assert [one.split for one in listing.sources] == ["train", "train"]
    assert listing.sources[0].mask.endswith("_gtCoarse_labelIds.png")
    with pytest.raises(UserError, match="there are no labels"):
        CityscapesReader(folder=str(tmp_path)).listing()


def test_images_of_others_may_show_a_scene_several_times(tmp_path):
    names = [f"{split}/{city}/{city}_{index:06}_000019" for split, city in PLACES for index in range(3)]
    for name in names:
        scene(tmp_path, name)
        for density in ("0.01", "0.02"):
            foggy = tmp_path / f"leftImg8bit_foggy/{name}_leftImg8bit_foggy_beta_{density}.png"
            foggy.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE).save(foggy)
    found = CityscapesReader(folder=str(tmp_path)).listing()
    assert [pathlib.Path(one.input).name for one in found.ignored] == ["leftImg8bit_foggy"]
    assert len(found.sources) == len(names)
    shutil.rmtree(tmp_path / "leftImg8bit")
    recognized = recognize(str(tmp_path))
    assert (recognized.format, recognized.options["images"]) == ("cityscapes", "leftImg8bit_foggy")
    assert len(recognized.listing.sources) == 2 * len(names)
    assert recognized.reader.read(recognized.listing.sources[0]).class_ids[0, 0] == BY_NAME["sky"].train_id
    shutil.rmtree(tmp_path / "leftImg8bit_foggy/val")  # And so one city in two splits.
    for folder in ("leftImg8bit_foggy", "gtFine"):
        shutil.copytree(tmp_path / folder / "train/aachen", tmp_path / folder / "val/aachen", dirs_exist_ok=True)
    dealt = CityscapesReader(folder=str(tmp_path), images="leftImg8bit_foggy", split={"train": 0.5, "test": 0.5})
    splits = {}
    for source in dealt.listing().sources:
        splits.setdefault(source.mask, set()).add(source.split)
    assert {len(found) for found in splits.values()} == {1}
    assert set.union(*splits.values()) == {"train", "eval", "test"}


def test_labels_of_ones_own(tmp_path):
    """As CVAT writes them: ids are the lines of label_colors.txt, and all objects are numbered."""
    ids = np.zeros(SIZE[::-1], np.uint8)
    ids[:5] = 1
    ids[9:12] = 2
    stem = scene(tmp_path, "default/a", labels=ids)
    values = ids.astype(np.int32)
    values[:5, :9] = 1001
    values[:5, 9:] = 1002
    Image.fromarray(values).save(f"{stem}_instanceIds.png")
    (tmp_path / "label_colors.txt").write_text("0 0 0 background\n250 50 83 nut\n61 245 61 hex bolt\n")
    reader = CityscapesReader(folder=str(tmp_path))
    assert reader.label_map.names == ("background", "nut", "hex bolt")
    labeled = read(tmp_path)
    np.testing.assert_array_equal(labeled.class_ids, ids)
    np.testing.assert_array_equal(np.unique(labeled.instances), [0, 1, 2, 65535])
    assert [one.group for one in reader.listing().sources] == [""]
    colors = tmp_path / "label_colors.txt"
    colors.write_text("0 0 0 background\n250 50 nut\n")
    with pytest.raises(UserError, match=r"label_colors\.txt:2: '250 50 nut' is not red, green, blue and a name"):
        _ = CityscapesReader(folder=str(tmp_path)).label_map
    colors.write_text("".join(f"0 0 0 {label.name.replace(' ', '')}\n" for label in LABELS))
    assert len(CityscapesReader(folder=str(tmp_path)).label_map) == 19


def break_it(**changes):
    return {**polygons(), **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            break_it(objects=[{"label": "tree", "polygon": [[0, 0], [5, 5], [0, 5]]}]),
            "object 0 (tree): there is no such",
        ),
        (break_it(objects=[{"label": "car", "polygon": [[0, 0], [5, 5]]}]), "object 0 (car): its polygon has 2 points"),
        (break_it(objects=[{"label": "car", "polygon": [[0, 0], [5, "x"]]}]), "objects.0.polygon.1.1: "),
        (break_it(objects=[{"label": None, "polygon": None}]), "objects.0.label: "),
        (break_it(objects={"a": 1}), "objects: "),
        (break_it(imgWidth=None), "imgWidth: "),
        (break_it(imgWidth=10**12), "1000000000000x24"),
        (break_it(objects=[{"label": "out of roi", "polygon": [[0, 0], [5, 5], [0, 5]]}]), "nobody labeled it"),
        ([], "Input should be an object"),
    ],
)
def test_broken_polygons_are_named(tmp_path, content, message):
    stem = street(tmp_path, kinds=("polygons",))
    path = pathlib.Path(f"{stem}_polygons.json")
    path.write_text(json.dumps(content))
    assert message in unusable(tmp_path)
    path.write_text(json.dumps(content)[:-1])
    assert unusable(tmp_path).startswith(f"{path}: ")


def test_polygons_of_another_size_are_named(tmp_path):
    path = pathlib.Path(f"{street(tmp_path, kinds=('polygons',))}_polygons.json")
    path.write_text(json.dumps(polygons(size=(64, 48))))
    assert unusable(tmp_path) == f"sizes differ: the image has 32x24 pixels, {path} says 64x48"


def test_broken_masks_are_named(tmp_path):
    stem = street(tmp_path)
    ids, values = masks()
    Image.fromarray(np.where(values == 26000, 27000, values).astype(np.int32)).save(f"{stem}_instanceIds.png")
    assert f"{stem}_instanceIds.png: 27000 at row 10, column 8 is an object of class 27" in unusable(tmp_path)
    Image.fromarray(values[:9]).save(f"{stem}_instanceIds.png")
    assert f"{stem}_instanceIds.png: " in unusable(tmp_path)
    Image.fromarray(np.where(ids == 26, 77, ids).astype(np.uint8)).save(f"{stem}_labelIds.png")
    assert f"its mask {stem}_labelIds.png: class id 77 at row 10, column 8" in unusable(tmp_path)
    Image.fromarray(ids[:9]).save(f"{stem}_labelIds.png")
    assert f"the mask {stem}_labelIds.png 32x9" in unusable(tmp_path)
    pathlib.Path(f"{stem}_labelIds.png").write_bytes(b"\x89PNG\r\n")
    assert unusable(tmp_path).startswith(f"its mask {stem}_labelIds.png: ")


def test_train_ids_under_the_name_of_label_ids_are_not_read(tmp_path):
    ids = masks()[0]
    train_ids = np.select([ids == 7, ids == 23, ids == 26], [0, 10, 13], 255).astype(np.uint8)
    street(tmp_path, labels=train_ids, kinds=("labelIds",))
    assert "it holds 255 and nothing else above 18, as labelTrainIds do" in unusable(tmp_path)
    street(tmp_path, labels=np.where(ids == 9, 255, ids).astype(np.uint8), kinds=("labelIds",))
    assert np.array_equal(read(tmp_path).class_ids == 255, ~np.isin(ids, (7, 23, 24, 26)))


def test_only_train_ids_say_how_to_read_them(tmp_path):
    stem = street(tmp_path)
    for kind in ("labelIds.png", "instanceIds.png", "polygons.json"):
        pathlib.Path(f"{stem}_{kind}").unlink()
    with pytest.raises(UserError, match="--mask-suffix _gtFine_labelTrainIds"):
        CityscapesReader(folder=str(tmp_path)).listing()


def test_it_is_recognized_and_converted(tmp_path):
    for number in range(12):
        city = f"city{number % 6}"
        scene(tmp_path / "cityscapes", f"train/{city}/{city}_{number:06d}_000019")
        scene(tmp_path / "cityscapes", f"val/lindau/lindau_{number:06d}_000019")
    found = recognize(str(tmp_path / "cityscapes"))
    assert found.format == "cityscapes"
    assert all(found.count(split) for split in ("train", "eval", "test"))
    report = convert(found.reader, str(tmp_path / "out"))
    assert report["splits"]["eval"]["examples"] == 12
    assert not report["set_aside"]
    with pytest.raises(UserError, match=r"test would be empty .*--split train=[\d.]+,test=[\d.]+ gives"):
        convert(CityscapesReader(folder=str(tmp_path / "cityscapes")), str(tmp_path / "other"))


def test_data_sets_in_buckets(tmp_path, bucket):
    street(tmp_path / "masks")
    street(tmp_path / "polygons", kinds=("polygons",))
    for path in tmp_path.rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    for kind in ("masks", "polygons"):
        found, expected = read(f"gs://segpipe/in/{kind}"), read(tmp_path / kind)
        assert np.array_equal(found.class_ids, expected.class_ids)
        assert np.array_equal(found.instances, expected.instances)
        (source,) = CityscapesReader(folder=f"gs://segpipe/in/{kind}").listing().sources
        assert (source.split, source.slice, source.group) == ("train", "aachen", "aachen")


def test_the_table_is_that_of_the_tool(labeling_tools):
    code = """
import json
from cityscapesscripts.helpers.labels import labels
print(json.dumps([[l.name, l.id, l.trainId, l.category, l.hasInstances, l.ignoreInEval, l.color] for l in labels]))
"""
    fields = ("name", "id", "train_id", "category", "has_instances", "ignore_in_eval")
    ours = [[*(getattr(label, field) for field in fields), list(label.color)] for label in LABELS]
    assert ours == json.loads(labeling_tools(code))


DRAW = """
import sys
from cityscapesscripts.preparation.json2labelImg import json2labelImg
from cityscapesscripts.preparation.json2instanceImg import json2instanceImg
for stem in sys.argv[1:]:
    json2labelImg(f"{stem}_polygons.json", f"{stem}_labelIds.png")
    json2labelImg(f"{stem}_polygons.json", f"{stem}_labelTrainIds.png", "trainIds")
    json2instanceImg(f"{stem}_polygons.json", f"{stem}_instanceIds.png")
"""


def ring(draw, size):
    """A polygon with 3 to 14 corners, some of them on the border of the image."""
    x, y, radius = draw.uniform(0, size[0]), draw.uniform(0, size[1]), draw.uniform(5, 30)
    angles = sorted(draw.uniform(0, 2 * math.pi) for _ in range(draw.randint(3, 14)))
    corners = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    return [[min(max(round(one), 0), most - 1) for one, most in zip(corner, size, strict=True)] for corner in corners]


def draw_both_ways(folder, contents, labeling_tools):
    """Draws polygons with the reader and with the tool: class ids and instances of each, and the tool's instanceIds."""
    stems = []
    for number, content in enumerate(contents):
        name = f"train/aachen/aachen_{number:06d}_000019"
        stems.append(str(scene(folder, name, kinds=())))
        pathlib.Path(f"{stems[-1]}_polygons.json").write_text(json.dumps(content))
        image = Image.new("RGB", (content["imgWidth"], content["imgHeight"]))
        image.save(folder / f"leftImg8bit/{name}_leftImg8bit.png")
    reader = CityscapesReader(folder=str(folder))
    ours = [reader.read(source) for source in reader.listing().sources]
    labeling_tools(DRAW, *stems)
    reader = CityscapesReader(folder=str(folder))
    theirs = [reader.read(source) for source in reader.listing().sources]
    for stem, labeled in zip(stems, theirs, strict=True):
        train_ids = np.asarray(Image.open(f"{stem}_labelTrainIds.png"))
        np.testing.assert_array_equal(labeled.class_ids, train_ids)
    return [
        (one, other, np.asarray(Image.open(f"{stem}_instanceIds.png")))
        for one, other, stem in zip(ours, theirs, stems, strict=True)
    ]


def test_a_polygon_has_the_pixels_that_the_tool_gives_it(tmp_path, labeling_tools):
    """Pixels differ only beside the outline: the tool's line goes to one side where a pixel lies half inside."""
    draw = random.Random(0)
    contents = [polygons([("road", ring(draw, (60, 40)))], (60, 40)) for _ in range(100)]
    drawn = [
        (ours.class_ids == 0, theirs.class_ids == 0)
        for ours, theirs, _ in draw_both_ways(tmp_path, contents, labeling_tools)
    ]
    for ours, theirs in drawn:
        around = np.pad(theirs, 1, mode="edge")
        near = np.stack([around[row : row + 40, column : column + 60] for row in range(3) for column in range(3)])
        assert not (ours & ~near.any(axis=0)).any()
        assert not (theirs & ~ours & near.all(axis=0)).any()
    more, less, area = (
        sum(int(count) for count in counts)
        for counts in zip(*(((a & ~b).sum(), (b & ~a).sum(), b.sum()) for a, b in drawn), strict=True)
    )
    assert less < 0.001 * area
    assert more < 0.03 * area


def test_polygons_lie_over_each_other_as_the_tool_draws_them(tmp_path, labeling_tools):
    draw = random.Random(1)
    names = [label.name for label in LABELS] + ["cargroup", "bicyclegroup"]
    size = (200, 120)
    contents = []
    for _ in range(4):
        whole = [("road", [[0, 0], [199, 0], [199, 119], [0, 119]])]
        contents.append(polygons(whole + [(draw.choice(names), ring(draw, size)) for _ in range(40)], size))
        for entry in contents[-1]["objects"][1::9]:
            entry["deleted"] = 1
    differing = 0
    things = [label.id for label in LABELS if label.has_instances]
    for ours, theirs, values in draw_both_ways(tmp_path, contents, labeling_tools):
        same = ours.class_ids == theirs.class_ids
        differing += int((~same).sum())
        np.testing.assert_array_equal(theirs.instances == 65535, np.isin(values, things))
        is_learned = theirs.class_ids != 255
        expected = np.isin(values, things) | ((values >= 1000) & is_learned)
        np.testing.assert_array_equal(theirs.instances > 0, expected)
        agree = (ours.instances == 65535) == (theirs.instances == 65535)
        assert np.count_nonzero(same & ~agree) < 50  # Beside the outlines of a car and a group, one over the other.
        # The first pixel of an object that both draw is of one number throughout.
        for value in np.unique(values[(values >= 1000) & is_learned]):
            assert np.bincount(ours.instances[(values == value) & same]).max() > 0.9 * ((values == value) & same).sum()
    assert differing < 0.02 * 4 * size[0] * size[1]
