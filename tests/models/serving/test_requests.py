"""What the server takes as TF Serving does, and what it says about everything else."""

import base64
import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from data.decoding.arrays import encode_array
from models.serving.server.requests import BadRequestError, TooManyPixelsError, image_sizes, read_request


def png(height, width):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, [height, width, 3]).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def of_length(remainder):
    """A PNG whose length leaves this remainder by three, so that each padding occurs."""
    content = png(20, 30)
    return content + b"x" * ((remainder - len(content)) % 3)


def text(content):
    return base64.b64encode(content).decode()


def read(**request):
    return read_request(json.dumps(request).encode(), 64)


@pytest.mark.parametrize("content", [of_length(0), of_length(1), of_length(2)])
@pytest.mark.parametrize(
    "written",
    [
        text,
        lambda content: base64.encodebytes(content).decode(),
        lambda content: text(content).replace("A", "A\r\n\t \v\f"),
        lambda content: text(content).rstrip("="),
        lambda content: text(content).replace("=", " ="),
        lambda content: text(content).replace("=", "."),
        lambda content: f" {text(content)}\n",
    ],
)
def test_base64_is_read_as_tensorflow_serving_reads_it(content, written):
    """By absl::Base64Unescape: white space anywhere, no padding or the right one, of equals signs or dots."""
    assert read(instances=[{"b64": written(content)}]).images == [content]


@pytest.mark.parametrize(
    ("request_", "by_rows"),
    [
        ({"instances": [{"b64": text(b"one")}, {"b64": text(b"two")}]}, True),
        ({"instances": [{"image_bytes": {"b64": text(b"one")}}, {"image_bytes": {"b64": text(b"two")}}]}, True),
        ({"inputs": [{"b64": text(b"one")}, {"b64": text(b"two")}]}, False),
        ({"inputs": {"image_bytes": [{"b64": text(b"one")}, {"b64": text(b"two")}]}}, False),
    ],
)
@pytest.mark.parametrize(
    "signature", [{}, {"signature_name": ""}, {"signature_name": None}, {"signature_name": "serving_default"}]
)
def test_every_form_of_a_request(request_, by_rows, signature):
    found = read(**request_, **signature)
    assert (found.images, found.by_rows, found.at_original_size) == ([b"one", b"two"], by_rows, False)
    assert read_request(b"\xef\xbb\xbf" + json.dumps(request_).encode(), 64) == found


def test_maps_at_the_original_size_are_a_signature_of_their_own():
    instances = [{"b64": text(b"one")}]
    assert read(instances=instances, signature_name="serving_at_original_size").at_original_size
    with pytest.raises(BadRequestError, match="must be serving_default or serving_at_original_size, or be left out"):
        read(instances=instances, signature_name="examples")


IMAGE = text(png(20, 30))
GOOD = {"b64": IMAGE}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"b64": ""}, r"instances\[0\].b64 is empty"),
        ({"b64": " \n"}, r"instances\[0\].b64 is empty"),
        ({"b64": f"data:image/png;base64,{IMAGE}"}, "is a data URL; send only what follows its comma"),
        (f"data:image/png;base64,{IMAGE}", r"instances\[0\] is a data URL"),
        ({"b64": png(20, 30).hex()}, "is hexadecimal; send base64"),
        ({"b64": "0x" + png(20, 30).hex().upper()}, "is hexadecimal"),
        (
            {"b64": text(b"\xfb\xff" * 30).replace("+", "-").replace("/", "_")},
            r"alphabet for URLs; send \+ for - and / for _",
        ),
        ({"b64": text(b"\xfb\xff" * 30).replace("+", "%2B")}, "percent-encoded"),
        (
            {"b64": str(base64.b64encode(png(20, 30)))},
            r"how Python prints bytes; send base64.b64encode\(…\).decode\(\)",
        ),
        ({"b64": text(IMAGE.encode())}, "encoded in base64 twice"),
        ({"b64": "Zm9vYg="}, "its padding has 1 characters instead of 2"),
        ({"b64": "Zm9v="}, "its padding has 1 characters instead of 0"),
        ({"b64": "Zm9vY"}, "5 characters cannot be; something is cut off"),
        ({"b64": "Zg==Zm8="}, "there is more after the padding"),
        ({"b64": "Zm9v?"}, "it has the character '[?]'"),
        ({"b64": "Zm9vé"}, "it has the character"),
        (IMAGE, "is a plain string"),
        ([[[1, 2, 3]]], "is a list; the model takes encoded files, not pixels"),
        ({"image_bytes": [GOOD]}, "is a list"),
        ({"image_bytes": IMAGE}, "is a plain string"),
        ({"b64": IMAGE, "format": "png"}, "has other keys beside b64: format"),
        ({"b64": [1, 2]}, "has a list for b64, which must be a string"),
        ({"base64": IMAGE}, "has the keys base64 instead of b64"),
        ({}, "is an empty object"),
        (None, r"instances\[0\] is null"),
        (5, r"instances\[0\] is a number"),
        (True, "is a truth value"),
    ],
)
def test_each_wrong_form_of_an_image_is_named(value, message):
    with pytest.raises(BadRequestError, match=message) as caught:
        read(instances=[value])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"inputs": GOOD}, "inputs is an object; it must be a list, of one image, too"),
        ({"inputs": {"image_bytes": GOOD}}, "inputs.image_bytes is an object; it must be a list"),
        ({"inputs": [{"image_bytes": GOOD}]}, r"inputs\[0\] has the keys image_bytes instead of b64"),
        ({"instances": GOOD}, "instances is an object; it must be a list"),
        ({"instances": [GOOD, {"image_bytes": GOOD}]}, "some instances have the key"),
        ({"instances": [GOOD], "inputs": [GOOD]}, "the request must be"),
        ({"instances": []}, "instances is an empty list"),
        ({"image": IMAGE}, "the request must be"),
        ({"instances": [GOOD, {"b64": ""}]}, r"instances\[1\].b64 is empty"),
        ({"instances": [GOOD], "signature_name": "examples"}, "signature_name must be"),
        ({"instances": [GOOD], "signature_name": 5}, "signature_name must be"),
        ({"instances": [GOOD] * 65}, "65 instances are more than the limit of 64"),
    ],
)
def test_each_wrong_form_of_a_request_is_named(request_, message):
    with pytest.raises(BadRequestError, match=message):
        read(**request_)


def test_the_pixels_of_an_image_and_of_a_request_are_bounded():
    assert image_sizes([png(20, 30)] * 3, 600, 1800) == [(20, 30)] * 3
    with pytest.raises(TooManyPixelsError, match="image 2 of 2: the image has 31x20 pixels; the limit is 600"):
        image_sizes([png(20, 30), png(20, 31)], 600, 10_000)
    with pytest.raises(TooManyPixelsError, match="have 1800 pixels; the limit is 1799"):
        image_sizes([png(20, 30)] * 3, 600, 1799)
    with pytest.raises(BadRequestError, match="image 2 of 2: not a JPEG or PNG image"):
        image_sizes([png(20, 30), b"GIF89a"], 600, 1800)


@pytest.mark.parametrize("unpack", [bytes, gzip.decompress])
def test_arrays_are_refused_by_their_bands_before_they_are_unpacked(unpack):
    content = unpack(encode_array(np.zeros([20, 30, 5], np.uint8)))
    assert image_sizes([content], 600, 600, 5) == [(20, 30)]
    for broken in (content, content[:-20]):
        with pytest.raises(BadRequestError, match="the array has 5 bands; the model takes no more than 4"):
            image_sizes([broken], 600, 600, 4)
        with pytest.raises(BadRequestError, match="the model takes JPEG and PNG files, not arrays"):
            image_sizes([broken], 600, 600, 0)
