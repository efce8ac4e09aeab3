"""How far a dataset is from the one that a model was trained on."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import tensorflow_data_validation as tfdv

from components.data_gate import describe_files
from data import contract
from data.label_map import LabelMap


def distances(now: dict[str, Any], old: dict[str, Any]) -> dict[str, float]:
    """Total variation distances: half the sum of absolute differences of shares (Levin and Peres 2017, section 4.1).

    Args:
      now: the data gate's statistics of a split.
      old: its statistics of the data that a model was trained on.

    Returns:
      `classes`, the distance between the classes' shares of the labeled pixels, and `sizes`, between the shares of
      images by size: 0 if they are the same, 1 if they have nothing in common.
    """

    def distance(new_shares: dict[str, float], old_shares: dict[str, float]) -> float:
        keys = new_shares.keys() | old_shares.keys()
        return sum(abs(new_shares.get(key, 0) - old_shares.get(key, 0)) for key in keys) / 2

    def of_images(values: dict[str, Any]) -> dict[str, float]:
        return {size: count / values["examples"] for size, count in values["images_by_pixels"].items()}

    return {
        "classes": distance(now["pixel_shares"], old["pixel_shares"]),
        "sizes": distance(of_images(now), of_images(old)),
    }


def measure(
    files: list[str], label_map: LabelMap, trained_on: dict[str, Any], statistics: str | None, threshold: float
) -> dict[str, float]:
    """Compares files with what a model was trained on.

    Args:
      files: patterns of TFRecord files that keep the data contract.
      label_map: the label map of the files.
      trained_on: the data gate's statistics of the model's `train` split.
      statistics: TFDV's statistics of that split, the file `FeatureStats.pb`, or None to leave the features out.
      threshold: above which TFDV's distances are returned.

    Returns:
      `distances`, and TFDV's distances above the threshold, by feature name: the Jensen-Shannon divergence for numbers
      and the L-infinity norm for strings.

    Raises:
      DataGateError: if an example cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="segpipe-drift-") as folder:
        found = distances(describe_files(files, label_map, folder), trained_on)
        if statistics is not None:
            found |= _feature_distances(files, statistics, threshold, folder)
    return found


def _feature_distances(files: list[str], statistics: str, threshold: float, folder: str) -> dict[str, float]:
    schema = tfdv.load_schema_text(str(contract.SCHEMA_PATH))
    options = tfdv.StatsOptions(
        schema=schema, feature_allowlist=[contract.HEIGHT, contract.WIDTH, contract.IMAGE_FORMAT, contract.SLICE]
    )
    now = tfdv.generate_statistics_from_tfrecord(files, os.path.join(folder, "now.pb"), options)
    for name in (contract.HEIGHT, contract.WIDTH):
        tfdv.get_feature(schema, name).drift_comparator.jensen_shannon_divergence.threshold = threshold
    for name in (contract.IMAGE_FORMAT, contract.SLICE):
        tfdv.get_feature(schema, name).drift_comparator.infinity_norm.threshold = threshold
    before = tfdv.load_stats_binary(statistics)
    anomalies = tfdv.validate_statistics(now, schema, previous_statistics=before)
    return {
        ".".join(info.path.step): measurement.value
        for info in anomalies.drift_skew_info
        for measurement in info.drift_measurements
        if measurement.value > threshold
    }
