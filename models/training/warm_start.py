"""Warm start: a training begins with the weights of another model, as far as they fit."""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import pydantic
import tensorflow as tf

from data.base.files import join
from data.base.links import plain_path
from data.label_map import LabelMap
from models.decoders.deep_supervision import without_supervision
from models.encoders.encoder import FeatureMaps
from models.ensemble.folds import deployed_member
from models.inputs.settings import PreprocessingSettings
from models.network import build_model, build_with_features
from models.serving.signatures import read_facts
from models.settings import ModelSettings
from models.training import checkpoints
from models.training.settings import TrainerConfig

_LOG = logging.getLogger("segpipe.training")
# So many names are listed; of more than these, their number.
_LISTED = 3

# Name of the outermost layer that is no model itself, the path below it, and how many came before under the same path.
_Place = tuple[str, str, int]
# By the names of the weights, such as `kernel`.
_Layer = dict[str, keras.Variable]


@dataclasses.dataclass(frozen=True)
class ExportedNetwork:
    """The network of an exported model, built anew.

    Attributes:
      network: with the model's weights.
      features: the maps in it that its encoder gives.
      label_map: its classes.
      channels: of its input.
      settings: its own.
    """

    network: keras.Model
    features: list[FeatureMaps]
    label_map: LabelMap
    channels: int
    settings: ModelSettings

    @functools.cached_property
    def layers(self) -> dict[_Place, _Layer]:
        """Those with weights."""
        return _layers(self.network)


def warm_start(model: keras.Model, config: TrainerConfig) -> bool:
    """Gives a model those weights of the deployed one that fit, and says which were taken.

    A layer is taken whole or not at all. It fits if there is one of the same name, with weights of the same names and
    shapes, once they are converted:

    - Classes are matched by name. A class with the id and the color of one that is gone is the same class, renamed. A
      new class gets the mean of all the deployed model's classes: a mean is below the largest of them, so each pixel
      keeps its class, unless this class is gone.
    - From some channels to others, filters are summed over the former and shared equally by the latter: a gray image
      gives what it gave when all of its colors were equal.

    Of an encoder of another name all layers are taken or none, since parts of two encoders make no whole.

    A retraining that nobody watches must not fail because somebody changed the model: where nothing can be taken,
    this is logged, and the model stays as it is.

    Args:
      model: as `config` describes it.
      config: with `deployed_model`, the folder of the other one.

    Returns:
      Whether anything was taken.
    """
    folder = config.deployed_model
    try:
        deployed = load_network(folder, deployed_member(config))
        new_classes = LabelMap.model_validate(config.label_map)
        classes = _matched_classes(deployed.label_map, new_classes)
        layers = _layers(without_supervision(model))
        fitting = _fitting(layers, deployed, config, classes)
        if deployed.settings.encoder != config.model.encoder:
            encoder = _encoder_places(config) & layers.keys()
            if not encoder <= fitting.keys():
                fitting = {place: values for place, values in fitting.items() if place not in encoder}
    except Exception as error:  # Users' own encoders and decoders, of another time, may do anything.
        _LOG.warning("no warm start: %s cannot be used (%s)", folder, _reason(error))
        return False
    for place, values in fitting.items():
        for name, value in values.items():
            layers[place][name].assign(value)
    touched = {name for name, _, _ in fitting}
    left = dict.fromkeys(
        f"{name}/{below}" if below and name in touched else name
        for name, below, number in layers
        if (name, below, number) not in fitting
    )
    why = _differences(deployed, config)
    if not fitting:
        _LOG.warning("no warm start: no layer of %s fits%s", folder, why)
        return False
    parts = [f"starting from the weights of {folder}: {len(fitting)} of {len(layers)} layers"]
    if left:
        parts.append(f"not taken: {_listed(left)}{why}")
    parts += _class_changes(deployed.label_map, new_classes, classes)
    _LOG.info("; ".join(parts))
    return True


def load_network(folder: str, member: int = 0) -> ExportedNetwork:
    """Builds the network of an exported model, and reads the weights of one of its members.

    Args:
      folder: the SavedModel.
      member: which of the networks that it averages.

    Raises:
      ValueError: if it is no model of segpipe, or another one than can be built now.
      Exception: nearly anything, if it is damaged or needs a user's own encoder or decoder that is gone.
    """
    facts = read_facts(folder)
    if facts is None:
        raise ValueError("it is not a model of segpipe")
    label_map, size = LabelMap.model_validate(facts["label_map"]), facts["preprocessing"]
    channels = PreprocessingSettings.of_facts(size).num_channels
    # Where weights came from makes no difference to the network, and what was named then may be gone.
    settings = ModelSettings(**{name: value for name, value in facts["model"].items() if name != "encoder_weights"})
    if "enlargement" in settings.model_dump() and "enlargement" not in facts["model"]:
        settings = settings.model_copy(update={"enlargement": 1})  # Before there was such an option.
    settings = settings.for_input(size["height"], size["width"])
    input_shape = (size["height"], size["width"], channels)
    has_objects = facts.get("task", "semantic") != "semantic"
    network, features = build_with_features(settings, input_shape, len(label_map), "float32", has_objects)
    with plain_path(folder) as path:
        variables = join(path, "variables", "variables")
        stored = tf.train.load_checkpoint(variables).get_variable_to_shape_map()
        count = len({name.split("/")[1] for name in stored if name.startswith("weights/")})
        of_one, models = len(network.weights), max(1, int(facts.get("train", {}).get("folds", 0)))
        if count != of_one * models:
            raise ValueError(f"it holds {count} weights, but its network now has {of_one * models}")
        reader = checkpoints.weights_checkpoint(network, member * of_one)
        reader.read(variables).assert_existing_objects_matched().expect_partial()
    return ExportedNetwork(network, features, label_map, channels, settings)


def _layers(model: keras.Model) -> dict[_Place, _Layer]:
    """The innermost layers that have weights.

    Names that Keras makes up end with numbers that count the layers of a process. They are replaced by their order: of
    layers of a model among all, of layers within a layer in that layer.
    """
    layers: dict[_Place, _Layer] = {}
    unnamed: collections.Counter[str] = collections.Counter()
    for prefix, layer in _outer_layers(model):
        name = f"{prefix}{layer.name}"
        plain = re.sub(r"_\d+$", "", layer.name)
        if plain.replace("_", "") == type(layer).__name__.lower():
            name = f"{prefix}{plain}"
            unnamed[name] += 1
            name += f"_{unnamed[name]}"
        seen: collections.Counter[str] = collections.Counter()
        for weight in layer.weights:
            parts = weight.path.removeprefix(f"{layer.name}/").split("/")
            below = "/".join(re.sub(r"_\d+$", "", part) for part in parts[:-1])
            key = f"{below}/{parts[-1]}"
            layers.setdefault((name, below, seen[key]), {})[parts[-1]] = weight
            seen[key] += 1
    return layers


def _outer_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers of a model and of the models in it, each with the names of those around it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _outer_layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix, layer


def _matched_classes(before: LabelMap, now: LabelMap) -> list[int | None]:
    """For each class its id in another label map; None if it is new."""
    ids = {label.name: label.id for label in before.classes}
    gone = {(label.id, label.color): label.id for label in before.classes if label.name not in now.names}
    return [ids.get(label.name, gone.get((label.id, label.color))) for label in now.classes]


def _fitting(
    layers: dict[_Place, _Layer], deployed: ExportedNetwork, config: TrainerConfig, classes: list[int | None]
) -> dict[_Place, dict[str, np.ndarray]]:
    """The values of all layers that the deployed model has, too, and that fit."""
    shape = config.preprocessing
    size = (shape.height, shape.width)
    old_classes = len(deployed.label_map)
    class_axes: dict[Any, list[int]] = {}
    channel_axes: dict[Any, list[int]] = {}
    # Which axes have to do with classes or channels shows in a network that has others.
    if classes != list(range(old_classes)):
        more = build_model(config.model, (*size, shape.num_channels), len(classes) + 1, "float32", config.has_objects)
        class_axes = _other_axes(layers, _layers(more))
    if deployed.channels != shape.num_channels:
        others = build_model(config.model, (*size, deployed.channels), len(classes), "float32", config.has_objects)
        channel_axes = _other_axes(layers, _layers(others))

    def converted(place: _Place, name: str) -> np.ndarray | None:
        value = keras.ops.convert_to_numpy(deployed.layers[place][name])
        target = tuple(layers[place][name].shape)
        if value.ndim != len(target):
            return None
        for axis in class_axes.get((place, name), ()):
            if value.shape[axis] != old_classes or target[axis] != len(classes):
                return None
            if all(before is None for before in classes):
                return None
            value = _with_classes(value, axis, classes)
        for axis in channel_axes.get((place, name), ()):
            if value.shape[axis] < deployed.channels:
                return None
            value = _with_channels(value, axis, deployed.channels, shape.num_channels)
        return value if value.shape == target else None

    found = {}
    for place, layer in layers.items():
        if deployed.layers.get(place, {}).keys() == layer.keys():
            values = {name: converted(place, name) for name in layer}
            if all(value is not None for value in values.values()):
                found[place] = values
    return found  # type: ignore[return-value]


def _other_axes(layers: dict[_Place, _Layer], others: dict[_Place, _Layer]) -> dict[Any, list[int]]:
    """The axes of weights that have another length in a network of the same layers, by place and name."""
    return {
        (place, name): [
            axis
            for axis, (length, other) in enumerate(zip(weight.shape, others[place][name].shape, strict=True))
            if length != other
        ]
        for place, layer in layers.items()
        for name, weight in layer.items()
        if name in others.get(place, {})
    }


def _with_classes(value: np.ndarray, axis: int, sources: Iterable[int | None]) -> np.ndarray:
    """Weights of other classes: along an axis, those at `sources`; for None the mean of all."""
    mean = value.mean(axis)
    return np.stack([mean if index is None else value.take(index, axis) for index in sources], axis)


def _with_channels(value: np.ndarray, axis: int, before: int, now: int) -> np.ndarray:
    """Filters of other channels, which come last along an axis: after what an image is concatenated to."""
    rest, filters = np.split(value, [value.shape[axis] - before], axis)
    shared = filters.sum(axis, keepdims=True) / now
    return np.concatenate([rest, *[shared] * now], axis)


def _encoder_places(config: TrainerConfig) -> set[_Place]:
    """The places of the encoder's layers."""
    shape = config.preprocessing
    image = keras.Input((shape.height, shape.width, shape.num_channels), name="image")
    features = config.model.chosen_encoder.build(image, config.model.chosen_decoder.output_stride, "float32")
    return set(_layers(keras.Model(image, [level.maps for level in features])))


def _differences(deployed: ExportedNetwork, config: TrainerConfig) -> str:
    """The settings that differ from the deployed model's, as a remark on layers that do not fit."""
    shape = config.preprocessing
    before = {**deployed.settings.model_dump(), "channels": deployed.channels}
    now = {**config.model.for_input(shape.height, shape.width).model_dump(), "channels": shape.num_channels}
    common = [name for name in now if name != "encoder_weights" and name in before]
    parts = [f"{name} {before[name]}, now {now[name]}" for name in common if before[name] != now[name]]
    return f" ({'; '.join(parts)})" if parts else ""


def _class_changes(before: LabelMap, now: LabelMap, classes: list[int | None]) -> list[str]:
    matched = list(zip(now.names, classes, strict=True))
    gone = [label.name for label in before.classes if label.id not in classes]
    renamed = [
        f"{name} begins as {before.names[index]}, which had its id and color"
        for name, index in matched
        if index is not None and before.names[index] != name
    ]
    new = [name for name, index in matched if index is None]
    lists = [f"{what}: {_listed(names)}" for what, names in (("new classes", new), ("classes left out", gone)) if names]
    return [*lists, *renamed[:_LISTED]]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _LISTED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_LISTED])} and {more} more"


def _reason(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    if isinstance(error, KeyError):
        return f"it does not say its {error.args[0]}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
