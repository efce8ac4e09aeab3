"""What a pushed version was made of, followed back through ML Metadata."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

import yaml
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.evaluator import VERDICT_PROPERTY
from components.import_example_gen import INPUTS_PROPERTY
from data.base.errors import UserError
from data.base.files import exists, read_bytes
from data.contract import REPORT_FILE
from models.serving.versions import servable_versions
from pipeline.config import Config
from pipeline.records.metadata import database_of
from pipeline.records.runs import RUN_TYPE, Run, load_runs
from pipeline.records.sections import Row


@dataclasses.dataclass(frozen=True)
class Lineage:
    """What a version was made of.

    Attributes:
      sections: rows of one column by heading.
      report: path of the report of the run that pushed it, or None.
    """

    sections: dict[str, list[Row]]
    report: str | None


@dataclasses.dataclass(frozen=True)
class Step:
    """An execution that something was really made by, not found in the cache.

    Attributes:
      execution: as ML Metadata has it.
      node: the component.
      run_id: the run in which it was executed.
    """

    execution: mlmd.Execution
    node: str
    run_id: str


def trace(config: Config, version: int) -> Lineage:
    """Follows a version back.

    Raises:
      UserError: if the metadata does not know of it.
    """
    database = database_of(config)
    runs = {run.run_id: run for run in load_runs(database)}
    store = database.open(read_only=True)
    path = os.path.join(config.push_destination, str(version))
    pushed = _pushed_model(store, path)
    if pushed is None:
        raise UserError(
            f"the metadata in {database.description} knows of no push to {path}; `segpipe history` lists all"
        )
    artifacts, steps = upstream(store, [pushed])
    is_there = version in servable_versions(config.push_destination)
    return Lineage(_sections(path, is_there, artifacts, steps, runs), runs[steps[0].run_id].report)


def statistics_of(config: Config, version: int) -> str | None:
    """TFDV's statistics of what a version was trained on, `FeatureStats.pb`; None if they are not there any more."""
    database = database_of(config)
    if not database.exists:
        return None
    store = database.open(read_only=True)
    pushed = _pushed_model(store, os.path.join(config.push_destination, str(version)))
    for artifact in upstream(store, [pushed])[0].values() if pushed else ():
        path = os.path.join(artifact.uri, "Split-train", "FeatureStats.pb")
        if artifact.type == "ExampleStatistics" and exists(path):
            return path
    return None


def _pushed_model(store: metadata_store.MetadataStore, path: str) -> mlmd.Artifact | None:
    """The artifact of the push that made a version's folder."""
    for artifact in store.get_artifacts_by_type("PushedModel"):
        properties = artifact.custom_properties
        if properties["pushed"].int_value and properties["pushed_destination"].string_value == path:
            return artifact
    return None


def upstream(
    store: metadata_store.MetadataStore, outputs: Iterable[mlmd.Artifact]
) -> tuple[dict[int, mlmd.Artifact], list[Step]]:
    """Everything that artifacts were made of.

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
            # A cached execution has the outputs of the one that made them.
            if execution.last_known_state == mlmd.Execution.COMPLETE:
                contexts = store.get_contexts_by_execution(execution.id)
                names = {context.type: context.name for context in contexts}
                node = names.get("node", "").partition(".")[2]
                steps[execution.id] = Step(execution, node, names.get(RUN_TYPE, ""))
        found = store.get_events_by_execution_ids(sorted(makers & steps.keys())) if makers & steps.keys() else []
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
    verdict = json.loads(by_type["ModelEvaluation"].custom_properties[VERDICT_PROPERTY].string_value)
    metrics = {name: value for name, value in verdict["metrics"].items() if value is not None}
    newest = (verdict.get("newest_span") or {}).get("metrics") or {}
    return {
        "Version": [
            Row("folder", [path + ("" if is_there else " (not there any more)")]),
            Row("pushed", [f"{_time(by_node['Pusher'].execution)}, by run {pushing.run_id} on {pushing.host}"]),
            Row("trained", [f"{_time(by_node['Trainer'].execution)}, by run {training.run_id} on {training.host}"]),
            Row(
                "compared with",
                [f"version {verdict['baseline_version']}" if verdict["baseline_version"] else "nothing"],
            ),
        ],
        "Data": _data(by_type["Examples"]),
        "Schema": [Row("schema.pbtxt", [_digest(os.path.join(by_type["Schema"].uri, "schema.pbtxt"))])],
        "Code": [Row("segpipe", [training.code])],
        "Packages": [Row(name, [text]) for name, text in training.packages.items()],
        "Metrics on the test split": [Row(name, [f"{value:.4f}"]) for name, value in metrics.items()],
        "Metrics on the newest span": [Row(name, [f"{newest[name]:.4f}"]) for name in ("mean_iou",) if name in newest],
        "Configuration": [
            Row(key, [yaml.safe_dump(value, sort_keys=False).removesuffix("...\n").strip()])
            for key, value in training.configuration.items()
            if key != "kubeflow"
        ],
        "Steps": [
            Row(step.node, [f"{_time(step.execution)}, execution {step.execution.id} of run {step.run_id}"])
            for step in reversed(steps)
        ],
    }


def _data(examples: mlmd.Artifact) -> list[Row]:
    inputs = json.loads(examples.custom_properties[INPUTS_PROPERTY].string_value)
    rows = [Row(split, ["\n".join(folders)]) for split, folders in inputs.items()]
    rows.append(Row("newest span", [str(examples.custom_properties["span"].int_value)]))
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
        return f"{path} (not there any more)"
    return f"{path}, SHA-256 {hashlib.sha256(read_bytes(path)).hexdigest()}"


def _time(item: Any) -> str:
    moment = datetime.datetime.fromtimestamp(item.last_update_time_since_epoch / 1000, datetime.timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
