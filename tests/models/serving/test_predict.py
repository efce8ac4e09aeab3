"""What predict writes, in how much memory, and what it says about files that are no images."""

import io
import json
import os
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models.serving.inputs import find_inputs
from models.serving.predict import predict
from tests.conftest import nightly

pytestmark = pytest.mark.one_line


@pytest.fixture(scope="module")
def model(tmp_path_factory, push):
    destination = tmp_path_factory.mktemp("model") / "serving"
    push(destination, 1, 1)
    return str(destination)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, [height, width, 3]).astype(np.uint8)


def save(path, brightness=200, **options):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (brightness,) * 3).save(path, **options)


def outcomes(model, *inputs, output="out"):
    return {item.image: item.error for item in predict(model, find_inputs(list(inputs), output).files, output)}


def masks(folder="."):
    return sorted(str(path) for path in pathlib.Path(folder).rglob("*_mask.png"))


def test_masks_and_overlays_have_the_colors_of_the_classes(model, here):
    half = noise(40, 60) // 3
    half[:, :30] += 150
    Image.fromarray(half).save("half.png")
    (found,) = predict(model, {"half.png": "sub/half"}, "out")
    mask, overlay = np.asarray(Image.open(found.mask)), np.asarray(Image.open(found.overlay))
    assert (found.mask, found.overlay) == ("out/sub/half_mask.png", "out/sub/half_overlay.png")
    assert mask.shape == (40, 60)
    assert (mask[:, :27] == 1).all()
    assert (mask[:, 33:] == 0).all()
    palette = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233]])
    assert np.array_equal(overlay, ((half + palette[mask]) * 0.5).astype(np.uint8))
    assert found.class_shares["cat"] == pytest.approx((mask == 1).mean(), abs=1e-6)
    assert (found.height, found.width) == (40, 60)


def test_tiles_are_put_together_as_the_signature_does(tiled, here):
    Image.fromarray(noise(150, 83)).save("x.png")
    shares = []
    (found,) = predict(str(tiled), {"x.png": "x"}, "out", progress=lambda image, share: shares.append((image, share)))
    assert Image.open(found.mask).size == (83, 150)
    assert len(shares) == 13
    assert shares[-1] == ("x.png", 1)


@pytest.mark.parametrize("output", ["photos/results", ".", *nightly("photos", "elsewhere")])
def test_the_second_time_finds_the_same_images(model, here, output):
    save("photos/x.jpg")
    save("photos/sub/x.png")
    save("photos/sub/x.jpg")
    expected = dict.fromkeys(("photos/x.jpg", "photos/sub/x.jpg", "photos/sub/x.png"))
    for _ in range(2):
        assert outcomes(model, "photos", output=output) == expected
        assert len([mask for mask in masks() if not mask.startswith("other")]) == 3
        # Nor does what another run left count.
        assert outcomes(model, "photos", output="other") == expected


def test_nothing_is_overwritten_but_results(model, here):
    save("x.jpg")
    save("y.jpg")
    # Someone's own masks, one of which is an input, and one a link.
    save("y_mask.png", 0)
    save("labels.png", 0)
    (here / "x_overlay.png").symlink_to("labels.png")
    before = {name: (here / name).read_bytes() for name in ("y_mask.png", "labels.png", "x.jpg")}
    found = outcomes(model, "x.jpg", "y.jpg", output=".")
    assert found == {
        "x.jpg": "./x_overlay.png exists and is no result of predict; choose another --output",
        "y.jpg": "./y_mask.png exists and is no result of predict; choose another --output",
    }
    found = outcomes(model, "y.jpg", "y_mask.png", output=".")
    assert found == {
        "y.jpg": "its result would overwrite the input ./y_mask.png; choose another --output",
        "y_mask.png": None,
    }
    assert before == {name: (here / name).read_bytes() for name in before}
    # A result that is an input by its name.
    assert outcomes(model, "x.jpg", output="out") == {"x.jpg": None}
    assert outcomes(model, "x.jpg", "out/x_mask.png", output="out") == {
        "x.jpg": "its result would overwrite the input out/x_mask.png; choose another --output",
        "out/x_mask.png": None,
    }


def test_results_of_earlier_releases_are_overwritten(model, here):
    """They have no mark."""
    save("x.jpg")
    assert outcomes(model, "x.jpg") == {"x.jpg": None}
    old = Image.open("out/x_mask.png").copy()
    old.save("out/x_mask.png")
    Image.open("out/x_overlay.png").copy().save("out/x_overlay.png")
    assert outcomes(model, "x.jpg") == {"x.jpg": None}
    pathlib.Path("out/predictions.jsonl").unlink()
    old.save("out/x_mask.png")
    assert "is no result of predict" in outcomes(model, "x.jpg")["x.jpg"]


def chunk(name, content, checksum=None):
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def test_each_file_that_is_no_image_is_a_line_and_the_others_go_on(model, here):
    photos = here / "photos"
    save("photos/a.jpg")
    save("photos/z.png")
    good = (photos / "z.png").read_bytes()
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
    (photos / "cut.png").write_bytes(good[:-30])
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b""))
    (photos / "huge.png").write_bytes(good[:8] + huge)
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / "round.jpg").symlink_to("round.jpg")
    os.mkfifo(photos / "pipe.jpg")
    os.mkfifo(photos / "pipe.tif")
    save("photos/folder.jpg/inside.png")
    (photos / "bad.tfrecord").write_bytes(b"no record, but long enough")
    (photos / "short.tfrecord").write_bytes(b"no record")
    found = outcomes(model, "photos", "missing.jpg", "/dev/zero")
    good_ones = {"photos/a.jpg", "photos/z.png", "photos/folder.jpg/inside.png"}
    assert {name for name, error in found.items() if error is None} == good_ones
    expected = {
        "photos/empty.png": "it is empty",
        "photos/text.jpg": "unreadable: not a known image format",
        "photos/cut.png": "",
        "photos/huge.png": "40000x40000 pixels are more than the limit of 100000000",
        "photos/gone.jpg": "it is a link to nowhere.jpg, which does not exist",
        "photos/round.jpg": "Too many levels of symbolic links",
        "photos/pipe.jpg": "it is a pipe, not a file",
        "photos/pipe.tif": "it is a pipe, not a file",
        "photos/bad.tfrecord": "corrupted record at 0",
        "photos/short.tfrecord": "it holds no examples",
        "missing.jpg": "No such file or directory",
        "/dev/zero": "it is a device, not a file",
    }
    assert found.keys() == expected.keys() | good_ones
    for name, message in expected.items():
        assert message in found[name]
        assert "\n" not in found[name]
    lines = [json.loads(line) for line in pathlib.Path("out/predictions.jsonl").read_text().splitlines()]
    assert {line["image"]: line.get("error") for line in lines} == found
    assert len(masks("out")) == 3
    assert not list(here.rglob("*.partial"))


def exif_of_wrong_type():
    """An orientation beside a tag whose type is not the one it has."""
    short, text = 3, 2
    entries = [(0x0112, short, 1, b"\0\6\0\0"), (0x011A, text, 4, b"odd\0")]
    return (
        b"Exif\0\0MM\0*"
        + struct.pack(">IH", 8, len(entries))
        + b"".join(struct.pack(">HHI", *entry[:3]) + entry[3] for entry in entries)
        + bytes(4)
    )


def test_odd_but_whole_images_are_a_mask_or_a_line(model, here):
    """Whatever decoding makes of them."""
    save("a.jpg", exif=exif_of_wrong_type())
    save("b.jpg", exif=b"Exif\0\0no TIFF header")
    save("good.png")
    good = pathlib.Path("good.png").read_bytes()
    pathlib.Path("c.png").write_bytes(good[:33] + chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000) + good[33:])
    pathlib.Path("d.png").write_bytes(
        good[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 10**8)) + good[33:]
    )
    pathlib.Path("e.png").write_bytes(good[:33] + chunk(b"tEXt", b"a\0b", checksum=1) + good[33:])
    found = outcomes(model, "a.jpg", "b.jpg", "c.png", "d.png", "e.png", "good.png")
    assert len(found) == 6
    assert found["good.png"] is None
    assert all("\n" not in error for error in found.values() if error)


def test_images_in_records_have_names_of_their_own(model, here):
    import tensorflow as tf

    from data import contract

    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")

    def bytes_feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def write(path, *names):
        with tf.io.TFRecordWriter(path) as writer:
            for name in names:
                features = {contract.IMAGE: bytes_feature(buffer.getvalue())}
                if name:
                    features[contract.SOURCE_ID] = bytes_feature(name)
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

    pathlib.Path("a [1]").mkdir()
    write("a [1]/x.tfrecord", b"cat", b"cat", b"../up", b"photo", b"")
    write("x.tfrecord", b"cat", b"")
    save("photo.jpg")
    found = list(predict(model, find_inputs(["a [1]", "x.tfrecord", "photo.jpg"], "out").files, "out"))
    assert [item.error for item in found] == [None] * 8
    names = ["cat", "cat_2", ".._up", "photo_2", "x_00000", "cat_3", "x_00001", "photo"]
    assert len({item.mask for item in found}) == 8
    assert [pathlib.Path(item.mask).name.removesuffix("_mask.png") for item in found][:4] == names[:4]
    assert all(pathlib.Path(item.mask).resolve().is_relative_to(here / "out") for item in found)


def test_the_command_line_goes_on_after_bad_files(segpipe, model, tmp_path):
    photos = tmp_path / "photos [1] *?"
    save(photos / "x.jpg")
    save(photos / "x.png")
    (photos / "bad\n.png").write_bytes(b"")
    for _ in range(2):
        finished = segpipe("predict", "--model", model, "--output", str(photos / "out"), str(photos))
        assert finished.returncode == 1
        shares, written = finished.stdout.splitlines()
        assert shares == "Classes, mean over the images: cat 100.0%"
        assert written == f"2 images written to {photos}/out; 1 could not be used"
        assert [line for line in finished.stderr.splitlines() if line.startswith("[")] == [
            f"[1/3] {photos}/bad_.png: it is empty"
        ]
    assert "4 results of predict, or files in its output folder, are not taken for images" in finished.stderr
    silent = segpipe("predict", "--quiet", "--model", model, "--output", str(photos / "out"), str(photos))
    assert (silent.returncode, silent.stdout) == (1, "")
    assert silent.stderr == f"[1/3] {photos}/bad_.png: it is empty\n"
    large = tmp_path / "large.png"
    Image.fromarray(noise(70, 70)).save(large)
    out = str(tmp_path / "tiles")
    finished = segpipe("predict", "--model", model, "--max-pixels", "100", "--output", out, str(large))
    assert (finished.returncode, "70x70 pixels are more than the limit of 100" in finished.stderr) == (1, True)


_IMPATIENT = """
import sys
from pipeline.cli.models import progress, serving
progress.Progress._SECONDS = 0.0
serving.predict(sys.argv[1:])
"""


def test_the_command_line_says_how_far_a_large_image_is(warm_python, tiled, tmp_path):
    large = tmp_path / "large.png"
    Image.fromarray(noise(100, 90)).save(large)
    finished = warm_python("-c", _IMPATIENT, "--model", str(tiled), "--output", str(tmp_path / "out"), str(large))
    shares = [int(share) for share in re.findall(rf"^{large}: (\d+)%$", finished.stderr, re.MULTILINE)]
    assert len(shares) == 8
    assert shares == sorted(set(shares))
    assert shares[-1] == 100
    assert finished.stdout.splitlines()[-1] == f"1 image written to {tmp_path}/out"


_ON_A_TERMINAL = """
import os, sys, threading, time
leader, follower = os.openpty()
shown = []
def read():
    while text := os.read(leader, 10000):
        shown.append(text)
threading.Thread(target=read, daemon=True).start()
sys.stderr = os.fdopen(follower, "w")
from pipeline.cli.models import serving
serving.predict(sys.argv[1:], standalone_mode=False)
print("the end", file=sys.stderr, flush=True)
while b"the end" not in b"".join(shown):
    time.sleep(0.01)
print(b"".join(shown).decode())
"""


def test_a_terminal_shows_a_bar(warm_python, model, tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name)
    arguments = ("--model", model, "--output", str(tmp_path / "out"), str(tmp_path / "photos"))
    finished = warm_python("-c", _ON_A_TERMINAL, *arguments, TERM="xterm-256color", COLUMNS="100")
    assert "2/2" in finished.stdout, finished.stderr
    assert "\x1b[2K" in finished.stdout, "the bar goes when all is done"


_PEAK = """
import os, pathlib, re, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from PIL import Image
from models.serving.predict import predict

def peak():
    return int(re.findall(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[0]) * 1000

model, folder = sys.argv[1:]
Image.new("RGB", (1000, 500)).save(f"{folder}/small.png")
Image.radial_gradient("L").convert("RGB").resize((5000, 4000)).save(f"{folder}/large.png")
list(predict(model, {f"{folder}/small.png": "small"}, folder))
before = peak()
found = list(predict(model, {f"{folder}/large.png": "large"}, folder))
assert found[0].error is None, found
print(peak() - before)
"""


def test_memory_is_bounded_by_the_images_pixels(warm_python, model, tmp_path):
    """At most 15 bytes a pixel: of a float64 overlay alone there were 24, and several of them."""
    finished = warm_python("-c", _PEAK, model, str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout.split()[-1]) < 15 * 5000 * 4000 + 50e6


_LITTLE_MEMORY = """
import os, pathlib, re, resource, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from PIL import Image
from models.serving.predict import predict

model, folder = sys.argv[1:]
Image.new("RGB", (1000, 500)).save(f"{folder}/small.png")
Image.new("RGB", (1000, 500)).save(f"{folder}/next.png")  # Is in the network while the first is written.
Image.new("RGB", (9000, 9000)).save(f"{folder}/large.png")
found = []
inputs = {f"{folder}/{name}.png": name for name in ("small", "next", "large", "x")}
for item in predict(model, inputs, folder):
    found.append(item.error)
    if len(found) == 1:
        os.link(f"{folder}/small.png", f"{folder}/x.png")
        used = int(re.findall(r"VmSize:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[0]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, -1))
print(found)
"""


def test_an_image_without_enough_memory_is_a_line_and_the_others_go_on(warm_python, model, tmp_path):
    finished = warm_python("-c", _LITTLE_MEMORY, model, str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    *small, large, last = eval(finished.stdout.splitlines()[-1])
    assert [*small, last] == [None, None, None]
    assert "memory" in large.lower()
