"""What do the sums say? Shares of classes and sizes of images, by split."""

from __future__ import annotations

import json
import os
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from components.data_gate.counting import (
    ALL_IGNORED,
    ASPECT_STEPS,
    OBJECT_ASPECTS,
    OBJECT_SHARES,
    OBJECT_SIZES,
    OBJECTS,
    OCCURS,
    PIXELS,
    SIZES,
    Merge,
    check_files,
    read_findings,
)
from components.data_gate.judgment import DataGateError, stop_on_bad_examples
from data.base.files import read_bytes
from data.contract import IGNORE_LABEL
from data.label_map import LabelMap

STATISTICS_FILE = "statistics.json"


def summarize(sums: dict[str, Any], splits: list[str], label_map: LabelMap) -> dict[str, dict[str, Any]]:
    """Statistics by split.

    Args:
      sums: of `Findings`.
      splits: all there are; those without examples have no sums.
      label_map: of the data set.
    """
    result: dict[str, dict[str, Any]] = {}
    for split in sorted(splits):
        if split not in sums:
            result[split] = {"examples": 0}
            continue
        total, smallest, largest = sums[split]
        by_value = np.array(total[PIXELS])
        of_classes = by_value[: len(label_map)]
        result[split] = {
            "examples": total[0],
            "pixels": int(by_value.sum()),
            "pixel_shares": dict(zip(label_map.names, (of_classes / max(of_classes.sum(), 1)).tolist(), strict=True)),
            "examples_with_class": dict(zip(label_map.names, total[OCCURS][: len(label_map)], strict=True)),
            "ignored_pixel_share": int(by_value[IGNORE_LABEL]) / max(int(by_value.sum()), 1),
            # Examples of whose pixels all are ignored.
            "examples_all_ignored": total[ALL_IGNORED],
            # Images of at least this many pixels, and less than twice as many.
            "images_by_pixels": {str(2**power): count for power, count in enumerate(total[SIZES]) if count},
            "smallest_height_and_width": smallest,
            "largest_height_and_width": largest,
        }
        if any(total[OBJECTS]):
            result[split] |= _objects(total, label_map)
    return result


def _objects(total: list[int], label_map: LabelMap) -> dict[str, Any]:
    """Objects by class; by their pixels, at least so many and less than twice as many; by their shares of the image.

    And, for padding, by the rounded aspect of the image that they are in, its width by its height.
    """
    by_aspect = total[OBJECT_ASPECTS]
    return {
        "objects": dict(zip(label_map.names, total[OBJECTS][: len(label_map)], strict=True)),
        "objects_by_pixels": {str(2**power): count for power, count in enumerate(total[OBJECT_SIZES]) if count},
        "objects_by_share": {
            str(0.5 ** (halvings + 1)): count for halvings, count in enumerate(total[OBJECT_SHARES]) if count
        },
        "objects_by_aspect": {
            f"{2 ** ((step - len(by_aspect) // 2) / ASPECT_STEPS):.6g}": count
            for step, count in enumerate(by_aspect)
            if count
        },
    }


def read_statistics(uri: str) -> dict[str, Any]:
    """The statistics in the data gate's artifact at `uri`: `splits`, and `warnings`, a list of messages."""
    return json.loads(read_bytes(os.path.join(uri, STATISTICS_FILE)))


def describe_files(patterns: list[str], label_map: LabelMap, folder: str) -> dict[str, Any]:
    """Statistics of several TFRecord files together, like those that the data gate writes for a split.

    Args:
      patterns: of the files.
      label_map: of the files.
      folder: for temporary files.

    Raises:
      DataGateError: if an example is unusable, or there is none.
    """
    results = os.path.join(folder, "results")
    options = PipelineOptions(["--direct_running_mode=in_memory", "--sdk_container_image=none"])
    files = {os.path.basename(pattern): pattern for pattern in patterns}
    with beam.Pipeline(options=options) as pipeline:
        check_files(pipeline, files, len(label_map), results, with_hashes=False)
    findings = read_findings(results)
    stop_on_bad_examples(findings)
    sums = [tuple(map(np.array, vectors)) for vectors in findings.sums.values()]
    if not sums:
        raise DataGateError(f"there is no example in {', '.join(patterns)}")
    total = Merge().extract_output(Merge().merge_accumulators(sums))
    return summarize({"all": total}, ["all"], label_map)["all"]
