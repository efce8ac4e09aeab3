import importlib
import json
import logging
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from data.base.files import write_text
from data.label_map import LabelMap
from models.decoders.deep_supervision import without_supervision
from models.inputs.settings import PreprocessingSettings
from models.network import build_model
from models.serving import signatures
from models.settings import ModelSettings
from models.training import trainer
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import compiled_model
from models.training.warm_start import warm_start

pytestmark = pytest.mark.one_line
# Encoders of users, in a file that may be gone one day.
OWN = """
import keras
from models.encoders import Encoder, FeatureMaps

class Narrow(Encoder):
    def build(self, image, output_stride, dtype):
        half = keras.layers.Conv2D(2, 3, strides=2, padding="same", dtype=dtype)(image)
        quarter = keras.layers.Conv2D(self._filters(), 3, strides=2, padding="same", dtype=dtype)(half)
        return [FeatureMaps(half, 2), FeatureMaps(quarter, 4)]

    def _filters(self):
        return 3

class Alike(Narrow):
    pass

class Wide(Narrow):
    def _filters(self):
        return 4
"""

PLAIN = {"encoder": "plain", "filters": 2, "depth": 1}


def configuration(classes="sky,sea,land", deployed="", channels=3, size=32, task="semantic", **model):
    return TrainerConfig(
        preprocessing=PreprocessingSettings(height=size, width=size, channels=channels),
        model=ModelSettings(**{**PLAIN, **model} if "encoder" not in model else {"filters": 2, **model}),
        train=TrainSettings(),
        label_map=LabelMap.from_names(classes.split(",")).model_dump(mode="json"),
        deployed_model=str(deployed),
        task=task,
    )


def network(config, seed=1):
    """With random values for all weights, so that none fit by accident."""
    shape = config.preprocessing
    size = (shape.height, shape.width, shape.channels)
    model = build_model(config.model, size, len(config.label_map), "float32", config.has_objects)
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        values = generator.normal(size=variable.shape)
        variable.assign(abs(values) + 0.1 if "variance" in variable.path else values)
    return model


@pytest.fixture
def deploy(tmp_path, caplog):
    """Writes the parts of an exported model that a warm start reads; a whole export takes seconds."""
    caplog.set_level(logging.INFO, "segpipe.training")

    def deploy(config, **facts):
        model, folder = network(config, seed=2), tmp_path / "7"
        exported = tf.Module()
        exported.weights = [variable.value for variable in model.weights]
        tf.saved_model.save(exported, str(folder))
        known = config.model_dump(mode="json", include={"label_map", "preprocessing", "model", "train", "task"})
        write_text(str(folder / signatures.FACTS_PATH), json.dumps({**known, **facts}))
        return model, folder

    return deploy


def images(channels=3):
    return np.random.default_rng(0).normal(size=(4, 32, 32, channels)).astype(np.float32)


def logits(model, batch):
    return model(batch, training=False).numpy()


def assert_close(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * abs(expected).max())


def assert_equal_weights(model, other):
    for weights, others in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, others)


@pytest.mark.parametrize("size", [32, 16, 21])
def test_an_equal_model_takes_everything_at_any_size_of_the_input(size, deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration(size=size, deployed=folder)
    model = network(config)
    assert warm_start(model, config)
    assert_equal_weights(model, before)
    assert caplog.messages == [f"starting from the weights of {folder}: 14 of 14 layers"]


def test_logits_that_only_training_has_are_no_layers_that_were_left_out(deploy, caplog):
    before, folder = deploy(configuration(depth=3))
    config = configuration(depth=3, deep_supervision=True, deployed=folder)
    model = compiled_model(config, 3, "float32")
    assert len(model.outputs) == 2
    assert warm_start(model, config)
    assert_equal_weights(without_supervision(model), before)
    assert len(caplog.messages) == 1
    assert "not taken" not in caplog.text


_ANY_ORDER = ("boat,land,ice,sea,sky", "new classes: boat, ice")


@pytest.mark.parametrize(
    ("model", "classes", "said"),
    [
        ({}, "sky,sea,land,boat", "new classes: boat"),
        ({}, "land,sky", "classes left out: sea"),
        ({}, "land,sky,sea", ""),
        ({}, "land,sky,boat,ice", "new classes: boat, ice; classes left out: sea"),
        ({}, *_ANY_ORDER),
        ({"depth": 2, "decoder": "deeplab_v3_plus"}, *_ANY_ORDER),
        ({"encoder": "vgg16", "decoder": "segnet"}, *_ANY_ORDER),
    ],
)
def test_classes_keep_what_was_learned_by_their_names(model, classes, said, deploy, caplog):
    before, folder = deploy(configuration(**model))
    config = configuration(classes, folder, **model)
    after = network(config)
    assert warm_start(after, config)
    (message,) = caplog.messages
    assert message.partition(" layers")[2].removeprefix("; ") == said
    batch, old, new = images(), ["sky", "sea", "land"], classes.split(",")
    expected, found = logits(before, batch), logits(after, batch)
    for name in set(old) & set(new):
        assert_close(found[..., new.index(name)], expected[..., old.index(name)])
    # No pixel changes its class, unless its class is gone.
    names = np.array(old)[expected.argmax(axis=-1)]
    stays, clear = np.isin(names, new), np.ptp(expected, axis=-1) > 1e-2
    assert (np.array(new)[found.argmax(axis=-1)] == names)[stays & clear].all()


def test_a_class_with_the_id_and_color_of_one_that_is_gone_was_renamed(deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration("sky,water,land", folder)
    model = network(config)
    assert warm_start(model, config)
    assert_equal_weights(model, before)
    assert "water begins as sea, which had its id and color" in caplog.text


def test_with_no_class_in_common_the_last_layer_begins_anew(deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration("cat,dog", folder)
    for label in config.label_map:
        label["color"] = [1, 2, label["id"]]
    model = network(config)
    fresh = model.get_layer("logits").get_weights()
    assert warm_start(model, config)
    for weights, before_that in zip(model.get_layer("logits").get_weights(), fresh, strict=True):
        np.testing.assert_array_equal(weights, before_that)
    assert "13 of 14 layers; not taken: logits" in caplog.text
    assert_equal_weights(model.get_layer("decoder_0"), before.get_layer("decoder_0"))


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    path = tmp_path / "own_narrow.py"
    path.write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("own_narrow", None)


@pytest.mark.parametrize("encoder", ["plain", "own_narrow:Narrow"])
@pytest.mark.parametrize(("channels", "now"), [(1, 3), (3, 1)])
@pytest.mark.usefixtures("own_file")
def test_gray_images_look_the_same_in_color(encoder, channels, now, deploy):
    """With U-Net on an encoder that has nothing at full resolution, the decoder sees the image, too."""
    before, folder = deploy(configuration(encoder=encoder, channels=channels))
    config = configuration(encoder=encoder, channels=now, deployed=folder)
    model = network(config)
    assert warm_start(model, config)
    gray = images(1)
    batch = {1: gray, 3: np.repeat(gray, 3, axis=-1)}
    assert_close(logits(model, batch[now]), logits(before, batch[channels]))


def test_with_another_decoder_the_encoder_is_taken(deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration(deployed=folder, decoder="deeplab_v3_plus")
    model = network(config)
    assert warm_start(model, config)
    for name in ("encoder_0", "encoder_1"):
        assert_equal_weights(model.get_layer(name), before.get_layer(name))
    said = "8 of 27 layers; not taken: pyramid_image, pyramid_1x1, pyramid_rate_6 and "
    assert said in caplog.text
    assert caplog.messages[0].endswith("(decoder unet, now deeplab_v3_plus)")


def test_models_from_before_images_were_enlarged_are_what_they_were(deploy, caplog):
    lite = {"encoder": "efficientnet_lite0", "encoder_weights": "none"}
    known = configuration(**lite).model.model_dump()
    del known["enlargement"]
    before, folder = deploy(configuration(**lite, enlargement=1), model=known)
    config = configuration(deployed=folder, **lite)
    model = network(config)
    assert warm_start(model, config)
    assert_equal_weights(model.get_layer("efficientnet_lite"), before.get_layer("efficientnet_lite"))
    assert caplog.messages[0].endswith("(enlargement 1, now 2)")


def test_of_a_deeper_model_the_levels_that_there_were_are_taken(deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration(deployed=folder, depth=2)
    model = network(config)
    assert warm_start(model, config)
    for name in ("encoder_0", "encoder_1", "decoder_0", "logits"):
        assert_equal_weights(model.get_layer(name), before.get_layer(name))
    assert "14 of 23 layers; not taken: encoder_2, decoder_1 (depth 1, now 2)" in caplog.text


def test_within_a_block_layers_of_another_kind_begin_anew(deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration(deployed=folder, normalization="group")
    model = network(config)
    assert warm_start(model, config)
    for name in ("encoder_0", "encoder_1", "decoder_0"):
        kernels = [
            [weight for weight in whole.get_layer(name).weights if weight.name == "kernel"] for whole in (model, before)
        ]
        for kernel, deployed in zip(*kernels, strict=True):
            np.testing.assert_array_equal(kernel, deployed)
    names = "encoder_0/group_normalization, encoder_1/group_normalization, decoder_0/convolution_block/group_norm"
    assert f"8 of 14 layers; not taken: {names}" in caplog.text
    assert caplog.messages[0].endswith("(normalization batch, now group)")


def test_nothing_fits_a_model_with_other_filters(deploy, caplog):
    _, folder = deploy(configuration())
    config = configuration(deployed=folder, filters=4)
    model, untouched = network(config), network(config)
    assert not warm_start(model, config)
    assert_equal_weights(model, untouched)
    assert caplog.messages == [f"no warm start: no layer of {folder} fits (filters 2, now 4)"]


@pytest.mark.usefixtures("own_file")
def test_of_an_encoder_of_another_name_everything_is_taken_or_nothing(deploy, caplog):
    before, folder = deploy(configuration(encoder="own_narrow:Narrow"))
    config = configuration(encoder="own_narrow:Alike", deployed=folder)
    model = network(config)
    assert warm_start(model, config)
    assert_equal_weights(model, before)
    assert caplog.messages == [f"starting from the weights of {folder}: 17 of 17 layers"]

    caplog.clear()
    config = configuration(encoder="own_narrow:Wide", deployed=folder)
    model, untouched = network(config), network(config)
    assert warm_start(model, config)
    assert (
        "not taken: conv2d_1, conv2d_2, decoder_1/conv2d_transpose (encoder own_narrow:Narrow, now own_narrow:Wide)"
        in caplog.text
    )
    of_encoder = ([layer for layer in each.layers if layer.name.startswith("conv2d")] for each in (model, untouched))
    for layer, same in zip(*of_encoder, strict=True):
        assert_equal_weights(layer, same)


def test_without_the_code_of_its_encoder_a_model_is_left_out(deploy, own_file, caplog):
    _, folder = deploy(configuration(encoder="own_narrow:Narrow"))
    own_file.unlink()
    del sys.modules["own_narrow"]
    importlib.invalidate_caches()
    config = configuration(deployed=folder)
    assert not warm_start(network(config), config)
    (message,) = caplog.messages
    assert message.startswith(f"no warm start: {folder} cannot be used (")
    assert "own_narrow" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"model": {"architecture": "unet"}}, "the key architecture was removed; leave it out"),
        ({"model": {"encoder": "plain", "former_option": 1}}, "former_option"),
        ({"model": {"encoder": "plain", "filters": 2, "depth": 2}}, "it holds 34 weights, but its network now has 56"),
        ({"model": {"encoder": "plain", "filters": 4, "depth": 1}}, "shape"),
        ({"label_map": None}, "Input should be a valid tuple"),
        ({"preprocessing": {}}, "it does not say its height"),
    ],
)
def test_facts_that_do_not_describe_a_network_of_now_are_left_out(facts, reason, deploy, caplog):
    config = configuration(deployed=deploy(configuration(), **facts)[1])
    model, untouched = network(config), network(config)
    assert not warm_start(model, config)
    assert_equal_weights(model, untouched)
    (message,) = caplog.messages
    assert message.startswith("no warm start: ")
    assert reason in message


def test_what_is_no_model_is_left_out(tmp_path, deploy, caplog):
    config = configuration(deployed=tmp_path)
    assert not warm_start(network(config), config)
    assert "it is not a model of segpipe" in caplog.text
    _, folder = deploy(configuration())
    (folder / "variables" / "variables.index").write_bytes(b"")
    config = configuration(deployed=folder)
    assert not warm_start(network(config), config)
    write_text(str(folder / signatures.FACTS_PATH), "{")
    assert not warm_start(network(config), config)
    assert len(caplog.messages) == 3


def test_only_the_model_that_training_begins_with_starts_warm(tmp_path, monkeypatch):
    # By minutes, the models of all sizes are made, and timed, before the first step.
    config = configuration(deployed="somewhere").with_values({"train.class_weights": "none"})
    begun = []
    monkeypatch.setattr(trainer, "compiled_model", lambda config, *_: config.preprocessing.height)
    monkeypatch.setattr(trainer, "warm_start", lambda model, _: begun.append(model))
    monkeypatch.setattr(trainer, "fit", lambda make_model, *_: [make_model(halvings) for halvings in (1, 0)])
    examples = types.SimpleNamespace(count=8, unit="images")
    trainer.train_model(config, tf.distribute.get_strategy(), examples, examples, str(tmp_path), logs="")
    assert begun == [16]


def test_objects_are_learned_on_top_of_classes(deploy, caplog):
    before, folder = deploy(configuration())
    config = configuration("sky,boat,land", deployed=folder, task="instance")
    model = network(config)
    assert warm_start(model, config)
    found, expected = logits(model, images()), logits(before, images())
    assert_close(found[..., [0, 2]], expected[..., [0, 2]])
    assert "not taken: object_head, object_head_normalization, object_maps;" in caplog.messages[0]


@pytest.mark.parametrize("classes", ["sky,sea,land", "sky,sea,land,boat"])
def test_maps_of_objects_are_taken_beside_other_classes(deploy, classes):
    before, folder = deploy(configuration(task="instance"))
    config = configuration(classes, deployed=folder, task="panoptic")
    model = network(config)
    assert warm_start(model, config)
    assert_close(logits(model, images())[..., -3:], logits(before, images())[..., 3:])
    semantic = configuration(classes, deployed=folder)
    model = network(semantic)
    assert warm_start(model, semantic)
    assert_close(logits(model, images())[..., :3], logits(before, images())[..., :3])
