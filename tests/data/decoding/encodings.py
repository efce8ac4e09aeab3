"""The same labels in every encoding that tools use."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data.label_map import LabelMap

GRAY, RGB, GRAY_ALPHA, RGBA = 0, 2, 4, 6
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
    order = rng.permutation(len(label_map))
    palette = np.zeros((len(order), 3), np.uint8)
    palette[order] = label_map.palette
    return palette_image(order[ids], palette)


def encodings(ids: np.ndarray, label_map: LabelMap, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Encodings of [height, width] class ids, each with a name; none holds 255."""
    colors = np.array(label_map.palette, np.uint8)[ids]
    same = np.repeat(ids[..., np.newaxis], 3, axis=-1).astype(np.uint8)
    opaque = np.full((*ids.shape, 1), 255, np.uint8)
    gray = Image.fromarray(ids.astype(np.uint8))
    for bits in (1, 2, 4, 8, 16):
        if ids.max() < 2**bits:
            yield f"gray PNG, {bits} bits", png(ids, bits)
            yield f"gray PNG, {bits} bits, interlaced", png(ids, bits, interlaced=True)
            yield f"gray TIFF, {bits} bits", tiff(ids, bits)
            yield f"gray TIFF, {bits} bits, 0 is white", tiff(2**bits - 1 - ids, bits, photometric=0)
    yield "signed TIFF, 8 bits", tiff(ids, 8, sample_format=2)
    yield "signed TIFF, 16 bits", tiff(ids, 16, sample_format=2)
    yield "TIFF, 32 bits", saved(Image.fromarray(ids.astype(np.int32)), "TIFF")
    yield "float TIFF", saved(Image.fromarray(ids.astype(np.float32)), "TIFF")
    yield "gray BMP", saved(gray, "BMP")
    yield "gray GIF", saved(gray, "GIF")
    yield "gray TIFF, LZW", saved(gray, "TIFF", compression="tiff_lzw")
    yield "gray WebP", saved(gray.convert("RGB"), "WEBP", lossless=True)
    yield "gray and alpha", saved(Image.fromarray(np.concatenate([same[..., :1], opaque], axis=-1)), "PNG")
    yield "gray and alpha, 16 bits", png(np.stack([ids, np.full_like(ids, 65535)], axis=-1), 16, GRAY_ALPHA)
    for name, pixels in (("colors", colors), ("ids in RGB", same)):
        yield f"{name}, PNG", saved(Image.fromarray(pixels), "PNG")
        yield f"{name}, PNG, interlaced", png(pixels, 8, RGB, interlaced=True)
        yield f"{name}, RGBA", saved(Image.fromarray(np.concatenate([pixels, opaque], axis=-1)), "PNG")
        yield f"{name}, BMP", saved(Image.fromarray(pixels), "BMP")
        yield f"{name}, TIFF", saved(Image.fromarray(pixels), "TIFF", compression="tiff_deflate")
        yield f"{name}, WebP", saved(Image.fromarray(pixels), "WEBP", lossless=True)
    yield "ids in RGB, 16 bits", png(np.repeat(ids[..., np.newaxis], 3, axis=-1), 16, RGB)
    yield "colors, 16 bits", png(colors.astype(np.uint16) * 257, 16, RGB)
    in_order = palette_image(ids, np.array(label_map.palette))
    for name, image in (("in order", in_order), ("shuffled", shuffled_palette(ids, label_map, rng))):
        for file_format in ("PNG", "GIF", "TIFF", "BMP"):
            yield f"palette {name}, {file_format}", saved(image, file_format)
    yield "quantized", saved(Image.fromarray(colors).quantize(256, dither=Image.Dither.NONE), "PNG")
    yield "adaptive palette", saved(Image.fromarray(colors).convert("P", palette=Image.Palette.ADAPTIVE), "GIF")
