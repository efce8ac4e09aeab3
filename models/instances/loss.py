"""What training minimizes and watches where maps say which class a pixel has and which object it belongs to."""

from __future__ import annotations

import keras
import tensorflow as tf

from data.contract import IGNORE_LABEL
from models.instances.scale import OBJECT_MAPS
from models.losses.segmentation_loss import SegmentationLoss, mean_over_replicas

# What a pixel's squared error of the peak, and an error of the way by an object's size, weigh beside the class.
_PEAK_WEIGHT, _WAY_WEIGHT = 10.0, 1.0


class ObjectLoss(keras.losses.Loss):
    """The classes' loss, the mean squared error of the peaks, and the mean absolute error of the ways to the centers.

    Cheng et al., "Panoptic-DeepLab", 2020, section 3.4. Peaks count wherever it is known whether there is an object,
    and ways within objects.

    Args:
      of_classes: the loss of the classes' logits.
    """

    def __init__(self, of_classes: SegmentationLoss):
        super().__init__(name="loss")
        self.of_classes = of_classes

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """[batch] values, whose mean is the loss.

        Args:
          y_true: of `training_targets`; ways in the unit of the network's maps.
          y_pred: [batch, height, width, C + 3]: logits, peaks, ways.
        """
        logits, peaks, ways = tf.split(y_pred, [y_pred.shape[-1] - OBJECT_MAPS, 1, 2], axis=-1)
        class_ids, known, true_peaks, true_ways = tf.split(y_true, [1, 1, 1, 2], axis=-1)
        of_peaks = _mean((peaks - true_peaks) ** 2, known >= 0)
        of_ways = _mean(tf.reduce_sum(tf.abs(ways - true_ways), axis=-1, keepdims=True), known > 0)
        return self.of_classes.call(class_ids[..., 0], logits) + _PEAK_WEIGHT * of_peaks + _WAY_WEIGHT * of_ways


class ClassesMeanIoU(keras.metrics.MeanIoU):
    """Mean IoU of the classes alone, of what `ObjectLoss` takes; label 255 does not count."""

    def __init__(self, num_classes: int):
        super().__init__(num_classes, ignore_class=IGNORE_LABEL, sparse_y_pred=False, name="mean_iou")

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        super().update_state(y_true[..., 0], y_pred[..., :-OBJECT_MAPS], sample_weight)


def _mean(values: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Each image's share of the mean over the pixels of all replicas that count: [batch]."""
    weights = tf.cast(counted, tf.float32)
    pixels_per_image = mean_over_replicas(tf.reduce_mean(tf.reduce_sum(weights, axis=[1, 2, 3])))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, axis=[1, 2, 3]), pixels_per_image)
