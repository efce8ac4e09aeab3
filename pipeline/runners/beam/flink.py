"""An Apache Flink cluster."""

from __future__ import annotations

import importlib.metadata
import json
import urllib.request
from typing import Annotated

import pydantic

from data.base.errors import UserError
from pipeline.runners.beam.base import TIMEOUT_SECONDS, Address
from pipeline.runners.beam.job_server import JobServerRunner


class FlinkRunner(JobServerRunner):
    """An Apache Flink cluster.

    Attributes:
      address: `host:port` of the job manager's REST interface.
      version: of the cluster, such as "1.18"; by default the newest that Beam has a job server for.
      parallelism: how many workers share a step; by default the cluster's own setting.
    """

    address: Address = "localhost:8081"
    version: Annotated[str, pydantic.Field(pattern=r"^(\d+\.\d+)?$")] = ""
    parallelism: Annotated[int, pydantic.Field(ge=1)] | None = None

    def pipeline_arguments(self, job: str) -> list[str]:
        parallelism = [f"--parallelism={self.parallelism}"] if self.parallelism else []
        return [*super().pipeline_arguments(job), *parallelism]

    def job_server_arguments(self) -> list[str]:
        server = []
        if self.job_server:
            server = [f"--flink_job_server_jar={self.job_server}"]
        elif self.version:
            server = [f"--flink_version={self.version}"]
        return ["--runner=FlinkRunner", f"--flink_master=http://{self.address}", *server]

    def check_cluster(self) -> None:
        from apache_beam.options.pipeline_options import FlinkRunnerOptions

        try:
            with urllib.request.urlopen(f"http://{self.address}/config", timeout=TIMEOUT_SECONDS) as answer:
                found = json.load(answer)["flink-version"]
        except (OSError, ValueError, KeyError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(
                f"no Flink cluster answers at {self.address} ({reason}); start one, or change beam.options.address"
            ) from None
        version = ".".join(found.split(".")[:2])
        published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
        expected = self.version or ("" if self.job_server else published[-1])
        beam = importlib.metadata.version("apache-beam")
        if expected and version != expected:
            remedy = (
                f'set beam.options.version: "{version}"'
                if version in published or self.job_server
                else f"Beam {beam} has job servers for Flink {', '.join(published)}; use one of these"
            )
            raise UserError(f"the Flink cluster at {self.address} is {found}, not {expected}; {remedy}")
        if not self.job_server and version not in published:
            raise UserError(
                f"Beam {beam} has no job server for Flink {version}, which runs at {self.address}, only for "
                f"{', '.join(published)}; use one of these, or name a job server with beam.options.job_server"
            )
