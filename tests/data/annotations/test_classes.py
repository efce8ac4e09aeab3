"""Selecting, merging and ordering the classes that annotations name."""

import pydantic
import pytest

from data.annotations.classes import Category, ClassOptions
from data.base.errors import UserError
from data.contract import IGNORE_LABEL

CATEGORIES = [Category(name) for name in ("car", "truck", "bus", "person")]


def test_by_default_all_classes_follow_the_background():
    chosen = ClassOptions().choose(CATEGORIES)
    assert chosen.label_map.names == ("background", "car", "truck", "bus", "person")
    assert (chosen.ids["person"], chosen.background) == (4, 0)
    without = ClassOptions().choose(CATEGORIES, has_background=False)
    assert (without.label_map.names[0], without.background) == ("car", IGNORE_LABEL)


@pytest.mark.parametrize(("others", "left_out"), [("background", 0), ("ignore", IGNORE_LABEL)])
def test_classes_are_selected_merged_and_put_in_order(others, left_out):
    chosen = ClassOptions(classes="person, vehicle: [car, truck]", others=others).choose(CATEGORIES)
    assert chosen.label_map.names == ("background", "person", "vehicle")
    assert chosen.ids == {"car": 2, "truck": 2, "bus": left_out, "person": 1}


def test_background_may_have_another_place_and_other_names():
    chosen = ClassOptions(classes="person, background: [bus]").choose(CATEGORIES)
    assert (chosen.label_map.names, chosen.background, chosen.ids["bus"]) == (("person", "background"), 1, 1)
    named = ClassOptions().choose([Category("_background_"), Category("cat"), Category("__ignore__")])
    assert named.label_map.names == ("background", "cat")
    assert named.ids == {"_background_": 0, "cat": 1, "__ignore__": IGNORE_LABEL}


def test_names_are_text_whatever_they_look_like():
    names = ("no", "1e3", "007", "a b")
    chosen = ClassOptions(classes="007, 'a b', x: [no, 1e3]").choose([Category(name) for name in names])
    assert chosen.label_map.names == ("background", "007", "a b", "x")


def test_own_colors_are_kept_where_all_differ():
    red, green = (255, 0, 0), (0, 255, 0)
    different, equal = [Category("a", red), Category("b", green)], [Category("a", red), Category("b", red)]
    assert ClassOptions().choose(different).label_map.palette == [(0, 0, 0), red, green]
    assert red not in ClassOptions().choose(equal).label_map.palette


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("cars", r"there is no class cars \(did you mean car"),
        ("a: [car], b: [car]", "car belongs to a and to b"),
        ("car, car", "only once"),
        ("background: [car, truck, bus, person]", "only one class"),
    ],
)
def test_wrong_choices_are_explained(classes, message):
    with pytest.raises(UserError, match=message):
        ClassOptions(classes=classes).choose(CATEGORIES)


@pytest.mark.parametrize("classes", ["a: {b: c}", "[a", "a: ,"])
def test_what_is_no_list_of_classes_is_refused(classes):
    with pytest.raises(pydantic.ValidationError, match="person, vehicle"):
        ClassOptions(classes=classes)


def test_more_classes_than_ids_are_refused():
    with pytest.raises(UserError, match="256 classes are too many"):
        ClassOptions().choose([Category(str(index)) for index in range(255)])
