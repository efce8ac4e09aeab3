"""The page of an inspection, in a real browser."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from data.formats.mask_folder import MaskFolderReader
from data.inspection.page.content import make_page
from data.inspection.survey.doubts import find_doubts
from data.inspection.survey.inputs import DataSet
from data.inspection.survey.processes import Processes
from data.inspection.survey.survey import survey
from tests.pages import faults, forms

NAMES = ("ground", "<b>thing</b>", "rare & small")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of a data set with hostile names, a copy, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("inspected")
    for kind in ("images", "masks"):
        for split in ("train", "eval", "test"):
            (folder / "set" / kind / split).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(30):
        split = ("train", "eval", "test")[index % 3]
        name = HOSTILE if index == 0 else f"{index:02}"
        small = generator.integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)
        ids = np.zeros((120, 160), np.uint8)
        ids[20:80, 30:90] = 1
        ids[90:100, 100:110] = 2 if index % 5 == 0 else 0
        image.save(folder / "set" / "images" / split / f"{name}.png")
        Image.fromarray(ids).save(folder / "set" / "masks" / split / f"{name}.png")
    for kind in ("images", "masks"):
        (folder / "set" / kind / "test" / "copy.png").write_bytes(
            (folder / "set" / kind / "train" / "03.png").read_bytes()
        )
    (folder / "set" / "images" / "train" / "<i>broken.png").write_bytes(b"broken")
    (folder / "set" / "masks" / "train" / "<i>broken.png").write_bytes(b"broken")
    inputs = DataSet(MaskFolderReader(folder=str(folder / "set"), classes=NAMES))
    path = folder / "inspection.html"
    with Processes(inputs, 1) as processes:
        found = survey("<my> set", processes)
        path.write_text(make_page(processes, found, find_doubts(found)))
    return path


@pytest.fixture
def page(browser, written):
    browser.get(written.as_uri())
    return browser


def overlays(page):
    return {float(image.value_of_css_property("opacity")) for image in page.find_elements(By.CSS_SELECTOR, "img.over")}


def text_of(page, section):
    return page.find_element(By.CSS_SELECTOR, f"section[aria-labelledby={section}]").text


def test_it_needs_nothing_but_itself_and_logs_no_error(page, written):
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requested = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requested if not url.startswith("data:")] == [page.current_url]
    assert page.execute_script("return [...document.images].every(image => image.naturalWidth > 0 && image.alt)")
    assert page.execute_script("return document.scripts.length") == 0
    assert written.stat().st_size < 1_000_000


def test_it_fits_every_screen(page):
    for form in forms(page):
        assert faults(page) == [], form


def test_names_are_text_whatever_they_hold(page):
    assert page.title == "Inspection of <my> set"
    assert page.find_element(By.TAG_NAME, "h1").text == "<my> set"
    assert page.find_elements(By.CSS_SELECTOR, "b:not(.card b), i, img[src=x]") == []
    assert f"train/{HOSTILE}" in [image.get_attribute("alt") for image in page.find_elements(By.TAG_NAME, "img")]
    assert [item.text for item in page.find_elements(By.CSS_SELECTOR, ".legend li")] == list(NAMES)


def test_the_doubts_come_first_with_their_pictures(page):
    headings = [heading.text for heading in page.find_elements(By.TAG_NAME, "h2")]
    assert headings == ["Doubts", "Images with their masks", "Classes", "Images", "What cannot be used, and why"]
    (pair,) = page.find_elements(By.CSS_SELECTOR, ".pair")
    assert [caption.text for caption in pair.find_elements(By.TAG_NAME, "figcaption")] == [
        "train/03 (train)",
        "test/copy (test)",
    ]
    assert "1 × its mask: unreadable: not a known image format" in text_of(page, "aside")
    assert "<i>broken.png" in text_of(page, "aside")


def test_the_sample_shows_masks_in_the_colors_of_the_classes(page):
    pictures = page.find_elements(By.CSS_SELECTOR, "section[aria-labelledby=pictures] .picture")
    assert len(pictures) == 24
    assert "rare & small 0.5 %" in pictures[0].text
    source = pictures[0].find_element(By.CSS_SELECTOR, "img.over").get_attribute("src")
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
    swatches = page.find_elements(By.CSS_SELECTOR, ".legend .swatch")
    colors = [
        list(map(int, re.findall(r"\d+", item.value_of_css_property("background-color"))[:3])) for item in swatches
    ]
    assert [mask[row, column].tolist() for row, column in ((0, 0), (50, 60), (95, 105))] == colors


def test_overlays_can_be_hidden_without_scripts(page):
    assert overlays(page) == {0.5}
    page.find_element(By.ID, "show-image").click()
    assert overlays(page) == {0}
    page.find_element(By.ID, "show-mask").click()
    assert overlays(page) == {1}
    page.find_element(By.ID, "show-mask").send_keys(Keys.LEFT, Keys.LEFT)
    assert overlays(page) == {0.5}


def test_classes_have_shares_and_objects_by_split(page):
    tables = page.find_elements(By.CSS_SELECTOR, "section[aria-labelledby=classes] table")
    shares, objects = (
        [row.text.split() for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")] for table in tables
    )
    assert shares[1] == ["<b>thing</b>", "18.8", "%", "10", "18.8", "%", "10", "18.8", "%", "11"]
    assert objects[2][:3] == ["rare", "&", "small"]
    assert " ".join(objects[2][3:]) == "2 64 to 127 2 64 to 127 2 64 to 127 0"
    bars = page.find_elements(By.CSS_SELECTOR, ".bar div")
    assert bars[3].size["width"] == pytest.approx(0.188 * 88, abs=1.5)


def test_images_have_sizes_values_and_files(page):
    text = text_of(page, "images")
    assert "160×120: 31" in text
    assert "PNG, RGB: 31" in text
    assert re.search(r"red: 0 to 255, mean 1\d\d", text)
    charts = page.find_elements(By.CSS_SELECTOR, "section[aria-labelledby=images] svg")
    assert [chart.get_attribute("aria-label") for chart in charts] == [
        "Sizes of images by width and height, up to 160 pixels",
        "How often each value occurs: red, green, blue",
    ]


def test_nothing_lies_outside_of_a_narrow_window(page):
    size = page.get_window_size()
    try:
        page.set_window_size(500, 800)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        page.set_window_size(size["width"], size["height"])
