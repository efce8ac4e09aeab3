"""`suggest` and the way back: what it writes in each form, `convert --span` reads, into the train split."""

import copy
import csv
import datetime
import io
import json
import shlex
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner
from PIL import Image

from data import contract
from data.decoding.images import encode_png
from data.formats import FORMATS
from data.label_map import LabelMap
from models.serving import signatures
from models.serving.loaded_model import load_model
from models.suggestions import SOURCES
from models.suggestions.candidates import Candidate, images_at
from models.suggestions.folder import Suggestion, write
from pipeline.cli import cli
from pipeline.cli.convert import convert
from pipeline.cli.data_sets.formats import make_reader
from pipeline.cli.loop.suggest import next_span, next_steps
from pipeline.config import load_config
from tests.data.writing.made_up import accept
from tests.models.exports import small

IDS = [f"20261127T10153{number}-4f3a9c0{number}" for number in range(8)]


def photo(seed):
    """A picture whose parts a network tells apart, [54, 40, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, [6, 5, 3]).astype(np.uint8)
    return np.kron(coarse, np.ones([9, 8, 1], np.uint8))


def jpeg(pixels, quality=95):
    found = io.BytesIO()
    Image.fromarray(pixels).save(found, "JPEG", quality=quality)
    return found.getvalue()


def write_records(path, images, mask=None):
    """TFRecords of encoded images by their ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, encoded in images.items():
            features = tf.train.Example()
            bytes_of = {contract.IMAGE: encoded, contract.SOURCE_ID: name.encode()}
            for key, value in (bytes_of | ({contract.MASK: mask} if mask else {})).items():
                features.features.feature[key].bytes_list.value.append(value)
            writer.write(features.SerializeToString())


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A folder with a deployed model, data in a span, kept traffic, and two configurations of two models' classes."""
    folder = tmp_path_factory.mktemp("deployed")
    for first in ("nothing", "background"):
        own = folder / first
        if first == "nothing":
            small.make_model(own / "serving" / "1")
        else:
            shutil.copytree(folder / "nothing" / "serving", own / "serving")
        facts = own / "serving" / "1" / signatures.FACTS_PATH
        facts.write_text(facts.read_text().replace("nothing", first))
        span, known = own / "data" / "3", encode_png(photo(100))
        for split in contract.SPLITS:
            write_records(span / f"{split}-00000-of-00001.tfrecord", {f"{split}/known": known}, known)
        (span / contract.LABEL_MAP_FILE).write_text(LabelMap.from_names([first, *small.NAMES[1:]]).to_yaml())
        config = {
            "name": "loop",
            "output": str(own / "output"),
            "data": {"input": str(own / "data" / "{SPAN}")},
            "push": {"destination": str(own / "serving")},
        }
        (own / "run.yaml").write_text(yaml.safe_dump(config))
    day = folder / "kept" / "2026-11-27"
    write_records(day / "a.tfrecord", {name: encode_png(photo(i)) for i, name in enumerate(IDS[:5])})
    write_records(day / "b.tfrecord", {name: jpeg(photo(i + 5)) for i, name in enumerate(IDS[5:])})
    return folder


def command(*arguments, code=0):
    finished = CliRunner().invoke(cli, [*map(str, arguments)])
    assert finished.exit_code == code, f"{finished.output}{finished.exception}"
    return f"{finished.output}{finished.exception or ''}"


def command_in(printed):
    """The arguments of the conversion in what `suggest` prints."""
    (line,) = [line for line in printed.splitlines() if " convert --format" in line]
    return shlex.split(line)[shlex.split(line).index("convert") + 1 :]


@pytest.fixture(scope="module")
def model(deployed):
    return load_model(str(deployed / "nothing" / "serving" / "1"))


def assert_predicted(model, image, mask):
    """That a mask is the model's own of an encoded image."""
    np.testing.assert_array_equal(mask, model.segment_whole(image, *np.shape(mask)).class_ids)


def test_what_is_suggested_comes_back_into_the_train_split(deployed, model, tmp_path):
    own, output = deployed / "nothing", tmp_path / "to label"
    arguments = ["--from", deployed / "kept", "--count", 5, "--output", output, "--tolerance", 0]
    printed = command("suggest", "--config", own / "run.yaml", *arguments)
    written = sorted((output / "images" / "train").glob("*.[jp][pn]g"))
    names = [path.stem for path in written]
    assert len(names) == 5
    assert set(names) <= set(IDS)
    table = list(csv.DictReader((output / "suggestions.csv").open()))
    assert sorted(row["image"] for row in table) == names
    command("convert", *command_in(printed))
    span = own / "data" / "4"
    report = json.loads((span / contract.REPORT_FILE).read_text())
    assert {split: found["examples"] for split, found in report["splits"].items()} == {"train": 5, "eval": 0, "test": 0}
    label_map = LabelMap.load(str(span / contract.LABEL_MAP_FILE))
    assert label_map.names == LabelMap.load(str(own / "data" / "3" / contract.LABEL_MAP_FILE)).names
    found = set()
    for record in tf.data.TFRecordDataset(sorted(map(str, span.glob("*.tfrecord")))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        (source_id,), (image,), (mask,) = (
            features[key].bytes_list.value for key in (contract.SOURCE_ID, contract.IMAGE, contract.MASK)
        )
        name = source_id.decode().removeprefix("train/")
        found.add(name)
        assert image in [path.read_bytes() for path in written if path.stem == name]
        assert_predicted(model, image, tf.io.decode_png(mask)[..., 0])
    assert found == set(names)
    shutil.rmtree(span)


@pytest.mark.parametrize("form", sorted(SOURCES))
def test_each_form_is_written_as_it_is_read(deployed, model, tmp_path, form):
    """The command that is printed for each tool names options with which its reader finds the model's masks."""
    # Of the formats without a background, CVAT's has a reader that decides for itself.
    first = "nothing" if form in ("coco", "cvat") else "background"
    config = load_config(str(deployed / first / "run.yaml"), ())
    model, output = copy.copy(model), tmp_path / "out"
    model.label_map = config.load_label_map()
    kept = {str(deployed / "kept" / "2026-11-27" / "b.tfrecord"): "b"}
    places = [place for place, _ in images_at(kept, 10_000)]
    write(model, [Suggestion(Candidate(one, 0, np.zeros(1), 0.5), 0.5) for one in places], str(output), form, 0, 10_000)
    if form in ("cvat", "coco", "label-studio"):  # Tools export what they got, if nobody corrects anything.
        for path in (output / f"annotations_{form}").iterdir():
            shutil.copy(path, output / "images")
    if form == "label-studio":
        accept(output / "images")
    given = command_in("\n".join(next_steps(config, "run.yaml", model.label_map, str(output), form)))
    context = convert.make_context("convert", given)
    options = {key: value for key, value in context.params.items() if key in FORMATS[form].model_fields}
    reader = make_reader(form, {**options, "folder": context.params["source"]})
    assert reader.label_map.names == (first, *small.NAMES[1:])
    listing = reader.listing()
    assert not listing.set_aside
    assert sorted(one.source_id.rpartition("/")[2] for one in listing.sources) == IDS[5:]
    for one in listing.sources:
        assert one.split == "train"
        labeled = reader.read(one)
        assert_predicted(model, labeled.image.encoded, labeled.class_ids)


def suggested(deployed, tmp_path, *arguments, code=0):
    output = tmp_path / "out"
    config = deployed / "background" / "run.yaml"
    return output, command("suggest", "--config", config, "--output", output, *arguments, code=code)


def test_neither_copies_nor_labeled_images_nor_broken_ones_are_suggested(deployed, tmp_path):
    photos = tmp_path / "photos"
    for folder in ("val", "b"):
        (photos / folder).mkdir(parents=True)
    (photos / "known.png").write_bytes(encode_png(photo(50)))
    (photos / "looks_known.jpg").write_bytes(jpeg(photo(100)))
    (photos / "val" / "x.png").write_bytes(encode_png(photo(51)))
    (photos / "b" / "x.jpg").write_bytes(jpeg(photo(51), 80))
    (photos / "val" / "y.png").write_bytes(encode_png(photo(52)))
    (photos / "broken.png").write_bytes(encode_png(photo(53))[:60])
    (photos / ".hidden.png").write_bytes(encode_png(photo(54)))
    output, printed = suggested(deployed, tmp_path, "--from", photos, "--count", 9)
    written = {path.stem for path in (output / "images" / "train").glob("*.[jp][pn]g")}
    assert written in ({"val_x", "val_y"}, {"b_x", "val_y"})
    assert "left out: 1 (an image of this name is labeled already)" in printed
    assert "left out: 1 (it looks like an image that is labeled already)" in printed
    assert "left out: 1 (it looks like another one that is suggested)" in printed
    assert "broken.png is left out: " in printed
    assert not list(tmp_path.glob(".out*"))


def test_labels_that_somebody_made_are_not_written_over(deployed, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.json").write_text("{}")
    output, printed = suggested(deployed, tmp_path, "--from", deployed / "kept", code=1)
    assert "exists, and someone may have labeled what it holds" in printed
    assert [path.name for path in output.iterdir()] == ["mine.json"]


def test_where_there_is_nothing_to_suggest_a_sentence_says_so(deployed, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "plain.png").write_bytes(encode_png(np.full([40, 40, 3], 90, np.uint8)))
    output, printed = suggested(deployed, tmp_path, "--from", tmp_path / "photos", code=1)
    assert "there is no image to suggest" in printed
    assert not output.exists()
    _, printed = suggested(deployed, tmp_path, "--from", deployed / "kept", "--set", "push.destination=x", code=1)
    assert "holds no model" in printed


@pytest.mark.parametrize(("spans", "expected"), [([1], 2), ([0, 7], 8), ([20200101], None), ([1, 29991231], 29991232)])
def test_the_next_span_is_above_all_others(spans, expected):
    assert next_span(spans) == (expected or int(f"{datetime.date.today():%Y%m%d}"))


def test_data_in_one_folder_is_to_become_a_span_first(deployed):
    path = deployed / "background" / "run.yaml"
    config = load_config(str(path), (f"data.input={deployed}/background/data/3",))
    lines = "\n".join(next_steps(config, "my run.yaml", LabelMap.from_names(["road", "a b"]), "to label", "coco"))
    assert f"move {deployed}/background/data/3 to {deployed}/background/data/3/1 first" in lines
    given = command_in(lines)
    assert given[:4] == ["--format", "coco", "--span", "2"]
    assert given[4:] == [
        *("--classes", "road, a b", "--others", "ignore", "--uncovered", "ignore"),
        *("to label/images", f"{deployed}/background/data/3"),
    ]
    assert "retrain --config 'my run.yaml'" in lines
