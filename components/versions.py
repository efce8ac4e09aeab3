"""The push destination: numbered folders, each a whole SavedModel, as TF Serving reads them."""

from __future__ import annotations

import os

import tensorflow as tf


def versions(destination: str) -> list[int]:
    """The versions that stand at a push destination, oldest first; none if there is no such folder."""
    if not tf.io.gfile.isdir(destination):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(destination))
    return sorted(int(name) for name in names if name.isdigit())


def version_path(destination: str, version: int) -> str:
    """The folder of a version."""
    return os.path.join(destination, str(version))


def fingerprint(model: str) -> str:
    """What tells one SavedModel from another: TensorFlow's own fingerprint of graph, signatures and weights.

    Raises:
      FileNotFoundError: if the folder is not a SavedModel, or one without fingerprint (TensorFlow before 2.12).
    """
    found = tf.saved_model.experimental.read_fingerprint(model)
    # The checkpoint's hash covers the checksums of all weights.
    return f"{found.saved_model_checksum:x}-{found.checkpoint_hash:x}"
