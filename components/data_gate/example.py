"""What is wrong with one example, and what is in it?"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image

from data import contract
from data.contract import IGNORE_LABEL
from data.decoding import arrays
from data.decoding.errors import BadImageError
from data.decoding.image_type import ImageType
from data.decoding.images import stored_values
from data.decoding.pictures import picture
from data.decoding.structure import JPEG_SIGNATURE, PNG_SIGNATURE, read_header
from data.label_map import LabelMap
from data.near_duplicates import THUMBNAIL, perceptual_hash

# How JPEGs are decoded, and at which parts of their height and width.
JPEG_OPTIONS = {"channels": 1, "fancy_upscaling": False, "dct_method": "INTEGER_FAST"}
JPEG_RATIOS = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Names:
    """What an example says of itself.

    Attributes:
      source_id: its name, or "".
      group: what must stay in one split, or "".
      slice: what to report it under, or "".
    """

    source_id: str = ""
    group: str = ""
    slice: str = ""


@dataclasses.dataclass(frozen=True)
class Checked:
    """A good example.

    Attributes:
      name: its source id, or a checksum of its image.
      pixels: [256] number of the mask's pixels by class id.
      height: of the image, in pixels.
      width: of the image, in pixels.
      hash: of `perceptual_hash`; None if the image is too plain for one, or none was asked for.
      objects: [n, 2] class id and pixels of each object; None if none were asked for.
    """

    name: str
    pixels: np.ndarray
    height: int
    width: int
    hash: int | None
    objects: np.ndarray | None = None


def parse(serialized: bytes) -> tf.train.Example:
    """Reads a record.

    Raises:
      ValueError: if it is not a tf.train.Example.
    """
    try:
        return tf.train.Example.FromString(serialized)
    except DecodeError:
        raise ValueError("the record is not a tf.train.Example") from None


def read_names(example: tf.train.Example) -> Names:
    """What an example says of itself."""

    def first(name: str) -> str:
        values = example.features.feature[name].bytes_list.value
        return values[0].decode(errors="replace") if values else ""

    return Names(first(contract.SOURCE_ID), first(contract.GROUP), first(contract.SLICE))


def check_example(
    example: tf.train.Example,
    num_classes: int,
    with_hash: bool,
    images: ImageType | None = None,
    objects_of: LabelMap | None = None,
) -> Checked:
    """Decodes an example.

    Args:
      example: that should keep the data contract.
      num_classes: in the label map.
      with_hash: whether to compute the image's hash.
      images: what images have to be; gray or RGB of 8 bits by default.
      objects_of: the classes, if objects are looked at.

    Raises:
      ValueError: if it cannot be used; the message says why.
    """
    encoded, images = _single_bytes(example, contract.IMAGE), images or ImageType()
    image = _decode_image(encoded, images, 2 * THUMBNAIL if with_hash else 1)
    mask = _decode_mask(_single_bytes(example, contract.MASK))
    if mask.shape[:2] != (image.height, image.width):
        raise ValueError(
            f"sizes differ: the image has {image.width}x{image.height} pixels, the mask {mask.shape[1]}x{mask.shape[0]}"
        )
    pixels = histogram(mask)
    unknown = np.flatnonzero(pixels[num_classes:IGNORE_LABEL]) + num_classes
    if len(unknown):
        raise ValueError(f"class id {', '.join(map(str, unknown))} is not in the label map (0 to {num_classes - 1})")
    names = example.features.feature[contract.SOURCE_ID].bytes_list.value
    return Checked(
        name=contract.example_name(names[0] if names else b"", encoded),
        pixels=pixels,
        height=image.height,
        width=image.width,
        hash=hash_of(image.pixels, images) if with_hash else None,
        objects=None if objects_of is None else _check_objects(example, mask[..., 0], objects_of),
    )


def _check_objects(example: tf.train.Example, mask: np.ndarray, label_map: LabelMap) -> np.ndarray:
    """[n, 2] class id and pixels of each object; raises a ValueError if they contradict the mask."""
    name = contract.INSTANCES
    if not example.features.feature[name].bytes_list.value:
        raise ValueError(
            f"{name} is missing, which says which object each pixel belongs to; convert the data from a format that "
            "tells objects apart, or set task: semantic"
        )
    content = _single_bytes(example, name)
    # As in `_decode_mask`: 16 bits, grayscale.
    if not content.startswith(PNG_SIGNATURE) or content[24:26] != b"\x10\x00":
        raise ValueError(f"{name} is not a PNG with one 16-bit channel, which holds the numbers of objects")
    try:
        numbers = tf.io.decode_png(content, 1, tf.uint16).numpy()[..., 0]
    except tf.errors.InvalidArgumentError:
        raise ValueError(f"{name} is not an image that TensorFlow can decode") from None
    if numbers.shape != mask.shape:
        raise ValueError(
            f"sizes differ: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"{name} {numbers.shape[1]}x{numbers.shape[0]}"
        )
    is_object = (numbers > 0) & (numbers < contract.CROWD) & (mask != IGNORE_LABEL)
    pairs, pixels = np.unique(numbers[is_object].astype(np.int64) * 256 + mask[is_object], return_counts=True)
    objects, class_ids = pairs // 256, pairs % 256
    in_several = objects[1:][objects[1:] == objects[:-1]]
    if len(in_several):
        of = [label_map.names[class_id] for class_id in class_ids[objects == in_several[0]]]
        raise ValueError(
            f"object {in_several[0]} has pixels of the classes {' and '.join(of)}, and must be of one: number its "
            f"parts apart in {name}, or mend the mask of the classes"
        )
    in_stuff = np.isin(class_ids, [label.id for label in label_map.classes if label.kind == "stuff"])
    if in_stuff.any():
        stuff = label_map.names[class_ids[in_stuff][0]]
        raise ValueError(
            f"object {objects[in_stuff][0]} is of the class {stuff}, whose kind is stuff in the label map: make it "
            f"kind: thing there, or convert the data without objects of {stuff}"
        )
    return np.stack([class_ids, pixels], axis=1)


def _single_bytes(example: tf.train.Example, name: str) -> bytes:
    values = example.features.feature[name].bytes_list.value
    if len(values) != 1:
        raise ValueError(f"{name} must hold one string of bytes; it has {len(values)}")
    return values[0]


def histogram(mask: np.ndarray) -> np.ndarray:
    """[256] int64, how often each value is in a mask, [height, width, 1] uint8."""
    # NumPy's `bincount` takes four times as long: it copies bytes to whole numbers of 64 bits. So does TensorFlow's.
    return np.array(Image.fromarray(mask[..., 0]).histogram(), np.int64)


def hash_of(image: np.ndarray, images: ImageType) -> int | None:
    """The perceptual hash of decoded pixels; None if they are too plain for one."""
    shown = picture(image, images.names, images.nodata)
    return perceptual_hash(shown if shown.ndim == 3 else shown[..., np.newaxis])


@dataclasses.dataclass(frozen=True)
class _Image:
    """An image that the transform graph takes.

    Attributes:
      height: in pixels.
      width: in pixels.
      pixels: [rows, columns, bands], or of a JPEG [rows, columns, 1] gray ones, maybe at a fraction of its size.
    """

    height: int
    width: int
    pixels: np.ndarray


def _decode_image(content: bytes, images: ImageType, least_side: int) -> _Image:
    """Decodes an image; its pixels have `least_side` rows and columns at least, if it has as many."""
    name = contract.IMAGE
    is_jpeg, is_png = content.startswith(JPEG_SIGNATURE), content.startswith(PNG_SIGNATURE)
    if not (is_jpeg or is_png or content.startswith((arrays.GZIP_SIGNATURE, arrays.MAGIC))):
        raise ValueError(f"{name} is neither a JPEG nor a PNG image nor an array in NumPy's format")
    try:
        if is_jpeg:
            height, width, bands = _jpeg_shape(content)
            if bands == 4:
                raise ValueError(f"{name} has four channels (CMYK); it must be RGB or grayscale")
            pixels = _decoded_jpeg(content, min(height, width) // least_side)
        else:
            pixels = stored_values(content) if not is_png or content[24:25] == b"\x10" else _decoded(content)
            pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
            height, width, bands = pixels.shape
    except tf.errors.InvalidArgumentError:
        raise ValueError(f"{name} is not an image that TensorFlow can decode") from None
    except BadImageError as error:
        raise ValueError(f"{name}: {error}") from None
    are_pictures = images.type in ("uint8", "uint16") and images.bands in (1, 3)
    if pixels.dtype.name != images.type or not ((are_pictures and (is_jpeg or is_png)) or bands == images.bands):
        raise ValueError(
            f"{name} has {ImageType(pixels.dtype.name, bands)}, and images have to have {images}; if all are like this "
            "one, set preprocessing.type and preprocessing.bands"
        )
    return _Image(height, width, pixels)


def _jpeg_shape(content: bytes) -> tuple[int, int, int]:
    """Height, width and channels."""
    if header := read_header(content):
        return header.height, header.width, header.channels
    # Of an odd file, only TensorFlow may find the header, which takes it longer.
    height, width, channels = tf.io.extract_jpeg_shape(content).numpy().tolist()
    return height, width, channels


def _decoded_jpeg(content: bytes, times_too_large: int) -> np.ndarray:
    """[rows, columns, 1] uint8 gray pixels of a JPEG, at the fraction of its size that is large enough.

    All of its data is read, and damage found, but color and the details that nobody needs are not computed, which is
    half of the work.
    """
    ratio = max(ratio for ratio in JPEG_RATIOS if ratio <= max(1, times_too_large))
    decoded = tf.io.decode_jpeg(content, ratio=ratio, **JPEG_OPTIONS)
    return np.asarray(memoryview(decoded))


def _decoded(content: bytes) -> np.ndarray:
    """[height, width, channels], not to be changed."""
    # Unlike `numpy()`, this does not copy.
    return np.asarray(memoryview(tf.io.decode_image(content, expand_animations=False)))


def _decode_mask(content: bytes) -> np.ndarray:
    """[height, width, 1] uint8, once it is clear that decoding it changes no class id."""
    # The header's first chunk: width, height, then bit depth and color type, which is 0 for grayscale.
    if not content.startswith(PNG_SIGNATURE) or content[24:26] != b"\x08\x00":
        raise ValueError(f"{contract.MASK} is not a PNG with one 8-bit channel, which holds class ids")
    try:
        return _decoded(content)
    except tf.errors.InvalidArgumentError:
        raise ValueError(f"{contract.MASK} is not an image that TensorFlow can decode") from None
