"""The process that the serving check starts: loads a SavedModel, answers requests, prints one line of JSON."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from data import contract
from models.signatures import CLASS_IDS, CONFIDENCE, read_facts

_ENOUGH_SECONDS = 60


def probe(model: str, examples: str, count: int) -> dict[str, Any]:
    """Sends single images, then a batch, and checks the answers.

    Args:
      model: folder of the SavedModel.
      examples: folder of TFRecords by the data contract.
      count: how many images to send; fewer if that takes more than a minute.

    Returns:
      `latency_seconds` of the slowest request of one image but the first, and `memory_megabytes`.

    Raises:
      ValueError: if an answer is not what clients expect.
    """
    facts = read_facts(model)
    if facts is None:
        raise ValueError("assets.extra/segpipe.json is missing")
    records = (
        record
        for path in sorted(tf.io.gfile.glob(f"{examples}/*"))
        for record in tf.data.TFRecordDataset(path, compression_type=contract.compression_type(path))
    )
    images = [
        tf.train.Example.FromString(record.numpy()).features.feature[contract.IMAGE].bytes_list.value[0]
        for record in itertools.islice(records, count)
    ]
    serve = tf.saved_model.load(model).signatures["serving_default"]
    _check(serve(tf.constant(images[:1])), images[:1], facts)
    seconds: list[float] = []
    # Large images may take long; a few of them tell enough.
    while len(seconds) < len(images) and sum(seconds) < _ENOUGH_SECONDS:
        image = images[len(seconds)]
        started = time.perf_counter()
        outputs = serve(tf.constant([image]))
        seconds.append(time.perf_counter() - started)
        _check(outputs, [image], facts)
    batch = images[: len(seconds)]
    _check(serve(tf.constant(batch)), batch, facts)
    return {"latency_seconds": round(max(seconds), 4), "memory_megabytes": _peak_memory_megabytes()}


def _peak_memory_megabytes() -> int:
    # Not getrusage: its maximum survives exec, so it would be the pipeline's own peak.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024


def _check(outputs: dict[str, tf.Tensor], images: list[bytes], facts: dict[str, Any]) -> None:
    num_classes = len([label for label in facts["label_map"] if label["id"] != contract.IGNORE_LABEL])
    preprocessing = facts["preprocessing"]
    sizes = [(preprocessing["height"], preprocessing["width"])] * len(images)
    if preprocessing["resize"] == "none":
        sizes = [tuple(tf.io.decode_image(image, expand_animations=False).shape[:2]) for image in images]
    shape = (len(images), *np.max(sizes, axis=0))
    for name in (CLASS_IDS, CONFIDENCE):
        if name not in outputs:
            raise ValueError(f"the signature serving_default gives no {name}")
        if tuple(outputs[name].shape) != shape:
            raise ValueError(f"{name} has the shape {outputs[name].shape}, not {shape}")
    confidence = outputs[CONFIDENCE].numpy()
    if not (np.isfinite(confidence).all() and confidence.min() >= 0 and confidence.max() <= 1 + 1e-5):
        raise ValueError(f"{CONFIDENCE} is not a probability")
    for ids, (height, width) in zip(outputs[CLASS_IDS].numpy(), sizes, strict=True):
        if ids[:height, :width].max() >= num_classes:
            raise ValueError(f"{CLASS_IDS} has ids of {num_classes} and above")


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
