import io
import random
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.decoding.orientation import EXIF_PREFIX, exif_orientation, turned, without_orientation
from data.decoding.structure import PNG_SIGNATURE
from models.inputs import encoded
from tests.data.decoding.files import chunk, exif_block, orientation_entry

PIXELS = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)


def jpeg(block: bytes, pixels: np.ndarray = PIXELS, before: bytes = b"", prefix: bytes = EXIF_PREFIX) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    content = prefix + block
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    return buffer.getvalue()[:2] + before + segment + buffer.getvalue()[2:]


def png(block: bytes, pixels: np.ndarray = PIXELS, at_end: bool = False) -> bytes:
    content = tf.io.encode_png(pixels).numpy()
    place = len(content) - 12 if at_end else len(PNG_SIGNATURE) + 25
    return content[:place] + chunk(b"eXIf", block) + content[place:]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def found(contents: tf.Tensor) -> tf.Tensor:
    return tf.map_fn(encoded.exif_orientation, contents, fn_output_signature=tf.int32)


upright = tf.function(encoded.upright, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


def in_graph(contents: list[bytes]) -> list[int]:
    return found(tf.constant(contents)).numpy().tolist()


def decoded(content: bytes, **options) -> np.ndarray:
    return tf.io.decode_image(content, expand_animations=False, **options).numpy()


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_images_are_turned_as_their_exif_says(order, value):
    block = exif_block(order, (0x010F, 2, 4, b"abc\0"), orientation_entry(order, value))
    for content in (jpeg(block), png(block), png(block, at_end=True)):
        assert exif_orientation(content) == value
        (result,) = upright(tf.constant([content])).numpy()
        expected = decoded(content) if value == 1 else turned(decoded(content), value)
        np.testing.assert_array_equal(decoded(result), expected)
        assert (result == content) == (value == 1)
        kept = without_orientation(content)
        assert (exif_orientation(kept), len(kept)) == (1, len(content))
        np.testing.assert_array_equal(decoded(kept), decoded(content))


def test_turning_is_what_pillow_makes_of_it():
    from PIL import ImageOps

    for value in range(1, 9):
        image = Image.open(io.BytesIO(png(exif_block("<", orientation_entry("<", value)))))
        np.testing.assert_array_equal(turned(PIXELS, value), np.asarray(ImageOps.exif_transpose(image)))


def test_only_images_that_exif_turns_change_in_a_batch():
    block = exif_block(">", orientation_entry(">", 6))
    deep = np.arange(35, dtype=np.uint16).reshape(5, 7, 1) * 1000
    contents = [jpeg(b""), jpeg(block), png(b""), png(block, deep), png(block, PIXELS[..., :1])]
    results = upright(tf.constant(contents)).numpy()
    assert [a == b for a, b in zip(results, contents, strict=True)] == [True, False, True, False, False]
    np.testing.assert_array_equal(tf.io.decode_png(results[3], dtype=tf.uint16), turned(deep, 6))
    assert decoded(results[4]).shape == (7, 5, 1)


def hostile() -> list[bytes]:
    """EXIF that says nothing, in JPEG and PNG."""
    blocks = [b"", b"II", b"II*\0", b"junk without a header", b"\xff" * 40]
    for order in "<>":
        good = orientation_entry(order, 6)
        whole = exif_block(order, good)
        blocks += [whole[:size] for size in range(len(whole) - 8)]
        blocks += [exif_block(order, orientation_entry(order, value)) for value in (0, 9, 60000)]
        blocks += [exif_block(order, orientation_entry(order, 6, kind)) for kind in (0, 1, 2, 4, 5, 99)]
        blocks += [exif_block(order, orientation_entry(order, 6, count=count)) for count in (0, 2, 2**32 - 1)]
        # The first one counts; and a directory outside of the block.
        blocks += [exif_block(order, orientation_entry(order, 1), good)]
        blocks += [
            whole[:4] + struct.pack(order + "I", place) + whole[8:] for place in (1, 0xFFFFFFFF, 0x7FFFFFFF, len(whole))
        ]
    contents = [make(block) for block in blocks for make in (jpeg, png)]
    whole = exif_block("<", orientation_entry("<", 6))
    contents += [jpeg(whole, prefix=b"EXIF\0\0"), jpeg(whole, prefix=b"")]
    contents += [jpeg(whole, before=b"\xff\xe1\0\1"), jpeg(whole, before=b"junk")]
    return [*contents, b"", b"\xff", b"\xff\xd8\xff", PNG_SIGNATURE, b"GIF89a", PNG_SIGNATURE + b"\xff" * 40]


def test_exif_that_is_broken_says_nothing_in_the_graph_and_in_python():
    contents = hostile()
    assert [exif_orientation(content) for content in contents] == [1] * len(contents)
    assert in_graph(contents) == [1] * len(contents)


def test_the_graph_finds_what_python_finds():
    generator = random.Random(0)
    contents = []
    for _ in range(600):
        order = generator.choice("<>")
        entries = [
            orientation_entry(order, generator.choice([2, 3, 6, 8, 300]), generator.choice([3, 3, 3, 3, 3, 4]), 1, tag)
            for tag in generator.choices(
                [0x0112, 0x010F, 0x8769, 0x1201], weights=[4, 1, 1, 1], k=generator.randrange(1, 4)
            )
        ]
        block = bytearray(exif_block(order, *entries, directory=generator.choice([8, 8, 8, 8, 8, 14, 6, 0])))
        for _ in range(generator.choice([0, 0, 0, 1, 3])):
            block[generator.randrange(len(block))] = generator.choice([0, 1, 3, 6, 255, generator.randrange(256)])
        fill = generator.choice(
            [b"", b"\xff" * 3, b"\xff\xfe\0\4hi", b"\xff\xe1\0\x0aExif\0\0II"] if generator.random() < 0.5 else [b""]
        )
        content = jpeg(bytes(block), before=fill) if generator.random() < 0.5 else png(bytes(block))
        if generator.random() < 0.3:
            content = bytearray(content)
            for _ in range(3):
                content[generator.randrange(min(len(content), 120))] = generator.randrange(256)
            content = bytes(content[: generator.randrange(len(content))] if generator.random() < 0.3 else content)
        contents.append(content)
    expected = [exif_orientation(content) for content in contents]
    assert in_graph(contents) == expected
    assert len(set(expected)) > 3
    assert sum(value > 1 for value in expected) > 100


def test_sixteen_bits_are_an_error_where_eight_are_wanted():
    deep = tf.io.encode_png(np.zeros((4, 4, 1), np.uint16))
    serve = tf.function(encoded.of_eight_bits)
    with pytest.raises(tf.errors.InvalidArgumentError, match="learned from images of 8"):
        serve(deep)
    for content in (png(b""), jpeg(b""), b"", b"\x89PNG"):
        assert serve(tf.constant(content)).numpy() == content
