"""What the statistics leave to estimates takes nothing from the validation."""

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv

from data import contract
from pipeline.pipeline import create_pipeline

EXAMPLES = 1500  # More distinct names than are counted exactly.


@pytest.mark.parametrize("bad", [b"gif", b"\xff\xfe"])
def test_a_single_value_that_the_schema_forbids_is_found(small_config, tmp_path, bad):
    pipeline = create_pipeline(small_config(tmp_path / "output"))
    (component,) = (item for item in pipeline.components if item.id == "StatisticsGen")
    options = tfdv.StatsOptions.from_json(component.exec_properties["stats_options_json"])
    options.schema = tfdv.load_schema_text(str(contract.SCHEMA_PATH))
    with tf.io.TFRecordWriter(str(tmp_path / "examples")) as writer:
        for index in range(EXAMPLES):
            example = tf.train.Example()
            values = {
                contract.IMAGE: b"image",
                contract.MASK: b"mask",
                contract.SOURCE_ID: str(index).encode(),
                "image/format": bad if index == 700 else b"png",
            }
            for name, value in values.items():
                example.features.feature[name].bytes_list.value.append(value)
            writer.write(example.SerializeToString())
    statistics = tfdv.generate_statistics_from_tfrecord(str(tmp_path / "examples"), stats_options=options)
    found = tfdv.validate_statistics(statistics, options.schema)
    assert list(found.anomaly_info) == ["image/format"]
    assert "ENUM_TYPE" in str(found.anomaly_info["image/format"]) or bad != b"gif"
    features = {feature.path.step[0]: feature for feature in statistics.datasets[0].features}
    assert features[contract.SOURCE_ID].string_stats.unique == EXAMPLES
