"""The survey in some twenty lines, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.inspection.survey.doubts import Doubt, count, reasons
from data.inspection.survey.survey import Survey

_CLASSES = 6
_REASONS = 3
_DOUBTS = 6


def summarize(survey: Survey, doubts: Sequence[Doubt]) -> list[str]:
    """Some twenty lines of plain text; those of doubts are as long as their words."""
    classes = count(len(survey.label_map), "class", "classes")
    unusable = f"; {count(len(survey.set_aside), 'input')} cannot be used" if survey.set_aside else ""
    lines = [
        f"{survey.origin}: {count(survey.images, 'image')}, {classes}{unusable}",
        *_shares(survey),
        f"Sizes: {_sizes(survey)}",
    ]
    kinds = [f"{kind} ({number:,})" for kind, number in survey.kinds.most_common(4) if kind]
    lines += [f"Files: {'; '.join(kinds)}"] if kinds else []
    lines += [f"Values, in a sample of the pixels: {'; '.join(_ranges(survey))}"]
    if survey.set_aside:
        found = reasons(survey.set_aside)
        lines += ["Cannot be used:"]
        for reason in found[:_REASONS]:
            lines.append(f"  {reason.found.count:,} × {reason.text} ({reason.found.names[0]})")
        lines += [f"  … and {count(len(found) - _REASONS, 'more reason')}"] if len(found) > _REASONS else []
    if doubts:
        lines += ["Doubts:"]
        for doubt in doubts[:_DOUBTS]:
            lines += [f"  {'!' if doubt.stops else '-'} {doubt.title}: {doubt.text}".splitlines()[0]]
            lines += [f"    {line}" for line in doubt.text.splitlines()[1:]]
        lines += [f"  … and {len(doubts) - _DOUBTS} more, on the page"] if len(doubts) > _DOUBTS else []
    else:
        lines += ["No doubts."]
    return [_plain(line) for line in lines]


def _plain(line: str) -> str:
    """A line as a terminal can show it, whatever is in the names of files."""
    escaped = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line.replace("\n", " "))
    return escaped.encode("utf-8", "backslashreplace").decode()


def _shares(survey: Survey) -> list[str]:
    """A table of the splits: images, and shares of the largest classes."""
    total = sum((counts.pixels for counts in survey.splits.values()), np.zeros(len(survey.label_map), np.int64))
    chosen = sorted(np.argsort(-total, kind="stable")[:_CLASSES].tolist())
    names = [survey.label_map.names[index] for index in chosen]
    rows = [["", "images", *names]]
    for split, counts in survey.splits.items():
        labeled = max(int(counts.pixels.sum()), 1)
        rows.append([split, f"{counts.images:,}", *(f"{counts.pixels[index] / labeled:.1%}" for index in chosen)])
    if len(survey.label_map) > _CLASSES:
        for row, counts in zip(rows[1:], survey.splits.values(), strict=True):
            rest = 1 - counts.pixels[chosen].sum() / max(int(counts.pixels.sum()), 1)
            row.append(f"{rest if counts.pixels.any() else 0:.1%}")
        rows[0].append(f"{len(survey.label_map) - _CLASSES} others")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _sizes(survey: Survey) -> str:
    (width, height), number = survey.sizes.most_common(1)[0]
    if len(survey.sizes) == 1:
        return f"all {width}×{height} pixels"
    smallest = min(survey.sizes, key=lambda size: size[0] * size[1])
    largest = max(survey.sizes, key=lambda size: size[0] * size[1])
    return (
        f"{smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]} pixels, most often {width}×{height} "
        f"({number / survey.images:.0%})"
    )


def _ranges(survey: Survey) -> list[str]:
    found = []
    for channel, (low, high, mean) in value_ranges(survey).items():
        found.append(f"{channel} {low} to {high}, mean {mean:.0f}")
    return found


def value_ranges(survey: Survey) -> dict[str, tuple[int, int, float]]:
    """The smallest and the largest value and the mean of each channel."""
    ranges = {}
    for channel, counts in survey.values.items():
        occurring = np.flatnonzero(counts)
        mean = float((np.arange(len(counts)) * counts).sum() / counts.sum())
        ranges[channel] = int(occurring[0]), int(occurring[-1]), mean
    return ranges
