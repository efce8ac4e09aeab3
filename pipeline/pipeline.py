"""The graph: the only place where components are wired."""

from __future__ import annotations

import glob
import json
import os

from tensorflow_data_validation import StatsOptions
from tfx.components import ExampleValidator, StatisticsGen, Transform
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, transform_pb2

from components.data_gate import DataGate
from components.deployed_model import DeployedModel
from components.evaluator import Evaluator
from components.exporter import Exporter
from components.import_example_gen import ImportExampleGen
from components.pusher import Pusher
from components.report.component import Report
from components.report.content import TEMPLATE_PATH
from components.serving_check import ServingCheck
from components.threshold_check import ThresholdCheck
from components.trainer import Trainer
from components.tuner import Tuner
from data import contract
from data.base.code_digest import code_digest
from data.base.digests import Digests
from data.base.files import find, is_remote
from data.base.packages import package_versions
from data.base.pages import STYLE_PATH
from data.base.variants import import_paths
from data.spans import NEWEST_SPLIT, SPAN
from models.evaluation.tfma_metrics import evaluation_config
from models.exports import FORMATS
from models.serving.signatures import EVALUATION
from pipeline.config import Config, absolute

# The execution property with what a component's outputs depend on beside its inputs and settings.
CACHE_KEY = "cache_key"
# What components run or read beyond the modules of their executors.
_CODE = {
    "Transform": "models.inputs.preprocessing",
    "Tuner": "models.tuning.tuner",
    "Trainer": "models.training.trainer",
    "ServingCheck": "components.serving_probe",
}
_FILES = {"ImportSchemaGen": [contract.SCHEMA_PATH], "Report": [TEMPLATE_PATH, STYLE_PATH]}


def create_pipeline(config: Config, *, runs_here: bool = True, repeated_version: int | None = None) -> Pipeline:
    """Wires the components.

    Args:
      config: the run.
      runs_here: whether this machine trains, so that what it holds of published weights counts.
      repeated_version: the version that a run of the same data, configuration, code and packages pushed, if any did.

    Raises:
      UserError: if the label map is not there, or the configuration contradicts the data.
    """
    label_map = config.load_label_map()
    config = config.with_image_type()
    config.preprocessing.chosen_bands()  # Whether there are such.

    # TFRecords by the data contract, of a window of spans where there are spans.
    input_base, patterns = _input_patterns(config.data.input)
    example_gen = ImportExampleGen(
        input_base=input_base,
        input_config=example_gen_pb2.Input(
            splits=[example_gen_pb2.Input.Split(name=name, pattern=pattern) for name, pattern in patterns.items()]
        ),
        window=config.data.window,
        test_span=config.data.test_span,
        digests=config.digests_path,
    )

    # The schema is curated, not inferred: a broken data set must not define what is right.
    schema_gen = ImportSchemaGen(schema_file=str(contract.SCHEMA_PATH))

    # Statistics of every feature of every split, for the validation; the schema tells which are images, in which there
    # is nothing to count. Frequent values are exact up to 1,024 distinct ones, numbers of distinct values are estimates
    # above 16,384: exact ones take ten more steps of Beam for each split.
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        stats_options=StatsOptions(use_sketch_based_topk_uniques=True),
    )

    # Anomalies against the schema; it writes them down, the data gate acts on them.
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )

    # Stops the run before anything expensive if the data is not fit for training.
    data_gate = DataGate(
        examples=example_gen.outputs["examples"],
        anomalies=example_validator.outputs["anomalies"],
        label_map=label_map,
        near_duplicates=config.data.near_duplicates,
        images=config.preprocessing.image_type,
        has_objects=config.has_objects,
    )

    # Stops it too if the test split lacks what a threshold is about.
    threshold_check = ThresholdCheck(data_statistics=data_gate.outputs["statistics"], thresholds=config.thresholds)

    # Decoding, resizing and normalizing as a graph. Nothing is materialized: float images in tf.Examples are ten times
    # the size of the JPEGs they came from, and the graph runs in the trainer's input pipeline.
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="models.inputs.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=[]),
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,  # Of use to rolling windows of spans; here the whole split is analyzed each time.
        custom_config=config.preprocessing.model_dump(mode="json") | ({"objects": True} if config.has_objects else {}),
    )
    transform.add_upstream_node(data_gate)
    transform.add_upstream_node(threshold_check)

    # The values of the search space with which a short training reaches the best mean IoU on `eval`.
    tuner = None
    if config.tune:
        tuning = config.tuner_config(label_map, config.tune)
        tuner = Tuner(
            examples=example_gen.outputs["examples"],
            transform_graph=transform.outputs["transform_graph"],
            data_statistics=data_gate.outputs["statistics"],
            tuner_fn="models.tuning.tuner.tuner_fn",
            custom_config=tuning.model_copy(update={"code": _training_code(config, "Tuner", runs_here)}).model_dump(
                mode="json"
            ),
        )

    # Fits the model on `train`, watches `eval`, never sees `test`.
    is_multi_worker = config.train.strategy == "multi_worker"
    training = config.trainer_config(label_map).model_copy(
        update={"code": _training_code(config, "Trainer", runs_here)}
    )
    trainer = Trainer(
        examples=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        data_statistics=data_gate.outputs["statistics"],
        run_fn="models.training.multi_worker.run_fn" if is_multi_worker else "models.training.trainer.run_fn",
        custom_config=training.model_dump(mode="json"),
        epochs=None if config.train.minutes else config.train.epochs,
        minutes=config.train.minutes or None,
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
    )

    # The same model in other forms beside it, where they are asked for.
    exporter, model = None, trainer.outputs["model"]
    if config.export.formats:
        exporter = Exporter(model=model, examples=example_gen.outputs["examples"], formats=config.export.formats)
        model = exporter.outputs["exported_model"]

    # What production serves now, for the evaluator to compare with.
    deployed_model = DeployedModel(
        model=model,
        push_destination=config.push_destination,
        repeated_version=repeated_version,
        compared_versions=config.gate.compared_versions,
    )

    # Every metric on `test`, overall and by slice; blesses a model that reaches the gate's thresholds. The newest
    # span's test examples are measured apart, and decide nothing.
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=model,
        baseline_model=deployed_model.outputs["baseline"],
        eval_config=evaluation_config(label_map.names, EVALUATION[config.evaluation.resolution]),
        thresholds=config.thresholds,
        min_mean_iou=config.gate.min["mean_iou"],
        example_splits=["test"],
        newest_split=NEWEST_SPLIT,
        against_best=config.gate.against == "best",
    )

    # Does the model answer real requests in a fresh process, within limits, and is each export as good as it?
    serving_check = ServingCheck(
        model=model,
        examples=example_gen.outputs["examples"],
        max_latency_seconds=config.serving.max_latency_seconds,
        max_memory_megabytes=config.serving.max_memory_megabytes,
        max_export_losses=config.export.max_losses,
    )

    # Only what both have blessed is pushed, as a new version.
    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.push_destination)
        ),
    )

    # What was learned, measured and decided, for people; of refused models too.
    report = Report(
        examples=example_gen.outputs["examples"],
        data_statistics=data_gate.outputs["statistics"],
        model=model,
        model_run=trainer.outputs["model_run"],
        baseline_model=deployed_model.outputs["baseline"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=serving_check.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        configuration=config.model_dump(mode="json", exclude={"kubeflow", "monitor", "track"}),
        max_megabytes=config.report.max_megabytes,
    )

    components = [
        example_gen,
        schema_gen,
        statistics_gen,
        example_validator,
        data_gate,
        threshold_check,
        transform,
        *([tuner] if tuner else []),
        trainer,
        *([exporter] if exporter else []),
        deployed_model,
        evaluator,
        serving_check,
        pusher,
        report,
    ]
    converters = [package for name in config.export.formats for package in FORMATS[name].packages]
    for component in components:
        modules = [component.executor_spec.executor_class.__module__, _CODE.get(component.id, "")]
        # TFX's cache compares inputs and execution properties, and Kubeflow's the parameters that these become there.
        # No executor reads this one. It is not declared in the components' specifications, as those of TFX's own
        # components cannot be extended; TFX takes the properties from the component.
        component.exec_properties[CACHE_KEY] = json.dumps(
            {
                "code": code_digest(modules, _FILES.get(component.id, [])),
                "packages": package_versions(converters if component is exporter else ()),
                # What another output folder holds is not ours: it may be deleted there.
                "artifacts": config.artifacts_path,
            },
            sort_keys=True,
        )
        if isinstance(component, BaseBeamComponent):
            arguments = config.beam.component(component.id).pipeline_arguments(f"{config.name}-{component.id.lower()}")
            component.with_beam_pipeline_args(arguments)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.artifacts_path,
        components=components,
        enable_cache=True,
    )


def _training_code(config: Config, component: str, runs_here: bool) -> str:
    """A digest of a component's code, of users' own encoders, decoders and losses, and of the pretrained weights.

    On another machine, published weights are those that the code expects: their hashes are part of it.
    """
    weights = {
        model.chosen_encoder.starting_weights().path if runs_here else model.own_weights for model in config.models
    }
    own = import_paths([config.model, config.train, config.tune])
    # A cluster may reach buckets that this machine does not.
    here = sorted(path for path in weights if path and (runs_here or not is_remote(path)))
    files = [file for path in here for file in find(glob.escape(path))]
    code = code_digest([_CODE[component]], import_paths=own)
    return " ".join([code, *Digests(config.digests_path if runs_here else "").of(files)])


def _input_patterns(folder: str) -> tuple[str, dict[str, str]]:
    """ImportExampleGen's base folder, and where the files of each split are below it; the span must be there."""
    before, span, after = folder.partition(SPAN)
    base, below = (os.path.dirname(before), os.path.basename(before) + span + after) if span else (folder, "")
    return absolute(base), {split: os.path.join(below, f"{split}*") for split in contract.SPLITS}
