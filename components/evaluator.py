"""TFX's Evaluator, for a baseline that may hold no model yet: TFMA measures, the gate decides and blesses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_evaluator_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts, standard_component_specs
from tfx.types.standard_component_specs import (
    BASELINE_MODEL_KEY,
    BLESSING_KEY,
    EVAL_CONFIG_KEY,
    EVALUATION_KEY,
    EXAMPLE_SPLITS_KEY,
    EXAMPLES_KEY,
    MODEL_KEY,
)
from tfx.utils import json_utils

from components.deployed_model import MEASURED_PROPERTY, VERSION_PROPERTY, has_model
from data.base.files import list_files, write_text
from data.contract import compression_type
from models.evaluation.gate import (
    REGRESSION_KEY,
    VERDICT_PROPERTY,
    Best,
    Measured,
    NewestSpan,
    Threshold,
    Verdict,
    best_of,
    decide,
    with_min_mean_iou,
)
from models.evaluation.metric_table import METRICS
from models.evaluation.settings import WATCHED
from models.serving.signatures import EVALUATION

# Custom property of the ModelBlessing: the deployed version that the model was compared with, 0 for none.
BASELINE_VERSION_PROPERTY = "baseline_version"
THRESHOLDS_KEY = "thresholds"
MIN_MEAN_IOU_KEY = "min_mean_iou"
NEWEST_SPLIT_KEY = "newest_split"
AGAINST_BEST_KEY = "against_best"


class EvaluatorSpec(component_spec.ComponentSpec):
    """TFX's EvaluatorSpec, the gate's thresholds, the least mean IoU, and a split to measure apart."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        THRESHOLDS_KEY: component_spec.ExecutionParameter(type=str),
        MIN_MEAN_IOU_KEY: component_spec.ExecutionParameter(type=float, optional=True),
        NEWEST_SPLIT_KEY: component_spec.ExecutionParameter(type=str, optional=True),
        AGAINST_BEST_KEY: component_spec.ExecutionParameter(type=int, optional=True),
    }
    INPUTS = standard_component_specs.EvaluatorSpec.INPUTS
    OUTPUTS = standard_component_specs.EvaluatorSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.EvaluatorSpec.TYPE_ANNOTATION


class Executor(tfx_evaluator_executor.Executor):
    """Measures with TFMA, which gets no thresholds, and blesses the model if the gate's verdict is that it passed.

    TFMA's own validation does not bless: it leaves slices that do not occur unexplained, and takes the slices `1` and
    `01` for the same.
    """

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        baseline = artifact_utils.get_single_instance(input_dict[BASELINE_MODEL_KEY])
        evaluation = artifact_utils.get_single_instance(output_dict[EVALUATION_KEY])
        has_baseline = has_model(baseline)
        if not has_baseline:
            input_dict = {key: value for key, value in input_dict.items() if key != BASELINE_MODEL_KEY}
        super().Do(input_dict, output_dict, exec_properties)

        thresholds = [Threshold(**values) for values in json.loads(exec_properties[THRESHOLDS_KEY])]
        if MIN_MEAN_IOU_KEY in exec_properties:
            thresholds = with_min_mean_iou(thresholds, exec_properties[MIN_MEAN_IOU_KEY])
        measured = read_metrics(evaluation.uri, tfma.CANDIDATE_KEY if has_baseline else "")
        deployed = read_metrics(evaluation.uri, tfma.BASELINE_KEY) if has_baseline else None
        eval_config = json_format.Parse(exec_properties[EVAL_CONFIG_KEY], tfma.EvalConfig())
        signature = eval_config.model_specs[0].signature_name
        resolution = next(key for key, name in EVALUATION.items() if name == signature)
        test_digest = digest(input_dict, json_utils.loads(exec_properties[EXAMPLE_SPLITS_KEY]))
        best = _best(baseline, thresholds, test_digest, resolution) if exec_properties.get(AGAINST_BEST_KEY) else None
        verdict = Verdict(
            metrics=_numbers(measured[""]),
            baseline_metrics=_numbers(deployed[""]) if deployed else None,
            checks=decide(thresholds, measured, deployed, best),
            baseline_version=baseline.get_int_custom_property(VERSION_PROPERTY),
            resolution=resolution,
            newest_span=self._measure_newest_span(input_dict, evaluation, exec_properties),
            test_digest=test_digest,
            best=best,
        )
        evaluation.set_string_custom_property(VERDICT_PROPERTY, verdict.to_json())
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        blessing.set_int_custom_property(BASELINE_VERSION_PROPERTY, verdict.baseline_version)
        watched = {name: value for name, value in verdict.metrics.items() if name in WATCHED.values()}
        kept = Measured(0, test_digest, resolution, watched)
        blessing.set_string_custom_property(MEASURED_PROPERTY, json.dumps(dataclasses.asdict(kept)))
        _bless(blessing, verdict.passed, artifact_utils.get_single_instance(input_dict[MODEL_KEY]))

    def _measure_newest_span(
        self, input_dict: Any, evaluation: types.Artifact, exec_properties: Any
    ) -> NewestSpan | None:
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        newest = exec_properties.get(NEWEST_SPLIT_KEY)
        if newest not in artifact_utils.decode_split_names(examples.split_names):
            return None
        apart = standard_artifacts.ModelEvaluation()
        apart.uri = os.path.join(evaluation.uri, newest)
        properties = {**exec_properties, EXAMPLE_SPLITS_KEY: json_utils.dumps([newest])}
        super().Do(input_dict, {EVALUATION_KEY: [apart]}, properties)
        has_baseline = BASELINE_MODEL_KEY in input_dict
        return NewestSpan(
            span=examples.get_int_custom_property("span"),
            metrics=_numbers(read_metrics(apart.uri, tfma.CANDIDATE_KEY if has_baseline else "")[""]),
            baseline_metrics=_numbers(read_metrics(apart.uri, tfma.BASELINE_KEY)[""]) if has_baseline else None,
        )


def digest(input_dict: Any, splits: list[str]) -> str:
    """A digest of the examples that are measured, the same in whatever order and files they are."""
    total = 0
    for split in splits:
        for folder in artifact_utils.get_split_uris(input_dict[EXAMPLES_KEY], split):
            for file in list_files(folder):
                for record in tf.data.TFRecordDataset(file, compression_type=compression_type(file)):
                    total += int.from_bytes(hashlib.sha256(record.numpy()).digest(), "big")
    return f"{total % 2**64:016x}"


def _best(baseline: types.Artifact, thresholds: list[Threshold], test_digest: str, resolution: str) -> Best:
    """The best of the versions that `DeployedModel` found, by the metric that must not fall."""
    metric = next(METRICS[one.metric].change_of for one in thresholds if one.key == REGRESSION_KEY)
    text = baseline.get_string_custom_property(MEASURED_PROPERTY)
    versions = [Measured(**values) for values in json.loads(text or "[]")]
    return best_of(versions, METRICS[metric].key(), test_digest, resolution)


def _bless(blessing: types.Artifact, passed: bool, model: types.Artifact) -> None:
    """Does what TFX's executor does after a validation by TFMA."""
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    name = constants.BLESSED_FILE_NAME if passed else constants.NOT_BLESSED_FILE_NAME
    write_text(os.path.join(blessing.uri, name), "")
    value = constants.BLESSED_VALUE if passed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


def read_metrics(evaluation: str, model_name: str) -> dict[str, dict[str, Any]]:
    """All metrics of a model.

    Args:
      evaluation: folder of TFMA's results.
      model_name: of the evaluated model, "" if it is the only one.

    Returns:
      By slice ("" for the whole split) and name: numbers, None for not a number, and arrays.
    """
    return {
        name: {
            item.key.name: _value(item.value)
            for item in of_slice.metric_keys_and_values
            if item.key.model_name == model_name and not item.key.is_diff
        }
        for of_slice in tfma.load_metrics(evaluation)
        if (name := _slice_name(of_slice.slice_key)) is not None
    }


def _slice_name(key: Any) -> str | None:
    """The name of a slice, "" for the whole split; None for the images whose slice is empty, which are in none."""
    return (key.single_slice_keys[0].bytes_value.decode() or None) if key.single_slice_keys else ""


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
    """Evaluates a model and its baseline, and blesses the model if it reaches the gate's thresholds."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        eval_config: tfma.EvalConfig,
        thresholds: list[Threshold],
        example_splits: list[str],
        min_mean_iou: float | None = None,
        newest_split: str | None = None,
        against_best: bool = False,
    ):
        """Constructs the evaluator.

        Args:
          examples: tf.Examples by the data contract.
          model: the candidate.
          baseline_model: the model to compare it with; may be an empty artifact.
          eval_config: what to measure, from `models.evaluation.tfma_metrics`.
          thresholds: what the candidate must reach.
          example_splits: the splits that are measured.
          min_mean_iou: replaces that of `thresholds`; apart, so that it can be a parameter of runs.
          newest_split: a split that, if it exists, is measured apart, without a say in the blessing.
          against_best: whether the candidate is also compared with the best of the versions that `baseline_model` has.
        """
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                eval_config=eval_config,
                thresholds=json.dumps([dataclasses.asdict(threshold) for threshold in thresholds]),
                example_splits=json_utils.dumps(example_splits),
                # TFX's executor asks for it.
                fairness_indicator_thresholds=json_utils.dumps(None),
                min_mean_iou=min_mean_iou,
                newest_split=newest_split,
                against_best=int(against_best),
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
