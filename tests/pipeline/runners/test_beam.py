import http.server
import importlib.metadata
import json
import pathlib
import re
import socket
import tarfile
import threading

import pydantic
import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import Stager

from data.base.errors import UserError
from pipeline.config import Config
from pipeline.runners.beam import BeamSettings, FlinkSettings, check_cluster


def options(settings):
    """What Beam reads from the arguments; nothing may be left over."""
    return PipelineOptions(settings.pipeline_arguments("a-job")).get_all_options(drop_default=True)


def test_one_machine_is_the_default_and_needs_no_cluster():
    settings = BeamSettings()
    assert "--direct_running_mode=in_memory" in settings.pipeline_arguments("a-job")
    workers = options(BeamSettings(workers=3))
    assert (workers["direct_running_mode"], workers["direct_num_workers"]) == ("multi_processing", 3)
    settings.check()


def test_each_runner_gets_its_own_options():
    newest = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS[-1]
    flink = options(
        BeamSettings(
            runner="flink",
            flink={"address": "manager:8081", "version": newest, "parallelism": 8},
            environment={"pool": "localhost:50001"},
            arguments=["--max_parallelism=64"],
        )
    )
    assert flink["runner"] == "FlinkRunner"
    assert flink["flink_master"] == "http://manager:8081"
    assert (flink["parallelism"], flink["max_parallelism"], flink["job_name"]) == (8, 64, "a-job")
    assert {"pre_optimize=all"} <= set(flink["experiments"])
    own = BeamSettings(runner="flink", arguments=["--experiments=pre_optimize=default"])
    assert "pre_optimize=all" not in options(own)["experiments"]
    assert (flink["environment_type"], flink["environment_config"]) == ("EXTERNAL", "localhost:50001")
    served = options(BeamSettings(runner="flink", flink={"job_server": "server:8099"}))
    assert (served["runner"], served["job_endpoint"]) == ("PortableRunner", "server:8099")
    spark = options(
        BeamSettings(
            runner="spark",
            spark={"address": "master:7077", "staging": "gs://b/staged"},
            environment={"kind": "docker", "image": "segpipe:1"},
        )
    )
    assert spark["artifacts_dir"] == "gs://b/staged"
    assert (spark["runner"], spark["spark_master_url"]) == ("SparkRunner", "spark://master:7077")
    assert (spark["environment_type"], spark["sdk_container_image"]) == ("DOCKER", "segpipe:1")
    dataflow = options(
        BeamSettings(
            runner="dataflow",
            dataflow={"project": "p", "region": "europe-west4", "temp_location": "gs://b/t", "max_workers": 9},
            environment={"kind": "docker", "image": "segpipe:1"},
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
        flink={"address": "manager:8081", "parallelism": 8},
        components={
            "Transform": {"runner": "direct", "workers": 2},
            "Evaluator": {"arguments": ["--max_parallelism=4"], "flink": {"address": "other:8081"}},
        },
    )
    assert options(settings.component("Transform"))["direct_num_workers"] == 2
    assert "--max_parallelism=4" in settings.component("Evaluator").pipeline_arguments("x")
    assert settings.component("Evaluator").flink == FlinkSettings(address="other:8081", parallelism=8)
    assert BeamSettings.model_validate(settings.model_dump(mode="json")).component("Evaluator").flink.parallelism == 8
    assert settings.component("DataGate").runner == "flink"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runner": "local"}, "'direct', 'flink', 'spark' or 'dataflow'"),
        ({"runner": "dataflow"}, "needs the section dataflow"),
        ({"runner": "dataflow", "dataflow": {"project": "p"}}, "needs region, temp_location"),
        (
            {"runner": "dataflow", "dataflow": {"project": "p", "region": "r", "temp_location": "gs://b"}},
            "docker or packages",
        ),
        ({"environment": {"kind": "docker"}}, "belong together"),
        ({"components": {"Trainer": {"workers": 2}}}, "Input should be 'ImportExampleGen'"),
        ({"components": {"Transform": {"worker": 2}}}, "Extra inputs"),
        ({"arguments": ["--runner=FlinkRunner"]}, "the runner is beam.runner"),
        ({"flink": {"address": "http://manager:8081"}}, "String should match"),
        ({"flink": {"job_server": "server:8099", "staging": "/mnt/staged"}}, "has its own, --artifacts-dir"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        BeamSettings.model_validate(values)


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
    check_cluster(BeamSettings(runner="flink", flink={"address": address}))
    handler.answer = json.dumps({"flink-version": f"{published[-2]}.4"}).encode()
    with pytest.raises(UserError, match=f'not {published[-1]}; set beam.flink.version: "{published[-2]}"'):
        check_cluster(BeamSettings(runner="flink", flink={"address": address}))
    check_cluster(BeamSettings(runner="flink", flink={"address": address, "version": published[-2]}))
    handler.answer = json.dumps({"flink-version": "0.9.1"}).encode()
    with pytest.raises(UserError, match=f"job servers for Flink {', '.join(published)}"):
        check_cluster(BeamSettings(runner="flink", flink={"address": address}))
    handler.answer = b"<html>"
    with pytest.raises(UserError, match="no Flink cluster answers at"):
        check_cluster(BeamSettings(runner="flink", flink={"address": address}))


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"no Flink cluster answers at {address} \(.*refused.*beam.flink.address"):
            check_cluster(BeamSettings(runner="flink", flink={"address": address}))
        with pytest.raises(UserError, match=f"the Spark master at {address} cannot be reached"):
            check_cluster(BeamSettings(runner="spark", spark={"address": address}))
        # One component is enough.
        with pytest.raises(UserError, match="Spark master"):
            BeamSettings(components={"Transform": {"runner": "spark", "spark": {"address": address}}}).check()


def test_packages_for_workers_are_pinned_and_complete(tmp_path, monkeypatch):
    """What Beam stages for workers that install segpipe: the exact versions, and all files that the code reads."""
    settings = BeamSettings(runner="spark", environment={"kind": "packages"})
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
        "components/data_gate.py",
        "pipeline/records/sections.html",
    }
    assert names >= {"setup.py", "data/schema.pbtxt", "components/report/template.html", *modules}


def test_the_configurations_in_the_documentation_are_valid():
    text = (pathlib.Path(__file__).parents[3] / "docs" / "scaling.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    minimal = {"name": "a", "output": "out", "data": {"input": "in"}}
    found = [Config.model_validate({**minimal, **block}).beam.runner for block in blocks]
    assert set(found) == {"flink", "spark", "dataflow"}
