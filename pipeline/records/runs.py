"""What happened in the runs of a pipeline, read from ML Metadata."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import socket
import uuid
from typing import Any, Literal

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2

from data.base.code_digest import code_version, tree_digest
from data.base.errors import UserError
from data.base.files import exists, is_remote, read_bytes, write_text
from data.base.locking import is_locked
from data.base.packages import package_versions
from models.tuning.search_space import from_choices
from pipeline.config import Config, absolute
from pipeline.records.metadata import Database

ComponentState = Literal["running", "failed", "done", "cached"]
State = Literal["running", "interrupted", "unfinished", "failed", "tuned", "refused", "pushed", "unchanged"]
_IOU_PREFIX = "iou_"
_CHANGE = "mean_iou_change"
_REPORT_FILE = "report.html"
# What segpipe keeps with a run's context.
_REASON, _OUTPUT, _HOST = "segpipe_reason", "segpipe_output", "segpipe_host"
_CONFIGURATION, _CODE, _PACKAGES = "segpipe_configuration", "segpipe_code", "segpipe_packages"
_CAUSE = "segpipe_cause"
_OWNER = "artifacts-owner.txt"
RUN_TYPE = "pipeline_run"


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
      host: name of the machine where it ran.
      output: folder of its artifacts and logs there.
      state: `tuned` means that the run was to end with the tuner; `unchanged` that nothing was new: the model that a
        former run pushed was found again; `unfinished` that it runs, or was interrupted, on another machine.
      inputs: folders of the examples, by split.
      metrics: of the evaluation on the whole test split, by name; None for what could not be measured.
      mean_iou: on the test split, or None if the run got no evaluation.
      class_iou: by class; None for a class that does not occur.
      mean_iou_interval: its 95 % confidence interval over images, or None.
      resolution: `model` or `original`: the size at which predictions and labels were compared; "" without evaluation.
      baseline_mean_iou: of the deployed model, None if there was none.
      baseline_version: of the deployed model, 0 if there was none.
      newest_span: number of the newest span, None if the test split is of the same.
      newest_mean_iou: on that span's own test split.
      newest_baseline_mean_iou: of the deployed model, likewise.
      checks: what the gate looked at.
      reasons: why the model was refused or what failed.
      pushed_version: the version that holds this run's model, or None.
      pushed_path: its folder, or None.
      report: path of the HTML file, or None.
      configuration: of the run.
      code: git's name of the commit, and a digest.
      packages: versions of what the results depend on.
      cause: a digest of all that the results depend on.
      components: in the order in which they ran.
    """

    pipeline: str
    run_id: str
    host: str
    output: str
    state: State
    inputs: dict[str, list[str]]
    metrics: dict[str, float | None]
    mean_iou: float | None
    class_iou: dict[str, float | None]
    mean_iou_interval: list[float] | None
    resolution: str
    baseline_mean_iou: float | None
    baseline_version: int
    newest_span: int | None
    newest_mean_iou: float | None
    newest_baseline_mean_iou: float | None
    checks: list[Check]
    reasons: list[str]
    pushed_version: int | None
    pushed_path: str | None
    report: str | None
    configuration: dict[str, Any]
    code: str
    packages: dict[str, str]
    cause: str
    components: list[ComponentRun]


class NoRunError(UserError):
    """There is no run yet."""


def load_runs(database: Database, pipeline: str | None = None) -> list[Run]:
    """All runs of a pipeline, oldest first.

    Args:
      database: where they are recorded.
      pipeline: name of the pipeline, or None for every one in the database.

    Raises:
      NoRunError: if there is no run yet.
      UserError: if the database cannot be read.
    """
    if not database.exists:
        raise NoRunError(f"no run yet: there is no {database.description}; start one with `segpipe run`")
    store = database.open(read_only=True)
    try:
        contexts = store.get_contexts_by_type(RUN_TYPE)
        names = _node_names(store)
        runs = [
            _run(store, context, _executions(store, context), names)
            for context in sorted(contexts, key=lambda context: context.create_time_since_epoch)
            if pipeline in (None, _configuration(context).get("name"))
        ]
    except errors.StatusError as error:
        raise database.failure(error) from None
    newest = {run.output: run.run_id for run in runs}
    runs = [
        dataclasses.replace(run, state="interrupted")
        if run.state == "running" and run.run_id != newest[run.output]
        else run
        for run in runs
    ]
    if not runs:
        raise NoRunError(f"no run yet of a pipeline named {pipeline} in {database.description}")
    return runs


def load_run(database: Database, run_id: str) -> Run:
    """A run that has begun."""
    store = database.open(read_only=True)
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    return _run(store, context, _executions(store, context), _node_names(store))


def begin_run(database: Database, run_id: str, config: Config) -> None:
    """Records a run before TFX does, with what it is made of.

    Raises:
      UserError: if the database cannot be used.
    """
    context = metadata_store_pb2.Context(name=run_id)
    facts = {
        _OUTPUT: absolute(config.output),
        _HOST: socket.gethostname(),
        _CONFIGURATION: config.model_dump_json(),
        _CODE: " ".join(filter(None, (code_version(), tree_digest()))),
        _PACKAGES: json.dumps(package_versions()),
        _CAUSE: cause_of(config),
    }
    for name, value in facts.items():
        context.custom_properties[name].string_value = value
    store = database.open()
    try:
        context.type_id = store.put_context_type(metadata_store_pb2.ContextType(name=RUN_TYPE))
        store.put_contexts([context])
    except errors.StatusError as error:
        raise database.failure(error) from None


def cause_of(config: Config) -> str:
    """A digest of data, configuration, code and packages: two runs with the same one come to the same.

    It is as quick as listing the files: of each the size and the time of its last change count.
    """
    digest = hashlib.sha256()
    settings = config.model_dump(mode="json", exclude={"kubeflow", "notify", "retrain", "beam", "metadata"})
    for part in (settings, package_versions(), tree_digest()):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\0")
    for file in config.data.input_files():
        digest.update(f"{file.path} {file.size} {file.changed}\0".encode())
    return digest.hexdigest()[:16]


def _executions(
    store: metadata_store.MetadataStore, context: metadata_store_pb2.Context
) -> list[metadata_store_pb2.Execution]:
    return sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)


def _node_names(store: metadata_store.MetadataStore) -> dict[int, str]:
    """The node of each execution, by its id."""
    # Contexts of nodes are named PIPELINE.NODE, and names of pipelines have no dots.
    return {
        execution.id: context.name.split(".", 1)[1]
        for context in store.get_contexts_by_type("node")
        for execution in store.get_executions_by_context(context.id)
    }


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of the tuner.

    Attributes:
      mean_iou: on the eval split.
      values: by dotted keys of the configuration.
    """

    mean_iou: float
    values: dict[str, Any]


def load_trials(database: Database, run_id: str) -> list[Trial]:
    """The finished trials of the tuner whose values a run took, best first; none if it took none."""
    store = database.open(read_only=True)
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    results = _outputs(store, store.get_executions_by_context(context.id))["TunerResults"]
    if results is None:
        return []
    rows = json.loads(read_bytes(os.path.join(results.uri, "tuner_results.json")))
    return [Trial(row.pop("score"), from_choices({key: row[key] for key in row if key != "trial_id"})) for row in rows]


def claim_artifacts(config: Config) -> None:
    """Makes a folder of artifacts that is not in the output folder belong to it, and to no other.

    The folders of artifacts are numbered by the metadata: with two of them, or a new one, the same numbers would come
    again, and artifacts be mixed or deleted.

    Raises:
      UserError: if it belongs to another output folder, or to one whose metadata is gone.
    """
    if not config.artifacts:
        return
    here, there = os.path.join(config.output, _OWNER), os.path.join(config.artifacts_path, _OWNER)
    own = read_bytes(here).decode() if exists(here) else ""
    found = read_bytes(there).decode() if exists(there) else ""
    if found and found != own:
        raise UserError(
            f"artifacts: {config.artifacts_path} has artifacts of another output folder than {config.output}, or of "
            "one that was deleted; name a folder for these alone, or delete that one"
        )
    if not found:
        own = own or uuid.uuid4().hex
        if not is_remote(there):
            os.makedirs(config.artifacts_path, exist_ok=True)
        write_text(here, own)
        write_text(there, own)


def forget_pushes(database: Database, destination: str) -> None:
    """Tells the metadata that what was pushed to a destination is gone, so that the next push is no cached one."""
    store = database.open()
    lost = [
        artifact
        for artifact in (store.get_artifacts_by_type("PushedModel") if database.exists else [])
        if os.path.dirname(_text(artifact, "pushed_destination")) == destination
    ]
    for artifact in lost:
        artifact.state = metadata_store_pb2.Artifact.DELETED
    if lost:
        store.put_artifacts(lost)


def record_failure(database: Database, run_id: str, reason: str) -> None:
    """Keeps the reason with a run; TFX's local runner keeps states alone, and none of a driver that failed."""
    store = database.open()
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    context.custom_properties[_REASON].string_value = reason
    store.put_contexts([context])


def _run(
    store: metadata_store.MetadataStore,
    context: metadata_store_pb2.Context,
    executions: list[metadata_store_pb2.Execution],
    names: dict[int, str],
) -> Run:
    def fact(name: str) -> str:
        return context.custom_properties[name].string_value

    nodes = {names[execution.id]: execution for execution in executions}
    components = [_component(name, execution) for name, execution in nodes.items()]
    artifacts = _outputs(store, executions)
    report, examples = artifacts["components.RunReport"], artifacts["Examples"]

    reasons: list[str] = []
    evaluation = artifacts["ModelEvaluation"]
    verdict = json.loads(_text(evaluation, "verdict")) if evaluation else {}
    metrics = verdict.get("metrics") or {}
    newest = verdict.get("newest_span") or {}
    interval = [float(metrics[name]) for name in ("mean_iou_lower", "mean_iou_upper") if metrics.get(name) is not None]
    pushed = artifacts["PushedModel"]
    is_pushed = bool(pushed and pushed.custom_properties["pushed"].int_value)
    state: State
    reason = fact(_REASON)
    failed = [component.name for component in components if component.state == "failed"]
    if reason or failed:
        state = "failed"
        reasons = [reason or f"{failed[0]}: see the log"]
    elif pushed is None:
        is_tuned = bool(components) and components[-1].name == "Tuner" and components[-1].state in ("done", "cached")
        state = "tuned" if is_tuned else _unfinished(fact(_HOST), fact(_OUTPUT))
    elif is_pushed:
        is_new = any(component.name == "Pusher" and component.state != "cached" for component in components)
        state = "pushed" if is_new else "unchanged"
    else:
        state = "refused"
        reasons = gate_reasons(verdict)
        serving = artifacts["InfraBlessing"]
        if serving and not serving.custom_properties["blessed"].int_value:
            reasons.append(_text(serving, "reason"))
        if _text(pushed, "reason"):
            reasons.append(_text(pushed, "reason"))
    return Run(
        pipeline=_configuration(context).get("name", ""),
        run_id=context.name,
        host=fact(_HOST),
        output=fact(_OUTPUT),
        state=state,
        inputs=json.loads(_text(examples, "inputs") or "{}") if examples else {},
        metrics=metrics,
        mean_iou=metrics.get("mean_iou"),
        class_iou={
            name.removeprefix(_IOU_PREFIX): value for name, value in metrics.items() if name.startswith(_IOU_PREFIX)
        },
        mean_iou_interval=interval or None,
        resolution=verdict.get("resolution", ""),
        baseline_mean_iou=(verdict.get("baseline_metrics") or {}).get("mean_iou"),
        baseline_version=verdict.get("baseline_version", 0),
        newest_span=newest.get("span"),
        newest_mean_iou=(newest.get("metrics") or {}).get("mean_iou"),
        newest_baseline_mean_iou=(newest.get("baseline_metrics") or {}).get("mean_iou"),
        checks=[Check(**check) for check in verdict.get("checks", [])],
        reasons=reasons,
        pushed_version=int(_text(pushed, "pushed_version")) if pushed and is_pushed else None,
        pushed_path=_text(pushed, "pushed_destination") if pushed and is_pushed else None,
        report=os.path.join(report.uri, _REPORT_FILE) if report else None,
        configuration=_configuration(context),
        code=fact(_CODE),
        packages=json.loads(fact(_PACKAGES) or "{}"),
        cause=fact(_CAUSE),
        components=components,
    )


def _configuration(context: metadata_store_pb2.Context) -> dict[str, Any]:
    return json.loads(context.custom_properties[_CONFIGURATION].string_value or "{}")


def _unfinished(host: str, output: str) -> State:
    if host != socket.gethostname():
        return "unfinished"
    return "running" if os.path.isdir(output) and is_locked(output) else "interrupted"


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
    """The newest finished artifact of each type that these executions put out, freshly made or from the cache.

    Those that were cleaned away are among them; their properties are still known.
    """
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    ids = {event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    finished = [
        artifact
        for artifact in store.get_artifacts_by_id(sorted(ids))
        if artifact.state in (metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED)
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
