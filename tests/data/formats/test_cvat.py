"""CVAT's exports: shapes and their order, tracks, masks, splits, and what is wrong in them."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from data.base.errors import UserError
from data.convert import convert
from data.decoding.errors import BadImageError
from data.formats import FORMATS
from data.formats.cvat.reader import CvatReader
from data.formats.cvat.xml_file import read_parts
from tests.data.formats.cvat_exports import (
    HEIGHT,
    LABELS,
    WIDTH,
    document,
    element,
    image,
    mask,
    polygon,
    write_export,
    write_image,
    write_masks,
)

SQUARE = (2, 3, 10, 3, 10, 9, 2, 9)
CAR, TREE = 1, 2


def reader_of(folder, **options):
    return CvatReader.model_validate({"folder": str(folder), **options})


def read_all(folder, **options):
    """What a worker reads, by the example's name; it sees the labels only through the listing."""
    reader = reader_of(folder, **options)
    listing = reader.listing()
    reader = pickle.loads(pickle.dumps(reader))
    return {source.source_id: reader.read(source) for source in listing.sources}


def read_one(folder, *shapes, labels=LABELS, **options):
    write_export(folder, document(image("a.png", *shapes), labels=labels), "a.png")
    return read_all(folder, **options)["images/a"]


def why_not(folder, *shapes, **options):
    """Why the only image cannot be read."""
    with pytest.raises(BadImageError) as caught:
        read_one(folder, *shapes, **options)
    return str(caught.value)


def by_pycocotools(*points):
    runs = coco_mask.merge(coco_mask.frPyObjects([list(points)], HEIGHT, WIDTH))
    return coco_mask.decode(runs).astype(bool)


def test_polygons_have_the_pixels_that_pycocotools_gives_them(tmp_path):
    generator = np.random.default_rng(0)
    rings = [np.round(generator.uniform(-3, 27, 2 * count), 2).tolist() for count in (3, 4, 9, 30)]
    for index, ring in enumerate(rings):
        labeled = read_one(tmp_path / str(index), polygon("tree", *ring))
        assert np.array_equal(labeled.class_ids == TREE, by_pycocotools(*ring))


def test_masks_are_runs_along_the_rows_of_their_box(tmp_path):
    pixels = np.random.default_rng(0).random((6, 9)) < 0.5
    for index, first in enumerate((True, False)):
        pixels[0, 0] = first
        ids = read_one(tmp_path / str(index), mask("car", pixels, 4, 7)).class_ids
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        expected[7:13, 4:13] = pixels
        assert np.array_equal(ids, expected)


def test_shapes_lie_over_each_other_by_z_order_then_as_in_the_file(tmp_path):
    shapes = [
        polygon("car", *SQUARE, z_order=2),
        polygon("tree", 0, 0, 6, 0, 6, 18, 0, 18, z_order=-1),
        polygon("tree", 8, 0, 24, 0, 24, 5, 8, 5, z_order=2),
    ]
    labeled = read_one(tmp_path, *shapes)
    assert (labeled.class_ids[4, 3], labeled.class_ids[12, 3], labeled.class_ids[4, 9]) == (CAR, TREE, TREE)
    assert len(np.unique(labeled.instances)) == 4


def test_shapes_of_a_group_and_label_are_one_object(tmp_path):
    left, right, other = (
        polygon("car", x, 1, x + 3, 1, x + 3, 4, x, 4, group_id=group) for x, group in ((1, 3), (6, 3), (12, 0))
    )
    tree = polygon("tree", 18, 1, 21, 1, 21, 4, 18, 4, group_id=3)
    instances = read_one(tmp_path, left, right, other, tree).instances
    numbers = [int(instances[2, x]) for x in (2, 7, 13, 19)]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def test_boxes_are_filled_and_turn_clockwise_about_their_center(tmp_path):
    box = {"label": "tree", "xtl": 4, "ytl": 6, "xbr": 16, "ybr": 10}
    far = polygon("car", 20, 14, 23, 14, 23, 17, 20, 17)
    plain = read_one(tmp_path / "plain", element("box", **box), far).class_ids == TREE
    assert (plain.sum(), plain[6:10, 4:16].all()) == (48, True)
    turned = read_one(tmp_path / "turned", element("box", rotation=90, **box), far).class_ids == TREE
    assert (turned.sum(), turned[2:14, 8:12].all()) == (48, True)
    slanted = read_one(tmp_path / "slanted", element("box", rotation=30, **box), far).class_ids == TREE
    # With y down, clockwise moves the right end down.
    assert np.argwhere(slanted)[:, 0][np.argwhere(slanted)[:, 1] > 12].mean() > 8
    left_out = read_one(tmp_path / "left_out", element("box", **box), far, boxes="leave-out")
    assert set(np.unique(left_out.class_ids)) == {0, CAR}


def test_ellipses_differ_from_cvats_along_the_edge_only(tmp_path, labeling_tools):
    code = (
        "import cv2, json, numpy, sys\n"
        "mask = numpy.zeros((18, 24), numpy.uint8)\n"
        "cv2.ellipse(mask, (12, 9), (8, 5), 30, 0, 360, 1, thickness=-1)\n"
        "print(json.dumps(mask.tolist()))"
    )
    cvats = np.array(json.loads(labeling_tools(code)), bool)
    shape = element("ellipse", label="car", cx="12.00", cy="9.00", rx="8.00", ry="5.00", rotation="30.00")
    ours = read_one(tmp_path, shape).class_ids == CAR
    # OpenCV draws whole pixels around the center of a pixel, so that its ellipse is half a pixel larger on each side.
    assert abs(ours.sum() - np.pi * 40) < 3
    assert not (ours[1:-1, 1:-1] & ~(cvats | np.roll(cvats, (-1, -1), (0, 1)))[1:-1, 1:-1]).any()
    assert np.count_nonzero(ours != cvats) == 22
    assert np.count_nonzero(ours & ~cvats) == 1


def test_classes_are_the_labels_with_their_colors_even_if_unused(tmp_path):
    points_of_skeleton = "<label><name>nose</name><type>points</type><parent>person</parent></label>"
    text = document(image("a.png", polygon("car", *SQUARE)))
    write_export(tmp_path, text.replace("</labels>", f"{points_of_skeleton}</labels>"), "a.png")
    label_map = reader_of(tmp_path).label_map
    assert label_map.names == ("background", "car", "tree")
    assert label_map.palette == [(0, 0, 0), (255, 0, 0), (0, 255, 0)]
    assert reader_of(tmp_path, classes="plant: [tree], car").label_map.names == ("background", "plant", "car")


def test_shapes_without_area_are_reported_and_not_drawn(tmp_path):
    skeleton = '<skeleton label="car" z_order="0"><points label="1" outside="0" points="1,1"></points></skeleton>'
    others = [
        element("polyline", label="lane", points="1,1;5,5"),
        element("points", label="car", points="1,1"),
        skeleton,
        element("tag", label="car"),
    ]
    labeled = read_one(
        tmp_path, *others, polygon("car", *SQUARE).replace("></", '><attribute name="kind">x</attribute></')
    )
    assert np.array_equal(labeled.class_ids == CAR, by_pycocotools(*SQUARE))
    reasons = [entry.reason for entry in reader_of(tmp_path).listing().ignored]
    assert reasons == ["not drawn: polyline (1), points (1), skeleton (1), the first in line 6"]


def test_subsets_are_splits_and_say_where_images_are(tmp_path):
    parts = [
        image("x/a.png", polygon("car", *SQUARE), subset=subset, task_id=1)
        for subset in ("Train", "Validation", "Test")
    ]
    write_export(tmp_path, document(*parts))
    for subset in ("Train", "Validation", "Test"):
        write_image(tmp_path / "images" / subset / "x" / "a.png")
    listing = reader_of(tmp_path).listing()
    assert {source.source_id: source.split for source in listing.sources} == {
        "images/Train/x/a": "train",
        "images/Validation/x/a": "eval",
        "images/Test/x/a": "test",
    }
    (tmp_path / "images" / "Test" / "x" / "a.png").rename(tmp_path / "images" / "Test" / "other.png")
    listing = reader_of(tmp_path).listing()
    assert [entry.reason for entry in listing.set_aside] == [f"there is no image x/a.png in {tmp_path}, in images/Test"]
    assert [entry.reason for entry in listing.ignored] == ["no annotation file names it"]


def test_a_subset_that_may_be_a_split_is_an_error(tmp_path):
    write_export(tmp_path, document(image("a.png", polygon("car", *SQUARE), subset="holdout")), "a.png")
    with pytest.raises(UserError, match=r"annotations.xml: the subset holdout may stand for a split"):
        reader_of(tmp_path).listing()
    assert reader_of(tmp_path, split="train=0.5,test=0.5").listing().sources


def test_several_files_and_images_beside_them(tmp_path):
    for name in ("train", "val"):
        write_export(
            tmp_path / name, document(image(f"{name}.png", polygon("car", *SQUARE))), f"{name}.png", images="."
        )
    splits = {source.source_id: source.split for source in reader_of(tmp_path).listing().sources}
    assert splits == {"train/train": "train", "val/val": "eval"}


def test_images_that_two_files_describe_differently_are_set_aside(tmp_path):
    same, other = image("a.png", polygon("car", *SQUARE)), image("b.png", polygon("car", *SQUARE))
    write_export(tmp_path, document(same, other), "a.png", "b.png")
    (tmp_path / "more.xml").write_text(document(same, image("b.png", polygon("tree", *SQUARE))))
    listing = reader_of(tmp_path).listing()
    assert [source.source_id for source in listing.sources] == ["images/a"]
    assert "describe it twice, with different shapes" in listing.set_aside[0].reason
    assert "described twice; the first" in listing.ignored[0].reason


def test_images_without_shapes_are_background_or_left_out(tmp_path):
    write_export(tmp_path, document(image("a.png", polygon("car", *SQUARE)), image("b.png")), "a.png", "b.png")
    assert not read_all(tmp_path)["images/b"].class_ids.any()
    assert list(read_all(tmp_path, unlabeled="ignore")) == ["images/a"]


def test_tasks_without_any_shape_are_left_out_until_it_is_said_what_they_are(tmp_path):
    write_export(tmp_path, document(image("a.png", polygon("car", *SQUARE)), image("b.png")), "a.png", "b.png", "c.png")
    (tmp_path / "more.xml").write_text(document(image("c.png"), task="<mode>annotation</mode>").replace(">7<", ">8<"))
    listing = reader_of(tmp_path).listing()
    assert [source.source_id for source in listing.sources] == ["images/a", "images/b"]
    (left_out,) = listing.ignored
    assert left_out.input == str(tmp_path / "images" / "c.png")
    assert "more.xml has no shape in it, nor in any image of the task 8; --unlabeled background" in left_out.reason
    assert len(reader_of(tmp_path, unlabeled="background").listing().sources) == 3


def test_a_data_set_is_converted(tmp_path):
    names = [f"{index}.png" for index in range(40)]
    write_export(tmp_path / "in", document(*(image(name, polygon("car", *SQUARE)) for name in names)), *names)
    recognition = FORMATS["cvat"].recognize(str(tmp_path / "in"), ["annotations.xml", "images/0.png"])
    assert recognition.reasons == ("annotations.xml is XML as CVAT exports it",)
    report = convert(reader_of(tmp_path / "in"), str(tmp_path / "out"))
    assert sum(split["examples"] for split in report["splits"].values()) == 40
    assert not report["set_aside"]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (polygon("car", 1, 1, 4, 4), "annotations.xml, line 6: the polygon car: its polygon has 2 points"),
        (element("polygon", label="car", points="1,1;2;3,3"), "its points hold '2' where x,y should be"),
        (polygon("car", 0.1, 0.1, 0.9, 0.1, 0.9, 0.8), "between 0 and 1, and CVAT's are pixels; multiply them"),
        (polygon("car", 90, 1, 99, 1, 99, 4), "the polygon car: it lies outside of the image, which has"),
        (element("polygon", label="car", points="1,1;2,x;3,3"), "its points: 'x' is not a number"),
        (element("polygon", label="car", points="1,1;2,nan;3,3"), "its points: 'nan' is not a finite number"),
        (element("polygon", label="car"), "its points hold '' where"),
        (polygon("car", *SQUARE, z_order="high"), "its z_order: 'high' is not a number"),
        (polygon("Car", *SQUARE), "the polygon Car: this label is not among those for areas that the file lists: car"),
        (polygon("lane", *SQUARE), "the polygon lane: this label is not among"),
        (element("mask", label="car", rle="3, 4", left=1, top=1, width=3, height=3), "its rle covers 7 pixels"),
        (element("mask", label="car", rle="5, -1, 5", left=1, top=1, width=3, height=3), "its rle: -1 is less than 0"),
        (element("mask", label="car", rle="a", left=1, top=1, width=3, height=3), "its rle: 'a' is not a whole number"),
        (element("mask", label="car", rle="0, 900", left=20, top=1, width=30, height=30), "more than the image of"),
        (element("mask", label="car", rle="0, 9", left=1, width=3, height=3), "the mask car: its top is missing"),
        (element("ellipse", label="car", cx=3, cy=3, rx=0, ry=2), "its rx is 0, and a radius is more than 0"),
        (element("box", label="tree", xtl=1, ytl=1, xbr=4), "its ybr is missing"),
        (element("circle", label="car", r=3), "segpipe knows no such kind of shape"),
    ],
)  # fmt: skip
def test_a_broken_shape_sets_its_image_aside(tmp_path, shape, reason):
    assert reason in why_not(tmp_path, shape, polygon("car", *SQUARE))


def test_a_box_around_an_outline_is_doubtful(tmp_path):
    box = element("box", label="car", xtl=2, ytl=3, xbr=10, ybr=9.5)
    assert "the box car: it frames an outline of the same label" in why_not(
        tmp_path / "a", box, polygon("car", *SQUARE)
    )
    pixels = np.ones((6, 8), bool)
    assert "frames an outline" in why_not(tmp_path / "b", box, mask("car", pixels, 2, 3))
    assert read_one(tmp_path / "c", box, polygon("car", *SQUARE), boxes="draw").class_ids.any()


def test_only_boxes_or_nothing_to_draw_is_an_error(tmp_path):
    box = element("box", label="tree", xtl=2, ytl=3, xbr=10, ybr=9)
    with pytest.raises(UserError, match=r"all shapes of annotations.xml are boxes \(1\).*--boxes draw"):
        read_one(tmp_path, box)
    assert read_one(tmp_path, box, boxes="draw").class_ids.sum() == 2 * 48
    with pytest.raises(UserError, match=r"has no shape that covers an area, only polyline \(1\)"):
        read_one(tmp_path, element("polyline", label="lane", points="1,1;5,5"))


def test_an_image_of_another_size_is_set_aside(tmp_path):
    write_export(tmp_path, document(image("a.png", polygon("car", *SQUARE)), image("b.png")), "b.png")
    write_image(tmp_path / "images" / "a.png", 30, 20)
    with pytest.raises(BadImageError, match=r"30x20 pixels, annotations.xml says 24x18"):
        read_all(tmp_path)
    write_export(
        tmp_path,
        document(image("a.png").replace('width="24"', 'width="wide"'), image("b.png", polygon("car", *SQUARE))),
    )
    with pytest.raises(BadImageError, match=r"annotations.xml: its width: 'wide' is not a whole number"):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "images/../../secret.png", ""])
def test_names_that_lead_out_of_the_folder_are_set_aside(tmp_path, name):
    write_image(tmp_path / "secret.png")
    shape = polygon("car", *SQUARE)
    write_export(tmp_path / "in", document(image("a.png", shape), image(name, shape)), "a.png")
    listing = reader_of(tmp_path / "in").listing()
    assert [source.source_id for source in listing.sources] == ["images/a"]
    assert listing.set_aside[0].input.startswith("annotations.xml, line ")
    assert listing.set_aside[0].input.endswith(f"image {name}")


def test_missing_images(tmp_path):
    shape = polygon("car", *SQUARE)
    write_export(tmp_path, document(image("a.png", shape), image("b.png", shape)), "a.png")
    (missing,) = reader_of(tmp_path).listing().set_aside
    assert (missing.input, "no image b.png" in missing.reason) == ("annotations.xml, line 8: image b.png", True)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(
        UserError, match=r"none of the images that annotations.xml names is there; export the task with its images"
    ):
        reader_of(tmp_path).listing()


def test_xml_that_is_cut_off_is_one_clear_error(tmp_path):
    text = document(image("a.png", polygon("car", *SQUARE)))
    write_export(tmp_path, text[: text.index("<polygon") + 30], "a.png")
    with pytest.raises(UserError, match=r"annotations.xml, line 6, column \d+: unclosed token; the file is damaged"):
        reader_of(tmp_path).listing()
    for broken in ("", "<annotations><meta>", "\x00\x01"):
        write_export(tmp_path, broken)
        with pytest.raises(UserError, match=r"annotations.xml, line 1, column"):
            reader_of(tmp_path).listing()


@pytest.mark.parametrize(
    "definition",
    ['<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">', '<!ENTITY b SYSTEM "file:///etc/passwd">'],
)
def test_documents_that_define_entities_are_refused(tmp_path, definition):
    text = document(image("a.png", polygon("&b;", *SQUARE).replace("&amp;", "&")))
    write_export(
        tmp_path, text.replace("<annotations>", f"<!DOCTYPE annotations [{definition}]><annotations>", 1), "a.png"
    )
    with pytest.raises(UserError, match=r"annotations.xml, line 2: it has a DOCTYPE"):
        reader_of(tmp_path).listing()


def test_an_empty_file_may_have_been_another_split(tmp_path):
    write_export(tmp_path, document(image("a.png", polygon("car", *SQUARE))), "a.png")
    (tmp_path / "val.xml").touch()
    with pytest.raises(UserError, match=r"val\.xml, line 1, column 1: no element found; the file is damaged"):
        reader_of(tmp_path).listing()


def test_xml_of_others_is_no_annotation(tmp_path):
    write_export(tmp_path, "<annotation><object/></annotation>", "a.png")
    with pytest.raises(UserError, match="has neither XML of CVAT nor"):
        reader_of(tmp_path).listing()
    assert CvatReader.recognize(str(tmp_path), ["annotations.xml", "images/a.png"]) is None
    with pytest.raises(UserError, match="its root is annotation, not annotations"):
        list(read_parts(str(tmp_path / "annotations.xml")))


def test_labels_come_from_shapes_if_the_file_lists_none(tmp_path):
    text = document(image("a.png", polygon("car", *SQUARE), polygon("bus", 1, 1, 4, 1, 4, 4)), labels=[])
    write_export(tmp_path, text, "a.png")
    assert reader_of(tmp_path).label_map.names == ("background", "car", "bus")


# Tracks


def track(number, label, *shapes, **others):
    return "\n".join([element("track", id=number, label=label, **others).removesuffix("</track>"), *shapes, "</track>"])


def in_frame(shape, frame, outside=0, keyframe=1):
    return shape.replace(" label=", f' frame="{frame}" outside="{outside}" keyframe="{keyframe}" label=', 1)


def video(*tracks, size=5, more=""):
    task = (
        f"<size>{size}</size><mode>interpolation</mode><start_frame>0</start_frame><stop_frame>{size - 1}</stop_frame>"
        f"<frame_filter>{more}</frame_filter><original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    )
    return document(*tracks, task=task)


def frames(*numbers):
    return [f"frame_{number:06d}.PNG" for number in numbers]


def test_a_track_is_an_object_in_each_frame_until_it_is_outside(tmp_path):
    car = polygon("car", *SQUARE)
    moved = polygon("car", 12, 3, 20, 3, 20, 9, 12, 9, z_order=1)
    shapes = [in_frame(car, 0), in_frame(car, 1, keyframe=0), in_frame(moved, 2), in_frame(moved, 3, outside=1)]
    tree = polygon("tree", 0, 0, 24, 0, 24, 18, 0, 18)
    write_export(
        tmp_path,
        video(track(0, "car", *shapes), track(1, "tree", in_frame(tree, 2), in_frame(tree, 3, 1))),
        *frames(*range(5)),
    )
    read = read_all(tmp_path)
    areas = [int((read[f"images/frame_{frame:06d}"].class_ids == CAR).sum()) for frame in range(5)]
    assert areas == [48, 48, 48, 0, 0]
    second = read["images/frame_000002"]
    assert second.class_ids[4, 14] == CAR
    assert np.count_nonzero(second.class_ids == TREE) == WIDTH * HEIGHT - 48
    sources = reader_of(tmp_path).listing().sources
    assert len({source.split for source in sources}) == 1
    assert {source.group for source in sources} == {"annotations 7"}
    assert "--group-by '.+'" in reader_of(tmp_path).fill_splits(sources)


def test_points_of_a_skeleton_are_tracks_in_its_track(tmp_path):
    car = polygon("car", *SQUARE)
    point = element("points", label="nose", points="1,1")
    skeleton = element("skeleton", label="body", points="1,1;2,2")
    inner = track(0, "nose", in_frame(point, 0), in_frame(point, 1))
    text = video(track(0, "car", in_frame(car, 0), in_frame(car, 1)), track(1, "body", in_frame(skeleton, 0), inner))
    write_export(tmp_path, text, *frames(0, 1))
    read = read_all(tmp_path)
    assert [int((read[f"images/frame_00000{frame}"].class_ids == CAR).sum()) for frame in (0, 1)] == [48, 48]
    (kinds,) = [entry.reason for entry in reader_of(tmp_path).listing().ignored if "not drawn" in entry.reason]
    assert kinds.startswith("not drawn: skeleton (1)")


def test_videos_of_a_project_have_frames_in_the_folders_of_their_subsets(tmp_path):
    shapes = in_frame(polygon("car", *SQUARE), 0), in_frame(polygon("car", *SQUARE), 1, outside=1)
    tracks = [
        track(index, "car", *shapes, task_id=index, subset=subset) for index, subset in enumerate(("Train", "Test"))
    ]
    task = "<task><id>{}</id><mode>interpolation</mode><start_frame>0</start_frame><stop_frame>1</stop_frame></task>"
    text = document(*tracks).replace("<task>", "<project>").replace("</task>", "</project>")
    text = text.replace("<mode>annotation</mode>", f"<tasks>{task.format(0)}{task.format(1)}</tasks>")
    write_export(tmp_path, text)
    for subset in ("Train", "Test"):
        for name in frames(0, 1):
            write_image(tmp_path / "images" / subset / name)
    sources = reader_of(tmp_path).listing().sources
    assert [(source.source_id, source.split, source.group) for source in sources] == [
        (f"images/{subset}/frame_00000{frame}", subset.lower(), f"annotations {index}")
        for index, subset in enumerate(("Train", "Test"))
        for frame in (0, 1)
    ]
    write_export(tmp_path, text.replace('subset="Test"', 'subset="Train"'))
    with pytest.raises(UserError, match="several tasks of the subset Train have frames of the same names"):
        reader_of(tmp_path).listing()


def test_frames_without_a_file_extension_in_the_xml_of_images(tmp_path):
    text = document(image("frame_000003", polygon("car", *SQUARE)), task="<mode>interpolation</mode>")
    write_export(tmp_path, text, *frames(3))
    (source,) = reader_of(tmp_path).listing().sources
    assert (source.source_id, source.group) == ("images/frame_000003", "annotations 7")


def test_a_video_without_its_frames(tmp_path):
    write_export(tmp_path, video(track(0, "car", in_frame(polygon("car", *SQUARE), 0))))
    with pytest.raises(UserError, match=r"no images such as images/frame_000000.png.*ffmpeg -i VIDEO.*-start_number 0"):
        reader_of(tmp_path).listing()
    for name in frames(1, 2, 3, 4, 5):
        write_image(tmp_path / "images" / name)
    with pytest.raises(UserError, match="they seem to be numbered from 1 on"):
        reader_of(tmp_path).listing()
    (tmp_path / "images" / frames(5)[0]).unlink()
    (missing,) = reader_of(tmp_path, unlabeled="background").listing().set_aside
    assert (missing.input, missing.reason) == ("annotations.xml, line 6: frame 0", "it has no image in images")


def test_frames_between_key_frames_must_be_there(tmp_path):
    car = polygon("car", *SQUARE)
    write_export(tmp_path, video(track(0, "car", in_frame(car, 0), in_frame(car, 3))), *frames(*range(5)))
    listing = reader_of(tmp_path).listing()
    assert [source.source_id[-1] for source in listing.sources] == ["0", "3"]
    assert [entry.input[-5] for entry in listing.set_aside] == ["1", "2", "4"]
    assert "the track in line 5 has a shape in frame 0 and none in this one" in listing.set_aside[0].reason
    every_third = video(track(0, "car", in_frame(car, 0), in_frame(car, 3)), more="step=3")
    write_export(tmp_path, every_third)
    listing = reader_of(tmp_path).listing()
    assert ([source.source_id[-1] for source in listing.sources], listing.set_aside) == (["0", "3"], [])
    assert [entry.reason for entry in listing.ignored] == [
        f"annotations.xml has no frame {frame}" for frame in (1, 2, 4)
    ]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([in_frame(polygon("car", *SQUARE), "x")], "line 6: the frame of this polygon is 'x', which is not a number"),
        ([in_frame(polygon("car", *SQUARE), 1), in_frame(polygon("car", *SQUARE), 1)], "has two shapes in frame 1"),
        ([in_frame(polygon("car", *SQUARE), 10**30)], "not a number"),
    ],
)
def test_doubtful_tracks_are_an_error(tmp_path, shapes, message):
    write_export(tmp_path, video(track(0, "car", *shapes)), *frames(0, 1))
    with pytest.raises(UserError, match=message):
        reader_of(tmp_path).listing()


# Masks

COLORS = [("background", "0,0,0"), ("car", "255,0,96"), ("tree", "61,245,61")]


def test_masks_have_the_colors_of_the_label_map(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[2:6, 3:9], ids[2:6, 12:20], ids[9:12, 4:8] = 1, 1, 2
    write_masks(tmp_path, {"x/a": ids, "empty": np.zeros_like(ids)}, COLORS, "default")
    objects = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    objects[2:6, 3:9], objects[2:6, 12:20], objects[9:12, 4:8] = (128, 0, 0), (0, 128, 0), (128, 128, 0)
    (tmp_path / "SegmentationObject" / "x").mkdir()
    Image.fromarray(objects).save(tmp_path / "SegmentationObject" / "x" / "a.png")
    read = read_all(tmp_path)
    labeled = read["JPEGImages/x/a"]
    assert np.array_equal(labeled.class_ids, ids)
    assert [len(np.unique(labeled.instances[ids == class_id])) for class_id in (0, 1, 2)] == [1, 2, 1]
    assert sorted(np.unique(labeled.instances)) == [0, 1, 2, 3]
    assert not read["JPEGImages/empty"].instances.any()
    assert reader_of(tmp_path).label_map.palette == [(0, 0, 0), (255, 0, 96), (61, 245, 61)]
    merged = read_all(tmp_path, classes="tree", others="ignore")["JPEGImages/x/a"].class_ids
    assert (merged[3, 4], merged[10, 5], merged[0, 0]) == (255, 1, 0)
    assert CvatReader.recognize(str(tmp_path), ["labelmap.txt", "SegmentationClass/x/a.png"]) is not None
    Image.fromarray(objects[::-1]).save(tmp_path / "SegmentationObject" / "x" / "a.png")
    with pytest.raises(BadImageError, match=r"x/a.png: \d+% of the pixels of its objects .* is it of another image"):
        read_all(tmp_path)


def test_what_has_no_mask_has_no_objects_where_others_have(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[2:6, 3:9] = 1
    write_masks(tmp_path, {"a": ids, "b": ids}, COLORS, "default")
    Image.fromarray(ids * 200).save(tmp_path / "SegmentationObject" / "a.png")
    (tmp_path / "SegmentationClass" / "b.png").unlink()
    read = read_all(tmp_path, unlabeled="background")
    assert np.array_equal(read["JPEGImages/a"].instances, ids)
    assert not read["JPEGImages/b"].instances.any()
    (tmp_path / "SegmentationObject" / "a.png").unlink()
    assert [labeled.instances for labeled in read_all(tmp_path, unlabeled="background").values()] == [None, None]


def test_an_object_of_two_classes_keeps_the_pixels_of_most(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[2:6, 3:9], ids[5, 4] = 1, 2
    write_masks(tmp_path, {"a": ids}, COLORS, "default")
    Image.fromarray((ids > 0).astype(np.uint8) * 200).save(tmp_path / "SegmentationObject" / "a.png")
    assert np.array_equal(read_all(tmp_path)["JPEGImages/a"].instances, ids == 1)


def test_masks_of_one_channel_hold_places_in_the_label_map(tmp_path):
    ids = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    write_masks(tmp_path, {"a": ids}, COLORS, "default")
    Image.fromarray(ids).save(tmp_path / "SegmentationClass" / "a.png")
    assert np.array_equal(read_all(tmp_path)["JPEGImages/a"].class_ids, ids)


def test_lists_are_splits_unless_they_are_the_default(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    write_masks(tmp_path, {"a": ids, "b": ids, "c d": ids, "unlisted": ids}, COLORS, "default")
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "default.txt").unlink()
    (lists / "Train.txt").write_text("a\n")
    (lists / "Validation.txt").write_text('b\n"c d"\n')
    (lists / "trainval.txt").write_text("a\nb\n")
    listing = reader_of(tmp_path).listing()
    assert {source.source_id: source.split for source in listing.sources} == {
        "JPEGImages/a": "train",
        "JPEGImages/b": "eval",
        "JPEGImages/c d": "eval",
    }
    assert [entry.reason for entry in listing.ignored] == ["in no list in ImageSets/Segmentation"]
    (lists / "Test.txt").write_text("a\n")
    with pytest.raises(UserError, match="a is in the list of another split too"):
        reader_of(tmp_path).listing()


def test_listed_images_without_a_mask_are_doubtful(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    write_masks(tmp_path, {"a": ids, "b": ids}, COLORS, "default")
    (tmp_path / "SegmentationClass" / "b.png").unlink()
    listing = reader_of(tmp_path).listing()
    assert "--unlabeled background" in listing.set_aside[0].reason
    assert "--unlabeled background" in listing.remedy
    assert not read_all(tmp_path, unlabeled="background")["JPEGImages/b"].class_ids.any()
    assert list(read_all(tmp_path, unlabeled="ignore")) == ["JPEGImages/a"]


def test_broken_mask_exports(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    write_masks(tmp_path, {"a": ids}, COLORS, "default")
    colored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colored[3, 4] = 7, 8, 9
    Image.fromarray(colored).save(tmp_path / "SegmentationClass" / "a.png")
    with pytest.raises(BadImageError, match=r"Class/a.png, by labelmap.txt: color \[7, 8, 9\] at row 3, column 4"):
        read_all(tmp_path)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "SegmentationClass" / "a.png")
    with pytest.raises(BadImageError, match="24x18"):
        read_all(tmp_path)
    write_masks(tmp_path, {"a": ids}, COLORS, "default")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "SegmentationObject" / "a.png")
    with pytest.raises(BadImageError, match=r"SegmentationObject/a.png: it has 9x9 pixels, .* the classes 24x18"):
        read_all(tmp_path)
    (tmp_path / "labelmap.txt").write_text("car\n:1:2:3\n")
    with pytest.raises(UserError, match=r"labelmap.txt"):
        reader_of(tmp_path).listing()
    write_masks(tmp_path, {"a": ids}, COLORS, "default")
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(UserError, match="has masks and no images: export the task with its images"):
        reader_of(tmp_path).listing()


def test_masks_that_are_cut_off_are_named(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for kind in ("SegmentationObject", "SegmentationClass"):
        write_masks(tmp_path, {"a": ids}, COLORS, "default")
        Image.fromarray(ids).save(tmp_path / "SegmentationObject" / "a.png")
        path = tmp_path / kind / "a.png"
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(BadImageError, match=rf"its mask {path}.*: (unreadable|damaged)"):
            read_all(tmp_path)


def test_listed_images_that_are_missing_or_lead_out_are_named_with_their_line(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    write_masks(tmp_path / "in", {"a": ids, "b": ids}, COLORS, "default")
    write_image(tmp_path / "secret.jpg")
    (tmp_path / "in/JPEGImages/b.jpg").unlink()
    listed = tmp_path / "in/ImageSets/Segmentation/default.txt"
    listed.write_text("a\nb\n\n../secret\n../../secret.jpg\n")
    listing = reader_of(tmp_path / "in").listing()
    assert [source.source_id for source in listing.sources] == ["JPEGImages/a"]
    start = "ImageSets/Segmentation/default.txt, line"
    assert [entry.input for entry in listing.set_aside] == [
        f"{start} 2: b", f"{start} 4: ../secret", f"{start} 5: ../../secret.jpg",
    ]  # fmt: skip
    assert "there is no image b" in listing.set_aside[0].reason
    assert "leads out of the data set" in listing.set_aside[2].reason
    listed.unlink()
    (lonely,) = reader_of(tmp_path / "in").listing().set_aside
    assert lonely.input == str(tmp_path / "in/SegmentationClass/b.png")


def test_data_sets_in_buckets(tmp_path, bucket):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[2:6, 3:9] = 1
    write_masks(tmp_path / "masks", {"a": ids}, COLORS, "Train")
    Image.fromarray(ids).save(tmp_path / "masks/SegmentationObject/a.png")
    write_export(tmp_path / "images", document(image("a.png", polygon("car", *SQUARE))), "a.png")
    video_of_two = video(track(0, "car", in_frame(polygon("car", *SQUARE), 0)), size=1)
    write_export(tmp_path / "video", video_of_two, *frames(0))
    for path in tmp_path.rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(tmp_path)}").upload_from_filename(path)
    for kind in ("masks", "images", "video"):
        assert reader_of(f"gs://segpipe/in/{kind}").label_map == reader_of(tmp_path / kind).label_map
        ((name, found),) = read_all(f"gs://segpipe/in/{kind}").items()
        expected = read_all(tmp_path / kind)[name]
        assert found.class_ids.any()
        assert np.array_equal(found.class_ids, expected.class_ids)
        assert np.array_equal(found.instances, expected.instances)


def test_black_is_the_background_if_the_label_map_has_none(tmp_path):
    ids = np.ones((HEIGHT, WIDTH), np.uint8)
    write_masks(tmp_path, {"a": ids}, COLORS, "default")
    (tmp_path / "labelmap.txt").write_text("car:255,0,96::\n")
    colored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colored[3:5, 4] = 255, 0, 96
    Image.fromarray(colored).save(tmp_path / "SegmentationClass" / "a.png")
    reader = reader_of(tmp_path)
    labeled = reader.read(reader.listing().sources[0])
    assert labeled.class_ids.sum() == 2 * reader.label_map.names.index("car") + reader.label_map.names.index(
        "background"
    ) * (WIDTH * HEIGHT - 2)
