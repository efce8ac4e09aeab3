"""The tasks in Label Studio's files: lists of them, one in each file or line, and annotations that name theirs."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pydantic

from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.decoding.errors import BadImageError
from data.formats.base.heads import JsonKeys, is_empty, json_keys
from data.formats.base.reader import SetAside
from data.formats.label_studio.regions import parse

_EXTENSIONS = (".json", ".jsonl", ".ndjson")
_THREADS = 16
_TIME = pydantic.TypeAdapter(datetime.datetime)
_EXPORT = "export the project from Label Studio as JSON"


class Annotation(msgspec.Struct):
    """What one annotator has submitted for a task."""

    result: list[msgspec.Raw]
    id: str | int | None = None
    was_cancelled: bool | None = False
    ground_truth: bool | None = False
    created_at: Any = None
    updated_at: Any = None

    @property
    def time(self) -> float:
        """When it last changed, in seconds since 1970; the earliest of all if it does not say.

        Raises:
          BadImageError: if it says it in a way that cannot be read.
        """
        said = next((value for value in (self.updated_at, self.created_at) if value not in (None, "")), None)
        if said is None:
            return float("-inf")
        try:
            time = _TIME.validate_python(said)
        except ValueError:
            raise BadImageError(
                f"it is doubtful which annotation is the newest: {str(said)[:40]!r} of one of them is no time; correct "
                "it, or mark the one that counts as ground truth"
            ) from None
        return (time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp()


@dataclasses.dataclass
class Task:
    """A task.

    Attributes:
      file: path of its file, relative to the data set.
      name: what messages call it in this file, such as `task 17`.
      data: what it is about.
      annotations: those that were submitted, but not those that were skipped.
    """

    file: str
    name: str
    data: dict[str, Any]
    annotations: list[Annotation]


class _Whole(msgspec.Struct):
    """A task with its annotations."""

    data: dict[str, Any]
    annotations: list[Annotation] | None = None
    id: str | int | None = None


class _OfTask(msgspec.Struct):
    data: dict[str, Any]
    id: str | int | None = None


class _Single(Annotation):
    """An annotation with its task, as storages receive it."""

    task: _OfTask = msgspec.field(default_factory=lambda: _OfTask({}))


def is_tasks(keys: JsonKeys) -> bool:
    """Whether a file with these keys holds tasks of Label Studio, in whatever form."""
    outer = keys.outermost
    if outer & {"images", "categories", "shapes"}:  # COCO's and LabelMe's.
        return False
    if "annotations" in outer:
        return "data" in outer or bool({"result", "was_cancelled", "predictions", "drafts"} & keys.all)
    if "data" in outer:
        return bool({"predictions", "completions"} & outer)
    return {"result", "task"} <= outer or _is_minimal(outer)


def _is_minimal(keys: frozenset[str] | set[str]) -> bool:
    return "annotation_id" in keys and bool({"annotator", "lead_time"} & keys)


def may_hold_tasks(file: str) -> bool:
    """Whether a file has such a name; storages receive annotations under their numbers alone."""
    name = file.rpartition("/")[2]
    return not name.startswith(".") and (name.lower().endswith(_EXTENSIONS) or name.isdecimal())


@dataclasses.dataclass
class Tasks:
    """What the files of a data set hold.

    Attributes:
      files: those with tasks, relative.
      tasks: the tasks.
      set_aside: tasks and files that cannot be read.
      ignored: other files of the kind.
    """

    files: list[str]
    tasks: list[Task]
    set_aside: list[SetAside]
    ignored: list[SetAside]


def read_tasks(folder: str, files: Sequence[str]) -> Tasks:
    """Reads all tasks of a data set.

    Args:
      folder: the data set.
      files: paths of its files, relative.

    Raises:
      UserError: if there are none, or a file that holds many is broken, or an export leaves out what is needed.
    """
    candidates = [file for file in files if may_hold_tasks(file)]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        keys = dict(zip(candidates, pool.map(lambda file: json_keys(folder, file), candidates), strict=True))
        chosen = [file for file in candidates if is_tasks(keys[file])]
        if not chosen:
            looked = f", and {', '.join(candidates[:5])} is not one" if candidates else ""
            raise UserError(f"{folder} has no export with Label Studio's tasks{looked}; {_EXPORT}")
        contents = pool.map(lambda file: read_bytes(join(folder, file)), chosen)
        tasks: list[Task] = []
        empty = [file for file in candidates if not keys[file].all and is_empty(folder, file)]
        if empty and any(keys[file].is_list for file in chosen):
            path = join(folder, empty[0])
            raise UserError(f"{path} is empty, and may have been the labels of many images; {_EXPORT} again")
        reason = "it is empty, and may have been a task; write it again"
        set_aside = [SetAside(join(folder, file), reason) for file in empty]
        # Annotations that are files of their own, by their tasks' ids.
        shared: dict[str, Task] = {}
        for file, content in zip(chosen, contents, strict=True):
            for name, entry in _entries(folder, file, content):
                try:
                    if isinstance(entry, BadImageError):
                        raise entry
                    task, is_part = _task(join(folder, file), file, name, entry)
                except BadImageError as error:
                    set_aside.append(SetAside(f"{join(folder, file)}: {name}", str(error)))
                    continue
                first = shared.setdefault(task.name, task) if is_part else task
                if first is task:
                    tasks.append(task)
                else:
                    first.annotations += task.annotations
    known = {*chosen, *empty}
    others = [SetAside(join(folder, file), "it holds no tasks") for file in candidates if file not in known]
    return Tasks(chosen, tasks, set_aside, others)


def _entries(folder: str, file: str, content: bytes) -> Iterator[tuple[str, msgspec.Raw | BadImageError]]:
    """The entries of a file with what messages call them."""
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    path = join(folder, file)
    if content.startswith(b"["):
        try:
            entries = parse(content, list[msgspec.Raw], "it is cut off or otherwise broken")
        except BadImageError as error:
            raise UserError(f"{path}: {error}; {_EXPORT} again") from None
        yield from ((f"entry {number}", entry) for number, entry in enumerate(entries, 1))
        return
    lines = content.split(b"\n")
    is_lines = len(lines) > 1 and not isinstance(_object(lines[0]), BadImageError)
    for number, part in enumerate(lines if is_lines else [content], 1):
        if part.strip():
            yield (f"line {number}" if is_lines else "the task"), _object(part)


def _object(content: bytes) -> msgspec.Raw | BadImageError:
    try:
        return parse(content, msgspec.Raw, "it is cut off or otherwise broken")
    except BadImageError as error:
        return error


def _task(path: str, file: str, name: str, entry: msgspec.Raw) -> tuple[Task, bool]:
    """A task, and whether it has only one of its annotations.

    Raises:
      BadImageError: if it is broken.
      UserError: if it is of an export that leaves out what is needed.
    """
    keys = set(parse(entry, dict[str, msgspec.Raw], "it is not a task"))
    if "completions" in keys:
        raise UserError(f"{path} is of a Label Studio before 1.0; import it into a newer one, and export it as JSON")
    if "annotations" not in keys and "data" not in keys and _is_minimal(keys):
        raise UserError(
            f"{path} is a JSON-MIN export, which leaves out the order of regions and which annotation is the ground "
            f"truth; {_EXPORT} instead"
        )
    annotations: Sequence[Annotation]
    if {"result", "task"} <= keys:
        single = parse(entry, _Single, "it is not an annotation with a task")
        number, data, annotations = single.task.id, single.task.data, [single]
    else:
        whole = parse(entry, _Whole, "it is not a task of Label Studio")
        number, data, annotations = whole.id, whole.data, whole.annotations or []
    is_part = "task" in keys and number is not None
    submitted = [annotation for annotation in annotations if not annotation.was_cancelled]
    return Task(file, name if number is None else f"task {number}", data, submitted), is_part


def in_order(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Annotations with the best one first: those marked as ground truth, then the newest.

    If any is marked as ground truth, others are left out. Of several states of one annotation only the newest counts.

    Raises:
      BadImageError: if it is doubtful which one is the newest.
    """
    marked = [annotation for annotation in annotations if annotation.ground_truth] or list(annotations)
    if len(marked) < 2:
        return marked
    newest = [
        marked[index] for _, index in sorted(((one.time, index) for index, one in enumerate(marked)), reverse=True)
    ]
    states: dict[Any, Annotation] = {}
    for index, annotation in enumerate(newest):
        states.setdefault((index,) if annotation.id is None else annotation.id, annotation)
    return list(states.values())
