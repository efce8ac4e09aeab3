import pytest

from data.base.errors import UserError
from data.label_map import LabelMap
from models.inputs.settings import PreprocessingSettings
from models.instances.scale import ObjectScale, things

NAMES = ("ground", "car", "person")


def label_map(*kinds):
    entries = LabelMap.from_names(NAMES).model_dump()
    return LabelMap.model_validate(
        [{**entry, "kind": kind} if kind else entry for entry, kind in zip(entries, kinds, strict=True)]
    )


def test_the_data_says_which_classes_have_objects_unless_the_label_map_does():
    statistics = {"objects": {"ground": 0, "car": 5, "person": 0}}
    assert things(label_map("", "", ""), statistics) == (False, True, False)
    assert things(label_map("", "", "thing"), statistics) == (False, True, True)


@pytest.mark.parametrize(
    ("kinds", "objects", "message"),
    [
        (("", "", ""), {}, "no image of the split train has an object"),
        (("", "stuff", "thing"), {"car": 3}, "no image of the split train has an object"),
        (("thing", "thing", "thing"), {"car": 3}, "each class has objects"),
    ],
)
def test_what_cannot_be_learned_is_a_users_mistake(kinds, objects, message):
    with pytest.raises(UserError, match=message):
        things(label_map(*kinds), {"objects": dict.fromkeys(NAMES, 0) | objects} if objects else {})


def test_constants_follow_from_the_sizes_of_objects():
    """Of 100 objects half have 64 to 128 pixels, half 256 to 512."""
    statistics = {
        "objects": {"car": 100},
        "objects_by_pixels": {"64": 50, "256": 50},
        "objects_by_share": {"0.0625": 50, "0.25": 50},
    }
    shape = PreprocessingSettings(height=32, width=32, resize="none")
    scale = ObjectScale.of(label_map("", "", ""), statistics, shape)
    assert scale.unit == pytest.approx(128**0.5, abs=1e-3)
    assert scale.kernel == 11  # 0.85 times the unit, as the next odd number.
    assert scale.least_area == 16
    # With padding, only half of the input shows an image that is twice as wide as high, or as high as wide.
    padded = PreprocessingSettings(height=32, width=32, resize="pad")
    for aspects, share in (({"2": 100}, 0.5), ({"0.5": 100}, 0.5), ({"1": 100}, 1), ({"2": 50, "1": 50}, 0.75)):
        scale_of_padded = ObjectScale.of(label_map("", "", ""), {**statistics, "objects_by_aspect": aspects}, padded)
        assert scale_of_padded.unit == pytest.approx((128 * share) ** 0.5, abs=1e-3)
        assert scale_of_padded.least_area == int(16 * share)
    wide = PreprocessingSettings(height=16, width=64, resize="pad")
    assert ObjectScale.of(
        label_map("", "", ""), {**statistics, "objects_by_aspect": {"4": 100}}, wide
    ).unit == pytest.approx(scale.unit)
    # Of images that are resized, shares of the image count: here of 1,024 pixels.
    resized = ObjectScale.of(label_map("", "", ""), statistics, PreprocessingSettings(height=32, width=32))
    assert (resized.unit, resized.kernel, resized.least_area) == (scale.unit, scale.kernel, scale.least_area)


def test_tiny_objects_have_the_smallest_constants():
    statistics = {"objects": {"car": 7}, "objects_by_pixels": {"1": 7}}
    scale = ObjectScale.of(label_map("", "", ""), statistics, PreprocessingSettings(resize="none"))
    assert (scale.kernel, scale.least_area) == (3, 1)
