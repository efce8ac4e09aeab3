import pytest

from data.splits import parse_shares, split_of

SHARES = {"train": 0.8, "eval": 0.1, "test": 0.1}


def test_shares_are_kept_on_average():
    splits = [split_of(f"image_{index}", SHARES) for index in range(5000)]
    assert splits.count("train") / 5000 == pytest.approx(0.8, abs=0.02)
    assert splits.count("test") / 5000 == pytest.approx(0.1, abs=0.02)


def test_an_image_stays_in_its_split_forever():
    # Fixed answers: a change here would move images between the splits of data sets that exist.
    names = ("cat_1", "cat_2", "cat_3", "cat_4", "cat_35")
    assert [split_of(name, SHARES) for name in names] == ["train", "test", "eval", "train", "eval"]


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
