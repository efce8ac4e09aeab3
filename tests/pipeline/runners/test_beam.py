import http.server
import importlib.metadata
import json
import pathlib
import re
import socket
import subprocess
import sys
import tarfile
import threading

import pydantic
import pytest
import yaml
from apache_beam.options.pipeline_options import DebugOptions, FlinkRunnerOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import Stager

from data.base.errors import UserError
from pipeline.config import Config
from pipeline.runners.beam import RUNNERS
from pipeline.runners.beam.flink import FlinkRunner
from pipeline.runners.beam.settings import BeamSettings
from pipeline.runners.beam.spark import SparkRunner
from pipeline.runners.kubeflow.settings import KubeflowSettings

DOCS = pathlib.Path(__file__).parents[3] / "docs"
SCALING, EXTENDING = ((DOCS / name).read_text() for name in ("scaling.md", "extending.md"))
MINIMAL = {"name": "a", "output": "out", "data": {"input": "in"}}


def options(settings):
    """What Beam reads from the arguments; nothing may be left over."""
    return PipelineOptions(settings.pipeline_arguments("a-job")).get_all_options(drop_default=True)


def test_one_machine_is_the_default_and_needs_no_cluster():
    settings = BeamSettings()
    assert "--direct_running_mode=in_memory" in settings.pipeline_arguments("a-job")
    workers = options(BeamSettings(options={"workers": 3}))
    assert (workers["direct_running_mode"], workers["direct_num_workers"]) == ("multi_processing", 3)
    settings.check()


def test_each_runner_gets_its_own_options():
    newest = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS[-1]
    flink = options(
        BeamSettings(
            runner="flink",
            options={
                "address": "manager:8081",
                "version": newest,
                "parallelism": 8,
                "environment": {"pool": "localhost:50001"},
            },
            arguments=["--max_parallelism=64"],
        )
    )
    assert flink["runner"] == "FlinkRunner"
    assert flink["flink_master"] == "http://manager:8081"
    assert (flink["parallelism"], flink["max_parallelism"], flink["job_name"]) == (8, 64, "a-job")
    assert {"pre_optimize=all"} <= set(flink["experiments"])
    own = BeamSettings(runner="flink", arguments=["--experiments=pre_optimize=default"])
    found = PipelineOptions(own.pipeline_arguments("a-job")).view_as(DebugOptions)
    assert found.lookup_experiment("pre_optimize") == "default"
    assert (flink["environment_type"], flink["environment_config"]) == ("EXTERNAL", "localhost:50001")
    served = options(BeamSettings(runner="flink", options={"job_server": "server:8099"}))
    assert (served["runner"], served["job_endpoint"]) == ("PortableRunner", "server:8099")
    spark = options(
        BeamSettings(
            runner="spark",
            options={
                "address": "master:7077",
                "staging": "gs://b/staged",
                "environment": {"kind": "docker", "image": "segpipe:1"},
            },
        )
    )
    assert spark["artifacts_dir"] == "gs://b/staged"
    assert (spark["runner"], spark["spark_master_url"]) == ("SparkRunner", "spark://master:7077")
    assert (spark["environment_type"], spark["sdk_container_image"]) == ("DOCKER", "segpipe:1")
    dataflow = options(
        BeamSettings(
            runner="dataflow",
            options={
                **{"project": "p", "region": "europe-west4", "temp_location": "gs://b/t", "max_workers": 9},
                "environment": {"kind": "docker", "image": "segpipe:1"},
            },
        )
    )
    assert dataflow["runner"] == "DataflowRunner"
    assert "environment_type" not in dataflow
    assert "pre_optimize=all" not in dataflow["experiments"]
    assert (dataflow["project"], dataflow["region"], dataflow["temp_location"]) == ("p", "europe-west4", "gs://b/t")
    assert dataflow["max_num_workers"] == 9


def test_a_component_has_its_own_settings_key_by_key():
    settings = BeamSettings(
        runner="flink",
        options={"address": "manager:8081", "parallelism": 8, "environment": {"pool": "localhost:50001"}},
        components={
            "Transform": {"runner": "direct", "options": {"workers": 2}},
            "DataGate": {"runner": "spark"},
            "Evaluator": {"arguments": ["--max_parallelism=4"], "options": {"address": "other:8081"}},
        },
    )
    assert options(settings.component("Transform"))["direct_num_workers"] == 2
    assert settings.component("DataGate").options == SparkRunner()
    assert "--max_parallelism=4" in settings.component("Evaluator").pipeline_arguments("x")
    evaluator = FlinkRunner(address="other:8081", parallelism=8, environment={"pool": "localhost:50001"})
    assert settings.component("Evaluator").options == evaluator
    assert settings.component("StatisticsGen").options == FlinkRunner(
        address="manager:8081", parallelism=8, environment={"pool": "localhost:50001"}
    )
    assert BeamSettings.model_validate(settings.model_dump(mode="json")) == settings


DATAFLOW = {"project": "p", "region": "r", "temp_location": "gs://b"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runner": "local"}, "no Beam runner 'local'; there are direct, flink, spark, dataflow, and your own"),
        (
            {"runner": "dataflow", "options": {"project": "p"}},
            r"options\.region\n.*required(.|\n)*\.temp_location",
        ),
        ({"runner": "dataflow", "options": {**DATAFLOW, "environment": {"kind": "pool"}}}, "'docker' or 'packages'"),
        ({"runner": "flink", "options": {"environment": {"kind": "docker"}}}, "belong together"),
        ({"components": {"Trainer": {"options": {"workers": 2}}}}, "Input should be 'ImportExampleGen'"),
        (
            {"components": {"Transform": {"options": {"worker": 2}}}},
            r"components\.Transform\.options\n.*worker is not an option of runner direct; its options are workers",
        ),
        (
            {"runner": "flink", "options": {"workers": 2}},
            "workers is not an option of runner flink; its options are job_server, staging, environment, address",
        ),
        ({"arguments": ["--runner=FlinkRunner"]}, "the runner is beam.runner"),
        ({"runner": "flink", "options": {"address": "http://manager:8081"}}, r"options\.address\n.*should match"),
        ({"runner": "flink", "options": {"job_server": "server:8099", "staging": "/mnt/staged"}}, "--artifacts-dir"),
        # Keys that there were.
        ({"workers": 2}, "the key workers is now options.workers"),
        ({"runner": "flink", "flink": {"address": "manager:8081"}}, "the key flink is now options"),
        ({"components": {"Transform": {"environment": {}}}}, "the key environment is now options.environment"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        BeamSettings.model_validate(values)


def test_a_mistake_in_what_is_common_is_named_once():
    with pytest.raises(pydantic.ValidationError) as raised:
        BeamSettings.model_validate({"options": {"workers": 0}, "components": {"Transform": {"arguments": ["--a=b"]}}})
    assert [error["loc"] for error in raised.value.errors()] == [("options", "workers")]


@pytest.fixture
def my_team(tmp_path, monkeypatch):
    """The documentation's example of a user's own runner."""
    _, _, section = EXTENDING.partition("### A Beam runner")
    (example,) = re.findall(r"^```python\n(.*?)^```", section.partition("### ")[0], re.DOTALL | re.MULTILINE)
    (tmp_path / "my_team").mkdir()
    (tmp_path / "my_team" / "runners.py").write_text(
        f"{example}\n\nnot_a_runner = 1\n\n\nclass Empty(Runner):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_team", "my_team.runners"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in ("my_team", "my_team.runners"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("my_team")
def test_a_runner_can_be_the_users_own():
    beam = {"runner": "my_team.runners:RayRunner", "options": {"address": "127.0.0.1:9"}}
    beam["components"] = {"Transform": {"options": {"cores": 4}}}
    config = Config.model_validate({**MINIMAL, "beam": beam})
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert again.beam.component("Transform").options.model_dump() == {"address": "127.0.0.1:9", "cores": 4}
    expected = ["--runner=ray_beam.RayRunner", "--ray_address=127.0.0.1:9", "--job_name=a-job"]
    assert again.beam.component("Evaluator").pipeline_arguments("a-job") == expected
    with pytest.raises(UserError, match=r"the Ray cluster at 127\.0\.0\.1:9 cannot be reached"):
        again.beam.check()


@pytest.mark.usefixtures("my_team")
@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("absent_team.runners:RayRunner", {}, "runner\\n.*there is no module absent_team; install it"),
        ("my_team.runners:FlinkRunner", {}, "has no FlinkRunner"),
        ("my_team.runners:not_a_runner", {}, "must be a class that derives from pipeline.runners.beam.base.Runner"),
        ("my_team.runners:Empty", {}, "Empty in .* must implement pipeline_arguments"),
        ("my_team.runners:RayRunner", {}, "options\\.address\\n.*required"),
        (
            "my_team.runners:RayRunner",
            {"adress": "ray:1"},
            "adress is not an option of runner .*; its options are address, cores",
        ),
    ],
)
def test_a_users_own_runner_that_will_not_do_is_refused(name, chosen, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        BeamSettings.model_validate({"runner": name, "options": chosen})


def test_settings_are_read_without_beam():
    code = "import sys, pipeline.config; sys.exit('apache_beam' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_who_takes_dataflow_hears_that_it_was_never_run():
    caveats = BeamSettings(components={"Transform": {"runner": "dataflow", "options": DATAFLOW}}).caveats()
    assert len(caveats) == 1
    assert "never run on Dataflow" in caveats[0]
    assert BeamSettings(components={"Transform": {"runner": "spark"}}).caveats() == []


def test_who_takes_vertex_hears_that_it_was_never_run():
    (caveat,) = KubeflowSettings(platform="vertex", volume=None).caveats()
    assert "never run on Vertex AI" in caveat
    assert KubeflowSettings().caveats() == []


@pytest.fixture
def server():
    """Something that answers /config as Flink does, with a version that the test sets."""

    class Handler(http.server.BaseHTTPRequestHandler):
        answer = b""

        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(Handler.answer)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"127.0.0.1:{running.server_port}", Handler
        running.shutdown()
        thread.join()


def test_a_cluster_of_another_version_is_refused(server):
    address, handler = server
    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    handler.answer = json.dumps({"flink-version": f"{published[-1]}.1"}).encode()
    BeamSettings(runner="flink", options={"address": address}).check()
    handler.answer = json.dumps({"flink-version": f"{published[-2]}.4"}).encode()
    with pytest.raises(UserError, match=f'not {published[-1]}; set beam.options.version: "{published[-2]}"'):
        BeamSettings(runner="flink", options={"address": address}).check()
    BeamSettings(runner="flink", options={"address": address, "version": published[-2]}).check()
    handler.answer = json.dumps({"flink-version": "0.9.1"}).encode()
    with pytest.raises(UserError, match=f"job servers for Flink {', '.join(published)}"):
        BeamSettings(runner="flink", options={"address": address}).check()
    handler.answer = b"<html>"
    with pytest.raises(UserError, match="no Flink cluster answers at"):
        BeamSettings(runner="flink", options={"address": address}).check()


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"no Flink cluster answers at {address} \(.*refused.*options.address"):
            BeamSettings(runner="flink", options={"address": address}).check()
        with pytest.raises(UserError, match=f"the Spark master at {address} cannot be reached"):
            BeamSettings(runner="spark", options={"address": address}).check()
        # One component is enough.
        with pytest.raises(UserError, match="Spark master"):
            BeamSettings(components={"Transform": {"runner": "spark", "options": {"address": address}}}).check()


def test_packages_for_workers_are_pinned_and_complete(tmp_path, monkeypatch):
    """What Beam stages for workers that install segpipe: the exact versions, and all files that the code reads."""
    settings = BeamSettings(runner="spark", options={"environment": {"kind": "packages"}})
    monkeypatch.chdir(tmp_path)  # Wherever the command is given.
    resources = Stager.create_job_resources(PipelineOptions(settings.pipeline_arguments("a-job")), str(tmp_path))
    staged = {}
    for resource in resources:
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(resource.role_payload)
        file = beam_runner_api_pb2.ArtifactFilePayload.FromString(resource.type_payload)
        staged[role.staged_name] = file.path
    requirements = pathlib.Path(staged["requirements.txt"]).read_text()
    assert f"apache-beam=={importlib.metadata.version('apache-beam')}\n" in requirements
    with tarfile.open(staged["workflow.tar.gz"]) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    modules = {
        "data/convert.py",
        "models/inputs/preprocessing.py",
        "components/data_gate/example.py",
        "data/base/style.css",
        "pipeline/records/pages/comparison.html",
    }
    assert names >= {"setup.py", "data/schema.pbtxt", "components/report/template.html", *modules}


@pytest.mark.usefixtures("my_team")
def test_the_configurations_in_the_documentation_are_valid():
    blocks = [
        yaml.safe_load(block)
        for block in re.findall(r"^```yaml\n(.*?)^```", SCALING + EXTENDING, re.DOTALL | re.MULTILINE)
    ]
    found = [Config.model_validate({**MINIMAL, **block}).beam.runner for block in blocks]
    assert set(found) == {"flink", "spark", "dataflow", "my_team.runners:RayRunner"}


def test_the_documentation_lists_the_options_of_each_runner():
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| ([^|]*) \|[^|]*\|$", SCALING, re.MULTILINE))
    for name, runner in RUNNERS.items():
        assert set(re.findall(r"`(\w+)`", rows[name])) == set(runner.model_fields)
