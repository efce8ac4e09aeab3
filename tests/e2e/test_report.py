"""The report of a run, in a real browser."""

import json
import os
import pathlib
import re

import numpy as np
import pytest
import yaml
from rich.console import Console
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from components.report import pictures
from pipeline.records.comparison import signed
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.runners.local import run_locally
from tests.pages import faults, forms

pytestmark = pytest.mark.one_line


def run(config):
    return run_locally(config, Console(file=open(os.devnull, "w")))


@pytest.fixture
def page(browser, first):
    browser.get_log("performance")
    browser.get(pathlib.Path(first.report).as_uri())
    return browser


def opacities(page):
    """Of the layers of the first picture."""
    (layers, *_) = page.find_elements(By.CSS_SELECTOR, ".layers")
    return [float(image.value_of_css_property("opacity")) for image in layers.find_elements(By.TAG_NAME, "img")]


def column(page, table, index):
    cells = page.find_elements(By.CSS_SELECTOR, f"#{table} tbody td:nth-child({index})")
    return [float(cell.text.split()[0]) for cell in cells]


def test_it_needs_nothing_but_itself_and_logs_no_error(page):
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requested = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split(":", 1)[0] for url in requested} == {"file", "data"}
    assert [url for url in requested if url.startswith("file:")] == [page.current_url]
    assert page.execute_script("return [...document.images].every(image => image.naturalWidth > 0)")


def test_the_verdict_comes_first_with_the_thresholds(page, first):
    text = page.find_element(By.TAG_NAME, "body").text
    assert "Passed the gate" in text
    gate = page.find_element(By.CSS_SELECTOR, "section[aria-labelledby=gate]").text
    assert f"mean IoU {first.mean_iou:.4f} 0.2000 ✓ passed" in gate
    headings = [heading.text for heading in page.find_elements(By.TAG_NAME, "h2")]
    assert headings == [
        "What the gate decided",
        "The candidate",
        "Worst, median and best test images",
        "Training",
        "Data",
        "The run",
    ]
    assert re.search(r"The conversion set nothing aside", text)
    assert len(page.find_elements(By.CSS_SELECTOR, ".chart svg")) == 4


def test_the_slider_fades_between_the_layers(page):
    slider = page.find_element(By.ID, "fade")
    assert opacities(page) == pytest.approx([1, 0, 0.7, 0])
    slider.send_keys(Keys.HOME)
    assert opacities(page) == pytest.approx([1, 0, 0, 0])
    slider.send_keys(Keys.END)
    assert opacities(page) == pytest.approx([1, 0, 0, 0.7])
    slider.send_keys(Keys.ARROW_LEFT)
    assert opacities(page) == pytest.approx([1, 0, 0.035, 0.665])


def test_tables_are_sorted_by_a_click_or_a_key(page):
    before = column(page, "by-class", 3)
    head = page.find_element(By.CSS_SELECTOR, "#by-class th:nth-child(3)")
    head.find_element(By.TAG_NAME, "button").click()
    assert column(page, "by-class", 3) == sorted(before) != before
    assert head.get_attribute("aria-sort") == "ascending"
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert column(page, "by-class", 3) == sorted(before, reverse=True)
    assert [cell.text for cell in page.find_elements(By.CSS_SELECTOR, "#by-slice tbody td:first-child")] == [
        "slice_0",
        "slice_1",
    ]


def test_it_fits_a_phone_and_the_dark(page):
    try:
        page.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        )
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        )
        colors = [
            page.execute_script(f"return getComputedStyle(document.body).{name}")
            for name in ("backgroundColor", "color")
        ]
        paper, ink = (sum(map(int, re.findall(r"\d+", color)[:3])) for color in colors)
        assert paper < 150 < 600 < ink
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_pictures_shrink_to_the_size_limit(first, small_config, output):
    """And nothing but the report is made anew for that."""
    limited = run(small_config(output, report={"max_megabytes": 0.25}))
    assert [item.name for item in limited.components if item.state != "cached"] == ["Report"]
    assert limited.state == "unchanged"
    before, after = (pathlib.Path(path).read_text() for path in (first.report, limited.report))
    assert len(after.encode()) <= 250_000 < len(before.encode()) < 8_000_000
    assert after.count('class="over"') == before.count('class="over"') == 3 * 20


def test_groups_of_images_are_apart():
    names = [f"image{index}" for index in range(100)]
    values = np.linspace(1, 0, 100)
    values[7] = np.nan
    chosen = pictures.choose(names, values)
    groups = {group: [item.name for item in chosen if item.group == group] for group in ("worst", "median", "best")}
    assert groups["worst"] == names[:-13:-1]
    assert groups["best"] == [*names[:7], *names[8:13]]
    assert groups["median"] == names[56:44:-1]
    assert [item.group for item in pictures.choose(names[:2], np.array([0.1, 0.2]))] == ["worst", "best"]
    assert pictures.choose(names[:1], np.array([np.nan])) == []


def test_report_and_compare_find_runs(first, small_config, output, segpipe, browser, tmp_path):
    config = small_config(output)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    found = segpipe("report", first.run_id, "--config", str(path))
    assert (found.returncode, os.path.abspath(found.stdout.strip())) == (0, first.report)
    missing = segpipe("report", "1999", "--config", str(path))
    assert (missing.returncode, missing.stderr) == (1, "Error: no run begins with 1999; `segpipe runs` lists them\n")

    run(small_config(output, train={"epochs": 1, "learning_rate": 1e-6}))
    other = load_runs(database_of(config))[-1]
    # The model was refused, and has a report that compares it with the deployed one.
    text = pathlib.Path(other.report).read_text()
    for part in (
        "Refused by the gate",
        "✗ missed",
        f"Candidate against deployed version {first.pushed_version}",
        "Drift",
    ):
        assert part in text
    compared = segpipe("compare", first.run_id, other.run_id, "--config", str(path))
    assert compared.returncode == 0, compared.stderr
    (epochs,) = re.findall(r"^train.epochs +(\d+) +(\d+)", compared.stdout, re.MULTILINE)
    assert epochs == ("6", "1")
    difference = signed(other.mean_iou - first.mean_iou)
    assert re.search(
        rf"^mean IoU +{first.mean_iou:.4f} +{other.mean_iou:.4f} +{difference}", compared.stdout, re.MULTILINE
    )

    # The gate compared them too, image by image.
    ends = [other.metrics[f"mean_iou_change_{end}"] for end in ("lower", "upper")]
    html = tmp_path / "comparison.html"
    written = segpipe("compare", first.run_id, other.run_id, "--config", str(path), "--html", str(html))
    assert written.stdout == f"Written to {html}\n", written.stderr
    browser.get(html.as_uri())
    text = browser.find_element(By.TAG_NAME, "body").text
    interval = f"95 % interval {signed(ends[0])} to {signed(ends[1])}, paired over the same test images"
    assert f"B is worse than A: mean IoU {difference} ({interval})" in text
    settings = browser.find_elements(By.CSS_SELECTOR, ".settings tbody th")
    assert [row.text for row in settings] == ["train.epochs", "train.learning_rate"]
    rows = browser.find_elements(By.CSS_SELECTOR, ".differing")
    assert len(rows) == 6
    captions = [caption.text for caption in rows[0].find_elements(By.TAG_NAME, "figcaption")]
    assert captions == ["image", "label", "prediction of A", "prediction of B"]
    spreads = [abs(a - b) for a, b in (map(float, re.findall(r"[AB] (\d\.\d+)", row.text)) for row in rows)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 0.05
    assert browser.execute_script("return [...document.images].every(image => image.naturalWidth > 0)")
    for form in forms(browser):
        assert faults(browser) == [], form
    alone = segpipe("compare", first.run_id, "--config", str(path))
    assert (alone.returncode, "at least two runs" in alone.stderr) == (1, True)
