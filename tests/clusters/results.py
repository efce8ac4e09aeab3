"""What conversions and runs leave behind, to compare those of a cluster with the direct runner's."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import yaml
from tensorflow_metadata.proto.v0 import statistics_pb2

from tests.conftest import Segpipe


def config_writer(small_config: Callable[..., Any], folder: pathlib.Path) -> Callable[..., str]:
    """Makes `write(output, **sections)`, which writes a configuration of a small run and returns the file's path."""

    def write(output: str = "output", **sections: Any) -> str:
        path = folder / "run.yaml"
        path.write_text(yaml.safe_dump(small_config(folder / output, **sections).model_dump(mode="json")))
        return str(path)

    return write


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """All files of a folder, byte by byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def runs(segpipe: Segpipe, config: str) -> list[dict[str, Any]]:
    """What `segpipe runs` says."""
    return [json.loads(line) for line in segpipe("runs", "--config", config, "--json").stdout.splitlines()]


def assert_same_data(direct: pathlib.Path, other: pathlib.Path) -> None:
    """Checks that two runs on the same images had the same records, statistics and transform graphs."""
    for split in ("train", "eval", "test"):
        examples = [_artifact(output, "ImportExampleGen", "examples") for output in (direct, other)]
        assert _records(examples[0] / f"Split-{split}") == _records(examples[1] / f"Split-{split}")
        statistics = [_artifact(output, "StatisticsGen", "statistics") for output in (direct, other)]
        _assert_same_statistics(*(folder / f"Split-{split}" / "FeatureStats.pb" for folder in statistics))
    gates = [_artifact(output, "DataGate", "statistics") / "statistics.json" for output in (direct, other)]
    assert json.loads(gates[0].read_text()) == json.loads(gates[1].read_text())
    example = next(iter(_records(examples[0] / "Split-test")))
    images = [_transformed(_artifact(output, "Transform", "transform_graph"), example) for output in (direct, other)]
    # Workers add up in another order.
    np.testing.assert_allclose(*images, rtol=1e-5, atol=1e-5)


def _records(folder: pathlib.Path) -> list[bytes]:
    """All records of a folder, in a stable order: workers write them as they come."""
    return sorted(tf.data.TFRecordDataset(sorted(map(str, folder.iterdir()))).as_numpy_iterator())


def _artifact(output: pathlib.Path, component: str, name: str) -> pathlib.Path:
    (folder,) = (output / "artifacts" / component / name).iterdir()
    return folder


def _assert_same_statistics(*paths: pathlib.Path) -> None:
    found = [statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()) for path in paths]
    by_name = [
        {
            (feature.path.step[0] if feature.path.step else feature.name): feature
            for feature in item.datasets[0].features
        }
        for item in found
    ]
    assert [item.datasets[0].num_examples for item in found] == [found[0].datasets[0].num_examples] * 2
    assert by_name[0].keys() == by_name[1].keys()
    for name, feature in by_name[0].items():
        other = by_name[1][name]
        assert feature.type == other.type
        kind = feature.WhichOneof("stats")
        ours, theirs = getattr(feature, kind), getattr(other, kind)
        assert ours.common_stats.num_non_missing == theirs.common_stats.num_non_missing
        if kind == "num_stats":
            for key in ("mean", "std_dev", "min", "max", "median"):
                assert getattr(ours, key) == pytest.approx(getattr(theirs, key))


def _transformed(graph: pathlib.Path, example: bytes) -> np.ndarray:
    """The normalized image of an example, as a transform graph has it."""
    output = tft.TFTransformOutput(str(graph))
    spec = output.raw_feature_spec()
    features = tf.io.parse_example(tf.constant([example]), spec)
    image = output.transform_features_layer()(features)
    (name,) = (name for name in image if image[name].dtype == tf.float32 and "image" in name)
    return image[name].numpy()
