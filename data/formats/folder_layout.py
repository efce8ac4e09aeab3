"""Finds, by names alone, which folders hold images and which hold their masks."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence

# A name's last part, with what separates it from the rest: `_mask` of `street_01_mask`.
_SEPARATOR = re.compile(r"[_.\- ]")
_MASK_WORDS = re.compile(r"mask|label|annot|seg|(^|[_/ -])gt|ground_?truth|target|trimap|(^|/)y($|/)", re.IGNORECASE)
_IMAGE_WORDS = re.compile(r"image|img|photo|jpeg|rgb|left|pict|input|frame|scan|tile|(^|/)x($|/)", re.IGNORECASE)
# Other things that data sets have beside masks of classes: numbered objects, renderings for people, other measures.
_OTHER_WORDS = re.compile(r"instance|object|colou?r|overlay|visual|vis($|/)|depth|dispar|polygon|pred|box", re.IGNORECASE)
_MOST_FOLDERS = 40
_ROOT = ""


@dataclasses.dataclass(frozen=True)
class FolderLayout:
    """Where images and masks are, below the folder of the data set.

    Attributes:
      images: the images' folder, relative; empty for the folder itself.
      masks: the masks'.
      image_suffix: what image names end in and mask names do not, before the extension.
      mask_suffix: what mask names end in and image names do not.
      pairs: how many images have a mask.
      images_total: image files in the images' folder.
      masks_total: image files in the masks' folder.
    """

    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    pairs: int
    images_total: int
    masks_total: int

    @property
    def options(self) -> dict[str, str]:
        """The options of the format mask-folder that differ from its defaults."""
        names = {"images": self.images or ".", "masks": self.masks or "."}
        options = {key: name for key, name in names.items() if name != key}
        suffixes = {"image_suffix": self.image_suffix, "mask_suffix": self.mask_suffix}
        return {**options, **{key: suffix for key, suffix in suffixes.items() if suffix}}

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks for it."""
        names = f"{self.images or 'the folder itself'} holds {self.images_total} images"
        masks = "beside them lie" if self.masks == self.images else f"{self.masks or 'the folder itself'} holds"
        of_same_name = "of the same name"
        if self.mask_suffix or self.image_suffix:
            image_name, mask_name = f"NAME{self.image_suffix}", f"NAME{self.mask_suffix}"
            of_same_name = f"as {image_name} and {mask_name}"
        return (f"{names}, {masks} {self.masks_total} masks, and {self.pairs} pair {of_same_name}",)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was decided by names that say little."""
        if _MASK_WORDS.search(f"{self.masks}/{self.mask_suffix}"):
            return ()
        return (f"{self.masks or 'what'} holds the masks, since its files have fewer values",)


def find_layout(files: Sequence[str], looks_flat: Callable[[str], bool]) -> FolderLayout | None:
    """The pair of folders in which most files pair.

    Args:
      files: paths of image files, relative to the data set's folder, with `/` between folders.
      looks_flat: whether the image file at such a path has few values; asked where names do not say which of two
        folders has the masks.

    Returns:
      None if no two files pair.
    """
    of_folder: dict[str, list[str]] = collections.defaultdict(list)
    for file in files:
        parts = file.split("/")
        for depth in range(min(len(parts), 4)):
            of_folder["/".join(parts[:depth])].append(file)
    folders = sorted(of_folder, key=lambda folder: (-len(of_folder[folder]), folder))[:_MOST_FOLDERS]
    names = {folder: _names(of_folder[folder], folder) for folder in folders}
    found = []
    for images, masks in itertools.product(folders, folders):
        if images == masks or not (_holds(images, masks) or _holds(masks, images)):
            layout = _pair(images, masks, names[images], names[masks])
            if layout:
                found.append(layout)
    if not found:
        return None
    most = max(layout.pairs for layout in found)
    found = [layout for layout in found if layout.pairs * 5 >= most * 4]
    best = max(found, key=_likelihood)
    other = next((layout for layout in found if (layout.images, layout.masks) == (best.masks, best.images)), None)
    if other and _likelihood(other)[0] == _likelihood(best)[0]:
        samples = {layout: sorted(of_folder[layout.masks])[:3] for layout in (best, other)}
        return max((best, other), key=lambda layout: sum(looks_flat(path) for path in samples[layout]))
    return best


def _holds(folder: str, other: str) -> bool:
    return folder == _ROOT or other.startswith(f"{folder}/")


def _names(files: Iterable[str], folder: str) -> set[str]:
    """Paths below a folder, without the extension."""
    start = len(folder) + 1 if folder else 0
    return {file[start:].rpartition(".")[0] for file in files}


def _likelihood(layout: FolderLayout) -> tuple[int, int, int, int]:
    """How well names fit, then how shallow it is, how short its suffixes are, and how many files pair."""
    mask = f"{layout.masks}/{layout.mask_suffix}"
    score = 2 * bool(_MASK_WORDS.search(mask)) - 3 * bool(_OTHER_WORDS.search(mask))
    image = f"{layout.images}/{layout.image_suffix}"
    if layout.images != layout.masks:
        score += bool(_IMAGE_WORDS.search(image)) - 2 * bool(_MASK_WORDS.search(image) or _OTHER_WORDS.search(image))
        score -= 2 * (bool(_IMAGE_WORDS.search(mask)) and not _MASK_WORDS.search(mask))
    depth = layout.images.count("/") + layout.masks.count("/")
    return score, -depth, -len(layout.mask_suffix + layout.image_suffix), layout.pairs


def _pair(images: str, masks: str, image_names: set[str], mask_names: set[str]) -> FolderLayout | None:
    """Two folders whose names pair; with a suffix if more pair that way."""
    total = (len(image_names), len(mask_names))
    if images != masks:
        shared = len(image_names & mask_names)
        if shared * 2 > min(total):
            return FolderLayout(images, masks, "", "", shared, *total)
    best: tuple[int, int, str, str] | None = None
    for image_suffix in ["", *_shared_suffixes(image_names if images != masks else [])]:
        stems = {name.removesuffix(image_suffix) for name in image_names if name.endswith(image_suffix)}
        counts: collections.Counter[str] = collections.Counter()
        for name in mask_names:
            start = name.rfind("/") + 1
            counts.update(
                name[place.start() + start :]
                for place in _SEPARATOR.finditer(name[start:])
                if place.start() and name[: place.start() + start] in stems
            )
        for mask_suffix, count in counts.items():
            fit = 2 * bool(_MASK_WORDS.search(mask_suffix)) - 3 * bool(_OTHER_WORDS.search(mask_suffix))
            if images == masks and not _MASK_WORDS.search(mask_suffix):
                continue
            candidate = (count, fit, mask_suffix, image_suffix)
            if best is None or candidate[:2] > best[:2]:
                best = candidate
    if best is None or best[0] < 2 or best[0] * 4 < min(total):
        return None
    count, _, mask_suffix, image_suffix = best
    if images == masks:
        total = (total[0] - count, count)
    return FolderLayout(images, masks, image_suffix, mask_suffix, count, *total)


def _shared_suffixes(names: Iterable[str]) -> list[str]:
    """What all names end in, from a separator on."""
    suffixes: set[str] | None = None
    for name in names:
        last = name.rpartition("/")[2]
        own = {last[place.start() :] for place in _SEPARATOR.finditer(last) if place.start()}
        suffixes = own if suffixes is None else suffixes & own
        if not suffixes:
            return []
    return sorted(suffixes or ())
