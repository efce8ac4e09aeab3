"""What annotators have drawn on each image of a data set, whichever of its files and tasks say so."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence

from data.annotations.classes import Category
from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join
from data.decoding.errors import BadImageError
from data.formats.base.reader import SetAside
from data.formats.label_studio.config import LabelConfig, find_config
from data.formats.label_studio.references import FoundByReference, canonical, images_of
from data.formats.label_studio.regions import Region, Result, regions_of
from data.formats.label_studio.tasks import Annotation, Task, in_order, read_tasks
from data.listing.split_folders import split_of_word


@dataclasses.dataclass(frozen=True)
class LabeledImageOfTask:
    """An image of a task.

    Attributes:
      place: what messages call the task: its file and its number.
      file: path of its file, relative.
      reference: how it names the image.
      annotations: those that were submitted, each with its regions on this image.
    """

    place: str
    file: str
    reference: str
    annotations: list[tuple[Annotation, list[Region]]]


@dataclasses.dataclass(frozen=True)
class Export:
    """What the JSON files of a data set say.

    Attributes:
      categories: the labels of regions with an area, in the order of the configuration, and then of the alphabet.
      images: the images of the tasks.
      splits: path of each JSON file that holds tasks, relative, and the split that it stands for, or an empty string.
      set_aside: tasks that cannot be used.
      ignored: JSON files that hold no tasks.
      config: the file that lists all labels, relative; empty if none does.
      unlisted: labels that are not in it.
    """

    categories: Sequence[Category]
    images: list[LabeledImageOfTask]
    splits: Mapping[str, str]
    set_aside: list[SetAside]
    ignored: list[SetAside]
    config: str
    unlisted: frozenset[str]


@dataclasses.dataclass(frozen=True)
class _Read:
    task: Task
    place: str
    images: dict[str, list[str]]
    # The regions of each annotation, with the key in the data and the place in a list of the image that they are on.
    annotations: list[tuple[Annotation, list[tuple[str, int, Region]]]]


def read_export(folder: str, files: Sequence[str]) -> Export:
    """Reads the JSON files of a data set.

    Args:
      folder: the data set.
      files: paths of its files, relative.

    Raises:
      UserError: if there are no tasks, or a file that holds many is broken.
    """
    tasks = read_tasks(folder, files)
    config = find_config(folder, files, {"", *(file.rpartition("/")[0] for file in tasks.files)})
    set_aside, read = list(tasks.set_aside), []
    for task in tasks.tasks:
        place = f"{join(folder, task.file)}: {task.name}"
        try:
            read.append(_read(task, place, config))
        except BadImageError as error:
            set_aside.append(SetAside(place, str(error)))
    # An image that is only data, such as a preview, is not what was labeled.
    shown = set(config.labeled) | {key for one in read for _, regions in one.annotations for key, _, _ in regions}
    images: list[LabeledImageOfTask] = []
    for one in read:
        keys = set(one.images) if len(one.images) == 1 else shown & set(one.images)
        if not keys:
            reason = f"it is unknown which of its images was labeled ({', '.join(one.images)}); {_CONFIG}"
            set_aside.append(SetAside(one.place, reason))
        images += [
            LabeledImageOfTask(one.place, one.task.file, reference, _on(one, key, index))
            for key in one.images
            if key in keys
            for index, reference in enumerate(one.images[key])
        ]
    labels = {
        label for one in read for _, regions in one.annotations for *_, region in regions for label in region.labels
    }
    others = sorted(labels - {category.name for category in config.categories})
    categories = [*config.categories, *map(Category, others)]
    unlisted = frozenset(others if config.file else ())
    return Export(categories, images, _splits(tasks.files), set_aside, tasks.ignored, config.file, unlisted)


_CONFIG = "put the project's labeling configuration beside the JSON file, as config.xml"


def _read(task: Task, place: str, config: LabelConfig) -> _Read:
    images = images_of(task.data)
    if not images:
        raise BadImageError(f"its data names no image; it has {', '.join(task.data) or 'nothing'}")
    annotations = [
        (annotation, [(*_image_of(region, images, config), region) for region in regions_of(annotation.result)])
        for annotation in task.annotations
    ]
    return _Read(task, place, images, annotations)


def _image_of(region: Region, images: Mapping[str, list[str]], config: LabelConfig) -> tuple[str, int]:
    """The key of the image that a region is on, and its place if the key has a list."""
    result: Result = region.image
    tag = result.to_name or ""
    key = config.images.get(tag) or (result.source or "").removeprefix("$")
    if not key:
        key = next(iter(images)) if len(images) == 1 else tag
    if key not in images:
        known = ", ".join(images)
        raise BadImageError(f"{region.name} is on {tag or 'an image'}, which is none of {known}; {_CONFIG}")
    index = result.item_index or 0
    if not 0 <= index < len(images[key]):
        raise BadImageError(f"{region.name} is on image {index} of {key}, and there are {len(images[key])}")
    return key, index


def _on(read: _Read, key: str, index: int) -> list[tuple[Annotation, list[Region]]]:
    return [
        (annotation, [region for *image, region in regions if image == [key, index]])
        for annotation, regions in read.annotations
    ]


def _splits(files: Sequence[str]) -> dict[str, str]:
    """The split that each file stands for by a word in its path, if they stand for several."""
    splits = {}
    for file in files:
        words = re.split(r"[/\-_. ]+", file)
        found = {split for word in words if (split := split_of_word(word))}
        splits[file] = found.pop() if len(found) == 1 else ""
    return splits if len(set(splits.values())) > 1 else dict.fromkeys(files, "")


@dataclasses.dataclass
class Found:
    """Where the images of the tasks are.

    Attributes:
      images: what the tasks say about each image file, by its path below the data set.
      doubtful: the files of which it is doubtful what they are.
      lost: images without a file, and those that one of the doubtful files may be, with the reason.
    """

    images: dict[str, list[LabeledImageOfTask]]
    doubtful: set[str]
    lost: list[tuple[LabeledImageOfTask, str]]


def find_images(images: Sequence[LabeledImageOfTask], files: ImageFiles) -> Found:
    """Finds the image files that tasks are about."""
    by_path: dict[str, list[LabeledImageOfTask]] = collections.defaultdict(list)
    found = Found({}, set(), [])
    by_reference = FoundByReference(files)
    for image in images:
        try:
            by_path[by_reference.find(image.reference, image.file.rpartition("/")[0])].append(image)
        except BadImageError as error:
            found.lost.append((image, str(error)))
    for path, same in by_path.items():
        names = sorted({canonical(image.reference) for image in same})
        if len(names) == 1:
            found.images[path] = same
            continue
        reason = f"{path} may be {' or '.join(names[:3])}; put all images there under the names that the tasks have"
        found.doubtful.add(path)
        found.lost += [(image, reason) for image in same]
    return found


def stated_split(images: Sequence[LabeledImageOfTask], splits: Mapping[str, str]) -> str:
    """The split that the files say in which an image is.

    Args:
      images: all that the files say about it.
      splits: the split that each file stands for.

    Raises:
      UserError: if they say different splits.
    """
    places = {splits[image.file]: image.place for image in images}
    if len(places) > 1:
        said = ", ".join(f"{place} ({split or 'no split'})" for split, place in places.items())
        raise UserError(f"{images[0].reference} is in several splits: {said}; it may be in one only")
    return next(iter(places))


def annotations_of(images: Sequence[LabeledImageOfTask]) -> list[tuple[str, list[Region]]]:
    """The regions of each annotation of an image, and the place of its task, the one first that counts most.

    Raises:
      BadImageError: if it is doubtful which one that is.
    """
    known = {id(annotation): (image.place, regions) for image in images for annotation, regions in image.annotations}
    try:
        ordered = in_order([one for image in images for one, _ in image.annotations])
    except BadImageError as error:
        raise BadImageError(f"{images[0].place}: {error}") from None
    return [known[id(annotation)] for annotation in ordered]
