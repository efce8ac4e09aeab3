"""The conversion: a Beam pipeline from any reader to sharded TFRecords by the data contract."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from data.contract import LABEL_MAP_FILE, REPORT_FILE, SPLITS, SegmentationExample
from data.errors import UserError
from data.files import delete, is_remote, join, list_files, move, read_bytes, size_of, write_text
from data.images import BadImageError, encode_png
from data.locking import exclusive
from data.readers import Reader, SetAside, Source

# A shard is what one worker reads: about 100 MB, and no more examples than these.
EXAMPLES_PER_SHARD = 1000
_BYTES_PER_SHARD = 100_000_000
_SAMPLED = 100
_PROGRESS_SECONDS = 5.0


class _ReadExample(beam.DoFn):
    """Source → (split, serialized tf.train.Example); what cannot be read goes to the output `set_aside`."""

    def __init__(self, reader: Reader):
        self._reader = reader
        self._read = Metrics.counter("convert", "examples_read")
        self._set_aside = Metrics.counter("convert", "inputs_set_aside")
        self._done = 0
        self._last_progress = 0.0

    def process(self, source: Source) -> Iterator[Any]:
        try:
            image, class_ids = self._reader.read(source)
        except (BadImageError, OSError) as error:
            self._set_aside.inc()
            yield beam.pvalue.TaggedOutput("set_aside", SetAside(source.image, str(error)))
            return
        self._read.inc()
        self._done += 1
        if self._done == 1:  # What comes before it, such as reading a whole volume, is no progress.
            self._last_progress = time.monotonic()
        elif time.monotonic() - self._last_progress > _PROGRESS_SECONDS:
            logging.info("%d images converted by this worker", self._done)
            self._last_progress = time.monotonic()
        example = SegmentationExample(
            image=image.encoded,
            image_format=image.format,
            height=image.height,
            width=image.width,
            mask=encode_png(class_ids),
            source_id=source.source_id,
            slice=source.slice,
        )
        pixels = np.bincount(class_ids.ravel(), minlength=256)
        yield beam.pvalue.TaggedOutput("counts", (source.split, np.concatenate([[1], pixels])))
        yield source.split, example.serialize()


def _sum_vectors(vectors: Iterable[np.ndarray]) -> np.ndarray:
    total = np.zeros(257, np.int64)
    for vector in vectors:
        total += vector
    return total


def convert(
    reader: Reader,
    destination: str,
    *,
    shards: int | None = None,
    max_set_aside: float = 0.05,
    overwrite: bool = False,
    is_addition: bool = False,
    beam_arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes a data set as TFRecords with its label map and a report, all of it or nothing.

    Everything is written to `DESTINATION.incomplete`, which becomes DESTINATION in one rename at the end. An earlier
    conversion waits in a new folder `DESTINATION.replaced-…` meanwhile; a process killed there leaves it behind. Where
    files are objects (`gs://`, `s3://`) they are moved one by one at the end, the label map last, without which no
    pipeline takes the folder.

    Args:
      reader: the data set.
      destination: folder to make, wherever Beam can write: `SPLIT-00000-of-0000N.tfrecord`, `labels.yaml`,
        `conversion.json`.
      shards: TFRecord files a split; by default one for every 1,000 examples or 100 MB.
      max_set_aside: the share of inputs that may be set aside, 0 to 1.
      overwrite: replace an earlier conversion in `destination`.
      is_addition: it is trained on together with others, so splits may be empty.
      beam_arguments: Beam pipeline options, as on Beam's own command lines.

    Returns:
      What `conversion.json` holds: per split the number of examples and each class's share of the labelled pixels;
      every input set aside, with its reason; and inputs that the data set does not list.

    Raises:
      UserError: if there is nothing to convert, a split would be empty, too much was set aside, or the destination is
        taken. The destination is left as it was.
    """
    destination = destination.rstrip("/")
    _check_destination(destination, overwrite)
    listing = reader.list()
    if not listing.sources:
        reasons = "".join(f"\n  {entry.input}: {entry.reason}" for entry in listing.set_aside[:10])
        raise UserError(f"no pair of image and mask found{reasons}")
    _check_splits({split: sum(source.split == split for source in listing.sources) for split in SPLITS}, is_addition)

    incomplete = f"{destination}.incomplete"
    with contextlib.nullcontext() if is_remote(destination) else exclusive(incomplete, "converting"):
        _empty(incomplete)
        try:
            _run_beam(reader, listing.sources, incomplete, shards, beam_arguments)
            report = _report(reader, listing.set_aside, listing.ignored, incomplete)
            _check_report(report, max_set_aside)
            _check_splits({split: report["splits"][split]["examples"] for split in SPLITS}, is_addition)
            write_text(join(incomplete, LABEL_MAP_FILE), reader.label_map.to_yaml())
            write_text(join(incomplete, REPORT_FILE), json.dumps(report, indent=2))
            _check_destination(destination, overwrite)  # Again: it may have been filled meanwhile.
            _replace(destination, incomplete)
        except BaseException:
            if is_remote(incomplete):
                _empty(incomplete)
            shutil.rmtree(incomplete, ignore_errors=True)
            raise
    return report


def _check_destination(destination: str, overwrite: bool) -> None:
    if os.path.isfile(destination):
        raise UserError(f"{destination} is a file; name a folder to make")
    found = list_files(destination) or (os.path.isdir(destination) and os.listdir(destination))
    if not found:
        return
    if not overwrite:
        raise UserError(f"{destination} is not empty; choose another folder, or replace it with --overwrite")
    if join(destination, REPORT_FILE) not in found:
        raise UserError(f"{destination} is not an earlier conversion (no {REPORT_FILE} in it); --overwrite leaves it")


def _check_splits(counts: dict[str, int], is_addition: bool) -> None:
    empty = [split for split in SPLITS if not counts.get(split)]
    if len(empty) == len(SPLITS) or (empty and not is_addition):
        found = ", ".join(f"{split} {counts.get(split, 0)}" for split in SPLITS)
        raise UserError(f"the split {' and '.join(empty)} would be empty ({found}); add images or change --split")


def _run_beam(
    reader: Reader, sources: list[Source], folder: str, shards: int | None, beam_arguments: Sequence[str]
) -> None:
    counts = collections.Counter(source.split for source in sources)
    bytes_each = _mean_bytes(sources)
    # A file, since what is in the graph itself goes to each worker, and Dataflow takes 10 MB of it.
    listing = join(folder, "sources.json")
    write_text(listing, "".join(json.dumps(dataclasses.astuple(source)) + "\n" for source in sources))
    with beam.Pipeline(options=PipelineOptions(list(beam_arguments))) as pipeline:
        read = (
            pipeline
            | "List" >> beam.io.ReadFromText(listing)
            | "Spread" >> beam.Reshuffle()
            | "Parse" >> beam.Map(lambda line: Source(*json.loads(line)))
            | "ReadExample" >> beam.ParDo(_ReadExample(reader)).with_outputs("set_aside", "counts", main="examples")
        )
        for split in filter(counts.get, SPLITS):
            _ = (
                read.examples
                | f"Only[{split}]" >> beam.Filter(lambda item, split=split: item[0] == split)
                | f"Values[{split}]" >> beam.Values()
                | f"Write[{split}]"
                >> beam.io.WriteToTFRecord(
                    join(folder, split),
                    file_name_suffix=".tfrecord",
                    num_shards=shards
                    or max(-(-counts[split] // EXAMPLES_PER_SHARD), int(counts[split] * bytes_each / _BYTES_PER_SHARD)),
                )
            )
        _ = (
            read.counts
            | "SumPixels" >> beam.CombinePerKey(_sum_vectors)
            | "CountsAsJson" >> beam.MapTuple(lambda split, vector: json.dumps([split, vector.tolist()]))
            | "WriteCounts" >> beam.io.WriteToText(join(folder, "counts"))
        )
        _ = (
            read.set_aside
            | "SetAsideAsJson" >> beam.Map(lambda entry: json.dumps([entry.input, entry.reason]))
            | "WriteSetAside" >> beam.io.WriteToText(join(folder, "set_aside"))
        )
    delete([listing])


def _mean_bytes(sources: list[Source]) -> float:
    """Of images and masks, by a sample; 0 if they are no files."""
    sample = sources[:: max(1, len(sources) // _SAMPLED)]
    return sum(size_of(path) for source in sample for path in (source.image, source.mask)) / len(sample)


def _take_json_lines(folder: str, prefix: str) -> list[Any]:
    paths = [path for path in list_files(folder) if path.rpartition("/")[2].startswith(prefix)]
    lines = [json.loads(line) for path in paths for line in read_bytes(path).splitlines()]
    delete(paths)
    return lines


def _report(reader: Reader, set_aside: list[SetAside], ignored: list[SetAside], folder: str) -> dict[str, Any]:
    names = reader.label_map.names
    counts = {split: np.array(vector) for split, vector in _take_json_lines(folder, "counts")}
    splits = {}
    for split in SPLITS:
        vector = counts.get(split, np.zeros(257, np.int64))
        labelled = vector[1 : 1 + len(names)]
        splits[split] = {
            "examples": int(vector[0]),
            "pixel_shares": dict(zip(names, (labelled / max(labelled.sum(), 1)).round(6).tolist(), strict=True)),
            "ignored_pixel_share": round(float(vector[256] / max(vector[1:].sum(), 1)), 6),
        }
    entries = [{"input": entry.input, "reason": entry.reason} for entry in set_aside]
    entries += [{"input": path, "reason": reason} for path, reason in sorted(_take_json_lines(folder, "set_aside"))]
    return {
        "splits": splits,
        "set_aside": entries,
        "ignored": [{"input": entry.input, "reason": entry.reason} for entry in ignored],
    }


def _check_report(report: dict[str, Any], max_set_aside: float) -> None:
    kept = sum(split["examples"] for split in report["splits"].values())
    bad = report["set_aside"]
    share = len(bad) / (kept + len(bad))
    if share > max_set_aside:
        reasons = "".join(f"\n  {entry['input']}: {entry['reason']}" for entry in bad[:10])
        more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise UserError(
            f"{len(bad)} of {kept + len(bad)} inputs ({share:.1%}) cannot be used, more than --max-set-aside "
            f"{max_set_aside:.1%} allows; nothing was written:{reasons}{more}"
        )


def _empty(folder: str) -> None:
    if is_remote(folder):
        delete(list_files(folder))
        return
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.remove(entry.path)


def _replace(destination: str, complete: str) -> None:
    """Puts the finished folder in place; an earlier conversion is deleted only once the new one is complete."""
    if is_remote(destination):
        marker = join(complete, LABEL_MAP_FILE)
        delete(list_files(destination))
        sources = sorted(list_files(complete), key=lambda path: path == marker)
        for part in (sources[:-1], sources[-1:]):
            move(part, [destination + path[len(complete) :] for path in part])
        return
    if not os.path.exists(destination):
        os.rename(complete, destination)
        return
    parent, name = os.path.split(destination)
    # A new folder, so that nothing of somebody else is deleted with it.
    folder = tempfile.mkdtemp(prefix=f"{name}.replaced-", dir=parent or os.curdir)
    replaced = os.path.join(folder, name)
    try:
        os.rename(destination, replaced)
        os.rename(complete, destination)
    except BaseException:
        if os.path.lexists(replaced):
            os.rename(replaced, destination)
        os.rmdir(folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)
