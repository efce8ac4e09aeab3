"""Learning rates by step are tested with the training loop; here, those of some variables, and fused steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.training.learning_rates import fuse, slow_down


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "lion"])
@pytest.mark.parametrize("factor", [0.25, 0.0])
def test_some_variables_learn_more_slowly(kind, factor):
    fast, slow = keras.Variable(np.ones(3, np.float32)), keras.Variable(np.ones(3, np.float32))
    optimizer = keras.optimizers.get({"class_name": kind, "config": {"learning_rate": 0.1, "weight_decay": 0.0}})
    optimizer.build([fast, slow])
    fuse(optimizer)
    slow_down(optimizer, factor, [slow])
    gradient = keras.ops.convert_to_tensor(np.array([1.0, -2.0, 0.5], np.float32))
    for _ in range(3):
        optimizer.apply([gradient, gradient])
    changes = [keras.ops.convert_to_numpy(variable) - 1 for variable in (fast, slow)]
    assert np.abs(changes[0]).min() > 0.01
    np.testing.assert_allclose(changes[1], changes[0] * factor, rtol=1e-4)


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_a_fused_step_is_that_of_keras_in_fewer_operations(kind):
    gradients = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    settings = {"learning_rate": 0.1, "weight_decay": 0.01, "global_clipnorm": 1.0, "use_ema": True}

    def trained(change):
        """All variables after five steps, and the number of operations of one."""
        variables = [keras.Variable(np.ones(4, np.float32)), keras.Variable(np.full(4, 2, np.float32))]
        optimizer = keras.optimizers.get({"class_name": kind, "config": settings})
        optimizer.build(variables)
        change(optimizer)

        @tf.function(autograph=False)
        def step(gradient):
            optimizer.apply([gradient, 2 * gradient], variables)

        for gradient in gradients:
            step(tf.constant(gradient))
        operations = step.get_concrete_function(tf.constant(gradients[0])).graph.get_operations()
        return [keras.ops.convert_to_numpy(item) for item in (*variables, *optimizer.variables)], len(operations)

    expected, of_keras = trained(lambda _: None)
    found, fused = trained(fuse)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert np.abs(expected[0] - 1).min() > 0.01
    assert fused < 0.8 * of_keras
