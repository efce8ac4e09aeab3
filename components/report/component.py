"""The component that writes the report, whether or not the model passed the gate."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.data_gate import DataStatistics
from components.report import content
from data.base.files import write_text

REPORT_FILE = "report.html"


class RunReport(types.Artifact):
    """A run's report, in the file `report.html`."""

    TYPE_NAME = "components.RunReport"


class ReportSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {
        "configuration": component_spec.ExecutionParameter(type=str),
        "max_megabytes": component_spec.ExecutionParameter(type=float),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "data_statistics": component_spec.ChannelParameter(type=DataStatistics),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"report": component_spec.ChannelParameter(type=RunReport)}


class Executor(base_executor.BaseExecutor):
    """Writes the file."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        inputs = {name: artifact_utils.get_single_instance(artifacts) for name, artifacts in input_dict.items()}
        uri = artifact_utils.get_single_uri(output_dict["report"])
        html = content.render(
            inputs,
            json.loads(exec_properties["configuration"]),
            int(exec_properties["max_megabytes"] * 1e6),
            (self._context.pipeline_run_id if self._context else None) or _kubeflow_run(uri),
        )
        write_text(os.path.join(uri, REPORT_FILE), html)


def _kubeflow_run(uri: str) -> str:
    """The run's ID on Kubeflow Pipelines, which tells executors of it only by where their outputs go."""
    before, component, _ = uri.rpartition(f"/{Report.__name__}/")
    return os.path.basename(before) if component else ""


class Report(base_component.BaseComponent):
    """What a run learned, measured and decided, as one self-contained HTML file."""

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        data_statistics: types.BaseChannel,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        baseline_model: types.BaseChannel,
        evaluation: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        pushed_model: types.BaseChannel,
        configuration: dict[str, Any],
        max_megabytes: float,
    ):
        """Constructs the component.

        Args:
          examples: tf.Examples by the data contract; images of the `test` split are shown.
          data_statistics: output of the data gate.
          model: the candidate.
          model_run: the trainer's logs, for the learning curves.
          baseline_model: the deployed model that the candidate was compared with, or an empty artifact.
          evaluation: output of the Evaluator.
          infra_blessing: output of the serving check.
          pushed_model: output of the Pusher.
          configuration: the run's configuration.
          max_megabytes: largest size of the file in megabytes of 10⁶ bytes; pictures are shrunk to fit.
        """
        super().__init__(
            spec=ReportSpec(
                examples=examples,
                data_statistics=data_statistics,
                model=model,
                model_run=model_run,
                baseline_model=baseline_model,
                evaluation=evaluation,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                configuration=json.dumps(configuration),
                max_megabytes=max_megabytes,
                report=types.Channel(type=RunReport),
            )
        )
