"""The process that the serving check starts: a model server, whose limits lie far above those of the check.

When it is ready it prints a line of JSON: its port, and what the evaluator's signature makes of an example.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
import tensorflow as tf

from data import contract
from data.decoding.images import encode_png
from models.serving.loaded_model import LoadedModel
from models.serving.server.follower import Follower
from models.serving.server.server import Limits, ModelServer, serve
from models.serving.signatures import CONFUSION, EVALUATION

_LIMITS = Limits(
    max_body_megabytes=1e4, max_pixels=10**9, max_request_pixels=10**9, receive_seconds=600.0, answer_seconds=600.0
)


def class_counts(model: LoadedModel, serialized: bytes) -> list[int]:
    """Pixels by class that the evaluator's signature finds in an example's image.

    With a mask of nothing but class 0, the first row of the confusion matrix counts all pixels of the image.

    Args:
      model: a segpipe model.
      serialized: a tf.train.Example.
    """
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
    follower = Follower(model, poll_seconds=3600.0)
    counts = class_counts(follower.model, example)
    server = ModelServer(follower, limits=_LIMITS)
    asyncio.run(
        serve(
            server, "127.0.0.1", 0, lambda port: print(json.dumps({"port": port, "class_counts": counts}), flush=True)
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer.read())
