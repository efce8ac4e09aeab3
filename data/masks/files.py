"""Reads the pixels of mask files as they are stored, whatever the encoding; what they mean comes later."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from PIL import GifImagePlugin, Image, TiffImagePlugin
from PIL.ExifTags import Base as Exif

from data.decoding.images import BadImageError, decode, open_image
from data.decoding.orientation import exif_orientation
from data.decoding.structure import parts

# Others scale gray values (PGM), or store colors inexactly.
_LOSSLESS = ("PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP")
_LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
# Values of the TIFF tag Compression that hold JPEG, JPEG 2000 or WebP.
_LOSSY_TIFF = {
    6: "JPEG",
    7: "JPEG",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34892: "JPEG",
    50001: "WebP",
}
_SUBFILE_TYPE, _SAMPLE_FORMAT = 254, 339
_SMALLER_COPY, _SIGNED = 1, 2
_PNG_BITS, _PNG_COLOR_TYPE = 24, 25  # The first chunk is IHDR: 8 bytes of signature, 8 of its header, width, height.
_PNG_RGB, _PNG_GRAY_ALPHA, _PNG_RGBA = 2, 4, 6
_BMP_BITS = slice(28, 30)
_STRETCHED = {2: 85, 4: 17}


@dataclasses.dataclass(frozen=True)
class Mask:
    """The pixels of a mask as its file stores them.

    Attributes:
      pixels: [height, width] whole numbers, or [height, width, 3] uint8 colors. Gray of 1, 2 or 4 bits has values up to
        1, 3 or 15. In a TIFF that has 0 as white, 0 is black here.
      palette: [256, 3] the color of each number, -1 beyond the palette's end; None if the file has no palette.
      alpha: [height, width] uint8, or None if all pixels are opaque.
      is_bilevel: whether its values are black, 0, and white, 1, of one bit.
      lossy: the name of its format if that does not keep exact values, or an empty string.
      remark: what explains unexpected values, or an empty string.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None
    alpha: np.ndarray | None = None
    is_bilevel: bool = False
    lossy: str = ""
    remark: str = ""


def read_mask(content: bytes, max_pixels: int) -> Mask:
    """Decodes a mask; `data.masks.class_ids.class_ids` says what it means.

    Raises:
      BadImageError: if the mask is unreadable, has more than `max_pixels` pixels, has several frames or an orientation,
        or cannot be read exactly.
    """
    image = decode(content, max_pixels)
    try:
        _check_file(image, content)
        mask = _read(image, content)
    except BadImageError:
        raise
    except Exception as error:  # Pillow reads more of the file when it is asked for frames, tags or a palette.
        raise BadImageError(f"unreadable: {error or type(error).__name__}") from None
    is_opaque = mask.alpha is None or mask.alpha.min(initial=255) == 255
    return dataclasses.replace(mask, alpha=None if is_opaque else mask.alpha, lossy=_lossy_format(image, content))


def _check_file(image: Image.Image, content: bytes) -> None:
    """Refuses files in which more than the pixels of one frame counts."""
    if image.format not in (*_LOSSLESS, *_LOSSY):
        raise BadImageError(f"a mask in the format {image.format} may not keep exact values; save it as PNG")
    if image.format == "PNG":  # Of which Pillow was given what the pixels need, and that is neither of these.
        orientation, frames = exif_orientation(content), _png_frames(content)
    elif image.format in ("TIFF", "GIF"):
        # Pillow turns a TIFF and forgets its orientation when it loads the pixels.
        header, orientation = open_image(content), 1
        if isinstance(header, TiffImagePlugin.TiffImageFile):
            orientation = header.tag_v2.get(Exif.Orientation, 1)
        elif isinstance(header, GifImagePlugin.GifImageFile) and header.tile[0][1] != (0, 0, *header.size):
            raise BadImageError("its frame covers only a part of the image; save it as PNG")
        frames = 1 + sum(not _is_smaller_copy(header, frame) for frame in range(1, getattr(header, "n_frames", 1)))
    else:
        orientation, frames = image.getexif().get(Exif.Orientation, 1), getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _LOSSY:
        raise BadImageError(f"it has {frames} frames or pages, and a mask is one; save each as a file of its own")
    if orientation not in (0, 1):
        raise BadImageError(
            f"its orientation tag has the value {orientation}, which some tools obey and others do not; save it upright"
        )


def _png_frames(content: bytes) -> int:
    """How many frames a PNG has: more than one if it has a chunk acTL, which says so."""
    animations = [part for part in parts(content) if part.kind == b"acTL" and part.end - part.start == 8]
    return max([1, *(int.from_bytes(content[part.start : part.start + 4], "big") for part in animations)])


def _is_smaller_copy(image: Image.Image, frame: int) -> bool:
    """Whether a page of a TIFF repeats the first one at a lower resolution, as in cloud-optimized GeoTIFFs."""
    image.seek(frame)
    return isinstance(image, TiffImagePlugin.TiffImageFile) and bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & _SMALLER_COPY)


def _lossy_format(image: Image.Image, content: bytes) -> str:
    if image.format in _LOSSY:
        return str(image.format)
    if image.format == "WEBP" and not _is_lossless_webp(content):
        return "lossy WebP"
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        inside = _LOSSY_TIFF.get(image.tag_v2.get(TiffImagePlugin.COMPRESSION, 1))
        return f"TIFF with {inside} inside" if inside else ""
    return ""


def _is_lossless_webp(content: bytes) -> bool:
    start = 12  # After "RIFF", the size, and "WEBP".
    while start + 8 <= len(content):
        name, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        if name in (b"VP8L", b"VP8 "):
            return name == b"VP8L"
        start += 8 + size + size % 2
    return False


def _read(image: Image.Image, content: bytes) -> Mask:
    if (
        image.format == "PNG"
        and content[_PNG_BITS] == 16
        and content[_PNG_COLOR_TYPE] in (_PNG_RGB, _PNG_GRAY_ALPHA, _PNG_RGBA)
    ):
        return _deep_png(image, content)
    bits = _tag(image, TiffImagePlugin.BITSPERSAMPLE, (8,))
    if len(bits) > 1 and max(bits) > 8:
        raise BadImageError(f"it has {max(bits)} bits a channel, of which only 8 can be read; save it with 8 bits")
    transparent = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        return _palette_mask(image, transparent)
    if image.mode == "1":
        _check_bmp(image, content, 1)
        bits_read = np.asarray(image, np.uint8)
        return Mask(bits_read, alpha=_alpha(bits_read * 255, transparent), is_bilevel=True)
    if image.mode == "L":
        _check_bmp(image, content, 8)
        # Pillow stretches gray of 2 and 4 bits, with values up to 3 and 15, to the range of 8 bits.
        depth = content[_PNG_BITS] if image.format == "PNG" else bits[0]
        pixels: np.ndarray = np.asarray(image)
        if depth in _STRETCHED:
            pixels = pixels // _STRETCHED[depth]
        if _tag(image, _SAMPLE_FORMAT, (1,))[0] == _SIGNED:
            return Mask(np.asarray(image).view(np.int8))
        return Mask(pixels, alpha=_alpha(pixels, transparent), remark=_remark(image))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = _whole(np.asarray(image), image)
        return Mask(pixels, alpha=_alpha(pixels, transparent), remark=_remark(image))
    channels = np.asarray(image)
    if image.mode in ("LA", "La"):
        return Mask(channels[..., 0], alpha=channels[..., 1])
    if image.mode in ("RGBA", "RGBa"):
        return Mask(channels[..., :3], alpha=channels[..., 3])
    if image.mode in ("RGB", "RGBX"):
        return Mask(channels[..., :3], alpha=_alpha(channels, transparent))
    raise BadImageError(f"a mask holds class ids or RGB colors; this one has the mode {image.mode}")


def _whole(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Whole numbers, where 0 is black."""
    if not np.issubdtype(pixels.dtype, np.integer):
        if not np.isfinite(pixels).all() or (pixels != np.round(pixels)).any():
            raise BadImageError("its numbers are not whole; a mask holds class ids, or colors of 8 bits")
        pixels = pixels.astype(np.int64)
    if not _is_white_zero(image):
        return pixels
    if not image.mode.startswith("I;16"):
        raise BadImageError("0 is white in this TIFF, but nothing says which number is black; save it with 0 as black")
    return 65535 - pixels  # Pillow does this for up to 8 bits only.


def _is_white_zero(image: Image.Image) -> bool:
    return bool(_tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == 0)


def _remark(image: Image.Image) -> str:
    return "; this TIFF declares 0 as white, so its numbers count down from white" if _is_white_zero(image) else ""


def _tag(image: Image.Image, tag: int, default: Any) -> Any:
    """A tag of a TIFF; the default for other formats too."""
    return image.tag_v2.get(tag, default) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def _check_bmp(image: Image.Image, content: bytes, bits: int) -> None:
    # Pillow takes a short palette of grays for a sign that the pixels have as many bits as its own mode.
    if image.format == "BMP" and int.from_bytes(content[_BMP_BITS], "little") != bits:
        raise BadImageError("a BMP with a gray palette of this size cannot be read exactly; save it as PNG")


def _alpha(pixels: np.ndarray, transparent: object) -> np.ndarray | None:
    """Opacity where one value or color is transparent."""
    if not isinstance(transparent, (int, tuple)):
        return None
    hidden = pixels == np.array(transparent)
    return np.where(hidden.all(axis=-1) if pixels.ndim == 3 else hidden, 0, 255).astype(np.uint8)


def _palette_mask(image: Image.Image, transparent: object) -> Mask:
    palette = np.full((256, 3), -1, np.int64)
    colors = np.array(image.getpalette("RGB") or [], np.int64).reshape(-1, 3)[:256]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        channels = np.array(image.tag_v2[TiffImagePlugin.COLORMAP]).reshape(3, -1).T
        # Colors have 16 bits, but some tools write 8.
        colors = channels if channels.max() < 256 else channels >> 8
    palette[: len(colors)] = colors
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        return Mask(pixels[..., 0], palette, pixels[..., 1])
    if isinstance(transparent, (int, bytes)):
        table = np.full(256, 255, np.uint8)
        if isinstance(transparent, int):
            table[transparent] = 0
        else:
            table[: len(transparent)] = list(transparent)
        return Mask(pixels, palette, table[pixels])
    return Mask(pixels, palette)


def _deep_png(image: Image.Image, content: bytes) -> Mask:
    """A PNG with several channels of 16 bits, of which Pillow reads only the upper 8."""
    import tensorflow as tf

    color_type = content[_PNG_COLOR_TYPE]
    samples = tf.io.decode_png(content, channels=3 if color_type == _PNG_RGB else 4, dtype=tf.uint16).numpy()
    if color_type != _PNG_RGB:
        opacity = samples[..., -1]
        alpha: np.ndarray | None = np.where(opacity == 65535, 255, np.where(opacity == 0, 0, 128)).astype(np.uint8)
        samples = samples[..., :-1]
    else:
        alpha = _alpha(samples, image.info.get("transparency"))
    if color_type == _PNG_GRAY_ALPHA:
        return Mask(samples[..., 0], alpha=alpha)
    if not (samples % 257).any():  # 8 bits, stretched.
        return Mask((samples // 257).astype(np.uint8), alpha=alpha)
    if (samples == samples[..., :1]).all():
        return Mask(samples[..., 0], alpha=alpha)
    raise BadImageError("its colors have 16 bits, which those of a label map do not; save it with 8 bits")
