"""A Python that has loaded TFX, once, and forks itself for each program, which would take ten seconds to load it.

Takes the number of a socket. Each message there is an order in JSON: `arguments` as Python takes them (a script, `-m`
and a module, or `-c` and code, then the program's own), `folder` and `environment`; the descriptors of standard output
and error come with it. The answer is the exit code, as `subprocess` gives it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys

# What programs import when they need it. None of these starts TensorFlow, whose threads a fork would lack.
_MODULES = (
    "pipeline.cli",
    "pipeline.runners.local",
    "components.report.content",
    "models.training.trainer",
    "models.serving.predict",
    "tensorflow_data_validation",
    "tensorflow_transform.beam",
)
_MAX_BYTES = 1 << 17


def main(connection: socket.socket) -> None:
    """Forks for each order until the other side hangs up."""
    for module in _MODULES:
        importlib.import_module(module)
    gc.freeze()  # No program looks through all of it for garbage, nor gets a copy of its own by that.
    null = os.open(os.devnull, os.O_RDONLY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _MAX_BYTES, 2)
        if not message:
            return
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with this process.
            connection.close()
            for descriptor, standard in zip([null, *descriptors], (0, 1, 2), strict=True):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            run(**json.loads(message))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Runs a program in this process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(arguments[0])
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    main(socket.socket(fileno=int(sys.argv[1])))
