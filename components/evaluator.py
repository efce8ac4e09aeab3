"""TFX's Evaluator, for a baseline that may hold no model yet, with its verdict as a property of the evaluation."""

from __future__ import annotations

import json
import math
from typing import Any

import tensorflow_model_analysis as tfma
from tfx.components.evaluator import component as tfx_evaluator
from tfx.components.evaluator import executor as tfx_evaluator_executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY, EVALUATION_KEY

from components.deployed_model import VERSION_PROPERTY, has_model

# Custom property of the ModelEvaluation artifact: what `verdict` returns, as JSON.
VERDICT_PROPERTY = "verdict"


class Executor(tfx_evaluator_executor.Executor):
    """Leaves an empty baseline out, upon which TFX ignores thresholds on the change."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        baseline = artifact_utils.get_single_instance(input_dict[BASELINE_MODEL_KEY])
        has_baseline = has_model(baseline)
        if not has_baseline:
            input_dict = {key: value for key, value in input_dict.items() if key != BASELINE_MODEL_KEY}
        super().Do(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(output_dict[EVALUATION_KEY])
        result = verdict(evaluation.uri, has_baseline)
        result["baseline_version"] = baseline.get_int_custom_property(VERSION_PROPERTY)
        evaluation.set_string_custom_property(VERDICT_PROPERTY, json.dumps(result))


def verdict(evaluation: str, has_baseline: bool) -> dict[str, Any]:
    """What an evaluation measured over the whole split, and which thresholds the model missed.

    Args:
      evaluation: folder of TFMA's results.
      has_baseline: whether a second model was evaluated.

    Returns:
      `metrics` and `baseline_metrics` (name to value, None for not a number; the latter None without a baseline), and
      `failures`: `metric`, `value`, `bound` and `is_change` of each missed threshold.
    """
    failures = []
    for validation in tfma.load_validation_result(evaluation).metric_validations_per_slice:
        for failure in validation.failures:
            threshold = failure.metric_threshold
            is_change = failure.metric_key.is_diff
            bound = (
                threshold.change_threshold.absolute.value if is_change else threshold.value_threshold.lower_bound.value
            )
            failures.append(
                {
                    "metric": failure.metric_key.name,
                    "value": _finite(failure.metric_value.double_value.value),
                    "bound": bound,
                    "is_change": is_change,
                }
            )
    return {
        "metrics": _metrics(evaluation, tfma.CANDIDATE_KEY if has_baseline else ""),
        "baseline_metrics": _metrics(evaluation, tfma.BASELINE_KEY) if has_baseline else None,
        "failures": failures,
    }


def _metrics(evaluation: str, model_name: str) -> dict[str, float | None]:
    result = tfma.load_eval_result(evaluation, model_name=model_name or None)
    metrics = result.get_metrics_for_slice() or {}
    return {
        name: _finite(value["doubleValue"])
        for name, value in metrics.items()
        if "doubleValue" in value and not name.endswith("_diff")
    }


def _finite(value: float | str) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


class Evaluator(tfx_evaluator.Evaluator):
    """Evaluates a model and its baseline, and blesses the model if it keeps the thresholds."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
