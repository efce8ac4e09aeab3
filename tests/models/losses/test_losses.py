import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.losses.segmentation_loss import SegmentationLoss
from models.training.settings import TrainSettings

CLASSES = 3
NAMES = ("cross_entropy", "focal", "dice", "lovasz_softmax")


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, [2, 4, 5])
    labels[1, :2] = 2  # Not every class in each image's labels.
    labels[1, 2:] = 0
    return labels.astype(np.uint8), random.normal(size=[2, 4, 5, CLASSES]).astype(np.float32)


def loss_of(name, labels, logits, class_weights=None):
    return float(segmentation_loss({name: 1.0}, class_weights)(labels, logits))


def segmentation_loss(terms, class_weights=None):
    return SegmentationLoss(TrainSettings(loss=terms).loss.values(), class_weights)


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def test_cross_entropy_is_keras_one(batch):
    labels, logits = batch
    labels[0, 0] = 255
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)(
        labels.astype(np.int32), logits
    )
    assert loss_of("cross_entropy", labels, logits) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("gamma", [1, 2, 3.5])
def test_focal_is_keras_one(batch, gamma):
    labels, logits = batch
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels]
    expected = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma, from_logits=True)(one_hot, logits)
    found = segmentation_loss({"focal": {"gamma": gamma}})(labels, logits)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_dice_by_hand():
    # One image of two pixels and two classes: p = (0.8, 0.2) and (0.4, 0.6), labels 0 and 1.
    logits = np.log([[[[0.8, 0.2], [0.4, 0.6]]]]).astype(np.float32)
    dice_0, dice_1 = 2 * 0.8 / (1 + 1.2), 2 * 0.6 / (1 + 0.8)
    assert loss_of("dice", np.array([[[0, 1]]]), logits) == pytest.approx(1 - (dice_0 + dice_1) / 2, rel=1e-5)
    # Class 1 is not in the labels, so it is not in the mean.
    assert loss_of("dice", np.array([[[0, 0]]]), logits) == pytest.approx(1 - 2 * 1.2 / (2 + 1.2), rel=1e-5)


def jaccard_loss(wrong, truth):
    """1 - IoU of a class if the pixels in `wrong`, and no others, are predicted wrongly."""
    return len(wrong) / len(truth | wrong) if truth | wrong else 0.0


def lovasz_extension(errors, truth):
    """The closure by its definition: the largest of all orders' values, as the set function is submodular."""
    best = 0.0
    for order in itertools.permutations(range(len(errors))):
        sets = [frozenset(order[:count]) for count in range(len(order) + 1)]
        gains = [jaccard_loss(after, truth) - jaccard_loss(before, truth) for before, after in itertools.pairwise(sets)]
        best = max(best, sum(errors[pixel] * gain for pixel, gain in zip(order, gains, strict=True)))
    return best


def test_lovasz_softmax_is_the_lovasz_extension_by_its_definition():
    random = np.random.default_rng(1)
    labels = np.array([[[0, 1, 1], [2, 0, 0]]])
    logits = random.normal(size=[1, 2, 3, CLASSES]).astype(np.float32)
    probabilities = softmax(logits).reshape(-1, CLASSES)
    values = []
    for index in range(CLASSES):
        truth = (labels.ravel() == index).astype(float)
        errors = np.abs(truth - probabilities[:, index])
        values.append(lovasz_extension(errors, frozenset(np.flatnonzero(truth))))
    assert loss_of("lovasz_softmax", labels, logits) == pytest.approx(np.mean(values), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_label_255_counts_in_no_loss(batch, name):
    labels, logits = batch
    ignored = np.concatenate([labels, np.full_like(labels, 255)], axis=1)
    padded = np.concatenate([logits, np.random.default_rng(2).normal(size=logits.shape).astype(np.float32)], axis=1)
    assert loss_of(name, ignored, padded) == pytest.approx(loss_of(name, labels, logits), rel=1e-5)

    logits = tf.Variable(padded)
    with tf.GradientTape() as tape:
        loss = segmentation_loss({name: 1.0})(ignored, logits)
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[:, labels.shape[1] :].any()
    assert gradient[:, : labels.shape[1]].any()


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_labels_gives_zero_and_no_nan(batch, name):
    labels, logits = batch
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = segmentation_loss({name: 1.0})(np.full_like(labels, 255), logits)
    assert float(loss) == 0
    assert not tape.gradient(loss, logits).numpy().any()


@pytest.mark.parametrize("terms", [*NAMES, {"focal": {"gamma": 1}}])
def test_perfect_predictions_have_no_loss_and_gradients_are_finite(batch, terms):
    labels, _ = batch
    logits = tf.Variable(100 * np.eye(CLASSES, dtype=np.float32)[labels])
    with tf.GradientTape() as tape:
        loss = segmentation_loss(terms)(labels, logits)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


def test_terms_are_weighted_and_summed(batch):
    loss = segmentation_loss({"cross_entropy": 2.0, "dice": {"weight": 0.5}})
    expected = 2 * loss_of("cross_entropy", *batch) + 0.5 * loss_of("dice", *batch)
    assert float(loss(*batch)) == pytest.approx(expected, rel=1e-6)


def test_class_weights_multiply_the_pixels_of_their_class(batch):
    labels, logits = batch
    weights = np.array([0.5, 1.0, 3.0])
    pixels = -np.log(np.take_along_axis(softmax(logits), labels[..., None].astype(int), axis=-1)[..., 0])
    assert loss_of("cross_entropy", labels, logits, weights) == pytest.approx(
        (weights[labels] * pixels).mean(), rel=1e-5
    )
