"""The push destination: numbered folders, each a whole SavedModel, as TF Serving reads them."""

from __future__ import annotations

import logging
import os

import tensorflow as tf

_LOG = logging.getLogger("segpipe.versions")


def versions(destination: str) -> list[int]:
    """The numbers that are taken at a push destination, oldest first; none if there is no such folder."""
    if not tf.io.gfile.isdir(destination):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(destination))
    # Python takes other digits for numbers, too, and `007` would not be found again.
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and name == str(int(name)))


def models(destination: str) -> dict[int, str]:
    """The versions that can be served, oldest first, each with its model's fingerprint.

    Other folders with a number for their name are left out with a warning: they must not hide the model before them.
    """
    found = {}
    for version in versions(destination):
        try:
            found[version] = fingerprint(version_path(destination, version))
        except (FileNotFoundError, RuntimeError):
            _LOG.warning("%s is not a SavedModel and does not count", version_path(destination, version))
    return found


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
