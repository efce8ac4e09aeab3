"""Runs as they are recorded, at once and without running anything."""

import json
import pathlib
import socket

from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.spans import INPUTS_PROPERTY
from models.evaluation.gate import MIN_MEAN_IOU_KEY, REGRESSION_KEY, Check, Verdict
from models.serving.versions import MARKERS, version_path
from pipeline.records import runs
from pipeline.records.metadata import database_of


class Recorded:
    """The runs of a configuration, in its database."""

    def __init__(self, config):
        self.config, self.store, self.last_value = config, database_of(config).open(), None

    def __call__(
        self,
        run_id,
        mean_iou=None,
        version=None,
        bound=0.5,
        failure="",
        train=(),
        test_digest="a",
        report=True,
        curves="",
    ):
        """A run that measured a model, pushed it as a version, or failed."""
        context = mlmd.Context(name=run_id, type_id=self.store.put_context_type(mlmd.ContextType(name=runs.RUN_TYPE)))
        properties = {
            runs.OUTPUT: self.config.output,
            runs.HOST: socket.gethostname(),
            runs.CONFIGURATION: self.config.model_dump_json(),
            runs.FAILURE: failure,
            runs.CODE: "1a2b3c 0123456789abcdef",
        }
        for name, value in properties.items():
            context.custom_properties[name].string_value = value
        (context.id,) = self.store.put_contexts([context])
        self._put(context, "ImportExampleGen", "Examples", {INPUTS_PROPERTY: json.dumps({"train": list(train)})})
        if mean_iou is None:
            return
        if curves:
            self._put(context, "Trainer", "ModelRun", {}, curves)
        metrics = {"mean_iou": mean_iou, "mean_iou_lower": mean_iou - 0.03, "mean_iou_upper": mean_iou + 0.04}
        checks = [Check("mean_iou", "", mean_iou, bound, mean_iou >= bound, key=MIN_MEAN_IOU_KEY)]
        if self.last_value is not None:
            change = mean_iou - self.last_value
            checks.append(
                Check("mean_iou_change", "", change, -0.02, change >= -0.02, "", REGRESSION_KEY, self.last_value)
            )
        verdict = Verdict(metrics, None, checks, 0, "original", test_digest=test_digest)
        self._put(context, "Evaluator", "ModelEvaluation", {"verdict": verdict.to_json()})
        pushed = {"pushed": int(version is not None)}
        if version is not None:
            self.last_value = mean_iou
            path = pathlib.Path(version_path(self.config.push_destination, version))
            path.mkdir(parents=True)
            for name in MARKERS:
                (path / name).touch()
            (path / "variables").mkdir()
            (path / "variables" / "variables.data").write_bytes(bytes(2000))
            pushed |= {"pushed_version": str(version), "pushed_destination": str(path)}
        self._put(context, "Pusher", "PushedModel", pushed)
        folder = pathlib.Path(self.config.artifacts_path, "Report", "report", str(context.id))
        if report:
            folder.mkdir(parents=True)
            (folder / "report.html").write_text(f"<!DOCTYPE html><p>report of {run_id}")
            log = pathlib.Path(self.config.logs_path, runs.log_name(run_id))
            log.parent.mkdir(exist_ok=True)
            log.touch()
        self._put(context, "Report", "components.RunReport", {}, str(folder))

    def _put(self, context, component, artifact_type, properties, uri=""):
        """An execution of a component, with what it put out."""
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=artifact_type))
        artifact = mlmd.Artifact(type_id=type_id, uri=uri, state=mlmd.Artifact.LIVE)
        for name, value in properties.items():
            setattr(artifact.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value)
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=f"components.{component}"))
        execution = mlmd.Execution(type_id=type_id, last_known_state=mlmd.Execution.COMPLETE)
        event = mlmd.Event(type=mlmd.Event.OUTPUT)
        self.store.put_execution(execution, [(artifact, event)], [context])
