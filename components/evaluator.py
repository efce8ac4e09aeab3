"""TFX's Evaluator, for a baseline that may hold no model yet, with its verdict as a property of the evaluation."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tfx import types
from tfx.components.evaluator import executor as tfx_evaluator_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts, standard_component_specs
from tfx.types.standard_component_specs import (
    BASELINE_MODEL_KEY,
    EVAL_CONFIG_KEY,
    EVALUATION_KEY,
    EXAMPLE_SPLITS_KEY,
    EXAMPLES_KEY,
)
from tfx.utils import json_utils

from components.deployed_model import VERSION_PROPERTY, has_model
from models.evaluation.tfma_metrics import (
    EACH_SLICE,
    Threshold,
    thresholds_of,
    with_min_mean_iou,
    without_comparison,
    without_thresholds,
)
from models.serving.signatures import EVALUATION

# Custom property of the ModelEvaluation artifact: what `verdict` returns, as JSON.
VERDICT_PROPERTY = "verdict"


MIN_MEAN_IOU = "min_mean_iou"
NEWEST_SPLIT_KEY = "newest_split"


class EvaluatorSpec(component_spec.ComponentSpec):
    """TFX's EvaluatorSpec, the least mean IoU, and a split to measure apart."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        MIN_MEAN_IOU: component_spec.ExecutionParameter(type=float, optional=True),
        NEWEST_SPLIT_KEY: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = standard_component_specs.EvaluatorSpec.INPUTS
    OUTPUTS = standard_component_specs.EvaluatorSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.EvaluatorSpec.TYPE_ANNOTATION


class Executor(tfx_evaluator_executor.Executor):
    """Leaves an empty baseline out, and with it the thresholds on the change."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        baseline = artifact_utils.get_single_instance(input_dict[BASELINE_MODEL_KEY])
        eval_config = json_format.Parse(exec_properties[EVAL_CONFIG_KEY], tfma.EvalConfig())
        if MIN_MEAN_IOU in exec_properties:
            eval_config = with_min_mean_iou(eval_config, exec_properties[MIN_MEAN_IOU])
        has_baseline = has_model(baseline)
        if not has_baseline:
            input_dict = {key: value for key, value in input_dict.items() if key != BASELINE_MODEL_KEY}
            eval_config = without_comparison(eval_config)
        exec_properties = {**exec_properties, EVAL_CONFIG_KEY: json_format.MessageToJson(eval_config)}
        super().Do(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(output_dict[EVALUATION_KEY])
        result = verdict(evaluation.uri, has_baseline, thresholds_of(eval_config))
        result["baseline_version"] = baseline.get_int_custom_property(VERSION_PROPERTY)
        signature = eval_config.model_specs[0].signature_name
        result["resolution"] = next(key for key, name in EVALUATION.items() if name == signature)
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        newest = exec_properties.get(NEWEST_SPLIT_KEY)
        if newest in artifact_utils.decode_split_names(examples.split_names):
            apart = standard_artifacts.ModelEvaluation()
            apart.uri = os.path.join(evaluation.uri, newest)
            properties = {
                EVAL_CONFIG_KEY: json_format.MessageToJson(without_thresholds(eval_config)),
                EXAMPLE_SPLITS_KEY: json_utils.dumps([newest]),
            }
            super().Do(input_dict, {EVALUATION_KEY: [apart]}, {**exec_properties, **properties})
            result["newest_span"] = {
                "span": examples.get_int_custom_property("span"),
                "metrics": _numbers(read_metrics(apart.uri, tfma.CANDIDATE_KEY if has_baseline else "")[""]),
                "baseline_metrics": _numbers(read_metrics(apart.uri, tfma.BASELINE_KEY)[""]) if has_baseline else None,
            }
        evaluation.set_string_custom_property(VERDICT_PROPERTY, json.dumps(result))


def verdict(evaluation: str, has_baseline: bool, thresholds: list[Threshold]) -> dict[str, Any]:
    """What an evaluation measured over the whole split, and what the gate decided.

    Args:
      evaluation: folder of TFMA's results.
      has_baseline: whether a second model was evaluated.
      thresholds: of the gate.

    Returns:
      `metrics` and `baseline_metrics` (name to value, None for not a number; the latter None without a baseline), and
      `checks`: `metric`, `slice`, `value`, `bound` and `passed` of each threshold. A slice without images has no value
      and does not pass.
    """
    by_slice = read_metrics(evaluation, tfma.CANDIDATE_KEY if has_baseline else "")
    failed = {
        (
            failure.metric_key.name,
            _slice_name(of_slice.slice_key),
            failure.metric_threshold.value_threshold.lower_bound.value,
        )
        for of_slice in tfma.load_validation_result(evaluation).metric_validations_per_slice
        for failure in of_slice.failures
    }
    checks = []
    for threshold in thresholds:
        names = sorted(filter(None, by_slice)) if threshold.slice == EACH_SLICE else [threshold.slice]
        for name in names:
            value = by_slice.get(name, {}).get(threshold.metric)
            passed = name in by_slice and (threshold.metric, name, threshold.bound) not in failed
            checks.append(
                {"metric": threshold.metric, "slice": name, "value": value, "bound": threshold.bound, "passed": passed}
            )
    return {
        "metrics": _numbers(by_slice[""]),
        "baseline_metrics": _numbers(read_metrics(evaluation, tfma.BASELINE_KEY)[""]) if has_baseline else None,
        "checks": checks,
    }


def read_metrics(evaluation: str, model_name: str) -> dict[str, dict[str, Any]]:
    """All metrics of a model.

    Args:
      evaluation: folder of TFMA's results.
      model_name: of the evaluated model, "" if it is the only one.

    Returns:
      By slice ("" for the whole split) and name: numbers, None for not a number, and arrays.
    """
    return {
        _slice_name(of_slice.slice_key): {
            item.key.name: _value(item.value)
            for item in of_slice.metric_keys_and_values
            if item.key.model_name == model_name and not item.key.is_diff
        }
        for of_slice in tfma.load_metrics(evaluation)
    }


def _slice_name(key: Any) -> str:
    return key.single_slice_keys[0].bytes_value.decode() if key.single_slice_keys else ""


def _value(value: Any) -> float | np.ndarray | None:
    if value.WhichOneof("type") == "array_value":
        array = value.array_value
        kind = array.DataType.Name(array.data_type).lower()
        return np.array(getattr(array, f"{kind}_values")).reshape(array.shape)
    number = value.double_value.value
    return number if math.isfinite(number) else None


def _numbers(values: dict[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}


class Evaluator(base_beam_component.BaseBeamComponent):
    """Evaluates a model and its baseline, and blesses the model if it keeps the thresholds."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        eval_config: tfma.EvalConfig,
        example_splits: list[str],
        min_mean_iou: float | None = None,
        newest_split: str | None = None,
    ):
        """Constructs the evaluator.

        Args:
          examples: tf.Examples by the data contract.
          model: the candidate.
          baseline_model: what it has to stand up to; may be an empty artifact.
          eval_config: with the metrics and thresholds of `models.evaluation.tfma_metrics`.
          example_splits: that the metrics are computed on.
          min_mean_iou: instead of that in `eval_config`; apart, so that it can be a parameter of runs.
          newest_split: a split that, if there is one, is measured apart, without a say in the blessing.
        """
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                eval_config=eval_config,
                example_splits=json_utils.dumps(example_splits),
                # TFX's executor asks for it.
                fairness_indicator_thresholds=json_utils.dumps(None),
                min_mean_iou=min_mean_iou,
                newest_split=newest_split,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
