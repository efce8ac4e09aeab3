"""What happened in the runs of a pipeline, read from ML Metadata."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
from typing import Any, Literal

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2

from data.errors import UserError
from data.locking import is_locked
from models.search_space import from_choices

ComponentState = Literal["running", "failed", "done", "cached"]
State = Literal["running", "interrupted", "failed", "tuned", "refused", "pushed", "unchanged"]
_IOU_PREFIX = "iou_"
_CHANGE = "mean_iou_change"
_REPORT_FILE = "report.html"
_REASON_PROPERTY = "segpipe_reason"


@dataclasses.dataclass(frozen=True)
class ComponentRun:
    """One component in one run."""

    name: str
    state: ComponentState
    seconds: float


@dataclasses.dataclass(frozen=True)
class Check:
    """One threshold of the gate.

    Attributes:
      metric: its name in the evaluation.
      slice: the `image/slice` that it is about, "" for the whole test split.
      value: what was measured; None if there was nothing to measure.
      bound: the least value.
      passed: whether the model reached it.
    """

    metric: str
    slice: str
    value: float | None
    bound: float
    passed: bool

    @property
    def label(self) -> str:
        """The metric in words."""
        name = "mean IoU" if self.metric == "mean_iou" else f"IoU of {self.metric.removeprefix(_IOU_PREFIX)}"
        if self.metric.startswith(_CHANGE):
            name = "change of mean IoU" + (", upper end of its 95 % interval" if self.metric != _CHANGE else "")
        return f"{name} on {self.slice}" if self.slice else name

    @property
    def key(self) -> str:
        """The threshold's key in the configuration."""
        if self.metric.startswith(_CHANGE):
            return "gate.regression"
        if self.metric == "mean_iou":
            return "gate.min_slice_mean_iou" if self.slice else "gate.min_mean_iou"
        return "gate.min_class_iou"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
      pipeline: its name.
      run_id: the time at which it started.
      state: `tuned` means that the run was to end with the tuner; `unchanged` that nothing was new: the model that a
        former run pushed was found again.
      metrics: of the evaluation on the whole test split, by name; None for what could not be measured.
      mean_iou: on the test split, or None if the run got no evaluation.
      class_iou: by class; None for a class that does not occur.
      mean_iou_interval: its 95 % confidence interval over images, or None.
      resolution: `model` or `original`: the size at which predictions and labels were compared; "" without evaluation.
      baseline_mean_iou: of the deployed model, None if there was none.
      baseline_version: of the deployed model, 0 if there was none.
      checks: what the gate looked at.
      reasons: why the model was refused or what failed.
      pushed_version: the version that holds this run's model, or None.
      pushed_path: its folder, or None.
      report: path of the HTML file, or None.
      configuration: of the run; empty if it got no report.
      components: in the order in which they ran.
    """

    pipeline: str
    run_id: str
    state: State
    metrics: dict[str, float | None]
    mean_iou: float | None
    class_iou: dict[str, float | None]
    mean_iou_interval: list[float] | None
    resolution: str
    baseline_mean_iou: float | None
    baseline_version: int
    checks: list[Check]
    reasons: list[str]
    pushed_version: int | None
    pushed_path: str | None
    report: str | None
    configuration: dict[str, Any]
    components: list[ComponentRun]


def load_runs(metadata_path: str, pipeline: str | None = None) -> list[Run]:
    """All runs of a pipeline, oldest first.

    Args:
      metadata_path: the SQLite file of ML Metadata, in the output folder of the runs.
      pipeline: name of the pipeline, or None for every one in the file.

    Raises:
      UserError: if there is no run yet.
    """
    if not os.path.exists(metadata_path):
        raise UserError(f"no run yet: there is no {metadata_path}; start one with `segpipe run`")
    is_active = is_locked(os.path.dirname(metadata_path))
    try:
        store = _open(metadata_path, metadata_store_pb2.SqliteMetadataSourceConfig.READONLY)
        node_contexts = store.get_contexts_by_type("node")
    except (errors.StatusError, RuntimeError) as error:
        raise UserError(
            f"{metadata_path} cannot be read: {error}\nIf it is damaged, move it and the folder artifacts beside it "
            "away; the next run then begins anew, and models that were pushed stay"
        ) from None
    # Contexts of nodes are named PIPELINE.NODE, and names of pipelines have no dots.
    nodes = {
        execution.id: context.name.split(".", 1)
        for context in node_contexts
        for execution in store.get_executions_by_context(context.id)
    }
    contexts = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.create_time_since_epoch)
    runs = []
    for index, context in enumerate(contexts):
        executions = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
        if executions and pipeline in (None, nodes[executions[0].id][0]):
            runs.append(_run(store, context, executions, nodes, is_active and index == len(contexts) - 1))
    if not runs:
        raise UserError(f"no run yet of a pipeline named {pipeline} in {metadata_path}")
    return runs


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of the tuner.

    Attributes:
      mean_iou: on the eval split.
      values: by dotted keys of the configuration.
    """

    mean_iou: float
    values: dict[str, Any]


def load_trials(metadata_path: str, run_id: str) -> list[Trial]:
    """The finished trials of the tuner whose values a run took, best first; none if it took none."""
    store = _open(metadata_path, metadata_store_pb2.SqliteMetadataSourceConfig.READONLY)
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    results = _outputs(store, store.get_executions_by_context(context.id))["TunerResults"]
    if results is None:
        return []
    rows = json.loads(pathlib.Path(results.uri, "tuner_results.json").read_text())
    return [Trial(row.pop("score"), from_choices({key: row[key] for key in row if key != "trial_id"})) for row in rows]


def record_failure(metadata_path: str, reason: str, since: float) -> None:
    """Keeps the reason with the newest run; TFX's local runner keeps states alone, and none of a driver that failed.

    Args:
      metadata_path: the SQLite file of ML Metadata.
      reason: which component failed and why.
      since: when the run began, in seconds since 1970: one that failed before it was recorded is not the one before.
    """
    store = _open(metadata_path, metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE)
    contexts = store.get_contexts_by_type("pipeline_run")
    newest = max(contexts, key=lambda context: context.create_time_since_epoch, default=None)
    if newest is not None and newest.create_time_since_epoch >= 1000 * since:
        newest.custom_properties[_REASON_PROPERTY].string_value = reason
        store.put_contexts([newest])


def _open(metadata_path: str, mode: int) -> metadata_store.MetadataStore:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = metadata_path
    connection.sqlite.connection_mode = mode
    return metadata_store.MetadataStore(connection)


def _run(
    store: metadata_store.MetadataStore,
    context: metadata_store_pb2.Context,
    executions: list[metadata_store_pb2.Execution],
    names: dict[int, list[str]],
    is_active: bool,
) -> Run:
    nodes = {names[execution.id][1]: execution for execution in executions}
    components = [_component(name, execution) for name, execution in nodes.items()]
    artifacts = _outputs(store, executions)
    report, reporting = artifacts["components.RunReport"], nodes.get("Report")

    reasons: list[str] = []
    evaluation = artifacts["ModelEvaluation"]
    verdict = json.loads(_text(evaluation, "verdict")) if evaluation else {}
    metrics = verdict.get("metrics") or {}
    interval = [float(metrics[name]) for name in ("mean_iou_lower", "mean_iou_upper") if metrics.get(name) is not None]
    pushed = artifacts["PushedModel"]
    is_pushed = bool(pushed and pushed.custom_properties["pushed"].int_value)
    state: State
    reason = context.custom_properties[_REASON_PROPERTY].string_value
    failed = [component.name for component in components if component.state == "failed"]
    if reason or failed:
        state = "failed"
        reasons = [reason or f"{failed[0]}: see the log"]
    elif pushed is None:
        is_tuned = components[-1].name == "Tuner" and components[-1].state in ("done", "cached")
        state = "running" if is_active else "tuned" if is_tuned else "interrupted"
    elif is_pushed:
        is_new = any(component.name == "Pusher" and component.state != "cached" for component in components)
        state = "pushed" if is_new else "unchanged"
    else:
        state = "refused"
        reasons = gate_reasons(verdict)
        serving = artifacts["InfraBlessing"]
        if serving and not serving.custom_properties["blessed"].int_value:
            reasons.append(_text(serving, "reason"))
    return Run(
        pipeline=names[executions[0].id][0],
        run_id=context.name,
        state=state,
        metrics=metrics,
        mean_iou=metrics.get("mean_iou"),
        class_iou={
            name.removeprefix(_IOU_PREFIX): value for name, value in metrics.items() if name.startswith(_IOU_PREFIX)
        },
        mean_iou_interval=interval or None,
        resolution=verdict.get("resolution", ""),
        baseline_mean_iou=(verdict.get("baseline_metrics") or {}).get("mean_iou"),
        baseline_version=verdict.get("baseline_version", 0),
        checks=[Check(**check) for check in verdict.get("checks", [])],
        reasons=reasons,
        pushed_version=int(_text(pushed, "pushed_version")) if pushed and is_pushed else None,
        pushed_path=_text(pushed, "pushed_destination") if pushed and is_pushed else None,
        report=os.path.join(report.uri, _REPORT_FILE) if report else None,
        configuration=json.loads(reporting.custom_properties["configuration"].string_value) if reporting else {},
        components=components,
    )


def _component(name: str, execution: metadata_store_pb2.Execution) -> ComponentRun:
    execution_type = metadata_store_pb2.Execution
    states: dict[int, ComponentState] = {
        execution_type.COMPLETE: "done",
        execution_type.CACHED: "cached",
        execution_type.FAILED: "failed",
    }
    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return ComponentRun(
        name,
        states.get(execution.last_known_state, "running"),
        round(milliseconds / 1000, 1),
    )


def _outputs(
    store: metadata_store.MetadataStore, executions: list[metadata_store_pb2.Execution]
) -> dict[str, metadata_store_pb2.Artifact | None]:
    """The newest finished artifact of each type that these executions put out, freshly made or from the cache."""
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    ids = {event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    finished = [
        artifact
        for artifact in store.get_artifacts_by_id(sorted(ids))
        if artifact.state == metadata_store_pb2.Artifact.LIVE
    ]
    by_type: dict[str, metadata_store_pb2.Artifact | None] = collections.defaultdict(lambda: None)
    by_type.update({artifact.type: artifact for artifact in finished})
    return by_type


def _text(artifact: metadata_store_pb2.Artifact, name: str) -> str:
    return artifact.custom_properties[name].string_value


def gate_reasons(verdict: dict[str, Any]) -> list[str]:
    """Why the gate refused a model, by what `components.evaluator.verdict` returned."""
    checks = [Check(**check) for check in verdict.get("checks", [])]
    return [_reason(check, verdict) for check in checks if not check.passed]


def _reason(check: Check, verdict: dict[str, Any]) -> str:
    """Why a model did not pass a check."""
    if check.value is None:
        return f"{check.label} could not be measured: nothing of it occurs in the test split"
    if not check.metric.startswith(_CHANGE):
        return f"{check.label} {check.value:.4f} is {check.bound - check.value:.4f} below {check.key} {check.bound:g}"
    candidate, deployed = (verdict[key]["mean_iou"] for key in ("metrics", "baseline_metrics"))
    lower = (
        f"mean IoU {candidate:.4f} is {deployed - candidate:.4f} below the deployed model's {deployed:.4f} "
        f"(version {verdict['baseline_version']})"
    )
    if check.metric == _CHANGE:
        return f"{lower}; gate.regression allows {-check.bound:g}"
    return f"{lower}; that is significantly worse: the 95 % interval of the difference ends at {check.value:.4f}"
