import hypothesis
import pytest
from hypothesis import strategies as st

from data.splits import fold_of, parse_shares, share_text, split_of, working_shares

SHARES = {"train": 0.8, "eval": 0.1, "test": 0.1}


def test_shares_are_kept_on_average():
    splits = [split_of(f"image_{index}", SHARES) for index in range(5000)]
    assert splits.count("train") / 5000 == pytest.approx(0.8, abs=0.02)
    assert splits.count("test") / 5000 == pytest.approx(0.1, abs=0.02)


def test_an_image_stays_in_its_split_forever():
    # Fixed answers: a change here would move images between the splits of data sets that exist.
    names = ("cat_1", "cat_2", "cat_3", "cat_4", "cat_35")
    assert [split_of(name, SHARES) for name in names] == ["train", "test", "eval", "train", "eval"]


def test_an_image_stays_in_its_fold_forever():
    # Fixed answers: a change here would show models of a retraining what they are measured on.
    names = ("cat_1", "cat_2", "cat_3", "cat_4", "cat_35")
    assert [fold_of(name, 5) for name in names] == [3, 4, 4, 0, 0]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_folds_are_of_one_size_in_each_split(split):
    names = [name for index in range(20000) if split_of(name := f"image_{index}", SHARES) == split]
    folds = [fold_of(name, 5) for name in names]
    assert set(folds) == set(range(5))
    for fold in range(5):
        assert folds.count(fold) / len(names) == pytest.approx(0.2, abs=0.02)


def test_the_order_of_the_shares_does_not_matter():
    backwards = dict(reversed(SHARES.items()))
    names = [f"image_{index}" for index in range(100)]
    assert [split_of(name, backwards) for name in names] == [split_of(name, SHARES) for name in names]


@pytest.mark.parametrize("text", ["train=0.8", "train=1.2,eval=-0.2", "training=1", "train=0.5,train=0.5", "a"])
def test_wrong_shares_are_refused(text):
    with pytest.raises(ValueError, match=r"it takes shares such as|add up to"):
        parse_shares(text)


def test_parse_shares():
    assert parse_shares("train=0.8, eval=0.1,test=0.1") == SHARES


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_other_words_for_eval_are_understood(name):
    assert parse_shares(f"train=0.8,{name}=0.1,test=0.1") == SHARES
    with pytest.raises(ValueError, match="it takes shares such as"):
        parse_shares(f"train=0.8,{name}=0.1,eval=0.1")


@hypothesis.settings(max_examples=100, derandomize=True, database=None, deadline=None)
@hypothesis.given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=5, max_size=300),
    st.sampled_from([("train", "eval", "test"), ("train", "eval"), ("train", "test")]),
)
def test_working_shares_leave_no_split_empty(keys, splits):
    hypothesis.assume(len(set(keys)) >= 5)
    shares = working_shares(keys, splits)
    assert shares == working_shares(sorted(keys), splits)
    assert parse_shares(share_text(shares)) == shares
    assert {split_of(key, shares) for key in keys} == set(splits)


@hypothesis.settings(max_examples=50, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=4, max_size=60, unique=True))
def test_a_set_that_grows_moves_no_image(names):
    # The shares that were found for the first images hold for all that follow.
    shares = working_shares(names[:4])
    first: dict[str, str] = {}
    for size in range(4, len(names) + 1):
        found = {name: split_of(name, shares) for name in names[:size]}
        assert set(found.values()) == set(SHARES)
        assert found.items() >= first.items()
        first = found


@pytest.mark.parametrize("count", [*range(5, 80), 500])
def test_working_shares_are_near_the_usual_ones(count):
    keys = [f"img_{index}" for index in range(count)]
    shares = working_shares(keys)
    splits = [split_of(key, shares) for key in keys]
    for split, share in SHARES.items():
        assert splits.count(split) >= max(1, int(share * count / 2))
    usual = [split_of(key, SHARES) for key in keys]
    if all(usual.count(split) >= max(1, int(share * count / 2)) for split, share in SHARES.items()):
        assert shares == SHARES


def test_too_few_names_cannot_be_dealt():
    for keys in ([], ["a"], ["a", "b"], ["a", "b", "a"]):
        with pytest.raises(ValueError, match="3 splits need as many names or groups"):
            working_shares(keys)
