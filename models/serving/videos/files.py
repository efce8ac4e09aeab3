"""Video files, which PyAV reads and writes a frame at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from data.decoding.errors import BadImageError

_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".ogv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
)
# How much earlier than its header says a video may end: the last frames of sound and pictures seldom end together.
_SPARE_SECONDS = 0.5
# Of a file that says none.
_USUAL_RATE = Fraction(25)
# Hardly less than what is seen, and fast: the network needs the time. Without frames that are stored before those that
# they come after: their times would make a file of uneven ones say a wrong length.
_QUALITY = {"crf": "20", "preset": "veryfast", "bf": "0"}


def is_video(path: str) -> bool:
    """Whether a file is a video, by its name."""
    return path.lower().endswith(_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
      pixels: [height, width, 3] uint8, upright.
      time: when it is shown, in units of the video's `time_base`.
    """

    pixels: np.ndarray
    time: int


class Video:
    """A video that is being read.

    Attributes:
      rate: frames a second, on average.
      time_base: the unit of times, in seconds.
      pixel_ratio: width / height of a pixel, upright; known from the first frame on.
      count: how many frames there are, as far as the file says; None if it does not.

    Args:
      container: PyAV's.
      max_pixels: frames with more are refused.

    Raises:
      BadImageError: if it holds no pictures, or they have more pixels.
    """

    def __init__(self, container: Any, max_pixels: int):
        if not container.streams.video:
            raise BadImageError("it is damaged, or holds no pictures")
        self._container, self._stream = container, container.streams.video[0]
        if self._stream.codec_context is None:
            raise BadImageError("its codec is not known here; convert it to H.264")
        width, height = self._stream.codec_context.width, self._stream.codec_context.height
        if width * height > max_pixels:
            raise BadImageError(f"its frames of {width}x{height} pixels are more than the limit of {max_pixels}")
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE)
        self.pixel_ratio = Fraction(1)
        self.time_base = Fraction(self._stream.time_base or 1 / self.rate)
        seconds = self._container.duration and self._container.duration / 1e6
        self.count: int | None = self._stream.frames or (round(seconds * self.rate) if seconds else None)

    def frames(self) -> Iterator[Frame]:
        """All frames, in the order in which they are shown.

        Raises:
          BadImageError: at the end, if the file is damaged or breaks off there.
        """
        from av.error import FFmpegError

        last: int | None = None
        for decoded in self._decoded():
            if last is None:
                ratio = Fraction(self._stream.sample_aspect_ratio or 1)
                self.pixel_ratio = 1 / ratio if round(decoded.rotation / 90) % 2 else ratio
            time = decoded.pts
            if time is None:
                time = 0 if last is None else last + max(1, round(1 / (self.rate * self.time_base)))
            # Files that were put together may go back in time, which none that is written may.
            last = time if last is None else max(time, last + 1)
            try:
                pixels = np.rot90(decoded.to_ndarray(format="rgb24"), round(decoded.rotation / 90))
            except FFmpegError as error:
                raise BadImageError(f"it is damaged there ({error.strerror})") from None
            yield Frame(np.ascontiguousarray(pixels), last)

    def _decoded(self) -> Iterator[Any]:
        from av.error import FFmpegError

        end = Fraction(0)
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream.index == self._stream.index:
                    yield from packet.decode()
        except FFmpegError as error:
            # What came before it is still in the decoder.
            with contextlib.suppress(FFmpegError):
                yield from self._stream.codec_context.decode(None)
            raise BadImageError(f"it is damaged there ({error.strerror})") from None
        start, duration = self._container.start_time or 0, self._container.duration or 0
        if end < Fraction(start + duration, 1_000_000) - Fraction(_SPARE_SECONDS):
            raise BadImageError(f"it breaks off there, and says that it lasts {duration / 1e6:.1f} seconds")


@contextlib.contextmanager
def read_video(path: str, max_pixels: int) -> Iterator[Video]:
    """Opens a video.

    Raises:
      BadImageError: if it cannot be read, or its frames have more pixels.
    """
    if importlib.util.find_spec("av") is None:
        raise BadImageError("videos are read and written with PyAV: pip install 'segpipe[video]'")
    import av
    from av.error import FFmpegError

    try:
        # Neither a network nor anything else that a file may name is asked.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except FFmpegError as error:
        raise BadImageError(f"it cannot be read as a video ({error.strerror})") from None
    with container:
        yield Video(container, max_pixels)


class VideoWriter:
    """Writes an MP4 file of H.264, which every player and browser shows; it has times of its own, and no sound.

    Sides of odd lengths, which the format has not, are one pixel longer, of the color beside it.

    Args:
      path: the file.
      video: whose frames are written, and with it their times.
      comment: for the file's field of that name.
    """

    def __init__(self, path: str, video: Video, comment: str):
        import av
        from av.video.reformatter import ColorRange, Colorspace

        self._video = video
        self._container = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata["comment"] = comment
        self._stream = self._container.add_stream("libx264", rate=video.rate, options=_QUALITY)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = video.time_base
        # As colors are converted; players take large pictures without these for others.
        self._stream.codec_context.colorspace = Colorspace.ITU601
        self._stream.codec_context.color_range = ColorRange.MPEG
        self._start: int | None = None

    def write(self, pixels: np.ndarray, time: int) -> None:
        """Adds a frame, [height, width, 3] uint8."""
        import av

        height, width, _ = pixels.shape
        even = np.pad(pixels, [(0, height % 2), (0, width % 2), (0, 0)], "edge")
        if self._start is None:
            self._start, self._stream.height, self._stream.width = time, *even.shape[:2]
            self._stream.codec_context.sample_aspect_ratio = self._video.pixel_ratio
        frame = av.VideoFrame.from_ndarray(even, "rgb24")
        frame.pts, frame.time_base = time - self._start, self._video.time_base
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what is left; a file without a frame is no video."""
        with self._container:
            if self._start is not None:
                self._container.mux(self._stream.encode(None))


@contextlib.contextmanager
def write_video(path: str, video: Video, comment: str) -> Iterator[VideoWriter]:
    """As `VideoWriter`, under a name of its own until all is written; if that fails, there is no file."""
    unfinished = f"{path}.partial"
    try:
        writer = VideoWriter(unfinished, video, comment)
        try:
            yield writer
        finally:
            writer.close()
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(unfinished)
