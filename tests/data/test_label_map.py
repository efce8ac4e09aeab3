import pytest

from data.base.errors import UserError
from data.label_map import LabelMap


def test_yaml_round_trip_keeps_names_and_colors():
    label_map = LabelMap.from_names(["road", "traffic light", "sky"])
    assert LabelMap.parse(label_map.to_yaml(), "labels.yaml") == label_map
    assert label_map.names == ("road", "traffic light", "sky")


@pytest.mark.parametrize("name", ["sky [blue]", "car {parked}", "a}b", "no", "long name " * 12 + "end"])
def test_any_name_can_be_read_again(name):
    label_map = LabelMap.from_names(["road", name])
    assert LabelMap.parse(label_map.to_yaml(), "labels.yaml") == label_map


@pytest.mark.parametrize("name", ["a\x7f", "\ufffe", "a\0b"])
def test_a_name_that_could_not_be_read_again_is_refused(name):
    with pytest.raises(UserError, match="which YAML files cannot hold; rename the class"):
        LabelMap.from_names(["background", name])


def test_many_classes_get_distinct_colors():
    label_map = LabelMap.from_names([f"class_{index}" for index in range(150)])
    assert len(set(label_map.palette)) == 150


def test_255_classes_are_the_most_that_8_bits_and_ignore_leave():
    names = [f"class_{index}" for index in range(256)]
    assert len(LabelMap.from_names(names[:255])) == 255
    with pytest.raises(UserError, match="256 class names"):
        LabelMap.from_names(names)


def test_ignore_may_have_a_color_and_is_no_class():
    text = (
        "- {id: 0, name: a, color: [0, 0, 1]}\n- {id: 1, name: b, color: [0, 0, 2]}\n"
        "- {id: 255, name: void, color: [9, 9, 9]}"
    )
    assert LabelMap.parse(text, "labels.yaml").names == ("a", "b")


def test_colors_may_be_written_as_on_the_web():
    text = "- {id: 0, name: a, color: '#0000fF'}\n- {id: 1, name: b, color: '#f80'}"
    assert LabelMap.parse(text, "labels.yaml").palette == [(0, 0, 255), (255, 136, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {id: 0, name: a, color: [0, 0, 1]}", "two classes"),
        ("- {id: 0, name: a, color: [0, 0, 1]}\n- {id: 2, name: b, color: [0, 0, 2]}", "without a gap"),
        ("- {id: 0, name: a, color: [0, 0, 1]}\n- {id: 1, name: a, color: [0, 0, 2]}", "each name may occur only once"),
        (
            "- {id: 0, name: a, color: [0, 0, 1]}\n- {id: 1, name: b, color: [0, 0, 1]}",
            "each color may occur only once",
        ),
        ("- {id: 0, name: a, color: [0, 0, 256]}\n- {id: 1, name: b, color: [0, 0, 1]}", "0.color.2"),
        ("- {id: 0, name: a, color: blue}\n- {id: 1, name: b, color: [0, 0, 1]}", "0.color: .*'#ff8000'"),
        ("- id: 0\n  name: a\n  color: #ff0000\n- {id: 1, name: b, color: [0, 0, 1]}", "0.color: .*needs quotes"),
        ("- {id: 0, name: a}\n- {id: 1, name: b, color: [0, 0, 1]}", "0.color: missing"),
        ("just text", "not valid"),
        ("{", "not YAML"),
        ("- {id: 0, name: a, color: 804080}\n- {id: 1, name: b, color: [0, 0, 1]}", "0.color: .*needs quotes"),
    ],
)
def test_errors_name_the_file_and_the_fault(text, message):
    with pytest.raises(UserError, match=message) as caught:
        LabelMap.parse(text, "somewhere/labels.yaml")
    assert "somewhere/labels.yaml" in str(caught.value)
