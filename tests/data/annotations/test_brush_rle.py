"""Label Studio's brush, to the bit and the pixel as its own library reads and writes it."""

import json
import time

import numpy as np
import pytest

from data.annotations.brush_rle import decode_brush
from data.decoding.errors import BadImageError
from tests.data.annotations.brushes import encode_brush

SIZES = (3, 4, 8, 16)
LIBRARY = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle, encode_rle, mask2rle
print()  # It prints what it lacks, which it does not need here.
masks, brushes, images = (json.loads(line) for line in open(sys.argv[1]))
print(json.dumps([mask2rle(np.array(mask, np.uint8) * 255) for mask in masks]))
print(json.dumps([decode_rle(brush).tolist() for brush in brushes]))
print(json.dumps([encode_rle(np.array(image)) for image in images]))
"""


def masks():
    """Noise, emptiness, fullness, and areas with runs of all lengths."""
    random = np.random.default_rng(0)
    yield random.random((23, 31)) > 0.5
    yield np.zeros((150, 130), bool)
    yield np.ones((150, 130), bool)
    yield np.zeros((1, 1), bool)
    yield np.kron(random.random((7, 5)) > 0.5, np.ones((33, 40))).astype(bool)
    # Between them, runs as long as a block of each size may be, and one longer.
    ends = np.cumsum([2, 3, 4, 5, 64, 65, 16384, 16385, 32768, 9])
    yield (np.searchsorted(ends, np.arange(ends[-1]), side="right") % 2 == 1)[:, None]


def packed(blocks, count):
    """Blocks (repeated, size, length, values) as rle-pack writes them."""
    text = f"{count:032b}00111" + "".join(f"{size - 1:04b}" for size in SIZES)
    for repeated, size, length, values in blocks:
        text += f"{repeated:d}{size:02b}{length - 1:0{SIZES[size]}b}" + "".join(f"{value:08b}" for value in values)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


def blocks_of(values, random):
    """Values in blocks of random lengths, repeated or written out."""
    start = 0
    while start < len(values):
        repeated = len(set(values[start : start + 4])) == 1 and random.random() < 0.8
        length = 4 if repeated else min(int(random.integers(1, 40)), len(values) - start)
        size = next(index for index, bits in enumerate(SIZES) if length <= 1 << bits)
        yield repeated, size, length, values[start : start + (1 if repeated else length)]
        start += length


def test_brushes_are_those_of_the_library_both_ways(labeling_tools, tmp_path):
    drawn = list(masks())
    random = np.random.default_rng(1)
    # Soft borders, as painting leaves them, with colors before alpha.
    soft = np.kron(random.integers(0, 3, (12, 17)), np.ones((2, 3), int))[..., None] * [9, 1, 7, 80]
    values = soft.ravel().tolist()
    written_out = packed(blocks_of(values, random), len(values))
    own = [encode_brush(mask) for mask in drawn]
    lines = [[mask.astype(int).tolist() for mask in drawn], [*own, written_out], [values]]
    (tmp_path / "input").write_text("\n".join(json.dumps(line) for line in lines))
    theirs, decoded, encoded = map(json.loads, labeling_tools(LIBRARY, str(tmp_path / "input")).splitlines()[-3:])
    for mask, brush, other, pixels in zip(drawn, own, theirs, decoded[:-1], strict=True):
        assert brush == other[: len(brush)]
        assert not any(other[len(brush) :])  # The library adds a byte where no bits are left over.
        assert (decode_brush(other, *mask.shape) == mask).all()
        assert (np.array(pixels).reshape(*mask.shape, 4) == mask[..., None] * 255).all()
    assert decoded[-1] == values
    for brush in (written_out, encoded[0]):
        assert (decode_brush(brush, *soft.shape[:2]) == (soft[..., 3] > 0)).all()


@pytest.mark.parametrize("mask", masks())
def test_what_is_encoded_is_decoded(mask):
    assert (decode_brush(encode_brush(mask), *mask.shape) == mask).all()


def test_a_large_brush_takes_less_than_a_second():
    y, x = np.mgrid[:3000, :4000]
    mask = np.sin(x / 20) * np.cos(y / 15) > 0.2
    brush = encode_brush(mask)
    start = time.process_time()
    assert (decode_brush(brush, *mask.shape) == mask).all()
    assert time.process_time() - start < 2  # On a machine that does other things too; it takes 0.2 s.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda brush: brush[:-3], "its brush ends early"),
        (lambda brush: brush[:5], "has only 5 bytes"),
        (lambda brush: [], "has only 0 bytes"),
        (lambda brush: [*brush, 256], "not a list of whole numbers from 0 to 255"),
        (lambda brush: [*brush, "1"], "not a list of whole numbers"),
        (lambda brush: None, "not a list of whole numbers"),
        (lambda brush: [*brush[:4], 255, *brush[5:]], "values of 32 bits"),
        (lambda brush: [255, *brush[1:]], r"covers 1\d* pixels, and an image of 9x6 has 54"),
    ],
)
def test_broken_brushes_are_explained(change, message):
    brush = encode_brush(np.random.default_rng(0).random((6, 9)) > 0.5)
    with pytest.raises(BadImageError, match=message):
        decode_brush(change(brush), 6, 9)


def test_a_brush_of_another_image_is_refused():
    with pytest.raises(BadImageError, match="covers 54 pixels, and an image of 10x6 has 60"):
        decode_brush(encode_brush(np.ones((6, 9), bool)), 6, 10)
