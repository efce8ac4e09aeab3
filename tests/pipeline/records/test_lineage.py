import json

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.spans import INPUTS_PROPERTY
from pipeline.records.lineage import _data, _used


@pytest.mark.parametrize("span", [0, 3])
def test_without_spans_there_is_no_newest_span(span, tmp_path):
    examples = mlmd.Artifact(uri=str(tmp_path))
    examples.custom_properties[INPUTS_PROPERTY].string_value = json.dumps({"train": ["/data/1", "/data/2"]})
    examples.custom_properties["span"].int_value = span
    rows = {row.label: row.texts for row in _data(examples)}
    assert rows["train"] == ["/data/1\n/data/2"]
    assert rows.get("newest span") == (["3"] if span else None)


def test_settings_that_are_not_set_are_left_out():
    settings = {"tune": None, "push": {"destination": ""}, "gate": {"min": {"mean_iou": 0.5}, "slices": {}}, "seed": 0}
    assert _used(settings) == {"gate": {"min": {"mean_iou": 0.5}}, "seed": 0}
