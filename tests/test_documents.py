"""Every command of README and docs is run by a test, or at least read by the command line that it is for."""

import json
import logging
import pathlib
import re
import shlex
import shutil
import typing

import av
import click
import numpy as np
import pydantic
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import cli
from pipeline.config import Config

ROOT = pathlib.Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = "segpipe|curl|base64|make|docker|kubectl|sudo|systemctl|cp|mkdir|labelme|python|pip"
# Commands in blocks that no test runs as they are, by how they begin.
NOT_RUN = {
    "make": "they are what CI runs",
    "docker": "needs Docker and a registry; tools/test_kubeflow.sh builds the image",
    "kubectl": "needs a cluster; tests/kubeflow/test_manifests.py checks the files",
    "sudo": "changes the machine; tests/pipeline/retraining/test_systemd.py checks the units",
    "systemctl": "likewise",
    "segpipe compile": "tests/pipeline/runners/kubeflow/test_compiler.py",
    "segpipe submit": "needs a server; tests/pipeline/runners/kubeflow/test_client.py has a made-up one",
    "segpipe schedule": "likewise",
    "segpipe run": "trains; tests/e2e",
    "segpipe runs": "needs a run; tests/e2e/test_run.py",
    "segpipe open": "needs a run and a browser; tests/pipeline/records/pages/test_overview.py",
    "segpipe report": "needs a run and a browser; tests/e2e/test_report.py",
    "segpipe compare": "needs runs; tests/e2e/test_report.py",
    "segpipe history": "needs versions; tests/e2e/test_retraining.py",
    "segpipe rollback": "likewise",
    "segpipe lineage": "likewise",
    "segpipe clean": "likewise",
    "segpipe export": "needs a pushed version; tests/pipeline/cli/test_export.py",
    "segpipe serve": "goes on; tests/models/serving/test_server.py",
    "segpipe audit": "needs a deployed model; tests/pipeline/cli/test_audit.py",
    "segpipe convert my_data output/my_data_tfrecords --exclude": "likewise",
    "segpipe monitor": "needs kept requests; tests/pipeline/cli/test_monitor.py",
    "base64": "needs a server; tests/models/serving/test_server.py runs it with one",
    "segpipe convert --format my_team": "needs the format; tests/pipeline/cli/test_convert.py runs it",
    "segpipe convert --format oxford-pets": "needs the photographs; tests/e2e/test_data_sets.py",
    "segpipe convert --format volume": "minutes of slices; tests/data/formats/volume",
    "segpipe convert --format geotiff": "needs the scenes; tests/data/formats/geotiff",
    "segpipe suggest": "needs a deployed model; tests/pipeline/cli/loop/test_suggest.py",
    "segpipe convert --format labelme --span": "likewise",
    "segpipe convert --config": "needs a cluster; tests/flink",
    "segpipe convert --format mask-folder --masks instances": "needs the nuclei; tests/e2e/test_objects.py",
    "segpipe plan output/liver_tfrecords": "needs the volumes; the plan of README is run",
    "segpipe predict --model output/liver": "needs the volumes; tests/models/serving/test_volumes.py",
    "segpipe predict --model output/brain_mri/serving --output predictions brain": "likewise",
    "segpipe predict --model output/sentinel2": "needs the scenes; tests/models/serving/test_scenes.py",
    "segpipe predict --model output/nuclei": "needs the nuclei; tests/e2e/test_objects.py",
    "python benchmarks/streets.py": "draws for a minute; tests/test_streets.py",
    "segpipe init output/streets": "needs the streets; tests/pipeline/cli/test_init.py",
    "segpipe convert --format mask-folder --objects": "likewise; tests/test_streets.py",
    "segpipe predict --model output/streets": "likewise",
}


def blocks(text):
    """The lines of each block of code, without the indentation, and continued lines joined."""
    pattern = r"^```(\w*)\n(.*?)^```$|((?:^    .*\n)+)"
    for language, fenced, indented in re.findall(pattern, text, re.MULTILINE | re.DOTALL):
        if language not in ("", "sh", "bash"):
            continue
        lines = fenced or re.sub(r"^    ", "", indented, flags=re.MULTILINE)
        yield from re.sub(r"\\\n\s*", "", lines).splitlines()


def commands():
    """Each command of a block, with its document."""
    for document in DOCUMENTS:
        for line in blocks(document.read_text()):
            for command in line.split("; ") if line.startswith("systemctl") else [line]:
                if re.match(rf"({PROGRAMS}) ", command):
                    yield document.name, command


def mentions():
    """Each `segpipe …` in a text or a table, with its document."""
    for document in DOCUMENTS:
        text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        text = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
        for found in re.findall(r"`((?:\.venv/bin/)?segpipe\s[^`]*)`", text):
            yield document.name, re.sub(r"\s+", " ", found).replace("\\|", " ")


def why_not_run(command):
    """The longest beginning that is listed, which is the one that counts."""
    return max((start for start in NOT_RUN if f"{command} ".startswith(start)), key=len, default=None)


def words(command):
    return shlex.split(command, comments=True)


COMMANDS, MENTIONS = list(dict.fromkeys(commands())), list(dict.fromkeys(mentions()))
RUN = [command for _, command in COMMANDS if why_not_run(command) is None]


def context(command):
    """What click makes of the words after `segpipe`: raises a click.ClickException for what there is not."""
    group, rest = cli, words(command)[1:]
    while isinstance(group, click.Group):
        name, group, rest = group.resolve_command(click.Context(group), rest)
    return group.make_context(name, rest)


def options(command):
    """All options of a command; of one that takes formats, of all formats."""
    found = {flag for one in command.get_params(click.Context(command)) for flag in [*one.opts, *one.secondary_opts]}
    return found | {"--help"}


@pytest.mark.parametrize(
    ("document", "command"),
    [
        (document, command)
        for document, command in COMMANDS
        if command.startswith("segpipe ") and "my_team" not in command
    ],
)
def test_the_command_line_reads_it(document, command):
    # What stands for something is a number where one is asked for, and what may be left out is given.
    asked = re.sub(r"\[?\b(VERSION|N)\b\]?", "7", command)
    assert context(asked).command.name == words(command)[1].replace("schedule", words(command)[2]), document


@pytest.mark.parametrize("command", ["segpipe trian", "segpipe predict --mask x.png", "segpipe schedule make"])
def test_what_there_is_not_is_not_read(command):
    with pytest.raises(click.ClickException):
        context(command)


@pytest.mark.parametrize(("document", "text"), MENTIONS)
def test_what_a_text_mentions_is_there(document, text):
    """Without values that stand for something."""
    found = re.findall(r"(?:^|[\s\[])(-{0,2}[a-z][a-z-]*|--[a-z-]+)", text.partition("segpipe ")[2])
    command = cli.commands[found[0]]
    if isinstance(command, click.Group):
        flags = set().union(*(options(one) for one in command.commands.values()))
    else:
        flags = options(command)
    assert {flag for flag in found if flag.startswith("--")} <= flags, document


def picture(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 256, [*size[::-1], 3]).astype(np.uint8)).save(
        path
    )


def video(path):
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height = 40, 30
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros([30, 40, 3], np.uint8), "rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def folder(tmp_path, push):
    """What the commands that are run need: photographs, videos, annotations, masks, and models."""
    for name in ("clip.mov", "clips/a.mp4"):
        video(tmp_path / name)
    for path in ("photo.jpg", "scan.tif", "photos/a.jpg", "photos/b.png", "more/deep/c.png"):
        picture(tmp_path / path)
    names = [f"{number:02}.jpg" for number in range(30)]
    for name in names:
        picture(tmp_path / "my_data" / "images" / name)
        picture(tmp_path / "new_images" / "images" / name)
        mask = tmp_path / "new_images" / "masks" / name.replace("jpg", "png")
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(np.repeat(np.array([0, 1, 0], np.uint8), 400).reshape(30, 40)).save(mask)
    categories = [
        {"id": index, "name": name} for index, name in enumerate(("person", "car", "truck", "bus", "tree"), 1)
    ]
    annotations = [
        {
            "id": 10 * image + one["id"], "image_id": image, "category_id": one["id"], "iscrowd": 0, "area": 35,
            "bbox": [7 * one["id"] - 5, 5, 5, 7],
            "segmentation": [[x, 5, x + 5, 5, x + 5, 12, x, 12]],
        }
        for image in range(len(names))
        for one in categories
        if (x := 7 * one["id"] - 5)
    ]  # fmt: skip
    images = [{"id": index, "file_name": name, "width": 40, "height": 30} for index, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "my_data" / "annotations.json").write_text(json.dumps(content))
    push(tmp_path / "serving", 1, class_id=1)
    for name in ("my_data", "brain_mri", "oxford_pets"):
        (tmp_path / "output" / name).mkdir(parents=True)
        (tmp_path / "output" / name / "serving").symlink_to(tmp_path / "serving")
    return tmp_path


@pytest.mark.one_line
def test_they_can_be_run(folder, monkeypatch):
    """One after the other, where nothing of the one before is in the way but what README converts."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.chdir(folder)
    for command in RUN:
        assert command.startswith("segpipe "), f"{command}: run it here, or say in NOT_RUN why not"
        is_first = command.startswith("segpipe init")
        for name in ("my_run.yaml", "predictions", "output/my_tfrecords", *(["output/my_data_tfrecords"] * is_first)):
            path = pathlib.Path(name)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        result = CliRunner().invoke(cli, words(command)[1:], terminal_width=200)
        assert (result.exit_code, result.exception) == (0, None), f"{command}\n{result.output}\n{result.exception}"
    assert len(list(folder.glob("output/my_data_tfrecords/*.tfrecord"))) == 3
    assert folder.joinpath("longer.yaml").exists()
    assert list(folder.glob("output/tfrecords/20261123/*.tfrecord"))
    assert {path.name for path in folder.glob("predictions/annotations_*")} == {
        "annotations_coco",
        "annotations_labelme",
    }


def settings(section):
    """All keys of a section of the configuration, dotted."""
    for name, field in section.model_fields.items():
        of_field = [kind for kind in (field.annotation, *typing.get_args(field.annotation)) if isinstance(kind, type)]
        below = [kind for kind in of_field if issubclass(kind, pydantic.BaseModel)]
        yield from [f"{name}.{key}" for kind in below for key in settings(kind)] if below else [name]


def test_each_setting_is_documented():
    """Where code is, which the names of most settings would not be by chance."""
    text = "".join(path.read_text() for path in DOCUMENTS)
    code = " ".join(re.findall(r"^```.*?^```$|^    .*$|`[^`]+`", text, re.MULTILINE | re.DOTALL))
    found = list(settings(Config))
    assert {"gate.against", "gate.best_of", "train.augmentation.rotation_degrees"} <= set(found)
    assert [key for key in found if not re.search(rf"\b{key.rpartition('.')[2]}\b", code)] == []


def test_help_says_where_each_section_is_documented():
    shown = cli.commands["run"].help
    assert [name for name in Config.model_fields if name not in ("artifacts", "task") and name not in shown] == []
    named = set(re.findall(r"\b\w+\.md\b", shown))
    assert named <= {path.name for path in DOCUMENTS}


def test_there_are_as_many_as_there_seem_to_be():
    """If blocks were not found, nothing would be tested."""
    assert len(COMMANDS) > 60
    assert len(MENTIONS) > 40
    assert len(RUN) > 10


def test_what_is_not_run_is_still_there():
    taken = {why_not_run(command) for _, command in COMMANDS}
    assert set(NOT_RUN) - taken == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_commands_name_are_in_the_repository(document):
    of_document = [command for name, command in COMMANDS if name == document.name]
    named = {word for one in of_document for word in words(one) if re.match(r"(configs|kubeflow|tools)/", word)}
    assert [name for name in named if not list(ROOT.glob(name))] == []


def test_targets_of_make_are_there():
    makefile = (ROOT / "Makefile").read_text()
    named = [words(command)[1] for _, command in COMMANDS if command.startswith("make ")]
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
