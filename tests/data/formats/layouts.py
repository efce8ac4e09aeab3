"""Ways to lay out one data set: whatever the folders, names, links and files beside them, it holds the same examples.

A canonical data set is a list of `Example`; `layouts` draws a way to store it; `write` stores it and returns the
options of `MaskFolderReader` that go with it.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import unicodedata
from typing import Any

from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Example:
    """A pair of files.

    Attributes:
      name: path without the folder of its split and without extension.
      split: `train`, `eval`, `test`, or an empty string where no folder stands for a split.
      image: content of the image's file.
      mask: content of the mask's file.
    """

    name: str
    split: str
    image: bytes
    mask: bytes


@dataclasses.dataclass(frozen=True)
class Layout:
    """A way to store a data set.

    Attributes:
      order: `kind first` for images/train/a.png, `split first` for train/images/a.png, `one folder` for images and
        masks side by side.
      words: the folder of each split.
      images: name of the folder of images.
      masks: name of the folder of masks.
      image_form: Unicode's form of the images' names.
      mask_form: Unicode's form of the masks' names.
      image_prefix: what the images' names have in addition; likewise the next three.
      extension: of the images.
      mask_extension: of the masks.
      links: `none`, `files` or `folders`: what is only linked to.
      has_loop: whether a link leads back to the folder that it is in.
      has_others: whether other files lie beside the images and masks.
    """

    order: str = "kind first"
    words: tuple[tuple[str, str], ...] = (("train", "train"), ("eval", "val"), ("test", "test"))
    images: str = "images"
    masks: str = "masks"
    image_form: str = "NFC"
    mask_form: str = "NFC"
    image_prefix: str = ""
    image_suffix: str = ""
    mask_prefix: str = ""
    mask_suffix: str = ""
    extension: str = ".png"
    mask_extension: str = ".png"
    links: str = "none"
    has_loop: bool = False
    has_others: bool = False


WORDS = {
    "train": ("train", "Train", "training", "TRAIN", "train2017"),
    "eval": ("val", "Val", "valid", "validation", "eval", "Evaluation", "val2017"),
    "test": ("test", "Test", "testing", "TESTING", "test_2017"),
}
FORMS = st.sampled_from(["NFC", "NFD"])


def layouts() -> st.SearchStrategy[Layout]:
    """Draws a layout that holds the same examples as any other."""
    order = st.sampled_from(["kind first", "split first", "one folder"])

    def complete(layout: Layout) -> Layout:
        if layout.order == "one folder":
            # One of the kinds must be told from the other.
            suffix = layout.mask_suffix or "_mask"
            return dataclasses.replace(layout, images=".", masks=".", mask_suffix=suffix)
        return layout

    return st.builds(
        Layout,
        order=order,
        words=st.tuples(*(st.tuples(st.just(split), st.sampled_from(words)) for split, words in WORDS.items())),
        images=st.sampled_from(["images", "Images", "JPEGImages"]),
        masks=st.sampled_from(["masks", "MASKS", "labels"]),
        image_form=FORMS,
        mask_form=FORMS,
        image_prefix=st.sampled_from(["", "img_"]),
        image_suffix=st.sampled_from(["", "_leftImg8bit", "-rgb"]),
        mask_prefix=st.sampled_from(["", "mask_"]),
        mask_suffix=st.sampled_from(["", "_mask", "_gtFine_labelIds", ".label"]),
        extension=st.sampled_from([".png", ".PNG", ".Png"]),
        mask_extension=st.sampled_from([".png", ".PNG"]),
        links=st.sampled_from(["none", "files", "folders"]),
        has_loop=st.booleans(),
        has_others=st.booleans(),
    ).map(complete)


def write(examples: list[Example], folder: pathlib.Path, layout: Layout) -> dict[str, Any]:
    """Stores a data set in a new folder.

    Returns:
      Options of `MaskFolderReader` beside `classes` or `labels`.
    """
    stored = folder / "stored"
    source = folder / "source"
    source.mkdir(parents=True)
    words = dict(layout.words)
    for number, example in enumerate(examples):
        parent, _, stem = example.name.rpartition("/")
        for is_mask in (False, True):
            kind = layout.masks if is_mask else layout.images
            prefix, suffix = (
                (layout.mask_prefix, layout.mask_suffix) if is_mask else (layout.image_prefix, layout.image_suffix)
            )
            form = layout.mask_form if is_mask else layout.image_form
            parts = [kind, words[example.split]] if example.split else [kind]
            if layout.order == "split first":
                parts.reverse()
            name = f"{prefix}{stem}{suffix}{layout.mask_extension if is_mask else layout.extension}"
            below = pathlib.Path(*(unicodedata.normalize(form, part) for part in [*parts, parent, name] if part))
            if layout.links == "folders":
                target = stored / below
                link, real = source / below.parts[0], stored / below.parts[0]
                if len(below.parts) == 1:
                    link, real = source / below, target
            else:
                link = source / below
                target = real = stored / f"{number}{'m' if is_mask else ''}" if layout.links == "files" else link
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(example.mask if is_mask else example.image)
            link.parent.mkdir(parents=True, exist_ok=True)
            if layout.links != "none" and not os.path.lexists(link):
                link.symlink_to(os.path.relpath(real, link.parent))
    folders = sorted({path.parent for path in source.rglob("*") if not path.is_dir()})
    for place in folders:
        if layout.has_others:
            for name in ("Thumbs.db", ".DS_Store", "notes.txt", "polygons.json"):
                (place / name).write_bytes(b"of another kind")
            (place / "__MACOSX").mkdir(exist_ok=True)
            (place / "__MACOSX" / "._a.png").write_bytes(b"resource fork")
        if layout.has_loop and place != source:
            (place / "back").symlink_to(source)
    return {
        "folder": str(source),
        # Any case of the usual names is understood.
        **({} if layout.images.lower() == "images" else {"images": layout.images}),
        **({} if layout.masks.lower() == "masks" else {"masks": layout.masks}),
        "image_prefix": layout.image_prefix,
        "image_suffix": layout.image_suffix,
        "mask_prefix": layout.mask_prefix,
        "mask_suffix": layout.mask_suffix,
    }
