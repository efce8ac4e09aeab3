"""Which folders hold volumes, and which their masks? By names, as for images."""

from __future__ import annotations

import os

from data.base.files import join
from data.formats.base.reader import Recognition
from data.formats.volume.files import DICOM, NIFTI, STACK, is_part_of_series, volume_stem
from data.listing.layout import find_layout

# TIFFs are looked at until one has several pages.
_MOST_LOOKS = 3


def recognize(folder: str, files: list[str]) -> Recognition | None:
    """Whether a folder holds volumes and masks of the same names."""
    names = [file for file in files if file.lower().endswith(NIFTI)]
    series = {os.path.dirname(file) for file in files if _is_dicom(folder, file)}
    stacks = [file for file in files if file.lower().endswith(STACK)]
    if stacks and any(_has_pages(join(folder, file)) for file in stacks[:: max(1, len(stacks) // _MOST_LOOKS)]):
        names += stacks
    if not names and not series:
        return None
    # As if they were images, of which `find_layout` knows how they are laid out.
    stems = {volume_stem(name) for name in names} | series
    layout = find_layout((f"{stem}.png" for stem in sorted(stems)), lambda file: False)
    if layout is None:
        return None
    return Recognition(
        (f"volumes: {layout.reasons[0]}", *layout.reasons[1:]),
        layout.options,
        needs_labels=True,
        assumptions=layout.assumptions,
    )


def _is_dicom(folder: str, file: str) -> bool:
    extension = os.path.splitext(file)[1].lower()
    if extension in DICOM:
        return is_part_of_series(file)
    # Others without a known extension are opened, and a folder may hold very many.
    return not extension and os.path.dirname(file) != "" and is_part_of_series(join(folder, file))


def _has_pages(path: str) -> bool:
    from data.formats.volume.stack import count_pages

    try:
        return count_pages(path) > 1
    except OSError:
        return False
