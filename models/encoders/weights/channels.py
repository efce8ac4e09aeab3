"""Filters that were trained on RGB, for images with other channels."""

from __future__ import annotations

from typing import Any


def over_channels(kernel: Any, channels: int) -> Any:
    """The filters of a first convolution for images of C channels.

    RGB keeps them. Otherwise each channel gets the mean of the three filters, times 3 / C:

        W'[:, :, c] = (W[:, :, R] + W[:, :, G] + W[:, :, B]) / C

    so that the response to an image whose channels are all equal is what it was to that gray image in RGB.

    Args:
      kernel: NumPy array, [height, width, 3, filters].
      channels: C.

    Returns:
      [height, width, C, filters].
    """
    if channels == kernel.shape[2]:
        return kernel
    return (kernel.sum(axis=2, keepdims=True) / channels).repeat(channels, axis=2)
