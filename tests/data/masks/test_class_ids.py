import io
import os
import pathlib

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from data.base.errors import UserError
from data.consistency import check_consistency
from data.decoding.images import BadImageError, encode_png
from data.decoding.notes import Notes, collecting
from data.label_map import LabelMap
from data.label_map_files import parse_labels
from data.masks.class_ids import class_ids, read_mask
from data.masks.consistency import NEAREST_PIXELS, proposal
from data.masks.meaning import MaskOptions, Meaning
from tests.data.masks.encodings import (
    GRAY_ALPHA,
    RGB,
    chunk,
    encodings,
    palette_image,
    png,
    saved,
    shuffled_palette,
    tiff,
)

LABELS = LabelMap.from_names(["a", "b", "c"])
LIMIT = 1_000_000
SHARED = pathlib.Path(__file__).parents[4] / "shared" / "data"


def options(**values) -> Meaning:
    return MaskOptions.model_validate(values).meaning


def labels(text: str, **values) -> Meaning:
    return options(labels=parse_labels(text, "labels.yaml"), **values)


def read(content: bytes, meaning: Meaning | LabelMap = LABELS) -> np.ndarray:
    return class_ids(read_mask(content, LIMIT), meaning)


def judge(meaning: Meaning, **masks: bytes) -> Notes:
    """Reads the masks of a data set, and judges them together as a conversion does."""
    notes = Notes()
    for name, content in masks.items():
        with collecting(name) as noted:
            read(content, meaning)
        notes.add(noted)
    check_consistency(notes)
    return notes


def scene(classes: list[int], size: int = 64, scale: int = 1) -> Image.Image:
    """Polygons of some classes."""
    rng = np.random.default_rng(1)
    image = Image.new("L", (size * scale, size * scale))
    for class_id in classes:
        corners = rng.uniform(0, size * scale, (5, 2))
        ImageDraw.Draw(image).polygon([(x, y) for x, y in corners.tolist()], fill=class_id)
    return image


def test_the_encodings_that_hold_a_clear_meaning_are_read():
    rng = np.random.default_rng(0)
    for names in ("ab", "abc", "abcdefghijklmnopqrstu"):
        label_map = LabelMap.from_names(list(names))
        ids = rng.integers(0, len(label_map), (13, 17))
        for name, content in encodings(ids, label_map, rng):
            np.testing.assert_array_equal(read(content, label_map), ids, err_msg=name)


@settings(max_examples=50, deadline=None, phases=[Phase.generate])
@given(st.data())
def test_the_same_labels_in_any_encoding_give_the_same_ids_or_an_error(data):
    count = data.draw(st.integers(2, 30))
    colors = data.draw(
        st.lists(
            st.tuples(*[st.sampled_from([0, 1, 2, 128, 254, 255])] * 3), min_size=count, max_size=count, unique=True
        )
    )
    label_map = LabelMap.model_validate(
        [{"id": index, "name": str(index), "color": color} for index, color in enumerate(colors)]
    )
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    used = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    ids = rng.choice(used, (height, width))
    for name, content in encodings(ids, label_map, rng):
        with collecting(name) as noted:
            try:
                found = read(content, label_map)
            except BadImageError:
                continue
        # Where a mask alone does not tell, it is noted, and other masks decide.
        is_doubtful = any(", though " in kind for kind in noted.counts)
        assert is_doubtful or np.array_equal(found, ids), name


@pytest.mark.parametrize("encode", [png, tiff])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_hold_ids(encode, bits):
    ids = np.arange(15, dtype=np.uint8).reshape(3, 5) % 2**bits
    mask = read_mask(encode(ids, bits), LIMIT)
    assert mask.pixels.dtype == np.uint8
    np.testing.assert_array_equal(mask.pixels, ids)


def test_ids_and_colors_outside_the_label_map_are_named():
    with pytest.raises(BadImageError, match=r"class id 3 at row 1, column 0 .* \(0 to 2, and 255"):
        read(png(np.array([[0, 1], [3, 1]])))
    with pytest.raises(BadImageError, match=r"color \[1, 2, 3\] at row 0, column 0"):
        read(png(np.array([[[1, 2, 3]]]), 8, RGB))
    with pytest.raises(BadImageError, match="class id -1"):
        read(tiff(np.array([[255, 0]]), 8, sample_format=2))
    with pytest.raises(BadImageError, match="class id -1"):
        read(saved(Image.fromarray(np.full((2, 2), -1, np.int32)), "TIFF"))
    with pytest.raises(BadImageError, match="class id 40000"):
        read(png(np.full((2, 2), 40000), 16))
    with pytest.raises(BadImageError, match="this one has the mode CMYK"):
        read(saved(Image.new("CMYK", (2, 2)), "TIFF"))
    with pytest.raises(BadImageError, match="not whole"):
        read(saved(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF"))


# Palettes.

VOC = np.zeros((256, 3), np.uint8)
VOC[:3] = (0, 0, 0), (128, 0, 0), (0, 128, 0)
VOC[255] = (224, 224, 192)
IDS = np.array([[0, 1, 2, 2], [0, 0, 1, 255]], np.uint8)


def test_indices_count_where_the_palette_only_shows_them():
    content = saved(palette_image(IDS, VOC), "PNG")
    for meaning in (
        options(classes="a,b,c"),
        Meaning.of(LABELS),
        labels("[{name: a, color: '#000'}, {name: b, color: '#800000'}, {name: c, color: '#008000'}]"),
    ):
        np.testing.assert_array_equal(read(content, meaning), IDS)
        judge(meaning, first=content, second=content, one_class=saved(palette_image(IDS * 0 + 2, VOC), "PNG"))


def test_a_palette_that_contradicts_its_indices_is_doubtful_and_an_option_decides():
    meaning = labels("[{name: a, color: '#800000'}, {name: b, color: '#000'}, {name: c, color: '#123456'}]")
    content = saved(palette_image(IDS, VOC), "PNG")
    with pytest.raises(
        BadImageError, match=r"index 0, shown as #000000, is a by its index, and b by its color.*--masks-"
    ):
        read(content, meaning)
    assert np.array_equal(read(content, labels("[a, b, c]", masks_hold="ids")), IDS)
    small = saved(palette_image(IDS[:1, :2], VOC), "PNG")
    assert np.array_equal(read(small, meaning), [[1, 0]])


def test_a_palette_with_colors_near_those_of_the_label_map_is_doubtful():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (8, 8))
    image = shuffled_palette(np.where(ids == 0, 1, ids), LABELS, np.random.default_rng(3))
    palette = np.array(image.getpalette()).reshape(-1, 3)
    image.putpalette(np.clip(palette + 5, 0, 255).ravel().tolist())
    with pytest.raises(BadImageError, match="near those of the label map"):
        read(saved(image, "PNG"))


def test_palettes_whose_order_is_the_tools_are_noticed_without_colors_too():
    meaning = options(classes="a,b,c")
    first, second = (saved(palette_image(IDS, np.roll(VOC, shift, 0)), "PNG") for shift in (0, 1))
    with pytest.raises(UserError, match=r"palettes differ: index . is about #.* in first, and .* in second.*--labels"):
        judge(meaning, first=first, second=second)
    judge(options(classes="a,b,c", masks_hold="ids"), first=first, second=second)


def test_palettes_are_not_read_by_colors_here_and_by_indices_there():
    meaning = labels("[{name: a, color: '#800000'}, {name: b, color: '#000'}, {name: c, color: '#123456'}]")
    by_index = saved(palette_image(IDS[:1] * 0 + 2, VOC), "PNG")
    by_color = saved(palette_image(IDS[:1, :2], VOC), "PNG")
    judge(meaning, only=by_color)
    with pytest.raises(UserError, match=r"contradict each other.*\(first\).*\(second\).*--masks-hold"):
        judge(meaning, first=by_color, second=by_index)


def test_a_palette_of_grays_is_as_doubtful_as_the_set_leaves_it():
    meaning = options(classes="a,b,c")
    grays = np.zeros((256, 3), np.uint8)
    grays[:3] = [[0], [2], [1]]
    doubtful = saved(palette_image(IDS[:1], grays), "PNG")
    with pytest.raises(UserError, match="--masks-hold ids or --masks-hold colors"):
        judge(meaning, doubtful=doubtful)
    assert np.array_equal(read(doubtful, options(classes="a,b,c", masks_hold="colors")), [[0, 2, 1, 1]])
    only_gray = saved(palette_image(np.array([[0, 3]]), np.roll(grays, 1, 0)), "PNG")
    assert np.array_equal(read(only_gray, meaning), [[0, 1]])


def test_a_tiff_palette_of_eight_bits_keeps_its_colors():
    image = shuffled_palette(np.array([[0, 1, 2]]), LABELS, np.random.default_rng(1))
    content = saved(image, "TIFF")
    colors = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    stored = (np.pad(colors, ((0, 256 - len(colors)), (0, 0))).T.astype("<u2") * 256).tobytes()
    assert stored in content
    narrow = b"".join(stored[at + 1 : at + 2] + b"\0" for at in range(0, len(stored), 2))
    assert np.array_equal(read(content.replace(stored, narrow)), [[0, 1, 2]])


# Lossy masks.


@pytest.mark.parametrize(
    ("file_format", "settings", "name"),
    [
        ("JPEG", {"quality": 100}, "JPEG"),
        ("WEBP", {"quality": 100}, "lossy WebP"),
        ("JPEG2000", {}, "JPEG2000"),
        ("TIFF", {"compression": "jpeg"}, "TIFF with JPEG inside"),
    ],
)
def test_lossy_formats_are_refused_whatever_their_values(file_format, settings, name):
    with pytest.raises(BadImageError, match=f"^{name} does not keep exact values.*PNG"):
        read(saved(scene([0]).convert("RGB"), file_format, **settings))


def smoothed(how: str) -> Image.Image:
    image = scene([149, 80, 20])
    if how == "anti-aliased":
        return scene([149, 80, 20], scale=4).resize((64, 64), Image.Resampling.BOX)
    if how == "blurred":
        return image.filter(ImageFilter.GaussianBlur(1))
    if how == "JPEG before":
        return Image.open(io.BytesIO(saved(image, "JPEG", quality=90)))
    return image.resize((90, 90), Image.Resampling.BILINEAR)


@pytest.mark.parametrize("how", ["anti-aliased", "blurred", "JPEG before", "resized"])
def test_values_along_edges_are_noticed_though_they_are_all_ids(how):
    many = options(classes=[str(index) for index in range(254)])
    content = saved(smoothed(how), "PNG")
    with pytest.raises(BadImageError, match=r"\d+ values \(.*\) lie along edges"):
        read(content, many)
    with pytest.raises(BadImageError, match=r"\d+ values \(.*\) lie along edges"):
        read(content, labels("[{id: 0, name: a}, {id: 20, name: b}, {id: 80, name: c}, {id: 149, name: d}]"))


@pytest.mark.parametrize("size", [(32, 32), (50, 50), (128, 128)])
def test_few_classes_that_were_resized_are_noticed_though_each_is_an_area_too(size):
    seven = options(classes=list("abcdefg"))
    image = scene([1, 6, 3, 2, 5, 4]).resize((64, 64))
    content = saved(image.resize(size, Image.Resampling.BILINEAR), "PNG")
    with pytest.raises(BadImageError, match=r"values \(.*\) lie along edges.*--masks-hold ids"):
        read(content, seven)
    read(content, options(classes=list("abcdefg"), masks_hold="ids"))


@pytest.mark.parametrize("count", [8, 16, 32, 254])
@pytest.mark.parametrize("width", [8, 20])
def test_bands_in_an_order_do_not_look_smoothed(count, width):
    noise = np.random.default_rng(0).integers(0, 256, (12, 16)).astype(np.uint8)
    heights = Image.fromarray(noise).resize((16 * width, 12 * width), Image.Resampling.BICUBIC)
    read(png(np.array(heights, np.int64) * count // 256), options(classes=[str(index) for index in range(count)]))


def palette_of(ids: np.ndarray, colors: list[tuple[int, int, int]]) -> bytes:
    image = Image.fromarray(ids.astype(np.uint8), "P")
    image.putpalette([channel for color in colors for channel in color])
    return saved(image, "PNG")


def test_indices_of_which_another_than_0_is_black_are_doubtful():
    ids = np.array(scene([2, 1]))
    by_tool, by_classes = [(255, 0, 0), (0, 255, 0), (0, 0, 0)], [(0, 0, 0), (255, 0, 0), (0, 255, 0)]
    with pytest.raises(UserError, match=r"index 2 is black .* and index 0 is not.*--masks-hold ids"):
        judge(options(classes=list("abc")), mask=palette_of(ids, by_tool))
    judge(options(classes=list("abc"), masks_hold="ids"), mask=palette_of(ids, by_tool))
    judge(options(classes=list("abc")), mask=palette_of(ids, by_classes))
    # Beyond the named colors, palettes are often filled up with black.
    ids[0] = 255
    judge(
        options(classes=list("abc")), mask=palette_of(ids, [(9, 80, 7), (255, 0, 0), (0, 255, 0), *[(0, 0, 0)] * 253])
    )


def test_what_is_proposed_for_masks_of_1_and_of_255_works():
    one = np.array(scene([1]))
    with pytest.raises(UserError, match=r"value: \[1, 255\]") as refusal:
        judge(options(classes=["a", "b"]), one=png(one), other=png(one * 255))
    assert "--foreground" not in str(refusal.value)
    meaning = labels("[{id: 0, name: a}, {id: 1, name: b, value: [1, 255]}]")
    judge(meaning, one=png(one), other=png(one * 255), bit=saved(Image.fromarray(one > 0), "PNG"))


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0, 128, 255], ["value: 0}", "value: 128}", "value: 255}"]),
        ([-1, 0, 1, 5], ["value: 0}", "value: 1}", "value: 5}", "{ignore: [-1]}"]),
    ],
)
def test_proposals_count_255_and_negative_numbers(values, lines):
    content = saved(Image.fromarray(np.array([values] * 4, np.int32)), "TIFF")
    with collecting("mask") as notes, pytest.raises(BadImageError):
        read(content, options(classes=["a", "b", "c"]))
    proposed = proposal(notes, LabelMap.from_names(["a", "b", "c"]))
    assert all(line in proposed for line in lines)


def test_single_pixels_do_not_look_smoothed():
    dots = np.zeros((120, 120), np.uint8)
    places = np.random.default_rng(0).integers(0, 120, (17, 2))
    dots[places[:, 0], places[:, 1]] = np.arange(1, 18)
    read(png(dots), options(classes=[str(index) for index in range(18)]))


def test_masks_with_thin_objects_borders_and_many_classes_do_not_look_smoothed():
    many = options(classes=[str(index) for index in range(254)])
    rng = np.random.default_rng(0)
    for count in (3, 8, 30):
        image = scene(rng.integers(0, 254, count).tolist())
        read(saved(image, "PNG"), many)
        for class_id in rng.integers(0, 254, 12).tolist():
            ends = rng.uniform(0, 64, 4).tolist()
            ImageDraw.Draw(image).line(ends, fill=class_id, width=1)
        read(saved(image, "PNG"), many)
    ramp = np.arange(64 * 64).reshape(64, 64) % 254
    read(png(ramp), many)
    read(png(rng.integers(0, 254, (64, 64))), many)
    read(png(np.array(scene([1, 1, 1]).filter(ImageFilter.MaxFilter(3))) * 1 + np.array(scene([1, 1, 1]))), LABELS)


@pytest.mark.skipif(not SHARED.is_dir() and "CI" not in os.environ, reason="needs the shared data")
def test_real_masks_do_not_look_smoothed():
    many = options(classes=[str(index) for index in range(254)])
    paths = [*(SHARED / "oxford_iiit_pet" / "annotations" / "trimaps").glob("*.png")][::10]
    paths += [*(SHARED / "nuclei" / "instances").glob("*.png")][::10]
    paths += (SHARED / "sentinel2" / "masks").glob("*.tif")
    assert len(paths) > 50
    for path in paths:
        pixels = read_mask(path.read_bytes(), LIMIT * 10).pixels
        read(encode_png((pixels[:900, :900] % 254).astype(np.uint8)), many)


def test_the_nearest_value_is_taken_on_request_and_counted():
    content = saved(scene([255]), "JPEG", quality=60)
    truth = np.array(scene([255])) // 255
    meaning = options(classes="a,b", foreground=255, nearest=True)
    notes = judge(meaning, mask=content)
    assert (read(content, meaning) != truth).mean() < 0.02
    pixels = np.array(Image.open(io.BytesIO(content)))
    assert notes.counts[NEAREST_PIXELS] == np.count_nonzero((pixels != 0) & (pixels != 255))
    with pytest.raises(BadImageError, match=r"at least 16 apart.*--foreground 255"):
        read(content, options(classes="a,b", nearest=True))


def test_the_nearest_color_is_taken_on_request():
    colors = "[{name: a, color: '#000'}, {name: b, color: '#f00'}, {name: c, color: '#00f'}]"
    truth = np.array(scene([1, 2]))
    image = Image.fromarray(np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)[truth])
    content = saved(image, "JPEG", quality=95, subsampling=0)
    assert (read(content, labels(colors, nearest=True)) != truth).mean() < 0.02
    with pytest.raises(BadImageError, match=r"others; so many .*--nearest"):
        read(saved(Image.open(io.BytesIO(content)), "PNG"), labels(colors))


# What 0, 1 and 255 mean.

BLACK, WHITE = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)


def test_masks_of_0_and_255_alone_stop_the_conversion_with_the_remedy():
    with pytest.raises(UserError, match=r"masks hold 0 and 255.*255 means ignore.*--foreground 255.*value: 255"):
        judge(options(classes="a,b"), first=png(BLACK), second=png(WHITE * 255))
    judge(options(classes="a,b"), first=png(WHITE * 255), second=png(WHITE * 254 + 1), third=png(WHITE))
    judge(labels("[a, b, {ignore: [255]}]"), first=png(WHITE * 255), second=png(WHITE))
    for meaning in (options(classes="a,b", foreground=255), labels("[{id: 0, name: a}, {id: 1, name: b, value: 255}]")):
        assert np.array_equal(read(png(WHITE * 255), meaning), WHITE)
        assert np.array_equal(read(png(np.repeat(WHITE[..., None] * 255, 3, 2), 8, RGB), meaning), WHITE)


ONE_BIT = {
    "PNG": png(WHITE, 1),
    "TIFF": tiff(WHITE, 1),
    "TIFF with 0 as white": tiff(1 - WHITE, 1, photometric=0),
    "BMP": saved(Image.fromarray(WHITE * 255).convert("1"), "BMP"),
    "palette": saved(palette_image(WHITE, np.array([[0, 0, 0], [255, 255, 255]])), "PNG", bits=1),
}


@pytest.mark.parametrize("name", ONE_BIT)
def test_one_bit_and_0_and_255_never_differ(name):
    meaning = options(classes="a,b")
    assert np.array_equal(read(ONE_BIT[name], meaning), WHITE)
    judge(meaning, first=ONE_BIT[name], second=png(WHITE))
    with pytest.raises(UserError, match=r"of one bit \(first\).*0 and 255 \(second\).*--foreground 255"):
        judge(meaning, first=ONE_BIT[name], second=png(WHITE * 255))
    with pytest.raises(UserError, match=r"of one bit \(first\).*0 and 255 \(second\).*value: \[1, 255\]"):
        judge(meaning, first=ONE_BIT[name], second=png(WHITE * 255), third=png(WHITE * 254 + 1))
    for said in (options(classes="a,b", foreground=255), labels("[{name: a, value: 0}, {name: b, value: 255}]")):
        assert np.array_equal(read(ONE_BIT[name], said), WHITE)
        judge(said, first=ONE_BIT[name], second=png(WHITE * 255))


def test_white_of_one_bit_beside_255_is_doubtful():
    # Tools that shrink files store 0 and 255 in one bit.
    masks = {"0": png(np.array([[0, 1, 2], [255, 1, 0]])), "1": png(np.array([[0, 1], [1, 0]]), 1)}
    with pytest.raises(UserError, match=r"some masks are black and white \(1\), .* others hold ids in more bits \(0\)"):
        judge(options(classes="a,b,c"), **masks)
    masks["1"] = saved(Image.fromarray(np.array([[0, 255]], np.uint8)), "GIF")
    with pytest.raises(UserError, match=r"some masks are black and white \(1\)"):
        judge(options(classes="a,b,c"), **masks)
    masks["0"] = png(np.array([[0, 1, 2]]))
    with pytest.raises(UserError, match=r"some masks are black and white \(1\)"):
        judge(options(classes="a,b,c"), **masks)
    judge(options(classes="a,b,c"), **{"0": png(np.array([[0, 1]]), 1), "1": masks["1"]})
    said = labels("- {name: a}\n- {name: b, value: [1]}\n- {name: c, value: 2}\n- {ignore: [255]}\n")
    judge(said, **masks)


def test_what_could_be_ids_or_colors_is_refused_where_other_masks_hold_both():
    meaning = labels("- {name: a, color: [9, 0, 0]}\n- {name: b, color: [0, 0, 0]}\n- {name: c, color: [0, 9, 0]}\n")
    black, ids, colors = png(np.array([[0]])), png(np.array([[0, 2]])), np.array([[[9, 0, 0], [0, 9, 0]]], np.uint8)
    both = {"ids": ids, "colors": png(colors, 8, RGB)}
    judge(meaning, **both)
    for doubtful in (black, png(np.zeros((1, 1, 3), np.uint8), 8, RGB)):
        with pytest.raises(UserError, match="the masks contradict each other"):
            judge(meaning, doubtful=doubtful, **both)
    assert judge(meaning, doubtful=black, ids=ids)


def test_white_without_a_class_is_doubtful_beside_indices():
    mask = palette_image(np.array([[0, 2]]), np.array([[0, 0, 0], [9, 9, 9], [255, 255, 255]]))
    with pytest.raises(BadImageError, match=r"index 2, shown as #ffffff, is b by its index, and of no class by its"):
        read(saved(mask, "PNG"), labels("- {name: a, value: 0}\n- {name: b, value: 2}\n"))


def test_a_palette_with_white_first_is_doubtful():
    content = saved(palette_image(1 - WHITE, np.array([[255, 255, 255], [0, 0, 0]])), "BMP")
    with pytest.raises(BadImageError, match="black and white"):
        read(content, options(classes="a,b"))
    assert np.array_equal(read(content, options(classes="a,b", foreground=255)), WHITE)


def test_0_and_1_in_some_masks_and_255_in_others_is_doubtful():
    with pytest.raises(UserError, match=r"0 and 1 \(first\), others 0 and 255 \(second\), none all three"):
        judge(options(classes="a,b"), first=png(WHITE), second=png(WHITE * 255))


def test_black_and_white_in_the_label_map_count_as_colors():
    meaning = labels("[{name: a, color: [0, 0, 0]}, {name: b, color: [255, 255, 255]}]")
    masks = [png(WHITE * 255), png(WHITE, 1), png(np.repeat(WHITE[..., None] * 255, 3, 2), 8, RGB)]
    for content in masks:
        assert np.array_equal(read(content, meaning), WHITE)
    judge(meaning, a=masks[0], b=masks[1], c=masks[2])
    with pytest.raises(UserError, match="contradict"):
        judge(meaning, a=masks[0], b=png(WHITE))
    assert np.array_equal(
        read(masks[0], labels("[{name: a, color: '#000'}, {name: b, color: '#fff'}]", masks_hold="ids")), WHITE * 255
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_tiff_with_0_as_white_is_read_as_it_looks(bits):
    meaning = labels(f"[{{name: a}}, {{name: b, value: {2**bits - 1}}}]")
    assert np.array_equal(
        read(tiff(1 - WHITE if bits == 1 else (1 - WHITE) * np.uint32(2**bits - 1), bits, 0), meaning), WHITE
    )
    if bits > 1:
        with pytest.raises(BadImageError, match="declares 0 as white"):
            read(tiff(WHITE, bits, 0), LABELS)


# Values, ignored values, transparency.


def test_values_with_gaps_become_ids():
    meaning = labels("[{name: a}, {name: b, value: [4, 7]}, {name: c, value: -2}, {ignore: [9]}]")
    values = np.array([[0, 4, 7, -2, 9, 255]], np.int32)
    for content in (saved(Image.fromarray(values), "TIFF"), saved(Image.fromarray(values.astype(np.float32)), "TIFF")):
        assert read(content, meaning).tolist() == [[0, 1, 1, 2, 255, 255]]
    with pytest.raises(BadImageError, match=r"class id 1 .* \(-2, 0, 4, 7, 9, and 255 for ignore\)"):
        read(png(np.array([[1]])), meaning)


TRANSPARENT = {
    "gray": png(np.array([[[1, 255], [2, 0], [77, 0]]]), 8, GRAY_ALPHA),
    "RGBA": saved(Image.fromarray(np.array([[[1, 1, 1, 255], [9, 8, 7, 0], [0, 0, 0, 0]]], np.uint8)), "PNG"),
    "color": png(np.array([[[1, 1, 1], [9, 9, 9], [9, 9, 9]]]), 8, RGB, extra=chunk(b"tRNS", bytes([0, 9] * 3))),
    "value": png(np.array([[1, 3, 3]]), 2, extra=chunk(b"tRNS", bytes([0, 3]))),
    "palette": saved(palette_image(np.array([[1, 2, 2]]), VOC), "PNG", transparency=2),
    "deep": png(np.array([[[1, 65535], [300, 0], [2, 0]]]), 16, GRAY_ALPHA),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_pixels_are_what_the_user_says_whatever_lies_under_them(name):
    with pytest.raises(BadImageError, match=r"2 pixels are transparent.*--transparent ignore"):
        read(TRANSPARENT[name], options(classes="a,b,c"))
    assert read(TRANSPARENT[name], options(classes="a,b,c", transparent="ignore")).tolist() == [[1, 255, 255]]
    assert read(TRANSPARENT[name], options(classes="a,b,c", transparent="c")).tolist() == [[1, 2, 2]]


def test_partly_transparent_pixels_are_doubtful():
    content = png(np.array([[[1, 255], [2, 100]]]), 8, GRAY_ALPHA)
    with pytest.raises(BadImageError, match="1 pixels are partly transparent"):
        read(content, options(classes="a,b,c", transparent="ignore"))
    clear = png(np.array([[[7, 0], [9, 0]]]), 8, GRAY_ALPHA)
    assert read(clear, options(classes="a,b,c", transparent="b")).tolist() == [[1, 1]]


# Files.


def test_several_frames_are_refused_and_smaller_copies_are_not():
    first, second = Image.new("L", (4, 4)), Image.new("L", (4, 4), 1)
    for file_format in ("GIF", "TIFF", "PNG", "WEBP"):
        settings = {"lossless": True} if file_format == "WEBP" else {}
        content = saved(first, file_format, save_all=True, append_images=[second], **settings)
        with pytest.raises(BadImageError, match="2 frames or pages"):
            read(content)
    buffer = io.BytesIO()
    overview = Image.new("L", (2, 2))
    overview.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(buffer, "TIFF", save_all=True, append_images=[overview])
    assert read(buffer.getvalue()).shape == (4, 4)


def test_what_cannot_be_read_exactly_is_refused():
    image = Image.new("L", (4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(BadImageError, match="orientation tag has the value 6"):
        read(saved(image, "PNG", exif=exif))
    with pytest.raises(BadImageError, match="orientation tag has the value 6"):
        read(tiff(np.zeros((3, 4), np.uint8), 8, t274=6))
    with pytest.raises(BadImageError, match="format PPM"):
        read(b"P5 2 1 2\n\0\1")
    with pytest.raises(BadImageError, match="colors have 16 bits"):
        read(png(np.array([[[1, 2, 300]]]), 16, RGB))
    bmp = bytearray(saved(palette_image(np.eye(8), np.full((256, 3), 9)), "BMP"))
    bmp[46:50] = (2).to_bytes(4, "little")  # A palette of two colors, black and white, for pixels of 8 bits.
    bmp[54:62] = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    with pytest.raises(BadImageError, match="BMP with a gray palette"):
        read(bytes(bmp))


def test_broken_files_are_bad_masks_and_nothing_else():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (9, 9))
    for name, content in encodings(ids, LABELS, rng):
        for _ in range(20):
            broken = bytearray(content)
            for place in rng.integers(0, len(broken), 3):
                broken[place] = rng.integers(0, 256)
            try:
                read(bytes(broken[: rng.integers(1, len(broken) + 1)]))
            except BadImageError:
                pass
            except Exception as error:
                raise AssertionError(name) from error
