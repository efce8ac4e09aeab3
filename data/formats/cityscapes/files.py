"""The files of a data set in the layout of Cityscapes."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import unicodedata
from collections.abc import Iterable

from data.listing.items import EXTENSIONS, LEFT_BY_TOOLS
from data.listing.split_folders import split_of_word

IMAGES = "leftImg8bit"
LABEL_IDS, INSTANCE_IDS, POLYGONS = "_labelIds.png", "_instanceIds.png", "_polygons.json"
# In this order one of them says what the classes are.
_KINDS = (LABEL_IDS, INSTANCE_IDS, POLYGONS)
# Of images that have coarse labels only.
_EXTRA = "train_extra"
_NUMBERED = re.compile(r"(.+?)_\d{6}_\d{6}")


@dataclasses.dataclass
class CityscapesFiles:
    """What a data set holds, by the path of each scene below leftImg8bit and gtFine, without endings.

    Attributes:
      images: paths of the images, by what their names have after that of their folder; mostly nothing, but images of
        one scene in fog of several densities end in such as `_beta_0.01`.
      labels: paths of the files with labels, by their kind.
      has_train_ids: whether there are files labelTrainIds.
    """

    images: dict[str, dict[str, list[str]]]
    labels: dict[str, dict[str, list[str]]]
    has_train_ids: bool


def image_folders(files: Iterable[str]) -> list[str]:
    """Names of folders with images: `leftImg8bit` first, and others such as `leftImg8bit_foggy`."""
    found = {part for file in files if IMAGES in file for part in file.split("/")[:-1] if part.startswith(IMAGES)}
    return sorted(found)


def find_files(files: Iterable[str], truth: str, image_folder: str = IMAGES) -> CityscapesFiles:
    """The images and labels.

    Args:
      files: paths of all files of the data set, below it, with `/` between folders.
      truth: the folder with the labels, `gtFine` or `gtCoarse`.
      image_folder: the folder with the images.
    """
    images: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    labels: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    has_train_ids = False
    for file in files:
        if image_folder not in file and truth not in file:
            continue
        parts = unicodedata.normalize("NFC", file).split("/")
        if any(part.startswith(".") or part in LEFT_BY_TOOLS for part in parts):
            continue
        if image_folder in parts[:-1]:
            stem, extension = os.path.splitext(_below(parts, image_folder))
            scene, is_named, variant = stem.partition(f"_{image_folder}")
            if is_named and variant[:1] in ("", "_") and extension.lower() in EXTENSIONS:
                images[scene][variant].append(file)
        elif truth in parts[:-1]:
            path = _below(parts, truth)
            kind = next((kind for kind in _KINDS if path.endswith(f"_{truth}{kind}")), "")
            if kind:
                labels[path.removesuffix(f"_{truth}{kind}")][kind].append(file)
            else:
                has_train_ids = has_train_ids or path.endswith(f"_{truth}_labelTrainIds.png")
    of_scenes = {scene: dict(sorted(variants.items())) for scene, variants in images.items()}
    return CityscapesFiles(of_scenes, {scene: dict(kinds) for scene, kinds in labels.items()}, has_train_ids)


def _below(parts: list[str], folder: str) -> str:
    place = len(parts) - 1 - parts[::-1].index(folder)
    return "/".join(parts[place + 1 :])


def part_of(scene: str) -> str:
    """The folder right below leftImg8bit, such as `train`; empty if there is none."""
    return scene.partition("/")[0] if "/" in scene else ""


def split_of_part(part: str) -> str:
    """The split that such a folder is; empty if it is none."""
    return "train" if part == _EXTRA else split_of_word(part)


def city_of(scene: str) -> str:
    """The city: the folder below that of the split, or what a name begins with; empty if neither says it."""
    *folders, name = scene.split("/")
    found = _NUMBERED.fullmatch(name)
    return folders[-1] if len(folders) > 1 else found[1] if found else ""


def main_file(kinds: dict[str, list[str]]) -> list[str]:
    """The files that say what the classes are; several if it is doubtful which."""
    return next(kinds[kind] for kind in _KINDS if kind in kinds)
