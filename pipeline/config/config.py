"""The configuration of a run: all its sections."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import Annotated

import pydantic

from components.report.settings import ReportSettings
from data.base.errors import UserError
from data.base.files import is_remote
from data.base.links import lasting_plain_path, pattern_letters
from data.base.section import Section
from data.contract import LABEL_MAP_FILE
from data.decoding.image_type import read_image_type
from data.label_map import LabelMap
from models.evaluation.gate import Threshold
from models.evaluation.metric_table import METRICS
from models.evaluation.settings import WATCHED, EvaluationSettings, GateSettings
from models.exports import FORMATS
from models.exports.settings import ExportSettings
from models.inputs.settings import PreprocessingSettings
from models.monitoring.settings import MonitorSettings
from models.serving.settings import PushSettings, ServingSettings
from models.settings import ModelSettings, Task
from models.training.settings import TrainerConfig, TrainSettings
from models.tuning.search_space import TunerConfig, TuneSettings, with_first_values
from pipeline.config.data import DataSettings
from pipeline.records.settings import MetadataSettings
from pipeline.retraining.settings import NotifySettings, RetrainSettings
from pipeline.runners.beam.settings import COMPONENTS, BeamSettings
from pipeline.runners.kubeflow.settings import KubeflowSettings
from pipeline.tracking.settings import TrackSettings


class Config(Section):
    """A whole run.

    Attributes:
      name: the pipeline's; lower-case letters, digits and `-`, as Kubeflow requires.
      output: folder for artifacts, metadata and logs; for local runs, on this machine.
      artifacts: folder for the artifacts of this output folder alone, if they are to be elsewhere: what a cluster
        computes must be on a volume that its workers share, or in a bucket, `gs://`. On Kubeflow the server says where.
      task: `semantic` finds the class of each pixel. `instance` also tells the objects of a class apart, and `panoptic`
        measures them together with what has no objects; both need data that says which object a pixel belongs to.
      tune: the search for hyperparameters before each training; none without this section.
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    output: Annotated[str, pydantic.Field(min_length=1)]
    artifacts: str = ""
    task: Task = "semantic"
    data: DataSettings
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    tune: TuneSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    export: ExportSettings = ExportSettings()
    serving: ServingSettings = ServingSettings()
    report: ReportSettings = ReportSettings()
    push: PushSettings = PushSettings()
    retrain: RetrainSettings = RetrainSettings()
    notify: NotifySettings = NotifySettings()
    monitor: MonitorSettings = MonitorSettings()
    track: TrackSettings = TrackSettings()
    metadata: MetadataSettings = MetadataSettings()
    beam: BeamSettings = BeamSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    @property
    def has_objects(self) -> bool:
        """Whether objects are told apart."""
        return self.task != "semantic"

    @property
    def thresholds(self) -> list[Threshold]:
        """What a model must reach; against the deployed model, by what the task is about."""
        return self.gate.thresholds(WATCHED[self.task])

    @pydantic.model_validator(mode="after")
    def _check_metrics_of_objects(self) -> Config:
        if not self.has_objects:
            of_objects = [one.key for one in self.thresholds if METRICS[one.metric].of_objects]
            if of_objects:
                raise ValueError(f"{of_objects[0]} is about objects; set task: instance or task: panoptic")
        return self

    @pydantic.model_validator(mode="after")
    def _check_exports(self) -> Config:
        if self.export.formats:
            if self.has_objects:
                raise ValueError(
                    f"export: with task: {self.task}, objects are grouped outside the network, so that no export could "
                    "tell them apart; leave export out"
                )
            for model in self.models:
                if reason := model.chosen_decoder.not_exported:
                    raise ValueError(f"export: decoder {model.decoder} cannot be exported: {reason}; leave export out")
        return self

    @property
    def push_destination(self) -> str:
        """Folder of numbered versions."""
        return absolute(self.push.destination or os.path.join(self.output, "serving"))

    @property
    def artifacts_path(self) -> str:
        """Folder of the artifacts of all runs."""
        if self.artifacts:
            return lasting_plain_path(absolute(self.artifacts), "artifacts")
        return os.path.join(self._plain_output, "artifacts")

    @property
    def _plain_output(self) -> str:
        """The output folder, under a path that nothing takes for a pattern."""
        return lasting_plain_path(absolute(self.output), "output")

    @property
    def metadata_path(self) -> str:
        """The SQLite file of ML Metadata, where no server is configured."""
        return os.path.abspath(os.path.join(self.output, "metadata.sqlite"))

    def secrets(self) -> list[str]:
        """The values that must not be printed or stored; those that are not there do not count."""
        found = []
        for secret in (self.metadata.password, self.notify.webhook):
            with contextlib.suppress(UserError):
                found += [secret.read("")] if secret else []
        return found

    def without_secrets(self, text: str) -> str:
        """A text with asterisks in place of the secrets."""
        for secret in filter(None, self.secrets()):
            text = text.replace(secret, "********")
        return text

    @property
    def checkpoints_path(self) -> str:
        """Folder of the checkpoints of trainings that may have to go on."""
        return os.path.join(self._plain_output, "checkpoints")

    @property
    def tuning_path(self) -> str:
        """Folder of the trials of searches that may have to go on."""
        return os.path.join(self._plain_output, "tuning")

    @property
    def digests_path(self) -> str:
        """The file that remembers digests of inputs."""
        return absolute(os.path.join(self.output, "digests.json"))

    @property
    def logs_path(self) -> str:
        """Folder of the logs, one file a run."""
        return os.path.abspath(os.path.join(self.output, "logs"))

    def check_output(self) -> None:
        """Raises a UserError if the pipeline cannot run on this machine, because its output folder is not here."""
        if is_remote(self.output):
            raise UserError(
                f"output: {self.output} must be a folder on this machine, for metadata and logs; what a cluster "
                f"computes can be elsewhere, with artifacts: {self.output.rstrip('/')}/artifacts"
            )
        on_cluster = any(self.beam.component(name).runner != "direct" for name in COMPONENTS)
        if on_cluster or self.train.strategy == "multi_worker":
            for key, place in (("output", self.output), ("artifacts", self.artifacts)):
                if letters := " ".join(pattern_letters(absolute(place))):
                    raise UserError(
                        f"{key}: {place} holds {letters}, which the workers of a cluster take for a pattern; name one "
                        "without"
                    )

    def load_label_map(self) -> LabelMap:
        """Reads the label map, and checks that the gate names classes that are in it.

        Raises:
          UserError: if there is no label map, or the gate names an unknown class.
        """
        path = self.data.label_map or os.path.join(self.data.newest_input(), LABEL_MAP_FILE)
        label_map = LabelMap.load(path)
        for threshold in self.thresholds:
            if threshold.class_name and threshold.class_name not in label_map.names:
                names = ", ".join(label_map.names)
                raise UserError(f"{threshold.key}: {path} has no class {threshold.class_name}; it has {names}")
        return label_map

    def with_image_type(self) -> Config:
        """The same with what the images are in `preprocessing`, where a conversion says so.

        A bucket is not asked if `data.label_map` is set, which says that it may be out of reach from here.

        Raises:
          UserError: if something else is configured: the model would take what it gets for something else. Or if an
            earlier release made the images.
        """
        if is_remote(self.data.input) and self.data.label_map:
            return self
        try:
            folder = self.data.newest_input()
        except (UserError, OSError):  # It may be on the cluster only; what is wrong with it is said elsewhere.
            return self
        try:
            found = read_image_type(folder)
        except OSError:
            return self
        if found is None:
            return self
        settings = self.preprocessing.of_images(found, folder)
        if settings.window is None:
            from data.formats.geotiff.windows import window_of  # Of a package that loads all formats.

            settings = settings.model_copy(update={"window": window_of(folder)})
        return self.model_copy(update={"preprocessing": settings})

    @property
    def models(self) -> list[ModelSettings]:
        """The model, and those with other encoders or pretrained weights that a search may choose."""
        space = self.tune.space if self.tune else {}
        chosen = {
            name: values
            for name in ("encoder", "encoder_weights")
            if isinstance(values := space.get(f"model.{name}"), list)
        }
        found = [self.model]
        for combination in itertools.product(*chosen.values()) if chosen else ():
            changed = {**self.model.without_defaults(), **dict(zip(chosen, combination, strict=True))}
            with contextlib.suppress(pydantic.ValidationError):  # A trial with these fails.
                found.append(ModelSettings.model_validate(changed))
        return found

    def prepare_weights(self) -> None:
        """Makes sure that each model can have its pretrained weights.

        Raises:
          UserError: if it cannot.
        """
        for model in self.models:
            model.prepare_weights()

    def prepare_exports(self) -> None:
        """Raises a UserError if a package is missing that exports are made with."""
        for name in self.export.formats:
            FORMATS[name].require_packages()

    def trainer_config(self, label_map: LabelMap) -> TrainerConfig:
        """What the trainer needs of all this."""
        return TrainerConfig(
            preprocessing=self.preprocessing,
            model=self.model,
            train=self.train,
            label_map=label_map.model_dump(mode="json"),
            checkpoints=self.checkpoints_path,
            push_destination=self.push_destination if self.train.warm_start == "deployed" else "",
            task=self.task,
        )

    def tuner_config(self, label_map: LabelMap, settings: TuneSettings) -> TunerConfig:
        """What the tuner needs.

        What trials set themselves has fixed values: another one in the file must not start the search anew.
        """
        training = with_first_values(self.trainer_config(label_map), settings)
        return TunerConfig.model_validate({**training.model_dump(), "tune": settings, "checkpoints": self.tuning_path})


def absolute(path: str) -> str:
    """The absolute path, or the URI, without a slash at its end."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)
