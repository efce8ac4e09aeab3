"""Which mask belongs to which image."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from data.base.errors import UserError
from data.listing.items import Item
from data.listing.split_folders import split_of_word


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Images and masks.

    Attributes:
      pairs: an image and its mask, sorted by the image's name, which is that of the example and unique.
      images: images without a mask.
      masks: masks without an image.
      duplicates: files whose name another one has, each with the reason.
    """

    pairs: list[tuple[Item, Item]]
    images: list[Item]
    masks: list[Item]
    duplicates: list[tuple[str, str]]


def pair(images: Sequence[Item], masks: Sequence[Item]) -> Pairs:
    """Pairs images and masks by name.

    What is left is paired if the mask is called like the image with its extension, `a.jpg.png`; and then if the names
    differ only in upper and lower case or in the word for a split in a folder, and no other name does.
    """
    duplicates: list[tuple[str, str]] = []
    image_by_name, mask_by_name = (_first_of_each_name(items, duplicates) for items in (images, masks))
    pairs = [(image, mask_by_name[name]) for name, image in image_by_name.items() if name in mask_by_name]
    images = [image for name, image in image_by_name.items() if name not in mask_by_name]
    masks = [mask for name, mask in mask_by_name.items() if name not in image_by_name]
    for image_key, mask_key in ((_file_name, _name), (_loose_name, _loose_name)):
        found = _pair_unique(images, masks, image_key, mask_key)
        pairs += found
        taken = {id(item) for both in found for item in both}
        images = [image for image in images if id(image) not in taken]
        masks = [mask for mask in masks if id(mask) not in taken]
    pairs.sort(key=lambda both: both[0].name.split("/"))
    return Pairs(pairs, list(images), list(masks), duplicates)


def _first_of_each_name(items: Sequence[Item], duplicates: list[tuple[str, str]]) -> dict[str, Item]:
    first: dict[str, Item] = {}
    for item in items:
        taken = first.setdefault(item.name, item)
        if taken is not item:
            duplicates.append((item.file.path, f"duplicate name {item.name}: already taken by {taken.file.path}"))
    return first


def _pair_unique(
    images: Sequence[Item], masks: Sequence[Item], image_key: Callable[[Item], str], mask_key: Callable[[Item], str]
) -> list[tuple[Item, Item]]:
    by_key: dict[str, tuple[list[Item], list[Item]]] = collections.defaultdict(lambda: ([], []))
    for image in images:
        by_key[image_key(image)][0].append(image)
    for mask in masks:
        by_key[mask_key(mask)][1].append(mask)
    return [(of_key[0], to[0]) for of_key, to in by_key.values() if len(of_key) == len(to) == 1]


def _name(item: Item) -> str:
    return item.name


def _file_name(item: Item) -> str:
    return item.name + item.extension


def _loose_name(item: Item) -> str:
    *folders, file = item.name.split("/")
    return "/".join([*(split_of_word(folder) or folder for folder in folders), file]).casefold()


def without_repetitions(
    pairs: Sequence[tuple[Item, Item]], splits: Mapping[str, str]
) -> tuple[list[tuple[Item, Item]], list[tuple[str, str]], list[tuple[str, str]]]:
    """Keeps one of several images that are one file, under names that links give it.

    Args:
      pairs: images with masks.
      splits: splits of images that folders decide on, by name.

    Returns:
      What remains, sorted by name; images that are there again with the same mask; and those with another mask. The
      latter are paths, each with the reason.

    Raises:
      UserError: if folders put one file in two splits.
    """
    first: dict[tuple[int, int] | None, tuple[Item, Item]] = {}
    kept, same, other = [], [], []
    # The name that no link gave it comes first.
    for image, mask in sorted(pairs, key=lambda both: both[0].file.is_linked):
        image_again, mask_again = first.setdefault(image.file.identity, (image, mask))
        if image_again is image or not image.file.is_same(image_again.file):
            kept.append((image, mask))
            continue
        places = f"{image_again.file.path} and {image.file.path} are one file"
        if splits.get(image.name) != splits.get(image_again.name):
            raise UserError(
                f"{places}, in the splits {splits.get(image_again.name, 'dealt by hash')} and "
                f"{splits.get(image.name, 'dealt by hash')}; delete one of them"
            )
        if mask.file.is_same(mask_again.file):
            same.append((image.file.path, "the same files as another image"))
        else:
            other.append((image.file.path, f"the same file as {image_again.file.path}, whose mask is another one"))
    kept.sort(key=lambda both: both[0].name.split("/"))
    return kept, same, other
