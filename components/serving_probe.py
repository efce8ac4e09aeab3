"""The process that the serving check starts: a model server, whose limits lie far above those of the check.

When it is ready it prints a line of JSON: its port, and what the evaluator's signature makes of an example.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.serving.loaded_model import LoadedModel

# TensorFlow and its Keras load these if they are installed, which takes a third of the time until a server is there.
_NOT_NEEDED = ("googleapiclient", "h5py", "matplotlib", "pandas", "sklearn")


def spare_imports() -> None:
    """Makes what a server does not need look as if it were not installed; for a process that only serves."""
    for name in _NOT_NEEDED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def class_counts(model: LoadedModel, serialized: bytes) -> list[int]:
    """Pixels by class that the evaluator's signature finds in an example's image.

    With a mask of nothing but class 0, the first row of the confusion matrix counts all pixels of the image.

    Args:
      model: a segpipe model.
      serialized: a tf.train.Example.
    """
    import numpy as np
    import tensorflow as tf

    from data import contract
    from data.decoding.images import encode_png
    from models.serving.signatures import CONFUSION, EVALUATION

    example = tf.train.Example.FromString(serialized)
    features = example.features.feature
    height, width, _ = tf.io.decode_png(features[contract.MASK].bytes_list.value[0]).shape
    features[contract.MASK].bytes_list.value[0] = encode_png(np.zeros([height, width], np.uint8))
    return (
        model.signatures[EVALUATION["model"]](tf.constant([example.SerializeToString()]))[CONFUSION]
        .numpy()[0, 0]
        .tolist()
    )


def main(model: str, example: bytes) -> None:
    """Serves a model.

    Args:
      model: folder of the SavedModel.
      example: a serialized tf.train.Example that keeps the data contract.
    """
    import asyncio

    from models.serving.server.follower import Follower
    from models.serving.server.server import Limits, ModelServer, serve

    limits = Limits(
        max_body_megabytes=1e4,
        max_pixels=10**9,
        max_request_pixels=10**9,
        receive_seconds=600.0,
        answer_seconds=600.0,
    )
    follower = Follower(model, poll_seconds=3600.0)
    counts = class_counts(follower.model, example)
    server = ModelServer(follower, limits=limits)
    asyncio.run(
        serve(
            server, "127.0.0.1", 0, lambda port: print(json.dumps({"port": port, "class_counts": counts}), flush=True)
        )
    )


if __name__ == "__main__":
    spare_imports()
    main(sys.argv[1], sys.stdin.buffer.read())
