"""What is measured of an image: how it looks, what the deployed model finds in it, and where its encoder puts it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import scipy.ndimage

from data.base.errors import UserError
from data.decoding.images import BadImageError, stored_values
from data.decoding.pictures import picture_of
from data.near_duplicates import near_pairs, perceptual_hash
from models.embeddings import Embedder
from models.serving.loaded_model import LoadedModel
from models.serving.server.requests import BadRequestError, image_size

# Sharpness is measured in the middle, which is enough.
_MIDDLE = 1024
# Bits of the hash in which a copy differs, as a rule; frames of a film and slices of a body differ in more.
_COPY = 10
_MAX_PIXELS = 100_000_000
CONFIDENCE = "confidence"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of n images.

    Attributes:
      statistics: by name, one number for each image, [n]; NaN where an image has none, as a gray one has no saturation.
      class_shares: of the predicted pixels at the model's size, [n, C].
      embeddings: [n, d]; d is 0 if the model's encoder cannot be had.
    """

    statistics: dict[str, np.ndarray]
    class_shares: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.class_shares)


class Measurer:
    """Measures images with a version of the model.

    Args:
      folder: its SavedModel.

    Attributes:
      class_names: of its classes.
      remark: why there are no embeddings, or an empty string.

    Raises:
      UserError: if it is no segpipe model.
    """

    def __init__(self, folder: str):
        self._model = LoadedModel(folder)
        self.class_names = self._model.label_map.names
        self.remark = ""
        self._embedder: Embedder | None = None
        try:
            self._embedder = Embedder(folder)
        except UserError as error:
            self.remark = f"embeddings are not compared: {error}"

    def measure(self, images: Iterable[bytes]) -> Measured:
        """Measures images; those that are no images, or that show the same as one before, are left out.

        Copies are no evidence: a client that repeats an image a hundred times says no more than one that sends it once.
        """
        rows: list[tuple[dict[str, float], np.ndarray, np.ndarray]] = []
        hashes: list[int | None] = []
        shape, count = self._model.input, len(self.class_names)
        for image in dict.fromkeys(images):
            try:
                size = image_size(image, _MAX_PIXELS)
                picture = picture_of(image, shape.band_names, shape.nodata)
                looks = _looks(stored_values(image), picture)
                (found,) = self._model.segment([image], [size])
                embedding = self._embedder.embed([image])[0] if self._embedder else np.zeros(0, np.float32)
            except (BadImageError, BadRequestError):
                continue
            looks[CONFIDENCE] = float(found.confidence.mean(dtype=np.float64))
            shares = np.bincount(found.class_ids.ravel(), minlength=count)[:count] / found.class_ids.size
            rows.append((looks, shares, embedding))
            hashes.append(perceptual_hash(picture))
        # Plain images have no hash, and cannot be told apart by it.
        hashed = [(index, value) for index, value in enumerate(hashes) if value is not None]
        copies: set[int] = set()
        for first, second, _ in sorted(
            near_pairs([value for _, value in hashed], _COPY).tolist(), key=lambda pair: pair[1]
        ):
            # Of a row of frames, each like the next, not all but one are copies.
            if hashed[first][0] not in copies:
                copies.add(hashed[second][0])
        rows = [row for index, row in enumerate(rows) if index not in copies]
        names = dict.fromkeys(name for looks, _, _ in rows for name in looks)
        return Measured(
            {name: np.array([looks.get(name, np.nan) for looks, _, _ in rows]) for name in names},
            np.array([shares for _, shares, _ in rows]).reshape(-1, count),
            np.array([embedding for _, _, embedding in rows], np.float32).reshape(len(rows), -1 if rows else 0),
        )


def _looks(values: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """How an image looks.

    Args:
      values: [height, width] or [height, width, bands], as they are stored.
      picture: [height, width, 3 or 1] uint8, as people see it.

    Returns:
      `brightness` (mean) and `contrast` (standard deviation) of the values, in shares of the largest value of integers;
      of pictures in color `saturation` and `warmth` (how much more red than blue there is), in shares of 255;
      `sharpness`, the logarithm of the variance of the Laplace filter in shares of the image's variance; and
      `size`, the square root of the number of pixels.
    """
    largest = float(np.iinfo(values.dtype).max) if np.issubdtype(values.dtype, np.integer) else 1.0
    numbers = values.astype(np.float32) / largest
    found = {"brightness": float(np.nanmean(numbers)), "contrast": float(np.nanstd(numbers))}
    if values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 3:
        found["saturation"] = float((numbers.max(axis=2) - numbers.min(axis=2)).mean())
        found["warmth"] = float((numbers[..., 0] - numbers[..., 2]).mean())
    height, width = picture.shape[:2]
    top, left = max(0, height - _MIDDLE) // 2, max(0, width - _MIDDLE) // 2
    gray = picture.reshape(height, width, -1)[top : top + _MIDDLE, left : left + _MIDDLE].mean(axis=2)
    found["sharpness"] = float(np.log10((scipy.ndimage.laplace(gray).var() + 1e-3) / (gray.var() + 1e-3)))
    return {**found, "size": float(np.sqrt(height * width))}
