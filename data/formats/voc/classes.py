"""The classes and colors of Pascal VOC (Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010)."""

from __future__ import annotations

from data.formats.base.dense import MaskClass

_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def color(index: int) -> tuple[int, int, int]:
    """The color of an index in VOC's palette, which other tools use too: its bits, in turn, from the channels' top."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


VOID = color(255)
VOC_CLASSES = tuple(MaskClass(name, color(index), (index,)) for index, name in enumerate(_NAMES))
