"""Which runs pushed the versions at the push destination, and what they were made of."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Container, Iterable
from typing import Any, Literal

import yaml
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.base.errors import UserError
from data.base.files import exists, read_bytes
from data.contract import REPORT_FILE
from data.spans import INPUTS_PROPERTY
from models.evaluation.gate import VERDICT_PROPERTY, Verdict
from models.evaluation.metric_table import format_value, in_words
from models.serving.versions import deployed_version, rollbacks, rolled_back, servable_versions
from pipeline.config import Config
from pipeline.records.metadata import Database, Store, database_of
from pipeline.records.pages.graph import Node
from pipeline.records.recording import inputs_digest
from pipeline.records.runs import (
    RUN_TYPE,
    WITHOUT_EFFECT,
    NoRunError,
    Run,
    component_name,
    load_runs,
    pushed_runs,
    run_outputs,
    text_property,
)
from pipeline.records.sections import Row

# In the graph.
_SHOWN_FOLDERS = 3
VersionState = Literal["deployed", "older", "rolled back", "removed"]


@dataclasses.dataclass(frozen=True)
class Version:
    """A version that is, or was, at the push destination.

    Attributes:
      version: its number.
      state: `removed` means that its folder is gone.
      run_id: the run that pushed it, or None if the metadata does not know.
      mean_iou: on the test split.
      below_best: how much lower that is than the highest of it and the versions before on the same test examples at the
        same size; None if it is the first that was measured on them.
      replaced: the version that was deployed when the gate decided, or None.
      data: folders of the examples that it was trained on.
      rollbacks: each rollback from this version to an older one: `time`, `from`, `to`, `by`.
    """

    version: int
    state: VersionState
    run_id: str | None
    mean_iou: float | None
    below_best: float | None
    replaced: int | None
    data: list[str]
    rollbacks: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Lineage:
    """What a version was made of.

    Attributes:
      sections: rows of one column by heading.
      graph: the steps that made it and what they began with, each after those whose results it used.
      state: whether it is deployed.
      report: path of the report of the run that pushed it, or None.
    """

    sections: dict[str, list[Row]]
    graph: list[Node]
    state: VersionState
    report: str | None


@dataclasses.dataclass(frozen=True)
class Step:
    """An execution that really made something, rather than finding it in the cache.

    Attributes:
      execution: ML Metadata's record of it.
      node: the component.
      run_id: the run in which it was executed.
    """

    execution: mlmd.Execution
    node: str
    run_id: str


def load_history(config: Config) -> list[Version]:
    """All versions, oldest first.

    Raises:
      UserError: if nothing was pushed yet, or the metadata cannot be read.
    """
    destination = config.push_destination
    by_version = pushed_runs(_runs(database_of(config)), destination)
    present, aside, events = list(servable_versions(destination)), rolled_back(destination), rollbacks(destination)
    numbers = sorted({*by_version, *present, *aside})
    if not numbers:
        raise UserError(f"no version was pushed to {destination} yet")
    history = []
    best: dict[tuple[str, str], float] = {}
    for number in numbers:
        run = by_version.get(number)
        below_best = None
        if run and run.mean_iou is not None and run.test_digest:
            measured_on = (run.test_digest, run.resolution)
            if measured_on in best:
                below_best = max(0.0, best[measured_on] - run.mean_iou)
            best[measured_on] = max(best.get(measured_on, 0.0), run.mean_iou)
        history.append(
            Version(
                version=number,
                state=_state(number, present, aside),
                run_id=run.run_id if run else None,
                mean_iou=run.mean_iou if run else None,
                below_best=below_best,
                replaced=(run.baseline_version or None) if run else None,
                data=run.inputs.get("train", []) if run else [],
                rollbacks=[event for event in events if event["to"] < number <= event["from"]],
            )
        )
    return history


def repeated_version(database: Database, config: Config) -> int | None:
    """The newest version that a run of the same data, configuration, code and packages pushed; None if none did."""
    runs, digest = _runs(database), inputs_digest(config)
    same = [run for run in runs if run.inputs_digest == digest]
    pushed = pushed_runs(runs, config.push_destination)
    deployed = deployed_version(config.push_destination)
    if same and deployed is not None and deployed not in pushed:
        return deployed  # If it is theirs, they were killed before that was recorded.
    return max((version for version, run in pushed.items() if run in same), default=None)


def trace(config: Config, version: int) -> Lineage:
    """Follows a version back to what it was made of.

    Raises:
      UserError: if the metadata does not know the version.
    """
    database = database_of(config)
    runs = load_runs(database)
    run = pushed_runs(runs, config.push_destination).get(version)
    path = os.path.join(config.push_destination, str(version))
    if run is None:
        raise UserError(
            f"the metadata in {database.description} knows of no push to {path}; `segpipe history` lists all versions"
        )
    store = database.open(read_only=True)
    by_id = {run.run_id: run for run in runs}
    artifacts, steps = upstream(store, [run_outputs(store, run.run_id)["PushedModel"]], by_id)
    state = _state(version, list(servable_versions(config.push_destination)), rolled_back(config.push_destination))
    sections = _sections(path, state != "removed", artifacts, steps, by_id)
    return Lineage(sections, _graph(store, run, state, artifacts, steps), state, run.report)


def _state(version: int, present: list[int], aside: Container[int]) -> VersionState:
    if version in present:
        return "deployed" if version == present[-1] else "older"
    return "rolled back" if version in aside else "removed"


def statistics_of(config: Config, version: int) -> str | None:
    """TFDV's statistics of what a version was trained on, `FeatureStats.pb`; None if they are gone."""
    database = database_of(config)
    runs = _runs(database)
    run = pushed_runs(runs, config.push_destination).get(version)
    if run is None:
        return None
    store = database.open(read_only=True)
    pushed = run_outputs(store, run.run_id)["PushedModel"]
    for artifact in upstream(store, [pushed], {run.run_id for run in runs})[0].values():
        path = os.path.join(artifact.uri, "Split-train", "FeatureStats.pb")
        if artifact.type == "ExampleStatistics" and exists(path):
            return path
    return None


def examples_of(config: Config, version: int) -> str | None:
    """Folder of the examples that a version was made and evaluated with; None if the metadata does not know it."""
    run = pushed_runs(_runs(database_of(config)), config.push_destination).get(version)
    return run.folders.get("examples") if run else None


def _runs(database: Database) -> list[Run]:
    try:
        return load_runs(database)
    except NoRunError:
        return []


def upstream(
    store: Store, outputs: Iterable[mlmd.Artifact], run_ids: Container[str]
) -> tuple[dict[int, mlmd.Artifact], list[Step]]:
    """Everything that artifacts were made of.

    Args:
      store: where the steps are recorded.
      outputs: the artifacts.
      run_ids: the runs whose steps count. Another pipeline that shares the database may also call our artifacts its
        outputs, as TFX's Importer does with what it imports.

    Returns:
      By id these artifacts, all that they were made of, and what else the steps on the way made; and these steps, the
      last first.
    """
    artifacts = {artifact.id: artifact for artifact in outputs}
    steps: dict[int, Step] = {}
    waiting = list(artifacts)
    while waiting:
        events = store.get_events_by_artifact_ids(waiting)
        makers = {event.execution_id for event in events if event.type == mlmd.Event.OUTPUT} - steps.keys()
        for execution in store.get_executions_by_id(sorted(makers)):
            contexts = store.get_contexts_by_execution(execution.id)
            run_id = next((context.name for context in contexts if context.type == RUN_TYPE), "")
            # A cached execution has the outputs of the one that made them.
            if execution.last_known_state == mlmd.Execution.COMPLETE and run_id in run_ids:
                steps[execution.id] = Step(execution, component_name(execution), run_id)
        makers &= steps.keys()
        found = store.get_events_by_execution_ids(sorted(makers)) if makers else []
        new = {event.artifact_id for event in found} - artifacts.keys()
        artifacts |= {artifact.id: artifact for artifact in store.get_artifacts_by_id(sorted(new))} if new else {}
        waiting = sorted(new & {event.artifact_id for event in found if event.type == mlmd.Event.INPUT})
    return artifacts, sorted(steps.values(), key=lambda step: -step.execution.id)


def _sections(
    path: str, is_there: bool, artifacts: dict[int, mlmd.Artifact], steps: list[Step], runs: dict[str, Run]
) -> dict[str, list[Row]]:
    by_type = {artifact.type: artifact for artifact in artifacts.values()}
    by_node = {step.node: step for step in reversed(steps)}
    pushing, training = runs[by_node["Pusher"].run_id], runs[by_node["Trainer"].run_id]
    verdict = Verdict.from_json(text_property(by_type["ModelEvaluation"], VERDICT_PROPERTY))
    metrics = {name: value for name, value in verdict.metrics.items() if value is not None}
    newest = verdict.newest_span.metrics.get("mean_iou") if verdict.newest_span else None
    return {
        "Version": [
            Row("folder", [path + ("" if is_there else " (removed)")]),
            Row("pushed", [f"{_time(by_node['Pusher'].execution)}, by run {pushing.run_id} on {pushing.host}"]),
            Row("trained", [f"{_time(by_node['Trainer'].execution)}, by run {training.run_id} on {training.host}"]),
            Row("compared with", [f"version {verdict.baseline_version}" if verdict.baseline_version else "nothing"]),
        ],
        "Data": _data(by_type["Examples"]),
        "Schema": [Row("schema.pbtxt", [_digest(os.path.join(by_type["Schema"].uri, "schema.pbtxt"))])],
        "Code": [Row("segpipe", [training.code])],
        "Packages": [Row(name, [text]) for name, text in training.packages.items()],
        "Metrics on the test split": [Row(in_words(name), [format_value(name, metrics[name])]) for name in metrics],
        "Metrics on the newest span": [] if newest is None else [Row("mean IoU", [format_value("mean_iou", newest)])],
        "Configuration": [
            Row(key, [yaml.safe_dump(value, sort_keys=False).removesuffix("...\n").strip()])
            for key, value in _used(training.configuration).items()
            if key not in WITHOUT_EFFECT
        ],
        "Steps": [
            Row(step.node, [f"{_time(step.execution)}, execution {step.execution.id} of run {step.run_id}"])
            for step in reversed(steps)
        ],
    }


def _used(value: Any) -> Any:
    """Settings without those that are not set."""
    if not isinstance(value, dict):
        return value
    used = {key: _used(item) for key, item in value.items()}
    return {key: item for key, item in used.items() if item not in (None, "", [], {})}


def _graph(
    store: Store, run: Run, state: VersionState, artifacts: dict[int, mlmd.Artifact], steps: list[Step]
) -> list[Node]:
    """A box for each step, for the data and for the versions."""
    by_type = {artifact.type: artifact for artifact in artifacts.values()}
    names = {step.execution.id: step.node for step in steps}
    events = store.get_events_by_execution_ids(sorted(names))
    makers = {event.artifact_id: names[event.execution_id] for event in events if event.type == mlmd.Event.OUTPUT}
    used: dict[str, list[str]] = {name: [] for name in names.values()}
    for event in events:
        if event.type == mlmd.Event.INPUT and event.artifact_id in makers:
            used[names[event.execution_id]].append(makers[event.artifact_id])
    folders = dict.fromkeys(folder for of_split in _inputs(by_type["Examples"]).values() for folder in of_split)
    train = run.configuration.get("train", {})
    more = {
        "Trainer": f"{train['minutes']:g} minutes" if train.get("minutes") else f"{train.get('epochs')} epochs",
        "Evaluator": f"mean IoU {format_value('mean_iou', run.mean_iou)}",
        "Pusher": f"on {run.host}",
    }
    data, deployed = "Data", f"Version {run.baseline_version}"
    shown = list(folders)[-_SHOWN_FOLDERS:]
    lines = ([f"{len(folders)} folders, the last:"] if len(folders) > len(shown) else []) + shown
    nodes = [Node(data, tuple(lines), kind="thing")]
    if run.baseline_version:
        nodes.append(Node(deployed, ("compared with",), kind="thing"))
    for step in reversed(steps):
        is_own = step.run_id == run.run_id
        begun = {"ImportExampleGen": [data], "DeployedModel": [deployed]}.get(step.node, [])
        nodes.append(
            Node(
                step.node,
                tuple(filter(None, (more.get(step.node), _time(step.execution).removesuffix(" UTC")))),
                (*begun, *used[step.node]),
                "step" if is_own else "earlier",
            )
        )
    return [*nodes, Node(f"Version {run.pushed_version}", (state,), ("Pusher",), "thing")]


def _inputs(examples: mlmd.Artifact) -> dict[str, list[str]]:
    """The folders of each split."""
    return json.loads(examples.custom_properties[INPUTS_PROPERTY].string_value)


def _data(examples: mlmd.Artifact) -> list[Row]:
    rows = [Row(split, ["\n".join(folders)]) for split, folders in _inputs(examples).items()]
    # Without spans there is none.
    if span := examples.custom_properties["span"].int_value:
        rows.append(Row("newest span", [str(span)]))
    rows.append(Row("fingerprint", [examples.custom_properties["input_fingerprint"].string_value]))
    report = os.path.join(examples.uri, REPORT_FILE)
    if exists(report):
        for conversion in json.loads(read_bytes(report))["conversions"]:
            counts = ", ".join(f"{split} {values['examples']}" for split, values in conversion["splits"].items())
            rows.append(
                Row("conversion", [f"{conversion['folder']}: {counts}; set aside {len(conversion['set_aside'])}"])
            )
    return rows


def _digest(path: str) -> str:
    if not exists(path):
        return f"{path} (removed)"
    return f"{path}, SHA-256 {hashlib.sha256(read_bytes(path)).hexdigest()}"


def _time(item: Any) -> str:
    moment = datetime.datetime.fromtimestamp(item.last_update_time_since_epoch / 1000, datetime.timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
