"""Which folders hold images, and which their masks? Found by names, whatever the folders are called."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable

from data.base.errors import UserError
from data.listing.items import LEFT_BY_TOOLS, image_stem
from data.listing.naming import Affixes, Naming, find_naming
from data.listing.split_folders import looks_like_split, split_of_word

_MASK_WORDS = re.compile(r"mask|label|annot|seg|(^|[_/ -])gt|ground_?truth|target|trimap|(^|/)y($|/)", re.IGNORECASE)
_IMAGE_WORDS = re.compile(r"image|img|photo|jpeg|rgb|left|pict|input|frame|scan|tile|(^|/)x($|/)", re.IGNORECASE)
# What else data sets have beside masks of classes: numbered objects, renderings for people, other measures.
_OTHER_WORDS = re.compile(r"instance|object|colou?r|overlay|visual|depth|dispar|polygon|pred|box", re.IGNORECASE)
_MOST_FOLDERS = 40
# Among so many folders, names of masks that differ from those of images are looked for in all.
_FEW_FOLDERS = 8
_DEEPEST = 4
# A folder that pairs less well than the best by more than this is not what is meant, however it is called.
_NEARLY = 0.8
_SOME = 0.2
# Of the first part of the rank: a word for masks, and none for anything else.
_NAMED = 2
_FEW_UNLABELED = 0.05


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where images and masks are, below the folder of the data set.

    Attributes:
      images: name of the folders with images, as the reader takes it; `.` for the data set's folder itself.
      masks: name of those with masks.
      naming: how the names of images and masks differ.
      pairs: how many images have a mask.
      image_count: how many images there are.
      has_words: whether a name says that the masks are masks.
    """

    images: str
    masks: str
    naming: Naming
    pairs: int
    image_count: int
    has_words: bool

    @property
    def options(self) -> dict[str, str]:
        """The options of a reader that differ from its defaults, `images` and `masks`."""
        names = {key: name for key, name in (("images", self.images), ("masks", self.masks)) if name.casefold() != key}
        affixes = {
            "image_prefix": self.naming.images.prefix,
            "image_suffix": self.naming.images.suffix,
            "mask_prefix": self.naming.masks.prefix,
            "mask_suffix": self.naming.masks.suffix,
            "unlabeled": "ignore" if self._lacks_masks else "",
        }
        return {**names, **{key: value for key, value in affixes.items() if value}}

    @property
    def _lacks_masks(self) -> bool:
        return self.image_count - self.pairs > _FEW_UNLABELED * self.image_count

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks for it."""
        places = f"images are in {_place(self.images)}, masks in {_place(self.masks)}"
        if self.images == self.masks:
            places = f"images and masks are side by side in {_place(self.images)}"
        described = self.naming.describe() or "they have the same names"
        return (f"{places}: {described}, and {self.pairs} of {self.image_count} images have a mask",)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What names do not say."""
        found = []
        if not self.has_words:
            found.append(
                f"the files in {_place(self.masks)} are the masks, since they have fewer values than the others"
            )
        if self._lacks_masks:
            found.append(f"{self.image_count - self.pairs} images have no mask, and are left out")
        return tuple(found)


def _place(folder: str) -> str:
    return "the folder itself" if folder == "." else f"{folder}/"


def find_layout(files: Iterable[str], looks_flat: Callable[[str], bool]) -> Layout | None:
    """The pair of folders in which most files pair.

    Args:
      files: paths of all files, relative to the data set's folder, with `/` between folders.
      looks_flat: whether the image file at such a path has few values; asked where names do not say which of two
        folders has the masks.

    Returns:
      None if hardly any files pair, or neither their names nor their looks say that some are masks.

    Raises:
      UserError: if only the folders of one split pair.
    """
    usable = {
        file: file
        for file in files
        if image_stem(file) and not any(part.startswith(".") or part in LEFT_BY_TOOLS for part in file.split("/"))
    }
    # Images and masks may be in each of several folders, as in train/images and train/masks: the reader takes these
    # for images/train and masks/train.
    found = _candidates(usable) + _candidates({_roles_first(file): file for file in usable if file.count("/") > 1})
    if not found:
        return None
    # Folders of two splits or two patients may hold files of the same names too; words for images and masks count more.
    named = [candidate for candidate in found if candidate.rank[0] >= _NAMED]
    most = max(candidate.layout.pairs for candidate in found)
    if any(candidate.layout.pairs >= _SOME * most for candidate in named):
        found = named
        most = max(candidate.layout.pairs for candidate in found)
    found = [candidate for candidate in found if candidate.layout.pairs >= _NEARLY * most]
    best = max(found, key=lambda candidate: candidate.rank)
    for other in found:
        same = (
            (other.layout.images, other.layout.masks)
            == (best.layout.masks, best.layout.images)
            != (best.layout.images,)
        )
        if same and other is not best and other.rank[0] == best.rank[0]:
            best = max((best, other), key=lambda candidate: sum(map(looks_flat, candidate.mask_files[:3])))
    # Numbered objects may have many values, and are refused with better words by who reads them.
    is_named = best.layout.has_words or _OTHER_WORDS.search(best.layout.masks)
    if not is_named and not all(map(looks_flat, best.mask_files[:3])):
        return None
    if _may_be_masks(best.layout) and all(map(looks_flat, best.image_files[:3])):
        return None
    _check_splits(best.layout, usable)
    return best.layout


@dataclasses.dataclass(frozen=True)
class _Candidate:
    layout: Layout
    rank: tuple[int, int, int, int]
    image_files: list[str]
    mask_files: list[str]


def _roles_first(file: str) -> str:
    first, second, name = file.split("/", 2)
    return f"{second}/{first}/{name}"


def _check_splits(layout: Layout, files: Collection[str]) -> None:
    """Raises a UserError if only the folders of one split pair, and files of others would be left out."""
    parts = [part for folder in (layout.images, layout.masks) for part in folder.split("/")]
    if not any(split_of_word(part) or looks_like_split(part) for part in parts):
        return
    places = (layout.images, layout.masks)
    outside = next((file for file in files if not any(_holds(place, file) for place in places)), None)
    if outside is None:
        return
    above = outside.partition("/")[0]
    if all(file.startswith(f"{above}/") for file in files):
        raise UserError(f"all images and masks are in the folder {above}: name that as SOURCE")
    raise UserError(
        f"the files in {_place(layout.images)} and {_place(layout.masks)} pair, but their names are those of a split, "
        f"and {outside} belongs to neither. Put the images of each split into images/train, images/val and "
        "images/test, and its masks into masks/train, masks/val and masks/test; links will do"
    )


def _candidates(files: dict[str, str]) -> list[_Candidate]:
    """Pairs of folders whose files pair; files by the paths that count, with those that they have."""
    of_folder: dict[str, list[str]] = collections.defaultdict(list)
    for file in files:
        parts = file.split("/")
        for depth in range(min(len(parts), _DEEPEST)):
            of_folder["/".join(parts[:depth]) or "."].append(file)
    folders = sorted(of_folder, key=lambda folder: (-len(of_folder[folder]), folder))[:_MOST_FOLDERS]
    names = {folder: _names(of_folder[folder], folder) for folder in folders}
    found = []
    for images, masks in itertools.product(folders, folders):
        if images != masks and (_holds(images, masks) or _holds(masks, images)):
            continue
        # Finding a pattern takes time, and there may be many pairs of folders.
        may_differ = images == masks or (
            max(images.count("/"), masks.count("/")) < 2
            and (len(folders) <= _FEW_FOLDERS or bool(_MASK_WORDS.search(f"{masks}/{next(iter(names[masks]))}")))
        )
        if layout := _pair(images, masks, names[images], names[masks], may_differ):
            of_images = _named_so(layout.naming.images, of_folder[images], files)
            of_masks = _named_so(layout.naming.masks, of_folder[masks], files)
            found.append(_Candidate(layout, _rank(layout), of_images, of_masks))
    return found


def _named_so(affixes: Affixes, of_folder: Iterable[str], files: dict[str, str]) -> list[str]:
    return [files[file] for file in sorted(of_folder) if affixes.cut(image_stem(file).rpartition("/")[2])]


def _may_be_masks(layout: Layout) -> bool:
    """Whether names leave it open that what would be the images are other masks, such as of objects or in colors."""
    affixes = f"{layout.naming.images.prefix}/{layout.naming.images.suffix}"
    image = affixes if layout.images == layout.masks else f"{layout.images}/{affixes}"
    is_named = bool(_MASK_WORDS.search(image) or _OTHER_WORDS.search(image))
    return (is_named or not layout.has_words) and not _IMAGE_WORDS.search(image)


def _holds(folder: str, other: str) -> bool:
    return folder == "." or other.startswith(f"{folder}/")


def _names(files: Iterable[str], folder: str) -> dict[str, str]:
    """Paths below a folder, without the extension and with it."""
    start = 0 if folder == "." else len(folder) + 1
    return {image_stem(file)[start:]: file[start:] for file in files}


def _pair(
    images: str, masks: str, image_names: dict[str, str], mask_names: dict[str, str], may_differ: bool
) -> Layout | None:
    """Two folders whose names pair, as they are or, if they may differ, with something cut off; or one with both."""
    naming: Naming | None = Naming()
    image_count = len(image_names)
    pairs = 0
    if images != masks:
        pairs = len((image_names.keys() | set(image_names.values())) & mask_names.keys())
    if 2 * pairs <= min(len(image_names), len(mask_names)):
        if not may_differ:
            return None
        naming = find_naming(sorted(image_names), sorted(mask_names))
        if naming is None:
            return None
        cores = {core for name in image_names if (core := naming.images.cut(name))}
        pairs = sum(naming.masks.add(core) in mask_names for core in cores)
        if images == masks:
            image_count -= sum(bool(naming.masks.cut(name)) for name in image_names)
    assert naming is not None
    mask_words = f"{masks}/{naming.masks.prefix}/{naming.masks.suffix}"
    return Layout(images, masks, naming, pairs, image_count, bool(_MASK_WORDS.search(mask_words))) if pairs else None


def _rank(layout: Layout) -> tuple[int, int, int, int]:
    """How well names fit, then how shallow it is, how little is cut off names, and how many files pair."""
    naming = layout.naming
    mask = f"{layout.masks}/{naming.masks.prefix}/{naming.masks.suffix}"
    score = 2 * layout.has_words - 3 * bool(_OTHER_WORDS.search(mask))
    if layout.images != layout.masks:
        image = f"{layout.images}/{naming.images.prefix}/{naming.images.suffix}"
        score += bool(_IMAGE_WORDS.search(image)) - 2 * bool(_MASK_WORDS.search(image) or _OTHER_WORDS.search(image))
        score -= 2 * (bool(_IMAGE_WORDS.search(mask)) and not layout.has_words)
    depth = layout.images.count("/") + layout.masks.count("/")
    cut = sum(len(part) for part in (*dataclasses.astuple(naming.images), *dataclasses.astuple(naming.masks)))
    return score, -depth, -cut, layout.pairs
