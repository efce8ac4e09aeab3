"""What the report says of its run, of groups of images, of stages of training, and which images it lists."""

import json

import numpy as np
import pytest
from tfx.types import standard_artifacts

from components.pusher import REASON_PROPERTY
from components.report import charts, pictures
from components.report.component import _kubeflow_run
from components.report.content import _code, _groups
from components.report.identity import identity
from components.report.listing import list_images
from models.evaluation.gate import Check, Verdict


def identified(folders, verdict=None, **pushed):
    examples, model, blessing = (
        kind()
        for kind in (standard_artifacts.Examples, standard_artifacts.PushedModel, standard_artifacts.InfraBlessing)
    )
    if folders:
        examples.set_string_custom_property("inputs", json.dumps({"train": folders, "test": folders[-1:]}))
    for name, value in pushed.items():
        setter = model.set_int_custom_property if isinstance(value, int) else model.set_string_custom_property
        setter(name, value)
    inputs = {"examples": examples, "pushed_model": model, "infra_blessing": blessing}
    return identity("2026", inputs, {"data": {"input": "s3://b/{SPAN}"}}, verdict or Verdict({}, None, []))


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["/data/pets"], "/data/pets"),
        (["s3://b/9", "s3://b/10"], "s3://b/: 9, 10"),
        ([f"/spans/{number}" for number in range(8, 20)], "/spans/: 8, … 10 others …, 19"),
        (["/a/1/records", "/a/2/records"], "/a/1/records, /a/2/records"),
        ([], "s3://b/{SPAN}"),
    ],
)
def test_the_data_set_is_named_by_its_folders(folders, words):
    assert identified(folders)["data_set"] == words


def test_the_version_or_why_there_is_none():
    found = identified(["/data"], pushed=1, pushed_version="17", pushed_destination="/serving/17")
    assert (found["run"], found["version"], found["why_not_pushed"]) == ("2026", "17", [])
    missed = Verdict({}, None, [Check("mean_iou", "", 0.4, 0.5, passed=False, key="gate.min.mean_iou")])
    refused = identified(["/data"], missed, pushed=0)
    assert refused["version"] == ""
    assert refused["why_not_pushed"] == ["mean IoU is 0.4000, 0.1000 below 0.5 (gate.min.mean_iou)"]
    rolled_back = identified(["/data"], pushed=0, **{REASON_PROPERTY: "it was rolled back"})
    assert rolled_back["why_not_pushed"] == ["it was rolled back"]


def test_a_run_on_kubeflow_is_known_by_where_its_outputs_go():
    assert _kubeflow_run("minio://mlpipeline/v2/artifacts/pets/6f1a-57/Report/8c-1/report") == "6f1a-57"
    assert _kubeflow_run("/tmp/kfp/pets-2026-11-27/Report/.incomplete-report") == "pets-2026-11-27"
    assert _kubeflow_run("/somewhere/else") == ""


def test_the_worst_group_comes_first_and_one_without_labels_last():
    totals = np.zeros([3, 3, 2], np.int64)
    totals[0], totals[2] = [[3, 3], [4, 4], [4, 4]], [[1, 3], [4, 4], [4, 4]]
    found = _groups({"group_names": np.array([b"p1", b"p2", "p3 ü".encode()]), "group_totals": totals})
    assert [group["name"] for group in found] == ["p3 ü", "p1", "p2"]
    assert found[1] == {"name": "p1", "iou": 0.6, "dice": 0.75}
    assert found[2] == {"name": "p2", "iou": None, "dice": None}
    assert _groups({}) == []


def test_images_are_listed_worst_first_as_far_as_there_is_room():
    values = np.array([0.5, np.nan, 0.123456, 0.9])
    found = list_images(["b", "no label", "a", "b"], values, ["b", "a"], 10_000)
    assert found == {
        "names": ["a", "b", "b", "no label"],
        "values": [0.1235, 0.5, 0.9, None],
        "pictures": [1, 0, 0, -1],
    }
    names = ["ü" * 300 + f"</script>{index}" for index in range(10_000)]
    some = list_images(names, np.linspace(0, 1, 10_000), [], 8_000_000)
    assert len(json.dumps(some)) < 2_000_000
    assert some["names"] == names[: len(some["names"])]
    assert len(some["names"]) > 1000
    usual = [f"camera_1/2026-11-27/image_{index:05}.jpg" for index in range(10_000)]
    assert list_images(usual, np.linspace(0, 1, 10_000), [], 8_000_000)["names"] == usual


def test_stages_are_the_sizes_that_the_trainer_recorded():
    def curves(*scales):
        return {"train": {"image_scale": list(enumerate(scales))}, "validation": {}}

    assert charts.stages(curves(0.25, 0.25, 0.5, 1, 1)) == [
        charts.Stage("¼", 1, 2),
        charts.Stage("½", 3, 3),
        charts.Stage("full size", 4, 5),
    ]
    # The mean of two models, of which one has got further.
    assert charts.stages(curves(0.5, 0.8, 1)) == [charts.Stage("½", 1, 1), charts.Stage("full size", 2, 3)]
    assert charts.stages(curves(1, 1)) == charts.stages({"train": {}, "validation": {}}) == []


def test_only_sizes_that_change_pictures_are_tried():
    label = np.zeros([100, 200], np.uint8)
    picture = pictures.Picture(pictures.Choice("worst", "a", 0.1), (800, 400), label[..., None], label, label)
    assert pictures.sides([picture]) == [256, 192, 128, 96, 64, 48, 0]
    assert pictures.sides([]) == [0]


def test_commands_in_warnings_are_code_and_names_stay_text():
    assert _code("<b>: `segpipe convert`, or `a`; one ` alone") == (
        "&lt;b&gt;: <code>segpipe convert</code>, or <code>a</code>; one ` alone"
    )
