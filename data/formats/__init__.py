"""Which dataset formats are there? One file for each, with its options; nothing heavy is imported here."""

from data.formats.brain_mri import BrainMriReader
from data.formats.labelme import LabelmeReader
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
from data.formats.yolo import YoloReader

FORMATS: dict[str, type[Reader]] = {
    "oxford-pets": OxfordPetsReader,
    "labelme": LabelmeReader,
    "yolo": YoloReader,
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
