"""Exporter: the trained model with its exports beside it, each measured on the test split.

TFX lacks it: its Rewriter makes one form by a rewriter in the Trainer, and measures nothing.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from data.base.files import copy_tree, join, list_files
from models.exports.exports import FOLDER, SAVED_MODEL, make_exports, read_examples
from models.exports.network import Network

_LOG = logging.getLogger("segpipe.exporter")


class ExporterSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {"formats": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"exported_model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Executor(base_executor.BaseExecutor):
    """Copies the model, and puts exports into the copy."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Makes and measures the exports; whether they are good enough is the serving check's to say."""
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        destination = path_utils.serving_model_dir(artifact_utils.get_single_uri(output_dict["exported_model"]))
        train, test = (artifact_utils.get_split_uri(input_dict["examples"], split) for split in ("train", "test"))
        with tempfile.TemporaryDirectory(prefix="segpipe-exports-") as scratch:
            network = Network(model)
            found = make_exports(
                network,
                json.loads(exec_properties["formats"]),
                scratch,
                (image for image, _ in read_examples(list_files(train))),
                network.seen(read_examples(list_files(test))),
                _LOG.info,
            )
            copy_tree(model, destination)
            copy_tree(scratch, join(destination, FOLDER))
        for name, item in found.items():
            shown = "none" if item.mean_iou is None else f"{item.mean_iou:.4f}"
            what = "the SavedModel" if name == SAVED_MODEL else f"{name}, {item.bytes / 1e6:.1f} MB"
            _LOG.info("%s: mean IoU %s, %.1f ms an image", what, shown, item.milliseconds)


class Exporter(base_component.BaseComponent):
    """Puts exports into a model; its output takes the place of the Trainer's."""

    SPEC_CLASS = ExporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, model: types.BaseChannel, examples: types.BaseChannel, formats: Sequence[str]):
        """Constructs the component.

        Args:
          model: SavedModel with segpipe's signatures.
          examples: tf.Examples that keep the data contract; integers are calibrated on `train`, and all is measured on
            `test`.
          formats: keys of `models.exports.FORMATS`.
        """
        super().__init__(
            spec=ExporterSpec(
                model=model,
                examples=examples,
                formats=json.dumps(list(formats)),
                exported_model=types.Channel(type=standard_artifacts.Model),
            )
        )
