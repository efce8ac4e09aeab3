import keras
import numpy as np
import pytest
import tensorflow as tf

from models.decoders.deep_supervision import _nearest
from models.inputs.settings import PreprocessingSettings
from models.losses.segmentation_loss import SegmentationLoss
from models.network import build_model
from models.settings import ModelSettings
from models.training import checkpoints
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import compiled_model


def config(size=(17, 24), **model):
    return TrainerConfig(
        preprocessing=PreprocessingSettings(height=size[0], width=size[1]),
        model=ModelSettings(
            **{
                "encoder": "plain",
                "decoder": "unet",
                "filters": 2,
                "depth": 3,
                "deep_supervision": True,
                **model,
            }
        ),
        train=TrainSettings(loss={"cross_entropy": 1, "dice": 1}),
        label_map=[],
    )


def batch(size=(17, 24)):
    generator = np.random.default_rng(0)
    label = generator.choice([0, 1, 2, 255], (2, *size)).astype(np.uint8)
    return tf.constant(generator.normal(size=(2, *size, 3)), tf.float32), tf.constant(label)


def test_training_minimizes_the_mean_over_levels_and_evaluation_the_last_one():
    model = compiled_model(config(), 3, "float32")
    image, label = batch()
    logits = model(image, training=False)
    # Of three levels the deepest one is left out.
    assert [tuple(each.shape[1:]) for each in logits] == [(17, 24, 3), (8, 12, 3)]
    loss = SegmentationLoss(config().train.loss.values())
    # In the middle of 2×2 pixels; with an odd height, the last row.
    rows, columns = (
        np.minimum(2 * np.arange(length) + 1, end) for length, end in zip(logits[1].shape[1:3], (16, 23), strict=True)
    )
    small = label.numpy()[:, rows][:, :, columns]
    expected = (loss(label, logits[0]) + 0.5 * loss(small, logits[1])) / 1.5
    assert float(model.compute_loss(image, label, logits, None, True)) == pytest.approx(float(expected), rel=1e-5)
    results = model.test_on_batch(image, label, return_dict=True)
    assert set(results) == {"loss", "mean_iou"}
    assert results["loss"] == pytest.approx(float(loss(label, logits[0])), rel=1e-5)


def test_every_weight_is_trained_by_kerass_own_step():
    keras.utils.set_random_seed(0)
    model = compiled_model(config(depth=4), 3, "mixed_bfloat16")
    variables = len(model.variables), len(model.optimizer.variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    assert [variable.path for variable in model.trainable_variables if variable.path.startswith("deep_")] == [
        "deep_logits_1/kernel",
        "deep_logits_1/bias",
        "deep_logits_2/kernel",
        "deep_logits_2/bias",
    ]
    for _ in range(3):
        model.train_on_batch(*batch())
    for variable, value in zip(model.trainable_variables, before, strict=True):
        assert np.abs(variable.numpy() - value).max() > 0, variable.path
    # Checkpoints and the traced step need all variables from the start.
    assert (len(model.variables), len(model.optimizer.variables)) == variables


def test_the_served_model_takes_the_weights_without_those_of_deep_supervision(tmp_path):
    model = compiled_model(config(dropout=0.1), 3, "float32")
    image, _ = batch()
    model(image, training=True)
    path = checkpoints.weights_checkpoint(model).write(tmp_path / "best")
    served = build_model(config(dropout=0.1).model, (17, 24, 3), 3, "float32")
    checkpoints.weights_checkpoint(served).read(path).assert_consumed().assert_existing_objects_matched()
    np.testing.assert_array_equal(served(image), model(image)[0])


def test_without_the_option_the_model_is_as_it_was():
    assert type(compiled_model(config(deep_supervision=False), 3, "float32")) is type(
        build_model(config().model, (17, 24, 3), 3, "float32")
    )


def test_labels_of_a_lower_resolution_are_those_in_the_middle():
    label = np.arange(10 * 12).reshape(1, 10, 12)
    np.testing.assert_array_equal(_nearest(tf.constant(label), 4, (2, 3)), label[:, [2, 6]][:, :, [2, 6, 10]])
    # An encoder that rounds up has a row more.
    np.testing.assert_array_equal(_nearest(tf.constant(label), 4, (3, 3)), label[:, [2, 6, 9]][:, :, [2, 6, 10]])
