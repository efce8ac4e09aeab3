"""COCO's panoptic format, judged by its published definition and by cityscapesScripts, which writes it."""

import json
import pathlib

import cloudpickle
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from data.base.errors import UserError
from data.contract import CROWD, IGNORE_LABEL
from data.convert import convert
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.coco.panoptic import CocoPanopticReader
from data.inspection.which_format import which_format
from data.listing.walking import walk

CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60], "supercategory": "person"},
    {"id": 18, "name": "dog", "isthing": 1, "color": [0, 82, 0], "supercategory": "animal"},
    {"id": 187, "name": "sky", "isthing": 0, "color": [70, 130, 180], "supercategory": "sky"},
]
# Ids that need one, two and three channels; 7 is a dog, the next two are persons, then sky and a crowd.
DOG, PERSON, PERSON_2, SKY, MANY = 7, 700, 70_000, 16_777_215, 3_000_001
SEGMENTS = [
    {"id": SKY, "category_id": 187, "iscrowd": 0, "bbox": [0, 0, 12, 3], "area": 36},
    {"id": PERSON, "category_id": 1, "iscrowd": 0},
    {"id": DOG, "category_id": 18, "iscrowd": 0},
    {"id": PERSON_2, "category_id": 1, "iscrowd": 0},
    {"id": MANY, "category_id": 1, "iscrowd": 1},
]
# [8, 12] ids: 0 is void.
IDS = np.zeros((8, 12), np.int64)
IDS[:3], IDS[3:, :2], IDS[3:6, 4:6], IDS[3:, 7:9], IDS[3:5, 10:] = SKY, PERSON, DOG, PERSON_2, MANY


def colors(ids):
    """The definition: ids = R + 256 G + 256² B."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def write_json(path, images, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [
            {"id": index, "file_name": f"{name}.jpg", "width": 12, "height": 8} for index, name in enumerate(images, 5)
        ],
        "annotations": [
            {"image_id": index, "file_name": f"{name}.png", "segments_info": SEGMENTS}
            for index, name in enumerate(images, 5)
        ],
        "categories": CATEGORIES,
    }
    path.write_text(json.dumps({**content, **changes}))
    return content


def write_images(folder, names, shape=IDS.shape):
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(np.full((*shape, 3), 20 * index, np.uint8)).save(folder / f"{name}.jpg")


def write_pngs(folder, names, ids=IDS):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(colors(ids)).save(folder / f"{name}.png")


def coco(folder, splits=("train2017", "val2017")):
    """The folders of COCO 2017, two images each."""
    for number, split in enumerate(splits):
        names = [f"{number}{index:011d}" for index in range(2)]
        write_json(folder / f"annotations/panoptic_{split}.json", names)
        write_pngs(folder / f"annotations/panoptic_{split}", names)
        write_images(folder / split, names)
    return folder


def one(folder, **changes):
    """One image in a plain folder, with what a test changes in the JSON."""
    content = write_json(folder / "panoptic.json", ["a"])
    for key, change in changes.items():
        change(content[key])
    (folder / "panoptic.json").write_text(json.dumps(content))
    write_pngs(folder / "panoptic", ["a"])
    write_images(folder / "images", ["a"])
    return folder


def listing(folder, **options):
    return CocoPanopticReader(folder=str(folder), **options).listing()


def read(folder, index=0, **options):
    """As a worker reads it, which opens no JSON."""
    reader = CocoPanopticReader(folder=str(folder), **options)
    sources = reader.listing().sources
    hidden = list(pathlib.Path(folder).rglob("*.json"))
    for path in hidden:
        path.rename(path.with_suffix(".hidden"))
    try:
        return cloudpickle.loads(cloudpickle.dumps(reader)).read(sources[index])
    finally:
        for path in hidden:
            path.with_suffix(".hidden").rename(path)


def test_segments_are_read_by_the_definition(tmp_path):
    reader = CocoPanopticReader(folder=str(coco(tmp_path)))
    assert reader.label_map.names == ("person", "dog", "sky")
    assert reader.label_map.palette == [(220, 20, 60), (0, 82, 0), (70, 130, 180)]
    found = reader.listing()
    assert [(one.source_id, one.split, one.stated_split) for one in found.sources] == [
        ("train2017/000000000000", "train", "train"),
        ("train2017/000000000001", "train", "train"),
        ("val2017/100000000000", "eval", "eval"),
        ("val2017/100000000001", "eval", "eval"),
    ]
    assert (found.set_aside, found.ignored) == ([], [])
    labeled = read(tmp_path, 3)
    expected = {0: (IGNORE_LABEL, 0), SKY: (2, 0), PERSON: (0, 1), DOG: (1, 2), PERSON_2: (0, 3)}
    expected[MANY] = (IGNORE_LABEL, CROWD)
    for row, column in np.ndindex(IDS.shape):
        pixel = labeled.class_ids[row, column], labeled.instances[row, column]
        assert pixel == expected[IDS[row, column]]
    assert (labeled.class_ids.dtype, labeled.instances.dtype) == (np.uint8, np.uint16)


def test_classes_are_chosen_and_what_is_left_out_is_no_object(tmp_path):
    labeled = read(one(tmp_path), classes="creature: [dog, person]", others="background")
    is_left_out, is_void = IDS == SKY, IDS == 0
    assert (labeled.class_ids[is_left_out] == 0).all()
    assert (labeled.class_ids[is_void | (IDS == MANY)] == IGNORE_LABEL).all()
    assert (labeled.class_ids[np.isin(IDS, (DOG, PERSON, PERSON_2))] == 1).all()
    labeled = read(tmp_path, classes="sky, person")
    assert (labeled.class_ids[IDS == DOG] == IGNORE_LABEL).all()
    assert (labeled.instances[IDS == DOG] == 0).all()
    assert set(np.unique(labeled.instances)) == {0, 1, 2, CROWD}
    with pytest.raises(UserError, match=r"there is no class doge \(did you mean dog"):
        CocoPanopticReader(folder=str(tmp_path), classes="doge, sky").listing()


def test_a_file_has_its_own_ids_of_categories(tmp_path):
    coco(tmp_path)
    other = [{**category, "id": 300 - category["id"]} for category in reversed(CATEGORIES)]
    segments = [{**segment, "category_id": 300 - segment["category_id"]} for segment in SEGMENTS]
    name = "100000000000"
    write_json(
        tmp_path / "annotations/panoptic_val2017.json",
        [name],
        categories=other,
        annotations=[{"image_id": 5, "file_name": f"{name}.png", "segments_info": segments}],
    )
    assert np.array_equal(read(tmp_path, 2).class_ids, read(tmp_path, 0).class_ids)


@pytest.mark.parametrize("where", ["annotations/panoptic_val", "panoptic_val", "masks/panoptic_val", "annotations"])
@pytest.mark.parametrize("images", ["images/val", "val", "val/images", "."])
def test_pngs_and_images_are_found_wherever_they_lie(tmp_path, where, images):
    write_json(tmp_path / "annotations/panoptic_val.json", ["a", "b"])
    write_pngs(tmp_path / where, ["a", "b"])
    write_images(tmp_path / images, ["a", "b"])
    found = listing(tmp_path)
    assert [pathlib.Path(source.mask).parent for source in found.sources] == [tmp_path / where] * 2
    assert [pathlib.Path(source.image).parent for source in found.sources] == [tmp_path / images] * 2
    assert {source.stated_split for source in found.sources} == {"eval"}
    assert found.ignored == found.set_aside == []


def test_images_with_the_names_of_the_pngs_are_not_mixed_up(tmp_path):
    one(tmp_path, images=lambda images: images[0].update(file_name="a.png"))
    Image.fromarray(np.full((*IDS.shape, 3), 9, np.uint8)).save(tmp_path / "images/a.png")
    (tmp_path / "images/a.jpg").unlink()
    (source,) = listing(tmp_path).sources
    assert (source.image, source.mask) == (str(tmp_path / "images/a.png"), str(tmp_path / "panoptic/a.png"))


def test_images_in_folders_below_those_of_two_splits_are_told_apart(tmp_path):
    for split in ("train2017", "val2017"):
        write_json(tmp_path / f"annotations/panoptic_{split}.json", ["city/a"])
        write_pngs(tmp_path / f"annotations/panoptic_{split}/city", ["a"])
        write_images(tmp_path / split / "city", ["a"])
    found = listing(tmp_path)
    assert not found.set_aside
    assert {source.source_id: source.split for source in found.sources} == {
        "train2017/city/a": "train",
        "val2017/city/a": "eval",
    }


def test_ids_may_be_texts_and_flags_true_or_missing(tmp_path):
    def change(annotations):
        annotations[0]["image_id"] = "5"
        annotations[0]["segments_info"] = [
            {"id": one["id"], "category_id": one["category_id"], **({"iscrowd": True} if one["iscrowd"] else {})}
            for one in SEGMENTS
        ]

    labeled = read(one(tmp_path, annotations=change, categories=lambda all_: all_[1].pop("isthing")))
    assert set(np.unique(labeled.instances)) == {0, 1, 2, 3, CROWD}


@pytest.mark.parametrize("mode", ["palette", "RGBA", "TIFF"])
def test_the_colors_count_however_they_are_stored(tmp_path, mode):
    expected = read(one(tmp_path))
    image = Image.open(tmp_path / "panoptic/a.png")
    image.load()
    if mode == "palette":
        image = image.quantize(8, dither=Image.Dither.NONE)
    elif mode == "RGBA":
        image = image.convert("RGBA")
    image.save(tmp_path / "panoptic/a.png", format="TIFF" if mode == "TIFF" else "PNG")
    assert np.array_equal(np.asarray(image.convert("RGB")), colors(IDS))
    found = read(tmp_path)
    assert np.array_equal(found.class_ids, expected.class_ids)
    assert np.array_equal(found.instances, expected.instances)


def test_gray_is_a_color_of_three_equal_channels(tmp_path):
    segments = [{"id": 5 * 0x010101, "category_id": 187}]
    one(tmp_path, annotations=lambda found: found[0].update(segments_info=segments))
    ids = np.where(IDS == SKY, 5, 0).astype(np.uint8)
    Image.fromarray(ids).save(tmp_path / "panoptic/a.png")
    assert np.array_equal(read(tmp_path).class_ids, np.where(IDS == SKY, 2, IGNORE_LABEL))


def test_images_without_annotation_and_those_that_no_file_names_are_ignored(tmp_path):
    one(tmp_path, images=lambda images: images.append({"id": 9, "file_name": "b.jpg"}))
    write_images(tmp_path / "images", ["b", "c"])
    found = listing(tmp_path)
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.ignored] == [
        ("b.jpg", "panoptic.json has no annotation of it"),
        ("c.jpg", "no annotation names it"),
    ]
    assert (len(found.sources), found.set_aside) == (1, [])


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        ("annotations", lambda it: it[0].update(image_id=77), "its image_id 77 is not among the images"),
        ("annotations", lambda it: it[0].update(file_name="x.png"), "its PNG of segments: there is no image x.png"),
        ("annotations", lambda it: it[0].update(file_name="../../a.png"), "leads out of the data set"),
        ("images", lambda it: it[0].update(file_name="x.jpg"), "there is no image x.jpg"),
        ("images", lambda it: it[0].update(file_name="../../etc/a.jpg"), "leads out of the data set"),
        ("annotations", lambda it: it[0].update(segments_info=None), "segments_info: expected array, got null"),
        ("annotations", lambda it: it[0].pop("file_name"), "missing required field file_name"),
        ("annotations", lambda it: it.insert(0, [1]), "expected object, got array"),
        (
            "annotations",
            lambda it: it[0].update(segments_info=[*SEGMENTS, {"id": 3, "category_id": 99}]),
            "segment 3: its category_id 99 is not among the categories",
        ),
        (
            "annotations",
            lambda it: it[0].update(segments_info=[*SEGMENTS, SEGMENTS[0]]),
            f"two of its segments have the id {SKY}",
        ),
        (
            "annotations",
            lambda it: it[0].update(segments_info=[{"id": 0, "category_id": 1}]),
            "the segment id 0 is not between 1 and 16777215",
        ),
        (
            "annotations",
            lambda it: it[0].update(segments_info=[{"id": 10**30, "category_id": 1}]),
            f"the segment id {10**30} is not between 1 and",
        ),
        ("annotations", lambda it: it.append(it[0]), "it is described twice"),
        ("images", lambda it: it.append({"id": 5, "file_name": "good.jpg"}), "several images have the id 5"),
    ],
)  # fmt: skip
def test_a_broken_annotation_costs_one_image(tmp_path, key, change, reason):
    good = {"id": 1, "file_name": "good.jpg"}, {"image_id": 1, "file_name": "good.png", "segments_info": SEGMENTS}
    one(tmp_path, **{key: change})
    content = json.loads((tmp_path / "panoptic.json").read_text())
    content["images"].append(good[0])
    content["annotations"].append(good[1])
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    write_pngs(tmp_path / "panoptic", ["good"])
    write_images(tmp_path / "images", ["good"])
    found = listing(tmp_path)
    assert "images/good" in [source.source_id for source in found.sources]
    (entry,) = found.set_aside
    assert reason in entry.reason
    assert entry.input.startswith("panoptic.json: annotations[0]") or entry.input == str(tmp_path / "images/a.jpg")


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = one(tmp_path) / "panoptic.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(listing(tmp_path).sources) == 1


def test_an_entry_of_an_image_that_is_broken_is_named(tmp_path):
    one(tmp_path, images=lambda images: images.insert(0, {"id": None, "file_name": 3}))
    found = listing(tmp_path)
    assert [entry.input for entry in found.set_aside] == ["panoptic.json: images[0]"]
    assert len(found.sources) == 1


def test_a_segment_that_the_json_does_not_have_sets_the_image_aside(tmp_path):
    one(tmp_path)
    ids = IDS.copy()
    ids[7, 11] = 4242
    write_pngs(tmp_path / "panoptic", ["a"], ids)
    with pytest.raises(BadImageError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"panoptic.json: the segment 4242, at row 7 and column 11 of {tmp_path}/panoptic/a.png, is not among its "
        "segments_info; ids are R + 256 G + 65536 B of the colors"
    )


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: Image.open(path).convert("RGB").save(path, format="JPEG"), "JPEG does not keep exact colors"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "unreadable|damaged"),
        (lambda path: write_pngs(path.parent, ["a"], IDS[:5]), "sizes differ: .* the mask .*panoptic/a.png 12x5"),
        (lambda path: Image.fromarray(np.full(IDS.shape, 700, np.uint16)).save(path), "not colors of 8 bits"),
        (
            lambda path: Image.fromarray(np.dstack([colors(IDS), np.full(IDS.shape, 9, np.uint8)])).save(path),
            "transparent",
        ),
    ],
)
def test_a_broken_png_sets_the_image_aside(tmp_path, break_it, message):
    break_it(one(tmp_path) / "panoptic/a.png")
    with pytest.raises(BadImageError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"images": [], "annotations": [{"segments_info": [',
            "panoptic.json is not complete JSON: it ends after",
        ),
        ("[1, 2]", "not in COCO's format: expected object, got array"),
        ('{"images": [], "annotations": []}', "missing required field categories"),
        ('{"images": 3, "annotations": [], "categories": []}', "has no categories"),
        (json.dumps({"images": 3, "annotations": [], "categories": CATEGORIES}), "images: expected array, got int"),
        ('{"images": ' + 100_000 * "[", "its lists lie in one another too deep"),
        ("\udcff", "panoptic.json is not complete JSON: "),
        (
            json.dumps({"images": [], "annotations": [], "categories": [CATEGORIES[0], {**CATEGORIES[1], "id": 1}]}),
            "the categories person and dog have the same id, 1",
        ),
        (
            json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": " "}]}),
            "the category 1 has no name",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error(tmp_path, text, message):
    one(tmp_path)
    (tmp_path / "panoptic.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError) as caught:
        listing(tmp_path)
    assert message in str(caught.value)


def test_pngs_that_are_still_packed_are_said_to_be(tmp_path):
    write_json(tmp_path / "annotations/panoptic_val2017.json", ["a"])
    write_images(tmp_path / "val2017", ["a"])
    with pytest.raises(UserError, match=r"such as a.png; put them into a folder panoptic_val2017 beside it"):
        listing(tmp_path)
    (tmp_path / "annotations/panoptic_val2017.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"unpack annotations/panoptic_val2017.zip"):
        listing(tmp_path)
    (tmp_path / "annotations/panoptic_val2017.json").unlink()
    with pytest.raises(UserError, match="has no JSON with panoptic segments"):
        listing(tmp_path)


def test_one_image_in_two_splits_is_an_error(tmp_path):
    coco(tmp_path)
    write_json(tmp_path / "annotations/panoptic_val2017.json", ["000000000000"])
    write_pngs(tmp_path / "annotations/panoptic_val2017", ["000000000000"])
    with pytest.raises(UserError, match="is in train and in eval"):
        listing(tmp_path)


def test_the_format_is_recognized_by_names_or_the_head_of_a_file(tmp_path):
    def recognized(folder):
        files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        return FORMATS["coco-panoptic"].recognize(str(folder), files)

    assert "annotations/panoptic_train2017.json" in recognized(coco(tmp_path / "coco")).reasons[0]
    other = one(tmp_path / "other")
    (other / "panoptic.json").rename(other / "labels.json")
    assert "labels.json has segments_info" in recognized(other).reasons[0]
    assert len(listing(other).sources) == 1
    (other / "labels.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert recognized(other) is None


def test_cityscapes_scripts_write_what_is_read(tmp_path, labeling_tools):
    rng = np.random.default_rng(0)
    expected = {}
    for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "berlin")):
        stem = f"{city}_000000_000019"
        # Road, sky, two cars, a group of cars, a person, what evaluation ignores, and a license plate.
        values = rng.choice([7, 23, 26000, 26001, 26, 24000, 0, 1, 9], (10, 14)).astype(np.int32)
        (tmp_path / "gtFine" / split / city).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png")
        write_images(tmp_path / "leftImg8bit" / split / city, [f"{stem}_leftImg8bit"], values.shape)
        jpg = tmp_path / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.jpg"
        Image.open(jpg).save(jpg.with_suffix(".png"))
        jpg.unlink()
        expected[stem] = values
    labeling_tools(
        "import sys; from cityscapesscripts.preparation import createPanopticImgs as tool;"
        "tool.convert2panoptic(sys.argv[1], sys.argv[1])",
        str(tmp_path / "gtFine"),
    )
    reader = CocoPanopticReader(folder=str(tmp_path))
    names = reader.label_map.names
    assert len(names) == 19
    found = reader.listing()
    assert [source.split for source in found.sources] == ["test", "train", "eval"]
    for source in found.sources:
        values = next(one for stem, one in expected.items() if stem in source.image)
        labeled = reader.read(source)
        classes = np.full(values.shape, IGNORE_LABEL)
        for value, name in ((7, "road"), (23, "sky"), (26000, "car"), (26001, "car"), (24000, "person")):
            classes[values == value] = names.index(name)
        assert np.count_nonzero(labeled.class_ids != classes) == 0
        assert (labeled.instances[values == 26] == CROWD).all()
        assert len(set(np.unique(labeled.instances))) == 5
        for value in (26000, 26001, 24000):
            assert len(np.unique(labeled.instances[values == value])) == 1


def test_a_conversion_keeps_classes_and_objects(tmp_path):
    coco(tmp_path / "source", ("train2017", "val2017", "test2017"))
    report = convert(CocoPanopticReader(folder=str(tmp_path / "source")), str(tmp_path / "records"))
    assert {split: report["splits"][split]["examples"] for split in report["splits"]} == {
        "train": 2, "eval": 2, "test": 2,
    }  # fmt: skip


def test_a_data_set_may_be_in_a_bucket(tmp_path, bucket):
    for path in coco(tmp_path).rglob("*.*"):
        bucket.blob(f"coco/{path.relative_to(tmp_path)}").upload_from_filename(path)
    reader, local = (CocoPanopticReader(folder=folder) for folder in ("gs://segpipe/coco", str(tmp_path)))
    assert reader.label_map == local.label_map
    found, expected = reader.listing().sources, local.listing().sources
    assert [(one.source_id, one.split, one.labels) for one in found] == [
        (one.source_id, one.split, one.labels) for one in expected
    ]
    assert np.array_equal(reader.read(found[0]).instances, local.read(expected[0]).instances)


def test_annotated_fruits_become_the_masks_of_pycocotools(tmp_path, fruits):
    """165 objects of 18 photographs, written as segments by the definition."""
    tool = COCO(fruits / "trainval.json")
    annotations, expected = [], {}
    (tmp_path / "panoptic").mkdir()
    (tmp_path / "images").symlink_to(fruits / "images")
    for id_, image in tool.imgs.items():
        ids = np.zeros((image["height"], image["width"]), np.int64)
        found = sorted(tool.loadAnns(tool.getAnnIds(id_)), key=lambda one: -one["area"])
        for one in found:
            ids[tool.annToMask(one) > 0] = 40_000 * (one["id"] + 1)
        Image.fromarray(colors(ids)).save(tmp_path / f"panoptic/{id_}.png")
        expected[image["file_name"].rpartition("/")[2]] = ids
        segments = [{"id": 40_000 * (one["id"] + 1), "category_id": one["category_id"]} for one in found]
        annotations.append({"image_id": id_, "file_name": f"{id_}.png", "segments_info": segments})
    categories = [{"isthing": 1, **one} for one in tool.cats.values()]
    content = {"images": list(tool.imgs.values()), "annotations": annotations, "categories": categories}
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    reader = CocoPanopticReader(folder=str(tmp_path))
    names, found = reader.label_map.names, reader.listing()
    assert (len(found.sources), found.set_aside) == (len(tool.imgs), [])
    for source in found.sources:
        labeled, ids = reader.read(source), expected[pathlib.Path(source.image).name]
        for used in np.unique(ids):
            classes, numbers = labeled.class_ids[ids == used], labeled.instances[ids == used]
            assert len(np.unique(numbers)) == 1
            name = None if used == 0 else tool.cats[tool.anns[used // 40_000 - 1]["category_id"]]["name"]
            assert (classes == (IGNORE_LABEL if name is None else names.index(name))).all()
        assert len(np.unique(labeled.instances)) == len(np.unique(ids))


def test_panoptic_segments_beside_instances_are_left_out_unless_they_are_meant(tmp_path):
    coco(tmp_path)
    for index, split in enumerate(("train2017", "val2017")):
        entry = {"id": 1, "file_name": f"{index}{0:011d}.jpg", "width": 12, "height": 8}
        shape = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]], "iscrowd": 0}
        content = {"images": [entry], "annotations": [shape], "categories": CATEGORIES}
        (tmp_path / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    name, recognition = which_format(
        str(tmp_path), [file.path[len(f"{tmp_path}/") :] for file in walk(str(tmp_path)).files]
    )
    assert name == "coco"
    assert "the labels that --format coco-panoptic reads are left out" in recognition.assumptions[0]


def test_numbers_may_be_texts_or_have_fractions_of_zero_and_nan_is_no_harm(tmp_path):
    def as_texts(annotations):
        segments = [{"id": str(one["id"]), "category_id": float(one["category_id"])} for one in SEGMENTS]
        annotations[0].update(segments_info=[{**one, "area": float("nan")} for one in segments])

    one(tmp_path, annotations=as_texts, categories=lambda it: it[0].update(id="1", name="007"))
    labeled = read(tmp_path)
    assert CocoPanopticReader(folder=str(tmp_path)).label_map.names == ("007", "dog", "sky")
    assert (labeled.class_ids == 0).sum() > (IDS == PERSON).sum()


def test_a_file_without_any_of_its_images_is_named(tmp_path):
    coco(tmp_path)
    for path in (tmp_path / "train2017").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"panoptic_train2017\.json: none of its 2 images is in .*; put them there"):
        listing(tmp_path)
