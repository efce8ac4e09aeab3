"""Conversion and whole runs on a real Flink cluster, against Beam's direct runner."""

import base64
import json
import time

import pytest
from apache_beam.coders import VarIntCoder

from tests.clusters.results import assert_same_data, config_writer, contents, runs
from tests.flink.bucket import Bucket
from tests.flink.cluster import ADDRESS, CACHE, JOB_SERVER, Cluster

pytestmark = pytest.mark.flink


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The bucket gs://segpipe, which the fixture `cluster` starts, as it listens on the cluster's network."""
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
    """The section `beam` of a configuration, for this cluster and a running job server."""
    options = {"address": ADDRESS, "version": "1.19", "parallelism": 2, "job_server": cluster.start_job_server()}
    return {"runner": "flink", "options": {**options, "environment": {"kind": "pool", "pool": "localhost:50000"}}}


@pytest.fixture
def config_file(small_config, tmp_path):
    return config_writer(small_config, tmp_path)


@pytest.fixture(scope="module")
def converted(segpipe, pets, tmp_path_factory):
    """The photographs, converted on this machine."""
    destination = tmp_path_factory.mktemp("direct") / "pets"
    finished = segpipe("convert", "--format", "oxford-pets", str(pets), str(destination))
    assert finished.returncode == 0, finished.stderr
    return destination


def test_a_conversion_writes_what_the_direct_runner_writes(
    cluster, beam, converted, config_file, segpipe, pets, tmp_path
):
    destination = tmp_path / "pets"
    # With the jar this time: a job server is started for this job alone.
    jar = {**beam["options"], "job_server": str(JOB_SERVER)}
    config = config_file(beam={**beam, "options": jar})
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
    """What Flink reports of segpipe's own counters in its newest job."""
    (accumulator,) = cluster.ask(f"jobs/{cluster.jobs()[-1]['jid']}/accumulators")["user-task-accumulators"]
    return {
        metric["labels"]["NAME"]: VarIntCoder().decode(base64.b64decode(metric["payload"]))
        for metric in json.loads(accumulator["value"])["metrics"]["attempted"]
        if metric["labels"].get("NAMESPACE") in ("convert", "data_gate")
    }


def readers(cluster, job_name, step):
    """The addresses of the task managers that read files in a step of a job."""
    (job,) = (job["jid"] for job in cluster.jobs() if job["name"] == job_name)
    return {
        task["host"]
        for vertex in cluster.ask(f"jobs/{job}")["vertices"]
        if step in vertex["name"]
        for task in cluster.ask(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]
        if task["metrics"]["read-records"]
    }


def test_a_whole_run_equals_the_direct_runners(cluster, bucket, beam, config_file, segpipe, tmp_path):
    """The direct runner's files are on this machine; the cluster's are in a bucket."""
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

    assert_same_data(direct, flink)
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


def test_a_job_survives_the_loss_of_a_task_manager(cluster, beam, config_file, segpipe, pets, tmp_path):
    """With many shards, so that the task manager is lost between its first shard and its last."""
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
    """The number of a task manager that is writing shards for a job, or None."""
    for vertex in cluster.ask(f"jobs/{job}")["vertices"]:
        if "WriteShard" in vertex["name"] and vertex["status"] == "RUNNING":
            for task in cluster.ask(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]:
                if task["status"] == "RUNNING":
                    return int(task["host"].partition(":")[0].rpartition(".")[2]) - 10
    return None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "127.0.0.1:9"}, "no Flink cluster answers at 127.0.0.1:9"),
        ({"version": "1.18"}, 'is 1.19.1, not 1.18; set beam.options.version: "1.19"'),
        ({"job_server": "", "version": "1.19"}, "job server for Flink"),
        ({"job_server": "127.0.0.1:9"}, "the Beam job server at 127.0.0.1:9 cannot be reached"),
    ],
)
def test_a_cluster_that_will_not_do_is_refused_before_anything_starts(
    cluster, beam, config_file, segpipe, tmp_path, options, message
):
    before = len(cluster.jobs())
    config = config_file(beam={**beam, "options": {**beam["options"], **options}})
    for command in (["run"], ["convert", "--format", "brain-mri", str(tmp_path / "converted")]):
        finished = segpipe(*command[:1], "--config", config, *command[1:])
        assert (finished.returncode, finished.stderr.count("Error:")) == (1, 1)
        assert message in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not (tmp_path / "output").exists()
    assert not (tmp_path / "converted").exists()
    assert len(cluster.jobs()) == before
