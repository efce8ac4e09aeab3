"""Runs pipelines in processes of their own, each with a fault; one process that has loaded TFX forks them.

It reads a line of JSON for each run, `config` (YAML), `last` (the component to end with; "" for all) and `fault` (see
`Fault`), and answers with one: `status` (0 for a run that ended, else what `os.waitpid` gives), `state` and `error`; of
a run without an error also `run_id`, and `seconds` and `states` of its components.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any


class Fault:
    """What goes wrong, and when.

    Attributes:
      kind: `kill`, `interrupt`, `full`, `read-only`, `clock` or `vanish`; "" for nothing. `code` changes what the cache
        compares of the component, as if it had other code.
      component: in which component.
      when: at its `start`, in the `middle` of its executor, or at its `end`, before TFX records what it made.
      seconds: how long its executor takes.
      places: folders that it happens to; for `clock` the file that libfaketime reads.
      mark: file that is made when it happens.
    """

    def __init__(self, values: dict[str, Any]):
        self.kind = values.get("kind", "")
        self.component, self.when = values.get("component", ""), values.get("when", "start")
        self.seconds, self.places = values.get("seconds", 0.0), values.get("places", [])
        self.mark = values.get("mark", "")

    def patch(self, component: Any) -> None:
        """Lets it happen in a component's executor."""
        if self.kind == "code":
            from pipeline.pipeline import CACHE_KEY

            component.exec_properties[CACHE_KEY] = "other"
            return
        executor = component.executor_spec.executor_class
        original = executor.Do

        def with_fault(*arguments: Any) -> Any:
            if self.when == "start":
                self.happen()
            timer = threading.Timer(self.seconds / 2, self.happen)
            timer.daemon = True
            if self.when == "middle":
                timer.start()
            result = original(*arguments)
            if self.when == "middle":
                timer.join()  # It may be quicker this time.
            if self.when == "end":
                self.happen()
            return result

        executor.Do = with_fault

    def happen(self) -> None:
        with open(self.mark, "w"):
            pass
        if self.kind == "kill":
            os.killpg(0, signal.SIGKILL)
        elif self.kind == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.kind == "full":
            for place in self.places:
                with contextlib.suppress(OSError), open(os.path.join(place, "filler"), "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1 << 16))
        elif self.kind == "read-only":
            for place in self.places:
                subprocess.run(["mount", "--bind", place, place], check=True)
                subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        elif self.kind == "clock":
            # In one rename: libfaketime reads it at any moment.
            with open(self.places[0] + ".new", "w") as file:
                file.write("-1d\n")
            os.replace(self.places[0] + ".new", self.places[0])
        elif self.kind == "vanish":
            for place in self.places:
                shutil.rmtree(place, ignore_errors=True)


def run(config_path: str, last: str, fault: Fault) -> dict[str, Any]:
    """One run, in this process."""
    from rich.console import Console

    from data.base.errors import UserError
    from pipeline.config import load_config
    from pipeline.runners import local

    create_pipeline = local.create_pipeline

    def with_fault(config: Any, **keywords: Any) -> Any:
        pipeline = create_pipeline(config, **keywords)
        for component in pipeline.components:
            if component.id == fault.component:
                fault.patch(component)
        return pipeline

    local.create_pipeline = with_fault
    try:
        result = local.run_locally(load_config(config_path), Console(quiet=True), last)
    except (local.RunFailedError, UserError, OSError) as error:  # What the command line makes a message of.
        return {"state": "failed", "error": str(error)}
    except KeyboardInterrupt:
        return {"state": "interrupted", "error": ""}
    return {
        "state": result.state,
        "error": "",
        "run_id": result.run_id,
        "seconds": {component.name: component.seconds for component in result.components},
        "states": {component.name: component.state for component in result.components},
    }


def main() -> None:
    """Forks a process for each line."""
    import pipeline.runners.local  # noqa: F401  # Loaded once, before the forks.

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with this process.
            os.close(reading)
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            try:
                answer = run(order["config"], order["last"], Fault(order["fault"]))
            except BaseException as error:
                answer = {"state": "crashed", "error": f"{type(error).__name__}: {error}"}
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        # Beam's and the serving check's processes go with the run's group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.1)
        print(json.dumps({"status": status, "state": "killed", "error": "", **json.loads(text or b"{}")}), flush=True)


if __name__ == "__main__":
    main()
