"""An Apache Spark cluster."""

from __future__ import annotations

from pipeline.runners.beam.base import Address, check_reachable
from pipeline.runners.beam.job_server import JobServerRunner


class SparkRunner(JobServerRunner):
    """An Apache Spark 3 standalone cluster, of the same Spark version as the job server.

    Attributes:
      address: `host:port` of the master.
    """

    address: Address = "localhost:7077"

    def pipeline_arguments(self, job: str) -> list[str]:
        return [
            *super().pipeline_arguments(job),
            # Otherwise each stage of a job starts its Python workers anew, each of which imports TensorFlow and Beam:
            # Spark runs stages one after another, and Beam ends the workers between them.
            "--environment_cache_millis=60000",
        ]

    def job_server_arguments(self) -> list[str]:
        jar = [f"--spark_job_server_jar={self.job_server}"] if self.job_server else []
        return ["--runner=SparkRunner", f"--spark_master_url=spark://{self.address}", *jar]

    def check_cluster(self) -> None:
        check_reachable(self.address, "the Spark master", "beam.options.address")
