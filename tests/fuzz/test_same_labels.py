"""Whatever a data set's masks are stored as, and however it is laid out: what was meant is read, or refused.

`make test` reads 300 data sets, `make test-fuzz` 20,000.
"""

from __future__ import annotations

import dataclasses
import io
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from data.base.errors import UserError
from data.consistency import check_consistency
from data.convert import convert
from data.decoding.images import BadImageError
from data.decoding.notes import Notes, collecting
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from data.label_map_files import MaskLabels
from data.listing.split_folders import placing
from data.masks.class_ids import class_ids, read_mask
from data.masks.consistency import SEEN
from tests.data.formats.layouts import layouts, write
from tests.data.masks.encodings import png, saved
from tests.fuzz import data_sets
from tests.fuzz.cases import CASES, check_message, fuzz

pytestmark = pytest.mark.one_line


@hypothesis.settings(fuzz(CASES, shrinks=False))
@hypothesis.given(data_sets.data_sets(), layouts())
def test_what_was_meant_is_read_or_refused(tmp_path_factory, drawn, layout):
    labels, pictures = drawn
    folder = tmp_path_factory.mktemp("data")
    try:
        options = write([picture.example for picture in pictures], folder, data_sets.fitting(layout, pictures))
        check(MaskFolderReader(**options, **labels.options), pictures, is_clear(labels, pictures))
    finally:
        shutil.rmtree(folder)


@hypothesis.settings(fuzz(CASES // 200, shrinks=False))
@hypothesis.given(data_sets.data_sets(is_whole=True), layouts())
def test_whole_conversions_write_the_same_bytes(tmp_path_factory, drawn, layout):
    labels, pictures = drawn
    hypothesis.assume({picture.example.split for picture in pictures} == set(data_sets.SPLITS))
    folder = tmp_path_factory.mktemp("data")
    examples = [picture.example for picture in pictures]
    plain = [dataclasses.replace(picture.example, mask=png(picture.ids)) for picture in pictures]
    ids = {class_id: class_id for class_id in (*labels.ids, 255)}
    as_ids = MaskLabels(label_map=LabelMap.from_names(labels.label_map.names), values=ids, has_colors=False)
    found = {}
    for name, those, meaning in (("plain", plain, {"labels": as_ids}), ("drawn", examples, labels.options)):
        reader = MaskFolderReader(**write(those, folder / name, layout), **meaning)
        try:
            convert(reader, str(folder / name / "records"), shards=1)
        except UserError as error:
            check_message(error, "--")
            found[name] = []
        found[name] = [path.read_bytes() for path in sorted((folder / name / "records").glob("*.tfrecord"))]
    shutil.rmtree(folder)
    assert len(found["plain"]) == 3
    assert found["drawn"] == found["plain"] or (found["drawn"] == [] and not is_clear(labels, pictures))


def drawing(rng, ids, size=96):
    """Polygons of some classes."""
    image = Image.new("L", (size, size), int(rng.choice(ids)))
    for _ in range(8):
        corners = [(x, y) for x, y in rng.uniform(0, size, (5, 2)).tolist()]
        ImageDraw.Draw(image).polygon(corners, fill=int(rng.choice(ids)))
    return image


def lossy(image, how):
    """The same as a tool stores it that takes masks for photographs, in a file that keeps all values."""
    if how == "JPEG":
        return Image.open(io.BytesIO(saved(image, "JPEG", quality=90))).copy()
    if how == "blurred":
        return image.filter(ImageFilter.GaussianBlur(1))
    return image.resize((3 * image.width // 2, 3 * image.height // 2), Image.Resampling[how])


HOW = st.sampled_from(["JPEG", "blurred", "BILINEAR", "BICUBIC", "LANCZOS", "BOX"])


@hypothesis.settings(fuzz(CASES // 5, shrinks=False))
@hypothesis.given(data_sets.labels(), HOW, st.booleans(), st.integers(0, 2**32 - 1))
def test_mixtures_of_classes_are_never_read_as_classes(labels, how, in_color, seed):
    rng = np.random.default_rng(seed)
    ids = np.array(drawing(rng, labels.ids), np.int64)
    table = {class_id: values[:1] for class_id, values in labels.values.items()}
    values = data_sets.stored_values(ids, table, rng)
    in_color &= labels.has_colors
    hypothesis.assume(in_color or values.max() < 256)
    colors = np.array(labels.label_map.palette, np.uint8)
    mask = np.asarray(lossy(Image.fromarray(colors[ids] if in_color else values.astype(np.uint8)), how))
    known = {tuple(color) for color in colors.tolist()} if in_color else set(labels.values[255]) | set(values.ravel())
    mixed = {tuple(color) for color in mask.reshape(-1, 3).tolist()} if in_color else set(mask.ravel().tolist())
    # What is mixed to nothing but values of classes looks like classes; see below.
    hypothesis.assume(not mixed <= known | {value for of in labels.values.values() for value in of})
    meaning = MaskFolderReader(folder="data", **labels.options).meaning
    if in_color:
        hypothesis.assume(len({tuple(color) for color in mask.reshape(-1, 3).tolist()} - known) > 0)
    with pytest.raises(BadImageError):
        class_ids(read_mask(saved(Image.fromarray(mask), "PNG"), 1_000_000), meaning)


@pytest.mark.parametrize(("how", "least"), [("JPEG", 0.95), ("blurred", 0.85), ("BILINEAR", 0.85), ("LANCZOS", 0.85)])
def test_most_mixtures_that_are_all_ids_are_noticed(how, least):
    labels = LabelMap.from_names([f"class {index}" for index in range(150)])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        mask = np.asarray(lossy(drawing(rng, range(100)), how))
        try:
            class_ids(read_mask(png(mask), 1_000_000), labels)
            found.append(0)
        except BadImageError:
            found.append(1)
    assert np.mean(found) >= least


def is_clear(labels, pictures):
    """Whether nothing about the masks is doubtful, so that all of them must be read."""
    plain = data_sets.PLAIN_VALUES + (data_sets.PLAIN_COLORS if labels.has_colors else ())
    return all(
        picture.way.startswith(plain) and not (picture.ids == 255).any() and not labels.may_be_either(picture.ids)
        for picture in pictures
    ) and not any(255 in labels.values[class_id] for class_id in labels.ids)


def check(reader, pictures, is_clear=False):
    listing = reader.listing()
    assert listing.set_aside == []
    meant = {picture.example.name: picture for picture in pictures}
    sources = {placing(source.source_id).rest: source for source in listing.sources}
    assert sources.keys() == meant.keys()
    notes, accepted, reasons = Notes(), {}, {}
    for name, source in sources.items():
        with collecting(source.image) as noted:
            try:
                accepted[name] = reader.read(source)
            except BadImageError as error:
                check_message(error)
                reasons[name] = str(error)
                noted = noted.of_kinds(SEEN)
        notes.add(noted)
    assert not [name for name, reason in reasons.items() if "unreadable" in reason], reasons
    try:
        check_consistency(notes)
    except UserError as error:
        reasons[""] = str(error)
        check_message(error, "--")
        check_message(error, *(source.image for source in sources.values()))
        accepted = {}
    assert not (is_clear and reasons), reasons
    for name, labeled in accepted.items():
        image, ids = labeled.image, labeled.class_ids
        np.testing.assert_array_equal(ids, meant[name].ids, err_msg=meant[name].way)
        pixels = np.asarray(Image.open(io.BytesIO(image.encoded)))
        np.testing.assert_array_equal(pixels, meant[name].pixels)
