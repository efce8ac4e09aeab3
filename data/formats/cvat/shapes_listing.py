"""The examples of CVAT's XML: each image or frame with what a worker needs of its shapes."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of
from data.formats.base.reader import SetAside, Source
from data.formats.cvat.objects import AREAS, BOX, NO_AREAS, Annotation, ImageLabels, area_values, kinds_of
from data.formats.cvat.places import below, find_image, frame_folders, split_of_subset
from data.formats.cvat.tracks import list_tracks
from data.formats.cvat.xml_file import Head, Image, Shape, Track, read_parts
from data.splits import Shares


@dataclasses.dataclass
class ShapesListing:
    """Takes the parts of CVAT's files, and makes examples of them.

    Attributes:
      images: those of the data set.
      ids: the class id of each label.
      are_boxes_left_out: whether boxes are not drawn.
      unlabeled: whether images without a shape that is drawn are `background`, or left out (`ignore`); if nobody has
        said it, they are background in tasks that have shapes.
      shares: what `--split` says.
      sources: the examples so far.
      set_aside: what cannot be one.
      ignored: what need not be one.
      drawn: how many shapes of each kind are drawn.
      not_drawn: the same for those that are not.
    """

    images: ImageFiles
    ids: Mapping[str, int]
    are_boxes_left_out: bool
    unlabeled: str
    shares: Shares | None
    sources: list[Source] = dataclasses.field(default_factory=list)
    set_aside: list[SetAside] = dataclasses.field(default_factory=list)
    ignored: list[SetAside] = dataclasses.field(default_factory=list)
    drawn: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    not_drawn: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self._frame_folders = frame_folders(self.images)
        self._of_subsets: dict[str, ImageFiles] = {}
        self._of_tasks: dict[str, list[tuple[Source, bool]]] = {}
        self._first_not_drawn: Shape | None = None

    def add_file(self, file: str, split: str = "") -> None:
        """Reads a file.

        Args:
          file: its path below the data set.
          split: what its name says, for images whose subset says nothing.

        Raises:
          UserError: if it cannot be read, or frames of a video are not there.
        """
        head, tracks, images = Head(), list[Track](), 0
        before = self.not_drawn.copy()
        self._first_not_drawn = None
        for part in read_parts(join(self.images.folder, file)):
            if isinstance(part, Head):
                head = part
            elif isinstance(part, Track):
                tracks.append(part)
            else:
                images += 1
                self._add_image(file, head, part, split)
        if tracks and images:
            raise UserError(
                f"{file} has images as well as tracks, so it is doubtful which frame an image is; export it from CVAT "
                "in the format CVAT for images 1.1"
            )
        if not images and (tracks or any(task.is_video for task in head.tasks)):
            list_tracks(self, self._frame_folders, file, head, tracks, split)
        self._end_file(file)
        if first := self._first_not_drawn:
            kinds = kinds_of((self.not_drawn - before).elements())
            self.ignored.append(SetAside(file, f"not drawn: {kinds}, the first in line {first.line}"))

    def _add_image(self, file: str, head: Head, image: Image, split: str) -> None:
        get = image.attributes.get
        name, task = get("name", ""), head.task(get("task_id", ""))
        subset = get("subset", "") or task.subset
        try:
            path = self._find(name, os.path.dirname(file), subset)
        except BadImageError as error:
            self.set_aside.append(SetAside(f"{file}, line {image.line}: image {name}", str(error)))
            return
        annotations = [one for shape in image.shapes if (one := self.annotation(shape, shape.attributes)) is not None]
        labels = ImageLabels(file, get("width", ""), get("height", ""), annotations)
        stated = split_of_subset(subset, file, self.shares) or split
        # Frames of a video are much alike, so that they must not be in two splits.
        group = f"{name_of(file)} {task.id}".strip() if task.is_video else ""
        self.add(path, labels, group, stated, task.id)

    def _find(self, name: str, beside: str, subset: str) -> str:
        """An image by its name; where its subset has a folder, as in the export of a project, only there."""
        folder = below(beside, "images")
        if not subset:
            return find_image(self.images, name, beside, [folder])
        of_subset = below(folder, subset)
        if of_subset not in self._of_subsets:
            inside = [path for path in self.images.relative if path.startswith(f"{of_subset}/")]
            self._of_subsets[of_subset] = ImageFiles(self.images.folder, inside) if inside else self.images
        images = self._of_subsets[of_subset]
        try:
            return find_image(images, name, beside, [of_subset, folder])
        except BadImageError as error:
            raise BadImageError(f"{error}, in {of_subset}" if images is not self.images else str(error)) from None

    def path(self, relative: str) -> str:
        """The path of an image by that below the data set."""
        return self.images.relative[relative]

    def add(self, path: str, labels: ImageLabels, group: str, stated_split: str, task: str) -> None:
        """Adds an image of a task, by its path below the data set, and what belongs to it."""
        text = labels.to_text()
        source = Source(name_of(path), "", self.path(path), "", group=group, stated_split=stated_split, labels=text)
        self._of_tasks.setdefault(task, []).append((source, bool(labels.annotations)))

    def _end_file(self, file: str) -> None:
        """Takes the images of a file, as far as they are examples."""
        for task, images in self._of_tasks.items():
            is_task_annotated = any(is_annotated for _, is_annotated in images)
            reason = f"{file} has no shape in it"
            if not is_task_annotated and not self.unlabeled:
                where = f"image of the task {task}" if task else "other image"
                reason += f", nor in any {where}; --unlabeled background says that nothing is there"
            is_background = self.unlabeled == "background" or (is_task_annotated and not self.unlabeled)
            for source, is_annotated in images:
                if is_annotated or is_background:
                    self.sources.append(source)
                else:
                    self.ignored.append(SetAside(source.image, reason))
        self._of_tasks = {}

    def annotation(self, shape: Shape, of_object: Mapping[str, str], instance: str = "") -> Annotation | None:
        """What a worker needs of a shape; None if it is not drawn.

        Args:
          shape: the shape.
          of_object: the attributes that say its label and group; its own ones, or those of its track.
          instance: what tells it from others, if it is in no group.
        """
        if shape.kind in NO_AREAS or (shape.kind == BOX and self.are_boxes_left_out):
            self.not_drawn[shape.kind] += 1
            self._first_not_drawn = self._first_not_drawn or shape
            return None
        self.drawn[shape.kind] += 1
        label, group = of_object.get("label", ""), of_object.get("group_id", "")
        class_id, problem, values = self.ids.get(label, IGNORE_LABEL), "", list[str]()
        if shape.kind not in AREAS:
            problem = "segpipe knows no such kind of shape"
        elif label not in self.ids:
            problem = f"this label is not among those for areas that the file lists: {', '.join(self.ids)}"
        if not problem:
            values = area_values(shape.kind, shape.attributes)
        if group not in ("", "0"):
            # CVAT's exports of masks take shapes of one group for one object, too.
            instance = f"group {group} {class_id}"
        return Annotation(
            shape.kind, shape.line, label, class_id, instance, shape.attributes.get("z_order", ""), values, problem
        )


def without_contradictions(sources: Sequence[Source]) -> tuple[list[Source], list[SetAside]]:
    """Keeps all but the images that two descriptions give different shapes."""
    first: dict[str, Source] = {}
    contradicting: dict[str, SetAside] = {}
    for source in sources:
        taken = first.setdefault(source.image, source)
        if taken is not source and _shapes(taken) != _shapes(source):
            files = dict.fromkeys(ImageLabels.from_text(one.labels).file for one in (taken, source))
            contradicting[source.image] = SetAside(
                source.image, f"{' and '.join(files)} describe it twice, with different shapes; remove one of them"
            )
    return [source for source in sources if source.image not in contradicting], list(contradicting.values())


def _shapes(source: Source) -> list[Annotation]:
    annotations = ImageLabels.from_text(source.labels).annotations
    return [annotation._replace(line=0) for annotation in annotations]
