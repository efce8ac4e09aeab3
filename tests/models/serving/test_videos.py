"""What predict makes of videos: of whole ones, of odd ones, and of those that break off."""

import json
import pathlib
import re
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from data.base.errors import UserError
from data.decoding.images import encode_png
from models.serving.inputs import find_inputs
from models.serving.loaded_model import load_model
from models.serving.predict import predict
from models.serving.results.files import is_result
from pipeline.cli import cli
from pipeline.cli.models.progress import Progress

pytestmark = pytest.mark.one_line
COUNT, RATE = 10, 5
COLORS = {"nothing": (0, 0, 0), "cat": (230, 159, 0)}


def pictures(height=48, width=64):
    """Frames that are bright from the left on, by and by."""
    frames = np.zeros([COUNT, height, width, 3], np.uint8)
    for index, frame in enumerate(frames):
        frame[:, : width * (index + 1) // COUNT] = 220
    return list(frames)


def write_video(path, frames, codec="ffv1", pix_fmt="bgr0", times=None, ratio=None, **options):
    """A video of five frames a second, as they are; or with times in milliseconds, or pixels that are not square."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        stream.codec_context.sample_aspect_ratio = ratio or Fraction(1)
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = (times[index], Fraction(1, 1000)) if times else (index, Fraction(1, RATE))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros([1, 1024], np.float32), "fltp", "mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_video(path):
    """Frames, their times in seconds, and the average rate."""
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(stream)]
        return [pixels for pixels, _ in frames], [time for _, time in frames], stream.average_rate


def turn(path):
    """Makes a player turn an MP4 file by a quarter, clockwise, as phones do that are held upright."""
    content = bytearray(path.read_bytes())
    # ISO 14496-12, section 8.3.2: the matrix comes 40 bytes after the version of the track's header.
    place = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    for index, value in enumerate((0, one, 0, -one, 0, 0)):
        content[place + 4 * index : place + 4 * index + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def model(tmp_path_factory, push):
    destination = tmp_path_factory.mktemp("model") / "serving"
    push(destination, 1, 1)
    return str(destination)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of videos, whole and broken."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "plain.mkv", pictures())
    write_video(folder / "odd.avi", pictures(83, 125))
    write_video(folder / "fast.webm", pictures(), "libvpx-vp9", "yuv420p")
    write_video(folder / "turned.mp4", pictures(), "libx264", "yuv420p")
    turn(folder / "turned.mp4")
    write_video(folder / "uneven.mkv", pictures(), times=UNEVEN)
    write_video(folder / "wide.mov", pictures(), "mpeg4", "yuv420p", ratio=Fraction(16, 11))
    noise = list(np.random.default_rng(0).integers(0, 256, [COUNT, 48, 64, 3]).astype(np.uint8))
    write_video(folder / "noise.mkv", noise)
    write_video(folder / "noise.mov", noise, "mjpeg", "yuvj420p", movflags="faststart")
    for name in ("noise.mkv", "noise.mov"):
        content = (folder / name).read_bytes()
        (folder / f"cut.{name[-3:]}").write_bytes(content[: len(content) * 6 // 10])
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.avi").write_bytes(b"")
    write_sound(folder / "sound.mp4")
    return folder


UNEVEN = [0, 40, 500, 540, 700, 900, 1900, 1950, 2100, 2500]


@pytest.fixture(scope="module")
def predicted(model, clips, tmp_path_factory):
    """What predict says of each, its results, and how far it said it was."""
    output, said = tmp_path_factory.mktemp("out"), []
    files = find_inputs([str(clips / "*")], str(output)).files
    found = predict(
        model,
        files,
        str(output),
        progress=lambda text, share: said.append((text, share)),
        frames=True,
        max_pixels=20_000,
    )
    return {pathlib.Path(item.image).name: item for item in found}, output, said


def test_a_video_becomes_one_with_overlays_and_a_mask_of_each_frame(predicted, model, clips):
    found, output, _ = predicted
    assert found["plain.mkv"].error is None
    assert found["plain.mkv"].overlay == str(output / "plain_overlay.mp4")
    overlays, times, rate = read_video(found["plain.mkv"].overlay)
    assert (len(overlays), rate, found["plain.mkv"].frames) == (COUNT, RATE, COUNT)
    assert times == pytest.approx([index / RATE for index in range(COUNT)])
    loaded = load_model(model)
    shares = []
    for index, (frame, overlay) in enumerate(zip(pictures(), overlays, strict=True)):
        assert overlay.shape == frame.shape
        mask = np.asarray(Image.open(output / f"plain_{index + 1:06d}_mask.png"))
        np.testing.assert_array_equal(mask, loaded.segment_whole(encode_png(frame), *mask.shape).class_ids)
        expected = (frame + np.array(list(COLORS.values()))[mask]) // 2
        assert np.abs(overlay.astype(int) - expected).mean() < 8
        shares.append((mask == 1).mean())
    assert found["plain.mkv"].class_shares["cat"] == pytest.approx(np.mean(shares), abs=1e-5)
    assert 0.5 < found["plain.mkv"].confidence <= 1
    assert (found["plain.mkv"].height, found["plain.mkv"].width) == (48, 64)
    lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["image"] == str(clips / "plain.mkv")]
    assert set(line) == {"image", "overlay", "frames", "height", "width", "class_shares", "confidence"}


def test_sides_of_odd_lengths_get_a_pixel_more(predicted):
    found, output, _ = predicted
    overlays, _, rate = read_video(found["odd.avi"].overlay)
    assert (len(overlays), overlays[0].shape, rate) == (COUNT, (84, 126, 3), RATE)
    assert np.asarray(Image.open(output / "odd_000001_mask.png")).shape == (83, 125)
    # Of the color beside it.
    assert np.abs(overlays[-1][:, -1].astype(int) - overlays[-1][:, -2]).max() < 16


def test_a_video_is_turned_upright(predicted):
    found, output, _ = predicted
    overlays, _, _ = read_video(found["turned.mp4"].overlay)
    assert (len(overlays), overlays[0].shape) == (COUNT, (64, 48, 3))
    # What is on the left comes to the top.
    mask = np.asarray(Image.open(output / "turned_000005_mask.png"))
    assert mask.shape == (64, 48)
    assert (mask[:26] == 1).all()
    assert (mask[38:] == 0).all()


def test_frames_keep_their_times(predicted):
    found, _, _ = predicted
    _, times, _ = read_video(found["uneven.mkv"].overlay)
    assert times == pytest.approx([time / 1000 for time in UNEVEN], abs=0.001)
    with av.open(found["uneven.mkv"].overlay) as container:
        assert container.duration / 1e6 > UNEVEN[-1] / 1000, "players end where the file says that it does"
    assert len(read_video(found["fast.webm"].overlay)[0]) == COUNT


def test_pixels_that_are_not_square_stay_so(predicted):
    found, _, _ = predicted
    with av.open(found["wide.mov"].overlay) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mov"])
def test_of_a_video_that_breaks_off_nothing_is_lost(predicted, name):
    found, output, _ = predicted
    item = found[name]
    stem = "cut.mkv" if name == "cut.mkv" else "cut.mov"  # Which would share a name.
    overlays, _, _ = read_video(output / f"{stem}_overlay.mp4")
    assert 4 <= len(overlays) == item.frames < COUNT
    assert item.error.startswith(f"{len(overlays)} frames are in {output}/{stem}_overlay.mp4; of what follows, it ")
    assert len(list(output.glob(f"{stem}_0*_mask.png"))) == len(overlays)


def test_what_is_no_video_is_a_line(predicted):
    found, output, _ = predicted
    for name in ("text.mp4", "empty.avi"):
        assert found[name].error.startswith("it cannot be read as a video (")
    assert found["sound.mp4"].error == "it is damaged, or holds no pictures"
    whole = ("plain", "odd", "fast", "turned", "uneven", "wide", "noise.mkv", "noise.mov", "cut.mkv", "cut.mov")
    assert sorted(path.name for path in output.glob("*.mp4*")) == sorted(f"{name}_overlay.mp4" for name in whole)


def test_it_says_how_far_it_is(predicted, clips):
    _, _, said = predicted
    of_one = [(text, share) for text, share in said if text.startswith(f"{clips}/turned.mp4, ")]
    assert [share for _, share in of_one] == pytest.approx([(index + 1) / COUNT for index in range(COUNT)])
    assert re.fullmatch(r".*/turned.mp4, frame 3 of 10, [\d,.]+ images a second", of_one[2][0])
    # A Matroska file says how long it lasts, and not how many frames it has.
    assert any(re.fullmatch(r".*/plain.mkv, frame 10 of 10, .*", text) for text, _ in said)


def test_the_command_line_says_how_far_a_video_is(model, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(Progress, "_SECONDS", 0.0)
    arguments = ("--model", model, "--output", str(tmp_path / "out"), str(clips / "turned.mp4"), str(clips / "cut.mkv"))
    result = CliRunner().invoke(cli, ["predict", *arguments])
    assert re.search(r"turned\.mp4, frame 3 of 10, [\d,.]+ images a second: 30%\n", result.output)
    assert re.search(
        r"\n\[2/2\] .*/cut\.mkv: \d frames are in .*/cut_overlay\.mp4; of what follows, it ", result.output
    )
    assert not list((tmp_path / "out").glob("*.png"))


def test_results_are_known_again_and_nothing_else_is_overwritten(model, clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("plain.mkv", "turned.mp4"):
        (tmp_path / name).write_bytes((clips / name).read_bytes())
    (tmp_path / "plain_overlay.mp4").write_bytes((clips / "turned.mp4").read_bytes())
    found = predict(model, {"plain.mkv": "plain", "turned.mp4": "turned"}, ".", max_pixels=48 * 64)
    assert [item.error for item in found] == [
        "./plain_overlay.mp4 exists and is no result of predict; choose another --output",
        None,
    ]
    (tmp_path / "predictions.jsonl").unlink()
    assert is_result("turned_overlay.mp4")
    assert not is_result("turned.mp4")
    assert list(find_inputs(["t*.mp4"], "out").files) == ["turned.mp4"]
    # Phones put short videos beside photographs.
    with pytest.raises(UserError, match=r"no image found; .*videos are taken by name or pattern, such as './\*'"):
        find_inputs(["."], "out")
    found = predict(model, {"turned.mp4": "turned", "plain.mkv": "plain"}, ".", max_pixels=48 * 64 - 1)
    assert next(found).error == "its frames of 64x48 pixels are more than the limit of 3071"
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'segpipe[video]'" in next(predict(model, {"turned.mp4": "turned"}, ".")).error
