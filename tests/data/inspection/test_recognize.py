"""What folders are taken for: layouts, kinds of masks, names of classes, and what is refused."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.contract import SPLITS
from data.decoding.images import EncodedImage, encode_png
from data.formats import FORMATS, LabeledImage, Listing, Reader, Recognition, Source
from data.formats.mask_folder import MaskFolderReader
from data.inspection.classes import labels_text
from data.inspection.recognize import look, recognize
from data.label_map import LabelMap
from data.label_map_files import parse_labels
from data.splits import DEFAULT_SHARES, split_of

HEIGHT, WIDTH = 24, 32
# Some layouts are also those of published data sets, whose formats come first.
MASK_FOLDER = ("mask-folder", MaskFolderReader)
PHOTOGRAPH = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def areas(*values, dtype=np.uint8):
    """A mask of vertical stripes, one for each value."""
    mask = np.zeros((HEIGHT, WIDTH, *np.shape(values[0])), dtype)
    for index, value in enumerate(values):
        mask[:, index * WIDTH // len(values) :] = value
    return mask


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def with_palette(mask, palette):
    image = Image.fromarray(mask).convert("P") if mask.ndim == 3 else Image.fromarray(mask, "P")
    image.putpalette(palette)
    return image


def make(folder, mask=None, count=40, image="images/{}.jpg", mask_name="masks/{}.png", extra=()):
    """A data set whose masks are all alike, or made by `mask(i)`."""
    for index in range(count):
        save(folder / image.format(f"street_{index:02}"), PHOTOGRAPH)
        pixels = areas(0, 1) if mask is None else mask(index) if callable(mask) else mask
        save(folder / mask_name.format(f"street_{index:02}"), pixels)
    for name, text in dict(extra).items():
        (folder / name).write_text(text)
    return folder


def shares_of(found):
    """Each class's share of the labeled pixels."""
    pixels = sum(pair.widths.sum(axis=1) for pair in look(found).pairs)[: len(found.label_map)]
    return list(pixels / pixels.sum())


def classes(found):
    """Names, each with the values that the masks have for it."""
    names = found.label_map.names
    return {name: [value for value, id_ in found.labels.values.items() if id_ == i] for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("image", "mask", "options"),
    [
        ("images/{}.jpg", "masks/{}.png", {}),
        ("Images/{}.jpg", "Masks/{}.png", {}),
        ("JPEGImages/{}.jpg", "SegmentationMaps/{}.png", {"images": "JPEGImages", "masks": "SegmentationMaps"}),
        ("images/{}.jpg", "annotations/trimaps/{}.png", {"masks": "annotations/trimaps"}),
        ("images/{}.jpg", "masks/{}_mask.png", {"mask_suffix": "_mask"}),
        (
            "photos/{}.jpg",
            "foreground/{}-mask.png",
            {"images": "photos", "masks": "foreground", "mask_suffix": "-mask"},
        ),
        ("photos/{}.jpg", "cars/{}_fg.png", {"images": "photos", "masks": "cars", "mask_suffix": "_fg"}),
        ("{}.jpg", "{}_mask.png", {"images": ".", "masks": ".", "mask_suffix": "_mask"}),
        ("x/{}.jpg", "y/{}.png", {"images": "x", "masks": "y"}),
        ("b/{}.jpg", "a/{}.png", {"images": "b", "masks": "a"}),
        (
            "left/ulm/{}_leftImg8bit.png",
            "truth/ulm/{}_gtFine_labelIds.png",
            {
                "images": "left",
                "masks": "truth",
                "image_suffix": "_leftImg8bit",
                "mask_suffix": "_gtFine_labelIds",
            },
        ),
    ],
)
def test_layouts(tmp_path, image, mask, options):
    found = recognize(str(make(tmp_path, image=image, mask_name=mask)), chosen=MASK_FOLDER)
    assert found.options == options
    assert len(found.listing.sources) == 40
    assert not found.listing.set_aside
    assert {source.split for source in found.listing.sources} == {"train", "eval", "test"}
    labeled = found.reader.read(found.listing.sources[0])
    image, ids = labeled.image, labeled.class_ids
    assert (image.height, image.width) == ids.shape == (HEIGHT, WIDTH)
    assert np.unique(ids).tolist() == [0, 1]


@pytest.mark.parametrize("layout", ["images/{split}/{name}.jpg masks/{split}/{name}.png",
                                    "{split}/images/{name}.jpg {split}/masks/{name}.png"])  # fmt: skip
def test_splits_in_folders_stay_what_they_are(tmp_path, layout):
    for split, word in (("train", "Train"), ("eval", "Val"), ("test", "Test")):
        for index in range(3):
            image, mask = (part.format(split=word, name=f"{split}{index}") for part in layout.split())
            save(tmp_path / image, PHOTOGRAPH)
            save(tmp_path / mask, areas(0, 1))
    found = recognize(str(tmp_path))
    assert [found.count(split) for split in ("train", "eval", "test")] == [3, 3, 3]
    assert all(source.split in source.source_id for source in found.listing.sources)


def test_masks_of_other_kinds_beside_them_are_left_out(tmp_path):
    make(tmp_path)
    make(tmp_path, mask=areas(*range(16)), mask_name="instances/{}.png")
    make(tmp_path, mask=areas((0, 0, 0), (9, 9, 200)), mask_name="masks_color/{}.png")
    assert recognize(str(tmp_path)).reader.masks == "masks"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SegmentationObject/{}.png", "SegmentationClass/{}.png"),
        ("gtFine/{}_gtFine_color.png", "gtFine/{}_gtFine_labelIds.png"),
        ("gtFine/{}_gtFine_instanceIds.png", "gtFine/{}_gtFine_labelIds.png"),
        ("training/{}_a.png", "validation/{}_b.png"),
    ],
)
def test_masks_without_images_are_no_data_set(tmp_path, one, other):
    make(tmp_path, mask=areas(*range(16)), mask_name=one, image="../elsewhere/{}.jpg")
    make(tmp_path, mask=areas(0, 1, 2), mask_name=other, image="../elsewhere/{}.jpg")
    with pytest.raises(UserError, match="is not recognized"):
        recognize(str(tmp_path))


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (areas(0, 1, 2), {"background": [0], "class_1": [1], "class_2": [2]}),
        (areas(0, 1, 2, 255), {"background": [0], "class_1": [1], "class_2": [2]}),
        (areas(0, 255), {"background": [0], "foreground": [255]}),
        (areas(0, 128, 255), {"background": [0], "class_128": [128], "class_255": [255]}),
        (areas(1, 2, 3), {"class_1": [1], "class_2": [2], "class_3": [3]}),
        (areas(0, 1, 4), {"background": [0], "class_1": [1], "class_4": [4]}),
        (areas(0, 1000, 2000, dtype=np.uint16), {"background": [0], "class_1000": [1000], "class_2000": [2000]}),
        (areas(0, 3, dtype=np.float32), {"background": [0], "foreground": [3]}),
        (np.repeat(areas(0, 255)[..., None], 3, -1), {"background": [0], "foreground": [255]}),
        (areas((0, 0, 0), (128, 64, 128), (0, 0, 9)), {"background": [0], "class_1": [1], "class_2": [2]}),
        (Image.fromarray(areas(0, 255)).convert("1"), {"background": [0], "foreground": [1]}),
    ],
)
def test_kinds_of_masks(tmp_path, mask, expected):
    suffix = "tif" if getattr(mask, "dtype", None) == np.float32 else "png"
    found = recognize(str(make(tmp_path, mask, mask_name=f"masks/{{}}.{suffix}")))
    assert classes(found) == expected
    sample = look(found)
    assert not sample.unusable
    assert all(share > 0.2 for share in shares_of(found))
    assert any("rename them in labels.yaml" in each for each in found.assumptions)
    # What is written is what was found.
    assert parse_labels(labels_text(found.labels), "labels.yaml") == found.labels


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (
            "{}/{}.jpg",
            "{}annot/{}.png",
            "pair, but their names are those of a split, .* Put the images of each split into",
        ),
        ("camvid/{}/{}.jpg", "camvid/{}annot/{}.png", "in the folder camvid: name that as SOURCE"),
        ("data/{}/images/{}.jpg", "data/{}/masks/{}.png", "in the folder data: name that as SOURCE"),
    ],
)
def test_no_split_is_taken_for_the_whole_data_set(tmp_path, image, mask, message):
    for split, count in (("train", 30), ("val", 5), ("test", 5)):
        for index in range(count):
            save(tmp_path / image.format(split, f"{split}{index}"), PHOTOGRAPH)
            save(tmp_path / mask.format(split, f"{split}{index}"), areas(0, 1))
    with pytest.raises(UserError, match=message):
        recognize(str(tmp_path))


def test_images_and_masks_in_the_folder_of_each_patient(tmp_path):
    for patient in range(5):
        for index in range(10):
            save(tmp_path / f"patient_{patient}" / "images" / f"{index}.jpg", PHOTOGRAPH)
            save(tmp_path / f"patient_{patient}" / "masks" / f"{index}.png", areas(0, 1))
    found = recognize(str(tmp_path))
    assert len(found.listing.sources) == 50
    assert found.listing.sources[0].source_id == "patient_0/0"


def test_files_of_the_same_names_in_several_splits_are_no_pairs(tmp_path):
    for split in ("train", "val", "test"):
        for index in range(5):
            save(tmp_path / "left" / split / f"{index}_leftImg8bit.png", PHOTOGRAPH)
            for kind, mask in (
                ("color", areas((0, 0, 0), (9, 9, 200))),
                ("instanceIds", areas(5, 6)),
                ("labelIds", areas(0, 1)),
            ):
                save(tmp_path / "gtFine" / split / f"{index}_gtFine_{kind}.png", mask)
    found = recognize(str(tmp_path), chosen=MASK_FOLDER)
    assert (found.options["masks"], found.options["mask_suffix"]) == ("gtFine", "_gtFine_labelIds")
    assert [found.count(split) for split in SPLITS] == [5, 5, 5]


def test_splits_that_have_no_folder_get_a_part_of_train(tmp_path):
    for word, count in (("training", 30), ("testing", 5)):
        for index in range(count):
            save(tmp_path / "images" / word / f"{word}{index}.jpg", PHOTOGRAPH)
            save(tmp_path / "masks" / word / f"{word}{index}.png", areas(0, 1))
    found = recognize(str(tmp_path))
    assert found.options["split"].startswith("train=")
    assert found.count("test") == 5
    assert found.count("train") > found.count("eval") > 0
    assert any("fills all splits" in each for each in found.assumptions)


def test_images_without_masks_are_left_out_if_there_are_many(tmp_path):
    make(tmp_path)
    for index in range(20):
        save(tmp_path / "images" / f"other_{index}.jpg", PHOTOGRAPH)
    found = recognize(str(tmp_path))
    assert found.options == {"unlabeled": "ignore"}
    assert "20 images have no mask, and are left out" in found.assumptions
    assert not found.listing.set_aside


@pytest.mark.parametrize(
    ("opaque", "expected", "shares"), [((9, 9, 200), "background", [0.5, 0.5]), ((0, 0, 0), "ignore", [1 / 2, 1 / 2])]
)
def test_transparent_pixels_are_background_or_ignored(tmp_path, opaque, expected, shares):
    colors = areas(opaque, (200, 0, 0), (0, 0, 0), (0, 0, 0)) if expected == "ignore" else areas(opaque, (0, 0, 0))
    alpha = np.where(np.arange(WIDTH) < WIDTH // 2, 255, 0).astype(np.uint8)
    mask = np.dstack([colors, np.broadcast_to(alpha, (HEIGHT, WIDTH))])
    found = recognize(str(make(tmp_path, mask)))
    assert found.options == {"transparent": expected}
    assert any("transparent pixels, in 40 masks, are" in each for each in found.assumptions)
    assert shares_of(found) == shares


def test_255_in_some_masks_where_others_have_1_is_the_same_class(tmp_path):
    found = recognize(str(make(tmp_path, lambda index: areas(0, 1 if index % 2 else 255))))
    assert classes(found)["foreground"] == [1, 255]
    assert any("both are the foreground" in each for each in found.assumptions)
    assert shares_of(found) == [0.5, 0.5]


def test_a_palette_gives_the_classes_their_colors(tmp_path):
    mask = with_palette(areas(0, 1, 2), [0, 0, 0, 200, 0, 0, 0, 0, 200])
    assert recognize(str(make(tmp_path, mask))).label_map.palette == [(0, 0, 0), (200, 0, 0), (0, 0, 200)]


def test_where_palettes_are_in_another_order_in_each_file_colors_count(tmp_path):
    colors = [(0, 0, 0), (128, 64, 128), (0, 0, 142)]
    orders = [(0, 1, 2), (2, 0, 1), (1, 2, 0)]

    def mask(index):
        order = orders[index % 3]
        indices = areas(*(order.index(value) for value in (0, 1, 1, 2)))
        return with_palette(indices, [channel for position in order for channel in colors[position]])

    found = recognize(str(make(tmp_path, mask)))
    assert found.label_map.palette == [(0, 0, 0), (128, 64, 128), (0, 0, 142)]
    assert shares_of(found) == [0.25, 0.5, 0.25]


def test_pascals_classes_have_its_names(tmp_path):
    palette = []
    for index in range(256):
        for channel in range(3):
            palette.append(sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(3)))
    blocks = np.kron(np.minimum(np.arange(25), 20).reshape(5, 5), np.ones((6, 6))).astype(np.uint8)
    found = recognize(str(make(tmp_path, with_palette(blocks, palette))))
    assert found.label_map.names[:3] == ("background", "aeroplane", "bicycle")
    assert found.label_map.palette[15] == (192, 128, 128)
    # The same palette with fewer classes: those of someone else.
    found = recognize(str(make(tmp_path / "own", with_palette(areas(0, 1, 2), palette))))
    assert found.label_map.names == ("background", "class_1", "class_2")


def test_void_in_pascals_colors_is_no_class(tmp_path):
    black, third, last, void = (0, 0, 0), (128, 128, 0), (0, 64, 128), (224, 224, 192)
    found = recognize(str(make(tmp_path, areas(black, void, third, last))))
    assert found.label_map.names == ("background", "class_3", "class_20")
    assert any("void" in reason for reason in found.reasons)
    (tmp_path / "labels.yaml").write_text(labels_text(found.labels))
    for reader in (found.reader, recognize(str(tmp_path)).reader):
        ids = reader.read(found.listing.sources[0]).class_ids
        assert np.unique(ids).tolist() == [0, 1, 2, 255]
        assert np.count_nonzero(ids == 255) == ids.size // 4
    (tmp_path / "labels.yaml").unlink()
    (tmp_path / "classes.txt").write_text("background\na\nb\nc\n" + "".join(f"d{index}\n" for index in range(17)))
    assert recognize(str(tmp_path)).label_map.names[3] == "c"
    # One more color that Pascal VOC does not have.
    other = make(tmp_path / "other", areas(black, void, third, (1, 2, 3)))
    assert len(recognize(str(other)).label_map) == 4


@pytest.mark.parametrize(
    ("file", "text", "mask", "names"),
    [
        ("labels.yaml", LabelMap.from_names(["sky", "sea"]).to_yaml(), areas(0, 1), ("sky", "sea")),
        ("classes.txt", "sky\nsea\n", areas(0, 1), ("sky", "sea")),
        ("classes.txt", "sky\nsea\n", areas(0, 255), ("sky", "sea")),
        ("classes.txt", "sky\nsea\nland\n", areas(0, 2), ("sky", "sea", "land")),
        ("classes.txt", "sea\nland\n", areas(0, 1, 2), ("background", "sea", "land")),
        ("classes.txt", "sky\nsea\n", areas(1, 2), ("sky", "sea")),
        ("class_names.txt", "__ignore__\n_background_\nsea\n", areas(0, 1, 255), ("_background_", "sea")),
        ("classes.txt", "a\nb\n", areas(0, 1, 2, 3, 4), None),
        ("readme.txt", "sky\nsea\n", areas(0, 1), None),
    ],
)
def test_names_come_from_files_that_fit(tmp_path, file, text, mask, names):
    found = recognize(str(make(tmp_path, mask, extra={file: text})))
    if names:
        assert found.label_map.names == names
        assert any(file in reason for reason in found.reasons)
        assert not look(found).unusable
    else:
        assert "background" in found.label_map.names
        assert any("was not used: it names" in each for each in found.assumptions) == (file == "classes.txt")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n"),
        ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\nroad,128,64,128\n"),
    ],
)
def test_names_of_colors_come_from_the_label_maps_of_tools(tmp_path, file, text):
    found = recognize(str(make(tmp_path, areas((0, 0, 0), (128, 64, 128)), extra={file: text})))
    assert found.label_map.names == ("background", "road")
    assert shares_of(found) == [0.5, 0.5]


def blurred(index):
    mask = np.zeros((60, 80), np.uint8)
    mask[15:45, 20:60] = 200
    mask[20:30, 30:40] = 90
    return Image.fromarray(mask).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def numbered(index):
    mask = np.zeros((HEIGHT, WIDTH), np.uint16)
    for value in range(1, 30 - index % 9):
        row, column = divmod(value, 8)
        mask[row * 5 + 1 : row * 5 + 4, column * 4 : column * 4 + 3] = value
    return mask


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask": PHOTOGRAPH[..., 0]}, "looks like a photograph, not like a mask"),
        ({"mask_name": "masks/{}.jpg"}, "is stored as JPEG, which keeps no exact values"),
        ({"mask": blurred}, "along edges"),
        ({"mask": numbered}, "seem to number objects .instance ids.: .* holds 30 values up to 29"),
        ({"mask": areas(7, 7)}, "holds nothing but 7, and a model needs two classes at least"),
        ({"mask_name": "other/unlike_{}.json.png", "count": 0}, "is empty"),
        ({"image": "images/{}.jpg", "mask_name": "images/{}.tif.txt", "count": 1, "extra": {}}, "is not recognized"),
        ({"mask": lambda i: areas(0, 3) if i % 2 else areas((0, 0, 0), (9, 0, 0))}, "nothing says which value is"),
    ],
)
def test_what_has_no_clear_meaning_is_refused_with_a_remedy(tmp_path, settings, message):
    if "txt" in settings.get("mask_name", ""):
        save(tmp_path / "images" / "a.jpg", PHOTOGRAPH)
        save(tmp_path / "images" / "b.jpg", PHOTOGRAPH)
    else:
        make(tmp_path, **settings)
    with pytest.raises(UserError, match=message):
        recognize(str(tmp_path))


def test_masks_that_cannot_be_read_are_named_beside_the_lossy_ones(tmp_path):
    make(tmp_path, mask_name="masks/{}.jpg")
    broken = sorted((tmp_path / "masks").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(
        UserError, match=f"keeps no exact values.* 1 cannot be read, such as {re.escape(str(broken))}: "
    ):
        recognize(str(tmp_path))


def test_tfrecords_without_a_label_map_say_what_is_missing(tmp_path):
    (tmp_path / "train-00000-of-00001.tfrecord").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"not all that a run takes: files train\*, eval\* and test\*, and a labels.yaml"
    ):
        recognize(str(tmp_path))


class ScansReader(Reader):
    looks_for = "an index.txt"

    folder: str
    window: str = "bone"
    depth: int = 1

    @classmethod
    def recognize(cls, folder, files):
        return Recognition(("it has index.txt",), {"window": "lung"}) if "index.txt" in files else None

    @property
    def label_map(self):
        return LabelMap.from_names(["air", self.window])

    def listing(self):
        return Listing([Source(f"{split}1", split, split, "") for split in SPLITS])

    def read(self, source):
        return LabeledImage(EncodedImage(encode_png(PHOTOGRAPH), "png", HEIGHT, WIDTH), areas(0, 1))


class BooksReader(ScansReader):
    looks_for = "an index.txt and pages/"

    @classmethod
    def recognize(cls, folder, files):
        if "index.txt" in files and "pages/broken.txt" in files:
            raise UserError("pages/broken.txt is broken")
        return Recognition(("it has pages/",)) if "pages/1.txt" in files else None


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A folder of a format of its own, beside pairs of images and masks; another format looks for pages in it."""
    monkeypatch.setitem(FORMATS, "scans", ScansReader)
    monkeypatch.setitem(FORMATS, "books", BooksReader)
    make(tmp_path, count=3)
    (tmp_path / "index.txt").write_text("")
    (tmp_path / "pages").mkdir()
    return tmp_path


def test_a_format_recognizes_its_own_folders(scans):
    found = recognize(str(scans))
    assert (found.format, found.reasons, found.label_map.names) == ("scans", ("it has index.txt",), ("air", "lung"))
    assert shares_of(found) == [0.5, 0.5]


def test_given_options_overrule_what_was_recognized(scans):
    found = recognize(str(scans), given={"window": "soft", "depth": "2"})
    assert (found.options, found.reader.depth) == ({"window": "soft", "depth": "2"}, 2)
    assert found.label_map.names == ("air", "soft")
    with pytest.raises(ValueError, match="valid integer"):
        recognize(str(scans), given={"depth": "deep"})
    with pytest.raises(
        UserError, match=r"--border is an option of --format oxford-pets, but .* recognized as .* scans"
    ):
        recognize(str(scans), given={"border": "ignore"})


def test_a_format_that_the_user_names_is_not_looked_for(scans):
    (scans / "pages" / "1.txt").write_text("")
    found = recognize(str(scans), chosen=("scans", ScansReader))
    assert (found.format, found.options) == ("scans", {"window": "lung"})
    (scans / "index.txt").unlink()
    found = recognize(str(scans), chosen=("scans", ScansReader))
    assert (found.reasons, found.options) == (("as you say",), {})


def test_two_formats_are_one_too_many(scans):
    (scans / "pages" / "1.txt").write_text("")
    both = "is recognized as scans and as books; say which it is:"
    with pytest.raises(
        UserError, match=f"{both}\n  --format scans: it has index.txt\n  --format books: it has pages/$"
    ):
        recognize(str(scans))
    (scans / "pages" / "broken.txt").write_text("")
    with pytest.raises(UserError, match=r"pages/broken.txt is broken"):
        recognize(str(scans))


def test_what_no_format_recognizes_says_what_was_looked_for_and_found(scans):
    (scans / "index.txt").unlink()
    assert recognize(str(scans)).format == "mask-folder"
    for path in (scans / "masks").iterdir():
        path.unlink()
    with pytest.raises(UserError) as caught:
        recognize(str(scans))
    message = str(caught.value)
    assert "is not recognized: it holds 3 .jpg in images.\n" in message
    assert "\n  scans: an index.txt\n  books: an index.txt and pages/\n" in message
    assert "brain-mri" not in message
    assert "Then name" not in message


def test_the_only_folder_of_an_unpacked_archive_is_pointed_out(tmp_path):
    for name in ("fruits/a/notes.txt", "fruits/b/notes.txt", "__MACOSX/fruits/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=f"\nIs {tmp_path}/fruits the data set\\? Then name that folder."):
        recognize(str(tmp_path))


def test_classes_that_are_given_are_not_looked_for(tmp_path):
    make(tmp_path, areas(0, 1))
    found = recognize(str(tmp_path), given={"classes": "sky,sea,land"})
    assert (found.label_map.names, found.labels) == (("sky", "sea", "land"), None)
    assert found.options == {"classes": "sky,sea,land"}


def test_shares_that_are_given_stay(tmp_path):
    make(tmp_path, count=6)
    assert "split" in recognize(str(tmp_path)).options
    with pytest.raises(UserError, match="eval and test would be empty"):
        recognize(str(tmp_path), given={"split": "train=1"})


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        recognize(str(tmp_path / "nowhere"))


def test_the_published_pets_are_recognized(pets):
    found = recognize(str(pets))
    assert (found.format, found.options, found.labels) == ("oxford-pets", {}, None)
    assert found.label_map.names == ("pet", "background", "border")
    assert shares_of(found)[2] == pytest.approx(0.12, abs=0.03)


def test_numbered_nuclei_are_not_taken_for_classes(pets):
    nuclei = pathlib.Path(pets).parent / "nuclei"
    with pytest.raises(UserError, match="instance ids"):
        recognize(str(nuclei))


def test_ground_too_small_for_blocks_is_divided_in_another_way(pets):
    found = recognize(str(pathlib.Path(pets).parent / "sentinel2"))
    assert found.options["split_by"] == "north-south"
    assert all(found.count(split) for split in SPLITS)


def test_nothing_heavy_is_imported(tmp_path):
    make(tmp_path)
    # Images are decoded by TensorFlow as well, which takes seconds to import; Beam and TFX take ten more.
    code = (
        "import sys; from data.inspection.recognize import look, recognize; look(recognize(sys.argv[1]));"
        "print([name for name in ('apache_beam', 'tfx') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code, tmp_path], text=True) == "[]\n"


def test_a_split_with_hardly_an_image_gets_its_share(tmp_path):
    """Whatever the hash of the names gives it by chance."""
    for index in range(60):
        name = next(name for n in range(1000) if split_of(name := f"{index}_{n}", DEFAULT_SHARES) != "test")
        if index == 0:
            name = next(name for n in range(1000) if split_of(name := f"{index}_{n}", DEFAULT_SHARES) == "test")
        save(tmp_path / f"images/{name}.jpg", PHOTOGRAPH)
        save(tmp_path / f"masks/{name}.png", areas(0, 1))
    found = recognize(str(tmp_path))
    assert found.count("test") >= 3
    assert "test would have hardly an image" in found.assumptions[0]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(UserError, match=r"coco\.json is a file; name the folder .* such as " + str(tmp_path)):
        recognize(str(tmp_path / "coco.json"))


def test_a_format_gives_way_to_those_with_which_it_is_published(scans, monkeypatch):
    (scans / "pages" / "1.txt").write_text("")
    monkeypatch.setattr(FORMATS["books"], "gives_way_to", ("scans",))
    found = recognize(str(scans))
    assert (found.format, found.reasons) == ("scans", ("it has index.txt",))
    assert found.assumptions[0] == "the labels that --format books reads are left out: it has pages/"


def test_without_any_example_it_is_said_what_was_left_out(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    tasks = [{"id": 1, "data": {"image": "a.png"}, "annotations": [], "predictions": []}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    with pytest.raises(UserError, match=r"(?s)no image with its labels was found\n.*a\.png: nobody submitted"):
        recognize(str(tmp_path))


def test_the_usual_shares_are_not_assumed_where_one_image_is_enough(tmp_path):
    counts = {"train": 23, "eval": 1, "test": 1}
    index = 0
    while any(counts.values()):
        split = split_of(name := f"image_{index}", DEFAULT_SHARES)
        index += 1
        if counts[split]:
            counts[split] -= 1
            save(tmp_path / f"images/{name}.jpg", PHOTOGRAPH)
            save(tmp_path / f"masks/{name}.png", areas(0, 1))
    found = recognize(str(tmp_path))
    assert (found.count("eval"), found.count("test")) == (1, 1)
    assert not any("usual shares" in assumption for assumption in found.assumptions)
    assert "split" not in found.options


def test_a_chosen_format_that_knows_its_classes_does_not_take_them_from_masks(tmp_path):
    for index in range(20):
        save(tmp_path / f"images/{index}.jpg", PHOTOGRAPH)
        save(tmp_path / f"maps/{index}.png", areas(0, 181, 255))
    (tmp_path / "labels.txt").write_text("".join(f"{number}: class{number}\n" for number in range(183)))
    found = recognize(str(tmp_path), chosen=("coco-stuff", FORMATS["coco-stuff"]))
    assert (found.reasons, found.labels) == (("as you say",), None)
    assert found.label_map.names[0] == "class1"
