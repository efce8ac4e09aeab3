import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from data.base.errors import UserError
from data.base.files import write_text
from data.decoding.images import BadImageError, encode_png
from data.splits import fold_of
from models.auditing.judges import Judges
from models.ensemble.average import average
from models.network import build_model
from models.serving import signatures
from models.settings import ModelSettings
from tests.models.exports import small
from tests.models.serving.conftest import transform as transform_tiles

SETTINGS = ModelSettings(encoder="plain", filters=4, depth=1)


def network(size, class_id):
    """Says one class of each pixel, a little surer where the image is bright."""
    model = build_model(SETTINGS, (*size, 3), len(small.NAMES), "float32")
    last = model.layers[-1]
    last.bias.assign(3.0 * np.eye(len(small.NAMES))[class_id])
    last.kernel.assign(0.01 * last.kernel)
    return model


def export(folder, networks, transform, resize="stretch", flips="none", **facts):
    """A SavedModel of several networks, with what is read here."""
    size = networks[0].input_shape[1:3]
    module = signatures.ServingModule(average(networks, len(small.NAMES), flips), transform, resize)
    exported = tf.Module()
    exported.weights = module.weights
    name = "begin_bands" if resize == "none" else "pixels"
    setattr(exported, name, getattr(module, name))
    served = {signatures.SERVING["original"]: module.serve_images_at_original_size}
    tf.saved_model.save(exported, str(folder), signatures=served)
    known = {
        "label_map": [{"id": i, "name": name, "color": [i, 90 * i, 200]} for i, name in enumerate(small.NAMES)],
        "preprocessing": {"height": size[0], "width": size[1], "channels": 3, "resize": resize},
        "model": SETTINGS.model_dump(mode="json"),
        "train": {"folds": len(networks) if len(networks) > 1 else 0, "test_time_flips": flips},
    }
    write_text(str(folder / signatures.FACTS_PATH), json.dumps({**known, **facts}))
    return str(folder)


def image(height, width):
    return encode_png(np.random.default_rng(0).integers(0, 256, [height, width, 3]).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "transform", "resize", "image_size"),
    [(small.SIZE, small.transform, "stretch", (50, 41)), ((16, 12), transform_tiles, "none", (14, 30))],
)
def test_an_image_is_judged_by_the_network_of_its_fold_at_its_own_size(tmp_path, size, transform, resize, image_size):
    networks = [network(size, class_id) for class_id in (1, 2)]
    judges = Judges(export(tmp_path / "model", networks, transform, resize, "horizontal", held_out=True))
    assert judges.held_out == 2
    folds = {}
    for group in ("a", "b", "c", "d", "e"):
        class_ids, confidence = judges.segment(image(*image_size), group)
        assert class_ids.shape == confidence.shape == image_size
        assert class_ids.dtype == np.uint8
        folds[group] = set(np.unique(class_ids).tolist())
        assert 0.85 < confidence.min() <= confidence.max() < 0.99
    assert folds == {group: {1 + fold_of(group, 2)} for group in folds}
    assert len({*map(frozenset, folds.values())}) == 2


def test_a_network_that_has_seen_the_images_judges_them_if_no_other_is_there(tmp_path):
    networks = [network(small.SIZE, class_id) for class_id in (1, 1)]
    judges = Judges(export(tmp_path / "model", networks, small.transform, held_out=False))
    assert judges.held_out == 0
    for group in ("a", "b", None):
        class_ids, confidence = judges.segment(image(50, 41), group)
        assert class_ids.shape == confidence.shape == (50, 41)
        assert set(np.unique(class_ids)) == {1}


def test_all_networks_together_judge_what_none_has_seen(tmp_path):
    networks = [network(small.SIZE, class_id) for class_id in (1, 2)]
    networks[1].layers[-1].bias.assign([0.0, 0.0, 9.0])
    judges = Judges(export(tmp_path / "model", networks, small.transform, held_out=True))
    class_ids, confidence = judges.segment(image(50, 41), None)
    assert set(np.unique(class_ids)) == {2}
    assert 0.4 < confidence.min() <= confidence.max() < 0.6


def test_what_cannot_be_decoded_is_told(tmp_path):
    judges = Judges(export(tmp_path / "model", [network(small.SIZE, 1)], small.transform))
    with pytest.raises(BadImageError, match="the image cannot be decoded"):
        judges.segment(b"no image", None)


def test_what_is_no_model_of_segpipe_is_told(tmp_path):
    with pytest.raises(UserError, match=r"is not a segpipe model"):
        Judges(str(tmp_path))
    write_text(str(tmp_path / signatures.FACTS_PATH), "{}")
    keras.utils.clear_session()
