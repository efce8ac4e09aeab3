"""What is wrong with the whole, so that training on it is a waste or a mistake?"""

from __future__ import annotations

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.types import artifact_utils

from components.data_gate.counting import SHOWN, Findings
from data.base.errors import UserError
from data.base.files import read_bytes
from data.label_map import LabelMap


class DataGateError(UserError):
    """The data set is not fit for training; the message says which features, splits and examples."""


def stop_on_anomalies(artifact: types.Artifact) -> None:
    """Raises a DataGateError if ExampleValidator found something that matters."""
    lines = []
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = os.path.join(artifact.uri, f"Split-{split}", "SchemaDiff.pb")
        for feature, info in sorted(_load_anomalies(path).anomaly_info.items()):
            # Features beyond the contract do no harm: nothing reads them.
            if {reason.type for reason in info.reason} != {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}:
                lines.append(f"  split {split}, feature {feature}: {info.description}")
    if lines:
        raise DataGateError("\n".join(["the data does not fit the schema:", *_shorten(lines)]))


def _load_anomalies(path: str) -> anomalies_pb2.Anomalies:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.ParseFromString(read_bytes(path))
    return anomalies


def stop_on_bad_examples(findings: Findings) -> None:
    """Raises a DataGateError if an example cannot be used."""
    lines = [f"  split {split}, example {name}: {fault}" for split, name, fault in findings.bad]
    if lines:
        more = _more(findings.bad_count - len(lines))
        raise DataGateError("\n".join([f"{findings.bad_count} example(s) cannot be used:", *lines, *more]))


def stop_on_shared_examples(findings: Findings) -> None:
    """Raises a DataGateError if an example, or a group of examples, is in more than one split."""
    for what, shown, count, remedy in (
        ("example(s)", findings.shared, findings.shared_count, "convert all spans with the same --split"),
        (
            "group(s)",
            findings.groups,
            findings.groups_count,
            "convert all with `segpipe convert --group-by`, which keeps a group in one split, and all spans with the "
            "same --split",
        ),
    ):
        if shown:
            lines = [f"  {name}: in {', '.join(splits)}" for name, splits in shown]
            remedy = f"a model must not be tested on what it was trained on; {remedy}"
            head = f"{count} {what} are in more than one split:"
            raise DataGateError("\n".join([head, *lines, *_more(count - len(lines)), remedy]))


def stop_on_missing(splits: dict[str, dict[str, Any]], label_map: LabelMap) -> None:
    """Raises a DataGateError if nothing could be learned from a split, or nothing measured on it.

    Args:
      splits: the statistics.
      label_map: of the data set.
    """
    lines = [f"  split {split}: no example" for split, values in splits.items() if not values["examples"]]
    remedies = ["every split needs examples: convert more of them, or with other shares (--split)"] if lines else []
    # The newest span's test split decides nothing.
    filled = {split: splits[split] for split in ("train", "eval", "test") if splits.get(split, {}).get("examples")}
    labeled = {split: [name for name, share in of["pixel_shares"].items() if share] for split, of in filled.items()}

    ignored = [split for split in filled if not labeled[split]]
    if ignored:
        lines += [
            f"  split {split}: all pixels of all its masks ({filled[split]['examples']}) are 255, which means ignore"
            for split in ignored
        ]
        remedies.append(
            "nothing can be learned or measured where all is ignored: label some of it, or, if 255 stands for a class "
            "in these masks, say so when you convert them"
        )
    if labeled.get("train"):
        lacking = [name for name in label_map.names if name not in labeled["train"]]
        lines += [f"  split train: no pixel of class {name}" for name in lacking]
        if lacking:
            remedies.append("add examples of these classes to train, or take the classes out of the label map")
    single = [split for split in ("eval", "test") if len(labeled.get(split, [])) == 1]
    if single:
        lines += [f"  split {split}: all labeled pixels are of class {labeled[split][0]}" for split in single]
        remedies.append(
            "a model that knows only that class would be perfect there: add examples of other classes to the split"
        )
    if lines:
        raise DataGateError("\n".join(["the data lacks what training needs:", *_shorten(lines), *remedies]))


def _more(count: int) -> list[str]:
    return [f"  … and {count} more"] if count > 0 else []


def _shorten(lines: list[str]) -> list[str]:
    return [*lines[: 2 * SHOWN], *_more(len(lines) - 2 * SHOWN)]
