"""What need not be wrong, but should be known?"""

from __future__ import annotations

from typing import Any

from components.data_gate.counting import SHOWN, Findings
from data.label_map import LabelMap
from data.near_duplicates import HASH_BYTES

PAIRS_FILE = "near_duplicates.json"


def doubts(splits: dict[str, dict[str, Any]], label_map: LabelMap) -> list[str]:
    """Warnings about masks that say nothing, and classes or objects that are not measured.

    Args:
      splits: the statistics.
      label_map: of the data set.
    """
    lines = []
    for split, values in splits.items():
        if count := values.get("examples_all_ignored"):
            lines.append(
                f"split {split}: {count} of {values['examples']} masks are 255 (ignore) all over; "
                "nothing is learned or measured on them"
            )
    for split, consequence in (
        ("eval", "which epoch is best is decided without them"),
        ("test", "the model's quality on them is not measured"),
    ):
        shares = splits.get(split, {}).get("pixel_shares", {})
        lacking = [name for name in label_map.names if not shares.get(name)]
        if shares and lacking:
            more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
            lines.append(f"split {split}: no pixel of {', '.join(lacking[:SHOWN])}{more}; {consequence}")
    learned = splits.get("train", {}).get("objects", {})
    for split in ("eval", "test"):
        objects = splits.get(split, {}).get("objects", {}) if learned else {}
        if sum(learned.values()) and split in splits and not sum(objects.values()):
            lines.append(f"split {split}: no object, so how well objects are told apart is not measured there")
        new = [label.name for label in label_map.classes if label.kind is None and not learned.get(label.name)]
        if unseen := [name for name in new if objects.get(name)]:
            lines.append(
                f"split {split}: objects of {', '.join(unseen[:SHOWN])}, of which train has none, so they are neither "
                "told apart nor counted: add some to train"
            )
    return lines


def near_duplicates(findings: Findings, path: str) -> str:
    """What to say of images that look alike in two splits; "" if there are none.

    Args:
      findings: of the pass.
      path: of the file that lists them.
    """
    shown = [
        f"  {pair.splits[0]} {pair.names[0]}, {pair.splits[1]} {pair.names[1]}: "
        f"{pair.distance} of {8 * HASH_BYTES} bits differ"
        for pair in findings.pairs[:SHOWN]
    ]
    if not shown:
        return ""
    if findings.pairs_count > len(shown):
        shown.append(f"  … and {findings.pairs_count - len(shown)} more; {path} lists {len(findings.pairs)}")
    return "\n".join(
        [
            f"{findings.pairs_count} pair(s) of images in different splits look alike, as copies do; what is measured "
            "on copies of images that were trained on, or by which the training was chosen, is too good:",
            *shown,
            "keep them in one split with `segpipe convert --group-by` (its --help says how), or leave one of each pair "
            "out; if they are no copies, data.near_duplicates: ignore",
        ]
    )
