"""The folders of a format whose images and masks are paired by their names, and how these names differ."""

from __future__ import annotations

from typing import Literal

from data.base.section import Section
from data.listing.naming import Affix, Affixes, Naming
from data.listing.places import FolderBelow


class PairOptions(Section):
    """The options of a format whose images and masks have the same names, but for prefixes and suffixes.

    Attributes:
      folder: holds `images` and `masks`, or folders that do.
      images: folder with the images, below SOURCE or below its folders; `.` for SOURCE itself.
      masks: folder with the masks, likewise; it may be the same one if prefixes or suffixes tell them apart.
      image_prefix: what the images' names begin with and the masks' do not; other files are left out.
      image_suffix: what they end in, before the extension, such as _leftImg8bit.
      mask_prefix: what the masks' names begin with, such as mask_; other files are left out.
      mask_suffix: what they end in, before the extension, such as _mask or _gtFine_labelIds.
      unlabeled: whether images without a mask count as unusable, of which --max-set-aside allows only a few, or are
        only left out.
    """

    folder: str
    images: FolderBelow = "images"
    masks: FolderBelow = "masks"
    image_prefix: Affix = ""
    image_suffix: Affix = ""
    mask_prefix: Affix = ""
    mask_suffix: Affix = ""
    unlabeled: Literal["set-aside", "ignore"] = "set-aside"

    @property
    def naming(self) -> Naming:
        """How the names of images and masks differ."""
        return Naming(Affixes(self.image_prefix, self.image_suffix), Affixes(self.mask_prefix, self.mask_suffix))
