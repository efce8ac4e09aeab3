"""Learning rates by step are tested with the training loop; here, those of some variables alone."""

import keras
import numpy as np
import pytest

from models.training.learning_rates import slow_down


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "lion"])
@pytest.mark.parametrize("factor", [0.25, 0.0])
def test_some_variables_learn_more_slowly(kind, factor):
    fast, slow = keras.Variable(np.ones(3, np.float32)), keras.Variable(np.ones(3, np.float32))
    optimizer = keras.optimizers.get({"class_name": kind, "config": {"learning_rate": 0.1, "weight_decay": 0.0}})
    optimizer.build([fast, slow])
    slow_down(optimizer, factor, [slow])
    gradient = keras.ops.convert_to_tensor(np.array([1.0, -2.0, 0.5], np.float32))
    for _ in range(3):
        optimizer.apply([gradient, gradient])
    changes = [keras.ops.convert_to_numpy(variable) - 1 for variable in (fast, slow)]
    assert np.abs(changes[0]).min() > 0.01
    np.testing.assert_allclose(changes[1], changes[0] * factor, rtol=1e-4)
