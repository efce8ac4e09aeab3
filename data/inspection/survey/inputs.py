"""What can be inspected: a data set of any format, or a folder of TFRecords."""

from __future__ import annotations

import abc
import dataclasses
import json
import re
from collections.abc import Iterator

import numpy as np

from data.base.errors import UserError
from data.base.files import exists, is_folder, join, read_bytes
from data.contract import (
    GROUP,
    IGNORE_LABEL,
    IMAGE,
    LABEL_MAP_FILE,
    MASK,
    REPORT_FILE,
    SLICE,
    SOURCE_ID,
    SPLITS,
    compression_type,
    example_name,
)
from data.decoding.image_type import ImageType, of_report
from data.decoding.images import BadImageError, EncodedImage, decode, open_image, read_image, upright_size
from data.decoding.notes import Notes
from data.formats import Reader, SetAside, Source
from data.formats.base.reader import MAX_PIXELS
from data.input_files import find_input_files
from data.label_map import LabelMap
from data.spans import SPAN, find_spans


@dataclasses.dataclass(frozen=True)
class Content:
    """The bytes of an image and of its mask, where the process that finds an input has read them already."""

    image: bytes
    mask: bytes


Input = tuple[Source, Content | None]


class Inputs(abc.ABC):
    """Everything to look at. It travels to other processes, which only call `read`.

    Attributes:
      label_map: the classes.
      total: how many inputs there are, if that is known before they are read.
      set_aside: inputs that were left out before any was read.
      ignored: inputs that the data set itself does not list.
      notes: what was noticed when the data set was converted; of one that was not, what is noticed now counts.
      fill_splits: what to do if a split is empty.
      images: what images are, as far as a conversion says it.
    """

    label_map: LabelMap
    total: int | None = None
    set_aside: list[SetAside]
    ignored: list[SetAside]
    notes: Notes
    fill_splits: str = "add some, or change the shares with --split"
    images: ImageType | None = None

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Input]:
        """All inputs, always in the same order."""

    @abc.abstractmethod
    def find(self, sources: list[Source]) -> list[Input]:
        """Some of the inputs again."""

    @abc.abstractmethod
    def read(self, source: Source, content: Content | None) -> tuple[EncodedImage, np.ndarray]:
        """An image and its mask, [height, width] uint8 class ids.

        Args:
          source: one of the inputs.
          content: its bytes, where they came with it.

        Raises:
          BadImageError: if the pair cannot be used.
          OSError: if a file cannot be read.
        """


class DataSet(Inputs):
    """What a reader lists, read as the conversion reads it."""

    def __init__(self, reader: Reader):
        """Lists the data set.

        Raises:
          UserError: if it is not one of the reader's format, or holds no image with its labels.
        """
        listing = reader.listing()
        listing.check_any()
        self._reader = reader
        self._sources = listing.sources
        self.label_map = reader.label_map
        self.total = len(listing.sources)
        if len({source.split for source in listing.sources}) < len(SPLITS):
            self.fill_splits = reader.fill_splits(listing.sources)
        self.set_aside, self.ignored = listing.set_aside, listing.ignored
        self.notes = Notes()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sources": [], "set_aside": [], "ignored": []}

    def __iter__(self) -> Iterator[Input]:
        return ((source, None) for source in self._sources)

    def find(self, sources: list[Source]) -> list[Input]:
        return [(source, None) for source in sources]

    def read(self, source: Source, content: Content | None) -> tuple[EncodedImage, np.ndarray]:
        labeled = self._reader.read(source)
        return labeled.image, labeled.class_ids


def are_tfrecords(path: str) -> bool:
    """Whether a path is one of TFRecords that segpipe can read: a folder with a label map beside them, or spans."""
    return SPAN in path or (exists(join(path, LABEL_MAP_FILE)) and any(find_input_files(path).of_split.values()))


class Records(Inputs):
    """TFRecords in a folder, or in the folders of all spans."""

    def __init__(self, path: str):
        """Finds the files.

        Raises:
          UserError: if there are none, a name leaves doubts, or there is no label map.
        """
        folders = list(find_spans(path).values()) if SPAN in path else [path.rstrip("/")]
        if not is_folder(folders[0]):
            raise UserError(f"{folders[0]} is not a folder")
        found = [find_input_files(folder) for folder in folders]
        self._files = [(split, file.path) for files in found for split in SPLITS for file in files.of_split[split]]
        if not self._files:
            raise UserError(f"{path} holds no TFRecords named {', '.join(f'{split}*' for split in SPLITS)}")
        self.label_map = LabelMap.load(join(folders[-1], LABEL_MAP_FILE))
        self.set_aside, self.notes = [], Notes()
        self.ignored = [SetAside(path, "no TFRecord of a split") for files in found for path in files.left_out]
        for report in (join(folder, REPORT_FILE) for folder in folders):
            if exists(report):
                self._add_report(report)

    def _add_report(self, path: str) -> None:
        try:
            report = json.loads(read_bytes(path))
            self.set_aside += [SetAside(entry["input"], entry["reason"]) for entry in report["set_aside"]]
            self.ignored += [SetAside(entry["input"], entry["reason"]) for entry in report.get("ignored", [])]
            self.notes.add(Notes.from_json(report.get("notes", Notes().to_json())))
            self.images = of_report(report)
            self.total = (self.total or 0) + sum(split["examples"] for split in report["splits"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is not the report of a conversion ({type(error).__name__}: {error}); "
                "convert again, or remove it, and inspect the TFRecords without it"
            ) from None

    def __iter__(self) -> Iterator[Input]:
        for split, path in self._files:
            yield from self._read_file(split, path)

    def find(self, sources: list[Source]) -> list[Input]:
        wanted = {source.image for source in sources}
        paths = {_place(image)[0] for image in wanted}
        found: dict[str, Input] = {}
        for split, path in self._files:
            if path in paths:
                found |= {item[0].image: item for item in self._read_file(split, path) if item[0].image in wanted}
        return [found[source.image] for source in sources if source.image in found]

    def _read_file(self, split: str, path: str) -> Iterator[Input]:
        import tensorflow as tf

        records = iter(tf.data.TFRecordDataset(path, compression_type=compression_type(path)))
        for index in range(1 << 62):
            image = f"{path}#{index}"
            try:
                feature = tf.train.Example.FromString(next(records).numpy()).features.feature
            except StopIteration:
                return
            except tf.errors.OpError:
                yield Source(image, split, image, "the file is damaged from here on"), None
                return
            except Exception:  # What protocol buffers raise depends on their implementation.
                yield Source(image, split, image, "not a tf.train.Example"), None
                continue
            values = {
                name: b"".join(feature[name].bytes_list.value[:1]) if name in feature else b""
                for name in (IMAGE, MASK, SOURCE_ID, SLICE, GROUP)
            }
            texts = {name: values[name].decode(errors="replace") for name in (SLICE, GROUP)}
            name = example_name(values[SOURCE_ID], values[IMAGE])
            source = Source(name, split, image, "", texts[SLICE], texts[GROUP])
            yield source, Content(values[IMAGE], values[MASK])

    def read(self, source: Source, content: Content | None) -> tuple[EncodedImage, np.ndarray]:
        if content is None:
            raise BadImageError(source.mask)
        for name, value in ((IMAGE, content.image), (MASK, content.mask)):
            if not value:
                raise BadImageError(f"{source.source_id} has no {name}")
        mask = decode(content.mask, MAX_PIXELS)
        if mask.format != "PNG" or mask.mode != "L":
            raise BadImageError(f"the mask of {source.source_id} is not a gray PNG of 8 bits")
        ids = np.asarray(mask)
        wrong = ids[(ids >= len(self.label_map)) & (ids != IGNORE_LABEL)]
        if wrong.size:
            raise BadImageError(f"class id {wrong[0]} in the mask of {source.source_id} is not in the label map")
        height, width = upright_size(content.image)
        if (height, width) != ids.shape:
            raise BadImageError(
                f"sizes differ: the image of {source.source_id} has {width}x{height} pixels, the mask "
                f"{mask.width}x{mask.height}"
            )
        nodata = self.images.nodata if self.images else None
        return read_image(content.image, mask.size, MAX_PIXELS, "upright", nodata), ids


def _place(image: str) -> tuple[str, int]:
    """File and number of an example."""
    path, _, index = image.rpartition("#")
    return path, int(index)


def file_kind(source: Source, content: Content | None) -> str:
    """How an image is stored, such as `JPEG, RGB` or `PNG, gray, 16 bits`; empty if it is not a file."""
    try:
        header = open_image(content.image if content else read_bytes(source.image))
    except Exception:  # It may be the number of a slice; and of a broken file the reader says what is wrong.
        return ""
    mode = str(header.mode)
    names = {"L": "gray", "1": "gray, 1 bit", "P": "palette", "LA": "gray and alpha", "I": "gray, 16 or 32 bits"}
    kind = "gray, 16 bits" if mode.startswith("I;16") else names.get(mode, mode)
    return f"{re.sub('[^A-Z0-9]', '', str(header.format))}, {kind}"
