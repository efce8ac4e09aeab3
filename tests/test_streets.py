"""The drawn streets that benchmarks/thin_structures.py and benchmarks/panoptic.py train on."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

_FILE = pathlib.Path(__file__).parent.parent / "benchmarks" / "streets.py"


@pytest.fixture(scope="module")
def streets():
    """The module; benchmarks are no package."""
    spec = importlib.util.spec_from_file_location("streets", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(streets):
    pairs = [streets.street(seed) for seed in range(5)]
    images, class_ids = (np.stack(values) for values in zip(*pairs, strict=True))
    return {"train_x": images[:3], "train_y": class_ids[:3], "test_x": images[3:], "test_y": class_ids[3:]}


def test_a_seed_always_draws_the_same_street(streets, drawn):
    image, class_ids = streets.street(3)  # After the three of the train split.
    np.testing.assert_array_equal(image, drawn["test_x"][0])
    np.testing.assert_array_equal(class_ids, drawn["test_y"][0])


def test_streets_differ(drawn):
    images = [*drawn["train_x"], *drawn["test_x"]]
    assert len({image.tobytes() for image in images}) == 5


def test_every_class_is_there_and_large_regions_prevail(streets, drawn):
    shares = np.bincount(drawn["train_y"].ravel(), minlength=len(streets.CLASSES)) / drawn["train_y"].size
    assert len(shares) == len(streets.CLASSES)
    assert (shares > 0).all()
    thin = [streets.CLASSES.index(name) for name in streets.THIN]
    assert 0.01 < shares[thin].sum() < 0.06


def test_what_is_thin_is_at_most_four_pixels_wide(streets, drawn):
    """A square of 5×5 pixels fits into a pole, a wire or a marking hardly anywhere: where two of them meet."""
    for name in streets.THIN:
        is_thin = drawn["train_y"] == streets.CLASSES.index(name)
        fits = sliding_window_view(is_thin, (5, 5), axis=(1, 2)).all((-2, -1))
        assert fits.sum() < 0.01 * is_thin.sum(), name


def test_busy_streets_have_cars_and_people_that_hide_each_other(streets):
    touching = 0
    for seed in range(4):
        image, class_ids, numbers = streets.busy_street(seed)
        assert image.shape == (*class_ids.shape, 3) == (*numbers.shape, 3)
        is_thing = np.isin(class_ids, [streets.BUSY_CLASSES.index(name) for name in streets.THINGS])
        np.testing.assert_array_equal(numbers > 0, is_thing)
        for number in np.unique(numbers[numbers > 0]):
            assert len(np.unique(class_ids[numbers == number])) == 1
        beside = (numbers[:, 1:] != numbers[:, :-1]) & (numbers[:, 1:] > 0) & (numbers[:, :-1] > 0)
        touching += beside.any()
    assert touching


def test_a_command_writes_busy_streets_that_convert_reads(streets, tmp_path):
    from data.formats.mask_folder import MaskFolderReader

    folder = tmp_path / "streets"
    command = [sys.executable, str(_FILE), str(folder), "--train", "2", "--val", "1", "--test", "1"]
    subprocess.run(command, check=True)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2  # It is there already.
    reader = MaskFolderReader(folder=str(folder), objects="instances", classes=streets.BUSY_CLASSES)
    found = [reader.read(source) for source in reader.listing().sources]
    assert len(found) == 4
    assert all(each.instances.max() > 0 for each in found)
