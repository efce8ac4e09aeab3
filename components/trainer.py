"""TFX's Trainer with one more input: the data gate's statistics, for class weights and the number of steps."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor as tfx_trainer_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts, standard_component_specs
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY
from tfx.utils import json_utils

from components.data_gate import DataStatistics, read_statistics
from models.serving.versions import deployed_version, version_path

EPOCHS, MINUTES = "epochs", "minutes"


class TrainerSpec(component_spec.ComponentSpec):
    """TFX's TrainerSpec with the statistics and the number of epochs or minutes."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        EPOCHS: component_spec.ExecutionParameter(type=int, optional=True),
        MINUTES: component_spec.ExecutionParameter(type=float, optional=True),
    }
    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        # Not called `statistics`: under that name, TFX 1.21's Trainer takes the output of StatisticsGen.
        "data_statistics": component_spec.ChannelParameter(type=DataStatistics),
    }
    OUTPUTS = standard_component_specs.TrainerSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.TrainerSpec.TYPE_ANNOTATION


class Executor(tfx_trainer_executor.GenericExecutor):
    """Hands the statistics, the training's length and the model to start from to `run_fn`, in its `custom_config`."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        custom_config = json_utils.loads(exec_properties[CUSTOM_CONFIG_KEY])
        custom_config["statistics"] = read_statistics(artifact_utils.get_single_uri(input_dict["data_statistics"]))
        custom_config["deployed_model"] = _deployed_model(custom_config.get("push_destination", ""))
        # Kubeflow's parameters are whatever JSON says.
        kinds = {EPOCHS: int, MINUTES: float}
        lengths = {name: kind(exec_properties[name]) for name, kind in kinds.items() if name in exec_properties}
        custom_config["train"] = {**custom_config.get("train", {}), **lengths}
        properties = {**exec_properties, CUSTOM_CONFIG_KEY: json_utils.dumps(custom_config)}
        super().Do(input_dict, output_dict, properties)


def _deployed_model(push_destination: str) -> str:
    """The newest version at a push destination; "" if there is none, or no destination is given."""
    found = deployed_version(push_destination) if push_destination else None
    return "" if found is None else version_path(push_destination, found)


class Trainer(base_component.BaseComponent):
    """Runs a `run_fn`, as TFX's Trainer does."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        data_statistics: types.BaseChannel,
        run_fn: str,
        custom_config: dict[str, Any],
        hyperparameters: types.BaseChannel | None = None,
        epochs: int | None = None,
        minutes: float | None = None,
    ):
        """Constructs the trainer.

        Args:
          examples: tf.Examples; the splits `train` and `eval` are used.
          transform_graph: output of TFX's Transform.
          data_statistics: output of the data gate.
          run_fn: import path of the function that trains.
          custom_config: JSON-compatible settings for that function.
          hyperparameters: the best values that a Tuner found, in the form that TFX's Trainer takes.
          epochs: replaces `train.epochs` in `custom_config`; separate, so that it can be a parameter of runs.
          minutes: replaces `train.minutes` in the same way.
        """
        super().__init__(
            spec=TrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                data_statistics=data_statistics,
                hyperparameters=hyperparameters,
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                run_fn=run_fn,
                custom_config=json_utils.dumps(custom_config),
                epochs=epochs,
                minutes=minutes,
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
