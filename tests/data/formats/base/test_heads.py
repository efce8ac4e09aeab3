"""What the heads of label files tell."""

import json

import pytest

from data.formats.base.heads import json_keys, xml_elements


def test_the_keys_of_a_small_file_are_all_seen(tmp_path):
    content = {"images": [{"file_name": 'a{"b": \\', "id": 1}], 'quoted " [': {}, "categories": []}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = json_keys(str(tmp_path), "a.json")
    assert found.outermost == set(content)
    assert found.all == {*content, "file_name", "id"}
    assert not found.is_list


@pytest.mark.parametrize("indent", [None, 4])
def test_the_keys_at_both_ends_of_a_large_file_are_seen(tmp_path, indent):
    annotations = [{"image_id": index, "segmentation": [[1.5] * 40], "note": '\\"}] {"x": '} for index in range(2000)]
    content = {"images": [{"file_name": "1.jpg"}], "annotations": annotations, "categories": [{"name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content, indent=indent))
    found = json_keys(str(tmp_path), "a.json")
    assert found.outermost == {"images", "annotations", "categories"}
    assert found.all == {*found.outermost, "file_name", "image_id", "segmentation", "note", "name"}
    content = {"licenses": annotations, "annotations": annotations, "last": annotations, "end": 1}
    (tmp_path / "a.json").write_text(json.dumps(content, indent=indent))
    assert json_keys(str(tmp_path), "a.json").outermost == {"licenses", "end"}


def test_an_end_within_a_long_text_is_none_of_its_keys(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [], "imageData": '{"no": ' * 100_000, "imageHeight": 1}))
    assert json_keys(str(tmp_path), "a.json").all == {"shapes", "imageData", "imageHeight"}


def test_lists_lines_and_broken_files(tmp_path):
    tasks = json.dumps([{"data": {"image": "x"}, "annotations": [{"result": []}]}] * 2, indent=1)
    for name, text, outermost, is_list in (
        ("list", tasks, {"data", "annotations"}, True),
        ("lines", '{"item": {"name": 1}}\n{"version": 2}\n', {"item", "version"}, False),
        ("mark", "\ufeff" + tasks, {"data", "annotations"}, True),
        ("truncated", tasks[:60], {"data", "annotations"}, True),
        ("long and truncated", '{"images": [' + '{"id": 1}, ' * 20_000, {"images"}, False),
        ("none", "not a JSON, but a {", set(), False),
        ("empty", "", set(), False),
    ):
        (tmp_path / name).write_text(text)
        found = json_keys(str(tmp_path), name)
        assert (found.outermost, found.is_list) == (outermost, is_list), name
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert not json_keys(str(tmp_path), "gone").all


def test_elements_of_xml(tmp_path):
    head = '<?xml version="1.0"?>\n<!-- <no/> -->\n<annotations><meta><!DOCTYPE x></meta>'
    images = '<image id="1"><polygon points="1,2"/></image>' * 5000
    (tmp_path / "a.xml").write_text(f"{head}{images}<track/></annotations>")
    assert xml_elements(str(tmp_path), "a.xml") == ("annotations", "meta", "image", "polygon", "track")
    assert xml_elements(str(tmp_path), "nowhere.xml") == ()
