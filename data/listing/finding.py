"""The pairs of images and masks in a data set that is made of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from data.base.errors import UserError
from data.base.files import join
from data.listing.items import Item, Items, find_items
from data.listing.naming import Affixes, Naming, find_naming
from data.listing.pairing import pair
from data.listing.places import Place, find_places

_NO_AFFIX = "its name lacks the prefix or suffix"

# A folder, what is put before names, and a folder whose files are left out.
Find = Callable[[str, str, str], Items]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a data set holds.

    Attributes:
      pairs: images with masks, sorted by name.
      unlabeled: paths of images without a mask, each with the reason.
      unusable: other files that should have been part of a pair, likewise.
      ignored: files that are none, likewise.
    """

    pairs: list[tuple[Item, Item]]
    unlabeled: list[tuple[str, str]]
    unusable: list[tuple[str, str]]
    ignored: list[tuple[str, str]]


def find_pairs(
    source: str, images: str, masks: str, naming: Naming, find: Find = find_items, find_masks: Find | None = None
) -> Found:
    """All pairs.

    Args:
      source: the data set.
      images: name of the folders with images, `.` for `source`.
      masks: name of those with masks.
      naming: how their names differ.
      find: what finds the images, or whatever has masks, below a folder, as `find_items` does.
      find_masks: the same for the masks, where they have a folder of their own.

    Raises:
      UserError: if there are no such folders, or most names only pair with another naming, which the message gives.
    """
    places, others = find_places(source, images, masks)
    is_one_folder = places[0].images == places[0].masks
    of_images, of_masks = Items(), Items()
    for place in places:
        _add(of_images, find(place.images, place.name, place.masks))
        if not is_one_folder:
            _add(of_masks, (find_masks or find)(place.masks, place.name, place.images))
    image_names = [item.name for item in of_images.items]
    mask_names = [item.name for item in (of_images if is_one_folder else of_masks).items]
    if is_one_folder:
        _tell_apart(of_images, of_masks, naming, places)
    paired = pair(_named(of_images, naming.images), _named(of_masks, naming.masks))
    _check_naming(image_names, mask_names, len(paired.pairs), naming)

    pairs, broken = [], []
    for image, mask in paired.pairs:
        missing = next((item.file for item in (image, mask) if item.file.missing), None)
        if missing:
            broken.append((image.file.path, f"{missing.path} is a link to {missing.missing}, where nothing is"))
        elif image.file.is_same(mask.file):
            raise UserError(
                f"{image.file.path} and {mask.file.path} are one file, but an image is not its own mask; mend the link"
            )
        else:
            pairs.append((image, mask))
    unlabeled = [(image.file.path, _missing("mask", image, naming.masks, places, of_masks)) for image in paired.images]
    without_image = [
        (mask.file.path, _missing("image", mask, naming.images, places, of_images)) for mask in paired.masks
    ]
    unusable = [*of_images.unusable, *of_masks.unusable, *paired.duplicates, *broken, *without_image]
    ignored = [(path, "a folder that --images and --masks do not name") for path in others]
    return Found(pairs, unlabeled, unusable, [*of_images.ignored, *of_masks.ignored, *ignored])


def _add(all_found: Items, found: Items) -> None:
    all_found.items += found.items
    all_found.unusable += found.unusable
    all_found.ignored += found.ignored
    all_found.others |= found.others


def _named(found: Items, affixes: Affixes) -> list[Item]:
    """The items under the names of their examples; those that lack a prefix or suffix are ignored."""
    named = []
    for item in found.items:
        if name := affixes.cut(item.name):
            named.append(dataclasses.replace(item, name=name))
        else:
            found.ignored.append((item.file.path, _NO_AFFIX))
    return named


def _tell_apart(of_images: Items, of_masks: Items, naming: Naming, places: list[Place]) -> None:
    """Moves the masks from one to the other, where both kinds lie in one folder."""
    if not naming.images and not naming.masks:
        names = [item.name for item in of_images.items]
        found = find_naming(names, names)
        advice = found.options() if found else "--mask-suffix says what only the masks' names end in"
        raise UserError(f"{places[0].images} has images and masks side by side; tell them apart: {advice}")
    is_mask = [
        bool(naming.masks.cut(item.name)) if naming.masks else not naming.images.cut(item.name)
        for item in of_images.items
    ]
    of_masks.items = [item for item, one in zip(of_images.items, is_mask, strict=True) if one]
    of_images.items = [item for item, one in zip(of_images.items, is_mask, strict=True) if not one]


def _check_naming(images: Sequence[str], masks: Sequence[str], paired: int, naming: Naming) -> None:
    """Raises a UserError if names of masks follow a pattern by which more than twice as many pairs are found."""
    if 2 * paired >= len(images):
        return
    found = find_naming(images, masks)
    if found is None or found == naming:
        return
    count = f"{paired} pair" if paired else "none pair"
    raise UserError(f"{len(images)} images, {len(masks)} masks, {count}; {found.describe()}: {found.options()}")


def _missing(kind: str, item: Item, affixes: Affixes, places: list[Place], others: Items) -> str:
    """Why an item has no counterpart."""
    place = next(place for place in places if not place.name or item.name.startswith(f"{place.name}/"))
    name = affixes.add(item.name)
    folder = place.images if kind == "image" else place.masks
    reason = f"no {kind} {join(folder, name[len(place.name) + 1 if place.name else 0 :])}.*"
    return f"{reason}; {others.others[name]} is of a kind that is not read" if name in others.others else reason
