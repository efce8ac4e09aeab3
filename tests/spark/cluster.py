"""An Apache Spark standalone cluster on this machine, from Spark's own distribution."""

from __future__ import annotations

import json
import pathlib
import urllib.request
from typing import Any

from tests.clusters.machines import ROOT, Machines

CACHE = ROOT / ".cache" / "spark"
JOB_SERVER = CACHE / "job-server.jar"
HOME = CACHE / "distribution" / "pyspark"
_NETWORK = "10.204.0"
ADDRESS = f"{_NETWORK}.1:7077"
# What lets the workers find Spark's driver: the name of this machine stands for another address of it.
DRIVER = {"SPARK_LOCAL_IP": f"{_NETWORK}.1"}


class Cluster(Machines):
    """A master here, and workers on machines of their own, each with one executor of one core. Starts with `start`.

    Args:
      folder: for configuration, logs and temporary files.
      environment: of the worker pools, on top of this process's.
    """

    def __init__(self, folder: pathlib.Path, environment: dict[str, str] | None = None):
        super().__init__(folder, "spark", _NETWORK, environment)

    def start(self, workers: int) -> None:
        """Starts the master and so many workers, and waits until they are there."""
        self.add_network()
        self._start_class("master", [], "master.Master", "--host", self.host, "--port", "7077", "--webui-port", "8080")
        for number in range(workers):
            address, inside = self.add_machine(number)
            own = ["--host", address, "--cores", "1", "--memory", "1g", "--work-dir", f"{self.folder}/work-{number}"]
            self._start_class(f"worker-{number}", inside, "worker.Worker", *own, f"spark://{ADDRESS}")
        self.wait_until(lambda: self.state()["aliveworkers"] == workers, "the workers")

    def start_job_server(self) -> str:
        """Starts Beam's job server, in which Spark's driver runs, and returns its address."""
        return self.start_beam_job_server(JOB_SERVER, [f"--spark-master-url=spark://{ADDRESS}"], **DRIVER)

    def state(self) -> Any:
        """What the master says of the cluster."""
        with urllib.request.urlopen(f"http://{self.host}:8080/json/", timeout=10) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs that ended, the newest last."""
        return sorted(self.state()["completedapps"], key=lambda job: job["starttime"])

    def _start_class(self, name: str, before: list[str], main: str, *arguments: str) -> None:
        command = [str(HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{main}", *arguments]
        self.start_process(name, [*before, *command], SPARK_HOME=str(HOME), SPARK_DAEMON_MEMORY="512m")
