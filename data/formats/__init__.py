"""Which dataset formats are there? One file for each, with its options; nothing heavy is imported here."""

from data.formats.brain_mri import BrainMriReader
from data.formats.coco.reader import CocoReader
from data.formats.mask_folder import MaskFolderReader
from data.formats.oxford_pets import OxfordPetsReader
from data.formats.reader import (
    LabeledImage,
    Listing,
    MaskedImagesReader,
    Reader,
    Recognition,
    SetAside,
    Source,
    set_aside_duplicates,
)

FORMATS: dict[str, type[Reader]] = {
    "coco": CocoReader,
    "oxford-pets": OxfordPetsReader,
    "mask-folder": MaskFolderReader,
    "brain-mri": BrainMriReader,
}

__all__ = [
    "FORMATS",
    "LabeledImage",
    "Listing",
    "MaskedImagesReader",
    "Reader",
    "Recognition",
    "SetAside",
    "Source",
    "set_aside_duplicates",
]
