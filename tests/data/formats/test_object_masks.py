"""One mask for each object: whose they are, and what becomes of them."""

import os

import numpy as np
import pytest
from PIL import Image

from data.contract import CROWD
from data.decoding.errors import BadImageError
from data.decoding.notes import Notes, collecting
from data.formats.base.reader import Source
from data.formats.object_masks import ObjectMasksReader, remarks
from data.inspection.recognize import recognize

SIZE = (12, 16)
BLACK = np.zeros(SIZE, np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def mask(rows=np.s_[:], columns=np.s_[:], value=255):
    pixels = np.zeros(SIZE, np.uint8)
    pixels[rows, columns] = value
    return pixels


TWO = (mask(np.s_[1:4], np.s_[2:9]), mask(np.s_[6:11], np.s_[3:5]))


def bowl(folder, *names, masks=TWO):
    """As the Data Science Bowl has it: images with transparency, which nothing uses, and masks with hashes as names."""
    for name in names:
        save(folder / name / "images" / f"{name}.png", np.full([*SIZE, 4], 200, np.uint8))
        for index, one in enumerate(masks):
            save(folder / name / "masks" / f"{index:x}f3a.png", one)
    return folder


def read(folder, **options):
    """Labels by name, the listing, and what was noted."""
    reader = ObjectMasksReader(folder=str(folder), **options)
    found, notes, read = reader.listing(), Notes(), {}
    for source in found.sources:
        with collecting(os.path.relpath(source.image, folder)) as noted:
            read[source.source_id] = reader.read(source)
        notes.add(noted)
    return read, found, notes


def reasons(entries, folder):
    return {os.path.relpath(entry.input, folder): entry.reason for entry in entries}


def test_the_data_science_bowl_is_recognized_and_read(tmp_path):
    names = [f"{number:02x}" for number in range(12)]
    bowl(tmp_path / "stage1_train", *names)
    for name in ("a0", "a1", "a2"):
        save(tmp_path / "stage1_test" / name / "images" / f"{name}.png", mask())
    (tmp_path / "stage1_train_labels.csv").write_text("ImageId,EncodedPixels\n")
    for folder, prefix in ((tmp_path / "stage1_train", ""), (tmp_path, "stage1_train/")):
        recognized = recognize(str(folder))
        assert recognized.format == "object-masks"
        assert "12 of 1" in recognized.reasons[0]
        assert sorted(source.source_id for source in recognized.listing.sources) == [prefix + name for name in names]
        assert {source.split for source in recognized.listing.sources} == {"train", "eval", "test"}
        assert recognized.listing.set_aside == []
        assert recognized.label_map.names == ("background", "object")
        labeled = recognized.reader.read(recognized.listing.sources[0])
        np.testing.assert_array_equal(labeled.instances, (TWO[0] > 0) + 2 * (TWO[1] > 0))
        np.testing.assert_array_equal(labeled.class_ids, labeled.instances > 0)
        assert labeled.instances.dtype == np.uint16
    assert {path: reason for path, reason in reasons(recognized.listing.ignored, tmp_path).items() if "a1" in path} == {
        "stage1_test/a1/images/a1.png": "no folder with masks of its objects"
    }


def test_masks_in_folders_called_like_the_images(tmp_path):
    for split in ("train", "val", "test"):
        save(tmp_path / "images" / split / "one.png", mask())
        save(tmp_path / "Masks" / split / "one" / "x.png", TWO[0])
    recognized = recognize(str(tmp_path), given={"classes": ("ground", "car")})
    assert recognized.format == "object-masks"
    assert {source.source_id: source.split for source in recognized.listing.sources} == {
        "train/one": "train", "val/one": "eval", "test/one": "test",
    }  # fmt: skip
    assert recognized.label_map.names == ("ground", "car")
    # One split alone is still that split.
    alone = ObjectMasksReader(folder=str(tmp_path / "alone"))
    save(tmp_path / "alone" / "val" / "images" / "one.png", BLACK)
    save(tmp_path / "alone" / "val" / "masks" / "one" / "x.png", TWO[0])
    assert [(source.source_id, source.split) for source in alone.listing().sources] == [("val/one", "eval")]


def test_masks_of_classes_are_not_taken_for_objects(tmp_path):
    for kind in ("images", "masks"):
        for index in range(12):
            save(tmp_path / kind / f"{index}.png", mask(np.s_[3:], value=120 if kind == "images" else 1))
    assert recognize(str(tmp_path)).format == "mask-folder"
    # Not even if one has a folder.
    save(tmp_path / "masks" / "0" / "x.png", mask())
    assert recognize(str(tmp_path)).format == "mask-folder"


def test_later_objects_are_above_and_what_is_empty_or_hidden_is_told(tmp_path):
    below, above = mask(np.s_[2:8], np.s_[2:8]), mask(np.s_[5:10], np.s_[5:10])
    hidden = mask(np.s_[6:9], np.s_[6:9])
    bowl(tmp_path, "a", masks=[below, BLACK, hidden, above])
    bowl(tmp_path, "b", masks=[BLACK])  # Without an object.
    found, _, notes = read(tmp_path)
    expected = np.where(above > 0, 2, np.where(below > 0, 1, 0))
    np.testing.assert_array_equal(found["a"].instances, expected)
    assert not found["b"].instances.any()
    assert not found["b"].class_ids.any()
    # 4 of the hidden one on the first, then 14 of these two together.
    assert remarks(notes) == [
        "masks of objects without a pixel: 1, the first in a/images/a.png",
        "objects wholly below later ones, which are left out: 1, the first in a/images/a.png",
        "pixels of several objects, which the last one has: 18, the first in a/images/a.png",
    ]


@pytest.mark.parametrize(
    "pixels",
    [
        mask(np.s_[1:4], value=1),
        mask(np.s_[1:4]) > 0,
        np.stack([mask(np.s_[1:4])] * 3, axis=-1),
        np.stack([mask(np.s_[1:4]), BLACK, BLACK], axis=-1),
        np.stack([mask(value=255)] * 3 + [mask(np.s_[1:4])], axis=-1),
        mask(np.s_[1:4]).astype(np.uint16) * 257,
    ],
)
def test_white_is_stored_in_many_ways(tmp_path, pixels):
    bowl(tmp_path, "a", masks=[pixels])
    np.testing.assert_array_equal(read(tmp_path)[0]["a"].instances, mask(np.s_[1:4]) > 0)


def test_compressed_masks_are_black_and_white_all_the_same(tmp_path):
    save(tmp_path / "images" / "a.png", mask())
    save(tmp_path / "masks" / "a" / "x.jpg", mask(np.s_[0:8], np.s_[0:8]), quality=60)
    np.testing.assert_array_equal(read(tmp_path)[0]["a"].instances, mask(np.s_[0:8], np.s_[0:8]) > 0)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([mask(np.s_[1:4]) + mask(np.s_[8:], value=3)], "0f3a.png: it has 2 values beside black, .* --objects"),
        ([TWO[0], TWO[1][:-1]], "1f3a.png: it has 16x11 pixels, and 0f3a.png 16x12"),
        ([TWO[0][:-1], TWO[1][:-1]], "16x11"),
    ],
)
def test_masks_that_cannot_be_used_are_named(tmp_path, masks, message):
    bowl(tmp_path, "a", masks=masks)
    with pytest.raises(BadImageError, match=message):
        read(tmp_path)


def test_a_damaged_mask_is_named(tmp_path):
    bowl(tmp_path, "a")
    (tmp_path / "a" / "masks" / "1f3a.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"the mask of an object .*1f3a\.png: "):
        read(tmp_path)


def test_more_masks_than_numbers_are_told_before_they_are_read(tmp_path):
    reader = ObjectMasksReader(folder=str(tmp_path))
    paths = "[" + ",".join(['"x.png"'] * CROWD) + "]"
    with pytest.raises(BadImageError, match="65535 masks, and more than 65534 objects cannot be numbered"):
        reader.read(Source("a", "train", "a.png", "a", labels=paths))


def test_what_lacks_its_counterpart_is_told(tmp_path):
    bowl(tmp_path, "a", "b")
    for image in (tmp_path / "b" / "images").iterdir():
        image.unlink()
    save(tmp_path / "c" / "images" / "c.png", mask())
    save(tmp_path / "d" / "images" / "one.png", mask())
    save(tmp_path / "d" / "images" / "two.png", mask())
    save(tmp_path / "d" / "masks" / "x.png", mask())
    save(tmp_path / "else.png", mask())
    (tmp_path / "a" / "masks" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "masks" / "notes.txt").write_bytes(b"")
    _, found, _ = read(tmp_path)
    assert [source.source_id for source in found.sources] == ["a"]
    shared = "2 images share the masks in d/masks; put those of this one into d/masks/"
    assert reasons(found.set_aside, tmp_path) == {
        "b/masks": "masks without an image",
        "c/images/c.png": "no folder with masks of its objects",
        "d/images/one.png": shared + "one",
        "d/images/two.png": shared + "two",
    }
    assert found.remedy.startswith("--unlabeled ignore")
    assert reasons(found.ignored, tmp_path) == {
        "a/masks/.hidden.png": "hidden, or left by a tool",
        "a/masks/notes.txt": "not an image file",
        "else.png": "in no folder images or masks",
    }
    _, found, _ = read(tmp_path, unlabeled="ignore")
    assert "c/images/c.png" in reasons(found.ignored, tmp_path)
    assert "c/images/c.png" not in reasons(found.set_aside, tmp_path)
    with pytest.raises(ValueError, match="takes two names"):
        ObjectMasksReader(folder=str(tmp_path), classes=("a", "b", "c"))
