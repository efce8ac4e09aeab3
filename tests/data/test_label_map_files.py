import pytest

from data.base.errors import UserError
from data.label_map import LabelMap
from data.label_map_files import load_labels, parse_labels

RED_BLUE = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "labels.yaml",
            "- {id: 0, name: a, color: '#000000'}\n- {id: 1, name: b, color: '#F00'}\n"
            "- {id: 2, name: c, color: [0, 0, 255]}",
        ),
        ("labels.yaml", "[{name: a, color: [0, 0, 0]}, {name: b, color: [255, 0, 0]}, {name: c, color: '#0000ff'}]"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\na:0,0,0::\nb:255,0,0::\nc:0,0,255::\n"),
        ("class_dict.csv", "name,r,g,b\na,0,0,0\nb,255,0,0\nc,0,0,255\n"),
        ("classes.csv", "\ufeffid;name;color\r\n0;a;#000000\r\n1;b;#ff0000\r\n2;c;#0000ff\r\n"),
        ("classes.csv", 'id,name,color\n0,a,"0,0,0"\n1,b,"(255, 0, 0)"\n2,c,0 0 255\n'),
        ("classes.tsv", "Class\tRed\tGreen\tBlue\na\t0\t0\t0\nb\t255\t0\t0\nc\t0\t0\t255\n"),
        (
            "classes.json",
            '[{"name": "a", "color": "#000000"}, {"name": "b", "color": "#ff0000"}, {"name": "c", "color": "#00f"}]',
        ),
        (
            "meta.json",
            '{"classes": [{"title": "a", "color": "#000000", "shape": "any"}, '
            '{"title": "b", "color": "#FF0000"}, {"title": "c", "color": "#0000FF"}]}',
        ),
        ("colors.json", '{"a": [0, 0, 0], "b": "#ff0000", "c": [0, 0, 255]}'),
        ("names.json", '{"#000000": "a", "#ff0000": "b", "#0000FFFF": "c"}'),
        ("label_colors.txt", "0 0 0\ta\n255 0 0\t\tb\n0 0 255\tc\n"),
        ("labelmap.txt", "a:0,0,0\nb:255,0,0\nc:0,0,255\n"),
        ("classes.txt", "name,r,g,b\na,0,0,0\nb,255,0,0\nc,0,0,255\n"),
    ],
)
def test_names_and_colors_of_tools_are_read(name, text):
    found = parse_labels(text.removeprefix("\ufeff"), name)
    assert found.has_colors
    assert (found.label_map.names, found.label_map.palette) == (("a", "b", "c"), RED_BLUE)
    assert found.values == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        (
            "categories.json",
            '{"categories": [{"id": 7, "name": "b"}, {"id": 3, "name": "a", "supercategory": "x"}]}',
            [3, 7],
        ),
        ("id2label.json", '{"3": "a", "7": "b"}', [3, 7]),
        ("label2id.json", '{"b": 7, "a": 3}', [3, 7]),
        ("_classes.csv", "Pixel Value, Class\n3, a\n7, b\n", [3, 7]),
        ("names.txt", "a\nb\n\n", [0, 1]),
        ("names.txt", "3: a\n7: b\n", [3, 7]),
        ("names.txt", "3 a\n7 b\n", [3, 7]),
        ("objects.csv", "Idx,Ratio,Train,Name\n3,0.2,11,a\n7,0.1,9,b\n", [3, 7]),
        ("objects.txt", "Idx\tRatio\tName\n3\t0.2\ta\n7\t0.1\tb\n", [3, 7]),
        ("labels.csv", 'name,value\na,3\nb,"7, 7"\n', [3, 7]),
        ("labels.yaml", "[{name: a, values: [3]}, {name: b, values: [7]}]", [3, 7]),
        ("data.yaml", "path: x\nnames: {3: a, 7: b}\nnc: 2", [3, 7]),
        ("names.yaml", "[a, b]", [0, 1]),
    ],
)
def test_files_without_colors_have_values_only(name, text, values):
    found = parse_labels(text, name)
    assert not found.has_colors
    assert found.label_map.names == ("a", "b")
    assert found.values == dict(zip(values, range(2), strict=True))


def test_names_may_hold_commas():
    """As those of ADE20K do."""
    names = ("wall", "door, double", "building;edifice")
    rows = "\n".join(f'{index + 1},"{name}"' for index, name in enumerate(names))
    found = parse_labels(f"Idx,Name\n{rows}", "objects.csv")
    assert found.label_map.names == names
    assert LabelMap.parse(found.label_map.to_yaml(), "labels.yaml") == found.label_map


def test_values_are_given_beside_ids_and_some_are_ignored(tmp_path):
    path = tmp_path / "labels.yaml"
    path.write_text(
        "- {id: 0, name: a, color: [0, 0, 0], value: 4}\n- {id: 1, name: b, color: '#ffffff', value: [7, 9]}\n"
        "- {id: 255, name: void, color: [9, 9, 9]}\n- {ignore: [0, 1]}\n"
    )
    found = load_labels(str(path))
    assert found.values == {4: 0, 7: 1, 9: 1, 255: 255, 0: 255, 1: 255}
    # What is stored beside the TFRecords describes these, not the masks.
    stored = found.label_map.to_yaml()
    assert "value" not in stored
    assert "ignore" not in stored
    assert LabelMap.parse(stored, "labels.yaml").names == ("a", "b")


def test_kinds_are_kept_and_those_of_other_tools_passed_over():
    text = "- {name: sky, kind: stuff}\n- {name: car, kind: Thing}\n- {name: dog, kind: polygon}\n- {name: cat}\n"
    found = parse_labels(text, "labels.yaml").label_map
    assert [label.kind for label in LabelMap.parse(found.to_yaml(), "labels.yaml").root] == [
        "stuff",
        "thing",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.yaml", "[{name: a, kind: thng}, {name: b}]", "takes thing or stuff, got 'thng'"),
        ("labels.yaml", "just text", "no list of classes"),
        ("labels.yaml", "- {name: a, color: #ff0000}\n- {name: b}", "YAML"),
        ("labels.yaml", "- name: a\n  color: #ff0000\n- {name: b, color: '#000'}", "a has no color.*quotes"),
        ("labels.yaml", "[{name: a, color: red}, {name: b, color: blue}]", "color"),
        ("labels.yaml", "[{name: true}, {name: b}]", "quotes"),
        ("labels.yaml", "[{name: a, color: #ff0000}, {name: b}]", "needs quotes, since # begins a comment"),
        ("labels.yaml", "[{name: a, color: 804080}, {name: b, color: '#000'}]", "needs quotes"),
        ("labels.yaml", "[{name: a, vlaue: 3}, {name: b}]", "the key vlaue"),
        ("labels.yaml", "[{name: a, value: []}, {name: b}]", "there is none"),
        ("labels.yaml", "[{name: a, value: 1-5}, {name: b}]", "whole numbers, such as 4 or"),
        ("labels.yaml", "[{name: a}, {name: b}, {name: void, ignore: true}]", "an entry of its own"),
        ("labels.yaml", "[{name: a}, {id: 3, name: b}]", "some entries have an id"),
        ("labels.yaml", "[{id: 1, name: a}, {id: 1, name: b}]", "each id may occur only once"),
        ("labels.yaml", "[{id: 0, name: a, value: 4}, {id: 2, name: b}]", "without a gap"),
        ("labels.yaml", "[{name: a, value: 4}, {name: b, value: [3, 4]}]", "the value 4 belongs to two classes"),
        ("labels.yaml", "[{name: a}, {name: b}, {ignore: [1]}]", "the value 1 is ignored, and belongs to a class"),
        ("labels.yaml", "[{name: a}, {name: b}, {ignore: all}]", "ignore takes values"),
        ("labels.yaml", "[{name: a, color: '#000'}, {name: b}]", "some classes have a color"),
        ("labels.yaml", "[{name: a}]", "two classes"),
        ("labels.yaml", "[{color: '#000'}, {name: b}]", "has no name"),
        ("labels.yaml", "[5, 6]", "an entry is a name"),
        ("labelmap.txt", "a:0,0,0::\nb;1,1,1", "the line 'b;1,1,1'"),
        ("classes.csv", "x,y\n1,2\n", "no column name"),
        ("classes.csv", "", "is empty"),
        ("classes.csv", "Code,Name\n1,wall\n2,sky\n", "column Code .* call it id"),
        ("classes.json", "{", "no label map that can be read"),
    ],
)
def test_errors_name_the_file_and_the_fault_and_give_an_example(name, text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_labels(text, f"somewhere/{name}")
    assert f"somewhere/{name}" in str(caught.value)
    assert "name: road" in str(caught.value)
