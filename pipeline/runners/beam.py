"""Where Beam runs the data steps: on this machine, or on a cluster that is there already."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import socket
import urllib.request
from typing import Annotated, Any, Literal, get_args

import pydantic

from data.base.errors import UserError
from data.base.section import Section

# The components that are Beam pipelines.
Component = Literal["ImportExampleGen", "StatisticsGen", "DataGate", "Transform", "Evaluator"]
COMPONENTS: tuple[Component, ...] = get_args(Component)
_ROOT = pathlib.Path(__file__).parents[2]
_SECONDS = 10.0
# Else one worker of Flink's or Spark's reads all files of a step: their own translation of a pipeline has no shuffle
# between listing files and reading them. Beam's has, and fuses reading with what follows, so no image leaves a worker.
_OPTIMIZED = "--experiments=pre_optimize=all"
# Else each job is sent a list of the packages here, which pip makes: environments of uv's have none.
_NO_LIST = "--experiments=disable_logging_submission_environment"

Address = Annotated[str, pydantic.Field(pattern=r"^[^:/\s]+:\d+$")]


class JobServerSettings(Section):
    """What brings jobs to a cluster.

    Attributes:
      job_server: `host:port` of a Beam job server that runs, or the path of its jar, which then is started here. By
        default Beam downloads that of its own version. The last two need Java.
      staging: of a job server that is started here, the folder for what workers fetch before they begin, which is a lot
        with `environment.kind: packages`: on a shared volume, or in a bucket. By default a temporary one of this
        machine, which other machines cannot read.
    """

    job_server: str = ""
    staging: str = ""

    @pydantic.model_validator(mode="after")
    def _check_staging(self) -> JobServerSettings:
        if self.staging and _is_address(self.job_server):
            raise ValueError("staging: the job server that runs has its own, --artifacts-dir")
        return self

    def started_arguments(self) -> list[str]:
        """Beam pipeline options for a job server that is started here."""
        return [f"--artifacts_dir={self.staging}"] if self.staging else []


class FlinkSettings(JobServerSettings):
    """An Apache Flink cluster.

    Attributes:
      address: `host:port` of the job manager's REST interface.
      version: of the cluster, such as "1.18"; by default the newest that Beam has a job server for.
      parallelism: how many workers share a step; by default the cluster's own setting.
    """

    address: Address = "localhost:8081"
    version: Annotated[str, pydantic.Field(pattern=r"^(\d+\.\d+)?$")] = ""
    parallelism: Annotated[int, pydantic.Field(ge=1)] | None = None


class SparkSettings(JobServerSettings):
    """An Apache Spark 3 cluster.

    Attributes:
      address: `host:port` of the master.
    """

    address: Address = "localhost:7077"


class DataflowSettings(Section):
    """Google Cloud Dataflow.

    Attributes:
      project: that pays.
      region: where the workers are.
      temp_location: a folder in `gs://`, also for what is staged.
      machine_type: of the workers; by default Dataflow's choice.
      max_workers: how many there may be; by default Dataflow's limit.
      service_account: that the workers act as; by default the project's.
    """

    project: str = ""
    region: str = ""
    temp_location: Annotated[str, pydantic.Field(pattern=r"^(gs://.+)?$")] = ""
    machine_type: str = ""
    max_workers: Annotated[int, pydantic.Field(ge=1)] | None = None
    service_account: str = ""

    @pydantic.model_validator(mode="after")
    def _check_needed(self) -> DataflowSettings:
        missing = [name for name in ("project", "region", "temp_location") if not getattr(self, name)]
        if missing:
            raise ValueError(f"needs {', '.join(missing)}")
        return self


class EnvironmentSettings(Section):
    """What runs segpipe's code beside each worker of a cluster.

    Attributes:
      kind: `pool`, a Beam worker pool at `pool` as seen from the worker: on Kubernetes a sidecar of segpipe's image.
        `docker`, a container of `image`, which the worker starts. `packages`, Beam's own image, into which each worker
        installs the pinned packages and segpipe before it begins.
      pool: `host:port`.
      image: container image with segpipe; Flink, Spark and Dataflow want Beam's boot program in it.
    """

    kind: Literal["pool", "docker", "packages"] = "pool"
    pool: Address = "localhost:50000"
    image: str = ""

    @pydantic.model_validator(mode="after")
    def _check_image(self) -> EnvironmentSettings:
        if (self.kind == "docker") != bool(self.image):
            raise ValueError("kind: docker and image belong together")
        return self


class RunnerSettings(Section):
    """How Beam runs a step.

    Attributes:
      runner: this machine, or the cluster of the section with that name.
      workers: of `direct`, processes on this machine; 1 runs everything in the main process.
      flink: used by `runner: flink`.
      spark: used by `runner: spark`.
      dataflow: used by `runner: dataflow`.
      environment: of the workers of a cluster.
      arguments: further Beam pipeline options, as on Beam's own command lines.
    """

    runner: Literal["direct", "flink", "spark", "dataflow"] = "direct"
    workers: Annotated[int, pydantic.Field(ge=1)] = 1
    flink: FlinkSettings = FlinkSettings()
    spark: SparkSettings = SparkSettings()
    dataflow: DataflowSettings | None = None
    environment: EnvironmentSettings = EnvironmentSettings()
    arguments: list[str] = []

    def check_sections(self) -> None:
        """Raises ValueError if the sections do not go together."""
        if any(argument.startswith("--runner") for argument in self.arguments):
            raise ValueError("the runner is beam.runner, not one of the arguments")
        if self.runner == "dataflow":
            if self.dataflow is None:
                raise ValueError("runner: dataflow needs the section dataflow")
            if self.environment.kind == "pool":
                raise ValueError("Dataflow starts its workers itself: environment.kind must be docker or packages")

    @property
    def needs_checkout(self) -> bool:
        """Whether segpipe is packed for the workers where the job is submitted."""
        return self.runner != "direct" and self.environment.kind == "packages"

    def pipeline_arguments(self, job: str) -> list[str]:
        """Beam pipeline options.

        Args:
          job: name of the job, for the cluster's user interface.
        """
        if self.runner == "direct":
            mode = "in_memory" if self.workers == 1 else "multi_processing"
            return [
                f"--direct_running_mode={mode}",
                f"--direct_num_workers={self.workers}",
                # Cheaper to start: newer Beams' default, and no check of types, which users cannot get wrong.
                "--pickle_library=cloudpickle",
                "--no_pipeline_type_check",
                # Nothing uses it here. Without a word on what remote workers run, TFX packs itself for them, each time.
                "--sdk_container_image=none",
                *self.arguments,
            ]
        own = {"flink": self._flink_arguments, "spark": self._spark_arguments, "dataflow": self._dataflow_arguments}
        has_own = any("pre_optimize" in argument for argument in self.arguments)  # Beam would take the first.
        optimized = [] if self.runner == "dataflow" or has_own else [_OPTIMIZED]
        common = [f"--job_name={job}", *optimized, _NO_LIST, *self._environment_arguments()]
        return [*own[self.runner](), *common, *self.arguments]

    def _flink_arguments(self) -> list[str]:
        parallelism = [f"--parallelism={self.flink.parallelism}"] if self.flink.parallelism else []
        if _is_address(self.flink.job_server):
            return ["--runner=PortableRunner", f"--job_endpoint={self.flink.job_server}", *parallelism]
        server = [f"--flink_version={self.flink.version}"] if self.flink.version else []
        if self.flink.job_server:
            server = [f"--flink_job_server_jar={self.flink.job_server}"]
        server += self.flink.started_arguments()
        return ["--runner=FlinkRunner", f"--flink_master=http://{self.flink.address}", *server, *parallelism]

    def _spark_arguments(self) -> list[str]:
        if _is_address(self.spark.job_server):
            return ["--runner=PortableRunner", f"--job_endpoint={self.spark.job_server}"]
        jar = [f"--spark_job_server_jar={self.spark.job_server}"] if self.spark.job_server else []
        jar += self.spark.started_arguments()
        return ["--runner=SparkRunner", f"--spark_master_url=spark://{self.spark.address}", *jar]

    def _dataflow_arguments(self) -> list[str]:
        settings = self.dataflow or DataflowSettings()
        values = {
            "project": settings.project,
            "region": settings.region,
            "temp_location": settings.temp_location,
            "machine_type": settings.machine_type,
            "max_num_workers": settings.max_workers,
            "service_account_email": settings.service_account,
        }
        return ["--runner=DataflowRunner", *(f"--{name}={value}" for name, value in values.items() if value)]

    def _environment_arguments(self) -> list[str]:
        environment = self.environment
        if environment.kind == "packages":
            constraints = _constraints()
            return [
                f"--setup_file={_ROOT / 'setup.py'}",
                f"--requirements_file={constraints}",
                "--requirements_cache=skip",  # Workers get them from their package index, not from here.
            ]
        if environment.kind == "docker":
            kind = [] if self.runner == "dataflow" else ["--environment_type=DOCKER"]
            return [*kind, f"--sdk_container_image={environment.image}"]
        return [
            "--environment_type=EXTERNAL",
            f"--environment_config={environment.pool}",
            "--sdk_container_image=none",  # As above.
        ]


class BeamSettings(RunnerSettings):
    """How Beam runs the data steps.

    Attributes:
      components: what single components have otherwise; it takes precedence, key by key.
    """

    components: dict[Component, RunnerSettings] = {}

    @pydantic.field_serializer("components")
    def _without_defaults(self, components: dict[Component, RunnerSettings]) -> dict[str, Any]:
        # A default in place of nothing would override what is common.
        return {name: settings.model_dump(exclude_unset=True) for name, settings in components.items()}

    @pydantic.model_validator(mode="after")
    def _check_all(self) -> BeamSettings:
        self.check_sections()
        for name in self.components:
            self.component(name).check_sections()
        return self

    def component(self, name: str) -> RunnerSettings:
        """How one component runs."""
        common = self.model_dump(exclude={"components"}, exclude_unset=True)
        own = {str(key): settings for key, settings in self.components.items()}.get(name, RunnerSettings())
        return RunnerSettings.model_validate(_merged(common, own.model_dump(exclude_unset=True)))

    def check(self) -> None:
        """Looks whether the clusters of all components are there.

        Raises:
          UserError: if one cannot be reached, or has a version that Beam's job server does not speak to.
        """
        seen = []
        for name in COMPONENTS:
            settings = self.component(name)
            if settings not in seen:
                check_cluster(settings)
                seen.append(settings)


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The keys of both, at each level; `own` takes precedence."""
    nested = {
        key: _merged(common[key], value)
        for key, value in own.items()
        if isinstance(value, dict) and isinstance(common.get(key), dict)
    }
    return {**common, **own, **nested}


def check_cluster(settings: RunnerSettings) -> None:
    """Looks whether a cluster is there, and of the right version.

    Raises:
      UserError: if not, saying which and what to do.
    """
    if settings.runner == "flink":
        _check_flink(settings.flink)
    elif settings.runner == "spark":
        _check_reachable(settings.spark.address, "the Spark master", "beam.spark.address")
        _check_job_server(settings.spark.job_server, "beam.spark.job_server")
    elif settings.runner == "dataflow":
        try:
            importlib.metadata.version("google-cloud-storage")
        except importlib.metadata.PackageNotFoundError:
            raise UserError("Dataflow needs Beam's part for Google Cloud: install apache-beam[gcp]") from None
    if settings.needs_checkout:
        _constraints()


def _check_flink(settings: FlinkSettings) -> None:
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    url = f"http://{settings.address}/config"
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            found = json.load(answer)["flink-version"]
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"no Flink cluster answers at {settings.address} ({reason}); start one, or change beam.flink.address"
        ) from None
    version = ".".join(found.split(".")[:2])
    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    expected = settings.version or ("" if settings.job_server else published[-1])
    beam = importlib.metadata.version("apache-beam")
    if expected and version != expected:
        remedy = (
            f'set beam.flink.version: "{version}"'
            if version in published or settings.job_server
            else f"Beam {beam} has job servers for Flink {', '.join(published)}; use one of these"
        )
        raise UserError(f"the Flink cluster at {settings.address} is {found}, not {expected}; {remedy}")
    if not settings.job_server and version not in published:
        raise UserError(
            f"Beam {beam} has no job server for Flink {version} of {settings.address}, but for {', '.join(published)}; "
            "use one of these, or name a job server with beam.flink.job_server"
        )
    _check_job_server(settings.job_server, "beam.flink.job_server")


def _check_job_server(job_server: str, key: str) -> None:
    if _is_address(job_server):
        _check_reachable(job_server, "the Beam job server", key)
    elif job_server and not os.path.isfile(job_server):
        raise UserError(f"{key}: {job_server} is neither host:port nor the jar of a job server")


def _check_reachable(address: str, what: str, key: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
    except OSError as error:
        raise UserError(f"{what} at {address} cannot be reached ({error}); start it, or change {key}") from None


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()


def _constraints() -> pathlib.Path:
    """The pinned packages of the TFX line that is installed here."""
    line = ".".join(importlib.metadata.version("tfx").split(".")[:2])
    path = _ROOT / "constraints" / f"tfx-{line}.txt"
    if not path.exists():
        raise UserError(f"{path} is not there; environment.kind: packages needs a checkout of segpipe")
    return path
