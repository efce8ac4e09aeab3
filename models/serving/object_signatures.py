"""Signatures of models that tell objects apart: grouping is a part of the graph, on whole images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from data import contract
from models.evaluation import in_graph
from models.inputs import arrays, encoded, preprocessing
from models.instances.grouping import Objects
from models.instances.scale import OBJECT_MAPS, ObjectScale
from models.serving.own_size import resizing, tiling
from models.serving.signatures import (
    BOUNDARY,
    CLASS_IDS,
    CONFIDENCE,
    CONFUSION,
    EXAMPLES,
    IMAGE_SIZE,
    IMAGES,
    INSTANCE_IDS,
    OBJECT_AREAS,
    OBJECT_BOXES,
    OBJECT_CLASSES,
    OBJECT_COUNT,
    OBJECT_SCORES,
    OVERLAPS,
    ServingModule,
    feature_spec,
)

# What is found in an image, with the padding that makes those of a batch equally large, and its rank.
_FOUND = {
    CLASS_IDS: (tf.uint8, contract.IGNORE_LABEL, 2),
    CONFIDENCE: (tf.float32, 0.0, 2),
    INSTANCE_IDS: (tf.int32, 0, 2),
    OBJECT_CLASSES: (tf.int32, 0, 1),
    OBJECT_SCORES: (tf.float32, 0.0, 1),
    OBJECT_BOXES: (tf.int32, 0, 2),
    OBJECT_AREAS: (tf.int32, 0, 1),
}


class ObjectServingModule(ServingModule):
    """As `ServingModule`, for a model with the maps of objects after the logits.

    Args:
      model: [batch, height, width, channels] → [batch, height, width, C + 3].
      transform: as for `ServingModule`.
      resize: likewise.
      scale: of the objects that the model has learned.
      pixel_type: as for `ServingModule`.
    """

    def __init__(
        self, model: Any, transform: Any, resize: preprocessing.Resize, scale: ObjectScale, pixel_type: str = "uint8"
    ):
        super().__init__(model, transform, resize, len(scale.is_thing), pixel_type)
        self._scale = scale

    def _export_bands(self) -> None:
        """None: objects are found in the whole image at once."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES)])
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """[batch] encoded images → the outputs of `ServingModule.serve_images`, and of each image its objects.

        `instance_ids` [batch, height, width] int32 is 0 where there is no object, and i for pixels of the i-th one;
        `object_count` [batch] int32. Of each object, in their order and padded with zeros: `object_classes` and
        `object_areas` (pixels) [batch, objects] int32, `object_scores` [batch, objects] float32 from 0 to 1, and
        `object_boxes` [batch, objects, 4] int32: top, left, bottom and right, the last two exclusive.
        """
        return self._serve(image_bytes, at_original_size=False)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES)])
    def serve_images_at_original_size(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve_images`, at each image's own size: each pixel gets the object of the model's pixel below it."""
        if self._resize == "none":
            return self.serve_images(image_bytes)
        return self._serve(image_bytes, at_original_size=True)

    def _serve(self, image_bytes: tf.Tensor, at_original_size: bool) -> dict[str, tf.Tensor]:
        if self._resize == "none":
            return self._found_in_each(
                encoded.upright(image_bytes),
                lambda image: self._found(self._maps_of(self._transformed_image(image))),
            )
        images, logits = self.seen(image_bytes)
        maps = self._with_probabilities(logits)
        sizes = tf.map_fn(arrays.size_of, images, fn_output_signature=tf.TensorSpec([2], tf.int32))

        def one(item: tuple[tf.Tensor, tf.Tensor]) -> tuple[Objects, tf.Tensor]:
            objects, confidence = self._found(self._without_padding(*item))
            if not at_original_size:
                return objects, confidence
            size = item[1]
            return self._at_size(objects, size), resizing.nearest(confidence, size, self._input_size, self._resize)

        return self._found_in_each((maps, sizes), one)

    def _found(self, maps: tf.Tensor) -> tuple[Objects, tf.Tensor]:
        """The objects of an image, and the probability of each pixel's class."""
        objects = self._scale.group(maps)
        chosen = tf.one_hot(objects.class_ids, self._num_classes)
        return objects, tf.reduce_sum(maps[..., : self._num_classes] * chosen, axis=-1)

    def _at_size(self, objects: Objects, size: tf.Tensor) -> Objects:
        return resizing.objects_at_size(objects, size, self._input_size, self._resize)

    @property
    def _input_size(self) -> tuple[int, int]:
        return self.input_shape[1:3]

    def _found_in_each(self, batch: Any, found_in: Any) -> dict[str, tf.Tensor]:
        def one(item: Any) -> dict[str, tf.RaggedTensor | tf.Tensor]:
            objects, confidence = found_in(item)
            found = {
                CLASS_IDS: tf.cast(objects.class_ids, tf.uint8),
                CONFIDENCE: confidence,
                INSTANCE_IDS: objects.numbers,
                OBJECT_CLASSES: objects.object_classes,
                OBJECT_SCORES: objects.scores,
                OBJECT_BOXES: objects.boxes,
                OBJECT_AREAS: objects.areas,
            }
            ragged = {
                name: tf.RaggedTensor.from_tensor(values) if values.shape.rank == 2 else values
                for name, values in found.items()
            }
            return {**ragged, OBJECT_COUNT: tf.size(objects.areas)}

        signature: dict[str, Any] = {
            name: tf.RaggedTensorSpec([None] * rank, dtype, ragged_rank=rank - 1)
            for name, (dtype, _, rank) in _FOUND.items()
        }
        signature[OBJECT_COUNT] = tf.TensorSpec([], tf.int32)
        # One at a time, for the memory.
        found = tf.map_fn(one, batch, fn_output_signature=signature, parallel_iterations=1)
        # Without objects, nothing says that a box has four numbers.
        shapes = {OBJECT_BOXES: [None, None, 4]}
        padded = {name: found[name].to_tensor(fill, shape=shapes.get(name)) for name, (_, fill, _) in _FOUND.items()}
        return {**padded, OBJECT_COUNT: found[OBJECT_COUNT]}

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `ServingModule.serve_examples`, and for each image which segments meet.

        `segment_overlaps` [batch, pairs, 3] int64 is `segments.overlaps`, padded with zeros; `object_scores` [batch,
        objects] float32 are those of the predicted objects, padded likewise.
        """
        return self._measure_all(examples, at_original_size=False)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples_at_original_size(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve_examples`, at each image's own size: each pixel gets the object of the model's pixel below it."""
        return self._measure_all(examples, at_original_size=True)

    def _measure_all(self, examples: tf.Tensor, at_original_size: bool) -> dict[str, tf.Tensor]:
        if self._resize == "none":
            return self._measured_in_each(examples, self._measure_whole)
        features = tf.io.parse_example(examples, feature_spec(has_objects=True))
        transformed = self.transform(features)
        maps = self._with_probabilities(self.logits(transformed[preprocessing.IMAGE]))
        masks, instances = features[contract.MASK], features[contract.INSTANCES].values
        if at_original_size:
            return self._measured_in_each((maps, masks, instances), self._measure_enlarged)
        labels = (transformed[preprocessing.LABEL], transformed[preprocessing.OBJECTS])
        return self._measured_in_each((maps, masks, *labels), self._measure_one)

    def _measure_whole(self, example: tf.Tensor) -> dict[str, Any]:
        features = tf.io.parse_example(example[tf.newaxis], feature_spec(has_objects=True))
        transformed = self.transform(features)
        label = preprocessing.pixels_of(transformed[preprocessing.LABEL][0], 1)[..., 0]
        objects = preprocessing.objects_of(transformed[preprocessing.OBJECTS][0])
        return self._measure_one((self._maps_of(transformed), features[contract.MASK][0], label, objects))

    def _measure_one(self, item: Any) -> dict[str, Any]:
        maps, mask, label, numbers = item
        maps = self._without_padding(maps, encoded.size_of(mask))
        return self._measured_objects(mask, label, numbers, self._scale.group(maps))

    def _measure_enlarged(self, item: Any) -> dict[str, Any]:
        maps, mask, instances = item
        label, numbers = tf.io.decode_png(mask, 1)[..., 0], tf.io.decode_png(instances, 1, tf.uint16)[..., 0]
        size = tf.shape(label)
        found = self._scale.group(self._without_padding(maps, size))
        return self._measured_objects(mask, label, numbers, self._at_size(found, size))

    def _measured_objects(
        self, mask: tf.Tensor, label: tf.Tensor, numbers: tf.Tensor, found: Objects
    ) -> dict[str, Any]:
        overlaps = in_graph.segment_overlaps(label, numbers, found.class_ids, found.numbers, self._scale.is_thing)
        return {
            **self._measured_one(mask, label, found.class_ids),
            OVERLAPS: tf.RaggedTensor.from_tensor(overlaps),
            OBJECT_SCORES: found.scores,
        }

    def _measured_in_each(self, batch: Any, measure: Any) -> dict[str, tf.Tensor]:
        classes = self._num_classes
        shapes = {CONFUSION: [classes, classes], BOUNDARY: [3, classes], IMAGE_SIZE: [2]}
        signature: dict[str, Any] = {name: tf.TensorSpec(shape, tf.int64) for name, shape in shapes.items()}
        signature[OVERLAPS] = tf.RaggedTensorSpec([None, None], tf.int64, ragged_rank=1)
        signature[OBJECT_SCORES] = tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0)
        found = tf.map_fn(measure, batch, fn_output_signature=signature, parallel_iterations=1)
        padded = {
            OVERLAPS: found[OVERLAPS].to_tensor(shape=[None, None, 3]),
            OBJECT_SCORES: found[OBJECT_SCORES].to_tensor(),
        }
        return {**found, **padded}

    def _transformed_image(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.transform({contract.IMAGE: image[tf.newaxis]})

    def _maps_of(self, transformed: dict[str, tf.Tensor]) -> tf.Tensor:
        """[h, w, C + 3] of the only image in a batch, at its own size: probabilities and the maps of objects."""
        _, height, width, _ = self.input_shape
        whole = self._whole_image(transformed)
        return tiling.blend(self.logits, self._num_classes, OBJECT_MAPS, *whole, (height, width))

    def _without_padding(self, maps: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The same maps of an image of a size, [2], with neither things nor peaks in the padding around it."""
        if self._resize != "pad":
            return maps
        _, height, width, _ = self.input_shape
        top, left, inner_height, inner_width = preprocessing.placement(size[0], size[1], height, width, self._resize)
        margins = [[top, height - top - inner_height], [left, width - left - inner_width], [0, 0]]
        inside = tf.pad(tf.ones([inner_height, inner_width, 1], tf.int32), margins) == 1
        of_objects = tf.constant([*self._scale.is_thing, True, False, False])
        return tf.where(inside | ~of_objects, maps, -1.0)

    def _with_probabilities(self, maps: tf.Tensor) -> tf.Tensor:
        classes = self._num_classes
        return tf.concat([tf.nn.softmax(maps[..., :classes]), maps[..., classes:]], axis=-1)
