"""Paths in a configuration, as the steps on a cluster see them."""

from __future__ import annotations

import os

from data.base.errors import UserError
from data.base.links import pattern_letters
from data.contract import LABEL_MAP_FILE
from models.encoders.weights.pretrained import PretrainedEncoder
from pipeline.config import Config
from pipeline.records.settings import MetadataSettings
from pipeline.runners.beam.settings import COMPONENTS


def on_cluster(config: Config) -> Config:
    """A configuration with the paths that a cluster's steps see; relative paths are relative to the volume's path.

    Raises:
      UserError: if the steps cannot see a path, or cannot train with the strategy.
    """
    config = config.with_image_type()  # The report of the conversion may not be seen under the other path.
    volume = config.kubeflow.volume
    if config.train.strategy == "multi_worker":
        raise UserError("train.strategy: multi_worker does not work on Kubeflow, where the Trainer is a single pod")
    if any(config.beam.component(name).options.needs_checkout for name in COMPONENTS):
        raise UserError("beam.options.environment.kind: packages needs a checkout of segpipe; Kubeflow steps have none")

    def seen(key: str, path: str) -> str:
        if not path or "://" in path:
            return path
        if volume is None:
            raise UserError(f"{key}: the cluster cannot see {path}; give a gs:// path, or set kubeflow.volume")
        result = os.path.normpath(os.path.join(volume.path, path))
        if not result.startswith(volume.path + "/"):
            raise UserError(
                f"{key}: {path} is not below {volume.path}, where each step mounts the volume {volume.claim}; "
                "use a path below it, or a relative one"
            )
        return result

    label_map = config.data.label_map
    if not label_map:
        try:
            label_map = os.path.join(config.data.newest_input(), LABEL_MAP_FILE)
        except (UserError, OSError) as error:
            raise UserError(
                f"{error}\nIf the data set is only on the cluster, set data.label_map to a copy of its label map"
            ) from None
    data = config.data.model_copy(update={"input": seen("data.input", config.data.input), "label_map": label_map})
    push = config.push.model_copy(update={"destination": seen("push.destination", config.push.destination)})
    model = config.model
    if model.own_weights:
        model = model.model_copy(update={"encoder_weights": seen("model.encoder_weights", model.own_weights)})
    encoder = model.chosen_encoder
    if isinstance(encoder, PretrainedEncoder) and encoder.encoder_weights == "imagenet" and not encoder.packaged:
        file = f" ({encoder.published.url})" if encoder.published else ""
        raise UserError(
            f"model.encoder_weights: the image of the steps holds no ImageNet weights of encoder {model.encoder}; put "
            f"their file{file} on the volume, and give its path"
        )
    if letters := " ".join(pattern_letters(config.output)):
        raise UserError(f"output: {config.output} holds {letters}, which TFX takes for a pattern; name one without")
    # Kubeflow has its own metadata server, and its own place for artifacts.
    update = {"output": seen("output", config.output), "artifacts": "", "metadata": MetadataSettings()}
    return config.model_copy(update={**update, "data": data, "push": push, "model": model})
