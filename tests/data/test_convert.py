import dataclasses
import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import contract
from data.base.errors import UserError
from data.base.files import UnreachableError, exists, read_bytes
from data.convert import _deal, _WriteShard, convert
from data.decoding.images import EncodedImage
from data.formats import LabeledImage, Listing, SetAside, Source
from data.formats.brain_mri import SLABS, BrainMriReader
from data.formats.mask_folder import MaskFolderReader
from data.formats.oxford_pets import OxfordPetsReader
from data.formats.yolo.reader import YoloReader
from data.label_map import LabelMap
from tests.data.formats.layouts import Example, Layout, write

LABELS = LabelMap.from_names(["ground", "thing"])
THIRDS = {"train": 0.4, "eval": 0.3, "test": 0.3}


def read_examples(folder, split):
    examples = []
    for record in tf.data.TFRecordDataset(sorted(map(str, pathlib.Path(folder).glob(f"{split}-*.tfrecord")))):
        examples.append(tf.train.Example.FromString(record.numpy()).features.feature)
    return examples


def make_mask_folder(folder: pathlib.Path, count: int = 40) -> pathlib.Path:
    generator = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        mask = (generator.random((20, 30)) < 0.5).astype(np.uint8)
        Image.fromarray(generator.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / "images" / f"{index:03d}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{index:03d}.png")
    return folder


def test_pets_keep_all_listed_pairs_by_the_contract(pets, tmp_path):
    report = convert(OxfordPetsReader(folder=str(pets)), str(tmp_path / "out"), shards=2)
    assert report["set_aside"] == []
    assert len(report["ignored"]) == 1
    assert {split: values["examples"] for split, values in report["splits"].items()}["test"] == 180
    assert sum(values["examples"] for values in report["splits"].values()) == 360
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["labels.yaml", "conversion.json"]
        + [f"{split}-0000{shard}-of-00002.tfrecord" for split in contract.SPLITS for shard in range(2)]
    )
    assert LabelMap.load(tmp_path / "out" / "labels.yaml").names == ("pet", "background", "border")
    names = set()
    for split in contract.SPLITS:
        for features in read_examples(tmp_path / "out", split):
            name = features[contract.SOURCE_ID].bytes_list.value[0].decode()
            names.add(name)
            image = tf.io.decode_image(features[contract.IMAGE].bytes_list.value[0], expand_animations=False)
            mask = tf.io.decode_png(features[contract.MASK].bytes_list.value[0]).numpy()
            assert image.shape[:2] == mask.shape[:2]
            assert image.shape[:2] == (
                features[contract.HEIGHT].int64_list.value[0],
                features[contract.WIDTH].int64_list.value[0],
            )
            assert set(np.unique(mask)) <= {0, 1, 2}
            assert features[contract.SLICE].bytes_list.value[0].decode() == name.rpartition("_")[0]
    assert len(names) == 360
    assert "Abyssinian_5" in names  # A PNG with alpha, named .jpg.


def test_pets_border_can_be_ignored(pets):
    reader = OxfordPetsReader(folder=str(pets), border="ignore")
    ids = reader.read(reader.listing().sources[0]).class_ids
    assert set(np.unique(ids)) == {0, 1, 255}


def test_brain_slabs_keep_their_distance(brain_mri):
    slabs = sorted((first, end, split) for split, first, end in SLABS)
    for (_, end, split), (first, _, next_split) in itertools.pairwise(slabs):
        assert first - end >= 5 or split == next_split
    report = json.loads((brain_mri / "conversion.json").read_text())
    assert [report["splits"][split]["examples"] for split in contract.SPLITS] == [75, 10, 20]
    features = read_examples(brain_mri, "test")[0]
    assert tf.io.decode_png(features[contract.IMAGE].bytes_list.value[0]).shape == (233, 197, 1)


def test_brain_takes_no_source():
    assert BrainMriReader().label_map.names == ("background", "csf", "grey_matter", "white_matter")


def test_each_bad_pair_is_set_aside_with_its_reason(tmp_path):
    folder = make_mask_folder(tmp_path / "in", 60)
    images, masks = folder / "images", folder / "masks"
    (images / "000.jpg").write_bytes(b"no image")
    (masks / "001.png").write_bytes((masks / "001.png").read_bytes()[:60])
    Image.new("L", (5, 5)).save(masks / "002.png")
    Image.fromarray(np.full((20, 30), 7, np.uint8)).save(masks / "003.png")
    Image.new("RGB", (30, 20)).save(images / "004.png")  # A second image for the mask 004.
    Image.new("RGB", (2000, 2000)).save(images / "005.jpg")
    (masks / "006.png").unlink()
    (images / "007.jpg").unlink()
    (images / "._008.jpg").write_bytes(b"resource fork")
    report = convert(
        MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS, max_pixels=10_000),
        str(tmp_path / "out"),
        max_set_aside=0.2,
    )
    reasons = {pathlib.Path(entry["input"]).name: entry["reason"] for entry in report["set_aside"]}
    for name, reason in {
        "000.jpg": "unreadable",
        "001.jpg": "unreadable",
        "002.jpg": "sizes differ",
        "003.jpg": "class id 7",
        "004.png": "duplicate name",
        "005.jpg": "more than the limit",
        "006.jpg": "no mask",
        "007.png": "no image",
    }.items():
        assert reason in reasons.pop(name)
    assert reasons == {}
    assert sum(values["examples"] for values in report["splits"].values()) == 60 - 7


def test_names_that_are_not_utf_8_are_set_aside(tmp_path, segpipe):
    folder = make_mask_folder(tmp_path / "in", 41)
    for path in (folder / "images" / "000.jpg", folder / "masks" / "000.png"):
        os.rename(path, os.fsencode(path).replace(b"000", b"caf\xe9"))
    finished = segpipe(
        *("convert", "--format", "mask-folder", "--classes", "ground,thing", "--split", "train=0.4,eval=0.3,test=0.3"),
        *(str(folder), str(tmp_path / "out")),
    )
    assert finished.returncode == 0, finished.stderr
    assert r"images/caf\xe9.jpg: its name is not UTF-8" in finished.stdout
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert [entry["input"].rpartition("/")[2] for entry in report["set_aside"]] == [r"caf\xe9.jpg", r"caf\xe9.png"]
    assert sum(values["examples"] for values in report["splits"].values()) == 40


def test_names_that_are_not_utf_8_are_set_aside_in_formats_of_objects_too(tmp_path):
    for number in range(41):
        Image.fromarray(np.full((20, 30, 3), 6 * number, np.uint8)).save(tmp_path / f"{number:03d}.png")
        (tmp_path / f"{number:03d}.txt").write_text("0 0.1 0.1 0.9 0.1 0.5 0.9\n")
    (tmp_path / "classes.txt").write_text("thing\n")
    for path in (tmp_path / "000.png", tmp_path / "000.txt"):
        os.rename(path, os.fsencode(path).replace(b"000", b"caf\xe9"))
    report = convert(YoloReader(folder=str(tmp_path), split=THIRDS), str(tmp_path / "out"))
    (entry,) = report["set_aside"]
    assert entry == {"input": f"{tmp_path}/caf\\xe9.png", "reason": "its name is not UTF-8; rename it"}
    assert sum(values["examples"] for values in report["splits"].values()) == 40


def test_a_listed_pet_whose_name_is_not_utf_8_is_set_aside(tmp_path):
    annotations = tmp_path / "annotations"
    (annotations / "trimaps").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    (annotations / "trainval.txt").write_bytes(b"caf\xe9_1 1 1 1\n")
    (annotations / "test.txt").touch()
    reader = OxfordPetsReader(folder=str(tmp_path))
    (source,) = reader.listing().sources
    assert source.source_id == r"caf\xe9_1"
    with pytest.raises(FileNotFoundError):  # Which `convert` sets aside.
        reader.read(source)


def test_the_lists_of_pets_cannot_leave_their_folder(tmp_path):
    for folder in ("images", "annotations/trimaps"):
        (tmp_path / "pets" / folder).mkdir(parents=True)
    for name in ("trainval.txt", "test.txt"):
        (tmp_path / "pets" / "annotations" / name).write_text("../../away 1 1 1\nbeagle_1 1 1 1\n/etc/passwd 1 1 1\n")
    listing = OxfordPetsReader(folder=str(tmp_path / "pets")).listing()
    assert {source.source_id for source in listing.sources} == {"beagle_1"}
    paths = [entry for entry in listing.set_aside if "a path instead of a name" in entry.reason]
    assert [entry.input for entry in paths] == ["../../away", "/etc/passwd"] * 2


def test_two_workers_convert_what_one_does(tmp_path, segpipe):
    folder = make_mask_folder(tmp_path / "in", 20)
    (folder / "images" / "000.jpg").write_bytes(b"no image")
    arguments = ("convert", "--format", "mask-folder", "--classes", "ground,thing", "--shards", "1")
    arguments += ("--split", "train=0.4,eval=0.3,test=0.3", "--max-set-aside", "0.1")
    for workers in ("1", "2"):
        finished = segpipe(*arguments, "--workers", workers, str(folder), str(tmp_path / workers))
        assert finished.returncode == 0, finished.stderr
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("1", "2"))
    assert one == two


def test_progress_is_told_in_intervals_from_the_first_image_on(monkeypatch, caplog, tmp_path):
    class Slow:
        def read(self, source):
            clock.now = float(source.image)
            return LabeledImage(EncodedImage(b"", "png", 1, 1), np.zeros((1, 1), np.uint8))

    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("data.convert.time", clock)
    caplog.set_level("INFO")
    listing = tmp_path / "listing"
    write = _WriteShard(Slow(), str(listing), str(tmp_path))
    for seconds in (["100", "103"], ["106", "107"]):
        line = json.dumps(["a", "train", [[second, "train", second, ""] for second in seconds]])
        listing.write_text("another line\n" + line + "\nand another")
        list(write.process((len("another line\n"), len(line))))
    assert caplog.messages == ["3 images converted by this worker"]


def test_spans_are_added_beside_each_other(tmp_path, segpipe):
    make_mask_folder(tmp_path / "first")
    make_mask_folder(tmp_path / "second", 1)
    shares = "train=0.5,eval=0.25,test=0.25"
    options = ("convert", "--format", "mask-folder", "--classes", "a,b", "--split", shares)
    alone = segpipe(*options, "--span", "1", str(tmp_path / "second"), str(tmp_path / "alone"))
    assert alone.returncode == 1
    assert "would be empty" in alone.stderr
    for span, source in (("1", "first"), ("2026-11-23", "second")):
        result = segpipe(*options, "--span", span, str(tmp_path / source), str(tmp_path / "out"))
        assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "20261123"]
    assert not list((tmp_path / "out" / "20261123").glob("test*"))
    assert list((tmp_path / "out" / "20261123").glob("train-*"))
    taken = segpipe(*options, "--span", "1", str(tmp_path / "second"), str(tmp_path / "out"))
    assert taken.returncode == 1
    assert "out/1 is not empty" in taken.stderr
    other = segpipe("convert", "--format", "brain-mri", "--span", "3", str(tmp_path / "out" / "{SPAN}"))
    assert other.returncode == 1
    assert "has the classes a, b; this data has background, csf" in other.stderr


def test_too_much_set_aside_is_fatal_and_leaves_nothing(tmp_path):
    folder = make_mask_folder(tmp_path / "in")
    for index in range(5):
        (folder / "images" / f"{index:03d}.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"5 of 40 inputs \(12.5%\).*\n.*000.jpg: unreadable"):
        convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_subfolders_are_splits_and_colors_are_classes(tmp_path):
    colors = np.array(LABELS.palette, np.uint8)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (tmp_path / "in" / kind / split).mkdir(parents=True)
        ids = np.array([[0, 1], [1, 0]])
        Image.fromarray(colors[ids]).save(tmp_path / "in" / "images" / split / "a.png")
        Image.fromarray(colors[ids]).save(tmp_path / "in" / "masks" / split / "a.png")
    convert(MaskFolderReader(folder=str(tmp_path / "in"), labels=LABELS), str(tmp_path / "out"))
    for split, folder in {"train": "train", "eval": "val", "test": "test"}.items():
        (features,) = read_examples(tmp_path / "out", split)
        assert features[contract.SOURCE_ID].bytes_list.value[0].decode() == f"{folder}/a"
        np.testing.assert_array_equal(
            tf.io.decode_png(features[contract.MASK].bytes_list.value[0])[..., 0], [[0, 1], [1, 0]]
        )


def test_an_image_outside_the_split_folders_is_an_error(tmp_path):
    for kind in ("images", "masks"):
        for name in ("train/a", "val/a", "test/a", "b"):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / f"{name}.png").touch()
    with pytest.raises(UserError, match=r"images/b\.png lies outside the split folders.*--split"):
        MaskFolderReader(folder=str(tmp_path), labels=LABELS).listing()
    assert len(MaskFolderReader(folder=str(tmp_path), labels=LABELS, split=THIRDS).listing().sources) == 4
    (tmp_path / "masks" / "b.png").unlink()  # What is set aside needs no split.
    assert [source.split for source in MaskFolderReader(folder=str(tmp_path), labels=LABELS).listing().sources] == [
        "test",
        "train",
        "eval",
    ]


def test_a_reason_that_many_inputs_have_is_said_once():
    entries = [SetAside(f"{name}.png", "it is cut off" if name in "ac" else "it has no mask") for name in "abcd"]
    with pytest.raises(UserError) as caught:
        Listing([], entries).check_any()
    assert str(caught.value).splitlines()[1:] == [
        "  a.png and 1 more: it is cut off",
        "  b.png and 1 more: it has no mask",
    ]


def test_fatal_inputs_have_one_clear_message(tmp_path):
    with pytest.raises(UserError, match="images is not a folder"):
        convert(MaskFolderReader(folder=str(tmp_path), labels=LABELS), str(tmp_path / "out"))
    (tmp_path / "in" / "images").mkdir(parents=True)
    (tmp_path / "in" / "masks").mkdir()
    with pytest.raises(UserError, match="no image with its labels"):
        convert(MaskFolderReader(folder=str(tmp_path / "in"), labels=LABELS), str(tmp_path / "out"))
    few = make_mask_folder(tmp_path / "few", 1)
    with pytest.raises(UserError, match="would be empty"):
        convert(MaskFolderReader(folder=str(few), labels=LABELS), str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"trimaps is missing|images is missing"):
        convert(OxfordPetsReader(folder=str(tmp_path)), str(tmp_path / "out"))


def test_a_destination_is_only_replaced_when_told_and_when_it_is_ours(tmp_path, brain_mri):
    taken = tmp_path / "out"
    taken.mkdir()
    (taken / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="--overwrite"):
        convert(BrainMriReader(), str(taken))
    with pytest.raises(UserError, match="not an earlier conversion"):
        convert(BrainMriReader(), str(taken), overwrite=True)
    assert (taken / "thesis.txt").read_text() == "precious"
    (taken / "thesis.txt").rename(taken / "conversion.json")
    convert(BrainMriReader(), str(taken), overwrite=True)
    assert sorted(path.name for path in taken.iterdir()) == sorted(path.name for path in brain_mri.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_images_and_tfrecords_may_be_in_a_bucket(bucket, tmp_path):
    folder = make_mask_folder(tmp_path / "in")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    (folder / "masks" / "broken.png").write_bytes(b"no image")
    for path in folder.rglob("*.*"):
        bucket.blob(f"in/{path.relative_to(folder)}").upload_from_filename(path)
    expected = convert(
        MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "out"), max_set_aside=0.5
    )
    reader = MaskFolderReader(folder="gs://segpipe/in", labels=LABELS, split=THIRDS)
    for overwrite in (False, True):
        found = convert(reader, "gs://segpipe/out/", max_set_aside=0.5, overwrite=overwrite)
        assert found["splits"] == expected["splits"]
        assert [entry["input"] for entry in found["set_aside"]] == ["gs://segpipe/in/images/broken.png"]
        names = {blob.name.removeprefix("out/") for blob in bucket.list_blobs(prefix="out")}
        assert names == {path.name for path in (tmp_path / "out").iterdir()}
        (shard,) = (tmp_path / "out").glob("train*")
        assert bucket.blob(f"out/{shard.name}").download_as_bytes() == shard.read_bytes()
    with pytest.raises(UserError, match="gs://segpipe/out is not empty"):
        convert(reader, "gs://segpipe/out", max_set_aside=0.5)
    # What failed leaves nothing, and the old one as it was.
    with pytest.raises(UserError, match="nothing was written"):
        convert(reader, "gs://segpipe/out", max_set_aside=0.0, overwrite=True)
    assert {blob.name.partition("/")[0] for blob in bucket.list_blobs()} == {"in", "out"}


def test_numbers_of_objects_lie_beside_the_masks_and_change_nothing_else(tmp_path):
    class NumberedReader(MaskFolderReader):
        def read(self, source):
            labeled = super().read(source)
            numbers = labeled.class_ids.astype(np.uint16)
            numbers[0, :3] = 300, 0, 65535
            return dataclasses.replace(labeled, instances=numbers)

    folder = str(make_mask_folder(tmp_path / "in"))
    settings = {"folder": folder, "labels": LABELS, "split": "train=0.77,eval=0.07,test=0.16"}
    plain = convert(MaskFolderReader(**settings), str(tmp_path / "plain"))
    assert convert(NumberedReader(**settings), str(tmp_path / "numbered")) == plain
    examples = read_examples(tmp_path / "numbered", "train")
    for without, example in zip(read_examples(tmp_path / "plain", "train"), examples, strict=True):
        numbers = np.asarray(Image.open(io.BytesIO(example.pop(contract.INSTANCES).bytes_list.value[0])))
        assert numbers[0, :3].tolist() == [300, 0, 65535]
        assert {**example} == {**without}


def test_shards_hold_100_megabytes_or_1000_examples(tmp_path, monkeypatch):
    folder = make_mask_folder(tmp_path / "in")
    size = sum(path.stat().st_size for path in folder.rglob("*.*"))
    monkeypatch.setattr("data.convert._BYTES_PER_SHARD", size / 8)
    convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "out"))
    shards = {split: len(list((tmp_path / "out").glob(f"{split}-*"))) for split in THIRDS}
    counts = {split: len(read_examples(tmp_path / "out", split)) for split in THIRDS}
    assert shards == {split: int(count / 40 * 8 + 1e-6) for split, count in counts.items()}
    monkeypatch.setattr("data.convert.EXAMPLES_PER_SHARD", 4)
    convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "more"))
    assert len(list((tmp_path / "more").glob("train-*"))) == -(-counts["train"] // 4)


def test_a_file_that_many_examples_share_counts_once(tmp_path, monkeypatch):
    """Windows of a scene, which has one large mask."""
    (tmp_path / "scene.tif").write_bytes(bytes(6_000))
    (tmp_path / "mask.tif").write_bytes(bytes(4_000))
    scene, mask = str(tmp_path / "scene.tif"), str(tmp_path / "mask.tif")
    sources = [Source(str(index), "train", f"{scene}#r{index}", mask) for index in range(100)]
    monkeypatch.setattr("data.convert._BYTES_PER_SHARD", 2_500)
    assert [len(shard) for _, _, shard in _deal(sources, None)] == [25] * 4


def test_each_shard_has_its_share_of_every_part_of_the_listing(tmp_path):
    folder = make_mask_folder(tmp_path / "in", 200)
    shares = {"train": 0.9, "eval": 0.05, "test": 0.05}
    convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=shares), str(tmp_path / "out"), shards=3)
    shards = sorted((tmp_path / "out").glob("train-*"))
    assert [path.name for path in shards] == [f"train-0000{index}-of-00003.tfrecord" for index in range(3)]
    numbers = [
        [int(example[contract.SOURCE_ID].bytes_list.value[0]) for example in read_examples(tmp_path / "out", shard)]
        for shard in ("train-00000", "train-00001", "train-00002")
    ]
    assert all(sorted(of_shard) != of_shard for of_shard in numbers)
    lengths = [len(of_shard) for of_shard in numbers]
    assert max(lengths) - min(lengths) <= 1
    assert all(abs(np.mean(of_shard) - 100) < 25 for of_shard in numbers)
    assert len({number for of_shard in numbers for number in of_shard}) == sum(lengths)


def test_what_a_dead_worker_wrote_is_not_taken(tmp_path):
    class Dying(MaskFolderReader):
        """Leaves what a worker that was killed leaves."""

        def read(self, source):
            work = tmp_path / "out.incomplete" / "work"
            (work / f"{source.split}-00000-of-00001.tfrecord.dead").write_bytes(b"half a record")
            (work / "beam-temp-written-dead").mkdir(exist_ok=True)
            return super().read(source)

    folder = make_mask_folder(tmp_path / "in")
    convert(Dying(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "out"))
    assert sum(len(read_examples(tmp_path / "out", split)) for split in THIRDS) == 40
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_a_conversion_that_fails_leaves_the_old_one_untouched(tmp_path, monkeypatch):
    def contents():
        return {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("out*/*")}

    good, bad = make_mask_folder(tmp_path / "good"), make_mask_folder(tmp_path / "bad")
    destination = str(tmp_path / "out")
    convert(MaskFolderReader(folder=str(good), labels=LABELS, split=THIRDS), destination)
    old = contents()
    for path in (bad / "images").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="40 of 40 inputs"):
        convert(MaskFolderReader(folder=str(bad), labels=LABELS, split=THIRDS), destination, overwrite=True)
    assert contents() == old

    rename = os.rename

    def fail_to_put_in_place(source, target):
        if str(source).endswith(".incomplete"):
            raise OSError("disk on fire")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_to_put_in_place)
    with pytest.raises(OSError, match="disk on fire"):
        convert(MaskFolderReader(folder=str(good), labels=LABELS, split=THIRDS), destination, overwrite=True)
    assert contents() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good", "out"]


@pytest.mark.skipif(os.getuid() != 0 and "CI" not in os.environ, reason="a small disk is mounted by root")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, pets):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "segpipe-small", str(disk)], check=True)
    try:
        with pytest.raises(UserError, match=r"disk/out\.incomplete: No space left on device"):
            convert(OxfordPetsReader(folder=str(pets)), str(disk / "out"))
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_appears_at_the_destination_meanwhile_is_kept(tmp_path):
    folder, destination = make_mask_folder(tmp_path / "in"), tmp_path / "out"

    class Meanwhile(MaskFolderReader):
        def listing(self):
            destination.mkdir()
            (destination / "conversion.json").write_text("of somebody else")
            return super().listing()

    with pytest.raises(UserError, match="out is not empty"):
        convert(Meanwhile(folder=str(folder), labels=LABELS, split=THIRDS), str(destination))
    assert [path.read_text() for path in destination.iterdir()] == ["of somebody else"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_folder_that_is_called_like_a_replaced_one_is_kept(tmp_path):
    reader, destination = (
        MaskFolderReader(folder=str(make_mask_folder(tmp_path / "in")), labels=LABELS, split=THIRDS),
        tmp_path / "out",
    )
    convert(reader, str(destination))
    (tmp_path / "out.replaced").mkdir()
    (tmp_path / "out.replaced" / "thesis.txt").write_text("precious")
    convert(reader, str(destination), overwrite=True)
    assert (tmp_path / "out.replaced" / "thesis.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "out.replaced"]


def test_a_killed_conversion_leaves_nothing_that_looks_complete(tmp_path, segpipe):
    destination = tmp_path / "out"
    arguments = ["convert", "--format", "brain-mri", str(destination)]
    process = segpipe.start(*arguments)
    incomplete = tmp_path / "out.incomplete"
    while not (incomplete.exists() and os.listdir(incomplete)):
        assert process.poll() is None
        time.sleep(0.01)
    segpipe.kill(process)
    assert not destination.exists()
    assert incomplete.exists()
    finished = segpipe(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert (destination / "conversion.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bucket_that_is_away_for_a_moment_costs_no_image(tmp_path, monkeypatch):
    folder = make_mask_folder(tmp_path / "in")

    def unreachable(path, *_):
        raise UnreachableError(f"{path}: try again later")

    monkeypatch.setattr("data.formats.mask_folder.read_bytes", unreachable)
    with pytest.raises(OSError, match="try again later"):
        convert(
            MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "out"), max_set_aside=1.0
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_that_is_missing_in_a_bucket_is_told_from_a_bucket_that_is(bucket):
    bucket.blob("a[1].txt").upload_from_string("0123456789")
    assert read_bytes("gs://segpipe/a[1].txt", 3, 4) == b"3456"
    assert (exists("gs://segpipe/a[1].txt"), exists("gs://segpipe/a1.txt")) == (True, False)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_bytes("gs://segpipe/b.txt")


def test_the_report_counts_the_groups_of_each_split(tmp_path, segpipe):
    folder = make_mask_folder(tmp_path / "in", 60)
    for kind in ("images", "masks"):
        for path in sorted((folder / kind).iterdir()):
            path.rename(path.with_name(f"patient{int(path.stem) // 3}_{path.name}"))
        (folder / kind / "Thumbs.db").write_bytes(b"of another kind")
    (folder / "images" / "patient0_000.jpg").write_bytes(b"no image")
    finished = segpipe(
        *("convert", "--format", "mask-folder", "--classes", "ground,thing", "--split", "train=0.4,val=0.3,test=0.3"),
        *("--group-by", r"patient\d+", str(folder), str(tmp_path / "out")),
    )
    assert finished.returncode == 0, finished.stderr
    assert "left out: 2 (not an image file)" in finished.stdout
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    groups = {}
    for split in contract.SPLITS:
        features = read_examples(tmp_path / "out", split)
        groups[split] = {one[contract.GROUP].bytes_list.value[0].decode() for one in features}
        assert report["splits"][split]["groups"] == len(groups[split])
        assert f"{len(features)} images of {len(groups[split])} groups" in finished.stdout
    assert len(set.union(*groups.values())) == sum(map(len, groups.values())) == 20


def test_shares_of_the_message_for_few_images_work(tmp_path):
    folder = make_mask_folder(tmp_path / "in", 25)
    with pytest.raises(UserError, match=r"(eval|test) would be empty .*--split train=") as caught:
        convert(MaskFolderReader(folder=str(folder), labels=LABELS), str(tmp_path / "out"))
    shares = re.search("--split (train=[^ ]+)", str(caught.value))[1]
    report = convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=shares), str(tmp_path / "out"))
    counts = {split: values["examples"] for split, values in report["splits"].items()}
    assert f"gives {', '.join(f'{count} for {split}' for split, count in counts.items())}" in str(caught.value)
    assert all(counts.values())


def test_train_and_test_without_eval_are_converted(tmp_path):
    folder = make_mask_folder(tmp_path / "in", 40)
    for kind in ("images", "masks"):
        for index, path in enumerate(sorted((folder / kind).iterdir())):
            target = folder / ("Train", "testing")[index % 2] / kind
            target.mkdir(parents=True, exist_ok=True)
            path.rename(target / path.name)
        (folder / kind).rmdir()
    with pytest.raises(
        UserError, match=r"eval would be empty .* the data set has train and test only; .*--split"
    ) as caught:
        convert(MaskFolderReader(folder=str(folder), labels=LABELS), str(tmp_path / "out"))
    shares = re.search("--split (train=[^ ]+)", str(caught.value))[1]
    report = convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=shares), str(tmp_path / "out"))
    counts = {split: values["examples"] for split, values in report["splits"].items()}
    assert counts["test"] == 20
    assert counts["train"] + counts["eval"] == 20
    assert counts["eval"]


def test_a_split_that_only_bad_images_were_in_is_noticed(tmp_path):
    folder = make_mask_folder(tmp_path / "in", 40)
    reader = MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS)
    for source in reader.listing().sources:
        if source.split == "test":
            pathlib.Path(source.image).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"test would be empty \(train \d+, eval \d+, test 0\): .*--split"):
        convert(reader, str(tmp_path / "out"), max_set_aside=0.9)


def test_too_many_images_without_masks_have_a_remedy(tmp_path):
    folder = make_mask_folder(tmp_path / "in", 40)
    for index in range(10):
        (folder / "masks" / f"{index:03d}.png").unlink()
    with pytest.raises(UserError, match=r"no mask .*masks/000\.\*(.|\n)*--unlabeled ignore leaves out"):
        convert(MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS), str(tmp_path / "out"))
    reader = MaskFolderReader(folder=str(folder), labels=LABELS, split=THIRDS, unlabeled="ignore")
    report = convert(reader, str(tmp_path / "out"))
    assert len(report["ignored"]) == 10
    assert report["set_aside"] == []


def test_layouts_of_one_data_set_convert_to_the_same_bytes(tmp_path):
    plain = make_mask_folder(tmp_path / "plain")
    names = {f"{index:03d}": ("é", "ñ/a", "b/ü")[index % 3] + f"_{index:03d}" for index in range(40)}
    examples = [
        Example(name, "", (plain / "images" / f"{old}.jpg").read_bytes(), (plain / "masks" / f"{old}.png").read_bytes())
        for old, name in names.items()
    ]
    written = []
    for number, layout in enumerate(
        [
            Layout(extension=".jpg"),
            Layout(
                extension=".JPG", image_form="NFD", links="folders", has_loop=True, has_others=True, images="Images"
            ),
            Layout(order="one folder", images=".", masks=".", mask_suffix="_mask", mask_form="NFD", links="files"),
        ]
    ):
        options = write(examples, tmp_path / str(number), layout)
        convert(MaskFolderReader(labels=LABELS, split=THIRDS, **options), str(tmp_path / f"out{number}"))
        written.append({path.name: path.read_bytes() for path in (tmp_path / f"out{number}").glob("*.tfrecord")})
    assert len(written[0]) == 3
    assert written[0] == written[1] == written[2]


def test_paths_may_have_any_characters(tmp_path):
    for name in ("[1] a*?", "ü 'b' \"c\" #%", "e\\f"):
        source = make_mask_folder(tmp_path / name / "source [x]")
        destination = tmp_path / name / "to [y]*"
        reader = MaskFolderReader(folder=str(source), classes="ground,thing", split="train=0.4,eval=0.3,test=0.3")
        for overwrite in (False, True):
            convert(reader, str(destination), overwrite=overwrite)
        assert sum(len(read_examples(destination, split)) for split in THIRDS) == 40
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["source [x]", "to [y]*"]


def test_an_interrupted_conversion_leaves_nothing(tmp_path, segpipe):
    """Ctrl-C, which Beam wraps in an error of its own."""
    (tmp_path / "interrupted.py").write_text(
        "from data.formats.mask_folder import MaskFolderReader\n"
        "class Interrupted(MaskFolderReader):\n"
        "    'Is interrupted.'\n"
        "    def read(self, source):\n"
        "        raise KeyboardInterrupt\n"
    )
    make_mask_folder(tmp_path / "in")
    options = ("--format", "interrupted:Interrupted", "--classes", "a,b", "--split", "train=0.5,eval=0.25,test=0.25")
    paths = os.pathsep.join([str(tmp_path), os.getcwd()])
    result = segpipe("convert", *options, str(tmp_path / "in"), str(tmp_path / "out"), PYTHONPATH=paths)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (130, "Interrupted.")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["in", "interrupted.py"]
