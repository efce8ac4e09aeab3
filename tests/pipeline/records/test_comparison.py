import dataclasses

from pipeline.records.comparison import METRICS_HEADING, SETTINGS_HEADING, compare_runs
from pipeline.records.pages.comparison import render
from pipeline.records.runs import Run
from tests.pages import faults, forms


def run(**values):
    empty = dict.fromkeys((field.name for field in dataclasses.fields(Run)), "")
    return Run(
        **{**empty, "metrics": {}, "folders": {}, "components": [], "configuration": {}, "report": None, **values}
    )


def runs(count=2):
    long_ones = ("train.a_setting_with_a_long_name", "data.input")
    return [
        run(
            run_id=f"2026-11-27T03:2{index}:03.634539",
            pipeline="small",
            state="refused",
            code="b20eb4-dirty fc55a47e3f436966",
            metrics={"mean_iou": 0.4 + index / 10, "counting_error": 2.0 + index, "images": 20.0, "iou_cat": None},
            configuration={
                "task": "semantic",
                "train": {"seed": 0, "learning_rate": 10.0**-index},
                **dict.fromkeys(long_ones, "/data/" + f"{index}" * 70 if count > 2 else str(index)),
            },
        )
        for index in range(count)
    ]


def test_differences_have_signs_and_less_may_be_better():
    found = compare_runs(runs(3))
    rows = {row.label: row for row in found.sections[METRICS_HEADING]}
    assert found.difference_heads == ["B − A", "C − A"]
    assert (rows["mean IoU"].differences, rows["mean IoU"].best) == (("+0.1000", "+0.2000"), 2)
    assert (rows["counting error"].differences, rows["counting error"].best) == (("+1.0000", "+2.0000"), 0)
    assert not [label for label in rows if "images" in label or "cat" in label]
    settings = [row.label for row in found.sections[SETTINGS_HEADING]]
    assert settings == ["train.learning_rate", "train.a_setting_with_a_long_name", "data.input"]


def test_what_is_missing_is_said():
    found = compare_runs(runs())
    assert found.intervals == [None]
    assert found.remarks == ["There is no interval of the difference between A and B: an evaluation is missing."]
    page = render(found)
    assert "mean IoU of B less that of A: +0.1000. Whether that is more than chance is not known." in page
    assert "No pictures: there is no evaluation of A and B any more" in page


def test_long_values_and_many_runs_fit_a_phone(browser, tmp_path):
    path = tmp_path / "comparison.html"
    for count in (2, 5):
        path.write_text(render(compare_runs(runs(count))))
        browser.get(path.as_uri())
        for form in forms(browser):
            assert faults(browser) == [], (count, form)
