"""TFX's Tuner with one more input: the data gate's statistics, as in components/trainer.py."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.tuner import executor as tfx_tuner_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts, standard_component_specs
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY
from tfx.utils import json_utils

from components.data_gate import DataStatistics, read_statistics


class TunerSpec(component_spec.ComponentSpec):
    """TFX's TunerSpec with the statistics."""

    PARAMETERS = standard_component_specs.TunerSpec.PARAMETERS
    INPUTS = {
        **standard_component_specs.TunerSpec.INPUTS,
        "data_statistics": component_spec.ChannelParameter(type=DataStatistics),
    }
    OUTPUTS = standard_component_specs.TunerSpec.OUTPUTS


class Executor(tfx_tuner_executor.Executor):
    """Passes the statistics to `tuner_fn` as `custom_config["statistics"]`."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        statistics = read_statistics(artifact_utils.get_single_uri(input_dict["data_statistics"]))
        custom_config = {**json_utils.loads(exec_properties[CUSTOM_CONFIG_KEY]), "statistics": statistics}
        super().Do(input_dict, output_dict, {**exec_properties, CUSTOM_CONFIG_KEY: json_utils.dumps(custom_config)})


class Tuner(base_component.BaseComponent):
    """Runs a `tuner_fn`, as TFX's Tuner does."""

    SPEC_CLASS = TunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        data_statistics: types.BaseChannel,
        tuner_fn: str,
        custom_config: dict[str, Any],
    ):
        """Constructs the tuner.

        Args:
          examples: tf.Examples; the splits `train` and `eval` are used.
          transform_graph: output of TFX's Transform.
          data_statistics: output of the data gate.
          tuner_fn: import path of the function that returns TFX's TunerFnResult.
          custom_config: JSON-compatible settings for that function.
        """
        super().__init__(
            spec=TunerSpec(
                examples=examples,
                transform_graph=transform_graph,
                data_statistics=data_statistics,
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                tuner_fn=tuner_fn,
                custom_config=json_utils.dumps(custom_config),
                best_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
                tuner_results=types.Channel(type=standard_artifacts.TunerResults),
            )
        )
