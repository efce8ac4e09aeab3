"""The push destination: numbered folders, each a whole SavedModel, as TF Serving reads them.

The largest number is the deployed model. Versions that were rolled back wait in the folder `.rolled-back`, and what was
rolled back when is told by files in `.history`; no server takes these names for versions.
"""

from __future__ import annotations

import datetime
import getpass
import json
import logging
import os
import socket
from typing import Any

import tensorflow as tf

from data.base.errors import UserError

_LOG = logging.getLogger("segpipe.versions")
_ROLLED_BACK = ".rolled-back"
_HISTORY = ".history"


def versions(destination: str) -> list[int]:
    """The numbers that are taken at a push destination, oldest first; none if there is no such folder."""
    if not tf.io.gfile.isdir(destination):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(destination))
    # Python takes other digits for numbers, too, and `007` would not be found again.
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and name == str(int(name)))


def servable_versions(destination: str) -> dict[int, str]:
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


def rolled_back(destination: str) -> list[int]:
    """The versions that were rolled back, oldest first."""
    return versions(os.path.join(destination, _ROLLED_BACK))


def rolled_back_path(destination: str, version: int) -> str:
    """The folder of a version that was rolled back."""
    return version_path(os.path.join(destination, _ROLLED_BACK), version)


def roll_back(destination: str, version: int | None = None) -> tuple[int, int]:
    """Deploys another version by moving the newer ones aside, or by bringing back one that was moved aside.

    Each move is one rename, and the version deployed so far is the last to go, so that no third one is ever deployed.

    Args:
      destination: folder of numbered versions.
      version: which to deploy; by default the one before the deployed one.

    Returns:
      The versions deployed before and now.

    Raises:
      UserError: if there is no such version, or it is deployed already.
    """
    present, aside = list(servable_versions(destination)), rolled_back(destination)
    if not present:
        raise UserError(f"{destination} holds no version")
    deployed = present[-1]
    if version is None:
        if len(present) < 2:
            raise UserError(f"there is no version before {deployed} in {destination}")
        version = present[-2]
    if version == deployed:
        raise UserError(f"version {version} is deployed already")
    if version not in present and version not in aside:
        shown = ", ".join(map(str, sorted({*present, *aside})))
        raise UserError(f"{destination} has no version {version}; there are {shown}")
    if version not in present:
        tf.io.gfile.rename(rolled_back_path(destination, version), version_path(destination, version))
    for newer in versions(destination):
        if newer > version:
            tf.io.gfile.makedirs(os.path.join(destination, _ROLLED_BACK))
            tf.io.gfile.rename(version_path(destination, newer), rolled_back_path(destination, newer))
    now = datetime.datetime.now(datetime.timezone.utc)
    event = {
        "time": now.isoformat(timespec="seconds"),
        "from": deployed,
        "to": version,
        "by": f"{getpass.getuser()}@{socket.gethostname()}",
    }
    folder = os.path.join(destination, _HISTORY)
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(os.path.join(folder, f"{now:%Y%m%dT%H%M%S.%f}.json"), "w") as file:
        file.write(json.dumps(event))
    return deployed, version


def rollbacks(destination: str) -> list[dict[str, Any]]:
    """What was rolled back, oldest first: `time` (ISO 8601, UTC), `from`, `to` and `by`."""
    events = []
    for path in sorted(tf.io.gfile.glob(os.path.join(destination, _HISTORY, "*.json"))):
        with tf.io.gfile.GFile(path) as file:
            events.append(json.loads(file.read()))
    return events
