"""A cluster's machines on this one: network namespaces, each with a Beam worker pool, as pods have on Kubernetes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]
_MOST = 4


class Machines:
    """Processes here, at `.1` of the network, and on machines from `.10` on; `stop` ends them all.

    Args:
      folder: for configuration, logs and temporary files.
      name: of the cluster, at most 8 letters: clusters of different names can run at the same time.
      network: the first three numbers of its addresses.
      environment: of all processes, on top of this one's.
      pinned: each machine has one processor core; otherwise all share all cores.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        name: str,
        network: str,
        environment: dict[str, str] | None = None,
        pinned: bool = False,
    ):
        self.folder = folder
        self.host = f"{network}.1"
        self._name, self._network = name, network
        self._environment = environment or {}
        self._pinned = pinned
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def add_network(self) -> None:
        """Makes the bridge."""
        self._remove_network()
        _ip("link", "add", self._name, "type", "bridge")
        _ip("address", "add", f"{self.host}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        self._firewall("--insert")

    def add_machine(self, number: int) -> tuple[str, list[str]]:
        """Makes a machine with a worker pool at `localhost:50000`.

        Returns:
          Its address, and what to put before a command that shall run there.
        """
        machine, address = f"{self._name}-{number}", f"{self._network}.{10 + number}"
        _ip("netns", "add", machine)
        _ip("link", "add", f"{self._name}-in{number}", "type", "veth", "peer", "name", "eth0", "netns", machine)
        _ip("link", "set", f"{self._name}-in{number}", "master", self._name, "up")
        _ip("-n", machine, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", machine, "link", "set", "eth0", "up")
        _ip("-n", machine, "link", "set", "lo", "up")
        inside = ["ip", "netns", "exec", machine]
        if self._pinned:
            inside += ["taskset", "--cpu-list", str(number)]
        pool = [sys.executable, "-W", "ignore", "-m", "apache_beam.runners.worker.worker_pool_main"]
        self.start_process(f"worker-pool-{number}", [*inside, *pool, "--service_port", "50000"])
        return address, inside

    def remove_machine(self, number: int, *processes: str) -> None:
        """Kills the worker pool and other processes of a machine, as when it is lost."""
        for name in (*processes, f"worker-pool-{number}"):
            self._kill(name)
        _ip("netns", "delete", f"{self._name}-{number}")

    def start_process(self, name: str, command: list[str], **environment: str) -> None:
        """Starts a command; what it prints is in `log(name)`."""
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        with open(self.folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_beam_job_server(self, jar: pathlib.Path, options: list[str], **environment: str) -> str:
        """Starts a Beam job server here, waits until it listens, and returns its address."""
        address = [f"--job-host={self.host}", "--job-port=8099", "--artifact-port=8098"]
        options = [*address, f"--artifacts-dir={self.folder}/staged", *options]
        self.start_process("job-server", ["java", "-jar", str(jar), *options], **environment)

        def listens() -> bool:
            socket.create_connection((self.host, 8099), 1).close()
            return True

        self.wait_until(listens, "the job server")
        return f"{self.host}:8099"

    def wait_until(self, is_ready: Callable[[], bool], what: str) -> None:
        """Waits two minutes at most, and no longer than all processes live."""
        for _ in range(600):
            with contextlib.suppress(OSError):
                if is_ready():
                    return
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            assert not dead, f"{dead[0]} ended: {self.log(dead[0])[-2000:]}"
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come up")

    def log(self, name: str) -> str:
        """What a process printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """Ends all processes and takes the network away."""
        for name in list(self._processes):
            self._kill(name)
        self._remove_network()

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name)
        # Worker processes are in the group of their pool.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _remove_network(self) -> None:
        for number in range(_MOST):
            _ip("netns", "delete", f"{self._name}-{number}", check=False)
            _ip("link", "delete", f"{self._name}-in{number}", check=False)
        _ip("link", "delete", self._name, check=False)
        self._firewall("--delete", check=False)

    def _firewall(self, action: str, check: bool = True) -> None:
        """Docker's engine leaves a firewall behind that drops what goes from port to port of a bridge."""
        if shutil.which("iptables"):
            rule = ["FORWARD", "--in-interface", self._name, "--jump", "ACCEPT"]
            subprocess.run(["iptables", "--wait", action, *rule], check=check, capture_output=not check)


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)
