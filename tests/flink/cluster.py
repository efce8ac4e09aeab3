"""An Apache Flink cluster on this machine: a job manager, and task managers that each have a Beam worker pool beside
them, in a network namespace of their own, as a pod has on Kubernetes. Its processes are Flink's own and Beam's own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent.parent
CACHE = ROOT / ".cache" / "flink"
_LIBRARIES = CACHE / "distribution" / "pyflink" / "lib"
_NETWORK = "10.203.0"
_BRIDGE = "segpipe0"
ADDRESS = f"{_NETWORK}.1:8081"
JOB_SERVER = CACHE / "job-server.jar"

_POOL = "apache_beam.runners.worker.worker_pool_main"

# What Flink's own scripts open for it in Java 17.
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


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)


def _firewall(action: str, check: bool = True) -> None:
    """Docker's engine, once it ran, leaves a firewall that drops what goes from port to port of a bridge."""
    if shutil.which("iptables"):
        rule = ["FORWARD", "--in-interface", _BRIDGE, "--jump", "ACCEPT"]
        subprocess.run(["iptables", "--wait", action, *rule], check=check, capture_output=not check)


class Cluster:
    """Starts with `start`, ends with `stop`.

    Args:
      folder: for configuration, logs and temporary files.
      environment: of the worker pools, beyond this process's.
      pinned: each task manager, with its worker pool, has one processor core; else all have all.
    """

    def __init__(self, folder: pathlib.Path, environment: dict[str, str] | None = None, pinned: bool = False):
        self.folder = folder
        self._environment = environment or {}
        self._pinned = pinned
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, task_managers: int) -> None:
        """Starts the job manager and so many task managers, and waits until they are there."""
        lines = [f"{key}: {value}" for key, value in _CONFIGURATION.items()]
        (self.folder / "config.yaml").write_text("\n".join([*lines, f"io.tmp.dirs: {self.folder}/tmp", ""]))
        (self.folder / "log4j.properties").write_text(
            "rootLogger.level=INFO\nrootLogger.appenderRef.c.ref=c\nappender.c.name=c\nappender.c.type=CONSOLE\n"
            "appender.c.layout.type=PatternLayout\nappender.c.layout.pattern=%d{HH:mm:ss} %-5p %c{1} - %m%n\n"
        )
        (self.folder / "tmp").mkdir()
        self._remove_network()
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("address", "add", f"{_NETWORK}.1/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        _firewall("--insert")
        self._java(
            "job-manager", [], "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", [], "-Xmx700m"
        )
        for number in range(task_managers):
            self.add_task_manager(number)
        self.wait_for_task_managers(task_managers)

    def add_task_manager(self, number: int) -> None:
        """Starts a task manager and its worker pool in a namespace of their own."""
        name, address = f"segpipe-flink-{number}", f"{_NETWORK}.{10 + number}"
        _ip("netns", "add", name)
        _ip("link", "add", f"segpipe-in{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"segpipe-in{number}", "master", _BRIDGE, "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        inside = ["ip", "netns", "exec", name]
        if self._pinned:
            inside += ["taskset", "--cpu-list", str(number)]
        self._start(
            f"worker-pool-{number}",
            [*inside, sys.executable, "-W", "ignore", "-m", _POOL, "--service_port", "50000"],
        )
        java, dynamic = self._memory()
        self._java(
            f"task-manager-{number}",
            inside,
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            [*dynamic, "-D", f"taskmanager.host={address}", "-D", f"taskmanager.bind-host={address}"],
            # A job whose task manager has run out of memory would wait for ever.
            "-XX:+ExitOnOutOfMemoryError",
            *java,
        )

    def kill_task_manager(self, number: int) -> None:
        """Kills a task manager and all that is beside it, as when a machine is lost."""
        for name in (f"task-manager-{number}", f"worker-pool-{number}"):
            self._kill(name)
        _ip("netns", "delete", f"segpipe-flink-{number}")

    def wait_for_task_managers(self, count: int) -> None:
        """Waits until so many are there."""
        for _ in range(600):
            try:
                if self.ask("overview")["taskmanagers"] == count:
                    return
            except OSError:
                pass
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            assert not dead, f"{dead[0]} ended: {self.log(dead[0])[-2000:]}"
            time.sleep(0.2)
        raise AssertionError("the task managers do not come")

    def ask(self, path: str) -> Any:
        """What the REST interface answers."""
        with urllib.request.urlopen(f"http://{ADDRESS}/{path}", timeout=10) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs that there were, the newest last."""
        return sorted(self.ask("jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def log(self, name: str) -> str:
        """What a process printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_job_server(self) -> str:
        """Starts Beam's job server, and returns its address."""
        host, port = f"{_NETWORK}.1", 8099
        options = [f"--flink-master={ADDRESS}", f"--job-host={host}", f"--job-port={port}", "--artifact-port=8098"]
        self._start("job-server", ["java", "-jar", str(JOB_SERVER), *options, f"--artifacts-dir={self.folder}/staged"])
        return f"{host}:{port}"

    def stop(self) -> None:
        """Ends all processes, and takes the network away."""
        for name in list(self._processes):
            self._kill(name)
        self._remove_network()

    def _memory(self) -> tuple[list[str], list[str]]:
        """What Flink's own start script finds out: options of Java, and of the task manager."""
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
        self._start(name, [*before, *command, "--configDir", str(self.folder), *arguments])

    def _start(self, name: str, command: list[str]) -> None:
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        with open(self.folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name)
        # Worker processes are in the group of their pool.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _remove_network(self) -> None:
        for number in range(4):
            _ip("netns", "delete", f"segpipe-flink-{number}", check=False)
            _ip("link", "delete", f"segpipe-in{number}", check=False)
        _ip("link", "delete", _BRIDGE, check=False)
        _firewall("--delete", check=False)
