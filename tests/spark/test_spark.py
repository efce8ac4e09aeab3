"""A conversion and a whole run on a real Spark cluster, against Beam's direct runner."""

import pytest

from tests.clusters.results import assert_same_data, config_writer, contents, runs
from tests.spark.cluster import ADDRESS, CACHE, DRIVER, JOB_SERVER, Cluster

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if not JOB_SERVER.exists():
        pytest.fail(f"{CACHE} lacks Spark and its job server; tools/test_spark.sh fetches them")
    cluster = Cluster(tmp_path_factory.mktemp("spark"), {"TF_CPP_MIN_LOG_LEVEL": "3"})
    try:
        cluster.start(workers=2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def beam(cluster):
    """The section `beam` of a configuration, for this cluster and a running job server."""
    return {"runner": "spark", "options": {"address": ADDRESS, "job_server": cluster.start_job_server()}}


@pytest.fixture
def config_file(small_config, tmp_path):
    return config_writer(small_config, tmp_path)


def test_a_conversion_writes_what_the_direct_runner_writes(cluster, beam, config_file, segpipe, brain_mri, tmp_path):
    # With the jar this time: a job server is started for this job alone.
    beam = {**beam, "options": {**beam["options"], "job_server": str(JOB_SERVER)}}
    destination = tmp_path / "converted"
    arguments = ("convert", "--format", "brain-mri", "--shards", "4")
    finished = segpipe(*arguments, str(tmp_path / "direct"))
    assert finished.returncode == 0, finished.stderr
    finished = segpipe(*arguments, "--config", config_file(beam=beam), str(destination), **DRIVER)
    assert finished.returncode == 0, finished.stderr
    assert contents(destination) == contents(tmp_path / "direct")
    assert cluster.jobs()[-1]["name"].startswith("convert-brain-mri")
    assert cluster.jobs()[-1]["state"] == "FINISHED"
    # Both machines took part.
    assert all("Starting worker" in cluster.log(f"worker-pool-{number}") for number in range(2))


def test_a_whole_run_equals_the_direct_runners(cluster, beam, config_file, segpipe, tmp_path):
    data, results = tmp_path / "data", {}
    finished = segpipe("convert", "--format", "brain-mri", "--shards", "4", str(data))
    assert finished.returncode == 0, finished.stderr
    for name, own in (("direct", {}), ("spark", {"beam": beam})):
        config = config_file(output=name, data={"input": str(data)}, **own)
        finished = segpipe("run", "--config", config)
        assert finished.returncode == 0, finished.stderr
        (results[name],) = runs(segpipe, config)
    jobs = {job["name"].partition("_")[0]: job["state"] for job in cluster.jobs()}
    steps = ("importexamplegen", "statisticsgen", "datagate", "transform", "evaluator")
    assert {jobs.get(f"small-{step}") for step in steps} == {"FINISHED"}
    assert_same_data(tmp_path / "direct", tmp_path / "spark")
    assert results["spark"]["state"] == results["direct"]["state"] == "pushed"
    assert results["spark"]["mean_iou"] == pytest.approx(results["direct"]["mean_iou"], abs=0.02)


def test_a_cluster_that_is_not_there_is_refused_before_anything_starts(cluster, beam, config_file, segpipe, tmp_path):
    before = len(cluster.jobs())
    for options in ({"address": "127.0.0.1:9"}, {"job_server": "127.0.0.1:9"}):
        config = config_file(beam={**beam, "options": {**beam["options"], **options}})
        finished = segpipe("run", "--config", config)
        assert (finished.returncode, finished.stderr.count("Error:")) == (1, 1)
        assert "127.0.0.1:9 cannot be reached" in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not (tmp_path / "output").exists()
    assert len(cluster.jobs()) == before
