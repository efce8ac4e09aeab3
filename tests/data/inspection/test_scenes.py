"""Folders of scenes are recognized, with the classes that their masks hold."""

import numpy as np
import pytest

from data.base.errors import UserError
from data.inspection.recognize import recognize
from tests.data.formats.geotiff.rasters import LEFT, rectangle, write_geojson, write_scene


def test_scenes_with_rasters_as_masks(tmp_path):
    mask = np.random.default_rng(0).choice([0, 2, 5], [20, 20]).astype(np.uint8).repeat(32, 0).repeat(32, 1)
    for index in range(4):
        write_scene(tmp_path, f"scene_{index}", 640, 640, mask=mask, nodata=0, left=LEFT + index * 20_000)
    found = recognize(str(tmp_path))
    assert found.format == "geotiff"
    assert found.options["window"] == 128
    # 0 is the nodata value.
    assert found.labels is not None
    assert sorted(found.labels.values) == [2, 5]
    assert all(found.count(split) for split in ("train", "eval", "test"))
    assert any("EPSG:32633" in reason for reason in found.reasons)


def test_scenes_with_one_file_of_polygons(tmp_path):
    for index in range(4):
        write_scene(tmp_path, f"scene_{index}", 640, 640, left=LEFT + index * 20_000)
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    write_geojson(tmp_path / "roads.geojson", [rectangle(0, 0, 640, 640)])
    found = recognize(str(tmp_path), given={"split_by": "west-east", "split": "train=0.5,eval=0.25,test=0.25"})
    assert found.format == "geotiff"
    assert found.options["masks"] == "roads.geojson"
    assert found.label_map.names == ("background", "object")


@pytest.mark.parametrize(("height", "width", "by"), [(100, 110, "west-east"), (110, 100, "north-south")])
def test_too_little_ground_for_blocks_is_cut_into_strips(tmp_path, height, width, by):
    for index in range(2):  # The same ground at two dates.
        write_scene(tmp_path, f"date_{index}", height, width)
    found = recognize(str(tmp_path))
    assert {name: found.options[name] for name in ("split_by", "window", "overlap", "gap")} == {
        "split_by": by, "window": 16, "overlap": 12, "gap": 4
    }  # fmt: skip
    assert all(found.count(split) for split in ("train", "eval", "test"))
    said = f"--split-by {by} --window 16 --overlap 12 --gap 4 --split train="
    assert any(said in assumption and "fills all splits" in assumption for assumption in found.assumptions)
    # What was given stays.
    with pytest.raises(UserError, match="--split-by west-east"):
        recognize(str(tmp_path), given={"window": "32"})
