"""labelme's data sets: which image a file is of, what its shapes are, and their pixels."""

import base64
import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.labelme.reader import LabelmeReader

IGNORED = 255


def picture(width=20, height=10, value=0):
    content = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 0)).save(content, "PNG")
    return content.getvalue()


def shape(label, points, kind="polygon", **others):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **others}


SQUARE = shape("cat", [[2, 2], [6, 2], [6, 6], [2, 6]])


def label(image, shapes, **others):
    """What labelme writes."""
    keys = {"imagePath": image, "imageData": None, "imageHeight": 10, "imageWidth": 20}
    return json.dumps({"version": "5.5.0", "flags": {}, "shapes": shapes, **keys, **others})


def files(folder, contents):
    """Makes files: text, an image for None."""
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        content = picture() if content is None else content
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def folder(tmp_path):
    """One image with all kinds of shapes, one without any, and one without a file."""
    shapes = [SQUARE, shape("potted plant", [[10, 1], [14, 5]], "rectangle")]
    return files(
        tmp_path,
        {"a.png": None, "a.json": label("a.png", shapes), "b.png": None, "b.json": label("b.png", []), "c.png": None},
    )


def listing(folder, **options):
    return LabelmeReader(folder=str(folder), **options).listing()


def names(folder, **options):
    return [source.source_id for source in listing(folder, **options).sources]


def reasons(entries):
    return {entry.input.rpartition("/")[2]: entry.reason for entry in entries}


def read(folder, shapes, name="a", width=20, height=10, **options):
    """The class ids and instances of an image with these shapes."""
    size = {"imageHeight": height, "imageWidth": width}
    files(folder, {f"{name}.png": picture(width, height), f"{name}.json": label(f"{name}.png", shapes, **size)})
    reader = LabelmeReader(folder=str(folder), **options)
    source = next(source for source in reader.listing().sources if source.source_id == name)
    reader.label_map  # As before the reader travels.  # noqa: B018
    found = pickle.loads(pickle.dumps(reader)).read(source)
    return found.class_ids, found.instances


def test_classes_images_and_negatives(folder):
    reader = LabelmeReader(folder=str(folder))
    assert reader.label_map.names == ("background", "cat", "potted plant")
    found = reader.listing()
    assert [source.source_id for source in found.sources] == ["a", "b"]
    assert found.set_aside == []
    assert reasons(found.ignored) == {"c.png": "it has no JSON file; --unlabeled background makes it background"}
    assert names(folder, unlabeled="background") == ["a", "b", "c"]
    class_ids = reader.read(found.sources[0]).class_ids
    expected = np.zeros((10, 20), np.uint8)
    expected[2:6, 2:6] = 1
    expected[1:5, 10:14] = 2
    assert np.array_equal(class_ids, expected)
    assert not reader.read(found.sources[1]).class_ids.any()
    unlabeled = LabelmeReader(folder=str(folder), unlabeled="background")
    assert not unlabeled.read(unlabeled.listing().sources[2]).class_ids.any()


def test_later_shapes_lie_over_earlier_ones_and_groups_are_one_object(folder):
    shapes = [
        shape("cat", [[0, 0], [20, 10]], "rectangle"),
        shape("dog", [[1, 1], [3, 3]], "rectangle", group_id=1),
        shape("dog", [[5, 1], [7, 3]], "rectangle", group_id=1),
        shape("dog", [[9, 1], [11, 3]], "rectangle", group_id=2),
        shape("cat", [[13, 1], [15, 3]], "rectangle", group_id=1),
        shape("__ignore__", [[1, 6], [3, 8]], "rectangle"),
        shape("_background_", [[5, 6], [7, 8]], "rectangle"),
    ]
    class_ids, instances = read(folder, shapes)
    rows, columns = [0, 1, 1, 1, 1, 6, 6], [0, 1, 5, 9, 13, 1, 5]
    assert class_ids[rows, columns].tolist() == [1, 2, 2, 2, 1, IGNORED, 0]
    assert instances[rows, columns].tolist() == [1, 2, 2, 3, 4, 0, 0]
    assert read(folder, [*shapes[1:2], *shapes[:1]])[0][1, 1] == 1


def test_labels_may_have_any_letters(folder):
    shapes = [shape(" tv/monitor, 猫: [x] ", [[0, 0], [5, 5]], "rectangle")]
    assert read(folder, shapes, name="b")[0][0, 0] == 3
    files(folder, {"c.json": label("c.png", [shape(form, []) for form in ("\u00e9", "e\u0301")])})
    assert LabelmeReader(folder=str(folder)).label_map.names[1:] == ("cat", "potted plant", "tv/monitor, 猫: [x]", "é")
    reader = LabelmeReader(folder=str(folder), classes='"tv/monitor, 猫: [x]", animal: [cat, potted plant]')
    assert reader.label_map.names == ("background", "tv/monitor, 猫: [x]", "animal")


@pytest.mark.parametrize(
    ("item", "pixels"),
    [
        (shape("cat", [[6, 6], [2, 3]], "rectangle"), 12),
        (shape("cat", [[2, 2], [6, 2], [6, 6], [2, 6]], "rectangle"), 16),
        (shape("cat", [[2, 2], [6, 2], [6, 6], [2, 6]], "oriented_rectangle"), 16),
        (shape("cat", [[2, 2], [6, 2], [6, 6], [2, 6]], "rotation", direction=1.5), 16),
        (shape("cat", [[2, 2], [6, 2], [8, 6], [4, 6]], "quadrilateral"), 16),
        (shape("cat", [[2, 2], [6, 2], [6, 6], [2, 6]], None), 16),
        ({"label": "cat", "points": [[2, 2], [6, 2], [6, 6]]}, 8),
        (shape("cat", [[10, 5], [10, 9]], "circle"), 52),
        (shape("cat", [[-5, -5], [4, 3]], "rectangle"), 12),
    ],
)
def test_shapes(folder, item, pixels):
    assert abs(int(read(folder, [item])[0].sum()) - pixels) <= (2 if len(item["points"]) == 3 else 0)


def test_lines_and_points_need_a_width(folder):
    line = shape("cat", [[2, 5], [18, 5]], "line")
    for item in (line, shape("cat", [[2, 5]], "point"), shape("cat", [[2, 2], [5, 2], [5, 5]], "linestrip")):
        with pytest.raises(
            BadImageError, match=rf"a.json: shape 2 \(cat\): a {item['shape_type']} has no area; .*--line-w"
        ):
            read(folder, [SQUARE, item])
    assert read(folder, [line], line_width=4)[0].sum() == 16 * 4
    assert read(folder, [shape("cat", [[10, 5]], "point")], line_width=4)[0].sum() == 12
    assert read(folder, [shape("cat", [[10, 5], [10, 5]], "line")], line_width=4)[0].sum() == 12


def base64_png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (shape("cat", [[1, 1], [2, 2]]), "shape 2 .cat.: its polygon has 2 points, and needs three"),
        (shape("cat", [[0.1, 0.1], [0.9, 0.1], [0.9, 0.8]]), "shape 2 .cat.: its coordinates are all between 0 and 1"),
        (shape("cat", [[0.1, 0.1], [0.9, 0.8]], "rectangle"), "shape 2 .cat.: its coordinates are all between 0 and 1"),
        (shape("cat", [[900, 1], [920, 1], [920, 9]]), "shape 2 .cat.: it lies outside of the image, which has"),
        (shape("cat", [[1, 1]], "rectangle"), "shape 2 .cat.: a rectangle of 1 points; it should have 2"),
        (shape("cat", [[1, 1], [2, 2], [3, 3]], "circle"), "shape 2 .cat.: a circle of 3 points"),
        (shape("cat", [], "linestrip"), "shape 2 .cat.: a linestrip has no area"),
        (shape("cat", [[1, 1], [2, 2]], "cuboid"), "shape 2 .cat.: there is no shape_type cuboid"),
        (shape("cat", [[1, 1], [2, "x"], [3, 3]]), r"shape 2: Expected `float`, got `str` - at `\$.points"),
        (shape("cat", [[1, 1], [2], [3, 3]]), "shape 2: Expected `array` of length 2"),
        (shape("cat", None), "shape 2: Expected `array`, got `null`"),
        (shape("cat", [[1, 1], [1e9, 1], [3, 3]]), "more than a million pixels"),
        (shape("cat", [[1, 1], [1e300, 1]], "circle"), "shape 2 .cat.: it has coordinates of more than a million"),
        (shape("cat", [[1, 1], [4, 4]], "mask"), "shape 2 .cat.: a mask without pixels"),
        (shape("cat", [[1, 1], [4, 4]], "mask", mask="?"), "its mask: it is not in base64"),
        (shape("cat", [[1, 1], [4, 4]], "mask", mask="AAAA"), "its mask: unreadable: not a known image format"),
        (
            shape("cat", [[1, 1], [4, 4]], "mask", mask=base64_png(np.ones((8, 4), np.uint8))),
            "its mask has 4x8 pixels, and its corners are 4x4 apart",
        ),
        (
            shape("cat", [[1, 1], [4, 4]], "mask", mask=base64_png(np.ones((4, 4, 3), np.uint8))),
            "its mask has 3 channels",
        ),
    ],
)
def test_broken_shapes_are_named(folder, item, message):
    with pytest.raises(BadImageError, match=rf"^a.json: .*{message}"):
        read(folder, [SQUARE, item])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"shapes": [{"label": "cat", "poi', "a.json: it cannot be read as JSON: Input data was truncated"),
        ("", "a.json: it cannot be read as JSON: Input data was truncated"),
        (b'{"shapes": [{"label": "\xff"}]}', "a.json: it cannot be read as JSON: "),
        (label("a.png", [{"points": []}]), "a.json: shape 1: Object missing required field `label`"),
        (label("a.png", [SQUARE, shape(7, [])]), "a.json: shape 2: Expected `str`, got `int` - at `$.label`"),
        (label("a.png", [SQUARE, shape("  ", [])]), "a.json: shape 2: it has no label"),
        (label("a.png", None), "a.json: Expected `array`, got `null` - at `$.shapes`"),
        (label("a.png", ["x"]), "a.json: shape 1: Expected `object`, got `str`"),
        (label(7, [SQUARE]), "a.json: Expected `str | null`, got `int` - at `$.imagePath`"),
        (label("a.png", [SQUARE], imageHeight=4.5), "a.json: Expected `int | null`, got `float` - at `$.imageHeight`"),
        (label("x.png", [SQUARE]), "a.json: its imagePath: there is no image x.png in .*; if it is a.png, correct"),
        (label("../../x.png", [SQUARE]), "a.json: its imagePath: ../../x.png leads out of the data set"),
        (label(None, [SQUARE]), "a.json: its imagePath: it names no image"),
        (label("b.png", [SQUARE]), "a.json: its imagePath is b.png, as that of b.json is; correct it"),
    ],
)
def test_files_that_cannot_be_used_are_set_aside_and_their_images_are_no_background(folder, content, reason):
    files(folder, {"a.json": content})
    found = listing(folder, unlabeled="background")
    assert [source.source_id for source in found.sources] == ["b", "c"]
    (set_aside,) = found.set_aside
    assert set_aside.input.endswith("/a.json")
    assert all(part in set_aside.reason for part in reason.split(".*"))
    assert reasons(found.ignored) == {"a.png": "its labels may be those of a.json"}


def test_json_files_of_others_are_ignored(folder, tmp_path_factory):
    files(folder, {"coco.json": '{"images": [], "annotations": []}', "list.json": "[1, 2]", "._a.json": "\x00"})
    found = listing(folder)
    assert reasons(found.ignored).keys() == {"coco.json", "list.json", "c.png"}
    assert found.set_aside == []
    empty = files(tmp_path_factory.mktemp("empty"), {"a.png": None, "coco.json": "{}"})
    with pytest.raises(UserError, match="has no JSON files of labelme"):
        listing(empty)


def test_masks_beside_them_are_no_background(folder):
    files(folder, {"masks/a.png": None, "masks/c.png": None})
    found = listing(folder, unlabeled="background")
    assert [source.source_id for source in found.sources] == ["a", "b", "c", "masks/c"]
    assert reasons(found.ignored) == {"a.png": "it seems to be the mask of an image that has a JSON file"}


def test_image_paths_of_any_machine(tmp_path):
    contents = {
        "images/train/a.png": None,
        "images/val/a.png": None,
        "labels/train/a.json": label("..\\..\\images\\train\\a.png", [SQUARE]),
        "labels/val/a.json": label("D:\\work\\images\\val\\a.png", [SQUARE]),
        "images/test/b.png": None,
        "labels/test/b.json": "\ufeff" + label("b.png", [SQUARE]),
    }
    found = listing(files(tmp_path, contents))
    assert found.set_aside == []
    assert {source.source_id: source.split for source in found.sources} == {
        "images/train/a": "train",
        "images/val/a": "eval",
        "images/test/b": "test",
    }


def test_a_frame_of_another_video_is_not_taken_for_a_missing_one(tmp_path):
    contents = {"one/2.png": None, "one/1.json": label("1.png", [SQUARE]), "two/1.png": None}
    found = listing(files(tmp_path, {**contents, "one/2.json": label("2.png", [SQUARE])}))
    assert [source.source_id for source in found.sources] == ["one/2"]
    assert "1.png is not beside it, where other images are; two/1.png may be another one" in found.set_aside[0].reason


def test_two_files_of_one_image(tmp_path):
    files(tmp_path, {"a.png": None, "x.json": label("a.png", [SQUARE]), "y.json": label("a.png", [])})
    found = listing(tmp_path)
    assert found.sources == []
    assert len(found.set_aside) == 2
    assert [entry.input.rpartition("/")[2] for entry in found.ignored] == ["a.png"]


def test_image_data_stands_in_for_a_missing_file(folder):
    data = base64.b64encode(picture(value=9)).decode()
    files(folder, {"d.json": label("gone.png", [SQUARE], imageData=data)})
    files(
        folder, {"e.json": label("e.png", [SQUARE], imageData="?"), "a.json": label("a.png", [SQUARE], imageData=data)}
    )
    reader = LabelmeReader(folder=str(folder))
    sources = {source.source_id: source for source in reader.listing().sources}
    assert np.asarray(Image.open(io.BytesIO(reader.read(sources["d"]).image.encoded)))[0, 0, 0] == 9
    assert reader.read(sources["d"]).class_ids.sum() == 16
    assert np.asarray(Image.open(io.BytesIO(reader.read(sources["a"]).image.encoded)))[0, 0, 0] == 0
    with pytest.raises(BadImageError, match="its imageData is not in base64"):
        reader.read(sources["e"])


def test_a_size_that_is_not_the_images_is_doubtful(folder):
    files(folder, {"a.json": label("a.png", [SQUARE], imageWidth=40, imageHeight=20)})
    reader = LabelmeReader(folder=str(folder))
    with pytest.raises(BadImageError, match=r"the image has 20x10 pixels, a\.json says 40x20"):
        reader.read(reader.listing().sources[0])
    files(folder, {"a.json": label("a.png", [SQUARE], imageWidth=None)})
    reader = LabelmeReader(folder=str(folder))
    assert reader.read(reader.listing().sources[0]).class_ids.sum() == 16
    far = shape("cat", [[12, 2], [36, 2], [36, 9]])
    files(folder, {"a.json": label("a.png", [SQUARE, far], imageWidth=None)})
    with pytest.raises(
        BadImageError, match=r"a\.json: shape 2 \(cat\): it reaches to x 36 in an image of 20x10 pixels"
    ):
        reader.read(LabelmeReader(folder=str(folder)).listing().sources[0])


def test_photographs_are_upright_as_labelme_shows_them(folder):
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "a.png", exif=exif)
    files(
        folder,
        {"a.json": label("a.png", [shape("cat", [[0, 15], [10, 20]], "rectangle")], imageWidth=10, imageHeight=20)},
    )
    reader = LabelmeReader(folder=str(folder))
    found = reader.read(reader.listing().sources[0])
    assert found.class_ids.shape == (20, 10)
    assert found.class_ids[15:].all()


def test_labels_txt_gives_the_order_and_what_may_occur(folder):
    files(folder, {"labels.txt": "__ignore__\n_background_\npotted plant\ncat\ndog\n"})
    assert LabelmeReader(folder=str(folder)).label_map.names == ("background", "potted plant", "cat", "dog")
    files(folder, {"a.json": label("a.png", [SQUARE, shape("catt", [])])})
    found = listing(folder)
    assert reasons(found.set_aside) == {
        "a.json": "a.json: shape 2 (catt): its label is not in labels.txt; is it cat? Correct it, or add it there"
    }
    files(folder, {"more/labels.txt": "cat\n"})
    with pytest.raises(UserError, match=r"labels.txt and .*more/labels.txt list different labels"):
        listing(folder)


def classes(folder, **options):
    return LabelmeReader(folder=str(folder), **options).label_map.names


def test_labels_that_differ_in_case_only_are_doubtful(folder):
    files(
        folder, {"c.json": label("c.png", [shape("tree, old", [[0, 0], [9, 0], [9, 9]]), {**SQUARE, "label": "Cat"}])}
    )
    with pytest.raises(UserError) as caught:
        classes(folder)
    assert str(caught.value).startswith("a.json: shape 1 (cat) and c.json: shape 2 (Cat) have labels that differ only")
    assert "--classes 'cat: [Cat, cat], …' merges them" in str(caught.value)
    choice = '"tree, old", cat: [Cat, cat], "potted plant"'
    assert classes(folder, classes=choice) == ("background", "tree, old", "cat", "potted plant")
    assert classes(folder, classes="cat, Cat") == ("background", "cat", "Cat")
    files(folder, {"labels.txt": "cat\nCat\npotted plant\ntree, old\n"})
    assert classes(folder)[1:3] == ("cat", "Cat")


def test_data_sets_in_buckets(folder, bucket):
    for path in folder.iterdir():
        bucket.blob(f"set/{path.name}").upload_from_filename(path)
    reader = LabelmeReader(folder="gs://segpipe/set")
    found = reader.listing()
    assert [source.source_id for source in found.sources] == ["a", "b"]
    assert reader.read(found.sources[0]).class_ids[3, 3] == 1


def test_workers_do_not_get_what_was_found_for_the_listing(folder):
    reader = LabelmeReader(folder=str(folder))
    before = len(pickle.dumps(reader))
    files(folder, {f"{number}.json": label(f"{number}.png", [SQUARE]) for number in range(200)})
    reader.listing()
    reader.label_map  # noqa: B018
    assert len(pickle.dumps(reader)) < before + 1000


def test_recognition(folder, tmp_path_factory):
    reader = FORMATS["labelme"]
    found = reader.recognize(str(folder), ["a.json", "a.png", "b.json", "b.png", "c.png"])
    assert found.reasons == ("JSON files (2), such as a.json, have shapes and an imagePath",)
    many = json.dumps({"shapes": [SQUARE] * 5000, "imagePath": "a.png", "imageData": "x" * 200_000, "imageHeight": 3})
    files(folder, {"a.json": many})
    assert reader.recognize(str(folder), ["a.json", "a.png"])
    other = files(tmp_path_factory.mktemp("other"), {"a.json": '{"images": [], "annotations": []}', "a.png": None})
    assert reader.recognize(str(other), ["a.json", "a.png"]) is None


_LABELME = """
import importlib.util, json, sys, types
logger = types.ModuleType("labelme.logger")
logger.logger = None
sys.modules["labelme"], sys.modules["labelme.logger"] = types.ModuleType("labelme"), logger

def load(name):
    spec = importlib.util.find_spec("PIL")
    path = spec.origin.rsplit("/PIL/", 1)[0] + f"/labelme/utils/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""
_DRAW = """
height, width, shapes, values = json.loads(sys.argv[1])
classes, objects = load("shape").shapes_to_label((height, width), shapes, values)
print(json.dumps([classes.tolist(), objects.tolist()]))
"""
# As its canvas does it with what a model found.
_MASK = """
import numpy as np
rows, columns = np.indices((60, 80))
mask = (rows - 40) ** 2 + (columns - 60) ** 2 < 30 ** 2
y1, x1, y2, x2 = load("shape").masks_to_bboxes(mask[None])[0].astype(int).tolist()
cut = mask[y1 : y2 + 1, x1 : x2 + 1]
text = load("image").img_arr_to_b64(cut.astype(np.uint8))
print(json.dumps([[[x1, y1], [x2, y2]], text, mask.tolist()]))
"""


def boundary(class_ids):
    """Pixels beside one of another class, and those beside these."""
    edge = np.zeros(class_ids.shape, bool)
    for axis in (0, 1):
        differs = np.diff(class_ids.astype(int), axis=axis) != 0
        for start in (0, 1):
            part = [slice(None), slice(None)]
            part[axis] = slice(start, class_ids.shape[axis] - 1 + start)
            edge[tuple(part)] |= differs
    wide = edge.copy()
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            wide |= np.roll(edge, (row, column), (0, 1))
    return wide


def test_pixels_differ_from_those_of_labelme_only_at_outlines(folder, labeling_tools):
    """Its export takes points as centers of pixels and counts outlines as inside: 245 pixels, all of them there."""
    height, width = 120, 160
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    wave = 30 * (1 + 0.2 * np.sin(5 * angles))
    star = np.stack([50 + wave * np.cos(angles), 60 + wave * np.sin(angles)], 1).round(2).tolist()
    shapes = [
        shape("cat", star),
        shape("dog", [[60.5, 20.25], [110.75, 70.5]], "rectangle", group_id=3),
        shape("cat", [[110, 80], [130, 90]], "circle"),
        shape("dog", [[20, 90], [45, 88], [60, 110]], "polygon", group_id=3),
    ]
    values = {"_background_": 0, "cat": 1, "dog": 2}
    arguments = json.dumps([height, width, shapes, values])
    theirs, objects = map(np.array, json.loads(labeling_tools(_LABELME + _DRAW, arguments)))
    files(folder, {"labels.txt": "cat\ndog\n"})
    ours, instances = read(folder, shapes, width=width, height=height)
    differs = ours != theirs
    assert not (differs & ~boundary(ours)).any()
    assert differs.sum() == 245
    assert np.array_equal(instances[~boundary(ours)], objects[~boundary(ours)])


def test_lines_are_as_wide_as_those_of_labelme(folder, labeling_tools):
    shapes = [shape("cat", [[20, 20], [60.5, 30]], "line"), shape("cat", [[120, 60]], "point")]
    shapes.append(shape("cat", [[20, 100], [100, 100.5]], "linestrip"))
    arguments = json.dumps([120, 160, shapes, {"cat": 1}])
    theirs = np.array(json.loads(labeling_tools(_LABELME + _DRAW, arguments))[0])
    ours, _ = read(folder, shapes, width=160, height=120, line_width=10)
    assert not ((ours != theirs) & ~boundary(ours)).any()
    assert (theirs.sum(), (ours != theirs).sum()) == (1307, 267)


def test_masks_are_those_of_labelme_to_the_pixel(folder, labeling_tools):
    points, text, mask = json.loads(labeling_tools(_LABELME + _MASK))
    ours, _ = read(folder, [shape("cat", points, "mask", mask=text)], width=80, height=60)
    assert np.array_equal(ours == 1, np.array(mask))
    moved = [[x - 10.25, y - 20.25] for x, y in points]
    ours, _ = read(folder, [shape("cat", moved, "mask", mask=text)], width=80, height=60)
    expected = np.zeros((60, 80), bool)
    expected[:40, :70] = np.array(mask)[20:, 10:]
    assert np.array_equal(ours == 1, expected)
