"""Each format holds the mask to the pixel, in files that the tools' own code reads."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from data.annotations.shapes import Polygon
from data.label_map import LabelMap
from data.writing import WRITERS, AnnotatedImage
from data.writing.folders import annotation_folders
from data.writing.writer import readable
from tests.data.writing.made_up import IDS, LABELS, NAMES, drawn, farthest, masks, write

MASKS = masks()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folders of all formats, each pixel kept, and the photographs beside."""
    home = tmp_path_factory.mktemp("written")
    for name, mask in MASKS.items():
        (home / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).convert("RGB").save(home / "photos" / name)
    return dict(zip(WRITERS, write(home / "out", list(WRITERS), MASKS), strict=True))


@pytest.mark.parametrize("name", WRITERS)
def test_every_pixel_is_kept(written, name):
    for image, mask in MASKS.items():
        assert np.array_equal(drawn(name, written[name], image, mask), mask)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("tolerance", [1.0, 2.5])
def test_with_a_tolerance_pixels_differ_near_edges_alone(tmp_path, name, tolerance):
    (folder,) = write(tmp_path / "out", [name], MASKS, tolerance)
    different = 0
    for image, mask in MASKS.items():
        found = drawn(name, folder, image, mask)
        assert farthest(mask, found) <= tolerance
        different += np.count_nonzero(found != mask)
    assert different > 0


def test_coco_equals_pycocotools(written):
    coco = COCO(written["coco"] / "annotations.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(NAMES[1:])
    assert [entry["file_name"] for entry in coco.imgs.values()] == list(MASKS)
    for number, mask in zip(coco.getImgIds(), MASKS.values(), strict=True):
        found = np.zeros_like(mask)
        for annotation in coco.loadAnns(coco.getAnnIds(number)):
            pixels = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == pixels.sum()
            rows, columns = np.nonzero(pixels)
            left, top, width, height = annotation["bbox"]
            assert (left, top, left + width, top + height) == (
                columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
            )  # fmt: skip
            assert not found[pixels].any()
            found[pixels] = annotation["category_id"]
        assert np.array_equal(found, mask)


def test_yolo_is_laid_out_as_cvat_and_ultralytics_expect(written):
    folder = written["yolo"]
    content = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert content == {"path": ".", "train": "train.txt", "names": dict(enumerate(NAMES[1:]))}
    assert (folder / "train.txt").read_text(encoding="utf-8").splitlines() == [f"images/train/{name}" for name in MASKS]
    assert (folder / "labels" / "train" / "empty.txt").read_text() == ""


_FILL = """
import json, sys
import cv2, numpy as np

for line in open(sys.argv[1]):
    corners, height, width = json.loads(line)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, np.asarray([corners], dtype=np.int32).reshape(1, -1, 2), color=1)
    print(json.dumps(mask.tolist()))
"""


def test_opencv_fills_polygons_with_holes_alike(labeling_tools, written, tmp_path):
    """As Ultralytics calls it. It fills outlines as well, which cover a pixel more to the right and below."""
    lines, expected = [], []
    for image in ("rings.png", "sub/touching holes.jpg", "smooth.jpg"):
        height, width = MASKS[image].shape
        content = json.loads((written["labelme"] / f"{image.rpartition('.')[0]}.json").read_text())
        for shape in content["shapes"]:
            lines.append(json.dumps([np.ravel(shape["points"]).tolist(), height, width]))
            expected.append((shape, height, width))
    (tmp_path / "lines").write_text("\n".join(lines))
    more = 0
    for text, (shape, height, width) in zip(
        labeling_tools(_FILL, str(tmp_path / "lines")).splitlines(), expected, strict=True
    ):
        filled = np.array(json.loads(text), bool)
        ours = Polygon([np.ravel(shape["points"]).tolist()]).mask(height, width)
        assert filled[ours].all()
        # Outlines run along corners of pixels: what they cover besides lies right of or below a pixel of the region.
        grown = np.pad(ours, 1)
        grown = grown[1:-1, 1:-1] | grown[1:-1, :-2] | grown[:-2, 1:-1] | grown[:-2, :-2]
        assert not (filled & ~grown).any()
        more += np.count_nonzero(filled & ~ours)
    assert more > 0


_LABELME = """
import glob, importlib.util, json, os, sys, types

def load(name, file):
    folder = os.path.dirname(importlib.util.find_spec("labelme").origin)
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

import loguru

labelme = types.ModuleType("labelme")
labelme.PY2 = labelme.QT4 = False
labelme.__version__ = "5.5.0"
labelme.logger = types.ModuleType("labelme.logger")
labelme.logger.logger = loguru.logger
sys.modules.update({"labelme.logger": labelme.logger})
find_spec = importlib.util.find_spec("labelme")
sys.modules["labelme"] = labelme
importlib.util.find_spec = lambda name: find_spec
labelme.utils = load("labelme.utils.image", "utils/image.py")
LabelFile = load("labelme.label_file", "label_file.py").LabelFile

for path in sorted(glob.glob(sys.argv[1] + "/**/*.json", recursive=True)):
    file = LabelFile(path)
    assert file.imageData and file.flags == {} and not file.otherData, path
    for shape in file.shapes:
        assert shape["shape_type"] == "polygon" and shape["mask"] is None and not shape["other_data"]
    print(os.path.relpath(path, sys.argv[1]), len(file.shapes))
"""


def test_labelme_reads_its_files_and_finds_the_images(labeling_tools, written):
    lines = labeling_tools(_LABELME, str(written["labelme"])).splitlines()
    assert {line.rpartition(" ")[0] for line in lines} == {f"{name.rpartition('.')[0]}.json" for name in MASKS}
    assert "empty.json 0" in lines
    assert (written["labelme"] / "labels.txt").read_text(encoding="utf-8").splitlines() == list(NAMES[1:])
    content = json.loads((written["labelme"] / "sub" / "noise é.json").read_text())
    assert content["imagePath"] == "../../../photos/sub/noise é.png"


def test_cvat_has_the_labels_and_masks_where_there_are_holes(written):
    root = ET.parse(written["cvat"] / "annotations.xml").getroot()
    labels = [(label.findtext("name"), label.findtext("color")) for label in root.findall("meta/task/labels/label")]
    assert labels == [(label.name, "#" + bytes(label.color).hex()) for label in LABELS.classes[1:]]
    assert root.findtext("version") == "1.1"
    images = root.findall("image")
    assert [image.attrib for image in images] == [
        {"id": str(index), "name": name, "width": str(mask.shape[1]), "height": str(mask.shape[0])}
        for index, (name, mask) in enumerate(MASKS.items())
    ]
    assert {shape.tag for shape in images[0]} == {"mask"}
    assert {shape.tag for shape in images[1]} == {"mask", "polygon"}
    assert len(images[-1]) == 0


def test_label_studios_predictions_fit_the_interface(written):
    """The names of tags and labels in both must agree, or Label Studio refuses to import them."""
    root = ET.parse(written["label-studio"] / "label_config.xml").getroot()
    image, polygons = root.find("Image"), root.find("PolygonLabels")
    assert [(label.get("value"), label.get("background")) for label in polygons] == [
        (label.name, "#" + bytes(label.color).hex()) for label in LABELS.classes[1:]
    ]
    tasks = json.loads((written["label-studio"] / "tasks.json").read_text())
    assert [task["data"] for task in tasks[:2]] == [
        {"image": "/data/local-files/?d=rings.png"},
        {"image": "/data/local-files/?d=sub/touching%20holes.jpg"},
    ]
    for task, mask in zip(tasks, MASKS.values(), strict=True):
        assert image.get("value") == "$" + next(iter(task["data"]))
        (prediction,) = task["predictions"]
        assert len({result["id"] for result in prediction["result"]}) == len(prediction["result"])
        for result in prediction["result"]:
            assert (result["from_name"], result["to_name"]) == (polygons.get("name"), image.get("name"))
            assert polygons.get("toName") == image.get("name")
            assert (result["original_height"], result["original_width"]) == mask.shape
            assert np.max(result["value"]["points"]) <= 100


def test_geojson_has_rings_for_holes_and_classes_as_qupath_reads_them(written):
    content = json.loads((written["geojson"] / "sub" / "touching holes.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    features = content["features"]
    assert max(len(feature["geometry"]["coordinates"]) for feature in features) > 2
    for feature in features:
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
        classification = feature["properties"]["classification"]
        assert classification["color"] == list(LABELS.classes[IDS[classification["name"]]].color)
        assert feature["properties"]["class"] == classification["name"]


def test_without_a_class_called_background_all_are_written(tmp_path):
    labels = LabelMap.from_names(["road", "sky"])
    (folder,) = write(tmp_path / "out", ["coco"], {"x.png": np.tri(4, 5, dtype=np.uint8)}, label_map=labels)
    content = json.loads((folder / "annotations.json").read_text())
    assert [category["id"] for category in content["categories"]] == [0, 1]
    assert {annotation["category_id"] for annotation in content["annotations"]} == {0, 1}


def test_names_that_are_no_text_are_written_readably(tmp_path):
    assert readable("a\x07b\udcff\n.jpg") == "a\ufffdb\ufffd\ufffd.jpg"
    name = "a\x07\udcff.jpg"
    with annotation_folders(str(tmp_path), list(WRITERS), LABELS, 0) as folders:
        regions = folders.regions(np.tri(4, 5, dtype=np.uint8))
        folders.add(AnnotatedImage(name, "a", f"photos/{name}", 4, 5, regions))
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            assert path.read_text(encoding="utf-8")
    ET.parse(tmp_path / "annotations_cvat" / "annotations.xml")
