"""What a run writes down beside TFX's own records: what it is made of, and why it failed."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import socket
import uuid

from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.base.code_digest import code_name, tree_digest
from data.base.digests import Digests
from data.base.errors import UserError
from data.base.files import exists, find, is_remote, read_bytes, write_text
from data.base.packages import package_versions
from data.base.variants import import_paths
from pipeline.config import Config, absolute
from pipeline.records import runs
from pipeline.records.metadata import Database

_OWNER = "artifacts-owner.txt"


def begin_run(database: Database, run_id: str, config: Config) -> None:
    """Records a run before TFX does, with what it is made of.

    Raises:
      UserError: if the database cannot be used.
    """
    context = mlmd.Context(name=run_id)
    properties = {
        runs.OUTPUT: absolute(config.output),
        runs.HOST: socket.gethostname(),
        runs.CONFIGURATION: config.model_dump_json(),
        runs.CODE: code_name(import_paths(config)),
        runs.PACKAGES: json.dumps(package_versions()),
        runs.INPUTS_DIGEST: inputs_digest(config),
    }
    for name, value in properties.items():
        context.custom_properties[name].string_value = value
    store = database.open()
    try:
        context.type_id = store.put_context_type(mlmd.ContextType(name=runs.RUN_TYPE))
        store.put_contexts([context])
    except errors.StatusError as error:
        raise database.failure(error) from None


def inputs_digest(config: Config) -> str:
    """A digest of data, configuration, code and packages; runs with the same digest have the same results.

    Files count by what they hold. Only those are read that look changed since the last time.
    """
    digest = hashlib.sha256()
    settings = config.model_dump(mode="json", exclude=set(runs.WITHOUT_EFFECT))
    for part in (settings, package_versions(), tree_digest(import_paths(settings))):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\0")
    weights = {model.chosen_encoder.starting_weights(download=True).path for model in config.models}
    of_weights = [file for path in sorted(weights) if path for file in find(glob.escape(path))]
    files = [*config.data.input_files(), *of_weights]
    for file, content in zip(files, Digests(config.digests_path).of(files), strict=True):
        digest.update(f"{file.path} {content}\0".encode())
    return digest.hexdigest()[:16]


def record_failure(database: Database, run_id: str, reason: str) -> None:
    """Keeps with a run why it failed; TFX keeps states alone, and not even that for a driver that failed."""
    store = database.open()
    context = store.get_context_by_type_and_name(runs.RUN_TYPE, run_id)
    context.custom_properties[runs.FAILURE].string_value = reason
    store.put_contexts([context])


def forget_pushes(database: Database, destination: str) -> None:
    """Records that what was pushed to a destination is gone, so that the cache does not take the next push for done."""
    if not database.exists:
        return
    store = database.open()
    lost = [
        artifact
        for artifact in store.get_artifacts_by_type("PushedModel")
        if os.path.dirname(runs.text_property(artifact, "pushed_destination")) == destination
    ]
    for artifact in lost:
        artifact.state = mlmd.Artifact.DELETED
    if lost:
        store.put_artifacts(lost)


def claim_artifacts(config: Config) -> None:
    """Makes a folder of artifacts that is outside the output folder belong to that output folder alone.

    ML Metadata numbers the folders of artifacts: a second database, or a new one, would use the same numbers again, and
    artifacts would be mixed up or deleted.

    Raises:
      UserError: if the folder belongs to another output folder, or to one whose metadata is gone.
    """
    if not config.artifacts:
        return
    here, there = os.path.join(config.output, _OWNER), os.path.join(config.artifacts_path, _OWNER)
    own = read_bytes(here).decode() if exists(here) else ""
    found = read_bytes(there).decode() if exists(there) else ""
    if found and found != own:
        raise UserError(
            f"artifacts: {config.artifacts_path} holds the artifacts of another output folder than {config.output}, or "
            "of one that was deleted; name a folder that no other run uses, or delete this one"
        )
    if not found:
        own = own or uuid.uuid4().hex
        if not is_remote(there):
            os.makedirs(config.artifacts_path, exist_ok=True)
        write_text(here, own)
        write_text(there, own)
