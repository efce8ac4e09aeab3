"""The conversion of COCO's instances, one JSON for all images, against that of the same masks as PNGs.

Both write the same TFRecords, but for the numbers of the objects, which only the JSON tells apart. Each runs in a
process of its own, whose peak memory is that of the listing and of one worker.
"""

import json
import pathlib
import shutil
import time

import numpy as np
from common import CACHE, arguments, in_fresh_process, peak_megabytes, report, scratch

# Of each image; every tenth has run lengths instead of an outline.
OBJECTS, CORNERS, CATEGORIES = 5, 40, 20


def made_up(count: int, pixels: int) -> pathlib.Path:
    """A folder with `images`, `instances.json` and, below `drawn`, the same images and their masks as PNGs."""
    from PIL import Image
    from pycocotools import mask as coco_mask

    from data.formats.coco.reader import CocoReader

    folder = CACHE / "data" / f"coco-{count}-{pixels}"
    if folder.exists():
        return folder
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in ("coco/images", "drawn/masks"):
        (unfinished / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (pixels // 8, pixels // 8, 3), np.uint8)
    picture = unfinished / "picture.jpg"
    Image.fromarray(noise).resize((pixels, pixels), Image.Resampling.BICUBIC).save(picture)
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    images, annotations = [], []
    for index in range(count):
        name = f"{index:06d}"
        shutil.copy(picture, unfinished / "coco" / "images" / f"{name}.jpg")
        images.append({"id": index, "file_name": f"{name}.jpg", "width": pixels, "height": pixels})
        for _ in range(OBJECTS):
            radii = pixels * generator.uniform(0.05, 0.2) * generator.uniform(0.9, 1.1, CORNERS)
            center = pixels * generator.uniform(0.1, 0.9, 2)
            corners = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            shape = [np.round(corners.ravel(), 2).tolist()]
            runs = coco_mask.frPyObjects(shape, pixels, pixels)[0]
            number = len(annotations)
            segmentation = shape if number % 10 else {"size": [pixels, pixels], "counts": runs["counts"].decode()}
            annotation = {"id": number, "image_id": index, "category_id": int(generator.integers(CATEGORIES)) + 1}
            annotation |= {"segmentation": segmentation, "area": int(coco_mask.area(runs)), "iscrowd": 0}
            annotations.append(annotation)
    picture.unlink()
    categories = [{"id": index + 1, "name": f"class {index}"} for index in range(CATEGORIES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (unfinished / "coco" / "instances.json").write_text(json.dumps(content))
    reader = CocoReader(folder=str(unfinished / "coco"))
    for source in reader.listing().sources:
        name = pathlib.Path(source.image).stem
        Image.fromarray(reader.read(source).class_ids).save(unfinished / "drawn" / "masks" / f"{name}.png")
    (unfinished / "drawn" / "images").symlink_to("../coco/images")
    unfinished.rename(folder)
    return folder


def converted(folder: str, destination: str) -> dict[str, float]:
    """Seconds of a conversion and of its listing, and the peak of the process's memory."""
    from data.convert import convert
    from data.formats.coco.reader import CocoReader
    from data.formats.mask_folder import MaskFolderReader

    if folder.endswith("drawn"):
        names = ("background", *(f"class {index}" for index in range(CATEGORIES)))
        reader = MaskFolderReader(folder=folder, classes=names)
    else:
        reader = CocoReader(folder=folder)
    started = time.monotonic()
    reader.model_copy().listing()
    listed = time.monotonic()
    convert(reader, destination, is_addition=True)
    seconds = time.monotonic() - listed
    return {"seconds": seconds, "listing_seconds": listed - started, "peak_megabytes": peak_megabytes()}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, images=20_000, pixels=256)
    data = made_up(sizes.images, sizes.pixels)
    measured = {}
    with scratch() as folder:
        for name in ("drawn", "coco"):
            measured[name] = in_fresh_process(converted, str(data / name), str(folder / name))
    report(
        "coco",
        measured["coco"]["seconds"],
        "s",
        "the same masks as PNGs",
        measured["drawn"]["seconds"],
        **vars(sizes),
        annotations=sizes.images * OBJECTS,
        json_megabytes=(data / "coco" / "instances.json").stat().st_size / 1e6,
        listing_seconds=measured["coco"]["listing_seconds"],
        peak_megabytes=measured["coco"]["peak_megabytes"],
        reference_peak_megabytes=measured["drawn"]["peak_megabytes"],
    )


if __name__ == "__main__":
    main()
