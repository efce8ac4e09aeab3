"""The push destination: numbered folders, each a whole SavedModel, as TF Serving reads them.

The largest number is the deployed version. Versions that were rolled back wait in the folder `.rolled-back`, and
files in `.history` say what was rolled back when; no server takes these names for versions. Numbered folders that hold
no model never count as versions, but no new version gets their numbers.
"""

from __future__ import annotations

import collections
import datetime
import functools
import getpass
import json
import logging
import socket
from typing import Any

from google.protobuf import proto_builder
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import DecodeError

from data.base.errors import UserError
from data.base.files import exists, join, list_files, list_names, move_folder, read_bytes, write_text
from models.evaluation.gate import Measured

_LOG = logging.getLogger("segpipe.versions")
_ROLLED_BACK = ".rolled-back"
_HISTORY = ".history"
# In the folder of a version: what was measured of it when it was pushed. SavedModels may have such files of their own.
_MEASURED = "assets.extra/measured.json"
# A folder is a SavedModel once it has both. Where files arrive one by one, they must be the last.
GRAPH_FILE, _FINGERPRINT_FILE = "saved_model.pb", "fingerprint.pb"
MARKERS = (_FINGERPRINT_FILE, GRAPH_FILE)


class NotAModelError(ValueError):
    """A folder is no SavedModel, or not a complete one."""


def numbers(destination: str) -> list[int]:
    """All numbers at a push destination, lowest first, of models or not; none if there is no such folder."""
    names = list_names(destination)
    # Python takes other digits for numbers, too, and `007` would not be found again.
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and name == str(int(name)))


def taken_numbers(destination: str) -> set[int]:
    """The numbers that a new version must not get, because something has them, or had them before a rollback."""
    return {*numbers(destination), *numbers(join(destination, _ROLLED_BACK))}


def is_model(folder: str) -> bool:
    """Whether a folder has the files that mark a complete SavedModel; none of them is read."""
    return all(exists(join(folder, name)) for name in MARKERS)


def servable_versions(destination: str) -> dict[int, str]:
    """The versions that can be served, oldest first, each with its model's fingerprint.

    Other folders that have a number for a name are left out with a warning.
    """
    found = {}
    for version in numbers(destination):
        try:
            found[version] = fingerprint(version_path(destination, version))
        except NotAModelError as error:
            _LOG.warning("%s; it does not count as a version", error)
    return found


def write_measured(folder: str, text: str) -> None:
    """Keeps with a version what was measured of it; `folder` is where it is before it appears."""
    write_text(join(folder, _MEASURED), text)


def read_measured(destination: str, version: int) -> Measured:
    """What was measured of a version when it was pushed; nothing if an earlier release pushed it."""
    path = join(version_path(destination, version), _MEASURED)
    try:
        values = json.loads(read_bytes(path)) if exists(path) else {}
        return Measured(**{**values, "version": version})
    except (ValueError, TypeError):  # Another program's file, or a later release's.
        return Measured(version)


def deployed_version(destination: str) -> int | None:
    """The version that is served: the newest that is a model, or None if there is none."""
    return max(servable_versions(destination), default=None)


def rolled_back(destination: str) -> dict[int, str]:
    """The versions that were rolled back, oldest first, each with its model's fingerprint."""
    return servable_versions(join(destination, _ROLLED_BACK))


def version_path(destination: str, version: int) -> str:
    """The folder of a version."""
    return join(destination, str(version))


def rolled_back_path(destination: str, version: int) -> str:
    """The folder of a version that was rolled back."""
    return version_path(join(destination, _ROLLED_BACK), version)


def fingerprint(model: str) -> str:
    """What tells one model from another: TensorFlow's fingerprint of graph, signatures and weights, and which exports.

    Raises:
      NotAModelError: if the folder is no complete SavedModel, or one without a fingerprint (TensorFlow before 2.12).
    """
    from models.exports.exports import SAVED_MODEL, read_exports

    try:
        found = _fingerprint_message().FromString(read_bytes(join(model, _FINGERPRINT_FILE)))
    except (FileNotFoundError, NotADirectoryError, DecodeError):
        raise NotAModelError(f"{model} is not a SavedModel: it has no {_FINGERPRINT_FILE} that can be read") from None
    if not exists(join(model, GRAPH_FILE)):
        raise NotAModelError(f"{model} is not a SavedModel: it has no {GRAPH_FILE}")
    # The checkpoint's hash covers the checksums of all weights.
    saved_model = f"{found.saved_model_checksum:x}-{found.checkpoint_hash:x}"
    try:
        # Not their bytes, in which converters leave counters: made again, they are the same exports.
        exports = sorted(set(read_exports(model)) - {SAVED_MODEL})
    except UserError:
        exports = ["damaged"]  # It is a version all the same, to be rolled back.
    return "-".join([saved_model, *exports])


@functools.cache
def _fingerprint_message() -> Any:
    """TensorFlow's `FingerprintDef` to its fifth field; its own module would load all of TensorFlow, for seconds."""
    names = ("saved_model_checksum", "graph_program", "signatures", "object_graph", "checkpoint_hash")
    fields = collections.OrderedDict.fromkeys(names, FieldDescriptorProto.TYPE_UINT64)
    return proto_builder.MakeSimpleProtoClass(fields, "segpipe.Fingerprint")


def is_same_model(one: str, other: str) -> bool:
    """Whether two fingerprints are of the same SavedModel, whatever exports are beside it."""
    return one.split("-")[:2] == other.split("-")[:2]


def model_folder(path: str) -> str:
    """The SavedModel that a path stands for: the folder itself, or the deployed version at a push destination.

    Raises:
      UserError: if there is neither.
    """
    if exists(join(path, GRAPH_FILE)):
        return path
    version = deployed_version(path)
    if version is None:
        raise UserError(f"{path} holds no model; a run whose model passes the gate says where it was pushed")
    return version_path(path, version)


def roll_back(destination: str, version: int | None = None) -> tuple[int, int]:
    """Deploys another version by moving the newer ones aside, or by bringing back one that was moved aside.

    The version deployed so far is the last to go, so that no third one is ever deployed.

    Args:
      destination: folder of numbered versions.
      version: which to deploy; by default the one before the deployed one.

    Returns:
      The versions deployed before and now.

    Raises:
      UserError: if there is no such version, or it is deployed already.
    """
    present, aside = list(servable_versions(destination)), list(rolled_back(destination))
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
    try:
        if version not in present:
            move_folder(rolled_back_path(destination, version), version_path(destination, version), MARKERS)
        # Of folders that hold no model, too: a server that goes by numbers alone would take one of them.
        newer = [number for number in numbers(destination) if number > version]
        for number in sorted(newer, key=lambda number: (number == deployed, number)):
            move_folder(version_path(destination, number), rolled_back_path(destination, number), MARKERS)
    except FileExistsError as error:
        raise UserError(f"{error}; move or delete one of the two") from None
    now = datetime.datetime.now(datetime.timezone.utc)
    event = {
        "time": now.isoformat(timespec="seconds"),
        "from": deployed,
        "to": version,
        "by": f"{getpass.getuser()}@{socket.gethostname()}",
    }
    write_text(join(destination, _HISTORY, f"{now:%Y%m%dT%H%M%S.%f}.json"), json.dumps(event))
    return deployed, version


def rollbacks(destination: str) -> list[dict[str, Any]]:
    """What was rolled back, oldest first: `time` (ISO 8601, UTC), `from`, `to` and `by`."""
    return [json.loads(read_bytes(path)) for path in list_files(join(destination, _HISTORY))]
