"""How near is a predicted volume to the mask that people made of it? Measured in the volume's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.volume.reader import read_labels
from data.masks.used_values import UsedValues
from models.evaluation.metrics import class_dice, class_iou, class_totals, confusion_matrix
from models.serving.volumes.prediction import SegmentedVolume

DICE, IOU, DISTANCE = "dice", "iou", "surface_distance_95_mm"
_PERCENT = 95
# Distances take 61 bytes for each voxel of the box around a class: this many take 3 GB.
MOST_VOXELS = 50_000_000

# By class name, the value of each measure; None where it has none.
Measures = dict[str, dict[str, float | None]]


def surface_distance() -> Any:
    """The package that measures distances between surfaces.

    Raises:
      UserError: if it is not installed.
    """
    try:
        import surface_distance
    except ImportError:
        raise UserError(
            "distances between surfaces need the package surface-distance, which is missing; "
            "pip install 'segpipe[volumes]'"
        ) from None
    return surface_distance


def measure_file(found: SegmentedVolume, mask: str, names: Sequence[str], values: Mapping[int, int]) -> Measures:
    """Measures the prediction of a volume by a mask, which may be turned, or a DICOM segmentation.

    Args:
      found: the prediction.
      mask: path of the mask.
      names: of the model's classes, by id.
      values: the class id of each value of the mask; 255 is ignored unless it is among them.

    Raises:
      BadImageError: if the mask is not one of this volume, holds other values, is broken, or a package is missing.
      OSError: if a file cannot be read.
    """
    try:
        labels = _class_ids(read_labels(mask, found.grid), values)
    except UserError as error:  # A package is missing, which masks of other kinds do not need.
        raise BadImageError(str(error)) from None
    except BadImageError as error:
        raise BadImageError(f"{mask}: {error}") from None
    if found.no_data is not None:
        labels[found.no_data] = IGNORE_LABEL
    return measure(labels, found.class_ids, names, found.grid.spacing if found.grid.is_placed else None)


def measure(
    labels: np.ndarray, predictions: np.ndarray, names: Sequence[str], spacing: Sequence[float] | np.ndarray | None
) -> Measures:
    """Dice, IoU, and how far apart surfaces are, by class.

    The distance is the larger of two: the 95th percentile, by area, of the distances from the label's surface to the
    prediction's, and of those in the other direction (the 95 % Hausdorff distance of Nikolov et al., "Deep learning
    to achieve clinically applicable segmentation of head and neck anatomy", 2018). Where a class reaches the end of the
    volume, its surface is there. Voxels that are ignored are of no class on either side.

    Args:
      labels: [i, j, k] uint8 class ids; 255 is not counted.
      predictions: [i, j, k] uint8 class ids.
      names: of the classes, by id.
      spacing: millimeters between voxels along the three axes; None if it is not known, and then there is no distance.

    Returns:
      The measures of each class: no Dice and IoU of a class that occurs on neither side; no distance of one that is
      missing on a side, or whose box has more than `MOST_VOXELS` voxels.
    """
    confusion = np.zeros([len(names), len(names)], np.int64)
    for label, prediction in zip(labels, predictions, strict=True):  # In parts, as counting makes wider copies.
        confusion += confusion_matrix(label, prediction, len(names))
    totals = class_totals(confusion)
    measures: Measures = {
        name: {DICE: _rounded(dice), IOU: _rounded(iou)}
        for name, dice, iou in zip(names, class_dice(totals), class_iou(totals), strict=True)
    }
    if spacing is not None:
        predictions = np.where(labels == IGNORE_LABEL, np.uint8(IGNORE_LABEL), predictions)
        boxes = [_boxes(class_ids, len(names)) for class_ids in (labels, predictions)]
        for class_id, (name, label_box, box) in enumerate(zip(names, *boxes, strict=True)):
            measures[name][DISTANCE] = (
                _distance(labels, predictions, class_id, label_box, box, spacing) if label_box and box else None
            )
    return measures


def means(measured: Iterable[Measures]) -> dict[str, dict[str, tuple[float, int]]]:
    """The mean over volumes, and how many volumes have the measure, by class and measure."""
    values: dict[str, dict[str, list[float]]] = {}
    for measures in measured:
        for name, of_class in measures.items():
            for key, value in of_class.items():
                of_all = values.setdefault(name, {}).setdefault(key, [])
                of_all += [] if value is None else [value]
    return {
        name: {key: (float(np.mean(found)), len(found)) for key, found in of_class.items() if found}
        for name, of_class in values.items()
    }


def _class_ids(labels: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """The class ids of a mask's values: uint8, of the same shape."""
    used = UsedValues.of(labels.reshape(len(labels), -1))
    known = {IGNORE_LABEL: IGNORE_LABEL, **values}
    if unknown := [int(value) for value in used.values if int(value) not in known]:
        listed = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise BadImageError(
            f"it holds {listed}, and the values of the model's classes are {', '.join(map(str, sorted(values)))}; "
            "--labels FILE says which values are which class"
        )
    return used.replaced_by(np.array([known[int(value)] for value in used.values])).reshape(labels.shape)


def _boxes(class_ids: np.ndarray, count: int) -> list[tuple[slice, ...] | None]:
    """The box around each class, None where it does not occur."""
    from scipy import ndimage

    # It looks for numbers from 1 on, and 255 becomes 0.
    found: list[tuple[slice, ...] | None] = ndimage.find_objects(class_ids + np.uint8(1), count)
    return found


def _distance(
    labels: np.ndarray,
    predictions: np.ndarray,
    class_id: int,
    label_box: tuple[slice, ...],
    box: tuple[slice, ...],
    spacing: Sequence[float] | np.ndarray,
) -> float | None:
    both = tuple(
        slice(min(one.start, other.start), max(one.stop, other.stop)) for one, other in zip(label_box, box, strict=True)
    )
    label = labels[both] == class_id
    if label.size > MOST_VOXELS:
        return None
    package = surface_distance()
    distances = package.compute_surface_distances(label, predictions[both] == class_id, spacing)
    return _rounded(package.compute_robust_hausdorff(distances, _PERCENT))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
