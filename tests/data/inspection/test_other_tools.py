"""JSON files of tools whose own formats are not read."""

import json

import pytest

from data.base.errors import UserError
from data.inspection.other_tools import other_tool
from data.inspection.which_format import which_format

REGION = {"shape_attributes": {"name": "polygon", "all_points_x": [1], "all_points_y": [1]}, "region_attributes": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"a.jpg12": {"filename": "a.jpg", "regions": {"0": REGION}}},
            "VGG Image Annotator: load it there, and export",
        ),
        ({"_via_img_metadata": {"a.jpg12": {"filename": "a.jpg", "regions": [REGION]}}}, "VGG Image Annotator"),
        (
            {"image": {"file_name": "a.jpg"}, "annotations": [{"segmentation": {}, "predicted_iou": 1.0}]},
            "Segment Anything: its masks have no classes",
        ),
        ({"description": "", "tags": [], "size": {"height": 4, "width": 4}, "objects": []}, "Supervisely: export"),
        (
            {"info": {}, "categories": {}, "items": [{"id": "a", "annotations": [{"label_id": 0, "points": []}]}]},
            "Datumaro: convert it",
        ),
        ({"version": "2.0", "item": {"name": "a.jpg", "slots": []}, "annotations": []}, "Darwin"),
        ([{"image_id": 1, "category_id": 1, "segmentation": {}, "score": 0.5}], "results for COCO"),
    ],
)
def test_a_tool_is_named_with_what_to_do(tmp_path, content, message):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"not recognized: .*\na.json looks like a file of .*{message}"):
        which_format(str(tmp_path), ["a.json"])


def test_other_files_are_not_taken_for_one(tmp_path):
    (tmp_path / "a.json").write_text('{"shapes": [], "score": 1, "image_id": 2, "category_id": 3}')
    assert other_tool(str(tmp_path), ["a.json", "b.txt"]) == ""


def test_images_alone_are_not_the_whole_data_set(tmp_path):
    with pytest.raises(UserError, match=f"These are images alone; .* and the labels, such as {tmp_path}\\."):
        which_format(str(tmp_path / "images"), ["train/a.jpg", "b.png"])
