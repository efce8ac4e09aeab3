"""Predicts videos: the same video under the colors of its classes, and if wanted a mask of each frame."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
from PIL import Image

from data.base.errors import one_line
from data.decoding.errors import BadImageError
from data.decoding.images import encode_png
from data.writing.objects import is_edge
from models.serving.loaded_model import LoadedModel, WholeImage
from models.serving.pictures import draw_overlay, save_pictures
from models.serving.results.files import MARK
from models.serving.videos.files import Frame, Video, VideoWriter, read_video, write_video


@dataclasses.dataclass
class SegmentedVideo:
    """What was found in a video.

    Attributes:
      counts: [C] int64, pixels by class in all frames.
      height: of a frame, in pixels.
      width: likewise.
      frames: how many there are.
      confidence: the mean probability of the predicted classes.
      error: why there are no more frames, if the video is damaged.
    """

    counts: np.ndarray
    height: int = 0
    width: int = 0
    frames: int = 0
    confidence: float = 0.0
    error: str = ""


def predict_video(
    model: LoadedModel,
    path: str,
    target: str,
    mask_path: Callable[[int], str] | None,
    max_pixels: int,
    progress: Callable[[str, float], None],
) -> SegmentedVideo:
    """Writes a video with overlays. A frame is decoded and another one written while one is in the network.

    What was made of a video before it breaks off is kept.

    Args:
      model: what predicts.
      path: the video.
      target: of the video with overlays, an MP4 file.
      mask_path: of the mask of a frame, by its number from 1 on; None if none are wanted.
      max_pixels: frames with more are refused.
      progress: called with how far it is, in words and as a share.

    Raises:
      BadImageError: if no frame can be read, or the model takes no such frames.
      OSError: if a result cannot be written.
    """
    found = SegmentedVideo(np.zeros(len(model.label_map), np.int64))
    with (
        read_video(path, max_pixels) as video,
        write_video(target, video, MARK[1]) as overlays,
        futures.ThreadPoolExecutor(1, "video-read") as reading,
        futures.ThreadPoolExecutor(1, "video-write") as writing,
    ):
        frames = _encoded(video)
        coming = reading.submit(next, frames, None)
        written: futures.Future[None] | None = None
        started = time.monotonic()
        while True:
            try:
                item = coming.result()
            except BadImageError as error:
                if not found.frames:
                    raise
                found.error = one_line(error)
                break
            if item is None:
                break
            coming = reading.submit(next, frames, None)
            frame, encoded = item
            found.frames += 1
            found.height, found.width, _ = frame.pixels.shape
            whole = model.segment_whole(encoded, found.height, found.width)
            found.counts += np.bincount(whole.class_ids.ravel(), minlength=len(found.counts))
            found.confidence += (whole.confidence - found.confidence) / found.frames
            if written:
                written.result()
            mask = mask_path(found.frames) if mask_path else ""
            written = writing.submit(_write, model, overlays, frame, whole, mask)
            progress(*_progress(found.frames, video.count, time.monotonic() - started))
        if not written:
            raise BadImageError("it holds no pictures")
        written.result()
    return found


def _encoded(video: Video) -> Iterator[tuple[Frame, bytes]]:
    # Uncompressed, as the model decodes it at once.
    return ((frame, encode_png(frame.pixels, compression=0)) for frame in video.frames())


def _write(model: LoadedModel, overlays: VideoWriter, frame: Frame, found: WholeImage, mask: str) -> None:
    palette = np.array(model.label_map.palette, np.uint8)
    edges = None if found.objects is None else is_edge(found.objects.numbers)
    overlays.write(np.asarray(draw_overlay(frame.pixels, found.class_ids, palette, edges)), frame.time)
    if mask:
        save_pictures({mask: Image.fromarray(found.class_ids)})


def _progress(done: int, count: int | None, seconds: float) -> tuple[str, float]:
    # What a file says of itself is not always right.
    total = max(done, count or 0)
    of_all = f" of {total:,}" if count else ""
    return f"frame {done:,}{of_all}, {done / max(seconds, 1e-3):.1f} images a second", done / total
