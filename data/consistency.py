"""Decides, once all files of a data set have been read, whether together they mean one thing."""

from __future__ import annotations

from data.decoding.image_type import noted_image_type
from data.decoding.notes import Notes
from data.decoding.orientation import check_orientation
from data.masks.consistency import check_masks


def check_consistency(notes: Notes) -> None:
    """Raises a UserError if files were read in ways that contradict each other; names a file of each and the remedy."""
    check_masks(notes)
    noted_image_type(notes)
    check_orientation(notes)
