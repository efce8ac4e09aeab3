import copy
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from google.protobuf import json_format

from data.base.errors import UserError
from pipeline.config import load_config
from pipeline.runners.kubeflow.compiler import compile_pipeline
from pipeline.runners.kubeflow.paths import on_cluster

ROOT = pathlib.Path(__file__).parents[4]


@pytest.fixture(scope="module")
def compiled(small_config, tmp_path_factory):
    """Compiles with sections of a configuration: the pipeline's part, Kubernetes' part, and the text."""

    def run(**sections):
        config = small_config(tmp_path_factory.mktemp("unused"), **sections)
        data = config.data.model_copy(
            update={"input": "data/tfrecords", "label_map": f"{config.data.input}/labels.yaml"}
        )
        text = compile_pipeline(config.model_copy(update={"output": "runs/small", "data": data}), "registry/segpipe:1")
        pipeline, *rest = yaml.safe_load_all(text)
        executors = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}
        return pipeline, executors, text

    return run


def constants(pipeline):
    """The fixed parameters of each task."""
    return {
        name: {
            key: value["runtimeValue"]["constant"]
            for key, value in task["inputs"].get("parameters", {}).items()
            if "runtimeValue" in value
        }
        for name, task in pipeline["root"]["dag"]["tasks"].items()
    }


def test_the_pipeline_is_valid_by_the_description_of_its_format(compiled):
    from kfp.pipeline_spec import pipeline_spec_pb2

    pipeline, _, _ = compiled()
    spec = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(pipeline["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    assert spec.schema_version == "2.1.0"
    for task in spec.root.dag.tasks.values():
        component = spec.components[task.component_ref.name]
        assert component.executor_label in pipeline["deploymentSpec"]["executors"]
        assert set(task.inputs.parameters) == set(component.input_definitions.parameters)
        assert set(task.inputs.artifacts) == set(component.input_definitions.artifacts)
        assert set(task.dependent_tasks) <= set(spec.root.dag.tasks)
        for source in task.inputs.parameters.values():
            if source.WhichOneof("kind") == "task_output_parameter":
                producer = spec.root.dag.tasks[source.task_output_parameter.producer_task]
                outputs = spec.components[producer.component_ref.name].output_definitions.parameters
                assert source.task_output_parameter.output_parameter_key in outputs
    executors = pipeline["deploymentSpec"]["executors"].values()
    assert not any("resolver" in executor for executor in executors)
    assert not any("lifecycle" in executor["container"] for executor in executors)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"tune": {"trials": 2, "epochs": 1, "space": {"model.filters": [4, 8]}}},
        {"export": ["onnx"], "gate": {"against": "best"}},
    ],
    ids=["", "tune", "export"],
)
def test_the_graph_is_that_of_local_runs(compiled, small_config, tmp_path, sections):
    from pipeline.pipeline import create_pipeline

    tasks = compiled(**sections)[0]["root"]["dag"]["tasks"]
    components = create_pipeline(small_config(tmp_path, **sections)).components
    assert set(tasks) - {component.id for component in components} == {"FindInput", "FindBaseline", "Verdict"}
    for component in components:
        upstream = {node.id for node in component.upstream_nodes}
        assert set(tasks[component.id].get("dependentTasks", [])) - {"FindInput", "FindBaseline"} == upstream
    # What must wait for the data gate without taking its output does so.
    assert "DataGate" in tasks["Transform"]["dependentTasks"]
    assert ("hyperparameters" in tasks["Trainer"]["inputs"]["artifacts"]) == ("tune" in sections)
    source = "Exporter" if "export" in sections else "Trainer"
    for name in ("DeployedModel", "Evaluator", "ServingCheck", "Pusher", "Report"):
        given = tasks[name]["inputs"]["artifacts"]["model"]["taskOutputArtifact"]
        assert given["producerTask"] == source


def test_tasks_have_names_that_kubeflow_adds_to(compiled):
    pipeline, _, _ = compiled()
    names = set(pipeline["root"]["dag"]["tasks"])
    assert {"FindInput", "ImportExampleGen", "Trainer", "FindBaseline", "DeployedModel", "Report", "Verdict"} <= names
    # Argo's rule for the names of tasks; and Kubeflow's own drivers are called NAME-driver.
    assert all(re.fullmatch("[a-zA-Z0-9][-a-zA-Z0-9]*", name) and not name.endswith("-driver") for name in names)


@pytest.mark.one_line
def test_the_same_input_gives_the_same_bytes_elsewhere_too(compiled, tmp_path):
    first, second = compiled()[2], compiled()[2]
    assert first == second
    # Another process, with another order of sets.
    arguments = ("--config", "configs/brain_mri.yaml", "--set", f"data.label_map={tmp_path}/labels.yaml")
    (tmp_path / "labels.yaml").write_text(
        "".join(
            f"- {{id: {i}, name: {n}, color: [{i}, 0, 0]}}\n"
            for i, n in enumerate(("background", "csf", "grey_matter", "white_matter"))
        )
    )
    texts = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.yaml"
        command = [sys.executable, "-m", "pipeline.cli", "compile", *arguments, "--image", "i", "--output", str(output)]
        subprocess.run(command, cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}, check=True)
        texts.append(output.read_text())
    assert texts[0] == texts[1]


def test_nothing_of_this_machine_is_in_it(compiled):
    text = compiled()[2]
    assert str(ROOT) not in text
    assert constants(compiled()[0])["ImportSchemaGen"]["schema_file"] == "/opt/segpipe/data/schema.pbtxt"


def test_relative_paths_are_below_the_volume(compiled):
    pipeline, executors, _ = compiled(kubeflow={"volume": {"claim": "my-claim", "path": "/mnt/data"}})
    assert constants(pipeline)["ImportExampleGen"]["input_base"] == "/mnt/data/data/tfrecords"
    assert constants(pipeline)["DeployedModel"]["push_destination"] == "/mnt/data/runs/small/serving"
    assert '"/mnt/data/runs/small/checkpoints"' in constants(pipeline)["Trainer"]["custom_config"]
    mounts = [executor["pvcMount"][0] for executor in executors.values()]
    assert len(mounts) == len(pipeline["root"]["dag"]["tasks"])
    assert {mount["mountPath"] for mount in mounts} == {"/mnt/data"}
    assert {mount["pvcNameParameter"]["runtimeValue"]["constant"] for mount in mounts} == {"my-claim"}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"push": {"destination": "/srv/models"}}, "push.destination: /srv/models is not below /mnt/segpipe"),
        ({"push": {"destination": "../models"}}, "push.destination: ../models is not below /mnt/segpipe"),
        ({"kubeflow": {"volume": None}}, "output: the cluster cannot see .*"),
    ],
)
def test_a_path_that_no_step_sees_is_a_mistake(small_config, sections, message):
    config = small_config("runs/small", **sections)
    data = config.data.model_copy(update={"input": "gs://bucket/data", "label_map": f"{config.data.input}/labels.yaml"})
    with pytest.raises(UserError, match=message):
        on_cluster(config.model_copy(update={"data": data}))


def test_an_output_folder_that_tfx_takes_for_a_pattern_is_a_mistake(small_config):
    with pytest.raises(UserError, match=r"output: runs/a\[1\] holds \[ \], which TFX takes for a pattern; name one"):
        on_cluster(small_config("runs/a[1]", data={"input": "gs://bucket/data", "label_map": "labels.yaml"}))


def test_a_data_set_that_is_not_here_needs_its_label_map(small_config):
    config = small_config("runs/small", data={"input": "data/nowhere"})
    with pytest.raises(UserError, match=r"(?s)data/nowhere.*data\.label_map"):
        on_cluster(config)


def test_parameters_of_a_run(compiled):
    pipeline, _, _ = compiled(train={"epochs": 7}, gate={"min": {"mean_iou": 0.4}})
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    assert {name: value["defaultValue"] for name, value in parameters.items()} == {
        "span": -1,
        "epochs": 7,
        "min_mean_iou": 0.4,
    }
    tasks = pipeline["root"]["dag"]["tasks"]
    for task, name in (("FindInput", "span"), ("Trainer", "epochs"), ("Evaluator", "min_mean_iou")):
        assert tasks[task]["inputs"]["parameters"][name] == {"componentInputParameter": name}


def test_minutes_are_a_parameter_where_they_count(compiled):
    pipeline, _, _ = compiled(train={"minutes": 1.5})
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {"span", "minutes", "min_mean_iou"}
    assert (parameters["minutes"]["parameterType"], parameters["minutes"]["defaultValue"]) == ("NUMBER_DOUBLE", 1.5)
    trainer = pipeline["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]
    assert trainer["minutes"] == {"componentInputParameter": "minutes"}
    assert "epochs" not in trainer


def test_drivers_are_asked_each_time_and_their_answers_are_in_the_cache_key(compiled):
    tasks = compiled()[0]["root"]["dag"]["tasks"]
    for asked, component in (("FindInput", "ImportExampleGen"), ("FindBaseline", "DeployedModel")):
        assert tasks[asked]["cachingOptions"] == {"enableCache": False}
        assert tasks[component]["cachingOptions"] == {"enableCache": True}
        assert asked in tasks[component]["dependentTasks"]
    answers = tasks["ImportExampleGen"]["inputs"]["parameters"]
    assert answers["input_fingerprint"]["taskOutputParameter"]["producerTask"] == "FindInput"
    assert tasks["Verdict"]["cachingOptions"] == {"enableCache": False}


def test_the_verdict_sees_whether_the_model_was_pushed(compiled):
    inputs = compiled()[0]["root"]["dag"]["tasks"]["Verdict"]["inputs"]["artifacts"]
    assert inputs["pushed_model"]["taskOutputArtifact"] == {
        "producerTask": "Pusher",
        "outputArtifactKey": "pushed_model",
    }


def test_drivers_have_steps_without_their_executors(compiled):
    pipeline, _, _ = compiled()
    for name, driver in (("FindInput", "components.import_example_gen"), ("FindBaseline", "components.deployed_model")):
        args = pipeline["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["args"]
        assert "--executor_class_path" not in args
        assert args[args.index("--driver_class_path") + 1] == f"{driver}.Driver"


def test_code_and_packages_are_in_the_cache_key(compiled, monkeypatch):
    def keys():
        return {name: json.loads(values["cache_key"]) for name, values in constants(compiled()[0]).items() if values}

    before = keys()
    assert set(before) == set(compiled()[0]["root"]["dag"]["tasks"]) - {"Verdict"}
    assert all(key["code"] for key in before.values())
    monkeypatch.setattr("pipeline.pipeline.package_versions", lambda others: {"tensorflow": "newer"})
    assert all(key["packages"] == {"tensorflow": "newer"} for key in keys().values())


def test_what_a_step_gets(compiled):
    steps = {
        "Trainer": {
            "cpu": 4,
            "memory": "16Gi",
            "gpus": 2,
            "node_selector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
            "retries": 3,
            "timeout_minutes": 90,
            "environment": {"TF_CPP_MIN_LOG_LEVEL": "0"},
            "secrets": {"TOKEN": {"secret": "store", "key": "token"}},
            "cache": False,
        }
    }
    defaults = {"memory": "2Gi", "retries": 1}
    pipeline, executors, _ = compiled(
        kubeflow={"steps": steps, "defaults": defaults, "image_pull_secret": "registry", "pipeline_root": "minio://b/r"}
    )
    assert pipeline["defaultPipelineRoot"] == "minio://b/r"
    containers = pipeline["deploymentSpec"]["executors"]
    trainer = containers["exec-Trainer"]["container"]
    assert trainer["resources"]["resourceCpuLimit"] == "4"
    assert trainer["resources"]["cpuLimit"] == 4
    assert trainer["resources"]["resourceMemoryRequest"] == "16Gi"
    assert trainer["resources"]["memoryLimit"] == pytest.approx(17.18, abs=0.01)
    assert trainer["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert trainer["resources"]["accelerator"]["resourceCount"] == "2"
    assert trainer["env"] == [{"name": "TF_CPP_MIN_LOG_LEVEL", "value": "0"}]
    tasks = pipeline["root"]["dag"]["tasks"]
    assert tasks["Trainer"]["retryPolicy"]["maxRetryCount"] == 3
    assert tasks["Trainer"]["cachingOptions"] == {"enableCache": False}
    assert executors["exec-Trainer"]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert executors["exec-Trainer"]["tolerations"][0]["operator"] == "Exists"
    assert executors["exec-Trainer"]["activeDeadlineSeconds"] == "5400"
    assert executors["exec-Trainer"]["secretAsEnv"][0]["keyToEnv"] == [{"secretKey": "token", "envVar": "TOKEN"}]
    assert containers["exec-Transform"]["container"]["resources"]["resourceMemoryLimit"] == "2Gi"
    assert tasks["Transform"]["retryPolicy"]["maxRetryCount"] == 1
    assert "nodeSelector" not in executors["exec-Transform"]
    assert {executor["imagePullSecret"][0]["secretName"] for executor in executors.values()} == {"registry"}


def test_an_unknown_step_is_a_mistake(compiled):
    with pytest.raises(UserError, match=r"kubeflow\.steps: there is no Trianer; there are ImportExampleGen, .*Trainer"):
        compiled(kubeflow={"steps": {"Trianer": {"gpus": 1}}})


def test_training_on_several_machines_is_not_for_kubeflow(compiled):
    with pytest.raises(UserError, match="multi_worker does not work on Kubeflow"):
        compiled(train={"strategy": "multi_worker"})


def test_the_kubernetes_part_is_valid_by_the_description_of_its_format(compiled):
    from kfp.kubernetes import kubernetes_executor_config_pb2

    step = {
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute"}],
        "timeout_minutes": 1,
        "secrets": {"TOKEN": {"secret": "store", "key": "token"}},
    }
    _, executors, _ = compiled(kubeflow={"defaults": step, "image_pull_secret": "registry"})
    # The newest that goes with TFX 1.16 knows of claims, secrets and node selectors only.
    is_old = importlib.metadata.version("kfp-kubernetes").startswith("1.")
    for executor in executors.values():
        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        json_format.ParseDict(copy.deepcopy(executor), message, ignore_unknown_fields=is_old)
        assert message.pvc_mount[0].mount_path == "/mnt/segpipe"
        assert message.secret_as_env[0].key_to_env[0].env_var == "TOKEN"


def test_vertex_ai_gets_one_document(small_config):
    config = small_config(
        "gs://bucket/runs",
        kubeflow={"platform": "vertex", "volume": None, "artifacts": "direct", "pipeline_root": "gs://bucket/root"},
    )
    data = config.data.model_copy(update={"input": "gs://bucket/data", "label_map": f"{config.data.input}/labels.yaml"})
    (pipeline,) = yaml.safe_load_all(compile_pipeline(config.model_copy(update={"data": data}), "image"))
    assert pipeline["defaultPipelineRoot"] == "gs://bucket/root"
    assert constants(pipeline)["ImportExampleGen"]["input_base"] == "gs://bucket/data"
    assert constants(pipeline)["DeployedModel"]["push_destination"] == "gs://bucket/runs/serving"
    assert "--artifacts=direct" in pipeline["deploymentSpec"]["executors"]["exec-Trainer"]["container"]["args"]


def test_vertex_ai_has_not_everything(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "name: a\noutput: gs://b/o\ndata: {input: gs://b/d}\nkubeflow: {platform: vertex}\n"
    )
    with pytest.raises(UserError, match="Vertex AI mounts no volume"):
        load_config(tmp_path / "run.yaml")
