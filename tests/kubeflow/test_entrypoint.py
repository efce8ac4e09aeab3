import importlib.util
import json
import pathlib
import shutil

import pytest
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import path_utils, proto_utils

from components.pusher import Executor
from models.evaluation.gate import Threshold, Verdict, decide
from models.serving.versions import roll_back

PATH = pathlib.Path(__file__).parent.parent.parent / "kubeflow" / "entrypoint.py"
SCHEMA = {"instanceSchema": "title: tfx.Schema\ntype: object\n"}


@pytest.fixture(scope="module")
def entrypoint():
    spec = importlib.util.spec_from_file_location("entrypoint", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(warm_python):
    """Runs the entrypoint as the image does."""

    def run(executor_input, inputs_spec, *arguments):
        command = [str(PATH), *arguments]
        command += ["--json_serialized_invocation_args", json.dumps(executor_input)]
        command += ["--json_serialized_inputs_spec_args", json.dumps(inputs_spec)]
        return warm_python(*command)

    return run


def import_schema(run, source, folder):
    """Runs the executor of ImportSchemaGen, the smallest one there is."""
    executor_input = {
        "inputs": {"parameterValues": {"schema_file": str(source)}},
        "outputs": {
            "artifacts": {"schema": {"artifacts": [{"name": "x", "uri": str(folder / "schema"), "type": SCHEMA}]}},
            "outputFile": str(folder / "outputs" / "output.json"),
        },
    }
    return run(
        executor_input,
        {"parameters": {"schema_file": {"parameterType": "STRING"}}},
        *("--executor_class_path", "tfx.components.schema_gen.import_schema_gen.executor.Executor"),
    )


def test_an_executor_runs_and_its_output_appears_whole(run, tmp_path):
    result = import_schema(run, "data/schema.pbtxt", tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "schema").iterdir()] == ["schema.pbtxt"]
    output = json.loads((tmp_path / "outputs" / "output.json").read_text())
    assert output["artifacts"]["schema"]["artifacts"][0]["uri"] == str(tmp_path / "schema")
    # A second try at the same place replaces what is there.
    (tmp_path / "schema" / "old").touch()
    assert import_schema(run, "data/schema.pbtxt", tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "schema").iterdir()] == ["schema.pbtxt"]


def test_a_failed_executor_leaves_nothing_and_says_why_in_one_line(run, tmp_path):
    result = import_schema(run, "nowhere.pbtxt", tmp_path)
    assert result.returncode == 1
    assert list(tmp_path.rglob("*")) == []
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("tfx.components.schema_gen.import_schema_gen.executor.Executor failed: ")
    assert "nowhere.pbtxt" in last


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/artifacts/x", "/minio/mlpipeline/v2/artifacts/x"),
        ("s3://bucket/x", "/s3/bucket/x"),
        ("gs://bucket/x", "/gcs/bucket/x"),
        ("/tmp/x", "/tmp/x"),
    ],
)
def test_local_paths_are_the_launchers(entrypoint, uri, path):
    assert entrypoint.local_path(uri) == path


def test_types_that_were_lost_are_restored(entrypoint):
    artifact = {"uri": "/tmp/x", "type": {"schemaTitle": "system.Artifact"}}
    executor_input = {"inputs": {"artifacts": {"schema": {"artifacts": [artifact]}}}}
    entrypoint.restore_types(executor_input, {"artifacts": {"schema": {"artifactType": SCHEMA}}})
    assert artifact["type"] == SCHEMA


def find_input(run, source, output, span=-1):
    config = json.dumps({"splits": [{"name": "train", "pattern": "span-{SPAN}/train*"}]})
    executor_input = {
        "inputs": {"parameterValues": {"input_base": str(source), "input_config": config, "span": span}},
        "outputs": {"parameters": {"span": {}, "input_fingerprint": {}, "input_config": {}}, "outputFile": str(output)},
    }
    kinds = {"input_base": "STRING", "input_config": "STRING", "span": "NUMBER_INTEGER"}
    spec = {"parameters": {name: {"parameterType": kind} for name, kind in kinds.items()}}
    return run(executor_input, spec, "--driver_class_path", "components.import_example_gen.Driver")


def test_all_spans_or_those_up_to_the_wanted_one_are_found(run, tmp_path):
    for span in (9, 10):
        (tmp_path / f"span-{span}").mkdir()
        (tmp_path / f"span-{span}" / "train.tfrecord").write_bytes(bytes(span))
    found = {}
    for wanted in (-1, 9):
        result = find_input(run, tmp_path, tmp_path / "out" / "output.json", wanted)
        assert result.returncode == 0, result.stderr
        found[wanted] = json.loads((tmp_path / "out" / "output.json").read_text())["parameterValues"]
    assert (found[-1]["span"], found[9]["span"]) == (10, 9)
    patterns = {
        wanted: [split["pattern"] for split in json.loads(values["input_config"])["splits"]]
        for wanted, values in found.items()
    }
    assert patterns == {-1: ["span-9/train*", "span-10/train*"], 9: ["span-9/train*"]}
    assert found[-1]["input_fingerprint"] != found[9]["input_fingerprint"]


def verdict(run, tmp_path, checks, serving_reason, pushed):
    properties = {
        "evaluation": {"verdict": Verdict({"mean_iou": 0.3}, None, checks, 0, "model").to_json()},
        "infra_blessing": {"blessed": int(not serving_reason), "reason": serving_reason},
        "pushed_model": pushed,
    }
    artifacts = {name: {"artifacts": [{"uri": "/x", "metadata": values}]} for name, values in properties.items()}
    executor_input = {"inputs": {"artifacts": artifacts}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    return run(executor_input, {}, "--verdict")


def test_the_verdict_fails_for_a_refused_model(run, tmp_path):
    passed, missed = (
        decide([Threshold("mean_iou", bound, "gate.min.mean_iou")], {"": {"mean_iou": 0.3}}, None)
        for bound in (0.2, 0.8)
    )
    assert verdict(run, tmp_path, passed, "", {"pushed": 1}).returncode == 0
    refused = verdict(run, tmp_path, missed, "too slow", {"pushed": 0})
    assert refused.returncode == 1
    expected = "The model was not pushed: mean IoU is 0.3000, 0.5000 below 0.8 (gate.min.mean_iou)"
    assert f"{expected}; too slow" in refused.stderr
    # Whatever else it is told, a model that was not pushed was not pushed.
    assert verdict(run, tmp_path, passed, "", {"pushed": 0}).returncode == 1


def test_the_verdict_fails_for_a_threshold_that_nothing_could_be_measured_for(run, tmp_path):
    checks = decide([Threshold("mean_iou", 0.1, "gate.slices.*.mean_iou", slice="*")], {"": {"mean_iou": 0.3}}, None)
    refused = verdict(run, tmp_path, checks, "", {"pushed": 0})
    assert refused.returncode == 1
    assert "mean IoU on each slice could not be measured: no test image has a slice (gate.slices.*" in refused.stderr


def test_the_verdict_fails_for_a_model_that_pusher_declines(run, tmp_path, push):
    """The properties of the pushed model are those that Pusher itself leaves for a model that was rolled back."""
    destination = tmp_path / "serving"
    for version in (1, 2):
        push(destination, version, class_id=version)
    roll_back(str(destination), 1)
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    shutil.copytree(destination / ".rolled-back" / "2", path_utils.serving_model_dir(model.uri))
    push_destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(destination))
    )
    Executor().Do(
        {"model": [model]},
        {"pushed_model": [pushed]},
        {"push_destination": proto_utils.proto_to_json(push_destination)},
    )
    properties = {
        "pushed": pushed.get_int_custom_property("pushed"),
        "reason": pushed.get_string_custom_property("reason"),
    }
    declined = verdict(run, tmp_path, [], "", properties)
    assert declined.returncode == 1
    assert "The model was not pushed: it is version 2, which was rolled back" in declined.stderr
