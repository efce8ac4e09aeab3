"""The volumes below a folder."""

from __future__ import annotations

import os

from data.formats.volume.files import NIFTI, STACK, volume_extension
from data.listing.items import Item, Items, find_items
from data.listing.split_folders import split_of_word
from data.listing.walking import File


def find_volumes(folder: str, name: str, without: str = "") -> Items:
    """The volumes below a folder: files, and folders with the files of a DICOM series.

    DICOM files that lie in the folder itself, or in one that stands for a split, are a volume each.

    Args:
      folder: the folder; if there is none, nothing is found.
      name: what is put before their names, such as `train`, or an empty string.
      without: a folder whose files are left out if it is below this one.

    Raises:
      UserError: if a link leads to nothing, and it cannot be told what should be there.
    """
    found = find_items(folder, name, without, volume_extension)
    top = folder.rstrip("/")
    items: dict[str, Item] = {}
    for item in found.items:
        above = os.path.dirname(item.file.path)
        if item.extension.lower() in (*NIFTI, *STACK) or above == top or split_of_word(os.path.basename(above)):
            items[item.file.path] = item
        else:
            items.setdefault(above, Item(item.name.rpartition("/")[0], "", File(above)))
    found.items = list(items.values())
    return found
