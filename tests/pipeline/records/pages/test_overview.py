"""The page in the output folder that says where a pipeline stands, in a real browser."""

import dataclasses
import datetime
import json
import logging
import os
import pathlib
import re
import time

import pytest
import yaml
from selenium.webdriver.common.by import By

from models.serving.versions import roll_back
from pipeline.config import Config
from pipeline.records.pages import overview
from pipeline.records.pages.next_steps import Facts, next_steps
from pipeline.records.pages.overview import render, write_overview
from pipeline.records.runs import own_runs
from tests.pages import faults, forms
from tests.pipeline.records.recorded import Recorded

KEY = "T0PSECRET&more"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "webhook").write_text(KEY)
    for span, images in ((1, 361), (2, 20), (3, 1234)):
        folder = tmp_path / "spans" / str(span)
        folder.mkdir(parents=True)
        splits = (
            {"train": {"examples": images}, "test": {"examples": 180}} if span == 1 else {"train": {"examples": images}}
        )
        (folder / "conversion.json").write_text(json.dumps({"splits": splits}))
    return Config.model_validate(
        {
            "name": "pets",
            "output": str(tmp_path / "out #1 [x]"),
            "data": {"input": str(tmp_path / "spans" / "{SPAN}")},
            "notify": {"webhook": {"file": str(tmp_path / "webhook")}},
        }
    )


@pytest.fixture
def recorded(config, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    pathlib.Path(config.output).mkdir()
    return Recorded(config)


@pytest.fixture
def weeks(recorded, tmp_path):
    """Four runs over two spans: a pushed one, a refused one, another pushed one, and one that failed."""
    first, second = (str(tmp_path / "spans" / name) for name in ("1", "2"))
    recorded("2026-11-02T03:00:00.500000", 0.71, 101, train=[first])
    recorded("2026-11-09T03:00:01.500000", 0.62, train=[first])
    recorded("2026-11-16T03:00:02.500000", 0.755, 102, train=[first, second])
    recorded("2026-11-23T03:00:03.500000", failure=f"DataGate: <b>no</b> image of {KEY} opens", train=[first, second])


def alert(config, day="2026-11-21", version=102):
    folder = pathlib.Path(config.output, "monitor")
    folder.mkdir()
    values = {"day": day, "version": version, "what": ["brightness: 0.42 → 0.61", "confidence: 0.93 → 0.71"], "p": 3e-9}
    (folder / "alerts.jsonl").write_text(f"{json.dumps(values)}\nhalf a li")
    (folder / "days.json").write_text(json.dumps([{"day": day, "version": version, "tests": [{"name": "size"}]}]))
    (folder / "index.html").write_text("<!DOCTYPE html><p>all days")


@pytest.fixture
def show(config, browser):
    def show():
        write_overview(config)
        browser.get(pathlib.Path(config.output, "index.html").as_uri())
        return browser

    return show


def table(page, name):
    rows = page.find_elements(By.CSS_SELECTOR, f"#{name} tbody tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]


def steps(page):
    return [item.text for item in page.find_elements(By.CSS_SELECTOR, ".steps li")]


def test_one_look_says_what_is_deployed_how_runs_went_and_what_to_do(weeks, config, show):
    alert(config)
    page = show()
    cards = [card.text.splitlines() for card in page.find_elements(By.CSS_SELECTOR, ".card")]
    assert cards == [
        ["deployed version", "102", "since 2026-11-16 03:00"],
        ["its mean IoU", "0.7550", "95 % interval 0.7250 to 0.7950", "Report of version 102"],
        ["last run", "failed", "2026-11-23 03:00"],
        ["alerts", "1", "the last of 2026-11-21", "Served traffic by day"],
    ]
    failed, alerted, of_data = steps(page)
    assert failed.startswith("The last run failed: DataGate: <b>no</b> image of ******** opens.")
    assert failed.endswith("segpipe run --config FILE")
    assert "differs from what version 102 learned from (brightness: 0.42 → 0.61, confidence" in alerted
    assert "segpipe suggest --config FILE --from kept/ --count 20" in alerted
    assert of_data == "Span 3 has not been trained on yet:\nsegpipe retrain --config FILE"
    assert table(page, "of-alerts") == [
        ["2026-11-21", "102", "3e-09", "brightness: 0.42 → 0.61, confidence: 0.93 → 0.71"]
    ]
    assert table(page, "of-data") == [
        ["3", "1,234", "–", "not yet", "no"],
        ["2", "20", "–", "2026-11-16 03:00", "yes"],
        ["1", "361", "180", "2026-11-02 03:00", "yes"],
    ]
    runs = table(page, "of-runs")
    assert [row[0][:10] for row in runs] == ["2026-11-23", "2026-11-16", "2026-11-09", "2026-11-02"]
    assert [row[1] for row in runs] == ["failed", "pushed 102, deployed", "refused", "pushed 101"]
    assert [row[2:5] for row in runs[1:]] == [
        ["0.7550", "0.7250 to 0.7950", "0.6900"],  # What it replaced, less gate.regression, is above gate.min.
        ["0.6200", "0.5900 to 0.6600", "0.6900"],
        ["0.7100", "0.6800 to 0.7500", "0.5000"],
    ]
    assert "below -0.02 (gate.regression)" in runs[2][7]
    assert page.get_log("browser") == []
    assert KEY not in page.page_source
    assert KEY.partition("&")[0] not in page.page_source


def test_links_lead_to_reports_and_logs_wherever_the_folder_is(weeks, config, show, tmp_path):
    write_overview(config)
    moved = pathlib.Path(config.output).rename(tmp_path / "moved?")
    pathlib.Path(config.output).symlink_to(moved)
    alert(config)
    page = show()
    page.get((moved / "index.html").as_uri())
    links = [link.get_attribute("href") for link in page.find_elements(By.CSS_SELECTOR, "header a, td a, p a")]
    # Two of each of three runs, one of the deployed version, and two of the monitor's page.
    assert len(links) == 3 * 2 + 1 + 2
    assert all(link.startswith(moved.as_uri()) for link in links)
    page.find_element(By.LINK_TEXT, "Report of version 102").click()
    assert page.find_element(By.TAG_NAME, "p").text == "report of 2026-11-16T03:00:02.500000"
    page.back()
    (point, *_) = page.find_elements(By.CSS_SELECTOR, ".chart a")
    assert "Report/report" in point.get_attribute("xlink:href")


def test_it_can_be_read_on_phones_light_and_dark_and_needs_nothing_else(weeks, config, show):
    alert(config)
    page = show()
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.current_url]
    assert page.find_elements(By.TAG_NAME, "script") == []
    for form in forms(page):
        assert faults(page) == [], form
        chart = page.find_element(By.CSS_SELECTOR, ".chart svg")
        assert chart.size["width"] > 300, form


def test_of_a_hundred_runs_the_old_ones_are_folded_away(recorded, config, browser, tmp_path):
    recorded("2026-01-01T03:00:00.500000", 0.5, 1)
    (run,) = own_runs(config)
    many = [
        dataclasses.replace(
            run,
            run_id=(datetime.datetime.fromisoformat(run.run_id) + datetime.timedelta(days=index)).isoformat(),
            metrics={**run.metrics, "mean_iou": 0.5 + index / 1000},
            test_digest=str(index // 50),
            state="unchanged",
        )
        for index in range(100)
    ]
    render(config, many[:2])  # Matplotlib is loaded now.
    started = time.process_time()
    render(config, many[:2])
    of_two = time.process_time() - started
    started = time.process_time()
    html = render(config, many)
    assert time.process_time() - started < 10 * of_two  # Most of it is what any chart takes.
    assert len(html) < 200_000
    (tmp_path / "many.html").write_text(html)
    browser.get((tmp_path / "many.html").as_uri())
    assert len(browser.find_elements(By.CSS_SELECTOR, "#of-runs tbody tr")) == 10
    assert len(browser.find_elements(By.CSS_SELECTOR, "#earlier-runs tbody tr")) == 90
    assert not browser.find_element(By.ID, "earlier-runs").is_displayed()
    assert "A dotted line" in browser.find_element(By.CSS_SELECTOR, "section[aria-labelledby=quality]").text


@pytest.fixture
def facts(weeks, config):
    """Of the second of the four runs, which was refused, and what else the next steps depend on."""
    _, refused, pushed, _ = own_runs(config)
    return Facts(run=pushed, decided=refused, deployed=101, rolled_back=None, new_data=[], alerts=[])


def texts(facts, **changes):
    return [(step.text, *step.commands) for step in next_steps(dataclasses.replace(facts, **changes), "mean_iou")]


def test_what_to_do_next_follows_from_what_happened(facts):
    run = facts.run
    ((text, command),) = texts(facts, decided=run)
    assert text.startswith("Nothing needs to be done.")
    assert command == "segpipe retrain --config FILE"
    ((text,),) = texts(facts)
    assert text.startswith("The last model was refused, and version 101 stays deployed: change of mean IoU")
    ((text,),) = texts(facts, deployed=None)
    assert text.startswith("No model has passed the gate yet: change of mean IoU")
    ((text, command),) = texts(facts, decided=run, rolled_back=102)
    assert (text, command) == ("Version 102 was rolled back. To deploy it again:", "segpipe rollback --config FILE 102")
    ((text, _),) = texts(facts, decided=run, new_data=list("123456"))
    assert text == "Spans 2, 3, 4, 5, 6 and 1 before have not been trained on yet:"
    for state, start in (
        ("interrupted", "The last run was interrupted."),
        ("running", "A run is going on."),
        ("tuned", "Hyperparameters were searched for."),
    ):
        ((text, *_),) = texts(facts, run=dataclasses.replace(run, state=state), decided=run)
        assert text.startswith(start)


def test_a_first_model_below_the_least_value_may_do(recorded, config):
    recorded("2026-11-02T03:00:00.500000", 0.31)
    (run,) = own_runs(config)
    ((text,),) = texts(Facts(run, run, None, None, [], []))
    assert text.endswith("or, if mean IoU 0.3100 will do, lower gate.min.mean_iou.")


def test_suggestions_are_taken_from_what_the_configuration_watches(facts):
    alerts = [{"day": "2026-11-21", "what": "size 400 → 200", "p": 0.001}]
    (_, (_, command, _)) = texts(facts, alerts=alerts, kept="'my kept'")[::-1]
    assert command == "segpipe suggest --config FILE --from 'my kept' --count 20 --output to_label"


def test_an_audit_is_linked(weeks, config, show):
    audited = pathlib.Path(config.output, "audit", "index.html")
    audited.parent.mkdir()
    audited.write_text("<!DOCTYPE html><p>labels")
    show().find_element(By.LINK_TEXT, "Labels that a model contradicts").click()
    assert show().find_elements(By.LINK_TEXT, "Labels that a model contradicts")


def test_an_alert_about_a_version_that_was_replaced_asks_for_nothing(weeks, config, show):
    alert(config, version=101)
    assert not [step for step in steps(show()) if "suggest" in step]


def test_a_day_after_it_without_an_alert_asks_for_nothing(weeks, config, show):
    alert(config)
    path = pathlib.Path(config.output, "monitor", "days.json")
    days = json.loads(path.read_text())
    path.write_text(json.dumps([*days, {**days[0], "day": "2026-11-22"}]))
    assert not [step for step in steps(show()) if "suggest" in step]
    path.write_text("half a fi")
    assert not [step for step in steps(show()) if "suggest" in step]


def test_a_rollback_is_said(weeks, config, show):
    roll_back(config.push_destination)
    page = show()
    (card, *_) = page.find_elements(By.CSS_SELECTOR, ".card")
    assert re.fullmatch(r"deployed version\n101\nsince the rollback of 20\d\d-\d\d-\d\d \d\d:\d\d UTC", card.text)
    assert steps(page)[-1] == "Version 102 was rolled back. To deploy it again:\nsegpipe rollback --config FILE 102"


def test_it_fails_no_run_and_leaves_the_old_page_whole(weeks, config, caplog, monkeypatch):
    write_overview(config)
    page = pathlib.Path(config.output, "index.html")
    before = page.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(overview.os, "replace", fail)
    with caplog.at_level(logging.WARNING):
        write_overview(config)
    assert "was not written: OSError: no space left" in caplog.text
    assert page.read_bytes() == before
    assert sorted(item.name for item in page.parent.glob("index*")) == ["index.html"]


def test_rollback_writes_it_and_open_opens_it(weeks, config, segpipe, tmp_path):
    (tmp_path / "xdg-open").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    (tmp_path / "xdg-open").chmod(0o755)
    path, page = tmp_path / "run.yaml", pathlib.Path(config.output, "index.html")
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert segpipe("rollback", "--config", str(path)).returncode == 0
    assert "since the rollback of" in page.read_text()
    page.unlink()
    finished = segpipe("open", "--config", str(path), PATH=f"{tmp_path}:/bin:/usr/bin")
    assert finished.stdout == f"{page}\n"
    assert (tmp_path / "opened").read_text() == f"{page}\n"
    assert "since the rollback of" in page.read_text()

    # Without a configuration, the page of output/ that was written last.
    for name, seconds in (("old", 1), ("new", 3), ("other", 2)):
        (tmp_path / "output" / name).mkdir(parents=True)
        (tmp_path / "output" / name / "index.html").touch()
        os.utime(tmp_path / "output" / name / "index.html", (seconds, seconds))
    finished = segpipe("open", folder=tmp_path, PATH=str(tmp_path / "nothing"))
    assert finished.stdout == "output/new/index.html\n"
    assert finished.returncode == 1
    assert "no browser can be started here" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_without_a_run_there_is_no_page(config, caplog):
    pathlib.Path(config.output).mkdir()
    write_overview(config)
    assert list(pathlib.Path(config.output).iterdir()) == []
    assert caplog.text == ""
