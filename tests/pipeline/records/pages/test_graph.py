"""The graph of a lineage, as it is drawn."""

import pytest
from selenium.webdriver.common.by import By

from pipeline.records.lineage import Lineage
from pipeline.records.pages.graph import Node, draw_graph, wrap
from pipeline.records.pages.lineage import render
from pipeline.records.sections import Row
from tests.pages import faults, forms

TIME = "2026-11-27 02:20:44"
FOLDERS = (
    "4 folders, the last:",
    "/data/a_folder_with_a_name_as_long_as_they_come/WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
    "x/2",
)
GRAPH = [
    Node("Data", FOLDERS, kind="thing"),
    Node("Version 1795745998", ("compared with",), kind="thing"),
    Node("ImportSchemaGen", (TIME,), (), "earlier"),
    Node("ImportExampleGen", (TIME,), ("Data",)),
    Node("StatisticsGen", (TIME,), ("ImportExampleGen", "ImportSchemaGen")),
    Node("ExampleValidator", (TIME,), ("StatisticsGen", "ImportSchemaGen")),
    Node("DataGate", (TIME,), ("ImportExampleGen", "ExampleValidator")),
    Node("Transform", (TIME,), ("ImportExampleGen", "ImportSchemaGen")),
    Node("Trainer", ("6 epochs", TIME), ("DataGate", "Transform", "ImportExampleGen")),
    Node("DeployedModel", (TIME,), ("Version 1795745998", "Trainer")),
    Node("Evaluator", ("mean IoU 0.5161", TIME), ("DeployedModel", "Trainer", "ImportExampleGen")),
    Node("ServingCheck", (TIME,), ("ImportExampleGen", "Trainer")),
    Node("Pusher", (TIME,), ("Trainer", "Evaluator", "ServingCheck")),
    Node("Version 1795746120", ("deployed",), ("Pusher",), "thing"),
]
# Boxes and what is written in them, and whether an arrow leads through a box.
_PLACES = """
return [...document.querySelectorAll('.graph .box')].map(box => {
  const place = element => { const { x, y, width, height } = element.getBBox(); return [x, y, x + width, y + height]; };
  return [box.querySelector('.title').textContent, place(box.querySelector('rect')),
    [...box.querySelectorAll('text')].map(place)];
});
"""
_CROSSED = """
const arrows = [...document.querySelectorAll('.graph > g:not(.box) path')], found = [];
for (const box of document.querySelectorAll('.graph .box')) {
  const { x, y, width, height } = box.querySelector('rect').getBBox();
  for (const arrow of arrows) for (let at = 0; at < arrow.getTotalLength(); at += 2) {
    const point = arrow.getPointAtLength(at);
    if (x + 2 < point.x && point.x < x + width - 2 && y + 2 < point.y && point.y < y + height - 2)
      found.push(box.querySelector('.title').textContent);
  }
}
return [...new Set(found)];
"""


@pytest.fixture
def page(browser, tmp_path):
    rows = {
        "Data": [Row("train", ["/data/" + "long_" * 60])],
        "Empty": [],
        "Configuration": [Row("train", ["epochs: 2\nloss:\n  cross_entropy:\n    weight: 1.0"])],
    }
    path = tmp_path / "lineage.html"
    path.write_text(render("small", 1795746120, Lineage(rows, GRAPH, "deployed", None)))
    browser.get(path.as_uri())
    return browser


def test_nothing_of_the_page_is_clipped_on_any_screen(page):
    headings = [heading.text for heading in page.find_elements(By.TAG_NAME, "h2")]
    assert headings == ["How it was made", "Data", "Configuration"]
    for form in forms(page):
        assert faults(page) == [], form
        value = page.find_element(By.TAG_NAME, "dd")
        assert value.text == "/data/" + "long_" * 60
        assert page.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", value), form


def test_each_text_is_in_its_box_and_no_box_lies_on_another(page):
    places = page.execute_script(_PLACES)
    assert [name for name, _, _ in places] == [node.name for node in GRAPH]
    for name, (left, top, right, bottom), texts in places:
        for text in texts:
            assert (left < text[0], top < text[1], text[2] < right, text[3] < bottom) == (True,) * 4, (name, text)
    boxes = {name: box for name, box, _ in places}
    overlapping = [
        (one, other)
        for one, a in boxes.items()
        for other, b in boxes.items()
        if one < other and a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    assert overlapping == []
    assert page.execute_script(_CROSSED) == []
    # What uses something is below it.
    assert all(boxes[used][3] < boxes[node.name][1] for node in GRAPH for used in node.used)


def test_arrows_that_others_imply_are_left_out():
    three = [Node("a"), Node("b", used=("a",)), Node("c", used=("a", "b"))]
    assert draw_graph(three, "").count("marker-end") == 2


def test_names_are_quoted_and_nothing_of_them_is_lost():
    assert "<b>" not in draw_graph([Node("<b>", ("<i>",))], '"')
    for text in (*FOLDERS, "x" * 100, "a b" * 30, "/" * 50, "x/写真/" + "写" * 15):
        lines = wrap(text)
        assert max(map(len, lines)) <= 22
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap("写" * 12) == ["写" * 11, "写"]
    assert wrap("") == []
