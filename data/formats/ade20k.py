"""The MIT Scene Parsing Benchmark, made from ADE20K (Zhou et al., "Scene Parsing through ADE20K", CVPR 2017)."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import pydantic

from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import exists, join, read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of
from data.formats.base.dense import DenseReader, MaskClass, number_objects
from data.formats.base.reader import LabeledImage, Listing, Recognition, SetAside, Source, set_aside_duplicates
from data.label_map_files import LabelMapFile, MaskLabels, load_labels
from data.listing.split_folders import placing
from data.listing.walking import relative_files
from data.masks.class_ids import read_mask
from data.masks.colors_as_ids import ids_of_colors

_CLASSES, _SCENES = "objectInfo150.txt", "sceneCategories.txt"
_IMAGES, _ANNOTATIONS, _INSTANCES = "images", "annotations", "annotations_instance"
# What the table calls the value 0, "other", which is no class.
_IGNORED = "(other)"
_FULL = (
    "is the full ADE20K, whose thousands of classes are in colors of *_seg.png; take the 150 classes of "
    "ADEChallengeData2016.zip (http://sceneparsing.csail.mit.edu), which has the same images"
)


class Ade20kReader(DenseReader):
    """ADE20K's 150 classes as in ADEChallengeData2016.zip, with images/ and annotations/.

    The folders training and validation are the splits train and eval. The value 0 of the masks, "other", is ignored. A
    class has the first of its names in objectInfo150.txt; the scene in sceneCategories.txt is the slice. Objects are
    told apart where annotations_instance/ has them, as the Places Challenge 2017 published them: the green channel is
    the object's number.

    Attributes:
      folder: holds `images` and `annotations`, or a folder that does.
      labels: a file with the names of the classes instead of objectInfo150.txt; a class of the value 0 is learned too.
    """

    labels: LabelMapFile | None = pydantic.Field(None, title="FILE")

    looks_for: ClassVar[str] = "folders images and annotations with objectInfo150.txt or files ADE_*.jpg (ADE20K)"

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        for root in _roots(folder, files):
            has_names = any(posixpath.basename(file).startswith("ADE_") for file in files if file.startswith(root))
            if f"{root}{_CLASSES}" in files or has_names:
                return Recognition((f"{root}{_ANNOTATIONS}/ has masks of ADE20K, as its scene parsing benchmark",))
        # Which is said to be another layout than the one that can be read, and is not a folder of masks of colors.
        full = _sign_of_full(files)
        return Recognition((f"{full} is of the full ADE20K",)) if full else None

    @functools.cached_property
    def _root(self) -> str:
        """The folder with images/ and annotations/, as a prefix of paths below SOURCE."""
        files = relative_files(self.folder)
        roots = _roots(self.folder, files)
        if not roots and _sign_of_full(files):
            raise UserError(f"{self.folder} {_FULL}")
        if not roots:
            raise UserError(f"{self.folder} has no folders images/ and annotations/ with files of the same names")
        if len(roots) > 1:
            raise UserError(f"{self.folder} has several data sets; name the folder of one: {', '.join(roots)}")
        return roots[0]

    def table(self) -> Sequence[MaskClass]:
        if self.labels is not None:
            return _table(self.labels)
        path = join(self.folder, f"{self._root}{_CLASSES}")
        if not exists(path):
            raise UserError(
                f"{path} is missing, which names the classes; copy it from ADEChallengeData2016.zip, or give a file "
                "with the value and the name of each class as --labels"
            )
        return _table(load_labels(path))

    def usual_classes(self) -> Sequence[str]:
        return [one.name for one in self.classes_of_masks if one.shows_something]

    def listing(self) -> Listing:
        files = ImageFiles(self.folder, relative_files(self.folder)).relative
        images = _by_stem(files, f"{self._root}{_IMAGES}/")
        masks = _by_stem(files, f"{self._root}{_ANNOTATIONS}/")
        instances = _by_stem(files, f"{self._root}{_INSTANCES}/")
        labeled, numbered = ({posixpath.dirname(stem) for stem in found} for found in (masks, instances))
        scenes = self._scenes()
        listed, set_aside, ignored = [], [], []
        for stem, found in sorted(images.items()):
            for image in found:
                name, path = name_of(image), files[image]
                if stem not in masks and posixpath.dirname(stem) not in labeled:
                    ignored.append(SetAside(path, "its folder has no annotations"))
                elif stem not in masks:
                    set_aside.append(SetAside(path, f"no mask {self._root}{_ANNOTATIONS}/{stem}.png"))
                elif len(masks[stem]) > 1:
                    set_aside.append(SetAside(path, f"it has several masks: {', '.join(masks[stem])}"))
                elif stem not in instances and posixpath.dirname(stem) in numbered:
                    set_aside.append(SetAside(path, f"no mask of its objects {self._root}{_INSTANCES}/{stem}.png"))
                else:
                    listed.append(
                        Source(
                            name,
                            "",
                            path,
                            files[masks[stem][0]],
                            slice=scenes.get(posixpath.basename(stem), ""),
                            stated_split=placing(name).split,
                            labels=files[instances[stem][0]] if stem in instances else "",
                        )
                    )
        for stem in sorted(masks.keys() - images.keys()):
            set_aside.append(SetAside(files[masks[stem][0]], f"no image {self._root}{_IMAGES}/{stem}.jpg"))
        sources, duplicates = set_aside_duplicates(listed)
        stay = self.stated_splits({source.source_id: source.image for source in sources})
        return Listing(self.deal(sources, stay, self.folder), [*set_aside, *duplicates], ignored)

    def _scenes(self) -> dict[str, str]:
        path = join(self.folder, f"{self._root}{_SCENES}")
        if not exists(path):
            return {}
        scenes: dict[str, str] = {}
        for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
            parts = line.split()
            if parts and len(parts) != 2:
                raise UserError(f"{path}, line {number}: a line is the name of an image and its scene, got {line!r}")
            if parts:
                scenes[parts[0]] = parts[1]
        return scenes

    def read(self, source: Source) -> LabeledImage:
        try:
            mask = read_mask(read_bytes(source.mask), self.max_pixels)
            is_shifted = mask.pixels.ndim == 2 and (mask.pixels == IGNORE_LABEL).any()
            if is_shifted and not any(IGNORE_LABEL in one.values for one in self.classes_of_masks):
                raise BadImageError(
                    "it holds 255, which the published masks never do (they ignore 0); if training code has "
                    "made all values one less, each is of another class: take the masks as published, or give a file "
                    "with all values and names as --labels, in which {ignore: [255]} is an entry"
                )
            ids = self.ids_of_places(self.places(mask))
        except BadImageError as error:
            raise BadImageError(f"its mask {source.mask}: {error}") from None
        image = self.read_image(read_bytes(source.image), ids, source.mask)
        return LabeledImage(image, ids, self._instances(source.labels, ids) if source.labels else None)

    def _instances(self, path: str, ids: np.ndarray) -> np.ndarray:
        try:
            colors = ids_of_colors(read_mask(read_bytes(path), self.max_pixels))
        except BadImageError as error:
            raise BadImageError(f"the mask of its objects {path}: {error}") from None
        if colors.shape != ids.shape:
            raise BadImageError(
                f"the mask of its objects {path} has {colors.shape[1]}x{colors.shape[0]} pixels, its mask "
                f"{ids.shape[1]}x{ids.shape[0]}"
            )
        numbers = colors >> 8 & 255  # Green.
        return number_objects(numbers, (numbers > 0) & self.is_learned(ids), np.zeros(ids.shape, bool), ids)


def _sign_of_full(files: Sequence[str]) -> str:
    """A file that only the full ADE20K has; an empty string if there is none."""
    for file in files:
        name = posixpath.basename(file)
        if name in ("index_ade20k.pkl", "index_ade20k.mat") or (name.startswith("ADE_") and name.endswith("_seg.png")):
            return file
    return ""


def _roots(folder: str, files: Sequence[str]) -> list[str]:
    """What precedes images/ and annotations/ in paths, where both have a file of one name."""
    stems: dict[str, set[str]] = {_IMAGES: set(), _ANNOTATIONS: set()}
    for file in ImageFiles(folder, files).relative:
        folders = file.split("/")[:-1]
        for kind in {_IMAGES, _ANNOTATIONS} & set(folders):
            place = folders.index(kind)
            root = "".join(f"{folder}/" for folder in folders[:place])
            stems[kind].add(f"{root}\0{posixpath.splitext(file[len(root) + len(kind) + 1 :])[0]}")
    return sorted({one.partition("\0")[0] for one in stems[_IMAGES] & stems[_ANNOTATIONS]})


def _by_stem(files: Iterable[str], folder: str) -> dict[str, list[str]]:
    """Files below a folder, by their path there without the extension."""
    found: dict[str, list[str]] = {}
    for file in sorted(files):
        if file.startswith(folder):
            found.setdefault(posixpath.splitext(file[len(folder) :])[0], []).append(file)
    return found


def _table(labels: MaskLabels) -> list[MaskClass]:
    """The classes by the first of their names where these differ; 0 and what the labels ignore come last."""
    first = [name.split(",")[0].strip() for name in labels.label_map.names]
    names = first if len(set(first)) == len(first) and all(first) else labels.label_map.names
    values: dict[int, list[int]] = {}
    for value, class_id in labels.values.items():
        values.setdefault(class_id, []).append(value)
    colors = labels.label_map.palette if labels.has_colors else [None] * len(names)
    classes = [
        MaskClass(name, color, tuple(values.get(label.id, ())), kind=label.kind)
        for label, name, color in zip(labels.label_map.classes, names, colors, strict=True)
    ]
    ignored = values.get(IGNORE_LABEL, [])
    if 0 not in labels.values:
        ignored = [0, *ignored]
    if ignored:
        classes.append(MaskClass(_IGNORED, None, tuple(ignored), shows_something=False))
    return classes
