"""A version of a model in memory, for the server and for `predict`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from data.base.errors import UserError, one_line
from data.base.files import join, read_bytes
from data.decoding.arrays import encode_array
from data.decoding.images import BadImageError, encode_png
from data.label_map import LabelMap
from data.writing.objects import FoundObjects
from models.exports import SAVED_MODEL
from models.exports.exports import check_files
from models.exports.runtimes import AUTO, Runtime, choose, require
from models.inputs.arrays import REFUSAL
from models.inputs.encoded import IS_DEEP, NO_DEPTH
from models.inputs.preprocessing import placement
from models.inputs.settings import PreprocessingSettings
from models.serving.signatures import (
    CLASS_IDS,
    CONFIDENCE,
    FACTS_PATH,
    INSTANCE_IDS,
    OBJECT_AREAS,
    OBJECT_BOXES,
    OBJECT_CLASSES,
    OBJECT_COUNT,
    OBJECT_SCORES,
    SERVING,
    load,
    read_facts,
)
from models.serving.versions import GRAPH_FILE, model_folder

if TYPE_CHECKING:
    from models.exports.export_format import Maps, Segment

# Rows of an image that are worked on at once where its size does not matter, in pixels.
_STRIP_PIXELS = 2**19
# The second comes from zlib.
UNDECODABLE = (tf.errors.InvalidArgumentError, tf.errors.DataLossError)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The model's output for one image.

    Attributes:
      class_ids: [h, w] uint8.
      confidence: [h, w] float32, the probability of that class.
      objects: what the model found, if it tells objects apart.
    """

    class_ids: np.ndarray
    confidence: np.ndarray
    objects: FoundObjects | None = None

    def outputs(self) -> dict[str, np.ndarray | int]:
        """What the signature gives of the image, by name; without padding."""
        maps: dict[str, np.ndarray | int] = {CLASS_IDS: self.class_ids, CONFIDENCE: self.confidence}
        if self.objects is None:
            return maps
        return {
            **maps,
            INSTANCE_IDS: self.objects.numbers,
            OBJECT_COUNT: len(self.objects.areas),
            OBJECT_CLASSES: self.objects.class_ids,
            OBJECT_SCORES: self.objects.scores,
            OBJECT_BOXES: self.objects.boxes,
            OBJECT_AREAS: self.objects.areas,
        }


@dataclasses.dataclass(frozen=True)
class WholeImage:
    """The model's output for one image, at its own size.

    Attributes:
      class_ids: [height, width] uint8.
      confidence: the mean probability of the predicted classes.
      objects: what the model found, if it tells objects apart.
    """

    class_ids: np.ndarray
    confidence: float
    objects: FoundObjects | None = None


class LoadedModel:
    """A SavedModel that is ready to answer; one call at a time, if it is not TensorFlow that answers.

    Args:
      folder: the SavedModel.
      version: its number.
      runtime: what its network runs in: `SAVED_MODEL`, an export by its name, or `AUTO` for the fastest of those that
        it holds. Models with tiles or objects run in TensorFlow, whatever is wanted.

    Raises:
      UserError: if it is not a segpipe model, or holds a damaged export; a `NoRuntimeError`, if the runtime cannot be
        had.
      Exception: nearly anything, if it is damaged.
    """

    def __init__(self, folder: str, version: int = 0, runtime: str = SAVED_MODEL):
        facts = read_facts(folder)
        if facts is None:
            raise UserError(f"{folder} is not a segpipe model: it has no {FACTS_PATH}")
        exports = check_files(folder)
        self.folder, self.version, self.facts = folder, version, facts
        self.label_map = LabelMap.model_validate(facts["label_map"])
        self.input = PreprocessingSettings.of_facts(facts["preprocessing"])
        only_tensorflow = self.has_objects or self.keeps_size
        if not only_tensorflow:
            require(runtime, folder, exports)
        # Kept, as signatures hold no reference to it.
        self._model = load(folder)
        self.signatures = self._model.signatures
        size = self.input.height, self.input.width
        bands = [] if self.input.has_pictures else [self.input.num_bands]
        encode = encode_png if self.input.has_pictures else encode_array
        blank = encode(np.zeros([*size, *bands], self.input.type))
        remarks: tuple[str, ...] = ()
        if only_tensorflow or not hasattr(self._model, "begin_resized_bands"):
            if runtime not in (AUTO, SAVED_MODEL):
                why = "has objects or tiles" if only_tensorflow else "is of an earlier release"
                remarks = (f"a model that {why} runs in TensorFlow, not as {runtime}",)
            runtime = SAVED_MODEL
        # The first request makes TensorFlow optimize the graph; no client should wait for that.
        chosen = choose(runtime, folder, exports, lambda segment: self._segment(segment, [blank], [size], False))
        self.runtime: Runtime = dataclasses.replace(chosen, remarks=chosen.remarks + remarks)

    @property
    def has_objects(self) -> bool:
        """Whether it tells objects apart."""
        return self.facts.get("task", "semantic") != "semantic"

    @property
    def things(self) -> list[str]:
        """Names of the classes that have objects."""
        return list(self.facts.get("things", []))

    @property
    def label_map_with_kinds(self) -> LabelMap:
        """The label map, which says of each class whether it has objects, if the model tells these apart."""
        kinds = {name: "thing" if name in self.things else "stuff" for name in self.label_map.names}
        labels = self.label_map.model_dump()
        if self.has_objects:
            labels = [{**label, "kind": kinds.get(label["name"])} for label in labels]
        return LabelMap.model_validate(labels)

    @property
    def keeps_size(self) -> bool:
        """Whether images are segmented at their own size, and one after the other."""
        return self.input.resize == "none"

    def segment(
        self, images: Sequence[bytes], sizes: Sequence[tuple[int, int]], at_original_size: bool = False
    ) -> list[Segmentation]:
        """Segments images at once, as a signature for clients does.

        Args:
          images: as `ServingModule.serve_images` takes them.
          sizes: height and width of each.
          at_original_size: rather than at the model's.

        Raises:
          BadImageError: if one of them cannot be decoded.
        """
        return self._segment(self.runtime.segment, images, sizes, at_original_size)

    def _segment(
        self,
        by_export: Segment | None,
        images: Sequence[bytes],
        sizes: Sequence[tuple[int, int]],
        at_original_size: bool,
    ) -> list[Segmentation]:
        if by_export:
            upright, maps = self._maps_of(by_export, images)
            if not at_original_size:
                return [Segmentation(*of_image) for of_image in zip(maps.class_ids, maps.confidence, strict=True)]
            return [_stacked(self._resized_bands(*of_image)) for of_image in zip(upright, maps.logits, strict=True)]
        # Where images keep their size, the two are the same.
        has_own_size = self.keeps_size or at_original_size
        name = SERVING["original" if at_original_size and not self.keeps_size else "model"]
        if name not in self.signatures:  # The model is of an earlier release.
            found = self.segment(images, sizes)
            return [self._enlarged(item, *size) for item, size in zip(found, sizes, strict=True)]
        try:
            found = self.signatures[name](tf.constant(list(images)))
        except UNDECODABLE as error:
            raise cannot_be_decoded(error) from None
        outputs = {name: values.numpy() for name, values in found.items()}
        class_ids, confidence = outputs[CLASS_IDS], outputs[CONFIDENCE]
        # Where each map has its image's size, the batch has that of the largest.
        areas = [np.s_[:height, :width] if has_own_size else np.s_[:, :] for height, width in sizes]
        objects = [_objects_of(outputs, i, area) if self.has_objects else None for i, area in enumerate(areas)]
        return [Segmentation(class_ids[i][area], confidence[i][area], objects[i]) for i, area in enumerate(areas)]

    def segment_whole(
        self, encoded: bytes, height: int, width: int, progress: Callable[[float], None] = lambda share: None
    ) -> WholeImage:
        """Segments one image, with class ids at its own size.

        Beside the decoded image and the class ids, it takes memory for a row of tiles, or for a band of logits; with
        objects, for the maps of the whole image.

        Args:
          encoded: as `ServingModule.serve_images` takes it.
          height: of the image, in pixels.
          width: likewise.
          progress: called with the share of the image that is done, if the image is done in parts.

        Raises:
          BadImageError: if it cannot be decoded.
        """
        # Models of earlier releases may have no such steps, and those that tell objects apart have none.
        if hasattr(self._model, "next_band"):
            return _put_together(self._bands(encoded), height, width, progress)
        (found,) = self.segment([encoded], [(height, width)], at_original_size=True)
        return WholeImage(found.class_ids, float(found.confidence.mean(dtype=np.float64)), found.objects)

    def _enlarged(self, found: Segmentation, height: int, width: int) -> Segmentation:
        shape = self.input
        top, left, inner_height, inner_width = (
            int(value) for value in placement(height, width, shape.height, shape.width, shape.resize)
        )
        inside = np.s_[top : top + inner_height, left : left + inner_width]
        class_ids, confidence = (_enlarge(maps[inside], height, width) for maps in (found.class_ids, found.confidence))
        objects = found.objects
        if objects is not None:
            numbers = _enlarge(objects.numbers[inside], height, width)
            objects = FoundObjects.measured(numbers, objects.class_ids, objects.scores)
        return Segmentation(class_ids, confidence, objects)

    def _maps_of(self, by_export: Segment, images: Sequence[bytes]) -> tuple[tf.Tensor, Maps]:
        """The images upright, and what an export makes of the pixels that the SavedModel makes of them."""
        try:
            upright, pixels, *_ = self._model.pixels(tf.constant(list(images)))
        except UNDECODABLE as error:
            raise cannot_be_decoded(error) from None
        return upright, by_export(pixels.numpy().astype(self.input.exported_type))

    def _bands(self, encoded: bytes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Class ids and confidence of the rows of an image, from above; those of a small one may be wider and more."""
        if self.runtime.segment:
            upright, maps = self._maps_of(self.runtime.segment, [encoded])
            yield from self._resized_bands(upright[0], maps.logits[0])
            return
        try:
            begun = self._model.begin_bands(tf.constant(encoded))
        except UNDECODABLE as error:
            raise cannot_be_decoded(error) from None
        if not self.keeps_size:
            yield from self._next_bands(begun)
            return
        count, _, *state = begun
        for index in range(int(count)):
            rows, confidence, *sums = self._model.next_band(*state[:3], tf.constant(index), *state[3:])
            state[3:] = sums
            yield rows.numpy(), confidence.numpy()

    def _resized_bands(self, upright: tf.Tensor, logits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same of an image, upright, and its logits at the model's size."""
        yield from self._next_bands(self._model.begin_resized_bands(upright, tf.constant(logits)))

    def _next_bands(self, begun: Sequence[tf.Tensor]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        count, size, wide = begun
        for index in range(int(count)):
            rows, confidence = self._model.next_band(wide, size[0], tf.constant(index))
            yield rows.numpy(), confidence.numpy()

    def signature_definitions(self) -> dict[str, Any]:
        """The signatures as TF Serving describes them."""
        graph = saved_model_pb2.SavedModel.FromString(read_bytes(join(self.folder, GRAPH_FILE))).meta_graphs[0]
        return {
            name: json_format.MessageToDict(signature, preserving_proto_field_name=True)
            for name, signature in graph.signature_def.items()
            if not name.startswith("__")
        }


def load_model(path: str, runtime: str = SAVED_MODEL) -> LoadedModel:
    """Loads a SavedModel, or the deployed version at a push destination.

    Args:
      path: its folder.
      runtime: as for `LoadedModel`.

    Raises:
      UserError: if there is no segpipe model, or it does not run in that runtime.
    """
    folder = model_folder(path)
    try:
        return LoadedModel(folder, runtime=runtime)
    except UserError:
        raise
    except Exception as error:  # TensorFlow raises nearly anything on a damaged model.
        raise UserError(f"{folder} cannot be used: {type(error).__name__}: {one_line(error)}") from None


def strips(height: int, width: int) -> list[slice]:
    """Rows of an image, in strips that are worked on one after the other, so that none takes much memory."""
    rows = max(1, _STRIP_PIXELS // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def _stacked(bands: Iterable[tuple[np.ndarray, np.ndarray]]) -> Segmentation:
    class_ids, confidence = (np.concatenate(parts) for parts in zip(*bands, strict=True))
    return Segmentation(class_ids, confidence)


def _put_together(
    bands: Iterable[tuple[np.ndarray, np.ndarray]], height: int, width: int, progress: Callable[[float], None]
) -> WholeImage:
    class_ids = np.empty([height, width], np.uint8)
    total, top = 0.0, 0
    for rows, confidence in bands:
        # A small image was enlarged to a tile.
        rows, confidence = rows[: height - top, :width], confidence[: height - top, :width]
        class_ids[top : top + len(rows)] = rows
        total += float(confidence.sum(dtype=np.float64))
        top += len(rows)
        progress(top / height)
    return WholeImage(class_ids, total / class_ids.size)


def _objects_of(outputs: dict[str, np.ndarray], index: int, area: tuple[slice, slice]) -> FoundObjects:
    """The objects of one image of a batch."""
    count = int(outputs[OBJECT_COUNT][index])
    class_ids, scores, boxes, areas = (
        outputs[name][index, :count] for name in (OBJECT_CLASSES, OBJECT_SCORES, OBJECT_BOXES, OBJECT_AREAS)
    )
    return FoundObjects(outputs[INSTANCE_IDS][index][area], class_ids, scores, boxes, areas)


def _enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each pixel of the result gets the value of the pixel below its center: [height, width]."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip((height, width), values.shape, strict=True)
    )
    enlarged = np.empty([height, width], values.dtype)
    for strip in strips(height, width):
        enlarged[strip] = values[rows[strip]][:, columns]
    return enlarged


def cannot_be_decoded(error: tf.errors.OpError) -> BadImageError:
    """Why an image cannot be decoded, of an error in `UNDECODABLE` that a SavedModel raised."""
    if IS_DEEP in str(error):
        return BadImageError(f"{NO_DEPTH}; send it in 8 bits")
    if refusal := re.search(REFUSAL + "[^]]*", str(error)):
        return BadImageError(refusal[0].replace("\\'", "'").strip())
    return BadImageError("the image cannot be decoded: it is damaged, or neither grayscale nor RGB")
