"""What happened in the runs of a pipeline, read from ML Metadata."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from typing import Any, Literal

from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.base.errors import UserError
from data.base.files import read_bytes
from data.base.locking import is_locked
from models.evaluation.gate import VERDICT_PROPERTY, Best, Check, Verdict, why_not_pushed
from models.evaluation.metric_table import of_classes
from models.exports.exports import MeasuredExport
from models.tuning.search_space import from_choices
from pipeline.config import Config
from pipeline.records.metadata import Database, Store, database_of

ComponentState = Literal["running", "failed", "done", "cached"]
State = Literal["running", "interrupted", "unfinished", "failed", "tuned", "refused", "pushed", "unchanged"]
# The states of runs that came to a decision about a model, and need no second try.
DECIDED: tuple[State, ...] = ("pushed", "refused", "unchanged")
# Sections of the configuration on which results do not depend.
WITHOUT_EFFECT = ("kubeflow", "notify", "track", "retrain", "monitor", "beam", "metadata")
_REPORT_FILE = "report.html"
# The type of TFX's contexts of runs, and the properties that segpipe adds to its own.
RUN_TYPE = "pipeline_run"
OUTPUT, HOST, CONFIGURATION = "segpipe_output", "segpipe_host", "segpipe_configuration"
CODE, PACKAGES, INPUTS_DIGEST = "segpipe_code", "segpipe_packages", "segpipe_inputs_digest"
FAILURE = "segpipe_reason"


@dataclasses.dataclass(frozen=True)
class ComponentRun:
    """One component in one run."""

    name: str
    state: ComponentState
    seconds: float


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
      pipeline: its name.
      run_id: the time at which it started.
      host: name of the machine on which it ran.
      output: folder of its artifacts and logs on that machine.
      state: `pushed`: its model passed the gate and is at the push destination; `unchanged`: it found the model that an
        earlier run pushed; `tuned`: it was to end with the tuner; `failed`: a component failed, after Pusher perhaps
        (see `has_pushed`); `unfinished`: it runs, or was interrupted, on another machine.
      inputs: folders of the examples, by split.
      metrics: the evaluation on the whole test split, by name; None for what could not be measured.
      mean_iou: on the test split, or None if the run got no evaluation.
      class_iou: by class; None for a class that does not occur.
      mean_iou_interval: its 95 % confidence interval over images, or None.
      resolution: `model` or `original`, the size at which predictions and labels were compared; "" without evaluation.
      baseline_mean_iou: that of the version it was compared with, or None if there was none.
      baseline_version: the version that was deployed when the gate decided, with which the model was compared; 0 if
        there was none. If `unchanged`, the gate may have decided in an earlier run, which pushed the model.
      baseline_metrics: of that version on the same test split, as `metrics`.
      best: the best of the last versions on the same test examples; None if the gate looks at the deployed one alone.
      test_digest: of the test examples; runs of the same can be compared. "" without evaluation.
      newest_span: number of the newest span, or None if the test split is from that span.
      newest_mean_iou: on the newest span's own test split.
      newest_baseline_mean_iou: on that split, that of the version it was compared with.
      checks: the gate's thresholds with what was measured.
      exports: what was measured of the SavedModel and its exports, by name; empty where none were asked for.
      reasons: why the model was refused or what failed.
      pushed_version: the version that holds this run's model, or None.
      pushed_path: that version's folder, or None.
      has_pushed: whether this run pushed that version, whatever failed after; False if an earlier one did.
      report: path of the HTML file, or None.
      folders: where its `examples`, `model`, `model_run` (logs of the training) and `evaluation` are, as far as it has
        them; `clean` may have deleted them.
      configuration: the run's whole configuration.
      code: git's name of the commit, and a digest.
      packages: versions of the packages that the results depend on.
      inputs_digest: a digest of the data, configuration, code and packages.
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
    baseline_metrics: dict[str, float | None] | None
    best: Best | None
    test_digest: str
    newest_span: int | None
    newest_mean_iou: float | None
    newest_baseline_mean_iou: float | None
    checks: list[Check]
    exports: dict[str, MeasuredExport]
    reasons: list[str]
    pushed_version: int | None
    pushed_path: str | None
    has_pushed: bool
    report: str | None
    folders: dict[str, str]
    configuration: dict[str, Any]
    code: str
    packages: dict[str, str]
    inputs_digest: str
    components: list[ComponentRun]


class NoRunError(UserError):
    """There is no run yet."""


def load_runs(database: Database, pipeline: str | None = None) -> list[Run]:
    """All runs of a pipeline, oldest first.

    Args:
      database: where they are recorded; runs of other TFX pipelines in it are left out.
      pipeline: name of the pipeline, or None for all of segpipe's.

    Raises:
      NoRunError: if there is no run yet.
      UserError: if the database cannot be read.
    """
    if not database.exists:
        raise NoRunError(f"no run yet: {database.description} does not exist; start a run with `segpipe run`")
    store = database.open(read_only=True)
    try:
        contexts = [context for context in store.get_contexts_by_type(RUN_TYPE) if _is_ours(context)]
        runs = [
            _run(store, context)
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
        name = f" of a pipeline named {pipeline}" if pipeline else ""
        raise NoRunError(f"no run yet{name} in {database.description}; start one with `segpipe run`")
    return runs


def own_runs(config: Config) -> list[Run]:
    """The pipeline's runs in its output folder, oldest first.

    Raises:
      UserError: if the metadata cannot be read.
    """
    try:
        runs = load_runs(database_of(config), config.name)
    except NoRunError:
        return []
    return [run for run in runs if run.output == os.path.abspath(config.output)]


def pushed_runs(runs: list[Run], destination: str) -> dict[int, Run]:
    """The runs that pushed to a destination, by version, whatever failed in them after the push."""
    by_version: dict[int, Run] = {}
    for run in runs:
        if run.pushed_version and os.path.dirname(str(run.pushed_path)) == destination:
            # Later ones found it there. If the first was killed before that was recorded, the next stands for it.
            by_version.setdefault(run.pushed_version, run)
    return by_version


def load_run(database: Database, run_id: str) -> Run:
    """A run that has begun."""
    store = database.open(read_only=True)
    return _run(store, store.get_context_by_type_and_name(RUN_TYPE, run_id))


def log_name(run_id: str) -> str:
    """Name of a run's log in the folder of logs."""
    return f"{run_id.partition('.')[0].replace(':', '-')}.log"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of the tuner.

    Attributes:
      number: counted from 1, in the order in which they began.
      mean_iou: on the eval split.
      values: by dotted keys of the configuration.
    """

    number: int
    mean_iou: float
    values: dict[str, Any]


def load_trials(database: Database, run_id: str) -> list[Trial]:
    """The finished trials of the tuner whose values a run took, best first; none if it took none."""
    store = database.open(read_only=True)
    results = run_outputs(store, run_id).get("TunerResults")
    if results is None:
        return []
    rows = json.loads(read_bytes(os.path.join(results.uri, "tuner_results.json")))
    return [Trial(int(row.pop("trial_id")) + 1, row.pop("score"), from_choices(row)) for row in rows]


def run_executions(store: Store, run_id: str) -> list[mlmd.Execution]:
    """A run's executions, in the order in which they began."""
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    return sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)


def run_outputs(store: Store, run_id: str) -> dict[str, mlmd.Artifact]:
    """The newest finished artifact of each type that a run put out."""
    return _outputs(store, run_executions(store, run_id))


def component_name(execution: mlmd.Execution) -> str:
    """The component that an execution is of."""
    # TFX names the type after the component's class, by which it also names a component that is given no other id.
    return execution.type.rpartition(".")[2]


def text_property(item: mlmd.Artifact | mlmd.Context, name: str) -> str:
    """A custom property of an artifact or a context; "" if it has none of that name."""
    return item.custom_properties[name].string_value if name in item.custom_properties else ""


def _is_ours(context: mlmd.Context) -> bool:
    """Whether segpipe began a run; other TFX pipelines may share a database."""
    return CONFIGURATION in context.custom_properties


def _run(store: Store, context: mlmd.Context) -> Run:
    executions = run_executions(store, context.name)
    components = [_component(execution) for execution in executions]
    artifacts = _outputs(store, executions)
    # The deployed model, an output of a run too, has the same type.
    model = _outputs(store, [item for item in executions if component_name(item) == "Trainer"]).get("Model")
    report, examples, pushed = (artifacts.get(name) for name in ("components.RunReport", "Examples", "PushedModel"))
    evaluation = artifacts.get("ModelEvaluation")
    text = text_property(evaluation, VERDICT_PROPERTY) if evaluation else ""
    verdict = Verdict.from_json(text) if text else Verdict({}, None, [])
    metrics, newest = verdict.metrics, verdict.newest_span
    ends = [metrics.get(name) for name in ("mean_iou_lower", "mean_iou_upper")]
    interval = [end for end in ends if end is not None]
    is_pushed = pushed is not None and _flag(pushed, "pushed")
    has_pushed = (
        pushed is not None
        and is_pushed
        and not _flag(pushed, "found")
        and any(item.name == "Pusher" and item.state != "cached" for item in components)
    )

    serving = artifacts.get("InfraBlessing")
    exports = json.loads(text_property(serving, "exports") or "{}") if serving else {}
    state: State
    reasons: list[str] = []
    failure = text_property(context, FAILURE)
    failed = [component.name for component in components if component.state == "failed"]
    if failure or failed:
        state = "failed"
        reasons = [failure or f"{failed[0]}: see the log"]
    elif pushed is None:
        is_tuned = bool(components) and components[-1].name == "Tuner" and components[-1].state in ("done", "cached")
        state = "tuned" if is_tuned else _unfinished(context)
    elif is_pushed:
        state = "pushed" if has_pushed else "unchanged"
    else:
        state = "refused"
        serving_reason = text_property(serving, "reason") if serving else ""
        reasons = why_not_pushed(verdict, serving_reason, text_property(pushed, "reason"))
    return Run(
        pipeline=_configuration(context).get("name", ""),
        run_id=context.name,
        host=text_property(context, HOST),
        output=text_property(context, OUTPUT),
        state=state,
        inputs=json.loads(text_property(examples, "inputs") or "{}") if examples else {},
        metrics=metrics,
        mean_iou=metrics.get("mean_iou"),
        class_iou=of_classes("iou", metrics),
        mean_iou_interval=interval or None,
        resolution=verdict.resolution,
        baseline_mean_iou=(verdict.baseline_metrics or {}).get("mean_iou"),
        baseline_version=verdict.baseline_version,
        baseline_metrics=verdict.baseline_metrics,
        best=verdict.best,
        test_digest=verdict.test_digest,
        newest_span=newest.span if newest else None,
        newest_mean_iou=newest.metrics.get("mean_iou") if newest else None,
        newest_baseline_mean_iou=((newest.baseline_metrics if newest else None) or {}).get("mean_iou"),
        checks=verdict.checks,
        exports={name: MeasuredExport(**values) for name, values in exports.items()},
        reasons=reasons,
        pushed_version=int(text_property(pushed, "pushed_version")) if pushed and is_pushed else None,
        pushed_path=text_property(pushed, "pushed_destination") if pushed and is_pushed else None,
        has_pushed=has_pushed,
        report=os.path.join(report.uri, _REPORT_FILE) if report else None,
        folders={
            name: artifact.uri
            for name, artifact in (
                ("examples", examples),
                ("model", model),
                ("model_run", artifacts.get("ModelRun")),
                ("evaluation", evaluation),
            )
            if artifact
        },
        configuration=_configuration(context),
        code=text_property(context, CODE),
        packages=json.loads(text_property(context, PACKAGES) or "{}"),
        inputs_digest=text_property(context, INPUTS_DIGEST),
        components=components,
    )


def _configuration(context: mlmd.Context) -> dict[str, Any]:
    return json.loads(text_property(context, CONFIGURATION) or "{}")


def _unfinished(context: mlmd.Context) -> State:
    if text_property(context, HOST) != socket.gethostname():
        return "unfinished"
    output = text_property(context, OUTPUT)
    return "running" if os.path.isdir(output) and is_locked(output) else "interrupted"


def _component(execution: mlmd.Execution) -> ComponentRun:
    states: dict[int, ComponentState] = {
        mlmd.Execution.COMPLETE: "done",
        mlmd.Execution.CACHED: "cached",
        mlmd.Execution.FAILED: "failed",
    }
    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return ComponentRun(
        component_name(execution),
        states.get(execution.last_known_state, "running"),
        round(milliseconds / 1000, 1),
    )


def _outputs(store: Store, executions: list[mlmd.Execution]) -> dict[str, mlmd.Artifact]:
    """The newest finished artifact of each type that these executions put out, freshly made or from the cache.

    Those that were cleaned away are among them; their properties are still known.
    """
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    ids = {event.artifact_id for event in events if event.type == mlmd.Event.OUTPUT}
    return {
        artifact.type: artifact
        for artifact in store.get_artifacts_by_id(sorted(ids))
        if artifact.state in (mlmd.Artifact.LIVE, mlmd.Artifact.DELETED)
    }


def _flag(artifact: mlmd.Artifact, name: str) -> bool:
    return name in artifact.custom_properties and bool(artifact.custom_properties[name].int_value)
