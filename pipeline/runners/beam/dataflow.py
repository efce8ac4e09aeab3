"""Google Cloud Dataflow."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, ClassVar

import pydantic

from data.base.errors import UserError
from pipeline.runners.beam.base import NO_PACKAGE_LIST, Runner
from pipeline.runners.beam.environments import ContainerEnvironment


class DataflowRunner(Runner):
    """Google Cloud Dataflow. Never run: its options are only checked against Beam's own.

    Attributes:
      project: the project that pays.
      region: where the workers are.
      temp_location: folder in `gs://` for temporary and staged files.
      machine_type: of the workers; by default Dataflow's choice.
      max_workers: the most workers there may be; by default Dataflow's limit.
      service_account: account that the workers act as; by default the project's.
      environment: what runs segpipe's code on the workers.
    """

    caveat: ClassVar[str] = (
        "segpipe was never run on Dataflow: its options are only checked against Beam's. Try a small data set first."
    )

    project: Annotated[str, pydantic.Field(min_length=1)]
    region: Annotated[str, pydantic.Field(min_length=1)]
    temp_location: Annotated[str, pydantic.Field(pattern=r"^gs://.+$")]
    machine_type: str = ""
    max_workers: Annotated[int, pydantic.Field(ge=1)] | None = None
    service_account: str = ""
    environment: ContainerEnvironment = ContainerEnvironment()

    @property
    def needs_checkout(self) -> bool:
        return self.environment.kind == "packages"

    def pipeline_arguments(self, job: str) -> list[str]:
        values = {
            "project": self.project,
            "region": self.region,
            "temp_location": self.temp_location,
            "machine_type": self.machine_type,
            "max_num_workers": self.max_workers,
            "service_account_email": self.service_account,
        }
        return [
            "--runner=DataflowRunner",
            *(f"--{name}={value}" for name, value in values.items() if value),
            f"--job_name={job}",
            NO_PACKAGE_LIST,
            *self.environment.pipeline_arguments(),
        ]

    def check(self) -> None:
        try:
            importlib.metadata.version("google-cloud-storage")
        except importlib.metadata.PackageNotFoundError:
            raise UserError("Dataflow needs Beam's part for Google Cloud: install apache-beam[gcp]") from None
        self.environment.check()
