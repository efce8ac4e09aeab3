from ml_metadata.proto import metadata_store_pb2
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils

from pipeline.records.metadata import Database, sqlite_database
from pipeline.runners.metadata_handle import MetadataHandle


class Elsewhere(Database):
    """A database whose connection leads nowhere, so that only who calls `open` can use it."""

    def open(self, read_only=False):
        return sqlite_database(self.description).open(read_only)


def test_tfx_reads_and_writes_by_our_connection_alone(tmp_path):
    path = tmp_path / "metadata.sqlite"
    database = Elsewhere(metadata_store_pb2.ConnectionConfig(), str(path), "")
    (tmp_path / "schema.pbtxt").write_text('feature { name: "x" }')
    component = ImportSchemaGen(schema_file=str(tmp_path / "schema.pbtxt"))
    graph = compiler.Compiler().compile(
        Pipeline("small", str(tmp_path / "artifacts"), components=[component], enable_cache=True)
    )
    for run, state in (("one", "COMPLETE"), ("two", "CACHED")):
        substituted = type(graph).FromString(graph.SerializeToString())
        runtime_parameter_utils.substitute_runtime_parameter(
            substituted, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run}
        )
        (node,) = substituted.nodes
        deployment = runner_utils.extract_local_deployment_config(substituted)
        launcher.Launcher(
            pipeline_node=node.pipeline_node,
            mlmd_connection=MetadataHandle(database),
            pipeline_info=substituted.pipeline_info,
            pipeline_runtime_spec=substituted.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, "ImportSchemaGen"),
        ).launch()
        store = database.open()
        context = store.get_context_by_type_and_name("pipeline_run", run)
        (execution,) = store.get_executions_by_context(context.id)
        assert metadata_store_pb2.Execution.State.Name(execution.last_known_state) == state
