"""Deleting what old runs left, and nothing that the runs and versions that stay were made of."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.base.errors import UserError
from data.base.locking import exclusive
from models.serving.versions import rolled_back, rolled_back_path, servable_versions, version_path
from pipeline.config import Config
from pipeline.records.lineage import upstream
from pipeline.records.metadata import Store, database_of
from pipeline.records.recording import claim_artifacts
from pipeline.records.runs import DECIDED, Run, load_runs, pushed_runs, run_executions

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

    What stays: the newest `keep` runs in the output folder, the newest `keep` versions that servers see, versions newer
    than these that were rolled back, and everything that those were made of; what other runs in the same database read
    or wrote, whichever pipeline's they are; and checkpoints, unless the newest run has trained its model.

    Args:
      config: the runs' configuration.
      keep: how many runs and versions stay; 1 or more.
      is_dry_run: delete nothing.

    Returns:
      What was deleted, or would be.

    Raises:
      UserError: if a run is going on, or the metadata cannot be read.
    """
    for path in (config.output, config.artifacts_path, config.push_destination):
        if "://" in path:
            raise UserError(f"clean deletes local folders only; {path} is not local")
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
        run_ids = {run.run_id for run in runs}
        origins = [by_version[version] for version in kept_versions if version in by_version]
        needed = _artifacts_of(store, _executions_of(store, kept_runs))
        needed |= _origins(store, origins, run_ids)
        there = _artifacts_below(store, config.artifacts_path)
        needed |= _used_by_others(store, there, _executions_of(store, own))

        leftovers = list(_old_versions(config.push_destination, versions - kept_versions))
        folders, artifacts = _unneeded(config.artifacts_path, there, needed)
        leftovers += folders
        # After any other, the next run may go on from the checkpoints: after a failed or an interrupted one, and after
        # one of which only another machine, or a container that is gone, could say whether it still runs.
        if kept_runs and kept_runs[-1].state in DECIDED:
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


def _executions_of(store: Store, runs: list[Run]) -> set[int]:
    return {execution.id for run in runs for execution in run_executions(store, run.run_id)}


def _artifacts_of(store: Store, executions: set[int]) -> set[int]:
    """Ids of what executions read and wrote, or found in the cache."""
    events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
    return {event.artifact_id for event in events}


def _origins(store: Store, runs: list[Run], run_ids: set[str]) -> set[int]:
    """Ids of everything that runs made, and of all that it was made of in any run."""
    ids = _artifacts_of(store, _executions_of(store, runs))
    made = store.get_artifacts_by_id(sorted(ids)) if ids else []
    return set(upstream(store, made, run_ids)[0])


def _artifacts_below(store: Store, root: str) -> dict[str, mlmd.Artifact]:
    """The artifacts whose folders are below the artifacts' root, by path.

    They are recognized by component, output and number, which are theirs alone in a database: the output folder may
    have had another path when they were made, as in a container.
    """
    by_place = {tuple(artifact.uri.split(os.sep)[-3:]): artifact for artifact in store.get_artifacts()}
    found = {str(path): by_place.get(path.parts[-3:]) for path in pathlib.Path(root).glob("*/*/*")}
    return {path: artifact for path, artifact in found.items() if artifact is not None}


def _used_by_others(store: Store, artifacts: dict[str, mlmd.Artifact], own_executions: set[int]) -> set[int]:
    """Ids of the artifacts that other executions in the database read or wrote."""
    ids = [artifact.id for artifact in artifacts.values()]
    events = store.get_events_by_artifact_ids(ids) if ids else []
    return {event.artifact_id for event in events if event.execution_id not in own_executions}


def _unneeded(
    root: str, artifacts: dict[str, mlmd.Artifact], needed: set[int]
) -> tuple[list[Leftover], list[mlmd.Artifact]]:
    """Folders below the artifacts' root that nothing needs, and the artifacts whose folders are gone then."""
    leftovers, gone = [], []
    for path in sorted(pathlib.Path(root).glob("*/*/*")):
        is_system = path.parent.name == ".system"
        places = sorted(path.iterdir()) if is_system and path.is_dir() else [path]
        for place in places:
            artifact = artifacts.get(str(place))
            if is_system:
                leftovers += [item for item in [_leftover(place, "working files")] if item.size]
            elif artifact is None or artifact.state != mlmd.Artifact.LIVE:
                leftovers.append(_leftover(place, "left by a run that did not end"))
            elif artifact.id not in needed:
                leftovers.append(_leftover(place, "made by an old run"))
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
    store: Store,
    artifacts: list[mlmd.Artifact],
    destination: str,
) -> None:
    # The metadata first: if this is interrupted, what is left is no artifact any more, and the next clean deletes it.
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
