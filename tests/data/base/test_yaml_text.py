"""YAML as people mean it."""

import pytest

from data.base.section import split_override
from data.base.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e1", 10.0), ("1e-3", 0.001), ("1.5E+2", 150.0), ("10.0", 10.0), ("1_000", 1000), ("010", 10), ("-7", -7),
        ("0x10", 16), ("0o10", 8), (".5", 0.5), ("-.inf", float("-inf")), ("true", True), ("FALSE", False),
        ("~", None), ("", None), ("null", None), ("no", "no"), ("Off", "Off"), ("y", "y"), ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"), ("2024-13-45", "2024-13-45"), ("1.0.0", "1.0.0"), ("'1'", "1"), ("1e", "1e"),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(text, value):
    assert read_yaml(f"key: {text}") == {"key": value}
    assert type(read_yaml(f"key: {text}")["key"]) is type(value)


def test_names_are_as_they_are_written():
    assert read_yaml("{no: 1, 1: 2, 01: 3, 1e1: 4, ~: 5, traffic.light: 6, 2026-11-23: 7}") == {
        "no": 1, "1": 2, "01": 3, "1e1": 4, "~": 5, "traffic.light": 6, "2026-11-23": 7,
    }  # fmt: skip


def test_a_mapping_may_take_over_another():
    assert read_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "a is there twice; remove one of the two\n.*line 3"),
        ("{[1]: 2}", "a name must be text"),
        ("[", "expected the node content"),
        ("a: !!python/object/new:os.system [ls]", "could not determine a constructor"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(ValueError, match=message):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.b=1", (["a", "b"], "1")),
        ("data.input=/x=y.z", (["data", "input"], "/x=y.z")),
        ('gate.min.iou."a=b.c"=0.5', (["gate", "min", "iou", "a=b.c"], "0.5")),
        ("x.'t.l'.low=1", (["x", "t.l", "low"], "1")),
        ('a="x=y"', (["a"], '"x=y"')),
        ('a."b=1', (["a", '"b'], "1")),
        ("a", (["a"], None)),
        ("a..b=", (["a", "", "b"], "")),
    ],
)
def test_parts_of_a_key_in_quotes_are_whole(text, parts):
    assert split_override(text) == parts
