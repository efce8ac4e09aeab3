"""The report of a run, in a real browser."""

import base64
import io
import json
import os
import pathlib
import re

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from components.report import listing, pictures
from models.evaluation.metric_table import signed
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.runners.local import run_locally
from tests.pages import faults, forms

pytestmark = pytest.mark.one_line


def run(config):
    return run_locally(config, Console(file=open(os.devnull, "w")))


@pytest.fixture
def page(browser, first):
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
    assert len(page.find_elements(By.CSS_SELECTOR, ".chart svg")) == 2


def test_it_can_be_found_among_the_runs(page, first, brain_mri):
    """Its title and its beginning name the run as `segpipe runs` does, the version, the data, the code and the date."""
    assert page.title == f"small, version {first.pushed_version}, run {first.run_id}"
    terms, values = (
        [item.text for item in page.find_elements(By.CSS_SELECTOR, f".facts {kind}")] for kind in ("dt", "dd")
    )
    facts = dict(zip(terms, values, strict=True))
    assert (facts["Run"], facts["Version"]) == (first.run_id, str(first.pushed_version))
    assert facts["Data set"] == f"{brain_mri}\n75 train, 10 eval, 20 test"
    *commit, digest = first.code.split()
    assert facts["Commit"] == f"{''.join(commit) or 'not known, there was no git'} (digest of the code: {digest})"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", facts["Date"])
    order = [cell.text for cell in page.find_elements(By.CSS_SELECTOR, "#splits tbody td:first-child")]
    assert order == ["train", "eval", "test"]


def test_the_overview_beside_the_runs_leads_to_it(browser, first, output):
    """A run writes it at its end, with links to its report and its log."""
    browser.get((output / "index.html").as_uri())
    links = {link.text: link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "header a")}
    assert links[f"Report of version {first.pushed_version}"] == pathlib.Path(first.report).as_uri()
    (log,) = (output / "logs").iterdir()
    assert links["Log"] == log.as_uri()
    (row,) = browser.find_elements(By.CSS_SELECTOR, "#of-runs tbody tr")
    assert f"pushed {first.pushed_version}, deployed {first.mean_iou:.4f}" in row.text


def test_everything_can_be_seen_and_read(page):
    """At both widths, light and dark: no column hidden without a sign, no text on what has its color."""
    for form in forms(page):
        assert faults(page) == [], form
        assert unreadable(page) == [], form
        gate = page.find_element(By.CSS_SELECTOR, "table.gate")
        assert gate.size["width"] <= gate.find_element(By.XPATH, "..").size["width"], form
        assert page.execute_script(BARS_UNDER_TEXT) == [], form
        height = page.execute_script("return document.documentElement.scrollHeight")
        assert height < 9000, form  # With a picture in each row, it was 14,000 on a phone.


# Bars of charts, and all texts of these charts that lie over one.
BARS_UNDER_TEXT = """
const bars = [...document.querySelectorAll(".bar")].map(bar => bar.getBoundingClientRect());
if (!bars.length) return ["no bars"];
const section = document.getElementById("data").parentElement, found = [];
const walker = document.createTreeWalker(section, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const range = document.createRange();
  range.selectNode(walker.currentNode);
  const { left, top, right, bottom } = range.getBoundingClientRect();
  const isOver = bar => left < bar.right && bar.left < right && top < bar.bottom && bar.top < bottom;
  if (walker.currentNode.data.trim() && bars.some(isOver)) found.push(walker.currentNode.data);
}
return found;
"""
TEXTS = """
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  if (!node.data.trim() || element.closest("script, style") || !element.checkVisibility()) continue;
  const style = getComputedStyle(element), box = element.closest(".scroll, .chart")?.getBoundingClientRect();
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const { left, top, right, bottom } of range.getClientRects()) {
    if (box && right > box.right - 20) continue;  // Cut off, under the shade that says so.
    found.push([node.data, element.closest("svg") ? style.fill : style.color,
      [left + scrollX, top + scrollY, right + scrollX, bottom + scrollY].map(Math.round)]);
  }
}
return found;
"""
WITHOUT_TEXT = "svg text { opacity: 0 !important } * { -webkit-text-fill-color: transparent !important }"
ADD_STYLE = "document.head.appendChild(document.createElement('style')).textContent = arguments[0]"


def unreadable(page):
    """Texts on whose background, as it is drawn, they have less than a contrast of 4.5 on a tenth of their places."""
    page.execute_script("scrollTo(0, 0)")  # The slider stays in sight, over other things.
    texts = page.execute_script(TEXTS)
    page.execute_script(ADD_STYLE, WITHOUT_TEXT)
    width, height = page.execute_script(
        "const { clientWidth, scrollHeight } = document.documentElement; return [clientWidth, scrollHeight];"
    )
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    page.execute_script("document.head.lastElementChild.remove()")
    behind = luminance(np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")))
    wrong = []
    for text, color, (left, top, right, bottom) in texts:
        own = luminance([int(part) for part in re.findall(r"\d+", color)[:3]])
        part = behind[top:bottom, left:right]
        contrast = (np.maximum(part, own) + 0.05) / (np.minimum(part, own) + 0.05)
        if np.quantile(contrast, 0.1) < 4.5:
            wrong.append(text)
    assert len(texts) > 100
    return wrong


def luminance(colors):
    """[…, 3] of 0 to 255; as WCAG defines it."""
    values = np.arange(256) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return linear[colors] @ np.array([0.2126, 0.7152, 0.0722], np.float32)


@pytest.mark.parametrize(
    ("css", "noticed"),
    [
        (".scroll { background: none !important }", "scrolls without a sign of it"),
        (".scroll { overflow: hidden !important }", "cut off"),
        ("table.gate { width: max-content } .gate td { padding-right: 5rem }", "<="),
        (".bar { margin-right: -3rem }", "%"),
        (".faint { color: #888 !important }", "text"),
        (".pictures { grid-template-columns: none }", "< 9000"),
    ],
)
def test_what_cannot_be_seen_or_read_is_noticed(page, css, noticed):
    page.execute_script(ADD_STYLE, css)
    with pytest.raises(AssertionError, match=noticed):
        test_everything_can_be_seen_and_read(page)


def test_a_picture_opens_large_and_keys_do_all(page):
    shown, opener = page.find_element(By.ID, "viewer"), page.find_element(By.CSS_SELECTOR, ".picture button")
    assert not shown.is_displayed()
    opener.send_keys(Keys.ENTER)
    image = shown.find_element(By.TAG_NAME, "img")
    names = [
        item.get_attribute("alt") for item in page.find_elements(By.CSS_SELECTOR, ".picture .layers img:first-child")
    ]
    assert image.get_attribute("src") == opener.find_element(By.TAG_NAME, "img").get_attribute("src")
    assert image.size["height"] > 0.5 * page.execute_script("return innerHeight")
    assert shown.find_element(By.ID, "viewer-name").text == names[0]
    assert re.fullmatch(r"mean IoU 0\.\d{3}, 197 × 233 pixels, 1 of 20", shown.find_element(By.ID, "viewer-facts").text)
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert shown.find_element(By.ID, "viewer-name").text == names[-1]
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert shown.find_element(By.ID, "viewer-name").text == names[1]
    slider = shown.find_element(By.ID, "viewer-fade")
    slider.send_keys(Keys.END)
    layers = shown.find_elements(By.TAG_NAME, "img")
    assert [float(layer.value_of_css_property("opacity")) for layer in layers] == pytest.approx([1, 0, 0, 0.7])
    assert shown.find_element(By.ID, "viewer-name").text == names[1]
    assert opacities(page) == pytest.approx([1, 0, 0, 0.7])
    slider.send_keys(Keys.ESCAPE)
    assert not shown.is_displayed()
    assert page.switch_to.active_element == opener


def listed(page):
    return [row.text.split() for row in page.find_elements(By.CSS_SELECTOR, "#all-images tbody tr")]


def test_each_test_image_is_found_by_its_name(page):
    rows = listed(page)
    assert len(rows) == 10
    values = [float(value) for _, value in rows]
    assert values == sorted(values)
    page.find_element(By.ID, "more").click()
    assert len(listed(page)) == 20
    assert not page.find_element(By.ID, "more").is_displayed()
    wanted = rows[3][0]
    page.find_element(By.ID, "find").send_keys(wanted.upper())
    assert listed(page) == [rows[3]]
    assert page.find_element(By.ID, "found").text == "1 of 20 images"
    page.find_element(By.CSS_SELECTOR, "#all-images td button").send_keys(Keys.ENTER)
    assert page.find_element(By.ID, "viewer-name").text == wanted
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.find_element(By.ID, "find").send_keys("x")
    assert listed(page) == []
    page.find_element(By.ID, "find").clear()
    page.find_element(By.ID, "find").send_keys(" ")
    page.find_element(By.CSS_SELECTOR, "#all-images th:first-child button").click()
    names = [name for name, _ in listed(page)]
    assert names == sorted(names)


def test_ten_thousand_images_are_found_as_fast(browser, first, tmp_path):
    names = [f"camera_{index % 7}/2026-11-27/image_{index:05}.jpg" for index in range(10_000)]
    found = listing.list_images(names, np.linspace(0, 1, 10_000), names[:3], 8_000_000)
    text = pathlib.Path(first.report).read_text()
    before, after = re.split(r'(?<=<script id="listed" type="application/json">).*', text)
    many = tmp_path / "many.html"
    many.write_text(before + json.dumps(found) + "</script>" + after)
    assert many.stat().st_size < len(text.encode()) + 700_000
    browser.get(many.as_uri())
    assert len(listed(browser)) == 10
    started = browser.execute_script("return performance.now()")
    browser.execute_script(
        "const find = document.getElementById('find'); find.value = 'IMAGE_09999';"
        "find.dispatchEvent(new Event('input'))"
    )
    assert listed(browser) == [[names[-1], "1.0000"]]
    assert browser.execute_script("return performance.now()") - started < 5000


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


def test_pictures_shrink_to_the_size_limit(first, small_config, output, caplog):
    """Nothing is trained anew for that; the model, which is deployed by now, is compared with itself.

    A tracker that is down does not fail the run.
    """
    limited = run(small_config(output, report={"max_megabytes": 0.25}, track={"mlflow": {"uri": "http://127.0.0.1:9"}}))
    assert "the run is not, or not all, in MLflow at http://127.0.0.1:9: MlflowException" in caplog.text
    assert [item.name for item in limited.components if item.state != "cached"] == [
        *("DeployedModel", "Evaluator", "Pusher", "Report"),
    ]
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
        f"<title>small, not pushed, run {other.run_id}</title>",
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
