"""An Apache Flink session cluster on this machine, from Flink's own distribution."""

from __future__ import annotations

import json
import pathlib
import subprocess
import urllib.request
from typing import Any

from tests.clusters.machines import ROOT, Machines

CACHE = ROOT / ".cache" / "flink"
JOB_SERVER = CACHE / "job-server.jar"
_LIBRARIES = CACHE / "distribution" / "pyflink" / "lib"
_NETWORK = "10.203.0"
ADDRESS = f"{_NETWORK}.1:8081"

# What Flink's own scripts open on Java 17.
_OPENED = [
    *(f"--add-exports=java.base/{name}=ALL-UNNAMED" for name in ("sun.net.util",)),
    *(
        f"--add-opens=java.base/java.{name}=ALL-UNNAMED"
        for name in ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")
    ),
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
]
_CONFIGURATION = {
    "jobmanager.rpc.address": f"{_NETWORK}.1",
    "rest.address": f"{_NETWORK}.1",
    "rest.bind-address": f"{_NETWORK}.1",
    "rest.port": "8081",
    "taskmanager.memory.process.size": "2600m",
    "taskmanager.memory.network.min": "512m",
    "taskmanager.memory.network.max": "512m",
    "taskmanager.numberOfTaskSlots": "2",
    "cluster.evenly-spread-out-slots": "true",
    "parallelism.default": "2",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "5",
    "restart-strategy.fixed-delay.delay": "2 s",
    "heartbeat.interval": "2000",
    "heartbeat.timeout": "20000",
}


class Cluster(Machines):
    """A job manager here, and task managers on machines of their own. Starts with `start`.

    Args:
      folder: for configuration, logs and temporary files.
      environment: of the worker pools, on top of this process's.
      pinned: each task manager, with its worker pool, has one processor core; otherwise all share all cores.
    """

    def __init__(self, folder: pathlib.Path, environment: dict[str, str] | None = None, pinned: bool = False):
        super().__init__(folder, "flink", _NETWORK, environment, pinned)

    def start(self, task_managers: int) -> None:
        """Starts the job manager and so many task managers, and waits until they are there."""
        lines = [f"{key}: {value}" for key, value in _CONFIGURATION.items()]
        (self.folder / "config.yaml").write_text("\n".join([*lines, f"io.tmp.dirs: {self.folder}/tmp", ""]))
        (self.folder / "log4j.properties").write_text(
            "rootLogger.level=INFO\nrootLogger.appenderRef.c.ref=c\nappender.c.name=c\nappender.c.type=CONSOLE\n"
            "appender.c.layout.type=PatternLayout\nappender.c.layout.pattern=%d{HH:mm:ss} %-5p %c{1} - %m%n\n"
        )
        (self.folder / "tmp").mkdir()
        self.add_network()
        self._java(
            "job-manager", [], "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", [], "-Xmx700m"
        )
        for number in range(task_managers):
            self.add_task_manager(number)
        self.wait_for_task_managers(task_managers)

    def add_task_manager(self, number: int) -> None:
        """Starts a task manager on a new machine."""
        address, inside = self.add_machine(number)
        java, dynamic = self._memory()
        self._java(
            f"task-manager-{number}",
            inside,
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            [*dynamic, "-D", f"taskmanager.host={address}", "-D", f"taskmanager.bind-host={address}"],
            # Otherwise a job whose task manager ran out of memory would wait forever.
            "-XX:+ExitOnOutOfMemoryError",
            *java,
        )

    def kill_task_manager(self, number: int) -> None:
        """Kills a task manager and its worker pool, as when a machine is lost."""
        self.remove_machine(number, f"task-manager-{number}")

    def wait_for_task_managers(self, count: int) -> None:
        """Waits until so many are there."""
        self.wait_until(lambda: self.ask("overview")["taskmanagers"] == count, "the task managers")

    def ask(self, path: str) -> Any:
        """What the REST interface answers."""
        with urllib.request.urlopen(f"http://{ADDRESS}/{path}", timeout=10) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs so far, the newest last."""
        return sorted(self.ask("jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def start_job_server(self) -> str:
        """Starts Beam's job server, and returns its address."""
        return self.start_beam_job_server(JOB_SERVER, [f"--flink-master={ADDRESS}"])

    def _memory(self) -> tuple[list[str], list[str]]:
        """What Flink's own start script works out: options of Java, and of the task manager."""
        command = ["org.apache.flink.runtime.util.bash.BashJavaUtils", "GET_TM_RESOURCE_PARAMS"]
        path = f"{_LIBRARIES.parent}/bin/bash-java-utils.jar:{_LIBRARIES}/*"
        found = subprocess.run(
            ["java", "-cp", path, *command, "--configDir", str(self.folder)], capture_output=True, text=True, check=True
        )
        lines = [line.partition(":")[2] for line in found.stdout.splitlines() if "EXEC_RESULT" in line]
        return lines[0].split(), lines[1].split()

    def _java(self, name: str, before: list[str], main: str, arguments: list[str], *options: str) -> None:
        logging = f"-Dlog4j.configurationFile=file:{self.folder}/log4j.properties"
        command = ["java", *_OPENED, *options, logging, "-cp", f"{_LIBRARIES}/*", main]
        self.start_process(name, [*before, *command, "--configDir", str(self.folder), *arguments])
