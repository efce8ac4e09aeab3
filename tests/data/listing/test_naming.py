"""How names of masks differ from those of images, found from the names."""

import hypothesis
import pytest
from hypothesis import strategies as st

from data.listing.naming import Affixes, Naming, find_naming
from data.listing.split_folders import looks_like_split, placing, split_of_word

AFFIX = st.text("abxyz_-. ", max_size=6)


@hypothesis.settings(max_examples=100, derandomize=True, database=None, deadline=None)
@hypothesis.given(
    st.lists(st.from_regex(r"([a-c]/)?[0-9]{2,5}", fullmatch=True), min_size=5, max_size=30, unique=True), AFFIX, AFFIX
)
def test_a_naming_is_found_that_pairs_all(cores, prefix, suffix):
    hypothesis.assume(prefix or suffix)
    truth = Affixes(prefix, suffix)
    masks = [truth.add(core) for core in cores]
    found = find_naming(cores, masks)
    assert found is not None
    assert {found.masks.add(found.images.cut(core)) for core in cores} == set(masks)
    # In one folder too, where half of the names are masks.
    assert find_naming(cores + masks, cores + masks) == found


def test_names_without_pattern_have_none():
    assert find_naming(["a", "b", "c"], ["1", "2", "3"]) is None
    assert find_naming([], []) is None
    assert find_naming(["a"], []) is None
    assert find_naming(["a", "b"], ["a", "b"]) is None


def test_affixes_are_cut_off_and_put_on():
    affixes = Affixes("mask_", "_x")
    assert affixes.cut("a/b/mask_1_x") == "a/b/1"
    assert affixes.add("a/b/1") == "a/b/mask_1_x"
    assert (affixes.cut("mask_1"), affixes.cut("mask__x"), affixes.cut("mask_x")) == ("", "", "")
    assert Naming(masks=Affixes("it's ", "")).options() == """--mask-prefix 'it'"'"'s '"""


@pytest.mark.parametrize(
    ("word", "split"),
    [("Train", "train"), ("VALID", "eval"), ("val2017", "eval"), ("test_2012", "test"), ("trains", ""), ("2017", "")],
)
def test_words_for_splits(word, split):
    assert split_of_word(word) == split


def test_looks_like_a_split():
    assert all(map(looks_like_split, ["train_old", "test2", "holdout", "hold_out", "fold1", "myTrainSet", "new val"]))
    assert not any(
        map(looks_like_split, ["contest", "latest", "valley", "trainer", "folder", "device", "scaffold", "1"])
    )


def test_the_outermost_folder_decides():
    assert placing("x/train/test_old/a").split == "train"
    assert placing("x/train/y/a").rest == "x/y/a"
    assert placing("train").split == ""
    assert placing("train/val/a").doubtful == "train/val"
    assert placing("fold1/train/a").doubtful == "fold1"
    assert placing("train/fold1/a").doubtful == ""


def test_a_naming_is_found_where_images_and_masks_alternate():
    names = sorted(f"{index:04}{suffix}" for index in range(1000) for suffix in ("", "_mask"))
    assert find_naming(names, names) == Naming(masks=Affixes("", "_mask"))
