"""Compiles the graph for Kubeflow Pipelines 2: a pipeline spec 2.1, followed by a platform spec for Kubernetes."""

from __future__ import annotations

import importlib.util
import json
import pathlib
from typing import Any

import yaml

from data.base.errors import UserError
from pipeline.config import Config
from pipeline.runners.kubeflow.paths import on_cluster
from pipeline.runners.kubeflow.settings import StepSettings

_ROOT = pathlib.Path(__file__).parents[3]
# Where kubeflow/Dockerfile puts segpipe.
IMAGE_ROOT = "/opt/segpipe"
COMMAND = ("python", f"{IMAGE_ROOT}/entrypoint.py")
NEWEST_SPAN = -1
# The step that fails if the model was not pushed.
VERDICT = "Verdict"
# What can be changed in each run: the step that takes it, and what it is.
_PARAMETERS = {
    "span": ("FindInput", "the newest span that data.window ends with; -1 for the newest there is"),
    "epochs": ("Trainer", "train.epochs"),
    "minutes": ("Trainer", "train.minutes"),
    "min_mean_iou": ("Evaluator", "gate.min.mean_iou"),
}
# Steps that run the drivers of components, and the parameters that these find, with their types. TFX passes drivers to
# Vertex AI as hooks, which open-source Kubeflow Pipelines ignores. As steps of their own, their answers become part of
# the key of Kubeflow's cache, as they are of TFX's. (Not called `…-driver`: Kubeflow appends that to the names of all
# steps.)
_DRIVERS = {
    "ImportExampleGen": (
        "FindInput",
        {"span": "NUMBER_INTEGER", "input_fingerprint": "STRING", "input_config": "STRING"},
    ),
    "DeployedModel": (
        "FindBaseline",
        {"baseline_version": "NUMBER_INTEGER", "baseline_fingerprint": "STRING", "measured": "STRING"},
    ),
}
_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def require_sdk() -> None:
    """Raises a UserError if Kubeflow's SDK is not installed."""
    if importlib.util.find_spec("kfp") is None:
        raise UserError("Kubeflow's SDK is not installed; it comes with segpipe's extra `kubeflow`")


def compile_pipeline(config: Config, image: str) -> str:
    """Compiles the pipeline.

    Args:
      config: the run.
      image: name of the image in which each step runs, built from kubeflow/Dockerfile.

    Returns:
      YAML: the same bytes for the same configuration, label map, image, code and versions of packages on this machine.

    Raises:
      UserError: if the steps cannot see a path of the configuration, a step is unknown, or the label map or the SDK is
        missing.
    """
    require_sdk()
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

    from pipeline.pipeline import create_pipeline

    pipeline = create_pipeline(on_cluster(config), runs_here=False)
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image=image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True)
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    settings = config.kubeflow
    names = [component.id for component in pipeline.components]
    unknown = sorted(set(settings.steps) - set(names))
    if unknown:
        raise UserError(f"kubeflow.steps: there is no {', '.join(unknown)}; there are {', '.join(names)}")
    if settings.pipeline_root:
        spec["defaultPipelineRoot"] = settings.pipeline_root
    for component in pipeline.components:
        container = _container(spec, component.id)
        container.pop("lifecycle", None)
        container["args"].append(f"--artifacts={settings.artifacts}")
        step = settings.step(component.id)
        _set_resources(spec, component.id, step)
        spec["root"]["dag"]["tasks"][component.id]["cachingOptions"] = {"enableCache": step.cache}
        if component.id in _DRIVERS:
            driver = f"{component.driver_class.__module__}.{component.driver_class.__name__}"
            _add_driver(spec, component.id, driver, settings.step(component.id))
    # TFX's RuntimeParameter cannot be used: it takes a default of 0 for no default, and loses the other defaults.
    spec["root"]["inputDefinitions"] = {"parameters": {}}
    unused = "epochs" if config.train.minutes else "minutes"
    parameters = {name: value for name, value in _PARAMETERS.items() if name != unused}
    for name, (step_name, _) in parameters.items():
        kind = spec["components"][step_name]["inputDefinitions"]["parameters"][name]["parameterType"]
        inputs = spec["root"]["dag"]["tasks"][step_name]["inputs"]["parameters"]
        default = inputs[name]["runtimeValue"]["constant"]
        spec["root"]["inputDefinitions"]["parameters"][name] = {
            "parameterType": kind,
            "defaultValue": int(default) if kind == "NUMBER_INTEGER" else default,
            "isOptional": True,
        }
        inputs[name] = {"componentInputParameter": name}
    _add_verdict(spec)
    _set_resources(spec, VERDICT, settings.defaults.model_copy(update={"gpus": 0, "retries": 0}))
    _use_image_paths(spec)
    _rename(spec)
    platform: dict[str, Any] = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    asked = {driver: name for name, (driver, _) in _DRIVERS.items()}
    for name in spec["root"]["dag"]["tasks"]:
        kubernetes = _kubernetes(config, settings.step(asked.get(name, name)))
        if kubernetes:
            executors[f"exec-{name}"] = kubernetes
    documents = [spec, platform] if executors else [spec]
    heading = [
        f"# The pipeline {config.name} for {'Vertex AI' if settings.platform == 'vertex' else 'Kubeflow Pipelines 2'}.",
        "# Made by `segpipe compile`; its parameters:",
        *(f"#   {name}: {meaning}" for name, (_, meaning) in parameters.items()),
    ]
    return "\n".join(heading) + "\n" + yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True, width=120)


def _container(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]


def _add_driver(spec: dict[str, Any], name: str, driver_class: str, step: StepSettings) -> None:
    """Adds a component's driver as a step before it, whose outputs become parameters of the component."""
    driver, answers = _DRIVERS[name]
    component, task = spec["components"][name], spec["root"]["dag"]["tasks"][name]
    inputs = json.loads(json.dumps(component["inputDefinitions"]))
    driver_task = json.loads(json.dumps(task))
    if "span" in answers:
        inputs["parameters"]["span"] = {"parameterType": answers["span"]}
        driver_task["inputs"]["parameters"]["span"] = {"runtimeValue": {"constant": NEWEST_SPAN}}
    spec["components"][driver] = {
        "executorLabel": f"{driver}_executor",
        "inputDefinitions": inputs,
        "outputDefinitions": {"parameters": {key: {"parameterType": kind} for key, kind in answers.items()}},
    }
    driver_task |= {
        "taskInfo": {"name": driver},
        "componentRef": {"name": driver},
        "cachingOptions": {"enableCache": False},
    }
    spec["root"]["dag"]["tasks"][driver] = driver_task
    container = json.loads(json.dumps(_container(spec, name)))
    args = container["args"]
    executor = args.index("--executor_class_path")
    args[executor : executor + 2] = ["--driver_class_path", driver_class]
    spec["deploymentSpec"]["executors"][f"{driver}_executor"] = {"container": container}
    _set_resources(spec, driver, step.model_copy(update={"gpus": 0}))

    for key, kind in answers.items():
        component["inputDefinitions"]["parameters"][key] = {"parameterType": kind}
        task["inputs"]["parameters"][key] = {"taskOutputParameter": {"producerTask": driver, "outputParameterKey": key}}
    task["dependentTasks"] = sorted([*task.get("dependentTasks", []), driver])
    for each in (name, driver):
        # The entrypoint reads the types of inputs here.
        args = _container(spec, each)["args"]
        definitions = json.dumps(spec["components"][each]["inputDefinitions"], sort_keys=True)
        args[args.index("--json_serialized_inputs_spec_args") + 1] = definitions


def _add_verdict(spec: dict[str, Any]) -> None:
    """Puts a step at the end that fails if the model was not pushed: Kubeflow knows no other state for such a run."""
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    producers = {
        "evaluation": ("Evaluator", "evaluation"),
        "infra_blessing": ("ServingCheck", "blessing"),
        "pushed_model": ("Pusher", "pushed_model"),
    }
    artifacts = {
        name: components[task]["outputDefinitions"]["artifacts"][key] for name, (task, key) in producers.items()
    }
    components[VERDICT] = {"executorLabel": f"{VERDICT}_executor", "inputDefinitions": {"artifacts": artifacts}}
    tasks[VERDICT] = {
        "taskInfo": {"name": VERDICT},
        "componentRef": {"name": VERDICT},
        "cachingOptions": {"enableCache": False},
        "dependentTasks": ["Pusher", "Report"],
        "inputs": {
            "artifacts": {
                name: {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": key}}
                for name, (task, key) in producers.items()
            }
        },
    }
    spec["deploymentSpec"]["executors"][f"{VERDICT}_executor"] = {
        "container": {
            "image": _container(spec, "Pusher")["image"],
            "command": list(COMMAND),
            "args": [
                *("--verdict", "--json_serialized_invocation_args", "{{$}}"),
                *("--json_serialized_inputs_spec_args", json.dumps({"artifacts": artifacts}, sort_keys=True)),
            ],
        }
    }


def _set_resources(spec: dict[str, Any], name: str, step: StepSettings) -> None:
    resources: dict[str, Any] = {}
    # Newer servers read the fields that begin with "resource"; older ones and Vertex AI read numbers, memory in GB.
    for key, value, unit in (("cpu", step.cpu, 1.0), ("memory", step.memory, 1e9)):
        if value:
            for kind in ("Limit", "Request"):
                resources[f"{key}{kind}"] = _quantity(value) / unit
                resources[f"resource{key.capitalize()}{kind}"] = value
    if step.gpus:
        resources["accelerator"] = {
            "type": step.gpu_type,
            "count": str(step.gpus),
            "resourceType": step.gpu_type,
            "resourceCount": str(step.gpus),
        }
    container = _container(spec, name)
    if resources:
        container["resources"] = resources
    if step.environment:
        container["env"] = [{"name": key, "value": value} for key, value in sorted(step.environment.items())]
    if step.retries:
        spec["root"]["dag"]["tasks"][name]["retryPolicy"] = {
            "maxRetryCount": step.retries,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "600s",
        }


def _quantity(text: str) -> float:
    """Converts a Kubernetes quantity, such as 500m or 2Gi, to a number."""
    number = text.rstrip("mkKMGTi")
    return float(number) * _UNITS[text[len(number) :]]


def _kubernetes(config: Config, step: StepSettings) -> dict[str, Any]:
    """A step's part of the platform spec for Kubernetes (KubernetesExecutorConfig of kfp-kubernetes)."""
    settings = config.kubeflow
    result: dict[str, Any] = {}
    if settings.platform == "vertex":
        return result
    if settings.volume:
        result["pvcMount"] = [
            {
                "constant": settings.volume.claim,
                "pvcNameParameter": {"runtimeValue": {"constant": settings.volume.claim}},
                "mountPath": settings.volume.path,
            }
        ]
    if settings.image_pull_secret:
        name = settings.image_pull_secret
        parameter = {"runtimeValue": {"constant": name}}
        result["imagePullSecret"] = [{"secretName": name, "secretNameParameter": parameter}]
    if step.node_selector:
        result["nodeSelector"] = {"labels": dict(step.node_selector)}
    if step.tolerations:
        result["tolerations"] = [
            {**item.model_dump(exclude_defaults=True), "operator": item.operator} for item in step.tolerations
        ]
    if step.secrets:
        result["secretAsEnv"] = [
            {
                "secretName": item.secret,
                "secretNameParameter": {"runtimeValue": {"constant": item.secret}},
                "keyToEnv": [{"secretKey": item.key, "envVar": variable}],
            }
            for variable, item in sorted(step.secrets.items())
        ]
    if step.timeout_minutes:
        result["activeDeadlineSeconds"] = str(60 * step.timeout_minutes)
    return result


def _use_image_paths(spec: dict[str, Any]) -> None:
    """Replaces paths of segpipe's own files, such as the schema, by their paths in the image."""
    for task in spec["root"]["dag"]["tasks"].values():
        for parameter in task.get("inputs", {}).get("parameters", {}).values():
            value = parameter.get("runtimeValue", {}).get("constant")
            if isinstance(value, str) and value.startswith(f"{_ROOT}/"):
                parameter["runtimeValue"]["constant"] = IMAGE_ROOT + value.removeprefix(str(_ROOT))


def _rename(spec: dict[str, Any]) -> None:
    """Renames components and executors as Kubeflow's own compiler does; its tools strip the prefixes."""
    spec["components"] = {f"comp-{name}": component for name, component in spec["components"].items()}
    for name, component in spec["components"].items():
        component["executorLabel"] = "exec-" + name.removeprefix("comp-")
    executors = spec["deploymentSpec"]["executors"]
    spec["deploymentSpec"]["executors"] = {
        "exec-" + name.removesuffix("_executor"): executor for name, executor in executors.items()
    }
    for task in spec["root"]["dag"]["tasks"].values():
        task["componentRef"]["name"] = "comp-" + task["componentRef"]["name"]
