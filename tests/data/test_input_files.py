"""Each file of a folder of TFRecords is of one split, or of none, which is said."""

import pytest

from data.base.errors import UserError
from data.input_files import describe_left_out, find_input_files


def assign(folder, *names):
    """The names of each split, and those left out."""
    for name in names:
        (folder / name).write_bytes(b"")
    found = find_input_files(str(folder))
    of_split = {split: [file.path.rpartition("/")[2] for file in files] for split, files in found.of_split.items()}
    return of_split, [path.rpartition("/")[2] for path in found.left_out]


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "train.tfrecord",
        "train.tfrecord.gz",
        "train.tfrecord-00000-of-00001",
        "train-00000-of-00010.tfrecord",
        "train_night.tfrecord",
        "train-a",
        "train00",
        "train7.tfrecord",
        "train00000-of-00010",
        "train-[1]*.tfrecord",
    ],
)
def test_a_name_that_begins_with_a_split_is_of_that_split(tmp_path, name):
    of_split, left_out = assign(tmp_path, name, "test-0")
    assert (of_split["train"], of_split["test"], left_out) == ([name], ["test-0"], [])


@pytest.mark.parametrize(
    "name",
    [
        "trainval-00000-of-00001.tfrecord",
        "trainval",
        "training-0.tfrecord",
        "train2-00000-of-00001",
        "train2017_0.tfrecord",
        "traffic-00000-of-00001",
        "unlabeled.tfrecord",
        "val.records",
        "Train.tfrecord",
        "train.tfrecord.idx",
        "train.txt",
        "train-0.tfrecord.md5",
    ],
)
def test_another_set_is_left_out_and_named(tmp_path, name):
    of_split, left_out = assign(tmp_path, "train-0.tfrecord", name)
    assert (of_split["train"], left_out) == (["train-0.tfrecord"], [name])


def test_what_was_never_meant_as_records_is_not_mentioned(tmp_path):
    (tmp_path / "train-folder").mkdir()
    names = ("labels.yaml", "conversion.json", "README.md", "_SUCCESS", ".train-0.swp", "notes.tfrecord.txt")
    assert assign(tmp_path, "train", *names)[1] == []


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (["train-val-0.tfrecord"], r"  train-val-0\.tfrecord: is it of train or of eval\? Rename it, or move it out"),
        (["test-dev.tfrecord"], "is it of test or of eval"),
        (["eval_train"], "is it of eval or of train"),
        (["train.tfrecord.bak"], "it seems to be a copy, which would count twice; rename it"),
        (["train (1).tfrecord"], "seems to be a copy"),
        (["train copy 2.tfrecord"], "seems to be a copy"),
        (["train-0.tfrecord~"], "seems to be a copy"),
        (["train-0.tfrecord.part"], "seems to be unfinished; wait for it"),
        (["train-0.tfrecord.zip"], "seems to be an archive; unpack it"),
        (["test2014-0", "test2017-0"], r"  test2014, test2017: which of them is test\? Leave one in this folder"),
    ],
)
def test_a_doubtful_name_is_an_error(tmp_path, names, doubt):
    with pytest.raises(UserError, match=rf"has files whose names leave doubts:\n.*{doubt}"):
        assign(tmp_path, "train-0", *names)


def test_a_numbered_set_is_the_split_where_it_is_alone(tmp_path):
    of_split, left_out = assign(tmp_path, "train2017-00000", "train2017-00001", "eval", "eval2-0")
    assert of_split == {"train": ["train2017-00000", "train2017-00001"], "eval": ["eval"], "test": []}
    assert left_out == ["eval2-0"]


def test_many_names_are_a_line(tmp_path):
    assert describe_left_out([f"/a/{index}" for index in range(12)]).endswith("8, 9 and 2 more")


def test_a_bucket_has_splits_too(bucket):
    for name in ("train-0", "trainval-0", "test-0", "train/deeper-0"):
        bucket.blob(f"a[1]/{name}").upload_from_string(b"x")
    found = find_input_files("gs://segpipe/a[1]")
    assert [file.path for file in found.of_split["train"]] == ["gs://segpipe/a[1]/train-0"]
    assert found.left_out == ["gs://segpipe/a[1]/trainval-0"]
