"""Whatever a data set's masks are stored as, and however it is laid out: what was meant is read, or refused.

`make test` reads 1,000 data sets, `make test-fuzz` 20,000.
"""

from __future__ import annotations

import io
import shutil

import hypothesis
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from data.base.errors import UserError
from data.decoding.consistency import check_consistency
from data.decoding.images import BadImageError
from data.decoding.mask_consistency import SEEN
from data.decoding.notes import Notes, collecting
from data.formats.mask_folder import MaskFolderReader
from data.listing.split_folders import placing
from tests.data.formats.layouts import Example, layouts, write
from tests.fuzz import data_sets
from tests.fuzz.cases import CASES, check_message, fuzz


@st.composite
def drawn_data_sets(draw):
    """Labels, and three to eight pictures whose masks are stored in one to four ways."""
    labels = draw(data_sets.labels())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shown = data_sets.shown_palette(draw, rng, labels)
    has_splits = draw(st.booleans())
    wanted: list[str] = []
    pictures = []
    most = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(data_sets.NAMES), min_size=3, max_size=8, unique=True))
    ids_used = labels.ids if draw(st.booleans()) else labels.ids[: draw(st.integers(1, len(labels.ids)))]
    for number, name in enumerate(names):
        ids = data_sets.scene(rng, ids_used, rng.random() < 0.25)
        ways = data_sets.ways_to_store(ids, labels, shown, rng)
        if not ways:
            ids[ids == 255] = 0
            ways = data_sets.ways_to_store(ids, labels, shown, rng)
        known = [way for way in wanted if way in ways]
        if len(wanted) < most or not known:
            way = str(rng.choice(sorted(ways)))
            wanted.append(way)
        else:
            way = str(rng.choice(known))
        image, pixels = data_sets.image_file(rng, ids.shape)
        split = data_sets.SPLITS[number % 3] if has_splits else ""
        pictures.append(data_sets.Picture(Example(name, split, image, ways[way]()), ids, pixels, way))
    return labels, pictures


@hypothesis.settings(fuzz(CASES))
@hypothesis.given(drawn_data_sets(), layouts())
def test_what_was_meant_is_read_or_refused(tmp_path_factory, drawn, layout):
    labels, pictures = drawn
    if layout.order == "split first" and not pictures[0].example.split:
        layout = layout.__class__(**{**layout.__dict__, "order": "kind first"})
    folder = tmp_path_factory.mktemp("data")
    try:
        options = write([picture.example for picture in pictures], folder, layout)
        check(MaskFolderReader(**options, **labels.options), pictures)
    finally:
        shutil.rmtree(folder)


def check(reader, pictures):
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
        check_message(error, "--")
        check_message(error, *(source.image for source in sources.values()))
        return
    for name, (image, ids) in accepted.items():
        np.testing.assert_array_equal(ids, meant[name].ids, err_msg=meant[name].way)
        pixels = np.asarray(Image.open(io.BytesIO(image.encoded)))
        np.testing.assert_array_equal(pixels, meant[name].pixels)
