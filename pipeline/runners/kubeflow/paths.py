"""Where the steps on a cluster find what a configuration names."""

from __future__ import annotations

import os

from data.base.errors import UserError
from data.contract import LABEL_MAP_FILE
from pipeline.config import Config
from pipeline.records.settings import MetadataSettings
from pipeline.runners.beam import COMPONENTS


def on_cluster(config: Config) -> Config:
    """A configuration with the paths that a cluster's steps see: relative ones are below the volume's path.

    Raises:
      UserError: if a path is not there for the steps, or they cannot train by the strategy.
    """
    volume = config.kubeflow.volume
    if config.train.strategy == "multi_worker":
        raise UserError("train.strategy: multi_worker has no place on Kubeflow, where the Trainer is one pod")
    if any(config.beam.component(name).needs_checkout for name in COMPONENTS):
        raise UserError("beam.environment.kind: packages needs a checkout of segpipe; steps on Kubeflow have none")

    def seen(key: str, path: str) -> str:
        if not path or "://" in path:
            return path
        if volume is None:
            raise UserError(f"{key}: {path} is on no volume of the cluster's; give a gs:// path, or kubeflow.volume")
        result = os.path.normpath(os.path.join(volume.path, path))
        if not result.startswith(volume.path + "/"):
            raise UserError(
                f"{key}: {path} is not below {volume.path}, where each step mounts the volume {volume.claim}; "
                "relative paths are"
            )
        return result

    label_map = config.data.label_map
    if not label_map:
        try:
            label_map = os.path.join(config.data.newest_input(), LABEL_MAP_FILE)
        except (UserError, OSError) as error:
            raise UserError(
                f"{error}\nIf the data set is on the cluster alone, name a copy of its label map: data.label_map"
            ) from None
    data = config.data.model_copy(update={"input": seen("data.input", config.data.input), "label_map": label_map})
    push = config.push.model_copy(update={"destination": seen("push.destination", config.push.destination)})
    model = config.model
    if model.encoder_weights:
        model = model.model_copy(update={"encoder_weights": seen("model.encoder_weights", model.encoder_weights)})
    # Kubeflow has a metadata server of its own, and a place for artifacts.
    update = {"output": seen("output", config.output), "artifacts": "", "metadata": MetadataSettings()}
    return config.model_copy(update={**update, "data": data, "push": push, "model": model})
