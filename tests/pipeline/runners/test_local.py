import itertools
import re

import pytest
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.orchestration.pipeline import Pipeline

from data import contract
from pipeline.pipeline import CACHE_KEY
from pipeline.records.metadata import sqlite_database
from pipeline.runners.live_view import LiveView
from pipeline.runners.local import ComponentError, run_components


class Runs:
    """Runs a graph of TFX's smallest components, and keeps what the view showed."""

    def __init__(self, folder):
        self.folder, self.database, self.count = folder, sqlite_database(str(folder / "metadata.db")), 0

    def __call__(self, keys, components=None, schemas=None):
        self.count += 1
        schemas = schemas or {}
        made = []
        for name, key in keys.items():
            made.append(ImportSchemaGen(schema_file=schemas.get(name, str(contract.SCHEMA_PATH))).with_id(name))
            made[-1].exec_properties[CACHE_KEY] = key
        for before, after in itertools.pairwise(made):
            after.add_upstream_node(before)
        pipeline = Pipeline(
            pipeline_name="small",
            pipeline_root=str(self.folder / "artifacts"),
            components=made,
            enable_cache=True,
        )
        shown = self.folder / "shown"
        with open(shown, "w") as file, LiveView(Console(file=file), list(keys)) as view:
            run_components(pipeline, components or list(keys), self.database, f"run-{self.count}", view)
        return re.findall(r"(\w+): (\w+) \(\d+\.\d s\)", shown.read_text())


def test_the_cache_compares_what_no_specification_declares(tmp_path):
    runs = Runs(tmp_path)
    assert runs({"First": "a", "Second": "a"}) == [("First", "done"), ("Second", "done")]
    assert runs({"First": "a", "Second": "b"}) == [("First", "cached"), ("Second", "done")]
    assert runs({"First": "a", "Second": "b"}) == [("First", "cached"), ("Second", "cached")]
    store = runs.database.open(read_only=True)
    assert {execution.custom_properties[CACHE_KEY].string_value for execution in store.get_executions()} == {"a", "b"}
    runs_of_tfx = store.get_contexts_by_type("pipeline_run")
    assert {context.name for context in runs_of_tfx} == {"run-1", "run-2", "run-3"}


def test_a_run_may_end_before_the_last_component(tmp_path):
    runs = Runs(tmp_path)
    assert runs({"First": "a", "Second": "a"}, components=["First"]) == [("First", "done")]
    assert runs({"First": "a", "Second": "a"}) == [("First", "cached"), ("Second", "done")]


def test_a_failure_names_the_component_and_ends_the_run(tmp_path):
    runs = Runs(tmp_path)
    with pytest.raises(ComponentError, match="Second failed") as caught:
        runs({"First": "a", "Second": "a", "Third": "a"}, schemas={"Second": str(tmp_path / "missing")})
    assert "missing" in str(caught.value.__cause__)
    shown = (tmp_path / "shown").read_text()
    assert re.findall(r"(\w+): (\w+) ", shown) == [("First", "done"), ("Second", "failed")]
    states = [execution.last_known_state for execution in runs.database.open(read_only=True).get_executions()]
    assert states == [metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.FAILED]
