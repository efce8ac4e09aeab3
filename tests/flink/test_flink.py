"""Conversion and whole runs on a real Flink cluster, against Beam's direct runner."""

import base64
import json
import pathlib
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import yaml
from apache_beam.coders import VarIntCoder

from tests.flink.bucket import Bucket
from tests.flink.cluster import ADDRESS, CACHE, JOB_SERVER, Cluster

pytestmark = pytest.mark.flink


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The bucket gs://segpipe; starts with the cluster, whose network it listens on."""
    return Bucket(tmp_path_factory.mktemp("bucket"), ADDRESS.partition(":")[0])


@pytest.fixture(scope="module")
def cluster(bucket, tmp_path_factory):
    if not JOB_SERVER.exists():
        pytest.fail(f"{CACHE} lacks Flink and its job server; tools/test_flink.sh fetches them")
    cluster = Cluster(tmp_path_factory.mktemp("flink"), {"TF_CPP_MIN_LOG_LEVEL": "3", **bucket.environment})
    try:
        cluster.start(task_managers=2)
        bucket.start()
        yield cluster
    finally:
        bucket.stop()
        cluster.stop()


@pytest.fixture(scope="module")
def beam(cluster):
    """The section `beam` of a configuration, for this cluster and a job server that runs."""
    flink = {"address": ADDRESS, "version": "1.19", "parallelism": 2, "job_server": cluster.start_job_server()}
    return {"runner": "flink", "flink": flink, "environment": {"kind": "pool", "pool": "localhost:50000"}}


@pytest.fixture
def config_file(small_config, tmp_path):
    def write(output="output", **sections):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(small_config(tmp_path / output, **sections).model_dump(mode="json")))
        return str(path)

    return write


@pytest.fixture(scope="module")
def converted(segpipe, pets, tmp_path_factory):
    """The photographs, converted on this machine."""
    destination = tmp_path_factory.mktemp("direct") / "pets"
    finished = segpipe("convert", "--format", "oxford-pets", str(pets), str(destination))
    assert finished.returncode == 0, finished.stderr
    return destination


def contents(folder):
    """All files of a folder, byte by byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_conversion_writes_what_the_direct_runner_writes(
    cluster, beam, converted, config_file, segpipe, pets, tmp_path
):
    destination = tmp_path / "pets"
    # By the jar this time: a job server is started for this job alone.
    jar = {**beam["flink"], "job_server": str(JOB_SERVER)}
    config = config_file(beam={**beam, "flink": jar})
    finished = segpipe("convert", "--format", "oxford-pets", "--config", config, str(pets), str(destination))
    assert finished.returncode == 0, finished.stderr
    assert contents(destination) == contents(converted)
    assert (cluster.jobs()[-1]["name"], cluster.jobs()[-1]["state"]) == ("convert-oxford-pets", "FINISHED")
    examples = sum(
        split["examples"] for split in json.loads((destination / "conversion.json").read_text())["splits"].values()
    )
    assert counters(cluster) == {"examples_read": examples}
    # Both machines took part.
    assert len(readers(cluster, "convert-oxford-pets", "WriteShard")) == 2


def counters(cluster):
    """What Flink tells of segpipe's own counters in its newest job."""
    (accumulator,) = cluster.ask(f"jobs/{cluster.jobs()[-1]['jid']}/accumulators")["user-task-accumulators"]
    return {
        metric["labels"]["NAME"]: VarIntCoder().decode(base64.b64decode(metric["payload"]))
        for metric in json.loads(accumulator["value"])["metrics"]["attempted"]
        if metric["labels"].get("NAMESPACE") in ("convert", "data_gate")
    }


def runs(segpipe, config):
    return [json.loads(line) for line in segpipe("runs", "--config", config, "--json").stdout.splitlines()]


def records(folder):
    """All records of a folder, in a stable order: workers write them as they come."""
    return sorted(tf.data.TFRecordDataset(sorted(map(str, folder.iterdir()))).as_numpy_iterator())


def find_artifact(output, component, name):
    (folder,) = (pathlib.Path(output) / "artifacts" / component / name).iterdir()
    return folder


def readers(cluster, job_name, step):
    """The addresses of the task managers that got files to read in a step of a job."""
    (job,) = (job["jid"] for job in cluster.jobs() if job["name"] == job_name)
    return {
        task["host"]
        for vertex in cluster.ask(f"jobs/{job}")["vertices"]
        if step in vertex["name"]
        for task in cluster.ask(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]
        if task["metrics"]["read-records"]
    }


def test_a_whole_run_equals_the_direct_runners(cluster, bucket, beam, config_file, segpipe, tmp_path):
    """The direct runner's files are on this machine; what the cluster reads and writes is in a bucket."""
    direct, flink = tmp_path / "direct", tmp_path / "flink"
    sections = {
        "direct": {"data": {"input": str(tmp_path / "data")}},
        "flink": {"data": {"input": "gs://segpipe/data"}, "artifacts": "gs://segpipe/artifacts", "beam": beam},
    }
    results = {}
    for name, own in sections.items():
        config = config_file(output=name, **own)
        convert = ("convert", "--format", "brain-mri", "--shards", "4", "--config", config)
        for command in ((*convert, own["data"]["input"]), ("run", "--config", config)):
            finished = segpipe(*command, **bucket.environment)
            assert finished.returncode == 0, finished.stderr
        (results[name],) = runs(segpipe, config)
    bucket.download("data", tmp_path / "converted")
    assert contents(tmp_path / "converted" / "data") == contents(tmp_path / "data")
    assert not (flink / "artifacts").exists()
    bucket.download("artifacts", flink)
    jobs = {job["name"]: job["state"] for job in cluster.jobs()}
    steps = ("importexamplegen", "statisticsgen", "datagate", "transform", "evaluator")
    assert {jobs.get(f"small-{step}") for step in steps} == {"FINISHED"}
    for job, step in (("datagate", "Check[train]"), ("statisticsgen", "GenerateStatistics[train]")):
        assert len(readers(cluster, f"small-{job}", step)) == 2

    for split in ("train", "eval", "test"):
        examples = [find_artifact(output, "ImportExampleGen", "examples") for output in (direct, flink)]
        assert records(examples[0] / f"Split-{split}") == records(examples[1] / f"Split-{split}")
        statistics = [
            find_artifact(output, "StatisticsGen", "statistics") / f"Split-{split}" / "FeatureStats.pb"
            for output in (direct, flink)
        ]
        assert_same_statistics(*statistics)
    gates = [find_artifact(output, "DataGate", "statistics") / "statistics.json" for output in (direct, flink)]
    assert json.loads(gates[0].read_text()) == json.loads(gates[1].read_text())
    example = next(iter(records(examples[0] / "Split-test")))
    images = [transformed(find_artifact(output, "Transform", "transform_graph"), example) for output in (direct, flink)]
    # Sums in another order.
    np.testing.assert_allclose(*images, rtol=1e-5, atol=1e-5)
    assert results["flink"]["mean_iou"] == pytest.approx(results["direct"]["mean_iou"], abs=0.02)
    assert results["flink"]["state"] == results["direct"]["state"] == "pushed"

    # One component alone on the cluster, with the model of the direct run: the same confusion matrix.
    one = {"components": {"Evaluator": beam}}
    finished = segpipe("run", "--config", config_file(output="direct", beam=one, **sections["direct"]))
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("done (") + finished.stdout.count("done (") < 6
    listed = runs(segpipe, config_file(output="direct"))
    assert len(listed) == 2
    evaluations = sorted((direct / "artifacts" / "Evaluator" / "evaluation").iterdir(), key=lambda path: int(path.name))
    assert len(evaluations) == 2
    assert listed[0]["mean_iou"] == listed[1]["mean_iou"]
    assert listed[0]["class_iou"] == listed[1]["class_iou"]


def assert_same_statistics(first, second):
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = [statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()) for path in (first, second)]
    by_name = [
        {
            (feature.path.step[0] if feature.path.step else feature.name): feature
            for feature in item.datasets[0].features
        }
        for item in found
    ]
    assert [item.datasets[0].num_examples for item in found] == [found[0].datasets[0].num_examples] * 2
    assert by_name[0].keys() == by_name[1].keys()
    for name, feature in by_name[0].items():
        other = by_name[1][name]
        assert feature.type == other.type
        kind = feature.WhichOneof("stats")
        ours, theirs = getattr(feature, kind), getattr(other, kind)
        assert ours.common_stats.num_non_missing == theirs.common_stats.num_non_missing
        if kind == "num_stats":
            for key in ("mean", "std_dev", "min", "max", "median"):
                assert getattr(ours, key) == pytest.approx(getattr(theirs, key))


def transformed(graph, example):
    output = tft.TFTransformOutput(str(graph))
    spec = output.raw_feature_spec()
    features = tf.io.parse_example(tf.constant([example]), spec)
    image = output.transform_features_layer()(features)
    (name,) = (name for name in image if image[name].dtype == tf.float32 and "image" in name)
    return image[name].numpy()


def test_a_job_survives_the_loss_of_a_task_manager(cluster, beam, config_file, segpipe, pets, tmp_path):
    """With many shards, so that it is lost while it has some done and others to do."""
    arguments = ("convert", "--format", "oxford-pets", "--shards", "20")
    finished = segpipe(*arguments, str(pets), str(tmp_path / "direct"))
    assert finished.returncode == 0, finished.stderr
    destination, before = tmp_path / "pets", {job["jid"] for job in cluster.jobs()}
    process = segpipe.start(*arguments, "--config", config_file(beam=beam), str(pets), str(destination))
    victim = None
    while victim is None:
        assert process.poll() is None, "the job ended before a task manager could be killed"
        for job in cluster.jobs():
            if job["jid"] not in before and any((tmp_path / "pets.incomplete").rglob("*.tfrecord.*")):
                victim = victim_of(cluster, job["jid"])
        time.sleep(0.05)
    cluster.kill_task_manager(victim)
    try:
        assert process.wait(600) == 0
        assert contents(destination) == contents(tmp_path / "direct")
        assert cluster.jobs()[-1]["state"] == "FINISHED"
        assert "RESTARTING" in cluster.log("job-manager")
    finally:
        cluster.add_task_manager(victim)
        cluster.wait_for_task_managers(2)


def victim_of(cluster, job):
    """The number of a task manager that writes shards for a job now, or None."""
    for vertex in cluster.ask(f"jobs/{job}")["vertices"]:
        if "WriteShard" in vertex["name"] and vertex["status"] == "RUNNING":
            for task in cluster.ask(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]:
                if task["status"] == "RUNNING":
                    return int(task["host"].partition(":")[0].rpartition(".")[2]) - 10
    return None


@pytest.mark.parametrize(
    ("flink", "message"),
    [
        ({"address": "127.0.0.1:9"}, "no Flink cluster answers at 127.0.0.1:9"),
        ({"version": "1.18"}, 'is 1.19.1, not 1.18; set beam.flink.version: "1.19"'),
        ({"job_server": "", "version": "1.19"}, "job server for Flink"),
        ({"job_server": "127.0.0.1:9"}, "the Beam job server at 127.0.0.1:9 cannot be reached"),
    ],
)
def test_a_cluster_that_will_not_do_is_told_before_anything_starts(
    cluster, beam, config_file, segpipe, tmp_path, flink, message
):
    before = len(cluster.jobs())
    config = config_file(beam={**beam, "flink": {**beam["flink"], **flink}})
    for command in (["run"], ["convert", "--format", "brain-mri", str(tmp_path / "converted")]):
        finished = segpipe(*command[:1], "--config", config, *command[1:])
        assert (finished.returncode, finished.stderr.count("Error:")) == (1, 1)
        assert message in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not (tmp_path / "output").exists()
    assert not (tmp_path / "converted").exists()
    assert len(cluster.jobs()) == before
