"""The offline sample: axial slices of the ICBM152 T1 template, real MRI that comes with the package `nilearn`.

The volume is the average of 152 brains (Fonov et al., "Unbiased nonlinear average age-appropriate brain templates
from birth to adulthood", NeuroImage 47, 2009). Its gray and white matter maps give the masks.
"""

from __future__ import annotations

import functools

import numpy as np

from data.base.errors import UserError
from data.decoding.images import encoded_values
from data.formats.base.reader import LabeledImage, Listing, Reader, Source
from data.label_map import LabelMap

# Slabs of axial slices (1 mm apart), first and last + 1. Neighboring slices look alike, so slabs of different splits
# are at least five slices apart: no test slice has a neighbor that was trained on.
SLABS = (
    ("train", 20, 60),
    ("test", 65, 85),
    ("train", 90, 125),
    ("eval", 130, 140),
)
CLASSES = ("background", "csf", "grey_matter", "white_matter")


class BrainMriReader(Reader):
    """The offline sample: slices of a brain template that comes with the package nilearn.

    Gray PNGs of 197×233 pixels with four classes: background, cerebrospinal fluid, gray and white matter.
    """

    @property
    def label_map(self) -> LabelMap:
        return LabelMap.model_validate(
            [
                {"id": index, "name": name, "color": color}
                for index, (name, color) in enumerate(
                    zip(CLASSES, [(0, 0, 0), (86, 180, 233), (230, 159, 0), (240, 228, 66)], strict=True)
                )
            ]
        )

    def listing(self) -> Listing:
        try:
            import nilearn  # noqa: F401
        except ImportError:
            raise UserError(
                "brain-mri comes with the package nilearn; install segpipe with its extra, segpipe[samples]"
            ) from None
        return Listing(
            [
                Source(f"icbm152/axial_{index:03d}", split, str(index), str(index))
                for split, first, end in SLABS
                for index in range(first, end)
            ]
        )

    def read(self, source: Source) -> LabeledImage:
        image, ids = _volume()
        index = int(source.image)
        # Axial slices are shown with the front of the head up.
        pixels = np.ascontiguousarray(np.rot90(image[:, :, index]))
        mask = np.ascontiguousarray(np.rot90(ids[:, :, index]))
        return LabeledImage(encoded_values(pixels), mask)


@functools.cache
def _volume() -> tuple[np.ndarray, np.ndarray]:
    """The T1 volume as uint8 and its class ids, both [197, 233, 189]; read once in each worker."""
    from nilearn import datasets

    intensity = datasets.load_mni152_template(resolution=1).get_fdata()
    gray = datasets.load_mni152_gm_template(resolution=1).get_fdata()
    white = datasets.load_mni152_wm_template(resolution=1).get_fdata()
    brain = datasets.load_mni152_brain_mask(resolution=1).get_fdata() > 0.5
    # A voxel is gray or white matter, whichever is likelier, if it is likelier than not; the rest of the brain is
    # cerebrospinal fluid.
    ids = np.where(np.maximum(gray, white) < 0.5, 1, np.where(gray >= white, 2, 3))
    image = np.clip(intensity / intensity.max() * 255, 0, 255).round().astype(np.uint8)
    return image, np.where(brain, ids, 0).astype(np.uint8)
