"""Runs the graph on this machine: TFX's LocalDagRunner, with a live view and a log file."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import absl.logging
from google.protobuf import text_encoding
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tfx.dsl.compiler import constants
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import runtime_parameter_utils

from data.base.errors import UserError
from data.base.locking import exclusive
from models.serving.versions import deployed_version
from models.training.multi_worker import this_worker
from pipeline.config import Config
from pipeline.pipeline import create_pipeline
from pipeline.records.metadata import database_of, is_failure
from pipeline.records.runs import Run, begin_run, claim_artifacts, forget_pushes, load_run, record_failure

# Without a terminal, progress within a component becomes a line at most this often.
_LINE_SECONDS = 10.0


class RunFailedError(Exception):
    """A component failed; the message says which, why, and where the log is."""


def run_locally(config: Config, console: Console, last: str = "") -> Run:
    """Runs the pipeline and returns what came of it.

    Args:
      config: the run.
      console: where the live view goes; everything else that components print goes to the log.
      last: the component to end with; by default all run.

    Raises:
      UserError: if another run is going on in the output folder, or the data set or a cluster is not there.
      RunFailedError: if a component failed.
    """
    from tfx.orchestration.pipeline import RunOptions

    config.check_output()
    if config.train.strategy == "multi_worker":
        this_worker()  # Now, not when the training begins.
    config.data.newest_input()  # Raises, if there is none.
    config.beam.check()
    pipeline = create_pipeline(config)
    components = [component.id for component in pipeline.components]
    options = None
    if last:
        components = components[: components.index(last) + 1]
        options = RunOptions(to_nodes=[last])
    database = database_of(config)
    with exclusive(config.output, "running a pipeline"):
        claim_artifacts(config)
        os.makedirs(config.logs_path, exist_ok=True)
        log_path = os.path.join(config.logs_path, f"{datetime.datetime.now():%Y-%m-%dT%H-%M-%S}.log")
        view = _View(console, components)
        run_id = datetime.datetime.now().isoformat()
        begin_run(database, run_id, config)
        if deployed_version(config.push_destination) is None:
            forget_pushes(database, config.push_destination)
        try:
            with _output_to(log_path, [*config.secrets(), database.password]), view:
                _Runner(run_id).run(pipeline, options)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if isinstance(error, UserError):
                reason = str(error)
            elif is_failure(error):
                reason = str(database.failure(error))
            # The metadata may be what is broken; the first error is the one to tell.
            with contextlib.suppress(Exception):
                record_failure(database, run_id, f"{view.current}: {reason}")
            raise RunFailedError(f"{view.current} failed: {reason}\nThe log is {log_path}") from error
        return load_run(database, run_id)


class _Runner(LocalDagRunner):
    """TFX's, for a run whose name is known before it begins."""

    def __init__(self, run_id: str):
        super().__init__()
        self._run_id = run_id

    def run_with_ir(self, pipeline: Any, run_options: Any = None) -> None:
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        super().run_with_ir(pipeline, run_options)


@contextlib.contextmanager
def _output_to(log_path: str, secrets: list[str]) -> Iterator[None]:
    """Sends what this process and its children print, C++ libraries included, to the log.

    TFX logs all that it connects to metadata with; secrets become asterisks.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with open(log_path, "a", encoding="utf-8") as log:
        handler = logging.StreamHandler(log)
        handler.setFormatter(_Formatter(secrets))
        root = logging.getLogger()
        former_handlers, former_level = root.handlers[:], root.level
        former_verbosity = absl.logging.get_verbosity()
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        absl.logging.set_verbosity(absl.logging.INFO)
        try:
            for descriptor in kept:
                os.dup2(log.fileno(), descriptor)
            yield
        except Exception:
            root.exception("the run failed")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            root.handlers[:] = former_handlers
            root.setLevel(former_level)
            absl.logging.set_verbosity(former_verbosity)


class _Formatter(logging.Formatter):
    def __init__(self, secrets: list[str]):
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        # As protocol buffers are printed, too.
        self._secrets = [
            form for secret in filter(None, secrets) for form in (text_encoding.CEscape(secret, True), secret)
        ]

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "********")
        return text


class _View(logging.Handler):
    """Follows the runner's and our own log messages; a table on a terminal, lines elsewhere."""

    def __init__(self, console: Console, components: list[str]):
        super().__init__(logging.INFO)
        # The console's stream is about to be redirected to the log, so the view writes to a copy of it.
        self._console = Console(
            file=os.fdopen(os.dup(console.file.fileno()), "w"),
            force_terminal=console.is_terminal,
            width=console.width,
        )
        self._states = dict.fromkeys(components, "waiting")
        self._details = dict.fromkeys(components, "")
        self._seconds = dict.fromkeys(components, 0.0)
        self._started = self._last_line = time.monotonic()
        self.current = ""
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)

    def __enter__(self) -> _View:
        logging.getLogger().addHandler(self)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.current:
            self._finish(self.current, "failed")
        logging.getLogger().removeHandler(self)
        if self._console.is_terminal:
            self._live.stop()
        self._console.file.close()

    def emit(self, record: logging.LogRecord) -> None:
        # LocalDagRunner has no hooks; these are the messages of its loop and of TFX's launcher.
        if record.msg == "Component %s is running." and record.args:
            self.current = str(record.args[0])  # type: ignore[index]
            self._started = time.monotonic()
            self._states[self.current] = "running"
        elif record.msg == "A cached execution %d is used.":
            self._states[self.current] = "cached"
        elif record.msg == "Component %s is finished." and self.current:
            self._finish(self.current, "cached" if self._states[self.current] == "cached" else "done")
            self.current = ""
        elif record.name.startswith("segpipe.") and self.current:
            self._details[self.current] = record.getMessage()
            if not self._console.is_terminal and time.monotonic() - self._last_line > _LINE_SECONDS:
                self._line(f"{self.current}: {record.getMessage()}")

    def _finish(self, component: str, state: str) -> None:
        self._states[component] = state
        self._seconds[component] = time.monotonic() - self._started
        if not self._console.is_terminal:
            self._line(f"{component}: {state} ({self._seconds[component]:.1f} s)")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)
        self._last_line = time.monotonic()

    def _table(self) -> Table:
        styles = {"waiting": "dim", "running": "bold cyan", "done": "green", "cached": "blue", "failed": "bold red"}
        table = Table(box=None, pad_edge=False)
        table.add_column("component")
        table.add_column("state")
        table.add_column("seconds", justify="right")
        table.add_column("")
        for component, state in self._states.items():
            is_running = component == self.current
            seconds = time.monotonic() - self._started if is_running else self._seconds[component]
            table.add_row(
                component,
                Text(state, styles[state]),
                f"{seconds:.1f}" if state != "waiting" else "",
                Text(self._details[component], "dim", overflow="ellipsis", no_wrap=True),
            )
        return table
