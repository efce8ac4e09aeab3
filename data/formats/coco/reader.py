"""COCO's instances: a JSON with the objects of many images (Lin et al., "Microsoft COCO", ECCV 2014)."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from data.annotations.classes import Category
from data.annotations.drawing import AnnotatedObject
from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import exists, is_remote, join
from data.decoding.errors import BadImageError
from data.formats.base.annotated import AnnotatedImagesReader, name_of
from data.formats.base.reader import Listing, Recognition, SetAside, Source, set_aside_duplicates
from data.formats.coco.categories import categories_of, merged
from data.formats.coco.document import AnnotationEntry, AnnotationsAlone, CategoriesAlone, key_of, load, parse
from data.formats.coco.finding import (
    Found,
    candidates,
    find_annotations,
    folders_of_images,
    kind_of,
    split_of_file,
    split_of_image,
)
from data.formats.coco.images import Content, ImageLabels, read_content
from data.formats.coco.labels import file_of, labels_text, objects_of, size_of
from data.listing.split_folders import placing

# Of many annotation files so few are looked at to know the format.
_MOST_HEADS = 3


def _names(value: Any) -> Any:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


class CocoReader(AnnotatedImagesReader):
    """COCO's instances format: a JSON with images, annotations and categories, beside the images.

    Read are files named instances_….json or _annotations.coco.json (Roboflow), or else every JSON with instances. A
    file's name or folder, or the images' folders, are the splits: instances_train2017.json is train. Files with
    captions, panoptic segments or, where there are others, keypoints are left out.

    Objects are polygons, which have the pixels that pycocotools gives them, or run lengths, compressed or not.
    Where objects overlap, the smaller one lies over the larger one, by `area`, or by their pixels if the file does not
    say it for all objects of an image. Those with iscrowd are ignored where no other object lies over them. An image
    with an annotation that has a box and no outline is set aside.

    Attributes:
      folder: holds the JSON files and the images, in any folders.
      annotations: the JSON files to read, below SOURCE or elsewhere, with commas.
      unlabeled: whether images in the JSON files that have no annotation are all background, or are left out.
    """

    looks_for: ClassVar[str] = "a JSON with images, annotations and categories (COCO)"

    annotations: Annotated[tuple[str, ...], pydantic.BeforeValidator(_names)] = pydantic.Field((), title="FILE,…")
    unlabeled: Literal["background", "ignore"] = "background"

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        found = candidates(files)
        # Instances first, so that few have to be looked at.
        for file in sorted(found, key=lambda file: not posixpath.basename(file).startswith("instances"))[:_MOST_HEADS]:
            if kind_of(folder, file) in ("instances", "keypoints"):
                return Recognition((f"{file} has images, annotations and categories, as COCO's instances do",))
        return None

    @property
    def _takes_empty(self) -> bool:
        """Whether the user says that images are background, even those of a file without any annotation."""
        return "unlabeled" in self.model_fields_set and self.unlabeled == "background"

    def _find(self) -> Found:
        if self.annotations:
            return Found(self.annotations)
        return find_annotations(self.folder, self.files, self._takes_empty)

    def _path(self, file: str) -> str:
        path = join(self.folder, file)
        if not self.annotations or exists(path):
            return path
        if not exists(file):
            raise UserError(f"--annotations: there is no {file}, neither in {self.folder} nor elsewhere")
        return file

    def _place(self, file: str) -> str:
        """A file's path below the data set; its name alone if it lies elsewhere."""
        path, folder = self._path(file), self.folder.rstrip("/")
        if not is_remote(path):
            path, folder = os.path.abspath(path), os.path.abspath(folder)
        return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else posixpath.basename(file)

    def categories(self) -> Sequence[Category]:
        of_files = {}
        for file in self._find().files:
            path = self._path(file)
            of_files[file] = categories_of(path, load(path, CategoriesAlone).categories)

        def is_used(file: str, key: str) -> bool:
            for raw in load(self._path(file), AnnotationsAlone).annotations:
                try:
                    if key_of(parse(raw, AnnotationEntry).category_id) == key:
                        return True
                except ValueError:  # Which is reported with the annotation.
                    continue
            return False

        return merged(of_files, bool(self.classes), is_used)

    def listing(self) -> Listing:
        found = self._find()
        images = ImageFiles(self.folder, self.files)
        listed = _Listed(images, self.unlabeled == "ignore", self._takes_empty, tuple(map(self._place, found.files)))
        ids = self.chosen.ids
        for file in found.files:
            listed.add(self._place(file), read_content(self._path(file), file, ids))
        listed.check_found()
        sources, duplicates = set_aside_duplicates(list(listed.sources.values()))
        named = {*listed.entries}
        listed.ignored += [SetAside(*other) for other in found.others]
        listed.ignored += [
            SetAside(path, f"{' and '.join(found.files[:3])} {'does' if len(found.files) == 1 else 'do'} not name it")
            for relative, path in images.relative.items()
            if relative not in named
        ]
        stay = self.stated_splits({source.source_id: source.image for source in sources}, listed.stated)
        return Listing(self.deal(sources, stay, self.folder), listed.set_aside + duplicates, listed.ignored)

    def stated_size(self, source: Source) -> tuple[int, int] | None:
        return size_of(source.labels)

    def says_size(self, source: Source) -> str:
        return f"{file_of(source.labels)} says"

    def objects(self, source: Source, height: int, width: int) -> Sequence[AnnotatedObject]:
        return objects_of(source.labels, height, width)


class _Listed:
    """The examples of one annotation file after the other.

    Attributes:
      sources: the examples, by the relative paths of their images.
      entries: which file and entry has named an image.
      stated: the splits that annotation files state, by the names of the examples.
      set_aside: what should have been examples.
      ignored: what is no example.
    """

    def __init__(self, images: ImageFiles, leaves_unlabeled: bool, takes_empty: bool, files: Sequence[str]):
        self._images = images
        self._leaves_unlabeled = leaves_unlabeled
        self._takes_empty = takes_empty
        self._files = files
        # How many images a file names of which none is there, and what is said about the first.
        self._without: dict[str, tuple[int, str]] = {}
        self.sources: dict[str, Source] = {}
        self.entries: dict[str, tuple[str, str]] = {}
        self.stated: dict[str, str] = {}
        self.set_aside: list[SetAside] = []
        self.ignored: list[SetAside] = []

    def add(self, file: str, content: Content) -> None:
        """Adds the images of an annotation file.

        Raises:
          UserError: if another one has named one of its images.
        """
        self.set_aside += [SetAside(*one) for one in content.broken]
        found, lost = self._found(file, content)
        if lost and not found and not content.is_empty:
            self._without[file] = len(lost), lost[0].reason
        self.set_aside += lost
        for image, relative in found:
            taken = self.entries.setdefault(relative, (file, image.entry))
            if taken[0] != file:
                raise UserError(
                    f"{self._images.relative[relative]} is in {taken[0]} and in {file}; say with --annotations which "
                    "files to read"
                )
            if taken[1] != image.entry:
                self.sources.pop(relative, None)
                image.broken = f"{file}: {taken[1]} and {image.entry} are the same image; make one entry of them"
            self._add(file, relative, image, content.is_empty)

    def check_found(self) -> None:
        """Raises a UserError if a file has none of its images while another one has some."""
        if not self._without or not self.entries:
            return
        file, (count, reason) = next(iter(self._without.items()))
        others = ",".join(one for one in self._files if one not in self._without)
        raise UserError(
            f"{file}: none of its {count} images is in {self._images.folder} ({reason}); put them there, or read the "
            f"other files alone with --annotations {others}"
        )

    def _found(self, file: str, content: Content) -> tuple[list[tuple[ImageLabels, str]], list[SetAside]]:
        """The path below the data set of each image of an annotation file, and those that are not there."""
        likely, beside = folders_of_images(file), posixpath.dirname(file)
        found, lost = [], []
        for image in content.images:
            # Which folder `..` is below only the file itself says.
            folders = () if ".." in image.file_name.replace("\\", "/").split("/") else likely
            try:
                found.append((image, self._images.find(image.file_name, beside, folders)))
            except BadImageError as error:
                lost.append(SetAside(f"{file}: {image.entry}", str(error)))
        split = split_of_file(file) or placing(file).split
        splits = {folder: placing(f"{folder}/").split for folder in {posixpath.dirname(one) for _, one in found}}
        if not split or split not in splits.values():
            return found, lost
        # Others are in a folder of the file's split, so one that is only in another split's is missing.
        kept = []
        for image, relative in found:
            is_other = splits[posixpath.dirname(relative)] not in ("", split) and "/" not in image.file_name
            if is_other:
                reason = f"{image.file_name} is missing in {split}; {relative} is of another split"
                lost.append(SetAside(f"{file}: {image.entry}", reason))
            else:
                kept.append((image, relative))
        return kept, lost

    def _add(self, file: str, relative: str, image: ImageLabels, is_empty: bool) -> None:
        path = self._images.relative[relative]
        if image.broken:
            self.set_aside.append(SetAside(path, image.broken))
        elif is_empty and not self._takes_empty:
            reason = f"{file} has no annotation of any image; --unlabeled background makes all of it background"
            self.ignored.append(SetAside(path, reason))
        elif not image.objects and self._leaves_unlabeled:
            self.ignored.append(SetAside(path, f"{file} has no annotation of it"))
        else:
            labels = labels_text(file, image.width, image.height, image.objects)
            image.objects.clear()  # All texts together are as large as the file.
            name = name_of(relative)
            place = placing(name)
            self.stated[name] = split = split_of_image(place, file)
            self.sources[relative] = Source(name, "", path, "", stated_split=split or place.split, labels=labels)
