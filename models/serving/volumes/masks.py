"""Which masks of people belong to the volumes that are predicted, and which class is each of their values?"""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Mapping, Sequence

from data.base.errors import UserError
from data.base.files import is_remote
from data.formats.volume.files import is_volume, volume_extension
from data.formats.volume.finding import find_volumes
from data.label_map import LabelMap
from data.label_map_files import MaskLabels, load_labels
from data.listing.items import Item
from data.listing.naming import Affixes, Naming, find_naming
from data.listing.pairing import Pairs, pair
from data.listing.walking import File

_MOST_NAMES = 3


@dataclasses.dataclass(frozen=True)
class FoundMasks:
    """The masks of volumes.

    Attributes:
      paths: the mask of each volume that has one, by the volume's path.
      remarks: what the user has to know: how names differ, and which volumes and masks are left out.
    """

    paths: dict[str, str]
    remarks: list[str]


def find_masks(inputs: Mapping[str, str], masks: str) -> FoundMasks:
    """Pairs volumes and masks by their names, as the format `volume` does; how these differ is found out.

    Args:
      inputs: what is predicted, with the names of the results, as `models.serving.inputs.find_inputs` returns it.
      masks: a folder with masks, or the mask of the only volume.

    Raises:
      UserError: if there are no volumes or no masks of them.
    """
    volumes = [_item(path, name) for path, name in inputs.items() if _may_be_volume(path)]
    if not volumes:
        raise UserError("--masks is for volumes, and none of the inputs is one")
    if not is_remote(masks) and not os.path.isdir(masks):
        if not os.path.exists(masks):
            raise UserError(f"--masks {masks}: there is neither a file nor a folder of this name")
        if len(volumes) > 1:
            raise UserError(
                f"--masks {masks} is one mask, and there are {len(volumes)} volumes; give the folder with their masks"
            )
        return FoundMasks({volumes[0].file.path: masks}, [])
    found = find_volumes(masks, "")
    taken = {os.path.realpath(volume.file.path) for volume in volumes}
    items = [item for item in found.items if os.path.realpath(item.file.path) not in taken]
    paired, naming = _paired(volumes, items)
    paths = {volume.file.path: mask.file.path for volume, mask in paired.pairs}
    if not paths:
        raise UserError(
            f"--masks {masks} has no mask of any volume: there are {_listed(items)}, and the volumes are "
            f"{_listed(volumes)}; masks have the names of their volumes"
        )
    remarks = [f"Masks in {masks}: {naming.describe()}"] if naming != Naming() else []
    remarks += [f"{path}: {reason}" for path, reason in (*found.unusable, *paired.duplicates)]
    # Those that lack a prefix or a suffix are not among the ones that were paired.
    without = [volume.file.path for volume in volumes if volume.file.path not in paths]
    return FoundMasks(paths, remarks + [f"{path}: it has no mask in {masks}, and is not measured" for path in without])


def values_of_masks(label_map: LabelMap, labels: str) -> dict[int, int]:
    """The class id of each value that masks may hold; 255, which is ignored, need not be among them.

    Args:
      label_map: the model's.
      labels: a file with other values of the same classes, as conversion takes it, or an empty string.

    Raises:
      UserError: if it is none, or has other classes.
    """
    if not labels:
        return MaskLabels.of(label_map).values
    said = load_labels(labels)
    if said.label_map.names != label_map.names:
        raise UserError(
            f"--labels {labels} has the classes {', '.join(said.label_map.names)}, and the model has "
            f"{', '.join(label_map.names)}"
        )
    return said.values


def _may_be_volume(path: str) -> bool:
    try:
        return is_volume(path)
    except OSError:  # Whoever predicts on it says why.
        return False


def _item(path: str, result: str) -> Item:
    """A volume, by its name below the folder that was given."""
    name = os.path.basename(os.path.abspath(path))
    extension = "" if os.path.isdir(path) else volume_extension(path) or ""
    stem = os.path.join(os.path.dirname(result), name[: len(name) - len(extension)])
    return Item(unicodedata.normalize("NFC", stem.replace(os.sep, "/")), extension, File(path))


def _paired(volumes: Sequence[Item], masks: Sequence[Item]) -> tuple[Pairs, Naming]:
    plain = pair(volumes, masks)
    if 2 * len(plain.pairs) >= len(volumes):
        return plain, Naming()
    naming = find_naming([item.name for item in volumes], [item.name for item in masks])
    if naming is None:
        return plain, Naming()
    return pair(_cut(volumes, naming.images), _cut(masks, naming.masks)), naming


def _cut(items: Sequence[Item], affixes: Affixes) -> list[Item]:
    return [dataclasses.replace(item, name=name) for item in items if (name := affixes.cut(item.name))]


def _listed(items: Sequence[Item]) -> str:
    names = [item.name for item in items[:_MOST_NAMES]]
    return ", ".join([*names, "…"] if len(items) > _MOST_NAMES else names) or "none"
