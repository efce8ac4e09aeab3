"""What `predict --write` writes, `convert` reads as docs/serving.md says: from masks to files of tools, and back."""

import io
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from data import contract
from data.formats import FORMATS
from data.label_map import LabelMap
from data.writing import WRITERS
from pipeline.cli import cli
from tests.data.writing.made_up import accept


def command(*arguments):
    finished = CliRunner().invoke(cli, [*map(str, arguments)])
    assert finished.exit_code == 0, f"{finished.output}{finished.exception}"
    return finished.output


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, push):
    """A folder with photos, and predictions of these in all formats."""
    folder = tmp_path_factory.mktemp("predicted")
    push(folder / "serving", 1, 1)
    rows, columns = np.indices((90, 120))
    for number in range(12):
        radius = np.hypot(rows - 40, columns - 50 - number)
        bright = (radius < 32) & (radius > 2 * number)
        path = folder / "photos" / ("" if number % 3 else "sub dir") / f"pic {number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(bright, 220, 30).astype(np.uint8)).convert("RGB").save(path)
    writing = [option for name in WRITERS for option in ("--write", name)]
    model, output, photos = folder / "serving", folder / "predictions", folder / "photos"
    command("predict", "--model", model, "--output", output, "--tolerance", 0, *writing, photos)
    return folder


def masks_of(folder):
    """Names of classes, [height, width], by the names of examples."""
    names = np.array(LabelMap.load(f"{folder}/labels.yaml").names)
    found = {}
    for path in pathlib.Path(folder).glob("*.tfrecord"):
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            (name,), (mask,) = (features[key].bytes_list.value for key in (contract.SOURCE_ID, contract.MASK))
            found[name.decode()] = names[np.asarray(Image.open(io.BytesIO(mask)))]
    return found


@pytest.mark.parametrize("name", sorted(set(WRITERS) & set(FORMATS)))
def test_what_predict_writes_is_recognized_and_converted_to_the_same_masks(predicted, tmp_path, name):
    written, photos, source, above = predicted / "predictions" / f"annotations_{name}", predicted / "photos", "", ""
    if name == "yolo":
        source, above = shutil.copytree(written, tmp_path / "in"), "images/train/"
        shutil.copytree(photos, source / "images" / "train")
    elif name == "labelme":
        source, above = tmp_path / "in", "photos/"
        shutil.copytree(photos, source / "photos")
        shutil.copytree(written, source / "predictions" / written.name)
    else:
        source = shutil.copytree(photos, tmp_path / "in")
        shutil.copytree(written, source, dirs_exist_ok=True)
    if name == "label-studio":
        accept(source)
    assert f"{source} is read as --format {name}:" in command("convert", source, tmp_path / "out")
    found = masks_of(tmp_path / "out")
    assert len(found) == 12
    for example, mask in found.items():
        ids = np.asarray(Image.open(predicted / "predictions" / f"{example.removeprefix(above)}_mask.png"))
        assert len(np.unique(ids)) == 2
        np.testing.assert_array_equal(mask, np.array(["nothing", "cat", "dog"])[ids])
