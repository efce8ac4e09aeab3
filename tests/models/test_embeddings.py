import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.base.errors import UserError
from data.base.files import write_text
from data.decoding.errors import BadImageError
from data.decoding.images import encode_png
from models.embeddings import Embedder
from models.ensemble.average import average
from models.network import build_with_features
from models.serving import signatures
from models.settings import ModelSettings
from tests.models.exports import small
from tests.models.serving.conftest import transform as transform_tiles

SETTINGS = ModelSettings(encoder="plain", filters=4, depth=1)


def export(folder, size, resize, transform, members=1, **facts):
    """Saves what of an exported model is read here; a whole export takes seconds more.

    Returns its first network, of random weights, up to the encoder's last maps.
    """
    built = [build_with_features(SETTINGS, (*size, 3), 3, "float32") for _ in range(members)]
    model = average([network for network, _ in built], 3)
    module, exported = signatures.ServingModule(model, transform, resize), tf.Module()
    names = ["weights", "begin_bands" if resize == "none" else "pixels"]
    for name in names:
        setattr(exported, name, getattr(module, name))
    tf.saved_model.save(exported, str(folder))
    known = {
        "label_map": [{"id": i, "name": name, "color": [i, 90 * i, 200]} for i, name in enumerate(small.NAMES)],
        "preprocessing": {"height": size[0], "width": size[1], "channels": 3, "resize": resize},
        "model": SETTINGS.model_dump(mode="json"),
        "train": {"folds": members if members > 1 else 0},
    }
    write_text(str(folder / signatures.FACTS_PATH), json.dumps({**known, **facts}))
    network, features = built[0]
    return keras.Model(network.input, features[-1].maps)


def images(count=5, seed=0):
    """Encoded images of several sizes, all at least as large as a tile."""
    generator = np.random.default_rng(seed)
    return [
        encode_png(np.kron(generator.integers(0, 256, [5, 4, 3]).astype(np.uint8), np.ones([7 + i, 9, 1], np.uint8)))
        for i in range(count)
    ]


def test_what_the_encoder_of_the_first_network_sees_is_averaged(tmp_path):
    encoder = export(tmp_path / "model", small.SIZE, "stretch", small.transform, members=2)
    given = images(19)
    found = Embedder(str(tmp_path / "model")).embed(given)
    seen = small.transform({"image/encoded": tf.constant(given)})["image"]
    expected = encoder(seen, training=False).numpy().mean(axis=(1, 2))
    assert found.dtype == np.float32
    assert found.shape == (19, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_image_at_its_own_size_is_the_mean_of_its_tiles(tmp_path):
    encoder = export(tmp_path / "model", (16, 12), "none", transform_tiles)
    pixels = np.random.default_rng(0).integers(0, 256, [32, 18, 3]).astype(np.uint8)
    (found,) = Embedder(str(tmp_path / "model")).embed([encode_png(pixels)])
    normalized = (pixels - np.array([90.0, 100.0, 110.0])) * [0.02, 0.03, 0.04]
    tiles = np.stack([normalized[top : top + 16, left : left + 12] for top in (0, 16) for left in (0, 6)])
    expected = encoder(tiles.astype(np.float32), training=False).numpy().mean(axis=(0, 1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_copy_in_jpeg_lies_closer_than_another_image(tmp_path):
    export(tmp_path / "model", small.SIZE, "stretch", small.transform)
    one, other = images(2)
    copy = io.BytesIO()
    Image.open(io.BytesIO(one)).save(copy, "JPEG", quality=60)
    found = Embedder(str(tmp_path / "model")).embed([one, copy.getvalue(), other])
    near, far = np.linalg.norm(found[1:] - found[0], axis=1)
    assert near < far / 3


def test_no_image_gives_no_row(tmp_path):
    export(tmp_path / "model", small.SIZE, "stretch", small.transform)
    embedder = Embedder(str(tmp_path / "model"))
    assert embedder.embed([]).shape == (0, 8)
    with pytest.raises(BadImageError, match="cannot be decoded"):
        embedder.embed([*images(1), b"GIF89a"])


@pytest.mark.parametrize(("facts", "words"), [({"model": {}}, "cannot be built again"), ({}, "of an earlier release")])
def test_a_model_without_its_network_or_its_pixels_is_refused_in_a_sentence(facts, words, tmp_path):
    folder = tmp_path / "model"
    export(folder, small.SIZE, "none", transform_tiles, **facts)
    path = folder / signatures.FACTS_PATH
    path.write_text(path.read_text().replace('"none"', '"stretch"'))
    with pytest.raises(UserError, match=words):
        Embedder(str(folder))


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="not a segpipe model"):
        Embedder(str(tmp_path))
