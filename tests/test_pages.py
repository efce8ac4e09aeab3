"""What tells whether a page can be read can fail."""

import urllib.parse

import pytest

from data.base import pages
from tests.pages import faults, forms

WIDE = "<table id='wide'><tr>" + "<td>a column with several words</td>" * 6 + "</tr></table>"
BARS = "<svg width='300' height='60'><rect width='200' height='40' fill='#0072b2'/>{}</svg>"


def show(browser, body, style="{% include 'style.css' %}", tmp_path=None):
    (tmp_path / "page.html").write_text(
        f"<!DOCTYPE html><meta name=viewport content='width=device-width'><style>{style}</style><body>{body}</body>"
    )
    html = pages.template(tmp_path / "page.html").render()
    browser.get("data:text/html;charset=utf-8," + urllib.parse.quote(html))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (f"<div class='scroll'>{WIDE}</div>", None),
        (WIDE, "wider than the screen: TABLE wide"),
        (f"<div style='overflow-x: auto'>{WIDE}</div>", "scrolls without a sign of it: wide"),
        (f"<div style='overflow: hidden'>{WIDE}</div>", "cut off: wide"),
        (BARS.format("<text x='10' y='20' fill='white'>pet</text>"), None),
        (BARS.format("<text x='10' y='20' fill='#0068a9'>pet</text>"), "text of the color behind it: pet"),
        ("<p class='faint'>faint</p>", None),
        ("<p style='color: #bbb; background: #ccc'>gone</p>", "text of the color behind it: gone"),
    ],
)
def test_each_fault_is_found_on_a_phone_and_no_other(body, fault, browser, tmp_path):
    show(browser, body, tmp_path=tmp_path)
    for form in forms(browser, (390,)):
        found = faults(browser)
        assert [one for one in found if fault is None or not one.startswith(fault)] == [], form
        assert bool(found) == (fault is not None), form
