"""Deleting what old runs left, and nothing that a run or a version that is kept was made of."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.base.errors import UserError
from data.base.locking import exclusive
from models.serving.versions import rolled_back, rolled_back_path, servable_versions, version_path
from pipeline.config import Config
from pipeline.records.history import pushed_runs
from pipeline.records.lineage import upstream
from pipeline.records.metadata import database_of
from pipeline.records.runs import RUN_TYPE, Run, claim_artifacts, load_runs

# Not a number, so no server takes it for a version while it is being deleted.
_REMOVED_PREFIX = ".removed-"


@dataclasses.dataclass(frozen=True)
class Leftover:
    """A folder or file to delete.

    Attributes:
      path: where it is.
      reason: what it is.
      size: bytes.
    """

    path: str
    reason: str
    size: int


def clean(config: Config, keep: int, is_dry_run: bool) -> list[Leftover]:
    """Deletes what neither the newest runs nor the newest versions need.

    What is kept: the newest `keep` runs in the output folder, the newest `keep` versions that servers see, those newer
    than them that were rolled back, and everything that they were made of; and whatever runs of other output folders in
    the same database use.

    Args:
      config: of the runs.
      keep: how many runs and versions; 1 or more.
      is_dry_run: delete nothing.

    Returns:
      What was deleted, or would be.

    Raises:
      UserError: if a run is going on, or the metadata cannot be read.
    """
    for path in (config.output, config.artifacts_path, config.push_destination):
        if "://" in path:
            raise UserError(f"clean works on local folders; {path} is none")
    database = database_of(config)
    with exclusive(config.output, "running a pipeline"):
        claim_artifacts(config)
        runs = load_runs(database)
        store = database.open(read_only=is_dry_run)
        own = [run for run in runs if run.output == os.path.abspath(config.output)]
        kept_runs = own[-keep:]
        present = list(servable_versions(config.push_destination))
        versions = {*present, *rolled_back(config.push_destination)}
        kept_versions = {version for version in versions if not present or version >= present[-keep:][0]}
        by_version = pushed_runs(runs, config.push_destination)
        needed = _artifacts_of(store, [*kept_runs, *(run for run in runs if run not in own)])
        needed |= _origins(store, [by_version[version] for version in kept_versions if version in by_version])

        leftovers = list(_old_versions(config.push_destination, versions - kept_versions))
        folders, artifacts = _unneeded(store, config.artifacts_path, needed)
        leftovers += folders
        if kept_runs and kept_runs[-1].state not in ("interrupted", "failed"):
            # A training that was interrupted goes on from them.
            paths = _entries(config.checkpoints_path)
            leftovers += [_leftover(path, "checkpoints of a training that has ended") for path in paths]
        if len(own) > keep:
            oldest = kept_runs[0].run_id.replace(":", "-")
            leftovers += [
                _leftover(path, "log of an old run")
                for path in _entries(config.logs_path)
                if path.suffix == ".log" and path.stem < oldest[: len(path.stem)]
            ]
        if not is_dry_run:
            _delete(leftovers, store, artifacts, config.push_destination)
    return leftovers


def _artifacts_of(store: metadata_store.MetadataStore, runs: list[Run]) -> set[int]:
    """Ids of what runs read and wrote, also where it came from the cache."""
    ids: set[int] = set()
    for run in runs:
        context = store.get_context_by_type_and_name(RUN_TYPE, run.run_id)
        executions = [execution.id for execution in store.get_executions_by_context(context.id)]
        if executions:
            ids |= {event.artifact_id for event in store.get_events_by_execution_ids(executions)}
    return ids


def _origins(store: metadata_store.MetadataStore, runs: list[Run]) -> set[int]:
    """Ids of everything that runs made, and of all that it was made of, in whichever runs."""
    made = store.get_artifacts_by_id(sorted(_artifacts_of(store, runs)))
    return set(upstream(store, made)[0])


def _unneeded(
    store: metadata_store.MetadataStore, root: str, needed: set[int]
) -> tuple[list[Leftover], list[mlmd.Artifact]]:
    """Folders below the artifacts' root that nothing needs, and the artifacts whose folders are gone then."""
    by_path = {
        os.path.abspath(artifact.uri): artifact
        for artifact in store.get_artifacts()
        if artifact.uri.startswith(root + os.sep)
    }
    leftovers, gone = [], []
    for path in sorted(pathlib.Path(root).glob("*/*/*")):
        is_system = path.parent.name == ".system"
        places = sorted(path.iterdir()) if is_system and path.is_dir() else [path]
        for place in places:
            artifact = by_path.get(str(place))
            if is_system:
                leftovers += [item for item in [_leftover(place, "working files")] if item.size]
            elif artifact is None or artifact.state != mlmd.Artifact.LIVE:
                leftovers.append(_leftover(place, "of a run that did not end"))
            elif artifact.id not in needed:
                leftovers.append(_leftover(place, "of an old run"))
                gone.append(artifact)
    return leftovers, gone


def _old_versions(destination: str, versions: set[int]) -> Iterator[Leftover]:
    for version in sorted(versions):
        for path in (version_path(destination, version), rolled_back_path(destination, version)):
            if os.path.isdir(path):
                yield _leftover(pathlib.Path(path), "an old version")


def _entries(folder: str) -> list[pathlib.Path]:
    return sorted(pathlib.Path(folder).iterdir()) if os.path.isdir(folder) else []


def _leftover(path: pathlib.Path, reason: str) -> Leftover:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Leftover(str(path), reason, sum(file.stat().st_size for file in files))


def _delete(
    leftovers: list[Leftover],
    store: metadata_store.MetadataStore,
    artifacts: list[mlmd.Artifact],
    destination: str,
) -> None:
    # The metadata first: if this is interrupted, what is left is no artifact any more, and the next turn deletes it.
    for artifact in artifacts:
        artifact.state = mlmd.Artifact.DELETED
    if artifacts:
        store.put_artifacts(artifacts)
    for leftover in leftovers:
        path = leftover.path
        if path.startswith(destination + os.sep):
            path = os.path.join(destination, _REMOVED_PREFIX + uuid.uuid4().hex)
            os.rename(leftover.path, path)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
    for interrupted in pathlib.Path(destination).glob(_REMOVED_PREFIX + "*"):
        shutil.rmtree(interrupted)
