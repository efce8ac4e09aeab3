"""Serving check: a model that cannot serve is not pushed.

What TFX's InfraValidator does with a TF Serving container, without Docker: a fresh process serves the SavedModel with
segpipe's own server, which must answer real requests over HTTP within limits of time and memory. Its answers must be
what the evaluator measured. Exports beside the SavedModel may not lose more than they may: a version serves in each of
its forms, or is not pushed.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import itertools
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from data.base.files import join, list_files, write_text
from data.contract import IGNORE_LABEL, IMAGE, compression_type
from data.decoding.images import upright_size
from data.decoding.orientation import without_orientation
from models.exports.exports import lossy, read_exports
from models.inputs.preprocessing import placement
from models.inputs.settings import PreprocessingSettings
from models.serving.signatures import CLASS_IDS, CONFIDENCE, FACTS_PATH, INSTANCE_IDS, OBJECT_COUNT, read_facts

_LOG = logging.getLogger("segpipe.serving_check")
# Custom properties of the artifact; the first is the one that TFX's Pusher reads.
BLESSED_PROPERTY = "blessed"
REASON_PROPERTY = "reason"
EXPORTS_PROPERTY = "exports"
_REQUESTS = 16
_TIMEOUT_SECONDS = 600
_ENOUGH_SECONDS = 60
_BATCH_PIXELS = 2**22


class ServingCheckSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {
        "max_latency_seconds": component_spec.ExecutionParameter(type=float),
        "max_memory_megabytes": component_spec.ExecutionParameter(type=int),
        "max_export_losses": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class Executor(base_executor.BaseExecutor):
    """Sends images of the eval split to the model in a process of its own."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Blesses the model, or writes down why not."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        examples = artifact_utils.get_split_uri(input_dict["examples"], "eval")
        folder = path_utils.serving_model_path(model.uri)
        measured = serve_in_fresh_process(folder, examples)
        exports = read_exports(folder)
        reasons = [
            refusal(measured, exec_properties["max_latency_seconds"], exec_properties["max_memory_megabytes"]),
            *lossy(exports, json.loads(exec_properties.get("max_export_losses", "{}"))),
        ]
        reason = "; ".join(filter(None, reasons))
        _LOG.info("%s", reason or "serves in {latency_seconds} s, {memory_megabytes} MB".format(**measured))
        write_text(join(blessing.uri, "measured.json"), json.dumps(measured, indent=2))
        write_text(join(blessing.uri, "INFRA_NOT_BLESSED" if reason else "INFRA_BLESSED"), reason)
        blessing.set_int_custom_property(BLESSED_PROPERTY, 0 if reason else 1)
        blessing.set_string_custom_property(REASON_PROPERTY, reason)
        if exports:
            values = {name: dataclasses.asdict(item) for name, item in exports.items()}
            blessing.set_string_custom_property(EXPORTS_PROPERTY, json.dumps(values))


def serve_in_fresh_process(model: str, examples: str) -> dict[str, Any]:
    """Serves a model in a new process and sends requests to it: single images, then a batch of them.

    Args:
      model: folder of the SavedModel.
      examples: folder of TFRecords whose images are sent.

    Returns:
      `latency_seconds` (99th percentile of single images, after a first one), `memory_megabytes` (peak, resident), or
      `error`: why they could not be measured.
    """
    facts = read_facts(model)
    records = _first_records(list_files(examples))
    if not records:
        return {"error": f"the model cannot be tried, because there are no images in {examples}"}
    try:
        if facts is None:
            raise ValueError(f"{FACTS_PATH} is missing")
        return _serve(model, records, facts)
    except (ValueError, OSError, http.client.HTTPException) as error:
        return {"error": f"the model does not serve: {str(error) or type(error).__name__}"}


def _first_records(files: list[str]) -> list[bytes]:
    """The first examples of a split; any of its files may be empty."""
    records = (record for path in files for record in tf.data.TFRecordDataset(path, compression_type(path)))
    return [record.numpy() for record in itertools.islice(records, _REQUESTS)]


def _serve(model: str, records: list[bytes], facts: dict[str, Any]) -> dict[str, Any]:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    examples = [tf.train.Example.FromString(record).features.feature for record in records]
    # Masks belong to the images as they are stored; clients' images are turned upright.
    images = [without_orientation(features[IMAGE].bytes_list.value[0]) for features in examples]
    with tempfile.TemporaryFile() as example, tempfile.TemporaryFile("w+") as messages:
        example.write(records[0])
        example.seek(0)
        with subprocess.Popen(
            [sys.executable, "-m", "components.serving_probe", model],
            stdin=example,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        ) as process:
            watchdog = threading.Timer(_TIMEOUT_SECONDS, process.kill)
            watchdog.start()
            try:
                assert process.stdout is not None
                ready = process.stdout.readline()
                if ready:
                    return {**_measure(json.loads(ready), images, facts), "memory_megabytes": _peak(process.pid)}
                process.wait()
            finally:
                watchdog.cancel()
                process.kill()
        messages.seek(0)
        lines = messages.read().strip().splitlines()
    _LOG.error("%s", "\n".join(lines))
    if process.returncode == -signal.SIGKILL:
        raise ValueError(f"no answer in {_TIMEOUT_SECONDS} s, or not enough memory")
    raise ValueError(f"exit status {process.returncode}: {lines[-1] if lines else 'no message'}")


def _measure(ready: dict[str, Any], images: list[bytes], facts: dict[str, Any]) -> dict[str, Any]:
    """Sends requests and checks the answers; raises a ValueError if one is not what clients expect."""
    seconds: list[float] = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", ready["port"])) as connection:
        _check(_predict(connection, images[:1])[0], images[:1], facts, ready["class_counts"])
        # Large images may take long; a few of them are enough.
        while len(seconds) < len(images) and sum(seconds) < _ENOUGH_SECONDS:
            image = images[len(seconds)]
            answer, took = _predict(connection, [image])
            seconds.append(took)
            _check(answer, [image], facts)
        batch = images[: len(seconds)]
        # Several images in one request, but only if their answer stays small.
        if max(map(_pixels, batch)) * len(batch) < _BATCH_PIXELS:
            _check(_predict(connection, batch)[0], batch, facts)
    return {"latency_seconds": round(float(np.percentile(seconds, 99)), 4)}


def _predict(connection: http.client.HTTPConnection, images: list[bytes]) -> tuple[list[dict[str, Any]], float]:
    body = orjson.dumps({"instances": [{"b64": base64.b64encode(image).decode()} for image in images]})
    started = time.perf_counter()
    connection.request("POST", "/v1/models/segpipe:predict", body)
    response = connection.getresponse()
    content = response.read()
    took = time.perf_counter() - started
    if response.status != http.HTTPStatus.OK:
        raise ValueError(f"a request was answered with {response.status}: {content.decode()}")
    return orjson.loads(content)["predictions"], took


def _pixels(image: bytes) -> int:
    height, width = upright_size(image)
    return height * width


def _check(
    predictions: list[dict[str, Any]], images: list[bytes], facts: dict[str, Any], counts: list[int] | None = None
) -> None:
    """Raises a ValueError if maps cannot belong to the images, or their pixels by class are not `counts`."""
    num_classes = len([label for label in facts["label_map"] if label["id"] != IGNORE_LABEL])
    shape = PreprocessingSettings.of_facts(facts["preprocessing"])
    for prediction, image in zip(predictions, images, strict=True):
        height, width = upright_size(image)
        expected = (height, width) if shape.resize == "none" else (shape.height, shape.width)
        class_ids, confidence = (np.array(prediction[name]) for name in (CLASS_IDS, CONFIDENCE))
        for name, values in ((CLASS_IDS, class_ids), (CONFIDENCE, confidence)):
            if values.shape != expected:
                raise ValueError(f"{name} has the shape {values.shape}, not {expected}")
        if not (np.isfinite(confidence).all() and confidence.min() >= 0 and confidence.max() <= 1 + 1e-5):
            raise ValueError(f"{CONFIDENCE} is not a probability")
        if class_ids.max() >= num_classes:
            raise ValueError(f"{CLASS_IDS} has ids of {num_classes} or above")
        if INSTANCE_IDS in prediction:
            numbers, found = np.array(prediction[INSTANCE_IDS]), prediction[OBJECT_COUNT]
            if numbers.shape != expected or numbers.max() != found:
                raise ValueError(
                    f"{INSTANCE_IDS} has the shape {numbers.shape} and numbers up to {numbers.max()}, not {expected} "
                    f"and {found}, its {OBJECT_COUNT}"
                )
        if counts is not None:
            place = placement(height, width, shape.height, shape.width, shape.resize)
            top, left, inner_height, inner_width = map(int, place)
            inside = class_ids[top : top + inner_height, left : left + inner_width]
            served = np.bincount(inside.ravel(), minlength=num_classes).tolist()
            if served != counts:
                raise ValueError(f"clients get {served} pixels by class, the evaluator {counts}, from one image")


def _peak(process_id: int) -> int:
    # Not getrusage: its maximum survives exec, so it would be the pipeline's own peak.
    status = pathlib.Path(f"/proc/{process_id}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024


def refusal(measured: dict[str, Any], max_latency_seconds: float, max_memory_megabytes: int) -> str:
    """Why a model may not be pushed; an empty string if it may."""
    if "error" in measured:
        return str(measured["error"])
    for name, limit in {"latency_seconds": max_latency_seconds, "memory_megabytes": max_memory_megabytes}.items():
        if measured[name] > limit:
            return f"serving.max_{name} is {limit:g}, measured {measured[name]:g}"
    return ""


class ServingCheck(base_component.BaseComponent):
    """Blesses a model that serves within limits; its output goes into Pusher's `infra_blessing`."""

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        max_latency_seconds: float,
        max_memory_megabytes: int,
        max_export_losses: Mapping[str, float] | None = None,
    ):
        """Constructs the check.

        Args:
          model: SavedModel with segpipe's signatures.
          examples: tf.Examples that keep the data contract; images of the `eval` split are sent.
          max_latency_seconds: limit on the 99th percentile of requests with one image, once the model is warm.
          max_memory_megabytes: limit on the peak resident memory of the serving process.
          max_export_losses: exports that the model must hold, and how much mean IoU each may lose.
        """
        super().__init__(
            spec=ServingCheckSpec(
                model=model,
                examples=examples,
                max_latency_seconds=max_latency_seconds,
                max_memory_megabytes=max_memory_megabytes,
                max_export_losses=json.dumps(max_export_losses) if max_export_losses else None,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
