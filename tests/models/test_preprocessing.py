import pytest

from models.preprocessing import placement


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((100, 200), "stretch", (0, 0, 64, 64)),
        ((100, 200), "pad", (16, 0, 32, 64)),
        ((300, 100), "pad", (0, 21, 64, 21)),
        ((1, 5000), "pad", (31, 0, 1, 64)),
    ],
)
def test_placement(size, resize, expected):
    assert tuple(int(value) for value in placement(*size, 64, 64, resize)) == expected
