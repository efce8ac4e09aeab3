import json
import shutil

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


def network(size, class_id, logit):
    """Says one class of each pixel."""
    model = build_model(SETTINGS, (*size, 3), len(small.NAMES), "float32")
    last = model.layers[-1]
    last.bias.assign(logit * np.eye(len(small.NAMES))[class_id])
    last.kernel.assign(0 * last.kernel)
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


@pytest.fixture(
    scope="module",
    params=[(small.SIZE, small.transform, "stretch", (50, 41)), ((16, 12), transform_tiles, "none", (14, 30))],
    ids=["resized", "tiles"],
)
def exported(request, tmp_path_factory):
    """Folder of a model of two networks, and height and width of an image for it."""
    size, transform, resize, image_size = request.param
    networks = [network(size, class_id=1, logit=3), network(size, class_id=2, logit=9)]
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export(folder, networks, transform, resize, "horizontal", held_out=True), image_size


def test_an_image_is_judged_by_the_network_of_its_fold_or_by_all_at_its_own_size(exported):
    folder, size = exported
    judges = Judges(folder)
    assert judges.held_out == 2
    found = {}
    for group in ("a", "b", "c", "d", "e", None):
        class_ids, confidence = judges.segment(image(*size), group)
        assert class_ids.shape == confidence.shape == size
        assert (class_ids.dtype, len(np.unique(class_ids))) == (np.uint8, 1)
        found[group] = class_ids[0, 0], round(float(confidence.mean()), 1)
    # Nearly e³ / (e³ + 2) and e⁹ / (e⁹ + 2), and the mean of the latter with 1 / (e³ + 2).
    expected = {group: [(1, 0.9), (2, 1.0)][fold_of(group, 2)] for group in found if group}
    assert found == {**expected, None: (2, 0.5)}
    assert len(set(expected.values())) == 2
    with pytest.raises(BadImageError, match="the image cannot be decoded"):
        judges.segment(b"no image", None)


def test_networks_that_have_seen_each_others_images_judge_together(exported, tmp_path):
    folder, size = exported
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / signatures.FACTS_PATH
    path.write_text(json.dumps({**json.loads(path.read_text()), "held_out": False}))
    judges = Judges(str(tmp_path / "model"))
    assert judges.held_out == 0
    for group in ("a", "b", "c", "d", "e", None):
        class_ids, confidence = judges.segment(image(*size), group)
        assert set(np.unique(class_ids)) == {2}
        assert 0.4 < confidence.min() <= confidence.max() < 0.6


def test_what_is_no_model_of_segpipe_or_a_damaged_one_is_told(tmp_path):
    with pytest.raises(UserError, match="is not a segpipe model"):
        Judges(str(tmp_path))
    known = {
        "label_map": [{"id": i, "name": f"class {i}", "color": [i, 0, 0]} for i in range(2)],
        "preprocessing": {"height": 8, "width": 8},
    }
    write_text(str(tmp_path / signatures.FACTS_PATH), json.dumps(known))
    with pytest.raises(UserError, match="cannot be used"):
        Judges(str(tmp_path))
