"""The configuration: one YAML file, typed, with `--set key=value` on top."""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
from typing import Annotated, Any, Literal

import pydantic
import yaml

from data.contract import LABEL_MAP_FILE, SPLITS
from data.errors import UserError, explain
from data.files import Found, find, is_remote
from data.label_map import LabelMap
from data.spans import SPAN, choose_window, find_spans
from models.search_space import TunerConfig, TuneSettings, with_first_values
from models.settings import ModelSettings, PreprocessingSettings, Section, TrainerConfig, TrainSettings, set_value
from pipeline.beam import COMPONENTS, BeamSettings

Iou = Annotated[float, pydantic.Field(ge=0, le=1)]


class DataSettings(Section):
    """The data set.

    Attributes:
      input: folder of the TFRecords `train*`, `eval*` and `test*`; `{SPAN}` in it stands for the numbers of spans.
      window: how many of the newest spans to train on; 0 for all.
      test_span: the span whose test split decides; by default the oldest there is. That of the newest span is measured
        apart.
      label_map: the label map; by default `labels.yaml` in the folder of the newest span.
    """

    input: Annotated[str, pydantic.Field(min_length=1)]
    window: Annotated[int, pydantic.Field(ge=0)] = 0
    test_span: Annotated[int, pydantic.Field(ge=0)] | None = None
    label_map: str = ""

    @pydantic.field_validator("input")
    @classmethod
    def _check_input(cls, value: str) -> str:
        if "{" in value.replace(SPAN, "", 1):
            raise ValueError(f"takes one {SPAN} and no other braces")
        return value.rstrip("/") or value


class GateSettings(Section):
    """What a model must reach on the test split to be pushed.

    Attributes:
      min_mean_iou: least mean IoU.
      min_class_iou: least IoU of classes, by name.
      min_slice_mean_iou: least mean IoU of slices (`image/slice`), by name; `"*"` stands for each of them.
      regression: how much lower than the deployed model's the mean IoU may be; or `not_significantly_worse`: as much as
        these images cannot tell from chance, by the 95 % confidence interval of the difference on each of them.
    """

    min_mean_iou: Iou = 0.5
    min_class_iou: dict[str, Iou] = {}
    min_slice_mean_iou: dict[str, Iou] = {}
    regression: Iou | Literal["not_significantly_worse"] = 0.01


class EvaluationSettings(Section):
    """How predictions are compared with labels.

    Attributes:
      resolution: at the size that the model sees (`model`), or at each image's own with its mask as it is (`original`).
    """

    resolution: Literal["model", "original"] = "model"


class ServingSettings(Section):
    """Limits that a model must keep when it serves.

    Attributes:
      max_latency_seconds: of a request of one image, once the model is warm.
      max_memory_megabytes: peak resident memory of the serving process.
    """

    max_latency_seconds: Annotated[float, pydantic.Field(gt=0)] = 5.0
    max_memory_megabytes: Annotated[int, pydantic.Field(gt=0)] = 4096


class ReportSettings(Section):
    """The run's report.

    Attributes:
      max_megabytes: of the file, 10⁶ bytes; its pictures shrink to keep it.
    """

    max_megabytes: Annotated[float, pydantic.Field(ge=0.1)] = 8.0


class PushSettings(Section):
    """Where models that passed go.

    Attributes:
      destination: folder of numbered versions; by default `serving` in the output folder.
    """

    destination: str = ""


class Secret(Section):
    """A value that does not belong into a configuration; exactly one of the two says where it is.

    Attributes:
      environment: name of an environment variable.
      file: path of a file; white space at its end does not count.
    """

    environment: str = ""
    file: str = ""

    @pydantic.model_validator(mode="after")
    def _check_one(self) -> Secret:
        if bool(self.environment) == bool(self.file):
            raise ValueError("takes either environment, the name of a variable, or file, a path")
        return self

    def read(self, key: str) -> str:
        """The value.

        Args:
          key: of the configuration, for the message.

        Raises:
          UserError: if it is not there.
        """
        if self.environment:
            if not os.environ.get(self.environment):
                raise UserError(f"{key}: the environment variable {self.environment} is not set")
            return os.environ[self.environment]
        try:
            value = pathlib.Path(self.file).read_text(encoding="utf-8").rstrip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{key}: cannot read {self.file}: {getattr(error, 'strerror', 'it is no text')}") from None
        if not value:
            raise UserError(f"{key}: {self.file} is empty")
        return value


class RetrainSettings(Section):
    """When `segpipe retrain` trains.

    Attributes:
      trigger: `change`: if data, code, packages or configuration are not those of the last finished run; `drift`: if
        moreover the newest data is far from what the deployed model was trained on; `always`: each time.
      max_drift: distance from 0 to 1 above which data has drifted: of class shares and image sizes (total variation),
        and of features by TFDV's drift comparators.
    """

    trigger: Literal["change", "drift", "always"] = "change"
    max_drift: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1


class NotifySettings(Section):
    """Who is told how a `segpipe retrain` ended; what goes wrong there fails no run.

    Attributes:
      command: program and arguments, which get the summary as JSON on standard input; by default none.
      webhook: URL that the summary is posted to as JSON; it is a secret, as most hold a key.
      states: of which runs.
      timeout_seconds: for each of the two.
    """

    command: list[str] = []
    webhook: Secret | None = None
    states: list[Literal["pushed", "refused", "failed", "unchanged"]] = ["pushed", "refused", "failed"]
    timeout_seconds: Annotated[float, pydantic.Field(gt=0)] = 30.0


class MetadataSettings(Section):
    """Where runs are recorded.

    Attributes:
      database: `sqlite` is a file in the output folder; the others, of which `mysql` is MariaDB, too, are servers that
        several machines may share.
      host: of the server.
      port: by default 3306 for `mysql` and 5432 for `postgresql`.
      name: of the database, which is made if it is not there and the user may.
      user: of the database.
      password: of the user.
    """

    database: Literal["sqlite", "mysql", "postgresql"] = "sqlite"
    host: Annotated[str, pydantic.Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 0
    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_]+$")] = "segpipe"
    user: str = ""
    password: Secret | None = None


class TolerationSettings(Section):
    """A taint of nodes that a step's pod tolerates, as Kubernetes has it.

    Attributes:
      key: of the taint; by default any.
      operator: `Equal` compares the value, too.
      value: of the taint.
      effect: that is tolerated; by default each.
    """

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class SecretKey(Section):
    """A key of a Kubernetes secret.

    Attributes:
      secret: its name.
      key: in it.
    """

    secret: Annotated[str, pydantic.Field(min_length=1)]
    key: Annotated[str, pydantic.Field(min_length=1)]


_Quantity = Annotated[str, pydantic.Field(pattern=r"^([0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?)?$")]


class StepSettings(Section):
    """What the pod of a step gets.

    Attributes:
      cpu: cores that it asks for and may use, such as `4` or `500m`; by default what the cluster gives.
      memory: bytes, such as `16Gi`.
      gpus: how many; 0 is none.
      gpu_type: the resource's name, such as `nvidia.com/gpu`; on Vertex AI the accelerator's, such as `NVIDIA_L4`.
      node_selector: labels that the node must have.
      tolerations: taints that it tolerates.
      retries: how often it is started again after a failure.
      timeout_minutes: it fails after; 0 is never.
      environment: variables with their values; no place for secrets.
      secrets: variables whose values are in Kubernetes secrets.
      cache: whether its result may come from an earlier run with the same inputs, settings and code.
    """

    cpu: _Quantity = ""
    memory: _Quantity = ""
    gpus: Annotated[int, pydantic.Field(ge=0)] = 0
    gpu_type: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: list[TolerationSettings] = []
    retries: Annotated[int, pydantic.Field(ge=0, le=100)] = 0
    timeout_minutes: Annotated[int, pydantic.Field(ge=0)] = 0
    environment: dict[str, str] = {}
    secrets: dict[str, SecretKey] = {}
    cache: bool = True

    @pydantic.field_validator("cpu", "memory", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class VolumeSettings(Section):
    """A volume that every step mounts.

    Attributes:
      claim: name of the persistent volume claim, which many nodes may write to (ReadWriteMany).
      path: where it is mounted.
    """

    claim: Annotated[str, pydantic.Field(min_length=1)] = "segpipe"
    path: Annotated[str, pydantic.Field(pattern=r"^/.+[^/]$")] = "/mnt/segpipe"


class KubeflowSettings(Section):
    """How the pipeline runs on a cluster; `segpipe compile` reads it, runs on this machine do not.

    Attributes:
      platform: open-source Kubeflow Pipelines, or `vertex` for Vertex AI's.
      pipeline_root: where artifacts go, such as `minio://mlpipeline/segpipe`; by default where the server says.
      artifacts: `local` reads and writes artifacts at the paths where the launcher puts them (/minio, /s3, /gcs);
        `direct` opens their URIs, which TensorFlow can of `gs://`.
      volume: below whose path the relative paths of this file are; none, with `volume: null`, if all are `gs://`.
      image_pull_secret: name of the secret for a private registry.
      defaults: what each step gets.
      steps: what single steps get, by component; it takes precedence, key by key.
    """

    platform: Literal["kubeflow", "vertex"] = "kubeflow"
    pipeline_root: str = ""
    artifacts: Literal["local", "direct"] = "local"
    volume: VolumeSettings | None = VolumeSettings()
    image_pull_secret: str = ""
    defaults: StepSettings = StepSettings()
    steps: dict[str, StepSettings] = {}

    def step(self, component: str) -> StepSettings:
        """What a component's pod gets."""
        own = self.steps.get(component, StepSettings())
        return self.defaults.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

    @pydantic.model_validator(mode="after")
    def _check_platform(self) -> KubeflowSettings:
        if self.platform == "vertex":
            if self.volume is not None:
                raise ValueError("Vertex AI mounts no volume; set volume: null, and gs:// paths")
            for step in (self.defaults, *self.steps.values()):
                if step.tolerations or step.secrets or step.timeout_minutes:
                    raise ValueError("Vertex AI has no tolerations, secrets and timeout_minutes for steps")
        return self


class Config(Section):
    """A whole run.

    Attributes:
      name: of the pipeline; lower-case letters, digits and `-`, as Kubeflow wants it.
      output: folder for artifacts, metadata and logs; of this machine, where a run is local.
      artifacts: folder for the artifacts of this output folder alone, if they shall be elsewhere: what a cluster
        computes must be on a volume that its workers share, or in a bucket, `gs://`. On Kubeflow the server says where.
      tune: the search for hyperparameters before each training; none without this section.
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    output: Annotated[str, pydantic.Field(min_length=1)]
    artifacts: str = ""
    data: DataSettings
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    tune: TuneSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    serving: ServingSettings = ServingSettings()
    report: ReportSettings = ReportSettings()
    push: PushSettings = PushSettings()
    retrain: RetrainSettings = RetrainSettings()
    notify: NotifySettings = NotifySettings()
    metadata: MetadataSettings = MetadataSettings()
    beam: BeamSettings = BeamSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    @property
    def push_destination(self) -> str:
        """Folder of numbered versions."""
        return absolute(self.push.destination or os.path.join(self.output, "serving"))

    @property
    def artifacts_path(self) -> str:
        """Folder of the artifacts of all runs."""
        return absolute(self.artifacts or os.path.join(self.output, "artifacts"))

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

    @property
    def checkpoints_path(self) -> str:
        """Folder of the checkpoints of trainings that may have to go on."""
        return absolute(os.path.join(self.output, "checkpoints"))

    @property
    def tuning_path(self) -> str:
        """Folder of the trials of searches that may have to go on."""
        return absolute(os.path.join(self.output, "tuning"))

    @property
    def logs_path(self) -> str:
        """Folder of the logs, one file a run."""
        return os.path.abspath(os.path.join(self.output, "logs"))

    def on_cluster(self) -> Config:
        """The same with the paths that a cluster's steps see: relative ones are below the volume's path.

        Raises:
          UserError: if a path is not there for the steps, or they cannot train by the strategy.
        """
        volume = self.kubeflow.volume
        if self.train.strategy == "multi_worker":
            raise UserError("train.strategy: multi_worker has no place on Kubeflow, where the Trainer is one pod")
        if any(self.beam.component(name).needs_checkout for name in COMPONENTS):
            raise UserError("beam.environment.kind: packages needs a checkout of segpipe; steps on Kubeflow have none")

        def seen(key: str, path: str) -> str:
            if not path or "://" in path:
                return path
            if volume is None:
                raise UserError(
                    f"{key}: {path} is on no volume of the cluster's; give a gs:// path, or kubeflow.volume"
                )
            result = os.path.normpath(os.path.join(volume.path, path))
            if not result.startswith(volume.path + "/"):
                raise UserError(
                    f"{key}: {path} is not below {volume.path}, where each step mounts the volume {volume.claim}; "
                    "relative paths are"
                )
            return result

        label_map = self.data.label_map
        if not label_map:
            try:
                label_map = os.path.join(self.newest_input(), LABEL_MAP_FILE)
            except (UserError, OSError) as error:
                raise UserError(
                    f"{error}\nIf the data set is on the cluster alone, name a copy of its label map: data.label_map"
                ) from None
        data = self.data.model_copy(update={"input": seen("data.input", self.data.input), "label_map": label_map})
        push = self.push.model_copy(update={"destination": seen("push.destination", self.push.destination)})
        weights = seen("model.encoder_weights", self.model.encoder_weights)
        model = self.model.model_copy(update={"encoder_weights": weights})
        # Kubeflow has a metadata server of its own, and a place for artifacts.
        update = {"output": seen("output", self.output), "artifacts": "", "metadata": MetadataSettings()}
        return self.model_copy(update={**update, "data": data, "push": push, "model": model})

    def load_label_map(self) -> LabelMap:
        """Reads the label map, and checks that the gate names classes that are in it.

        Raises:
          UserError: if there is no label map, or the gate names an unknown class.
        """
        path = self.data.label_map or os.path.join(self.newest_input(), LABEL_MAP_FILE)
        label_map = LabelMap.load(path)
        unknown = sorted(set(self.gate.min_class_iou) - set(label_map.names))
        if unknown:
            raise UserError(
                f"gate.min_class_iou: {', '.join(unknown)} is not in {path}, which has {', '.join(label_map.names)}"
            )
        return label_map

    def newest_input(self) -> str:
        """The input folder; of the newest span, where there are spans.

        Raises:
          UserError: if there is no such folder, or a split has no files.
        """
        folder, of_split = self._folders()
        if not is_remote(folder) and not os.path.isdir(folder):
            raise UserError(f"data.input: {folder} is not a folder; `segpipe convert` makes one from images and masks")
        for split, places in of_split.items():
            if not any(_files(place, split) for place in places):
                raise UserError(f"data.input: {', '.join(places)} has no files {split}*")
        return folder

    def input_files(self) -> list[Found]:
        """The TFRecords of all splits and spans that a run takes, and the label map.

        Raises:
          UserError: if there is no span.
        """
        folder, of_split = self._folders()
        return [
            *(file for split, places in of_split.items() for place in places for file in _files(place, split)),
            *_files(folder, "test"),
            *find(glob.escape(self.data.label_map or os.path.join(folder, LABEL_MAP_FILE))),
        ]

    def _folders(self) -> tuple[str, dict[str, list[str]]]:
        """The folder of the newest span, and those of each split."""
        if SPAN not in self.data.input:
            return self.data.input, {split: [self.data.input] for split in SPLITS}
        try:
            folders = find_spans(self.data.input)
            window = choose_window(folders, self.data.window, self.data.test_span)
        except UserError as error:
            raise UserError(f"data.input: {error}") from None
        of_split = {split: [folders[span] for span in window.train] for split in ("train", "eval")}
        return folders[window.newest], {**of_split, "test": [folders[window.test]]}

    def trainer_config(self, label_map: LabelMap) -> TrainerConfig:
        """What the trainer needs of all this."""
        return TrainerConfig(
            preprocessing=self.preprocessing,
            model=self.model,
            train=self.train,
            label_map=label_map.model_dump(mode="json"),
            checkpoints=self.checkpoints_path,
            push_destination=self.push_destination if self.train.warm_start == "deployed" else "",
        )

    def tuner_config(self, label_map: LabelMap, settings: TuneSettings) -> TunerConfig:
        """What the tuner needs.

        What trials set themselves has fixed values: another one in the file must not start the search anew.
        """
        training = with_first_values(self.trainer_config(label_map), settings)
        return TunerConfig.model_validate({**training.model_dump(), "tune": settings, "checkpoints": self.tuning_path})


def _files(folder: str, split: str) -> list[Found]:
    return find(os.path.join(glob.escape(folder), f"{split}*"))


def absolute(path: str) -> str:
    """The absolute path, or the URI, without a slash at its end."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


_SECTIONS = {name for name, field in Config.model_fields.items() if field.annotation is not str} - {"tune"}


def load_config(path: str | pathlib.Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads a configuration file.

    Args:
      path: of the YAML file.
      overrides: `key=value`, with dots between the levels of a key and YAML as the value.

    Raises:
      UserError: naming every key that is wrong, what it got and what it takes.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date that is none.
        raise UserError(f"{path} is not YAML: {error}") from None
    if isinstance(values, dict):
        # A section whose keys are all left out, or commented out, is one with its defaults.
        values = {key: {} if value is None and key in _SECTIONS else value for key, value in values.items()}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, such as `name: my_model`")
    for override in overrides:
        _apply(values, override)
    try:
        config = Config.model_validate(values)
        # The depth of the model must fit its input; the trainer would refuse it, but only after Transform.
        training = TrainerConfig(
            preprocessing=config.preprocessing, model=config.model, train=config.train, label_map=[]
        )
        if config.tune:
            with_first_values(training, config.tune)
    except pydantic.ValidationError as error:
        raise UserError(explain(error, str(path), Config)) from None
    return config


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: takes key=value, such as --set train.epochs=10")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"--set {override}: the value is not YAML: {error}") from None
    try:
        set_value(values, key, value)
    except ValueError as error:
        raise UserError(f"--set {override}: {error}") from None
