"""CVAT's XML, read in parts: one image or track is held at a time, however large the file is.

CVAT documents the format as "CVAT for images 1.1" and "CVAT for video 1.1" in its manual, under "XML annotation format"
(https://docs.cvat.ai/docs/dataset_management/formats/format-xml/).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from xml.parsers import expat

from data.base.errors import UserError
from data.base.files import UnreachableError, read_bytes

_PART = 1 << 22
_HEAD = 1 << 16
_ROOT = "annotations"
# What CVAT calls the file that it exports.
FILE_NAME = "annotations.xml"
# Elements in an image or a track that are no shapes; a track in another one is of a skeleton's point.
_NO_SHAPES = ("attribute", "tag", "track")


@dataclasses.dataclass(frozen=True)
class Label:
    """A label that a task or project has.

    Attributes:
      name: its name.
      color: such as `#ff8000`; an empty string if the file has none.
      type: the kind of shapes that it is for, such as `polygon` or `any`, or an empty string.
      parent: the skeleton that it is a point of, or an empty string.
    """

    name: str
    color: str = ""
    type: str = ""
    parent: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """What the head of a file says of a task or a job; texts as the file has them, empty where it says nothing."""

    id: str = ""
    mode: str = ""
    subset: str = ""
    start_frame: str = ""
    stop_frame: str = ""
    frame_filter: str = ""
    width: str = ""
    height: str = ""

    @property
    def is_video(self) -> bool:
        """Whether its images are frames of a video."""
        return self.mode == "interpolation"


@dataclasses.dataclass(frozen=True)
class Head:
    """The element `meta`: the labels, and the tasks; one, or several in the file of a project."""

    labels: tuple[Label, ...] = ()
    tasks: tuple[Task, ...] = ()

    def task(self, id_: str) -> Task:
        """The task of an image or a track that says whose it is; without an id the only one."""
        if not id_:
            return self.tasks[0] if len(self.tasks) == 1 else Task()
        return next((task for task in self.tasks if task.id == id_), Task(id_))


@dataclasses.dataclass(frozen=True)
class Shape:
    """An element in an image or a track.

    Attributes:
      kind: its name, such as `polygon`.
      line: where it is in the file.
      attributes: as the file has them.
    """

    kind: str
    line: int
    attributes: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Image:
    """An element `image` and the shapes in it."""

    line: int
    attributes: dict[str, str]
    shapes: list[Shape]


@dataclasses.dataclass(frozen=True)
class Track:
    """An element `track`: one object, with a shape for each frame that it is in."""

    line: int
    attributes: dict[str, str]
    shapes: list[Shape]


Part = Head | Image | Track

_SIZE = ("width", "height")
_LABEL_FIELDS = tuple(field.name for field in dataclasses.fields(Label))
_TASK_FIELDS = tuple(field.name for field in dataclasses.fields(Task) if field.name not in _SIZE)


class _Collector:
    """Takes expat's events and keeps what is complete."""

    def __init__(self, parser: expat.XMLParserType, path: str):
        self._parser = parser
        self._path = path
        self._around: list[str] = []
        self._text: list[str] = []
        self._label: dict[str, str] = {}
        self._task: dict[str, str] = {}
        self._labels: list[Label] = []
        self._tasks: list[Task] = []
        self._current: Image | Track | None = None
        self.names: set[str] = set()
        self.document_type = ""
        self.complete: list[Part] = []
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._refuse

    def _refuse(self, name: str, *_: object) -> None:
        self.document_type = name
        # Without a document type no entity can be defined, neither one that grows without end nor one that is a file.
        raise UserError(
            f"{self._path}, line {self._parser.CurrentLineNumber}: it has a DOCTYPE, which CVAT never writes and which "
            "may hide other files or endless text; remove it"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self._parser.CurrentLineNumber
        if not self._around and name != _ROOT:
            raise UserError(f"{self._path}, line {line}: this is not CVAT's XML, as its root is {name}, not {_ROOT}")
        if len(self._around) == 1:
            self.names.add(name)
            if name in ("image", "track"):
                self._current = (Image if name == "image" else Track)(line, attributes, [])
        elif len(self._around) == 2 and self._current is not None and name not in _NO_SHAPES:
            self._current.shapes.append(Shape(name, line, attributes))
        self._around.append(name)
        self._text.clear()

    def _end(self, name: str) -> None:
        self._around.pop()
        depth = len(self._around)
        if depth > 1 and self._around[1] == "meta":
            self._end_in_head(name, "".join(self._text).strip())
        elif depth == 1 and name == "meta":
            self.complete.append(Head(tuple(self._labels), tuple(self._tasks)))
        elif depth == 1 and self._current is not None:
            self.complete.append(self._current)
            self._current = None
        self._text.clear()

    def _end_in_head(self, name: str, text: str) -> None:
        parent, grandparent = self._around[-1], self._around[-2]
        if name == "label" and parent == "labels":
            self._labels.append(Label(**{"name": "", **self._label}))
            self._label = {}
        elif name in ("task", "job") and parent in ("meta", "tasks"):
            self._tasks.append(Task(**self._task))
            self._task = {}
        elif parent == "label" and grandparent == "labels" and name in _LABEL_FIELDS:
            self._label[name] = text
        elif (parent in ("task", "job") and name in _TASK_FIELDS) or (parent == "original_size" and name in _SIZE):
            self._task[name] = text


def read_parts(path: str) -> Iterator[Part]:
    """The head, the images and the tracks of a file, in their order.

    Raises:
      UserError: if it cannot be read, is truncated or broken, or is not CVAT's XML.
    """
    parser = expat.ParserCreate()
    collector = _Collector(parser, path)
    start = 0
    while True:
        try:
            content = read_bytes(path, start, _PART)
        except UnreachableError:
            raise
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
        start += len(content)
        try:
            parser.Parse(content, len(content) < _PART)
        except expat.ExpatError as error:
            raise UserError(
                f"{path}, line {error.lineno}, column {error.offset + 1}: {expat.ErrorString(error.code)}; the file is "
                "damaged or cut off: export it again"
            ) from None
        except (LookupError, ValueError) as error:  # Of an encoding that Python does not know.
            raise UserError(f"{path} cannot be read: {error}; save it in UTF-8") from None
        yield from collector.complete
        collector.complete = []
        if len(content) < _PART:
            return


def is_cvat_xml(path: str) -> bool:
    """Whether a file looks like CVAT's XML, by its first part; a broken one only if it has the name of CVAT's exports.

    Raises:
      OSError: if it cannot be read.
    """
    parser = expat.ParserCreate()
    collector = _Collector(parser, path)
    is_broken = False
    try:
        content = read_bytes(path, 0, _HEAD)
        parser.Parse(content, len(content) < _HEAD)
    except UserError:
        return collector.document_type == _ROOT
    except (expat.ExpatError, LookupError, ValueError):  # `read_parts` says what is wrong.
        is_broken = os.path.basename(path) == FILE_NAME
    return is_broken or bool(collector.names & {"meta", "image", "track"})
