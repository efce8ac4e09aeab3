"""What does a request ask for? TF Serving's forms for this signature, and what is wrong with the others."""

from __future__ import annotations

import base64
import codecs
import dataclasses
import re
from typing import Any

import orjson

from data.decoding.arrays import GZIP_SIGNATURE, MAGIC, MAX_BANDS, array_shape, decode_array
from data.decoding.images import BadImageError, upright_size
from models.serving.signatures import IMAGES, SERVING

_FORM = '{"instances": [{"b64": "…"}, …]}, with JPEG or PNG files, or arrays in NumPy\'s format, in base64'
# What absl::Base64Unescape, which TF Serving calls, passes over, and takes for padding.
_SPACE, _PADDING = b" \t\n\v\f\r", b"=."
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_HEXADECIMAL = re.compile(r"\s*(0x)?(ffd8ff|89504e47)", re.IGNORECASE)
# How JPEG and PNG files begin in base64.
_ENCODED = (b"/9j/", b"iVBORw0KGg")


class BadRequestError(ValueError):
    """A request that cannot be answered, most often for an image; the message is for the client."""


class TooManyPixelsError(BadRequestError):
    """An image, or a request, larger than the server's limit."""


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """The images of a request.

    Attributes:
      images: encoded images, by their looks.
      by_rows: whether they came as `instances` (rows) rather than `inputs` (columns).
      at_original_size: whether maps at the images' own sizes are asked for, rather than at the model's.
    """

    images: list[bytes]
    by_rows: bool
    at_original_size: bool


def read_request(body: bytes, max_instances: int) -> PredictRequest:
    """Reads the body of a request.

    Args:
      body: JSON.
      max_instances: how many images there may be.

    Raises:
      BadRequestError: if the request has none of TF Serving's forms for this signature.
    """
    try:
        request = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the request is not JSON: {error}; send {_FORM}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise BadRequestError(f"the request must be {_FORM}")
    name = request.get("signature_name")
    if name in (None, ""):
        name = SERVING["model"]
    if name not in SERVING.values():
        raise BadRequestError(f"signature_name must be {' or '.join(SERVING.values())}, or be left out")
    by_rows = "instances" in request
    key = "instances" if by_rows else "inputs"
    values = request[key]
    if not by_rows and isinstance(values, dict) and IMAGES in values:
        values, key = values[IMAGES], f"inputs.{IMAGES}"
    if not isinstance(values, list):
        raise BadRequestError(f"{key} is {_kind(values)}; it must be a list, of one image, too: send {_FORM}")
    if not values:
        raise BadRequestError(f"{key} is an empty list; the request must be {_FORM}")
    if len(values) > max_instances:
        raise BadRequestError(f"{len(values)} instances are more than the limit of {max_instances}; send fewer at once")
    are_named = [by_rows and isinstance(value, dict) and value.keys() == {IMAGES} for value in values]
    if len(set(are_named)) > 1:
        raise BadRequestError(f'some instances have the key "{IMAGES}" and others do not; send {_FORM}')
    images = [
        _image(value[IMAGES] if is_named else value, f"{key}[{index}]")
        for index, (value, is_named) in enumerate(zip(values, are_named, strict=True))
    ]
    return PredictRequest(images, by_rows, name == SERVING["original"])


def image_size(content: bytes, max_pixels: int, max_bands: int = MAX_BANDS) -> tuple[int, int]:
    """Height and width of an encoded image once it is upright, by its header, so that nothing too large is decoded.

    Args:
      content: the file.
      max_pixels: the limit.
      max_bands: limit for arrays; 0 if the model takes none.

    Raises:
      BadRequestError: if it is none.
      TooManyPixelsError: if it has more pixels.
    """
    is_array = content.startswith((GZIP_SIGNATURE, MAGIC))
    if is_array and not max_bands:
        raise BadRequestError("the model takes JPEG and PNG files, not arrays in NumPy's format")
    try:
        height, width = upright_size(content)
        bands = array_shape(content)[2] if is_array else 0
    except BadImageError as error:
        raise BadRequestError(str(error)) from None
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"the image has {width}x{height} pixels; the limit is {max_pixels} (--max-pixels of the server)"
        )
    if bands > max_bands:
        raise BadRequestError(f"the array has {bands} bands; the model takes no more than {max_bands}")
    if content.startswith(GZIP_SIGNATURE):  # Whose bytes may unpack to more than the header says.
        try:
            decode_array(content, height * width * bands)
        except BadImageError as error:
            raise BadRequestError(f"the array is {error}") from None
    return height, width


def image_sizes(
    images: list[bytes], max_pixels: int, max_request_pixels: int, max_bands: int = MAX_BANDS
) -> list[tuple[int, int]]:
    """Height and width of each image of a request.

    Args:
      images: the files.
      max_pixels: limit for each.
      max_request_pixels: limit for all of them together.
      max_bands: as for `image_size`.

    Raises:
      BadRequestError: if one is none; the message says which.
      TooManyPixelsError: if one, or all of them together, have more pixels.
    """
    sizes = []
    for number, content in enumerate(images, start=1):
        try:
            sizes.append(image_size(content, max_pixels, max_bands))
        except BadRequestError as error:
            if len(images) == 1:
                raise
            raise type(error)(f"image {number} of {len(images)}: {error}") from None
    pixels = sum(height * width for height, width in sizes)
    if pixels > max_request_pixels:
        raise TooManyPixelsError(
            f"the images of the request have {pixels} pixels; the limit is {max_request_pixels} "
            "(--max-request-pixels of the server); send fewer images at once"
        )
    return sizes


def _image(value: Any, place: str) -> bytes:
    """The bytes that an instance stands for."""
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        return _decode(value["b64"], f"{place}.b64")
    if isinstance(value, dict) and "b64" in value:
        wrong = (
            f"has other keys beside b64: {', '.join(sorted(value.keys() - {'b64'}))}"
            if len(value) > 1
            else f"has {_kind(value['b64'])} for b64, which must be a string"
        )
    elif isinstance(value, dict):
        wrong = f"has the keys {', '.join(sorted(value))} instead of b64" if value else "is an empty object"
    elif isinstance(value, str) and value.lstrip().startswith("data:"):
        wrong = "is a data URL; the base64 is what follows its comma"
    elif isinstance(value, str):
        wrong = "is a plain string, whose characters would be taken for the file's bytes"
    elif isinstance(value, list):
        wrong = f"is a list; the model takes encoded files, not pixels, and {IMAGES} is no list within an instance"
    else:
        wrong = f"is {_kind(value)}"
    raise BadRequestError(f"{place} {wrong}; the request must be {_FORM}")


def _decode(text: str, place: str) -> bytes:
    """Decodes base64 as TF Serving does: with any white space, with or without padding."""
    data = text.encode(errors="replace").translate(None, _SPACE)
    body = data.rstrip(_PADDING)
    missing = -len(body) % 4
    if not data:
        raise BadRequestError(f"{place} is empty")
    if _HEXADECIMAL.match(text):
        raise BadRequestError(f"{place} is hexadecimal; send base64")
    if found := _NOT_BASE64.search(body.decode()):
        raise BadRequestError(f"{place} is not valid base64: {_wrong_character(text, body.decode(), found)}")
    if missing == 3:
        raise BadRequestError(f"{place} is not valid base64: {len(body)} characters cannot be; something is cut off")
    padding = len(data) - len(body)
    if padding not in (0, missing):
        raise BadRequestError(f"{place} is not valid base64: its padding has {padding} characters instead of {missing}")
    content = base64.b64decode(body + b"=" * missing)
    if content.startswith(_ENCODED):
        raise BadRequestError(f"{place} was encoded in base64 twice; once is right")
    return content


def _wrong_character(text: str, body: str, found: re.Match[str]) -> str:
    """What is wrong with base64 that has a character too many."""
    if text.lstrip().startswith("data:"):
        return "it is a data URL; send only what follows its comma"
    if re.match(r"\s*b['\"]", text):
        return "it is how Python prints bytes; send base64.b64encode(…).decode()"
    if "%" in body:
        return "it is percent-encoded, as in a URL; send it without that"
    if not _NOT_BASE64.search(body.replace("-", "+").replace("_", "/")):
        return "it has the alphabet for URLs; send + for - and / for _"
    if found[0] in "=.":
        return f"there is more after the padding {found[0]!r}; send each file in an instance of its own"
    return f"it has the character {found[0]!r}"


def _kind(value: Any) -> str:
    """What JSON calls a value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
