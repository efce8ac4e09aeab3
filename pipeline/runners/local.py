"""Runs the graph on this machine, one component after the other."""

from __future__ import annotations

import contextlib
import datetime
import gc
import os

from ml_metadata.proto import metadata_store_pb2
from rich.console import Console
from tfx.dsl.compiler import constants
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.orchestration.portable.launcher import Launcher

from data.base.errors import UserError, readable
from data.base.locking import exclusive
from models.serving.versions import deployed_version
from models.training.multi_worker import this_worker
from pipeline.config import Config
from pipeline.pipeline import create_pipeline
from pipeline.records.lineage import repeated_version
from pipeline.records.metadata import Database, database_of, is_failure
from pipeline.records.pages.overview import write_overview
from pipeline.records.recording import begin_run, claim_artifacts, forget_pushes, record_failure
from pipeline.records.runs import Run, load_run, log_name
from pipeline.runners.live_view import Ending, LiveView
from pipeline.runners.metadata_handle import MetadataHandle
from pipeline.runners.quick_beam import make_quick
from pipeline.runners.run_log import run_log
from pipeline.tracking.tracking import track

_ENDINGS: dict[int, Ending] = {
    metadata_store_pb2.Execution.COMPLETE: "done",
    metadata_store_pb2.Execution.CACHED: "cached",
}


class RunFailedError(Exception):
    """A component failed; the message says which, why, and where the log is."""


class ComponentError(Exception):
    """A component failed, for the reason in `__cause__`.

    Args:
      component: its name.
    """

    def __init__(self, component: str):
        super().__init__(component)  # As it is, so that it can be pickled.
        self.component = component

    def __str__(self) -> str:
        return f"{self.component} failed"


def run_locally(config: Config, console: Console, last: str = "") -> Run:
    """Runs the pipeline and returns what came of it.

    Args:
      config: the run.
      console: where the live view goes; everything else that components print goes to the log.
      last: the component to end with; by default all components run.

    Raises:
      UserError: if another run is going on in the output folder, or the data set or a cluster is not there.
      RunFailedError: if a component failed.
    """
    config.check_output()
    if config.train.strategy == "multi_worker":
        this_worker()  # A mistake is reported now, not when the training begins.
    config.data.newest_input()  # Raises if there is none.
    config.beam.check()
    config.prepare_weights()
    config.prepare_exports()
    config.track.require_packages()
    database = database_of(config)
    pipeline = create_pipeline(config, repeated_version=repeated_version(database, config))
    components = [component.id for component in pipeline.components]
    if last:
        components = components[: components.index(last) + 1]
    with exclusive(config.output, "running a pipeline"):
        claim_artifacts(config)
        os.makedirs(config.logs_path, exist_ok=True)
        run_id = datetime.datetime.now().isoformat()
        log_path = os.path.join(config.logs_path, log_name(run_id))
        view = LiveView(console, components)
        begin_run(database, run_id, config)
        if deployed_version(config.push_destination) is None:
            forget_pushes(database, config.push_destination)
        try:
            with run_log(log_path, [*config.secrets(), database.password]), view:
                run_components(pipeline, components, database, run_id, view)
        except Exception as failure:
            error, where = failure, "the run"
            if isinstance(failure, ComponentError) and isinstance(failure.__cause__, Exception):
                error, where = failure.__cause__, failure.component
            reason = readable(f"{type(error).__name__}: {error}")
            if isinstance(error, UserError):
                reason = str(error)
            elif is_failure(error):
                reason = str(database.failure(error))
            # The metadata may be what is broken; the user must learn of the first error.
            with contextlib.suppress(Exception):
                record_failure(database, run_id, f"{where}: {reason}")
            write_overview(config)
            track(config, database, run_id)
            raise RunFailedError(f"{where} failed: {reason}\nThe log is {log_path}") from error
        write_overview(config)
        track(config, database, run_id)
        return load_run(database, run_id)


def run_components(pipeline: Pipeline, components: list[str], database: Database, run_id: str, view: LiveView) -> None:
    """Runs components of a pipeline, one after the other.

    TFX's LocalDagRunner does the same, but it chooses the name of the run itself, and nobody learns from it which
    component runs. TFX's public interface has no part of it; what this takes from TFX's inside instead is the same
    in TFX 1.16 and 1.21, and tests/pipeline/runners/test_local.py fails where that ends.

    Args:
      pipeline: the graph.
      components: names of those to run, in an order in which each comes after those whose outputs it takes.
      database: the pipeline's, where TFX records what it does and looks for cached outputs.
      run_id: name of the run.
      view: is told what starts and how it ends.

    Raises:
      ComponentError: if a component failed.
    """
    make_quick()
    # Else Python looks through all that was imported, a million objects, for garbage, again and again.
    if not gc.get_freeze_count():
        gc.freeze()
    compiled = Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    deployment = runner_utils.extract_local_deployment_config(compiled)
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in compiled.nodes}
    for component in components:
        view.start(component)
        ending: Ending = "failed"
        try:
            launcher = Launcher(
                pipeline_node=nodes[component],
                mlmd_connection=MetadataHandle(database),
                pipeline_info=compiled.pipeline_info,
                pipeline_runtime_spec=compiled.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, component),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, component),
            )
            ending = _ending(database, launcher.launch().execution_id)
        except Exception as error:
            raise ComponentError(component) from error
        finally:
            view.end(ending)


def _ending(database: Database, execution_id: int | None) -> Ending:
    """How an execution that the launcher returned from ended, as TFX recorded it."""
    found = database.open(read_only=True).get_executions_by_id([execution_id]) if execution_id else []
    for execution in found:
        if execution.last_known_state in _ENDINGS:
            return _ENDINGS[execution.last_known_state]
    # The launcher logs that it finds no inputs, and returns.
    raise RuntimeError("TFX did not run it; the log says why")
