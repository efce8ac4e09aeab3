"""What runners share whose jobs reach the cluster through a Beam job server."""

from __future__ import annotations

import os

import pydantic

from data.base.errors import UserError
from pipeline.runners.beam.base import NO_PACKAGE_LIST, Runner, check_reachable, is_address
from pipeline.runners.beam.environments import WorkerEnvironment


class JobServerRunner(Runner):
    """A cluster behind a Beam job server, which translates Beam's jobs for it.

    Attributes:
      job_server: `host:port` of a running Beam job server, or the path of a job server's jar, which is then started
        here. By default Beam downloads the jar of its own version. Without a running one, this needs Java.
      staging: folder for the files that workers fetch before they start, which are many with `environment.kind:
        packages`: on a shared volume or in a bucket. Only for a job server that is started here. By default a temporary
        folder of this machine, which other machines cannot read.
      environment: what runs segpipe's code beside each worker.
    """

    job_server: str = ""
    staging: str = ""
    environment: WorkerEnvironment = WorkerEnvironment()

    @pydantic.model_validator(mode="after")
    def _check_staging(self) -> JobServerRunner:
        if self.staging and is_address(self.job_server):
            raise ValueError("staging: a running job server has its own, --artifacts-dir")
        return self

    @property
    def needs_checkout(self) -> bool:
        return self.environment.kind == "packages"

    def pipeline_arguments(self, job: str) -> list[str]:
        if is_address(self.job_server):
            server = ["--runner=PortableRunner", f"--job_endpoint={self.job_server}"]
        else:
            staging = [f"--artifacts_dir={self.staging}"] if self.staging else []
            server = [*self.job_server_arguments(), *staging]
        return [
            *server,
            f"--job_name={job}",
            # Otherwise one worker reads all files of a step: the clusters' own translation of a pipeline has no shuffle
            # between listing files and reading them. Beam's has one, and fuses reading with what follows, so that no
            # image leaves its worker.
            "--experiments=pre_optimize=all",
            NO_PACKAGE_LIST,
            *self.environment.pipeline_arguments(),
        ]

    def job_server_arguments(self) -> list[str]:
        """Beam pipeline options that start a job server here."""
        raise NotImplementedError

    def check(self) -> None:
        self.check_cluster()
        if is_address(self.job_server):
            check_reachable(self.job_server, "the Beam job server", "beam.options.job_server")
        elif self.job_server and not os.path.isfile(self.job_server):
            raise UserError(
                f"beam.options.job_server: {self.job_server} is neither host:port nor the path of a job server's jar"
            )
        self.environment.check()

    def check_cluster(self) -> None:
        """Checks that the cluster answers, and can take jobs of this version of Beam.

        Raises:
          UserError: if not.
        """
        raise NotImplementedError
