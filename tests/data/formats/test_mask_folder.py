"""What a folder of images and masks holds, however it is laid out."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import time
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats.mask_folder import MaskFolderReader
from data.inspection.recognize import recognize
from data.listing.split_folders import placing
from data.splits import DEFAULT_SHARES, parse_shares, split_of
from tests.data.formats.layouts import Example, layouts, write

SPLITS = ("train", "eval", "test")
NAMES = ["a", "b1", "straße", "é", "park/é_1", "park/b", "한글/각"]


def files(folder, *paths, content=None):
    """Makes files, each with a content of its own."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(str(path).encode() if content is None else content)
    return folder


def pairs(folder, *names, image="{}.jpg", mask="{}.png", images="images", masks="masks"):
    """Makes an image and a mask for each name."""
    for name in names:
        parent, _, stem = name.rpartition("/")
        files(
            folder,
            pathlib.PurePath(images, parent, image.format(stem)),
            pathlib.PurePath(masks, parent, mask.format(stem)),
        )
    return folder


def listing(folder, **options):
    return MaskFolderReader(folder=str(folder), classes=("a", "b"), **options).listing()


def splits(folder, **options):
    return {source.source_id: source.split for source in listing(folder, **options).sources}


def message(folder, **options):
    with pytest.raises(UserError) as caught:
        listing(folder, **options)
    return str(caught.value)


def contents(found):
    """What the examples are, whatever the folders of splits are called."""
    return sorted(
        (
            placing(source.source_id).rest,
            source.split,
            pathlib.Path(source.image).read_bytes(),
            pathlib.Path(source.mask).read_bytes(),
        )
        for source in found.sources
    )


@hypothesis.settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(layouts(), st.booleans())
def test_any_layout_of_a_data_set_holds_the_same(tmp_path_factory, layout, has_splits):
    if layout.order == "split first" and not has_splits:
        layout = dataclasses.replace(layout, order="kind first")
    folder = tmp_path_factory.mktemp("layout")
    examples = [
        Example(name, SPLITS[index % 3] if has_splits else "", f"image {name}".encode(), f"mask {name}".encode())
        for index, name in enumerate(NAMES)
    ]
    found = listing(folder / "source", **{k: v for k, v in write(examples, folder, layout).items() if k != "folder"})
    assert found.set_aside == []
    assert contents(found) == sorted(
        (one.name, one.split or split_of(one.name, DEFAULT_SHARES), one.image, one.mask) for one in examples
    )
    if not has_splits:
        assert [source.source_id for source in found.sources] == sorted(NAMES, key=lambda name: name.split("/"))
    shutil.rmtree(folder)


def test_links_to_folders_are_followed(tmp_path):
    outside = pairs(tmp_path / "outside", *(f"{index:02d}" for index in range(40)))
    source = pairs(tmp_path / "source", *(f"{index:02d}" for index in range(40)))
    for kind in ("images", "masks"):
        (source / kind / "more").symlink_to(outside / kind)
    found = listing(source)
    assert len(found.sources) == 80
    assert found.set_aside == found.ignored == []


def test_links_that_lead_back_end(tmp_path):
    source = pairs(tmp_path / "source", "a", "park/b")
    (source / "images" / "park" / "up").symlink_to("..")
    (source / "images" / "all").symlink_to(source)
    (source / "images" / "self").symlink_to("self")
    assert "self is a link to self, where nothing is" in message(source)
    (source / "images" / "self").unlink()
    found = listing(source)
    assert [source.source_id for source in found.sources] == ["a", "park/b"]
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.ignored] == [
        ("all", "a link to a folder that it is in"),
        ("up", "a link to a folder that it is in"),
    ]


def test_folders_that_link_to_each_other_end(tmp_path):
    source = pairs(tmp_path / "source", "a/1", "b/1", "c/1")
    for kind in ("images", "masks"):
        for one in "abc":
            for other in "abc".replace(one, ""):
                (source / kind / one / f"to_{other}").symlink_to(f"../{other}")
    assert [one.source_id for one in listing(source).sources] == ["a/1", "b/1", "c/1"]
    for one in range(12):  # 12! paths.
        files(source, f"images/{one}/x.jpg", f"masks/{one}/x.png")
        for other in range(12):
            (source / "images" / str(one) / f"to_{other}").symlink_to(f"../{other}")
    assert "in more than 1000 ways" in message(source)


def test_a_link_to_nothing_is_named(tmp_path):
    source = pairs(tmp_path / "source", *"abcdef")
    for path in ("images/a.jpg", "masks/b.png"):
        (source / path).unlink()
        (source / path).symlink_to("/nowhere/file")
    (source / "images" / "readme.txt").symlink_to("/nowhere/readme.txt")
    found = listing(source)
    assert [source.source_id for source in found.sources] == ["c", "d", "e", "f"]
    assert [(pathlib.Path(entry.input).name, entry.reason) for entry in found.set_aside] == [
        ("a.jpg", f"{source}/images/a.jpg is a link to /nowhere/file, where nothing is"),
        ("b.jpg", f"{source}/masks/b.png is a link to /nowhere/file, where nothing is"),
    ]
    for name in ("town", "town.v2"):
        (source / "images" / name).symlink_to("/mnt/not_mounted")  # Who knows how many images are missing.
        assert f"images/{name} is a link to /mnt/not_mounted, where nothing is" in message(source)
        (source / "images" / name).unlink()


def test_one_file_under_two_names_is_one_example(tmp_path):
    source = pairs(tmp_path / "source", "z", *"abc")
    for kind, extension in (("images", "jpg"), ("masks", "png")):
        (source / kind / f"0.{extension}").symlink_to(f"z.{extension}")
        os.link(source / kind / f"b.{extension}", source / kind / f"y.{extension}")
    (source / "images" / "x.jpg").symlink_to("c.jpg")
    files(source, "masks/x.png")
    found = listing(source)
    assert [source.source_id for source in found.sources] == ["a", "b", "c", "z"]
    assert [(pathlib.Path(one.input).name, one.reason) for one in found.ignored] == [
        ("y.jpg", "the same files as another image"),
        ("0.jpg", "the same files as another image"),
    ]
    (aside,) = found.set_aside
    assert "x.jpg" in aside.input
    assert "the same file as" in aside.reason
    assert "another one" in aside.reason


def test_masks_may_be_shared(tmp_path):
    source = files(tmp_path, "images/train/a.jpg", "images/val/b.jpg", "images/test/c.jpg", "masks/train/a.png")
    for path in ("val/b.png", "test/c.png"):
        (source / "masks" / path).parent.mkdir()
        (source / "masks" / path).symlink_to("../train/a.png")
    assert set(splits(source).values()) == set(SPLITS)


@pytest.mark.parametrize("name", ["images", "town"])
def test_a_folder_that_is_a_link_to_nothing_is_named(tmp_path, name):
    source = pairs(tmp_path, "a", images="train/images", masks="train/masks")
    (source / name).symlink_to("/mnt/not_mounted")
    assert f"{source}/{name} is a link to /mnt/not_mounted, where nothing is" in message(source)


def test_other_folders_are_named(tmp_path):
    for place in ("plain", "first/train"):
        pairs(tmp_path / place, "a")
    files(tmp_path, "plain/test/b.jpg", "first/test/c.jpg")
    for place in ("plain", "first"):
        (other,) = listing(tmp_path / place).ignored
        assert other.input == f"{tmp_path}/{place}/test"
        assert other.reason == "a folder that --images and --masks do not name"


def test_folders_above_images_and_masks_have_one_name_in_each_unicode_form(tmp_path):
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "é")
        source = pairs(tmp_path / form / name, "a").parent
        files(source, f"{name}/images/x.jpg")
        found = listing(source)
        assert [one.source_id for one in found.sources] == ["é/a"]
        assert [entry.reason for entry in found.set_aside] == [f"no mask {source}/{name}/masks/x.*"]


def test_an_image_is_not_its_own_mask(tmp_path):
    source = files(tmp_path, "images/a.png", "images/b.png")
    (source / "masks").symlink_to("images")
    assert f"{source}/images/a.png and {source}/masks/a.png are one file" in message(source)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_in_two_splits_is_an_error(tmp_path, link):
    source = pairs(tmp_path, "train/a", "val/b", "test/c")
    for kind, extension in (("images", "jpg"), ("masks", "png")):
        link(source / kind / "train" / f"a.{extension}", source / kind / "test" / f"d.{extension}")
    text = message(source)
    assert "train/a.jpg" in text
    assert "test/d.jpg" in text
    assert "are one file, in the splits" in text
    assert len(listing(source, split=DEFAULT_SHARES).sources) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("Train", "Val", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "valid", "TEST"),
        ("train", "dev", "test"),
        ("Training", "Evaluation", "Testing"),
        ("train2017", "val2017", "test2017"),
        ("train-2012", "eval_2012", "test 2012"),
        ("town/train", "town/val", "town/test"),
    ],
)
def test_folders_of_splits_are_understood(tmp_path, words):
    pairs(tmp_path, *(f"{word}/a" for word in words))
    assert splits(tmp_path) == {f"{word}/a": split for word, split in zip(words, SPLITS, strict=True)}
    for word in words:
        if "/" not in word:
            (tmp_path / "first" / word).mkdir(parents=True)
            for kind in ("images", "masks"):
                (tmp_path / kind / word).rename(tmp_path / "first" / word / kind)
    if (tmp_path / "first").exists():
        assert splits(tmp_path / "first") == {f"{word}/a": split for word, split in zip(words, SPLITS, strict=True)}


@pytest.mark.parametrize(
    "word",
    ["train_old", "holdout", "hold-out", "test2", "fold1", "fold_2", "trainval", "ValSet", "trainA", "TestSplit",
     "old-train", "split3", "validation_images", "tests"],
)  # fmt: skip
def test_a_folder_that_may_be_a_split_is_asked_about(tmp_path, word):
    for others in ([], ["train/a", "val/a", "test/a"]):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        source = pairs(tmp_path / "in", f"{word}/a", *others)
        text = message(source)
        assert f"images/{word}/a.jpg is in the folder {word}, which may stand for a split" in text
        assert "rename" in text
        assert "--split train=0.8,eval=0.1,test=0.1" in text
        assert len(splits(source, split=DEFAULT_SHARES)) == 1 + len(others)


def test_short_words_are_asked_about_if_there_are_several(tmp_path):
    assert "which may stand for a split" in message(pairs(tmp_path / "in", "tr/a", "Te/b", "x/c"))
    assert splits(pairs(tmp_path / "one", "tr/a", "de/b"))  # As of countries.
    assert len(splits(pairs(tmp_path / "below", "train/tr/a", "val/te/b", "test/c"))) == 3


@pytest.mark.parametrize("names", ["train/test/a", "fold1/train/a"])
def test_folders_that_contradict_each_other_are_asked_about(tmp_path, names):
    assert "may stand for a split" in message(pairs(tmp_path, names, "val/b", "test/c"))


def test_other_folders_stay_folders(tmp_path):
    names = [
        "Berlin/a",
        "Valencia/a",
        "trains/x/a",
        "latest/a",
        "contest/a",
        "2017/a",
        "part1/a",
        "Trento/a",
        "device/a",
    ]
    names.remove("trains/x/a")
    pairs(tmp_path, *names)
    assert splits(tmp_path) == {name: split_of(name, DEFAULT_SHARES) for name in names}
    pairs(tmp_path / "below", "train/fold1/a", "val/test_tube/a", "test/a")  # Below a split, a folder has any name.
    assert set(splits(tmp_path / "below").values()) == set(SPLITS)


def test_split_deals_only_the_splits_that_it_names(tmp_path):
    source = pairs(
        tmp_path, *(f"train/{index:02d}" for index in range(40)), *(f"test/{index:02d}" for index in range(5))
    )
    shares = {"train": 0.9, "eval": 0.1}
    found = splits(source, split=shares)
    assert {name: split for name, split in found.items() if name.startswith("test")} == dict.fromkeys(
        (f"test/{index:02d}" for index in range(5)), "test"
    )
    assert {name: split for name, split in found.items() if name.startswith("train")} == {
        f"train/{index:02d}": split_of(f"train/{index:02d}", shares) for index in range(40)
    }
    anew = splits(source, split=DEFAULT_SHARES)
    assert anew == {name: split_of(name, DEFAULT_SHARES) for name in anew}


@pytest.mark.parametrize(("words", "missing"), [(("train", "test"), "eval"), (("train", "val"), "test")])
def test_the_message_for_a_missing_split_has_shares_that_work(tmp_path, words, missing):
    source = pairs(tmp_path, *(f"{word}/{index:02d}" for word in words for index in range(40)))
    reader = MaskFolderReader(folder=str(source), classes=("a", "b"))
    text = reader.fill_splits(reader.listing().sources)
    assert "only; to divide the images of train by a hash, --split train=" in text
    shares = parse_shares(text.partition("--split train=")[2].partition(" ")[0].join(["train=", ""]))
    assert set(shares) == {"train", missing}
    assert set(splits(source, split=shares).values()) == set(SPLITS)


def test_the_message_for_few_images_has_shares_that_work(tmp_path):
    names = [name for index in range(60) if split_of(name := f"cat_{index}", DEFAULT_SHARES) != "test"]
    source = pairs(tmp_path, *names)
    assert set(splits(source).values()) == {"train", "eval"}
    reader = MaskFolderReader(folder=str(source), classes=("a", "b"))
    text = reader.fill_splits(reader.listing().sources)
    shares = parse_shares("train=" + text.partition("--split train=")[2].partition(" ")[0])
    found = list(splits(source, split=shares).values())
    assert f"gives {', '.join(f'{found.count(split)} for {split}' for split in SPLITS)}" in text
    assert all(split in found for split in SPLITS)


@pytest.mark.parametrize(
    ("image", "mask", "options"),
    [
        ("{}.jpg", "{}_mask.png", {"mask_suffix": "_mask"}),
        ("{}.jpg", "mask_{}.png", {"mask_prefix": "mask_"}),
        ("{}_left.png", "{}_gtFine_labelIds.png", {"image_suffix": "_left", "mask_suffix": "_gtFine_labelIds"}),
        ("img_{}.png", "mask_{}.png", {"image_prefix": "img_", "mask_prefix": "mask_"}),
        ("{} image.png", "{}.png", {"image_suffix": " image"}),
        ("{}.tif", "{}_seg.tif", {"mask_suffix": "_seg"}),
        ("{}.jpg", "{}-label.png", {"mask_suffix": "-label"}),
        ("{}.jpg", "{}matte.png", {"mask_suffix": "matte"}),
        ("{}.jpg", "GT_{}_L.png", {"mask_prefix": "GT_", "mask_suffix": "_L"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "names", [[f"{index:03d}" for index in range(40)], ["aachen/1_019", "bonn/7_2", "ulm/a", "ulm/b"]]
)
def test_the_message_has_seen_the_pattern(tmp_path, image, mask, options, names):
    source = pairs(tmp_path, *names, image=image, mask=mask)
    text = message(source)
    flags = " ".join(f"--{key.replace('_', '-')} {value!r}" for key, value in options.items()).replace("'", "")
    assert f"{len(names)} images, {len(names)} masks, none pair; " in text
    assert text.replace("'", "").endswith(f": {flags}")
    found = listing(source, **options)
    assert [one.source_id for one in found.sources] == names
    assert found.set_aside == []


def test_the_message_is_that_of_the_issue(tmp_path):
    source = pairs(tmp_path, *(f"{index:03d}" for index in range(40)), mask="{}_mask.png")
    assert message(source) == ("40 images, 40 masks, none pair; the masks' names end in _mask: --mask-suffix _mask")
    assert "--mask-suffix _mask" in message(source, mask_suffix="_msk")


def test_of_several_kinds_of_masks_the_one_with_labels_is_proposed(tmp_path):
    source = pairs(tmp_path, "a_1", "b_2", "c_3", image="{}_leftImg8bit.png", mask="{}_gtFine_color.png")
    for name in ("a_1", "b_2", "c_3"):
        files(source, f"masks/{name}_gtFine_labelIds.png", f"masks/{name}_gtFine_polygons.json")
    assert message(source).endswith("--image-suffix _leftImg8bit --mask-suffix _gtFine_labelIds")
    found = listing(source, image_suffix="_leftImg8bit", mask_suffix="_gtFine_labelIds")
    assert [one.source_id for one in found.sources] == ["a_1", "b_2", "c_3"]
    assert {entry.reason for entry in found.ignored} == {"its name lacks the prefix or suffix", "not an image file"}


def test_images_and_masks_may_lie_side_by_side(tmp_path):
    source = pairs(tmp_path, "a", "b", "é", mask="{}_mask.png", images=".", masks=".")
    files(source, "labels.yaml")
    assert message(source).endswith(
        "In " + str(source) + " they are side by side: --images . --masks . --mask-suffix _mask"
    )
    assert message(source, images=".", masks=".").endswith("tell them apart: --mask-suffix _mask")
    found = listing(source, images=".", masks=".", mask_suffix="_mask")
    assert [one.source_id for one in found.sources] == ["a", "b", "é"]
    assert [entry.reason for entry in found.ignored] == ["not an image file"]
    assert found.set_aside == []


def test_images_and_masks_side_by_side_in_folders_of_splits_are_noticed(tmp_path):
    source = pairs(
        tmp_path, "train/a", "val/b", "test/c", image="{}_sat.jpg", mask="{}_mask.png", images=".", masks="."
    )
    options = "--images . --masks . --image-suffix _sat --mask-suffix _mask"
    assert message(source).endswith(options)
    found = splits(source, images=".", masks=".", image_suffix="_sat", mask_suffix="_mask")
    assert found == {"train/a": "train", "val/b": "eval", "test/c": "test"}


def test_other_folders_are_proposed_together_with_the_naming(tmp_path):
    named = {"image": "{}_leftImg8bit.png", "mask": "{}_gtFine_labelIds.png"}
    source = pairs(tmp_path, "b/1", "c/2", images="leftImg8bit", masks="gtFine", **named)
    naming = "--image-suffix _leftImg8bit --mask-suffix _gtFine_labelIds"
    assert message(source).endswith(f": --images leftImg8bit --masks gtFine {naming}")


def test_leading_zeros_are_no_pattern(tmp_path):
    for index in range(30):
        files(tmp_path, f"images/{index}.jpg", f"masks/{index:03d}.png")
    assert listing(tmp_path).sources == []


def test_masks_may_lie_in_a_folder_of_the_images(tmp_path):
    source = pairs(tmp_path, "a", "b", images=".", masks="masks")
    assert [one.source_id for one in listing(source, images=".").sources] == ["a", "b"]


@pytest.mark.parametrize(
    ("images", "masks"),
    [("imgs", "labels"), ("JPEGImages", "SegmentationClass"), ("images", "annotations"), ("Image", "GT")],
)
def test_other_folders_are_proposed(tmp_path, images, masks):
    source = pairs(tmp_path, "a", images=images, masks=masks)
    (source / "docs").mkdir()
    text = message(source)
    assert "docs/" in text
    assert text.endswith(f"--images {images} --masks {masks}")
    assert splits(source, images=images, masks=masks) == splits(source, images=images.lower(), masks=masks.lower())


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({"train": "trainannot", "val": "valannot", "test": "testannot"}, ["eval", "test", "train"]),
        ({"train_images": "train_masks", "val_images": "val_masks"}, ["eval", "train"]),
        ({"x_train": "y_train", "x test": "y test"}, ["test", "train"]),
        ({"Train": "Train_Labels", "Validation": "Validation_Labels"}, ["eval", "train"]),
    ],
)
def test_folders_of_each_split_and_kind_can_be_linked(tmp_path, folders, expected):
    source = tmp_path / "my data"
    for images, masks in folders.items():
        pairs(source, "a", "b", images=images, masks=masks)
    text = message(source)
    subprocess.run(text.partition("links will do: ")[2], shell=True, check=True)
    assert sorted(set(splits(source).values())) == expected


def test_a_folder_too_high_up_is_noticed(tmp_path):
    pairs(tmp_path / "splits" / "zip" / "data" / "train", "a")
    assert message(tmp_path / "splits").endswith(f"{tmp_path}/splits/zip/data has such folders: give that as SOURCE")
    assert splits(tmp_path / "splits" / "zip" / "data") == {"train/a": "train"}
    pairs(tmp_path / "plain" / "zip" / "data", "a")
    assert message(tmp_path / "plain").endswith(f"{tmp_path}/plain/zip/data has such folders: give that as SOURCE")


def test_two_folders_that_differ_only_in_case_are_an_error(tmp_path):
    source = pairs(tmp_path, "a", images="Images")
    files(source, "IMAGES/b.jpg")
    assert "has the folders IMAGES and Images" in message(source)
    files(source, "images/c.jpg", "masks/c.png")
    assert "c" in splits(source)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_unicode_forms_are_one_name(tmp_path, forms):
    for name in ("straße/é", "ñ", "각"):
        image, mask = (unicodedata.normalize(form, name) for form in forms)
        files(tmp_path, f"images/{image}.jpg", f"masks/{mask}.png")
    assert list(splits(tmp_path)) == ["straße/é", "ñ", "각"]


def test_names_in_another_case_pair_if_nothing_else_could_be_meant(tmp_path):
    files(tmp_path, "images/A.JPG", "masks/a.png", "images/Town/B.jpg", "masks/town/b.PNG")
    assert list(splits(tmp_path)) == ["A", "Town/B"]
    files(tmp_path, "images/a.jpg")  # Which has that mask.
    found = listing(tmp_path)
    assert [pathlib.Path(one.image).name for one in found.sources] == ["B.jpg", "a.jpg"]
    assert [pathlib.Path(entry.input).name for entry in found.set_aside] == ["A.JPG"]


def test_words_for_one_split_pair(tmp_path):
    for image, mask in (("training", "train"), ("validation", "val"), ("testing", "Test")):
        files(tmp_path, f"images/{image}/a.jpg", f"masks/{mask}/a.png")
    assert splits(tmp_path) == {"testing/a": "test", "training/a": "train", "validation/a": "eval"}


def test_a_mask_may_be_called_like_the_file_of_its_image(tmp_path):
    files(tmp_path, "images/a.jpg", "masks/a.jpg.png", "images/b.v2.jpeg", "masks/b.v2.jpeg.png")
    assert list(splits(tmp_path)) == ["a", "b.v2"]


def test_other_files_are_ignored_and_counted(tmp_path):
    source = pairs(tmp_path, "a", "b")
    others = ["images/a.txt", "masks/a.json", "images/Thumbs.db", "images/.DS_Store", "masks/__MACOSX/images/._a.png",
              "images/.ipynb_checkpoints/a-checkpoint.jpg", "images/@eaDir/a.jpg"]  # fmt: skip
    files(source, *others)
    found = listing(source)
    assert len(found.sources) == 2
    assert found.set_aside == []
    assert sorted(entry.input for entry in found.ignored) == sorted(f"{source}/{other}" for other in others)


def test_a_kind_of_image_that_is_not_read_is_named(tmp_path):
    source = pairs(tmp_path, "a", image="{}.heic")
    found = listing(source)
    assert [entry.reason for entry in found.set_aside] == [
        f"no image {source}/images/a.*; {source}/images/a.heic is of a kind that is not read"
    ]


def test_images_without_masks_can_be_left_out(tmp_path):
    source = pairs(tmp_path, *"abcdef")
    files(source, "images/x.jpg", "images/y.jpg", "masks/z.png")
    strict, lenient = listing(source), listing(source, unlabeled="ignore")
    assert strict.sources == lenient.sources
    assert [pathlib.Path(entry.input).name for entry in strict.set_aside] == ["z.png", "x.jpg", "y.jpg"]
    assert "--unlabeled ignore" in strict.remedy
    assert [pathlib.Path(entry.input).name for entry in lenient.set_aside] == ["z.png"]
    assert [entry.reason for entry in lenient.ignored] == ["no mask", "no mask"]
    assert not lenient.remedy


def test_a_group_is_in_one_split(tmp_path):
    names = [f"p{patient}_{scan}" for patient in range(30) for scan in range(3)]
    source = pairs(tmp_path, *names)
    for pattern in (r"^p\d+", r"(p\d+)_", "(.*)_"):
        found = listing(source, group_by=pattern).sources
        assert {one.source_id: (one.group, one.split) for one in found} == {
            name: (name.partition("_")[0], split_of(name.partition("_")[0], DEFAULT_SHARES)) for name in names
        }
    assert {one.split for one in found} == set(SPLITS)


def test_a_group_does_not_depend_on_the_folder_of_the_split(tmp_path):
    source = pairs(tmp_path, "train/p1_a", "train/p1_b", "val/p2_a", "test/p3_a")
    assert [one.group for one in listing(source, group_by="^[^_]+").sources] == ["p3", "p1", "p1", "p2"]
    pairs(source, "test/p1_c")
    text = message(source, group_by="^[^_]+")
    assert "the group p1 is in two splits" in text
    assert "test/p1_c.jpg in test" in text
    assert "train/p1_a.jpg in train" in text
    shares = {"train": 0.9, "eval": 0.1}
    assert "the group p1 is in two splits" in message(source, group_by="^[^_]+", split=shares)
    anew = {one.group: one.split for one in listing(source, group_by="^[^_]+", split=DEFAULT_SHARES).sources}
    assert anew == {group: split_of(group, DEFAULT_SHARES) for group in ("p1", "p2", "p3")}


def test_a_name_without_group_is_named(tmp_path):
    source = pairs(tmp_path, "p1_a", "other")
    assert r"--group-by p\d+ finds no group in other" in message(source, group_by=r"p\d+")
    assert "finds no group in other" in message(source, group_by="p?")
    assert "finds no group in p1_a" in message(source, group_by="(other)|p")
    for pattern in ("(", "*", "[a"):
        with pytest.raises(ValueError, match="is not a regular expression"):
            MaskFolderReader(folder="x", classes=("a", "b"), group_by=pattern)


def test_a_pattern_that_takes_years_is_stopped(tmp_path):
    source = pairs(tmp_path, "a" * 60)
    start = time.process_time()
    assert "takes more than 1 second for aaa" in message(source, group_by="(a|a|aa)+b")
    assert time.process_time() - start < 20


@pytest.mark.parametrize("way", ["{}", "{}.jpg", "images/{}.jpg", "./images/{}.jpg", "/{}"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_groups_may_come_from_a_table(tmp_path, way, delimiter):
    names = ["x/1", "x/2", "é", "4"]
    way = way.removeprefix("/")
    source = pairs(tmp_path / "in", *(unicodedata.normalize("NFD", name) for name in names))
    rows = [
        ["age", "image", "patient"],
        *([str(9 + at), way.format(name), f"p{at // 2}"] for at, name in enumerate(names)),
    ]
    table = tmp_path / "patients.csv"
    table.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", encoding="utf-8-sig")
    found = listing(source, groups=f"{table}:patient").sources
    assert {one.source_id: one.group for one in found} == dict(zip(names, ["p0", "p0", "p1", "p1"], strict=True))


def test_a_table_that_lacks_something_is_named(tmp_path):
    source, table = pairs(tmp_path / "in", "a", "b", "x/c"), tmp_path / "t.csv"

    def with_table(text, column="patient"):
        table.write_text(text)
        return message(source, groups=f"{table}:{column}")

    assert "no row for images/x/c.jpg (its column image names 2 of 3 images)" in with_table("image,patient\na,1\nb,2\n")
    assert "no column names images" in with_table("image,patient\nq,1\n")
    assert "no column nobody; its columns are image, patient" in with_table("image,patient\na,1\n", "nobody")
    assert "a row of" in with_table("image,patient\na,1,2\n")
    assert "1 and 2 as patient of images/a.jpg" in with_table("image,patient\na,1\na,2\nb,1\nc,1\n")
    assert "an empty cell" in with_table("image,patient\na,\nb,1\nc,1\n")
    assert "both name images" in with_table("image,patient,mask\na,1,b\nb,2,a\nc,1,c\n")
    assert "cannot read" in message(source, groups=f"{tmp_path}/nowhere.csv:patient")
    for groups in ("t.csv", ":patient", "t.csv:"):
        with pytest.raises(ValueError, match="name the column too"):
            MaskFolderReader(folder="x", classes=("a", "b"), groups=groups)
    with pytest.raises(ValueError, match="not both"):
        MaskFolderReader(folder="x", classes=("a", "b"), groups="t.csv:a", group_by="a")


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?", "[ab]", "{x}", "a b", "#1", "%41", "~", "-"])
def test_paths_may_have_any_character(tmp_path, name):
    source = pairs(tmp_path / name, f"{name}/{name}", name)
    assert sorted(splits(source)) == sorted([f"{name}/{name}", name])
    assert json.dumps(splits(source))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"images": "../x"}, "a folder below SOURCE"),
        ({"masks": "/x"}, "a folder below SOURCE"),
        ({"mask_suffix": "_mask.png"}, "without the extension: _mask"),
        ({"mask_prefix": "a/b"}, "without folders"),
    ],
)
def test_a_wrong_option_has_a_clear_message(options, text):
    with pytest.raises(ValueError, match=text):
        MaskFolderReader(folder="x", classes=("a", "b"), **options)


def numbered(folder, masks=None):
    """An image with two objects and a crowd, and a mask of the objects' numbers."""
    numbers = np.zeros([6, 9], np.uint16)
    numbers[:3, :4], numbers[:3, 4:], numbers[4, :] = 700, 9, 65535
    for kind in ("images", "instances", "masks"):
        (folder / kind).mkdir(parents=True)
    Image.new("RGB", (9, 6)).save(folder / "images" / "one.png")
    Image.fromarray(numbers).save(folder / "instances" / "one.png")
    Image.fromarray(np.zeros([6, 9], np.uint8) if masks is None else masks).save(folder / "masks" / "one.png")
    return numbers


def read_one(folder, **options):
    reader = MaskFolderReader(folder=str(folder), objects="instances", **options)
    found = reader.listing()
    assert found.ignored == []
    (source,) = found.sources
    return reader.read(source)


def test_objects_alone_are_of_the_second_class(tmp_path):
    numbers = numbered(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    found = read_one(tmp_path, masks="instances", classes=("background", "nucleus"))
    assert np.array_equal(found.class_ids, numbers > 0)
    assert np.array_equal(found.instances, np.select([numbers == 9, numbers == 700], [1, 2], numbers.astype(int)))


def test_objects_beside_masks_have_the_classes_of_these(tmp_path):
    masks = np.zeros([6, 9], np.uint8)
    masks[:3, :4], masks[:3, 4:], masks[4] = 1, 2, 2
    numbers = numbered(tmp_path, masks)
    found = read_one(tmp_path, classes=("ground", "car", "person"))
    assert np.array_equal(found.class_ids, masks)
    assert np.array_equal(found.instances, np.select([numbers == 9, numbers == 700], [1, 2], numbers.astype(int)))


def test_objects_that_do_not_belong_to_the_mask_are_told(tmp_path):
    numbered(tmp_path, np.eye(6, 9, dtype=np.uint8))
    with pytest.raises(BadImageError, match="are of another class"):
        read_one(tmp_path, classes=("ground", "car", "person"))


def test_masks_of_objects_must_be_there(tmp_path):
    numbered(tmp_path)
    shutil.copy(tmp_path / "images" / "one.png", tmp_path / "images" / "two.png")
    shutil.copy(tmp_path / "masks" / "one.png", tmp_path / "masks" / "two.png")
    found = MaskFolderReader(folder=str(tmp_path), objects="instances", classes=("a", "b")).listing()
    assert [one.reason for one in found.set_aside if one.input.endswith("two.png")] == [
        "no mask of its objects in instances"
    ]
    with pytest.raises(ValueError, match="is for two classes"):
        MaskFolderReader(folder=str(tmp_path), masks="instances", objects="instances", classes=("a", "b", "c"))


def test_outlines_drawn_twice_may_differ_a_little(tmp_path):
    masks = np.zeros([6, 9], np.uint8)
    masks[:3, :4], masks[:3, 4:] = 1, 2
    numbers = numbered(tmp_path, masks)
    masks[2, 0], masks[0, 4] = 0, 1
    Image.fromarray(masks).save(tmp_path / "masks" / "one.png")
    found = read_one(tmp_path, classes=("ground", "car", "person"))
    differ = np.zeros([6, 9], bool)
    differ[2, 0] = differ[0, 4] = True
    assert np.array_equal(found.class_ids, masks)
    # Each object has one class, as the data gate wants it.
    expected = np.where(differ, 0, np.select([numbers == 9, numbers == 700], [1, 2], numbers.astype(int)))
    assert np.array_equal(found.instances, expected)


def test_objects_in_colors_are_no_crowds_and_what_is_transparent_is_none(tmp_path):
    numbered(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    pixels = np.zeros([6, 9, 4], np.uint8)
    pixels[..., 0] = 9
    pixels[:3, :4], pixels[:3, 4:] = (0, 255, 255, 255), (255, 0, 0, 255)  # The first is 65535 if read as a number.
    Image.fromarray(pixels).save(tmp_path / "instances" / "one.png")
    found = read_one(tmp_path, masks="instances", classes=("background", "nucleus"))
    assert sorted(np.unique(found.instances)) == [0, 1, 2]
    assert np.array_equal(found.instances > 0, pixels[..., 3] > 0)


@pytest.mark.parametrize("mode", ["RGB", "adaptive", "black last"])
def test_colors_of_objects_may_be_in_a_palette(tmp_path, mode):
    numbered(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    pixels = np.zeros([6, 9, 3], np.uint8)
    pixels[:3, :3], pixels[4:, :8] = (255, 0, 0), (0, 255, 0)
    image = Image.fromarray(pixels)
    if mode == "adaptive":
        image = image.quantize(4)
    elif mode == "black last":
        places = np.full([6, 9], 2, np.uint8)
        places[:3, :3], places[4:, :8] = 0, 1
        image = Image.fromarray(places, "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 0])
    image.save(tmp_path / "instances" / "one.png")
    found = read_one(tmp_path, masks="instances", classes=("background", "nucleus"))
    assert np.array_equal(found.class_ids, pixels.any(axis=-1))
    assert len(np.unique(found.instances)) == 3


def test_numbers_with_a_palette_without_black_are_numbers(tmp_path):
    numbered(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    numbers = np.zeros([6, 9], np.uint8)
    numbers[:3, :3] = 1
    image = Image.fromarray(numbers, "P")
    image.putpalette([31, 119, 180, 174, 199, 232])
    image.save(tmp_path / "instances" / "one.png")
    found = read_one(tmp_path, masks="instances", classes=("background", "nucleus"))
    assert np.array_equal(found.instances, numbers)


def test_gaps_between_objects_may_have_their_class(tmp_path):
    numbered(tmp_path, np.ones([6, 9], np.uint8))
    numbers = np.zeros([6, 9], np.uint16)
    numbers[:, :4], numbers[:, 5:] = 1, 2
    Image.fromarray(numbers).save(tmp_path / "instances" / "one.png")
    found = read_one(tmp_path, classes=("ground", "cell"))
    assert np.array_equal(found.instances, numbers)


def test_compressed_masks_of_objects_are_set_aside(tmp_path):
    numbers = numbered(tmp_path)
    (tmp_path / "instances" / "one.png").unlink()
    Image.fromarray(((numbers % 251) > 0).astype(np.uint8) * 200).save(tmp_path / "instances" / "one.jpg")
    with pytest.raises(BadImageError, match="the mask of its objects: its compression changes values"):
        read_one(tmp_path, classes=("ground", "car"))


def test_what_is_wrong_with_the_masks_of_objects_is_told_once(tmp_path):
    numbered(tmp_path)
    for kind in ("images", "masks"):
        shutil.copy(tmp_path / kind / "one.png", tmp_path / kind / "two.png")
        shutil.copy(tmp_path / kind / "one.png", tmp_path / kind / f"alone_in_{kind}.png")
    objects = tmp_path / "instances"
    (objects / "two.png").symlink_to(tmp_path / "nothing")
    shutil.copy(objects / "one.png", objects / "three.png")
    shutil.copy(objects / "one.png", objects / "one.tif")
    (objects / "notes.txt").write_text("drawn by hand")
    found = MaskFolderReader(folder=str(tmp_path), objects="instances", classes=("a", "b")).listing()
    assert [source.source_id for source in found.sources] == ["one"]
    told = sorted((os.path.relpath(one.input, tmp_path), one.reason.split(str(tmp_path))[0]) for one in found.set_aside)
    assert told == [
        ("images/alone_in_images.png", "no mask "),
        ("images/two.png", ""),
        ("instances/one.tif", "duplicate name one: already taken by "),
        ("instances/three.png", "no image "),
        ("masks/alone_in_masks.png", "no image "),
    ]
    (link,) = (one.reason for one in found.set_aside if one.input.endswith("two.png"))
    assert link.endswith("instances/two.png is a link to " + f"{tmp_path}/nothing, where nothing is")
    assert [(os.path.relpath(one.input, tmp_path), one.reason) for one in found.ignored] == [
        ("instances/notes.txt", "not an image file")
    ]


@pytest.mark.parametrize("is_split_first", [False, True])
def test_a_folder_of_objects_beside_the_masks_is_recognized(tmp_path, is_split_first):
    def place(kind, split):
        return tmp_path / split / kind if is_split_first else tmp_path / kind / split

    numbers = np.zeros([6, 9], np.uint16)
    numbers[:3, :4], numbers[:3, 4:] = 700, 9
    for split in ("train", "val", "test"):
        for kind in ("images", "masks", "instances"):
            place(kind, split).mkdir(parents=True)
        for index in range(3):
            Image.effect_noise((9, 6), 90).save(place("images", split) / f"{index}.png")
            Image.fromarray((numbers > 0).astype(np.uint8)).save(place("masks", split) / f"{index}.png")
            Image.fromarray(numbers).save(place("instances", split) / f"{index}.png")
    recognized = recognize(str(tmp_path))
    assert (recognized.format, recognized.options) == ("mask-folder", {"objects": "instances"})
    assert "instances/ numbers the objects" in recognized.reasons
    labeled = recognized.reader.read(recognized.listing.sources[0])
    assert np.array_equal(labeled.instances, np.select([numbers == 9, numbers == 700], [1, 2], 0))
    (place("instances", "val") / "1.png").unlink()
    assert recognize(str(tmp_path)).options == {}
    # Pictures for people.
    for split in ("train", "val", "test"):
        for path in place("instances", split).iterdir():
            path.rename(path.with_suffix(".jpg"))
    assert recognize(str(tmp_path)).options == {}


@pytest.mark.parametrize(("count", "is_read"), [(65534, True), (65535, False)])
def test_as_many_objects_as_16_bits_can_tell(tmp_path, count, is_read):
    numbers = np.zeros([256, 512], np.int32)
    numbers.ravel()[: 2 * count : 2] = np.arange(count) * 3 + 100_000
    for kind, pixels in (("images", np.zeros([256, 512], np.uint8)), ("instances", numbers)):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / "one.tif")
    options = {"masks": "instances", "classes": ("background", "nucleus")}
    if is_read:
        found = read_one(tmp_path, **options)
        assert len(np.unique(found.instances)) == count + 1
        assert not (found.instances == 65535).any()
    else:
        with pytest.raises(BadImageError, match="more than 65534 objects"):
            read_one(tmp_path, **options)


def test_negative_numbers_are_no_objects(tmp_path):
    numbers = np.zeros([6, 9], np.int32)
    numbers[:3], numbers[4] = 7, -1
    for kind, pixels in (("images", np.zeros([6, 9], np.uint8)), ("instances", numbers)):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / "one.tif")
    with pytest.raises(BadImageError, match="its objects: it has negative numbers"):
        read_one(tmp_path, masks="instances", classes=("background", "nucleus"))
