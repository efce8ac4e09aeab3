"""Images that the page offers to try with a click.

Only those that whoever starts the server names: everyone who reaches the page sees them, so that no image of the data
that the model learned from gets there by itself, and none travels within the model.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Iterable, Iterator

from PIL import Image

from data.base.errors import UserError
from data.decoding.images import BadImageError, read_image
from data.decoding.pictures import picture_of
from models.inputs.settings import PreprocessingSettings
from models.serving.inputs import find_inputs, read_images

# So many at most, and the length of the longer side of their small pictures, in pixels.
_EXAMPLES, _SIDE = 6, 192


@dataclasses.dataclass(frozen=True)
class Example:
    """An image to try.

    Attributes:
      name: what it is called.
      encoded: the image, as the model takes it.
      small: a small picture of it, as a data URI.
    """

    name: str
    encoded: bytes
    small: str


def read_examples(inputs: Iterable[str], shape: PreprocessingSettings, max_pixels: int) -> list[Example]:
    """The first images that inputs stand for, as for `predict`.

    Args:
      inputs: files, folders, patterns and TFRecords.
      shape: what the model takes.
      max_pixels: larger images are refused.

    Raises:
      UserError: if there is none, or one of them cannot be used.
    """
    found: list[Example] = []
    for path, name, content in _images(list(inputs)):
        try:
            encoded = read_image(content, None, max_pixels).encoded
            picture = Image.fromarray(picture_of(encoded, shape.band_names, shape.nodata))
        except BadImageError as error:
            raise UserError(f"--example {path}: {error}") from None
        picture.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80)
        small = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        found.append(Example(os.path.basename(name), encoded, small))
        if len(found) == _EXAMPLES:
            break
    return found


def _images(inputs: list[str]) -> Iterator[tuple[str, str, bytes]]:
    """Path, name and content of each."""
    for path, result in find_inputs(inputs, os.devnull).files.items() if inputs else ():
        try:
            for name, content in read_images(path, result):
                yield path, name, content
        except (BadImageError, OSError) as error:
            raise UserError(f"--example {path}: {getattr(error, 'strerror', None) or error}") from None
