"""The exported SavedModel: what clients and the evaluator call, and the facts that travel with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from data import contract
from data.base.files import join, read_bytes, write_text
from data.base.links import plain_path
from models.evaluation import in_graph
from models.inputs import arrays, encoded, preprocessing
from models.inputs.settings import PreprocessingSettings
from models.instances.scale import ObjectScale
from models.serving.own_size import resizing, tiling

# The signatures for clients, by the size of the maps that they get, and the evaluator's, by that at which predictions
# and labels are compared.
SERVING = {"model": "serving_default", "original": "serving_at_original_size"}
EVALUATION = {"model": "examples", "original": "examples_at_original_size"}
# Inputs and outputs of the signatures.
IMAGES = "image_bytes"
EXAMPLES = "examples"
CLASS_IDS = "class_ids"
CONFIDENCE = "confidence"
CONFUSION = "confusion_matrix"
BOUNDARY = "boundary_totals"
IMAGE_SIZE = "image_size"
# Of models that tell objects apart.
INSTANCE_IDS = "instance_ids"
OBJECT_COUNT = "object_count"
OBJECT_CLASSES = "object_classes"
OBJECT_SCORES = "object_scores"
OBJECT_BOXES = "object_boxes"
OBJECT_AREAS = "object_areas"
OVERLAPS = "segment_overlaps"

# Incremented whenever models can no longer be compared with older ones.
FORMAT = 2

# TF Serving leaves the folder `assets.extra` alone, and copies of a SavedModel keep it.
FACTS_PATH = os.path.join("assets.extra", "segpipe.json")


class ServingModule(tf.Module):
    """The transform graph and the model in one; every signature decodes, resizes and normalizes with that graph.

    Args:
      model: [batch, height, width, channels] → [batch, height, width, C] logits.
      transform: tf.Transform's layer from raw to transformed features.
      resize: how the transform brings images to the model's size; with `none` they are segmented at their own size, in
        tiles of the model's.
      num_classes: C, if the model has other maps after the logits.
      pixel_type: of decoded pixels that are not resized.
    """

    def __init__(
        self,
        model: Any,
        transform: Any,
        resize: preprocessing.Resize,
        num_classes: int = 0,
        pixel_type: str = "uint8",
    ):
        super().__init__()
        # Not the model itself: with its layers in it, a SavedModel takes long to write and to load.
        self.input_shape = model.input_shape
        self._resize, self._num_classes = resize, num_classes or model.output_shape[-1]
        self._pixel_type = tf.as_dtype(pixel_type)
        # In Keras' order, so that another training can read them.
        self.weights = [variable.value for variable in model.weights]
        # A plain function: for a layer that it tracks, TensorFlow would spend ten seconds on traces that nobody calls.
        self.transform = lambda features: transform(features)
        # Traced once for all signatures.
        self.logits = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)],
            autograph=False,
        )
        if resize != "none":
            # Likewise.
            images = [tf.TensorSpec([None], tf.string, name=IMAGES)]
            self.pixels = tf.function(self._pixels, input_signature=images, autograph=False)
            self.seen = tf.function(self._seen, input_signature=images, autograph=False)
        self._export_bands()

    def _pixels(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The images upright, still encoded; what `normalize` takes of them: pixels at the model's size, mean, scale.

        Apart from `seen` for exports, which begin with these pixels.
        """
        upright = encoded.upright(image_bytes)
        transformed = self.transform({contract.IMAGE: upright})
        return upright, *(transformed[name] for name in (preprocessing.PIXELS, preprocessing.MEAN, preprocessing.SCALE))

    def _seen(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The images upright, still encoded, and their logits at the model's size."""
        upright, *pixels_mean_scale = self.pixels(image_bytes)
        return upright, self.logits(preprocessing.normalize(*pixels_mean_scale))

    def _export_bands(self) -> None:
        """`serve_images_at_original_size` in steps, for one large image in little memory, and to see how far it is.

        `begin_bands`: an encoded image → the number of bands, height and width of the image, and what `next_band`
        takes. With tiles: pixels, mean, scale, sums and row weights, as in `tiling.Tiling`; else the logits of
        `resizing.begin`.
        `begin_resized_bands`, without tiles: the same of the image, upright, and its logits, whatever computed them.
        `next_band`: these and which band (with tiles, after the scale; else, after the image's height) → the next rows
        of `class_ids` and of `confidence`. With tiles they may be wider than a small image, and the sums and row
        weights for the band after it follow.
        """
        if self._resize == "none":
            self._export_bands_of_tiles()
        else:
            self._export_resized_bands()

    def _export_resized_bands(self) -> None:
        def begin_resized(upright: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, ...]:
            size = arrays.size_of(upright)
            count, wide = resizing.begin(logits, size, self._resize)
            return count, size, wide

        def begin(image_bytes: tf.Tensor) -> tuple[tf.Tensor, ...]:
            upright, logits = self.seen(image_bytes[tf.newaxis])
            return begin_resized(upright[0], logits[0])

        def band(wide: tf.Tensor, height: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = resizing.band(wide, height, index)
            return resizing.class_ids(logits), resizing.confidence(logits)

        image = tf.TensorSpec([], tf.string)
        self.begin_bands = tf.function(begin, input_signature=[image], autograph=False)
        logits = tf.TensorSpec([*self.input_shape[1:3], self._num_classes], tf.float32)
        self.begin_resized_bands = tf.function(begin_resized, input_signature=[image, logits], autograph=False)
        number, wide = tf.TensorSpec([], tf.int32), tf.TensorSpec([None, None, self._num_classes], tf.float32)
        self.next_band = tf.function(band, input_signature=[wide, number, number], autograph=False)

    def _export_bands_of_tiles(self) -> None:
        _, height, width, channels = self.input_shape
        tiles = tiling.Tiling(self.logits, self._num_classes, (height, width))

        def begin(image_bytes: tf.Tensor) -> tuple[tf.Tensor, ...]:
            upright = encoded.upright(image_bytes[tf.newaxis])
            pixels, mean, scale = self._whole_image(self.transform({contract.IMAGE: upright}))
            count, enlarged, sums, row_weights = tiles.begin(pixels, mean)
            return count, tf.shape(pixels)[:2], enlarged, mean, scale, sums, row_weights

        statistics = tf.TensorSpec([1, channels], tf.float32)
        self.begin_bands = tf.function(begin, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
        self.next_band = tf.function(
            tiles.band,
            input_signature=[
                tf.TensorSpec([None, None, channels], self._pixel_type),
                statistics,
                statistics,
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None, height, self._num_classes], tf.float32),
                tf.TensorSpec([height], tf.float32),
            ],
            autograph=False,
        )

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES)])
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """[batch] encoded images → `class_ids` uint8 and `confidence` float32, both [batch, height, width].

        They are JPEG or PNG bytes, or arrays as the data contract stores them or as `numpy.save` writes them.

        Images are turned upright first, as their EXIF says. What is in TFRecords is taken as it is stored.

        With tiles, height and width are those of the largest image; outside the others, class 255 with confidence 0.
        """
        if self._resize == "none":
            return self._each_at_its_size(encoded.upright(image_bytes))
        _, logits = self.seen(image_bytes)
        return {CLASS_IDS: resizing.class_ids(logits), CONFIDENCE: resizing.confidence(logits)}

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES)])
    def serve_images_at_original_size(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve_images`, at each image's own size, as the evaluator measures it there: logits resized bilinearly.

        Height and width are those of the largest image; outside the others, class 255 with confidence 0.
        """
        if self._resize == "none":
            return self.serve_images(image_bytes)
        upright, logits = self.seen(image_bytes)
        maps = [(resizing.class_ids, tf.uint8), (resizing.confidence, tf.float32)]

        def one(item: tuple[tf.Tensor, tf.Tensor]) -> list[tf.Tensor]:
            of_image, image = item
            return resizing.maps_at_size(of_image, arrays.size_of(image), self._resize, maps)

        return self._in_each((logits, upright), one)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Measures predictions against labels at the size that the transform gives them.

        Args:
          examples: [batch] serialized tf.train.Examples that keep the data contract.

        Returns:
          `confusion_matrix` [batch, C, C] int64, by label and class id; `boundary_totals` [batch, 3, C] int64, as in
          `models/evaluation/metrics.py`; `image_size` [batch, 2] int64, height and width of the image itself.
        """
        if self._resize == "none":
            return self._measure_each(examples, self._measure_by_tiles)
        features = tf.io.parse_example(examples, feature_spec())
        transformed = self.transform(features)
        class_ids = resizing.class_ids(self.logits(transformed[preprocessing.IMAGE]))
        return self._measured(features, transformed[preprocessing.LABEL], class_ids)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples_at_original_size(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `serve_examples`, at each image's own size: the mask as it is, the logits resized bilinearly."""
        if self._resize == "none":
            return self._measure_each(examples, self._measure_by_tiles)
        features = tf.io.parse_example(examples, feature_spec())
        logits = self.logits(self.transform(features)[preprocessing.IMAGE])
        return self._measure_each((logits, features[contract.MASK]), self._measure_resized)

    def _measure_each(self, batch: Any, measure: Callable[[Any], dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """One at a time, as an image of 12 million pixels takes 36 MB once decoded."""
        classes = self._num_classes
        shapes = {CONFUSION: [classes, classes], BOUNDARY: [3, classes], IMAGE_SIZE: [2]}
        signature = {name: tf.TensorSpec(shape, tf.int64) for name, shape in shapes.items()}
        return tf.map_fn(measure, batch, fn_output_signature=signature, parallel_iterations=1)

    def _measure_resized(self, logits_and_mask: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        logits, mask = logits_and_mask
        label = tf.io.decode_png(mask, 1)[..., 0]
        maps = [(resizing.class_ids, tf.uint8)]
        (class_ids,) = resizing.maps_at_size(logits, tf.shape(label), self._resize, maps)
        return self._measured_one(mask, label, class_ids)

    def _measure_by_tiles(self, example: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(example[tf.newaxis], feature_spec())
        transformed = self.transform(features)
        class_ids, _ = self._predict_by_tiles(transformed)
        label = preprocessing.pixels_of(transformed[preprocessing.LABEL][0], 1)[..., 0]
        return self._measured_one(features[contract.MASK][0], label, class_ids)

    def _measured_one(self, mask: tf.Tensor, label: tf.Tensor, class_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        measured = self._measured({contract.MASK: mask[tf.newaxis]}, label[tf.newaxis], class_ids[tf.newaxis])
        return {name: values[0] for name, values in measured.items()}

    def _measured(
        self, features: dict[str, tf.Tensor], labels: tf.Tensor, class_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        return {
            CONFUSION: in_graph.confusion_matrices(labels, class_ids, self._num_classes),
            BOUNDARY: in_graph.boundary_totals(labels, class_ids, self._num_classes),
            IMAGE_SIZE: in_graph.image_sizes(features[contract.MASK]),
        }

    def _each_at_its_size(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._in_each(
            image_bytes, lambda image: self._predict_by_tiles(self.transform({contract.IMAGE: image[tf.newaxis]}))
        )

    def _in_each(self, batch: Any, maps_of: Callable[[Any], Sequence[tf.Tensor]]) -> dict[str, tf.Tensor]:
        """Class ids and confidence of images of several sizes, padded to the largest."""

        def one(item: Any) -> tuple[tf.RaggedTensor, ...]:
            return tuple(tf.RaggedTensor.from_tensor(values) for values in maps_of(item))

        # One at a time, as an image of 12 million pixels takes 36 MB once decoded.
        class_ids, confidence = tf.map_fn(
            one,
            batch,
            fn_output_signature=tuple(
                tf.RaggedTensorSpec([None, None], dtype, ragged_rank=1) for dtype in (tf.uint8, tf.float32)
            ),
            parallel_iterations=1,
        )
        return {CLASS_IDS: class_ids.to_tensor(contract.IGNORE_LABEL), CONFIDENCE: confidence.to_tensor(0.0)}

    def _predict_by_tiles(self, transformed: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """[h, w] class ids and confidence for the only image in a batch."""
        _, height, width, _ = self.input_shape
        whole = self._whole_image(transformed)
        return tiling.segment(self.logits, self._num_classes, *whole, (height, width))

    def _whole_image(self, transformed: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """[h, w, channels] pixels, mean and scale of the only image in a batch that is not resized."""
        serialized, channels = transformed[preprocessing.PIXELS][0], self.input_shape[-1]
        pixels = preprocessing.pixels_of(serialized, channels, self._pixel_type)
        return pixels, transformed[preprocessing.MEAN], transformed[preprocessing.SCALE]


def feature_spec(has_objects: bool = False) -> dict[str, Any]:
    """How to parse the features that the transform graph reads, with or without masks of objects."""
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (contract.IMAGE, contract.MASK)}
    # Optional in the schema, from which tf.Transform makes its graph.
    return {**spec, contract.INSTANCES: tf.io.VarLenFeature(tf.string)} if has_objects else spec


def export(model: Any, transform: Any, folder: str, facts: dict[str, Any], objects: ObjectScale | None = None) -> None:
    """Saves a model with the signatures in `SERVING` and `EVALUATION`, for batches of any size.

    Args:
      model: the trained model, in float32.
      transform: tf.Transform's layer.
      folder: where the SavedModel goes.
      facts: what users of the model need to know: label map and preprocessing, kept in `assets.extra/segpipe.json`.
      objects: what the model has learned of objects, if it tells them apart.
    """
    shape = PreprocessingSettings.of_facts(facts["preprocessing"])
    if objects is None:
        module = ServingModule(model, transform, shape.resize, pixel_type=shape.stored_type)
    else:
        # Its module is an extension of this one.
        from models.serving.object_signatures import ObjectServingModule

        module = ObjectServingModule(model, transform, shape.resize, objects, shape.stored_type)
    signatures = {
        SERVING["model"]: module.serve_images,
        SERVING["original"]: module.serve_images_at_original_size,
        EVALUATION["model"]: module.serve_examples,
        EVALUATION["original"]: module.serve_examples_at_original_size,
    }
    tf.saved_model.save(module, folder, signatures=signatures)
    write_text(join(folder, FACTS_PATH), json.dumps({**facts, "format": FORMAT}, indent=2))


def load(folder: str) -> Any:
    """Loads a SavedModel, whatever characters its path holds; see `data.base.links`."""
    with plain_path(folder) as path:
        return tf.saved_model.load(path)


def read_facts(folder: str) -> dict[str, Any] | None:
    """The facts that `export` kept, or None if the folder holds no segpipe model."""
    try:
        return json.loads(read_bytes(join(folder, FACTS_PATH)))
    except (FileNotFoundError, NotADirectoryError):
        return None
