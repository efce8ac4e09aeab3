"""The conversion: a Beam pipeline that takes any reader and writes sharded TFRecords by the data contract."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import glob
import itertools
import json
import logging
import os
import random
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from data.base.errors import UserError
from data.base.files import (
    UnreachableError,
    copy_file,
    find,
    is_remote,
    join,
    list_files,
    move,
    read_bytes,
    write_lines,
    write_text,
)
from data.base.links import plain_path
from data.base.locking import exclusive
from data.consistency import check_consistency
from data.contract import LABEL_MAP_FILE, REPORT_FILE, SPLITS, SegmentationExample
from data.decoding import image_type
from data.decoding.errors import why_unusable
from data.decoding.images import encode_png
from data.decoding.label_png import encode_labels
from data.decoding.notes import Notes, collecting
from data.destination import check_destination, empty, remove, replace
from data.formats import Listing, Reader, Source
from data.masks.consistency import SEEN, proposal
from data.remarks import listed, warnings

# A shard is what one worker reads: about 100 MB, and no more examples than these.
EXAMPLES_PER_SHARD = 1000
_BYTES_PER_SHARD = 100_000_000
_SAMPLED = 100
_PROGRESS_SECONDS = 5.0
# The default of newer Beam versions. The older one's cannot pickle a reader that is defined in a notebook.
_PICKLER = "--pickle_library=cloudpickle"


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A file that was written.

    Attributes:
      name: its final name.
      path: where it is now.
      split: the split it belongs to.
      counts: [257], the number of examples, then the pixels of each class id.
      set_aside: inputs that were left out, each with its reason.
      notes: what was noticed about those that are in it.
    """

    name: str
    path: str
    split: str
    counts: list[int]
    set_aside: list[tuple[str, str]]
    notes: Notes


class _WriteShard(beam.DoFn):
    """Start and size of a line of the listing → the TFRecord file of that shard, and a line that describes it.

    Only these lines go from worker to worker; with Beam's own sink, which distributes examples over shards, all images
    would. A worker that dies leaves a file with a unique name that no line mentions.
    """

    def __init__(self, reader: Reader, listing: str, folder: str):
        self._reader = reader
        self._listing = listing
        self._folder = folder
        self._read = Metrics.counter("convert", "examples_read")
        self._set_aside = Metrics.counter("convert", "inputs_set_aside")
        self._done = 0
        self._last_progress = 0.0

    def process(self, line: tuple[int, int]) -> Iterator[str]:
        import tensorflow as tf

        name, split, sources = json.loads(read_bytes(self._listing, *line))
        path = join(self._folder, f"{name}.{uuid.uuid4().hex}")
        vector = np.zeros(257, np.int64)  # Examples, and pixels of each class id.
        set_aside: list[tuple[str, str]] = []
        notes = Notes()
        with tempfile.TemporaryDirectory() as folder:
            # TensorFlow does not write to all that Beam does.
            local = os.path.join(folder, name) if is_remote(path) else path
            with tf.io.TFRecordWriter(local) as writer:
                for source in (Source(*fields) for fields in sources):
                    try:
                        with collecting(source.image, source.mask) as noted:
                            example, counts = _read(self._reader, source)
                    except UnreachableError:
                        raise  # Beam tries again; no image is lost because a bucket is unreachable for a moment.
                    except Exception as error:  # Whatever one pair does to its reader, the others are converted.
                        notes.add(noted.of_kinds(SEEN))
                        self._set_aside.inc()
                        set_aside.append((source.image, why_unusable(error)))
                        continue
                    self._log_progress()
                    notes.add(noted)
                    vector += counts
                    writer.write(example)
            if is_remote(path):
                copy_file(local, path)
        yield json.dumps(dataclasses.asdict(_Shard(name, path, split, vector.tolist(), set_aside, notes)))

    def _log_progress(self) -> None:
        self._read.inc()
        self._done += 1
        if self._done == 1:  # What precedes it, such as reading a whole volume, is not progress.
            self._last_progress = time.monotonic()
        elif time.monotonic() - self._last_progress > _PROGRESS_SECONDS:
            logging.info("%d images converted by this worker", self._done)
            self._last_progress = time.monotonic()


def _read(reader: Reader, source: Source) -> tuple[bytes, np.ndarray]:
    """A pair as a serialized example, and [257] counts: 1, then its pixels of each class id."""
    labeled = reader.read(source)
    image, class_ids, instances = labeled.image, labeled.class_ids, labeled.instances
    example = SegmentationExample(
        image=image.encoded,
        image_format=image.format,
        height=image.height,
        width=image.width,
        mask=encode_png(class_ids),
        source_id=source.source_id,
        slice=source.slice,
        group=source.group,
        instances=b"" if instances is None else encode_labels(instances),
    )
    return example.serialize(), np.concatenate([[1], np.bincount(class_ids.ravel(), minlength=256)])


def convert(
    reader: Reader,
    destination: str,
    *,
    shards: int | None = None,
    max_set_aside: float = 0.05,
    overwrite: bool = False,
    is_addition: bool = False,
    beside: str = "",
    beam_arguments: Sequence[str] = (),
    listing: Listing | None = None,
    exclude: Collection[str] = (),
) -> dict[str, Any]:
    """Writes a data set as TFRecords with its label map and a report, all of it or nothing.

    Everything is written to `DESTINATION.incomplete`, which takes the place of DESTINATION at the end
    (`data.destination.replace`).

    Args:
      reader: the data set.
      destination: folder to make, wherever Beam can write: `SPLIT-00000-of-0000N.tfrecord`, `labels.yaml`,
        `conversion.json`.
      shards: TFRecord files per split, each written by one worker; by default one for every 1,000 examples or 100 MB.
      max_set_aside: the share of inputs that may be set aside, 0 to 1.
      overwrite: replace an earlier conversion in `destination`.
      is_addition: it will be trained on together with others, so splits may be empty.
      beside: the folder of one of those others, whose images these have to match.
      beam_arguments: Beam pipeline options, as on Beam's own command lines.
      listing: what the reader has listed already; by default it is asked.
      exclude: names of examples, or their images' inputs, that are to be left out; a warning says which are none.

    Returns:
      What `conversion.json` holds: for each split the number of examples and each class's share of the labeled pixels;
      every input that was set aside, with its reason; inputs that are no examples; what was noted; warnings of what is
      probably not meant; if the examples have groups, their number in each split; and what the images are,
      `data.decoding.image_type.ImageType`.

    Raises:
      UserError: if there is nothing to convert, a split would be empty, too much was set aside, or the destination is
        taken. The destination is left as it was.
    """
    destination = destination.rstrip("/")
    check_destination(destination, overwrite)
    listing = listing or reader.listing()
    known = {name for source in listing.sources for name in (source.source_id, source.image)}
    unknown = [name for name in exclude if name not in known]
    listing = listing.without(exclude)
    listing.check_any()
    _check_splits(reader, listing.sources, is_addition)
    label_map = reader.label_map  # Found before the reader goes to workers, so that none looks for the classes again.

    incomplete = f"{destination}.incomplete"
    with contextlib.nullcontext() if is_remote(destination) else exclusive(incomplete, "converting"):
        empty(incomplete)
        try:
            written = _run_beam(reader, listing.sources, incomplete, shards, beam_arguments)
            notes = _all_notes(written)
            report = _report(reader, written, listing)
            if unknown:
                report["warnings"].append(f"to be excluded, but no image here has this name: {listed(unknown)}")
            # Where the values of masks are the format's own, no option says what they mean.
            is_open = {"labels", "others"} & set(type(reader).model_fields) == {"labels"}
            proposed = proposal(notes, label_map).lstrip("\n") if is_open else ""
            remedies = "\n".join(filter(None, (listing.remedy, proposed)))
            _check_report(report, max_set_aside, remedies)
            check_consistency(notes)
            found = image_type.noted_image_type(notes)
            if beside:
                image_type.check_beside(found, image_type.read_image_type(beside), beside)
            if found:
                report[image_type.IMAGE_KEY] = found.to_json()
            _check_splits(reader, _kept(listing, report), is_addition)
            write_text(join(incomplete, LABEL_MAP_FILE), label_map.to_yaml())
            write_text(join(incomplete, REPORT_FILE), json.dumps(report, indent=2))
            check_destination(destination, overwrite)  # Again: it may have been filled meanwhile.
            replace(destination, incomplete)
        except BaseException:
            remove(incomplete)
            raise
    return report


def _check_splits(reader: Reader, sources: list[Source], is_addition: bool) -> None:
    counts = {split: sum(source.split == split for source in sources) for split in SPLITS}
    empty = [split for split in SPLITS if not counts[split]]
    if len(empty) == len(SPLITS) or (empty and not is_addition):
        found = ", ".join(f"{split} {count}" for split, count in counts.items())
        raise UserError(f"{' and '.join(empty)} would be empty ({found}): {reader.fill_splits(sources)}")


def _kept(listing: Listing, report: dict[str, Any]) -> list[Source]:
    bad = {entry["input"] for entry in report["set_aside"]}
    return [source for source in listing.sources if source.image not in bad]


def _run_beam(
    reader: Reader, sources: list[Source], folder: str, shards: int | None, beam_arguments: Sequence[str]
) -> list[_Shard]:
    # Files of workers that died are here too, and are deleted with the folder.
    work = join(folder, "work")
    if not is_remote(work):
        os.mkdir(work)
    # In a file, since the graph goes to each worker, and Dataflow limits it to 10 MB. The graph holds the places of the
    # lines in it: if Beam read the lines, Flink would give all of them to the worker that read them.
    listing = join(work, "sources.json")
    sizes = write_lines(listing, (json.dumps(shard) for shard in _deal(sources, shards)))
    places = list(zip(itertools.accumulate(sizes, initial=0), sizes, strict=False))
    try:
        options = PipelineOptions([_PICKLER, *beam_arguments])
        with plain_path(work) as place, beam.Pipeline(options=options) as pipeline:
            _ = (
                pipeline
                | "List" >> beam.Create(places)
                | "Spread" >> beam.Reshuffle()
                | "WriteShard" >> beam.ParDo(_WriteShard(reader, listing, work))
                | "Describe" >> beam.io.WriteToText(join(place, "written"))
            )
    except RuntimeError as error:  # Beam's, for whatever goes wrong in a worker.
        if os.strerror(errno.ENOSPC) in str(error):
            raise UserError(f"{folder}: {os.strerror(errno.ENOSPC)}; it was deleted again") from error
        raise
    descriptions = [path for path in list_files(work) if path.startswith(join(work, "written-"))]
    described = [json.loads(line) for path in descriptions for line in read_bytes(path).decode().splitlines()]
    written = [_Shard(**{**fields, "notes": Notes.from_json(fields["notes"])}) for fields in described]
    move([shard.path for shard in written], [join(folder, shard.name) for shard in written])
    remove(work)
    return written


def _deal(sources: list[Source], shards: int | None) -> Iterator[tuple[str, str, list[tuple[str, ...]]]]:
    """Name, split and sources of each shard."""
    bytes_each = _mean_bytes(sources)
    for split in SPLITS:
        dealt = [source for source in sources if source.split == split]
        units = [[*unit] for _, unit in itertools.groupby(dealt, key=lambda source: source.file or source.source_id)]
        # Data sets are often sorted by class.
        random.Random(0).shuffle(units)
        by_size = max(-(-len(dealt) // EXAMPLES_PER_SHARD), int(len(dealt) * bytes_each / _BYTES_PER_SHARD))
        count = (shards or min(by_size, len(units))) if dealt else 0
        for index in range(count):
            name = f"{split}-{index:05d}-of-{count:05d}.tfrecord"
            yield name, split, [dataclasses.astuple(source) for unit in units[index::count] for source in unit]


def _mean_bytes(sources: list[Source]) -> float:
    """Size of an image with its mask, estimated from a sample; 0 if they are not files.

    Of a file that many examples are parts of, such as a scene and its mask, each has an equal share.
    """
    parts = collections.Counter(
        name for source in sources for path in (source.image, source.mask) for name in _possible_files(path)
    )
    sample = sources[:: max(1, len(sources) // _SAMPLED)]
    total = 0.0
    for path in (path for source in sample for path in (source.image, source.mask)):
        sizes = ([file.size / parts[name] for file in find(glob.escape(name))] for name in _possible_files(path))
        total += sum(next(filter(None, sizes), []))
    return total / len(sample)


def _possible_files(path: str) -> list[str]:
    """A path, and that of the file of which it may name a part, such as `scene.tif#r00000_c00256`."""
    return list(dict.fromkeys((path, path.rpartition("#")[0] or path)))


def _all_notes(written: list[_Shard]) -> Notes:
    notes = Notes()
    for shard in written:
        notes.add(shard.notes)
    return notes


def _report(reader: Reader, written: list[_Shard], listing: Listing) -> dict[str, Any]:
    names = reader.label_map.names
    splits, total = {}, np.zeros(257, np.int64)
    for split in SPLITS:
        vector = sum((np.array(shard.counts) for shard in written if shard.split == split), np.zeros(257, np.int64))
        total += vector
        labeled = vector[1 : 1 + len(names)]
        splits[split] = {
            "examples": int(vector[0]),
            "pixel_shares": dict(zip(names, (labeled / max(labeled.sum(), 1)).round(6).tolist(), strict=True)),
            "ignored_pixel_share": round(float(vector[256] / max(vector[1:].sum(), 1)), 6),
        }
    entries = [{"input": entry.input, "reason": entry.reason} for entry in listing.set_aside]
    read = sorted((path, reason) for shard in written for path, reason in shard.set_aside)
    entries += [{"input": path, "reason": reason} for path, reason in read]
    notes = _all_notes(written)
    report = {
        "splits": splits,
        **listing.facts,
        "set_aside": entries,
        "ignored": [{"input": entry.input, "reason": entry.reason} for entry in listing.ignored],
        "notes": notes.to_json(),
    }
    kept = _kept(listing, report)
    pixels = dict(zip(names, total[1 : 1 + len(names)].tolist(), strict=True))
    report["warnings"] = warnings(reader, kept, pixels, int(total[256]), notes)
    for split, groups in _groups(kept).items():
        splits[split]["groups"] = len(groups)
    return report


def _groups(sources: list[Source]) -> dict[str, set[str]]:
    """The groups in each split; empty if there are no groups at all."""
    groups: dict[str, set[str]] = {split: set() for split in SPLITS} if any(one.group for one in sources) else {}
    for source in sources:
        if source.group:
            groups[source.split].add(source.group)
    return groups


def _check_report(report: dict[str, Any], max_set_aside: float, remedy: str) -> None:
    kept = sum(split["examples"] for split in report["splits"].values())
    bad = report["set_aside"]
    share = len(bad) / (kept + len(bad))
    if share > max_set_aside:
        reasons = "".join(f"\n  {entry['input']}: {entry['reason']}" for entry in bad[:10])
        more = f"\n  … and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise UserError(
            f"{len(bad)} of {kept + len(bad)} inputs ({share:.1%}) cannot be used, more than --max-set-aside "
            f"{max_set_aside:.1%} allows; nothing was written:{reasons}{more}" + (f"\n{remedy}" if remedy else "")
        )
