import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import contract
from data.decoding.errors import BadImageError
from data.decoding.images import encode_png
from models.serving.inputs import find_inputs
from models.serving.signatures import load
from models.suggestions.candidates import Viewer, images_at, plain_name
from tests.models.exports import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "1"
    small.make_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def viewer(folder):
    return Viewer(folder)


def seen(viewer, folder):
    """Candidates below a folder by their names, and those that are left out with the reasons."""
    left_out = {}
    files = find_inputs([str(folder)], "").files
    images = images_at(files, 100_000)
    found = list(viewer.candidates(images, lambda place, reason: left_out.update({place.name: reason})))
    return {one.place.name: one for one in found}, left_out


def test_uncertainty_is_the_entropy_of_the_classes_over_that_of_equal_ones(viewer, folder, tmp_path):
    for number, (image, _) in enumerate(small.examples(20)):
        (tmp_path / f"{number}.png").write_bytes(image)
    found, left_out = seen(viewer, tmp_path)
    assert not left_out
    assert len(found) == 20
    model = load(folder)
    _, logits = model.seen(tf.constant([(tmp_path / f"{number}.png").read_bytes() for number in range(20)]))
    shares = tf.nn.softmax(logits).numpy()
    expected = -(shares * np.log(shares)).sum(axis=-1).mean(axis=(1, 2)) / np.log(3)
    np.testing.assert_allclose([found[f"{i}"].uncertainty for i in range(20)], expected, rtol=1e-4)
    assert len({one.embedding.shape for one in found.values()}) == 1


def test_what_cannot_be_used_is_left_out_with_the_reason(viewer, tmp_path):
    image, _ = small.examples(1)[0]
    (tmp_path / "good.png").write_bytes(image)
    (tmp_path / "broken.png").write_bytes(image[:100])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "plain.png").write_bytes(encode_png(np.full([40, 40, 3], 90, np.uint8)))
    (tmp_path / "large.png").write_bytes(encode_png(np.zeros([400, 400, 3], np.uint8)))
    Image.fromarray(np.random.default_rng(0).normal(size=[40, 40]).astype(np.float32)).save(tmp_path / "float.tif")
    found, left_out = seen(viewer, tmp_path)
    assert list(found) == ["good"]
    assert left_out.keys() == {"broken", "empty", "plain", "large", "float"}
    assert left_out["empty"] == "it is empty"
    assert left_out["plain"] == "it shows nothing: all of it has nearly one color"
    assert left_out["float"] == "labeling tools open images with one or three bands only"


def test_one_image_that_the_model_cannot_take_takes_no_other_with_it(viewer, tmp_path):
    """What was decoded here is refused by the graph only then; the rest of its batch stays."""
    for number, (image, _) in enumerate(small.examples(3)):
        (tmp_path / f"{number}.png").write_bytes(image)
    images = list(images_at(find_inputs([str(tmp_path)], "").files, 100_000))
    left_out = []
    found = list(
        viewer.candidates(
            [images[0], (images[1][0], BadImageError("broken")), images[2]], lambda *one: left_out.append(one)
        )
    )
    assert [one.place.name for one in found] == ["0", "2"]
    assert [(place.name, reason) for place, reason in left_out] == [("1", "broken")]


def test_labeled_images_are_known_by_name_and_by_looks(viewer, tmp_path):
    records = tmp_path / "train-00000-of-00001.tfrecord"
    image, mask = small.examples(1)[0]
    with tf.io.TFRecordWriter(str(records)) as writer:
        for name, encoded in (("train/cat 1", image), ("b/2", b"broken")):
            example = tf.train.Example()
            for key, value in ((contract.IMAGE, encoded), (contract.MASK, mask), (contract.SOURCE_ID, name.encode())):
                example.features.feature[key].bytes_list.value.append(value)
            writer.write(example.SerializeToString())
    found = viewer.labeled([str(records)])
    assert found.names == {"cat 1", "b/2"}
    assert found.hashes == [viewer.hash_of(image)]
    assert plain_name("images/train/x") == "images/x"
