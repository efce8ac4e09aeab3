"""Which image belongs to which of labelme's files: by its imagePath, unless that is in doubt."""

from __future__ import annotations

import collections
import dataclasses
import posixpath
import unicodedata
from collections.abc import Sequence

from data.annotations.image_files import ImageFiles
from data.decoding.errors import BadImageError
from data.formats.labelme.files import LabelFile


@dataclasses.dataclass
class Matched:
    """What belongs together.

    Attributes:
      of_image: the label file of each image, by its path below the data set.
      embedded: label files whose image is in themselves alone.
      refused: label files that cannot be used, each with the reason.
      doubtful: images that seem to belong to a label file that cannot be used or has another image, each with the name
        of that file.
    """

    of_image: dict[str, LabelFile] = dataclasses.field(default_factory=dict)
    embedded: list[LabelFile] = dataclasses.field(default_factory=list)
    refused: list[tuple[LabelFile, str]] = dataclasses.field(default_factory=list)
    doubtful: dict[str, str] = dataclasses.field(default_factory=dict)


def match(label_files: Sequence[LabelFile], images: ImageFiles) -> Matched:
    """Finds the image of each label file."""
    matched = Matched()
    named: dict[str, list[LabelFile]] = collections.defaultdict(list)
    by_stem: dict[str, list[str]] = collections.defaultdict(list)
    folders = {posixpath.dirname(image) for image in images.relative}
    for image in images.relative:
        by_stem[_stem(image)].append(image)
    for one in label_files:
        own = _own_images(one, by_stem)
        if one.broken:
            matched.refused.append((one, one.broken))
        else:
            try:
                named[_image_of(one, images, folders)].append(one)
                continue
            except BadImageError as error:
                if one.has_image:
                    matched.embedded.append(one)
                else:
                    hint = f"; if it is {own[0]}, correct imagePath" if own else ""
                    matched.refused.append((one, f"its imagePath: {error}{hint}"))
        matched.doubtful |= dict.fromkeys(own, one.file)
    for image, files in named.items():
        first = _file_of(image, files)
        if first is not None:
            matched.of_image[image] = first
        for one in files:
            if one is not first:
                other = first or next(file for file in files if file is not one)
                matched.refused.append((one, f"its imagePath is {image}, as that of {other.file} is; correct it"))
                matched.doubtful |= dict.fromkeys([image, *_own_images(one, by_stem)], one.file)
    for image in matched.of_image:
        matched.doubtful.pop(image, None)
    return matched


def _image_of(one: LabelFile, images: ImageFiles, folders: set[str]) -> str:
    """The image that a label file names.

    Raises:
      BadImageError: if it is not there, or in doubt.
    """
    beside = posixpath.dirname(_plain(one.file))
    image = images.find(one.image, beside)
    is_name = not {"/", "\\"} & set(one.image)
    if is_name and posixpath.dirname(image) != beside and beside in folders:
        # Numbered frames of several videos have the same names.
        raise BadImageError(f"{one.image} is not beside it, where other images are; {image} may be another one")
    return image


def _file_of(image: str, files: Sequence[LabelFile]) -> LabelFile | None:
    """The one of several label files that has an image's name; None if there is none, or several."""
    if len(files) == 1:
        return files[0]
    own = [one for one in files if _stem(_plain(one.file)) == _stem(image)]
    beside = [one for one in own if posixpath.dirname(_plain(one.file)) == posixpath.dirname(image)]
    return next((found[0] for found in (beside, own) if len(found) == 1), None)


def _own_images(one: LabelFile, by_stem: dict[str, list[str]]) -> list[str]:
    """The images that have the name of a label file, beside it or else in another folder."""
    file = _plain(one.file)
    found = by_stem.get(_stem(file), [])
    beside = [image for image in found if posixpath.dirname(image) == posixpath.dirname(file)]
    return beside or found


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]
