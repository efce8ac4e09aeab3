"""Whatever a data set's masks are stored as, and however it is laid out: what was meant is read, or refused.

`make test` reads 1,000 data sets, `make test-fuzz` 20,000.
"""

from __future__ import annotations

import io
import shutil

import hypothesis
import numpy as np
from PIL import Image

from data.base.errors import UserError
from data.decoding.consistency import check_consistency
from data.decoding.images import BadImageError
from data.decoding.mask_consistency import SEEN
from data.decoding.notes import Notes, collecting
from data.formats.mask_folder import MaskFolderReader
from data.listing.split_folders import placing
from tests.data.formats.layouts import layouts, write
from tests.fuzz import data_sets
from tests.fuzz.cases import CASES, check_message, fuzz


@hypothesis.settings(fuzz(CASES, shrinks=False))
@hypothesis.given(data_sets.data_sets(), layouts())
def test_what_was_meant_is_read_or_refused(tmp_path_factory, drawn, layout):
    labels, pictures = drawn
    folder = tmp_path_factory.mktemp("data")
    try:
        options = write([picture.example for picture in pictures], folder, data_sets.fitting(layout, pictures))
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
