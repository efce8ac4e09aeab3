"""The same labels in every encoding that tools use."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from data.label_map import LabelMap

GRAY, RGB, GRAY_ALPHA, RGBA = 0, 2, 4, 6
PALETTE_FORMATS = ("PNG", "GIF", "TIFF", "BMP")
Encode = Callable[[], bytes]
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def packed(samples: np.ndarray, bits: int) -> np.ndarray:
    """Rows of [height, width, channels] samples as bytes, which Pillow does not write for most depths."""
    rows = samples.reshape(len(samples), -1)
    if bits == 16:
        return rows.astype(">u2").view(np.uint8)
    wide = np.unpackbits(rows.astype(np.uint8)[..., np.newaxis], axis=2)[..., 8 - bits :]
    return np.packbits(wide.reshape(len(rows), -1), axis=1)


def png(
    samples: np.ndarray, bits: int = 8, color_type: int = GRAY, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """A PNG of [height, width] or [height, width, channels] samples, of any depth, with or without interlacing."""

    def rows(part: np.ndarray) -> bytes:
        return b"".join(b"\0" + row.tobytes() for row in packed(part, bits))

    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [samples]
    pixels = b"".join(rows(part) for part in passes if part.size)
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(ids: np.ndarray, bits: int, photometric: int = 1, sample_format: int = 1, **more: int) -> bytes:
    """A TIFF of [height, width] ids as they are, whatever the photometric interpretation says."""
    height, width = ids.shape
    rows = packed(ids, bits).tobytes() if bits < 16 else ids.astype(f"<u{bits // 8}").tobytes()
    # Width, height, bits, no compression, which value is black, offset, one sample, rows in the strip, its size.
    values = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height, 279: len(rows)}
    values |= {339: sample_format} | {int(tag[1:]): value for tag, value in more.items()}
    values[273] = 8 + 2 + 12 * len(values) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + rows


def palette_image(ids: np.ndarray, palette: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(palette.astype(np.uint8).ravel().tolist())
    return image


def shuffled_palette(ids: np.ndarray, label_map: LabelMap, rng: np.random.Generator) -> Image.Image:
    """The ids as a palette image with the label map's colors in an order of the tool's."""
    return _shuffled(np.array(label_map.palette, np.uint8)[ids], np.array(label_map.palette), rng)


def _shuffled(pixels: np.ndarray, colors: np.ndarray, rng: np.random.Generator) -> Image.Image:
    palette = rng.permutation(colors)
    places = {tuple(color): index for index, color in enumerate(palette.tolist())}
    indices = np.array([[places[tuple(color)] for color in row] for row in pixels.tolist()])
    return palette_image(indices, palette)


def encodings(ids: np.ndarray, label_map: LabelMap, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Encodings of [height, width] class ids, each with a name; none holds 255."""
    for name, encode in {**ways_to_store_values(ids), **ways_to_store_colors(ids, label_map, rng)}.items():
        yield name, encode()
    palette = np.array(label_map.palette)
    for name, encode in ways_to_store_indices(ids, palette).items():
        yield name, encode()


def _of_any_value(values: np.ndarray) -> dict[str, Encode]:
    high = 65535 - values
    return {
        "gray PNG, 16 bits": lambda: png(values, 16),
        "gray PNG, 16 bits, interlaced": lambda: png(values, 16, interlaced=True),
        "gray TIFF, 16 bits": lambda: tiff(values, 16),
        "gray TIFF, 16 bits, 0 is white": lambda: tiff(high, 16, photometric=0),
        "signed TIFF, 16 bits": lambda: tiff(values, 16, sample_format=2),
        "TIFF, 32 bits": lambda: saved(Image.fromarray(values.astype(np.int32)), "TIFF"),
        "TIFF, 32 bits, LZW": lambda: saved(Image.fromarray(values.astype(np.int32)), "TIFF", compression="tiff_lzw"),
        "float TIFF": lambda: saved(Image.fromarray(values.astype(np.float32)), "TIFF"),
        "gray and alpha, 16 bits": lambda: png(np.stack([values, np.full_like(values, 65535)], -1), 16, GRAY_ALPHA),
        "ids in RGB, 16 bits": lambda: png(np.repeat(values[..., np.newaxis], 3, axis=-1), 16, RGB),
    }


def ways_to_store_values(values: np.ndarray) -> dict[str, Encode]:
    """Ways to store [height, width] numbers from 0 to 65535 as they are, by name."""
    ways = _of_any_value(values)
    for bits in (1, 2, 4, 8):
        if values.max() < 2**bits:
            ways[f"gray PNG, {bits} bits"] = functools.partial(png, values, bits)
            ways[f"gray PNG, {bits} bits, interlaced"] = functools.partial(png, values, bits, interlaced=True)
            ways[f"gray TIFF, {bits} bits"] = functools.partial(tiff, values, bits)
            inverse = functools.partial(tiff, 2**bits - 1 - values, bits, photometric=0)
            ways[f"gray TIFF, {bits} bits, 0 is white"] = inverse
    if values.max() < 128:
        ways["signed TIFF, 8 bits"] = functools.partial(tiff, values, 8, sample_format=2)
    if values.max() > 255:
        return ways
    gray = Image.fromarray(values.astype(np.uint8))
    opaque = Image.new("L", gray.size, 255)
    # Words about the picture, its size in millimeters, and its gamma change no value.
    beside = chunk(b"tEXt", b"Comment\0" + b"x" * 100) + chunk(b"gAMA", struct.pack(">I", 45455))
    ways |= {
        "gray PNG, 8 bits, with text": lambda: png(values, 8, extra=beside),
        "gray BMP": lambda: saved(gray, "BMP"),
        "gray GIF": lambda: saved(gray, "GIF"),
        "gray TIFF, LZW": lambda: saved(gray, "TIFF", compression="tiff_lzw"),
        "gray TIFF, deflate": lambda: saved(gray, "TIFF", compression="tiff_adobe_deflate"),
        "gray WebP": lambda: saved(gray.convert("RGB"), "WEBP", lossless=True),
        "gray and alpha": lambda: saved(Image.merge("LA", [gray, opaque]), "PNG"),
        "gray and alpha, TIFF": lambda: saved(Image.merge("LA", [gray, opaque]), "TIFF"),
        **_ways_to_store_rgb("ids in RGB", np.repeat(values[..., np.newaxis], 3, axis=-1).astype(np.uint8)),
    }
    return ways


def ways_to_store_colors(ids: np.ndarray, label_map: LabelMap, rng: np.random.Generator) -> dict[str, Encode]:
    """Ways to store [height, width] class ids by the colors of a label map, by name."""
    table = np.zeros((256, 3), np.uint8)
    for label in label_map.root:
        table[label.id] = label.color
    pixels, colors = table[ids], np.array([label.color for label in label_map.root])
    image = Image.fromarray(pixels)
    ways = _ways_to_store_rgb("colors", pixels)
    ways["colors, 16 bits"] = lambda: png(pixels.astype(np.uint16) * 257, 16, RGB)
    ways["quantized"] = lambda: saved(image.quantize(256, dither=Image.Dither.NONE), "PNG")
    ways["adaptive palette"] = lambda: saved(image.convert("P", palette=Image.Palette.ADAPTIVE), "GIF")
    ways["palette of the ids, GIF by Pillow"] = lambda: saved(palette_image(ids, table), "GIF")
    for file_format in PALETTE_FORMATS:
        ways[f"palette shuffled, {file_format}"] = lambda f=file_format: saved(_shuffled(pixels, colors, rng), f)
    if (pixels == pixels[..., :1]).all():
        ways["colors in gray, PNG"] = lambda: saved(Image.fromarray(pixels[..., 0]), "PNG")
        ways["colors in gray, TIFF"] = lambda: saved(Image.fromarray(pixels[..., 0]), "TIFF")
    if set(np.unique(pixels)) <= {0, 255} and "colors in gray, PNG" in ways:
        ways |= ways_to_store_black_and_white(pixels[..., 0])
    return ways


def ways_to_store_indices(values: np.ndarray, palette: np.ndarray) -> dict[str, Encode]:
    """Ways to store [height, width] numbers up to 255 as indices of a [n, 3] palette, by name."""
    return {
        # Pillow would order a GIF's palette itself.
        f"palette in order, {file_format}": lambda f=file_format: saved(
            palette_image(values, palette), f, optimize=False
        )
        for file_format in PALETTE_FORMATS
    }


def ways_to_store_black_and_white(values: np.ndarray) -> dict[str, Encode]:
    """Ways to store a [height, width] mask of 0 and 255 in one bit, by name."""
    image = Image.fromarray(values.astype(np.uint8)).convert("1", dither=Image.Dither.NONE)
    return {
        "black and white, PNG": lambda: saved(image, "PNG"),
        "black and white, BMP": lambda: saved(image, "BMP"),
        "black and white, GIF": lambda: saved(image, "GIF"),
        "black and white, fax": lambda: saved(image, "TIFF", compression="group4"),
    }


def _ways_to_store_rgb(name: str, pixels: np.ndarray) -> dict[str, Encode]:
    image = Image.fromarray(pixels)
    opaque = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=-1)
    return {
        f"{name}, PNG": lambda: saved(image, "PNG"),
        f"{name}, PNG, interlaced": lambda: png(pixels, 8, RGB, interlaced=True),
        f"{name}, RGBA": lambda: saved(Image.fromarray(opaque), "PNG"),
        f"{name}, RGBA, TIFF": lambda: saved(Image.fromarray(opaque), "TIFF"),
        f"{name}, BMP": lambda: saved(image, "BMP"),
        f"{name}, TIFF": lambda: saved(image, "TIFF", compression="tiff_deflate"),
        f"{name}, WebP": lambda: saved(image, "WEBP", lossless=True, exact=True),
    }
