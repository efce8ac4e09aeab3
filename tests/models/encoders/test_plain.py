import keras

from models.encoders.plain import PlainEncoder


def test_maps_are_at_all_strides_up_to_that_of_the_depth():
    features = PlainEncoder(filters=4, depth=3).build(keras.Input((37, 50, 1)), 32, "mixed_bfloat16")
    assert [level.maps.shape for level in features] == [
        (None, 37, 50, 4),
        (None, 18, 25, 8),
        (None, 9, 12, 16),
        (None, 4, 6, 32),
    ]
    assert [(level.stride, level.offset) for level in features] == [(1, 0), (2, 0.5), (4, 1.5), (8, 3.5)]
    assert features[-1].maps.dtype == "bfloat16"


def test_what_is_too_small_depends_on_the_depth():
    assert PlainEncoder(depth=5).smallest_input == 32
    assert PlainEncoder(depth=5).remedy(31) == "a depth of at most 4 would do"
