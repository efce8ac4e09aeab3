"""Masks of the published data sets' kinds do not look smoothed: outlines of void, thin poles, very many classes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data.masks.edges import values_along_edges
from data.masks.used_values import UsedValues


def outline(generator, width, height, radius):
    angles = np.sort(generator.uniform(0, 2 * np.pi, 14))
    center = generator.uniform(0, (width, height))
    reach = radius * generator.uniform(0.5, 1, (14, 1))
    return [tuple(point) for point in center + reach * np.stack([np.cos(angles), np.sin(angles)], -1)]


def objects_with_void(generator):
    """As in Pascal VOC: objects of 20 classes, each with an outline of 255, five pixels wide."""
    image = Image.new("L", (500, 375))
    draw = ImageDraw.Draw(image)
    for _ in range(generator.integers(1, 12)):
        ring = outline(generator, 500, 375, generator.uniform(8, 150))
        draw.polygon(ring, fill=int(generator.integers(1, 21)))
        draw.line([*ring, ring[0]], fill=255, width=5)
    return image


def street(generator):
    """As in Cityscapes: houses and trees below the sky, and many poles and signs before them, some a pixel wide."""
    image = Image.new("L", (512, 256), 23)
    draw = ImageDraw.Draw(image)
    for left in range(0, 512, 40):
        draw.rectangle([left, generator.integers(0, 100), left + 40, 160], fill=int(generator.choice([11, 21, 22])))
    draw.rectangle([0, 150, 512, 156], fill=8)
    draw.rectangle([0, 157, 512, 256], fill=7)
    for _ in range(40):
        left, width = generator.uniform(0, 512), generator.integers(0, 5)
        draw.rectangle([left, generator.uniform(0, 100), left + width, 156], fill=int(generator.choice([17, 12, 13])))
        draw.rectangle([left - 4, 60, left + 6, 70], fill=int(generator.choice([19, 20])))
    return image


def rooms(generator):
    """As in ADE20K: 150 classes, large areas, small objects and thin lines."""
    image = Image.new("L", (400, 300))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        ring = outline(generator, 400, 300, generator.uniform(4, 150))
        draw.polygon(ring, fill=int(generator.integers(1, 151)))
        draw.line([ring[0], ring[7]], fill=int(generator.integers(1, 151)), width=int(generator.integers(1, 7)))
    return image


def found(image):
    pixels = np.array(image)
    return values_along_edges(pixels, UsedValues.of(pixels))


@pytest.mark.parametrize("make", [objects_with_void, street, rooms])
def test_exact_masks_pass_and_smoothed_ones_do_not(make):
    generator = np.random.default_rng(0)
    for _ in range(8):
        image = make(generator)
        assert found(image) == []
        assert found(image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR))
