"""`segpipe audit`: which labels are found, what is written, and what `segpipe convert` makes of it."""

import csv
import dataclasses
import io
import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner

from data.contract import SPLITS, SegmentationExample
from data.decoding.images import encode_png
from data.exclusions import read_exclusions
from data.label_map import LabelMap
from models.auditing.audit import Audit, Finding
from models.auditing.contradiction import Contradiction
from models.auditing.judges import Judges
from pipeline.cli import cli
from pipeline.records.pages.audit import render
from tests.pages import faults, forms

NAMES = ["nothing", "cat", "dog"]
SIZE = (64, 80)
# By their split: what is wrong with the label of its first example.
FAULTS = {"train": "missing", "eval": "shifted", "test": "swapped"}


def disc(number, column=0):
    rows, columns = np.indices(SIZE)
    return (np.hypot(rows - 30, columns - 30 - number - column) < 16).astype(np.uint8)


def label(number, fault):
    made = {"swapped": 1 - disc(number), "missing": 0 * disc(number), "shifted": disc(number, 16)}
    return made.get(fault, disc(number))


def write(folder, faults=FAULTS, names=NAMES):
    folder.mkdir()
    for split in SPLITS:
        with tf.io.TFRecordWriter(str(folder / f"{split}-00000-of-00001.tfrecord")) as writer:
            for number in range(6):
                pixels = np.where(disc(number), 220, 30).astype(np.uint8)
                mask = encode_png(label(number, "" if number else faults.get(split, "")))
                image = encode_png(np.stack([pixels] * 3, axis=-1))
                example = SegmentationExample(image, "png", *SIZE, mask, f"{split}/photo {number}")
                writer.write(example.serialize())
    (folder / "labels.yaml").write_text(LabelMap.from_names(names).to_yaml())
    return folder


def command(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def audit(folder, *options, data="data"):
    configuration = {"name": "cats", "output": str(folder / "output"), "data": {"input": str(folder / data)}}
    (folder / "run.yaml").write_text(yaml.safe_dump(configuration))
    return command("audit", "--config", folder / "run.yaml", *options)


@pytest.fixture(scope="module")
def audited(tmp_path_factory, push):
    """A folder with a data set, the model that is deployed for it, and what an audit wrote and printed."""
    folder = tmp_path_factory.mktemp("audited")
    write(folder / "data")
    (folder / "output").mkdir()
    push(folder / "output" / "serving", 3, 1)
    finished = audit(folder, "--top", 5)
    assert finished.exit_code == 0, finished.output
    (folder / "printed.txt").write_text(finished.output)
    return folder


def test_planted_faults_come_first_and_all_labels_are_listed(audited):
    rows = list(csv.DictReader(io.StringIO((audited / "output" / "audit" / "audit.csv").read_text())))
    assert len(rows) == 18
    assert {row["image"] for row in rows[:3]} == {f"{split}/photo 0" for split in SPLITS}
    by_split = {row["split"]: row for row in rows[:3]}
    assert (by_split["train"]["labeled"], by_split["train"]["predicted"]) == ("nothing", "cat")
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] > 0.5 > 0.3 > scores[3]
    assert {row["folder"] for row in rows} == {str(audited / "data")}


def test_it_says_why_and_that_labels_of_the_test_split_decide_the_gate(audited):
    printed = (audited / "printed.txt").read_text()
    share = disc(0).mean()
    assert f"labeled nothing, predicted cat: {share:.0%} of the pixels, of which the model is 100% sure" in printed
    assert "It has learned from the labels of train, wrong ones too" in printed
    assert "Warning: test has 1 of the worst 5, and its labels decide the gate" in printed
    assert "--exclude" in printed


def test_the_list_excludes_nothing_until_a_person_has_looked_and_keeps_what_they_chose(audited, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(audited, folder)
    chosen = folder / "output" / "audit" / "exclude.txt"
    assert read_exclusions(str(chosen)) == []
    assert chosen.read_text().count("\n#") == 5
    chosen.write_text(chosen.read_text().replace("#train/photo 0\n", "train/photo 0\n"))
    assert read_exclusions(str(chosen)) == ["train/photo 0"]
    # The next audit, after a conversion without it.
    write(folder / "next", {"test": "swapped"})
    assert audit(folder, "--top", 2, data="next").exit_code == 0
    assert read_exclusions(str(chosen)) == ["train/photo 0"]
    assert "#test/photo 0\n" in chosen.read_text()


def test_what_was_chosen_from_the_list_is_left_out_by_the_next_conversion(audited, tmp_path):
    for split, number in itertools.product(SPLITS, range(6)):
        for kind, pixels in (("images", 30 + 190 * disc(number)), ("masks", label(number, ""))):
            path = tmp_path / "pets" / kind / split / f"photo {number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels.astype(np.uint8)))
    proposed = (audited / "output" / "audit" / "exclude.txt").read_text()
    (tmp_path / "exclude.txt").write_text(proposed.replace("#eval", "eval").replace("#test/photo 0", "test/photo 0"))
    chosen = read_exclusions(str(tmp_path / "exclude.txt"))
    assert {"eval/photo 0", "test/photo 0"} <= set(chosen)
    options = ("--classes", ",".join(NAMES[:2]), "--exclude", tmp_path / "exclude.txt")
    finished = command("convert", "--format", "mask-folder", *options, tmp_path / "pets", tmp_path / "converted")
    assert f"left out: {len(chosen)} (excluded by its name)" in finished.output, finished.output
    assert "no image here has this name" not in finished.output


def test_what_cannot_be_judged_is_told(audited, tmp_path):
    shutil.copytree(audited / "output" / "serving", tmp_path / "output" / "serving")
    write(tmp_path / "data")
    odd = SegmentationExample(encode_png(np.zeros([4, 5, 3], np.uint8)), "png", 4, 5, b"no mask", "odd")
    ids = dataclasses.replace(odd, mask=encode_png(np.full([4, 5], 9, np.uint8)), source_id="unknown class")
    path = tmp_path / "data" / "train-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in (odd, ids):
            writer.write(example.serialize())
        writer.write(tf.train.Example().SerializeToString())
    finished = audit(tmp_path)
    assert finished.exit_code == 0, finished.output
    assert "not judged: odd: its mask cannot be decoded" in finished.output
    assert "not judged: unknown class: its mask has the class 9, which is not in the label map" in finished.output
    assert "not judged: 00000000: its mask cannot be decoded" in finished.output
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is damaged" in str(audit(tmp_path).exception)


def test_who_has_no_model_or_one_of_other_classes_is_told(audited, tmp_path):
    write(tmp_path / "data", names=["nothing", "cat", "horse"])
    finished = audit(tmp_path)
    assert "no model is deployed at" in str(finished.exception)
    assert "run --config" in str(finished.exception)
    shutil.copytree(audited / "output" / "serving", tmp_path / "output" / "serving")
    finished = audit(tmp_path)
    assert "version 3 tells apart nothing, cat, dog, and the labels nothing, cat, horse" in str(finished.exception)


def test_the_page_shows_the_worst_and_lists_the_others(audited, browser):
    browser.get((audited / "output" / "audit" / "index.html").as_uri())
    found = browser.execute_script(
        "return [...document.querySelectorAll('.found')].map(one =>"
        " [one.querySelector('h3').textContent, one.querySelectorAll('img').length,"
        " [...one.querySelectorAll('img')].every(image => image.naturalWidth > 0)])"
    )
    assert len(found) == 5
    assert all(heading.startswith(f"{index}. ") for index, (heading, _, _) in enumerate(found, 1))
    assert {heading.partition(" in ")[0][3:] for heading, _, _ in found[:3]} == {f"{split}/photo 0" for split in SPLITS}
    assert all(images == 7 and are_there for _, images, are_there in found)
    assert len(browser.execute_script("return [...document.querySelectorAll('tbody tr')]")) == 13
    assert "Test has 1 of the worst 5" in browser.execute_script(
        "return document.querySelector('.warning').textContent"
    )
    for form in forms(browser):
        assert faults(browser) == [], form
    assert browser.get_log("browser") == []


def test_long_names_and_many_labels_fit_a_phone(audited, browser, tmp_path):
    judges = Judges(str(audited / "output" / "serving" / "3"))
    contradiction = Contradiction(0.5, 0.4, (0, 1), 0.123, 0.9)
    findings = [Finding(f"a/{'long_name_' * 12}{n}<b>", "test", "data", contradiction) for n in range(250)]
    unusable = [(f"{'W' * 80}{n}", "its mask cannot be decoded") for n in range(12)]
    path = tmp_path / "page.html"
    path.write_text(render("pets", 3, judges, Audit(findings, [], unusable)))
    browser.get(path.as_uri())
    for form in forms(browser):
        assert faults(browser) == [], form
    text = browser.execute_script("return document.body.textContent")
    assert "… and 50 more in audit.csv" in text
    assert "… and 2 more" in text
    assert "<b>" in text
