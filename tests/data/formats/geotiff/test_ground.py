"""Ground is divided so that windows of two splits never lie on or beside the same ground."""

import collections

import numpy as np
import pytest

from data.base.errors import UserError
from data.formats.geotiff.reader import GeotiffReader
from tests.data.formats.geotiff.rasters import LEFT, PIXEL, TOP, noise, rectangle, write_geojson, write_scene

SIDE = 16


def listed(folder, **options):
    reader = GeotiffReader.model_validate({"folder": str(folder), "classes": "a,b", "window": SIDE, **options})
    return reader.listing()


def places(listing):
    """Split, scene, row and column of each window."""
    found = []
    for source in listing.sources:
        scene, row, column = source.source_id.rsplit("_", 2)
        found.append((source.split, scene, int(row[1:]), int(column[1:])))
    return found


def least_distance(listing, one, other):
    """Pixels between the nearest windows of two splits, along the axis on which they are farther apart."""
    first, second = (np.array([place[2:] for place in places(listing) if place[0] == split]) for split in (one, other))
    return (abs(first[:, np.newaxis] - second).max(axis=-1) - SIDE).min()


@pytest.mark.parametrize(("gap", "overlap"), [(None, 0), (0, 0), (5, 8), (40, 8)])
def test_windows_of_different_blocks_are_a_gap_apart(tmp_path, gap, overlap):
    write_scene(tmp_path, height=320, width=320)
    gap_option = {} if gap is None else {"gap": gap}
    found = listed(tmp_path, split="train=0.4,eval=0.3,test=0.3", overlap=overlap, block=64, **gap_option)
    splits = collections.Counter(source.split for source in found.sources)
    assert set(splits) == {"train", "eval", "test"}
    wanted = SIDE if gap is None else gap
    for one, other in (("train", "eval"), ("train", "test"), ("eval", "test")):
        assert least_distance(found, one, other) >= wanted
    left_out = [entry for entry in found.ignored if "border between splits" in entry.reason]
    assert len(left_out) + len(found.sources) == len(range(0, 305, SIDE - overlap)) ** 2


def test_the_gap_is_taken_from_train(tmp_path):
    write_scene(tmp_path, height=32, width=160)
    found = listed(tmp_path, split_by="west-east", split="train=0.6,test=0.4", gap=16)
    columns = {split: {place[3] for place in places(found) if place[0] == split} for split in ("train", "test")}
    assert columns == {"train": {0, 16, 32, 48, 64}, "test": {96, 112, 128, 144}}


def test_the_same_ground_at_two_dates_is_in_one_split(tmp_path):
    write_scene(tmp_path, "may", height=320, width=320)
    # Cut out of the same ground elsewhere, and in another projection of it.
    write_scene(tmp_path, "june", height=160, width=160, left=LEFT + 128 * PIXEL, top=TOP - 64 * PIXEL)
    found = listed(tmp_path, split="train=0.5,eval=0.25,test=0.25", block=64, gap=0)
    of_may = {(row, column): split for split, scene, row, column in places(found) if scene == "may"}
    of_june = {(row + 64, column + 128): split for split, scene, row, column in places(found) if scene == "june"}
    shared = of_may.keys() & of_june.keys()
    assert len({of_may[place] for place in shared}) == 3
    assert all(of_may[place] == of_june[place] for place in shared)


def test_a_place_stays_in_its_split_when_scenes_are_added(tmp_path):
    write_scene(tmp_path, "b", height=192, width=192)
    before = {source.source_id: source.split for source in listed(tmp_path, gap=0, block=32).sources}
    write_scene(tmp_path, "c", height=192, width=192, left=LEFT + 1920)
    after = {source.source_id: source.split for source in listed(tmp_path, gap=0, block=32).sources}
    assert before.items() <= after.items()


def test_another_crs_is_compared_on_the_same_ground(tmp_path):
    from rasterio.warp import transform

    write_scene(tmp_path, "a", height=320, width=320)
    (left,), (top,) = transform("EPSG:32633", "EPSG:3857", [LEFT], [TOP])
    # There, ten meters are about 14.
    write_scene(tmp_path, "web", height=320, width=320, crs="EPSG:3857", left=left, top=top, pixel=14.0)
    found = listed(tmp_path, split="train=0.5,eval=0.25,test=0.25", block=80, gap=0)
    of_a, of_web = (
        {place[2:]: place[0] for place in places(found) if place[1] == name and max(place[2:]) < 280}
        for name in ("a", "web")
    )
    shared = of_a.keys() & of_web.keys()
    assert len(shared) > 50
    assert np.mean([of_a[place] == of_web[place] for place in shared]) == 1


def test_strips_are_in_the_order_of_the_shares(tmp_path):
    write_scene(tmp_path, height=160, width=64)
    south = listed(tmp_path, split_by="north-south", split="train=0.5,eval=0.2,test=0.3", gap=0)
    rows = {split: {place[2] for place in places(south) if place[0] == split} for split in ("train", "eval", "test")}
    assert rows == {"train": {0, 16, 32, 48, 64}, "eval": {80, 96}, "test": {112, 128, 144}}
    north = listed(tmp_path, split_by="north-south", split="test=0.3,eval=0.2,train=0.5", gap=0)
    assert {place[2] for place in places(north) if place[0] == "test"} == {0, 16, 32}
    assert not {source.group for source in north.sources} - {""}


def test_drawn_areas_are_the_splits(tmp_path):
    write_scene(tmp_path, height=64, width=160)
    drawn = [rectangle(0, 0, 80, 64), rectangle(80, 0, 112, 64), rectangle(112, 0, 152, 64)]
    areas = write_geojson(tmp_path / "areas.geojson", drawn, split=["train", "eval", "test"])
    found = listed(tmp_path, split_by=str(areas), gap=8)
    columns = {split: {place[3] for place in places(found) if place[0] == split} for split in ("train", "eval", "test")}
    # Of test 144 to 160 is only partly inside; of train 64 and of eval 96 are in the gap.
    assert columns == {"train": {0, 16, 32, 48}, "eval": {80}, "test": {112, 128}}


def test_an_area_may_cross_itself(tmp_path):
    write_scene(tmp_path, height=64, width=160)
    first, second, third, fourth = rectangle(0, 0, 80, 64)
    drawn = [[first, third, second, fourth], rectangle(0, 0, 16, 64), rectangle(80, 0, 160, 64)]
    areas = write_geojson(tmp_path / "areas.geojson", drawn, split=["train", "train", "test"])
    found = listed(tmp_path, split_by=str(areas), gap=0)
    columns = {split: {place[3] for place in places(found) if place[0] == split} for split in ("train", "test")}
    assert columns["train"] >= {0}
    assert columns["test"] == {80, 96, 112, 128, 144}


@pytest.mark.parametrize(
    ("splits", "drawn", "says"),
    [
        (["train", "trian"], [(0, 0, 9, 9), (9, 0, 20, 9)], "'trian'; it may be train, eval or test"),
        (["train", "test"], [(0, 0, 9, 9), (8, 0, 20, 9)], "areas of train and test overlap"),
    ],
)
def test_areas_that_do_not_say_which_split(tmp_path, splits, drawn, says):
    write_scene(tmp_path)
    areas = write_geojson(tmp_path / "areas.geojson", [rectangle(*one) for one in drawn], split=splits)
    with pytest.raises(UserError, match=says):
        listed(tmp_path, split_by=str(areas))


def test_folders_of_splits_count_more_than_the_ground(tmp_path):
    for split in ("train", "val", "test"):
        write_scene(tmp_path, f"{split}/a", left=LEFT if split != "test" else 0.0)
    found = listed(tmp_path)
    assert {place[:2] for place in places(found)} == {("train", "train/a"), ("eval", "val/a"), ("test", "test/a")}


def test_folders_of_splits_on_the_same_ground_are_warned_of(tmp_path, caplog):
    for index, name in enumerate(("train/a", "train/b", "eval/c", "test/d")):
        write_scene(tmp_path, name, height=64, width=64, left=LEFT + index * 64 * PIXEL)
    listed(tmp_path)
    assert not caplog.text  # Neighbors touch.
    write_scene(tmp_path, "test/e", height=64, width=32, left=LEFT + 8 * PIXEL)
    write_scene(tmp_path, "test/f", height=64, width=64, left=LEFT + 32 * PIXEL)
    found = listed(tmp_path)
    assert {source.split for source in found.sources} == {"train", "eval", "test"}
    (said,) = caplog.messages
    assert f"{tmp_path}/images/test/e.tif (test) and {tmp_path}/images/train/a.tif (train) share 100%" in said
    assert "4 of 6 scenes" in said
    assert "--split train=0.8,eval=0.1,test=0.1 divides the ground" in said
    caplog.clear()
    listed(tmp_path, split="train=0.8,eval=0.1,test=0.1")
    assert not caplog.text


def test_scenes_that_lie_nowhere_are_each_a_ground_of_its_own(tmp_path, caplog):
    for name in ("a", "b"):
        write_scene(tmp_path, name, height=160, width=160, crs=None, image=noise(160, 160))
    found = listed(tmp_path, split="train=0.4,eval=0.3,test=0.3", block=32, gap=0)
    assert "2 of 2 scenes, such as" in caplog.text
    assert "no CRS" in caplog.text
    splits = collections.defaultdict(dict)
    for split, scene, row, column in places(found):
        splits[scene][row, column] = split
    assert len(splits["a"]) == len(splits["b"]) == 100
    assert splits["a"] != splits["b"]


def test_too_few_blocks_say_what_to_do(tmp_path):
    write_scene(tmp_path)
    reader = GeotiffReader.model_validate({"folder": str(tmp_path), "classes": "a,b", "window": SIDE})
    assert "--split-by west-east" in reader.fill_splits(reader.listing().sources)


def test_strips_are_proposed_with_what_has_to_change(tmp_path):
    write_scene(tmp_path, height=64, width=200)
    reader = GeotiffReader.model_validate({"folder": str(tmp_path), "classes": "a,b", "window": SIDE})
    filling = {"split_by": "west-east", "split": {"train": 0.6, "eval": 0.24, "test": 0.16}}
    assert list(reader.fillings([])) == [filling]
    for options in ({"block": 32}, {"split_by": "north-south"}):
        assert not list(reader.model_copy(update=options).fillings([]))
