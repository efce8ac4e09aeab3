"""Keeps a sample of what a server answers, in a folder that never outgrows its limits.

It serves the server, not the other way round: no request waits for the disk, and whatever goes wrong here ends the
keeping alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import queue
import random
import secrets
import threading
import time
from collections.abc import Iterable, Sequence

import numpy as np
import prometheus_client

from data.base.errors import UserError, one_line
from data.base.files import is_remote
from data.decoding.images import BadImageError, encode_png, read_image
from data.decoding.orientation import exif_orientation
from data.decoding.structure import read_header
from models.serving.server.batching import Answer
from models.serving.traffic.records import SUFFIX, KeptImage, kept_days, new_request_id

_LOG = logging.getLogger("segpipe.model_server")
_PARTIAL = ".partial"
# A file is written once it has so many images or bytes, or its first image so many seconds.
_FILE_IMAGES, _FILE_BYTES, _FILE_SECONDS = 32, 8e6, 5.0
# What may wait for the disk.
_WAITING_BYTES = 64e6
_EXPIRE_SECONDS = 30.0
# No server takes so long for a file; whoever began it was killed.
_ABANDONED_SECONDS = 3600.0


@dataclasses.dataclass(frozen=True)
class _Sample:
    request_id: str
    images: Sequence[bytes]
    sizes: Sequence[tuple[int, int]]
    answer: Answer
    bytes: int
    time: float


class Keeper:
    """Keeps answered requests, each with a probability.

    Several may keep into one folder. What is in it and does not look like a kept file is never touched.

    Args:
      folder: of the days' folders; it is made.
      share: the probability.
      days: how many UTC days are kept, today's included; what is older is deleted, also if no request comes.
      megabytes: limit of the folder, in 10⁶ bytes; the oldest files are deleted first.

    Attributes:
      is_keeping: whether it still is.
      metrics: for Prometheus.

    Raises:
      UserError: if it cannot write there.
    """

    def __init__(self, folder: str, share: float, days: int, megabytes: float):
        self._folder, self._share, self._days, self._max_bytes = folder, share, days, int(megabytes * 1e6)
        self._check_folder()
        self.is_keeping = True
        self._kept = prometheus_client.Counter("segpipe_kept", "Images that were kept.", registry=None)
        self._missed = prometheus_client.Counter(
            "segpipe_kept_missed", "Images that were to be kept, but the disk was too slow or they too large.",
            registry=None,
        )  # fmt: skip
        keeping = prometheus_client.Gauge("segpipe_keeping", "1 while requests are kept.", registry=None)
        keeping.set_function(lambda: self.is_keeping)
        self.metrics = (self._kept, self._missed, keeping)
        self._samples: queue.SimpleQueue[_Sample | None] = queue.SimpleQueue()
        self._waiting_bytes, self._lock = 0, threading.Lock()
        # The file that comes next: its day, its records, and when it was begun.
        self._day, self._records, self._begun = "", list[bytes](), 0.0
        self._next_look = 0.0
        self._thread = threading.Thread(target=self._run, name="keeping", daemon=True)
        self._thread.start()

    def offer(self, images: Sequence[bytes], sizes: Sequence[tuple[int, int]], answer: Answer) -> str:
        """Perhaps keeps the images of a request that was answered; it never waits.

        Args:
          images: as they were sent.
          sizes: height and width of each, upright.
          answer: to them.

        Returns:
          The request's id.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        request_id = new_request_id(now)
        if self.is_keeping and random.random() < self._share:
            size = sum(map(len, images))
            size += sum(found.class_ids.nbytes + found.confidence.nbytes for found in answer.segmentations)
            with self._lock:
                fits = not self._waiting_bytes or self._waiting_bytes + size <= _WAITING_BYTES
                self._waiting_bytes += size if fits else 0
            if fits:
                self._samples.put(_Sample(request_id, images, sizes, answer, size, now.timestamp()))
            else:
                self._missed.inc(len(images))
        return request_id

    def close(self) -> None:
        """Writes what was offered, and ends."""
        self._samples.put(None)
        self._thread.join(30.0)

    def _check_folder(self) -> None:
        if is_remote(self._folder):
            raise UserError(f"--keep {self._folder} must be a folder on this machine")
        try:
            os.makedirs(self._folder, exist_ok=True)
            tried = os.path.join(self._folder, f".{secrets.token_hex(8)}{_PARTIAL}")
            with open(tried, "xb"):
                pass
            os.remove(tried)
        except OSError as error:
            raise UserError(
                f"--keep {self._folder}: {error.strerror}; name a folder that this user can write"
            ) from None

    def _run(self) -> None:
        sample: _Sample | None = None
        is_open = True
        while is_open:
            try:
                sample = self._samples.get(timeout=1.0)
                is_open = sample is not None
            except queue.Empty:
                sample = None
            try:
                # What is too old goes even if nothing can be kept any more.
                if time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + _EXPIRE_SECONDS
                    self._delete(0)
                if sample and self.is_keeping:
                    self._add(sample)
                if self._records and (not is_open or time.monotonic() - self._begun >= _FILE_SECONDS):
                    self._write()
            except Exception as error:
                self._end(error)
            if sample:
                with self._lock:
                    self._waiting_bytes -= sample.bytes

    def _end(self, error: Exception) -> None:
        if self.is_keeping:
            why = (isinstance(error, OSError) and error.strerror) or one_line(error)
            _LOG.error("requests are no longer kept in %s: %s; the server goes on without", self._folder, why)
        self.is_keeping = False
        self._records.clear()

    def _add(self, sample: _Sample) -> None:
        day = datetime.datetime.fromtimestamp(sample.time, datetime.timezone.utc).date().isoformat()
        for record in self._serialized(sample):
            waiting = sum(map(len, self._records))
            if self._records and (day != self._day or waiting + len(record) > min(_FILE_BYTES, self._max_bytes / 4)):
                self._write()
            if not self._records:
                self._day, self._begun = day, time.monotonic()
            self._records.append(record)
            if len(self._records) >= _FILE_IMAGES:
                self._write()

    def _serialized(self, sample: _Sample) -> Iterable[bytes]:
        model = sample.answer.model
        for index, (image, size, found) in enumerate(
            zip(sample.images, sample.sizes, sample.answer.segmentations, strict=True), start=1
        ):
            try:
                # Readers of TFRecords take images as they are stored.
                if exif_orientation(image) != 1:
                    image = read_image(image, None, size[0] * size[1]).encoded
            except BadImageError:
                self._missed.inc()
                continue
            header = read_header(image)
            counts = np.bincount(found.class_ids.ravel(), minlength=len(model.label_map.names))
            yield KeptImage(
                source_id=sample.request_id + (f"-{index}" if index > 1 else ""),
                image=image,
                image_format=header.format if header else "npy",
                height=size[0],
                width=size[1],
                class_ids=encode_png(found.class_ids),
                confidence=float(found.confidence.mean(dtype=np.float64)),
                class_shares=(counts / found.class_ids.size).tolist(),
                version=model.version,
                time=sample.time,
            ).serialize()

    def _write(self) -> None:
        """Writes the file under a hidden name, and renames it once it is complete."""
        import tensorflow as tf

        records, self._records = self._records, []
        size = sum(len(record) + 16 for record in records)  # With TFRecord's lengths and checksums.
        if self._day < _first_day(self._days) or size > self._max_bytes:
            self._missed.inc(len(records))
            return
        self._delete(size)
        folder = os.path.join(self._folder, self._day)
        # Not the folder above, which somebody removed.
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        name = f"{time.time_ns() // 1_000_000}-{secrets.token_hex(4)}"
        partial = os.path.join(folder, f".{name}{_PARTIAL}")
        try:
            with tf.io.TFRecordWriter(partial) as writer:
                for record in records:
                    writer.write(record)
            os.rename(partial, os.path.join(folder, name + SUFFIX))
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(partial)
            raise
        self._kept.inc(len(records))

    def _delete(self, needed: int) -> None:
        """Deletes the days that are over, what killed servers left, and the oldest files until there is room."""
        files = []
        for day in kept_days(self._folder):
            folder, is_over = os.path.join(self._folder, day), day < _first_day(self._days)
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:  # Another server, or a person, was faster.
                continue
            for entry in entries:
                is_partial = entry.name.endswith(_PARTIAL)
                if not (is_partial or entry.name.endswith(SUFFIX)):
                    continue
                with contextlib.suppress(FileNotFoundError):  # Likewise.
                    status = entry.stat()
                    if is_over or (is_partial and time.time() - status.st_mtime > _ABANDONED_SECONDS):
                        os.remove(entry.path)
                    else:
                        files.append((day, is_partial, entry.name, entry.path, status.st_size))
            if is_over:
                with contextlib.suppress(OSError):  # It holds what somebody else put there.
                    os.rmdir(folder)
        total = needed + sum(size for *_, size in files)
        for _, is_partial, _, path, size in sorted(files):
            if total <= self._max_bytes:
                return
            if not is_partial:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
                total -= size


def _first_day(days: int) -> str:
    """The oldest UTC day that is still kept."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return (today - datetime.timedelta(days=days - 1)).isoformat()
