"""The frames of a video: which shapes of tracks are in which, and which frames are in doubt."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from data.base.errors import UserError
from data.formats.base.annotated import name_of
from data.formats.base.reader import SetAside
from data.formats.cvat.objects import Annotation, ImageLabels
from data.formats.cvat.places import below, frames_of, split_of_subset
from data.formats.cvat.xml_file import Head, Shape, Task, Track
from data.splits import Shares

_NUMBER = re.compile(r"[0-9]{1,9}")
_EXTRACT = (
    "export the task with its images, or take the frames out of the video with "
    "`ffmpeg -i VIDEO -fps_mode passthrough -start_number 0 {folder}/frame_%06d.png`"
)


class Listing(Protocol):
    """What takes the frames; `data.formats.cvat.shapes_listing` has it."""

    set_aside: list[SetAside]
    ignored: list[SetAside]
    shares: Shares | None

    def path(self, relative: str) -> str:
        """The path of an image by that below the data set."""

    def add(self, path: str, labels: ImageLabels, group: str, stated_split: str, task: str) -> None:
        """Adds a frame."""

    def annotation(self, shape: Shape, of_object: Mapping[str, str], instance: str = "") -> Annotation | None:
        """What a worker needs of a shape."""


@dataclasses.dataclass(frozen=True)
class _Range:
    """The frames that a task has.

    Attributes:
      first: the first one.
      last: the last one; None if nothing says it.
      step: from one to the next.
    """

    first: int
    last: int | None
    step: int

    @classmethod
    def of(cls, task: Task, file: str) -> _Range:
        def number(text: str, key: str, default: int) -> int:
            if not text.strip():
                return default
            if not _NUMBER.fullmatch(text.strip()):
                raise UserError(f"{file}: {key} is {text!r}, which is not a frame's number; export it again")
            return int(text)

        step = max(number(task.frame_filter.partition("step=")[2], "frame_filter", 1), 1)
        first = number(task.start_frame, "start_frame", 0)
        last = number(task.stop_frame, "stop_frame", -1)
        return cls(first, last if last >= 0 else None, step)

    def has(self, frame: int) -> bool:
        """Whether a frame belongs to the task."""
        is_before_end = self.last is None or frame <= self.last
        return self.first <= frame and is_before_end and (frame - self.first) % self.step == 0


def list_tracks(
    listing: Listing,
    folders: Mapping[str, dict[int, str]],
    file: str,
    head: Head,
    tracks: Sequence[Track],
    split: str,
) -> None:
    """Adds the frames of a file with tracks.

    CVAT writes the shapes of all frames, those between key frames too, and a last one with `outside` where an object
    leaves the image.

    Args:
      listing: takes the frames.
      folders: the frames of each folder.
      file: path of the file, relative.
      head: of the file.
      tracks: its tracks.
      split: what the file's name says.

    Raises:
      UserError: if the frames are not there, or their numbers are in doubt.
    """
    videos: dict[tuple[str, str], list[Track]] = {}
    if not tracks and len(head.tasks) == 1:
        videos[head.tasks[0].subset, ""] = []
    for track in tracks:
        task = head.task(track.attributes.get("task_id", ""))
        key = (track.attributes.get("subset", "") or task.subset, task.id if len(head.tasks) > 1 else "")
        videos.setdefault(key, []).append(track)
    subsets = [subset for subset, _ in videos]
    if twice := next((subset for subset in subsets if subsets.count(subset) > 1), None):
        raise UserError(
            f"{file}: several tasks of the subset {twice} have frames of the same names; export each task by itself"
        )
    for (subset, task_id), of_video in videos.items():
        _list_video(listing, frames_of(folders, file, subset), file, head.task(task_id), subset, of_video, split)


def _list_video(
    listing: Listing,
    frames: Mapping[int, str],
    file: str,
    task: Task,
    subset: str,
    tracks: Sequence[Track],
    split: str,
) -> None:
    folder = below(os.path.dirname(file), "images", subset)
    if not frames:
        raise UserError(
            f"{file} belongs to a video, and there are no images such as {folder}/frame_000000.png: "
            f"{_EXTRACT.format(folder=folder)}. If it belongs to images, export it as CVAT for images 1.1"
        )
    range_ = _Range.of(task, file)
    if range_.last is not None and range_.first not in frames and range_.last + 1 in frames and range_.step == 1:
        raise UserError(
            f"{file} has the frames {range_.first} to {range_.last}, and the images "
            f"{os.path.basename(frames[range_.last + 1])} but no frame {range_.first}: they seem to be numbered from "
            f"{range_.first + 1} on; {_EXTRACT.format(folder=folder)}"
        )
    annotations: dict[int, list[Annotation]] = {}
    doubtful: dict[int, str] = {}
    are_keyframes_only = not any(shape.attributes.get("keyframe") == "0" for track in tracks for shape in track.shapes)
    all_shapes = [_shapes_by_frame(track, file) for track in tracks]
    has_gaps = any(True for shapes in all_shapes for _ in _gaps(shapes, range_.step))
    for track, shapes in zip(tracks, all_shapes, strict=True):
        instance = f"track {track.attributes.get('id', '')} in line {track.line}"
        seen = {frame: shape for frame, shape in shapes.items() if not _is_outside(shape)}
        made = {frame: listing.annotation(shape, track.attributes, instance) for frame, shape in seen.items()}
        drawn = {frame: one for frame, one in made.items() if one is not None}
        for frame, one in drawn.items():
            annotations.setdefault(frame, []).append(one)
        if not drawn:
            continue
        gaps = list(_gaps(shapes, range_.step))
        if are_keyframes_only and has_gaps and max(shapes) in seen:
            gaps.append((max(shapes), max(frames) + 1))  # If key frames are all that there is, the last one lasts.
        for before, after in gaps:
            why = (
                f"{file}: the track in line {track.line} has a shape in frame {before} and none in this one, though it "
                "does not leave the image; CVAT writes the shapes of all frames: export it from there"
            )
            doubtful |= {frame: why for frame in frames if before < frame < after}
    group = f"{name_of(file)} {task.id}".strip()
    stated = split_of_subset(subset, file, listing.shares) or split
    for frame, path in sorted(frames.items()):
        if not range_.has(frame):
            listing.ignored.append(SetAside(listing.path(path), f"{file} has no frame {frame}"))
        elif frame in doubtful:
            listing.set_aside.append(SetAside(listing.path(path), doubtful[frame]))
        else:
            labels = ImageLabels(file, task.width, task.height, annotations.get(frame, []))
            listing.add(path, labels, group, stated, task.id)
    for frame in sorted(annotations.keys() - frames.keys()):
        line = annotations[frame][0].line
        listing.set_aside.append(SetAside(f"{file}, line {line}: frame {frame}", f"it has no image in {folder}"))


def _shapes_by_frame(track: Track, file: str) -> dict[int, Shape]:
    shapes: dict[int, Shape] = {}
    for shape in track.shapes:
        text = shape.attributes.get("frame", "").strip()
        if not _NUMBER.fullmatch(text):
            raise UserError(
                f"{file}, line {shape.line}: the frame of this {shape.kind} is {text!r}, which is not a number"
            )
        if int(text) in shapes:
            raise UserError(
                f"{file}, line {shape.line}: the track in line {track.line} has two shapes in frame {text}, and an "
                "object has one; remove one of them"
            )
        shapes[int(text)] = shape
    return dict(sorted(shapes.items()))


def _is_outside(shape: Shape) -> bool:
    return shape.attributes.get("outside") == "1"


def _gaps(shapes: Mapping[int, Shape], step: int) -> Iterator[tuple[int, int]]:
    """The frames before and after places where a track has no shape, though it has not left the image."""
    for before, after in itertools.pairwise(shapes):
        if after > before + step and not _is_outside(shapes[before]):
            yield before, after
