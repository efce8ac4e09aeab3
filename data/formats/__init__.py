"""Which dataset formats are there? One file for each, with its options; nothing heavy is imported here."""

from data.formats.ade20k import Ade20kReader
from data.formats.base.annotated import AnnotatedImagesReader
from data.formats.base.reader import (
    LabeledImage,
    Listing,
    MaskedImagesReader,
    Reader,
    Recognition,
    SetAside,
    Source,
    set_aside_duplicates,
)
from data.formats.brain_mri import BrainMriReader
from data.formats.cityscapes.reader import CityscapesReader
from data.formats.coco.panoptic import CocoPanopticReader
from data.formats.coco.reader import CocoReader
from data.formats.coco.stuff import CocoStuffReader
from data.formats.cvat.reader import CvatReader
from data.formats.geotiff.reader import GeotiffReader
from data.formats.label_studio.reader import LabelStudioReader
from data.formats.labelme.reader import LabelmeReader
from data.formats.mask_folder import MaskFolderReader
from data.formats.object_masks import ObjectMasksReader
from data.formats.oxford_pets import OxfordPetsReader
from data.formats.voc.reader import VocReader
from data.formats.volume.reader import VolumeReader
from data.formats.yolo.reader import YoloReader

FORMATS: dict[str, type[Reader]] = {
    "coco": CocoReader,
    "coco-panoptic": CocoPanopticReader,
    "coco-stuff": CocoStuffReader,
    "voc": VocReader,
    "cityscapes": CityscapesReader,
    "ade20k": Ade20kReader,
    "yolo": YoloReader,
    "labelme": LabelmeReader,
    "cvat": CvatReader,
    "label-studio": LabelStudioReader,
    "oxford-pets": OxfordPetsReader,
    "brain-mri": BrainMriReader,
    "object-masks": ObjectMasksReader,
    "geotiff": GeotiffReader,
    "volume": VolumeReader,
    "mask-folder": MaskFolderReader,
}

__all__ = [
    "FORMATS",
    "AnnotatedImagesReader",
    "LabeledImage",
    "Listing",
    "MaskedImagesReader",
    "Reader",
    "Recognition",
    "SetAside",
    "Source",
    "set_aside_duplicates",
]
