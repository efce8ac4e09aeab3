"""What the command line says of a run: what decides comes first."""

import dataclasses
import io
import json
import logging
import shlex
import shutil

import pytest
from click.testing import CliRunner
from rich.console import Console
from tensorflow.core.protobuf import fingerprint_pb2

from models.evaluation.gate import Best, Check
from models.serving.versions import deployed_version, roll_back
from pipeline.cli.common import print_summary
from pipeline.cli.records import rollback
from pipeline.records.runs import Run

METRICS = {
    "mean_iou": 0.8, "mean_iou_lower": 0.75, "mean_iou_upper": 0.85, "iou_sky": 0.9, "iou_car": 0.7,
    "pq": 0.5, "pq_lower": 0.45, "pq_upper": 0.55, "class_pq_sky": 0.6, "class_pq_car": 0.4,
    "class_ap_sky": None, "class_ap_car": 0.3,
    "pq_things": 0.4, "pq_things_lower": 0.35, "pq_things_upper": 0.42,
}  # fmt: skip


def made(task, deployed=None, newest=None, **fields):
    """A run that was refused, unless `fields` say otherwise."""
    checks = [Check("mean_iou", "", 0.8, 0.5, True, key="gate.min.mean_iou", deployed=0.77)]
    if deployed is not None:
        checks.append(Check("pq_change", "", 0.1, 0.0, True, key="gate.regression", deployed=deployed))
    values = dict.fromkeys((field.name for field in dataclasses.fields(Run)), None) | {
        "state": "refused", "reasons": ["because"], "metrics": METRICS, "mean_iou": 0.8, "resolution": "model",
        "class_iou": {"sky": 0.9, "car": 0.7}, "configuration": {"task": task} if task else {}, "checks": checks,
        "baseline_metrics": None if deployed is None else {"mean_iou": 0.77, "pq": deployed},
        "baseline_version": 3, "newest_span": newest,
        "newest_mean_iou": 0.7,
    }  # fmt: skip
    return Run(**{**values, **fields})


def summary(*args, **kwargs):
    text = io.StringIO()
    print_summary(Console(file=text, width=200), made(*args, **kwargs))
    return text.getvalue().strip().splitlines()


@pytest.mark.parametrize("task", ["", "semantic"])
def test_without_objects_it_is_mean_iou(task):
    assert summary(task, 0.3, newest=5)[:4] == [
        "Mean IoU on the test split, at the model's size: 0.8000 (sky 0.9000, car 0.7000)",
        "  95 % confidence interval over images: 0.7500 to 0.8500",
        "Deployed model (version 3): 0.7700",
        "On the test split of the newest span, 5: 0.7000",
    ]


def test_with_objects_it_is_panoptic_quality_and_that_of_the_deployed_model():
    assert summary("panoptic", 0.3, newest=5)[:5] == [
        "Panoptic quality (PQ) on the test split, at the model's size: 0.5000 (sky 0.6000, car 0.4000)",
        "  95 % confidence interval over images: 0.4500 to 0.5500",
        "  Mean IoU of the classes: 0.8000 (sky 0.9000, car 0.7000)",
        "Deployed model (version 3): 0.3000",
        "Mean IoU on the test split of the newest span, 5: 0.7000",
    ]
    lines = summary("instance")
    assert lines[0].startswith("PQ of things on the test split, at the model's size: 0.4000 (car 0.4000)")
    assert lines[3] == "There is no deployed model with this task and these classes to compare with."


@pytest.fixture
def printed(tmp_path):
    """Prints the summary of a run whose model is version 2 of three."""
    for version in (1, 2, 3):
        folder = tmp_path / "serving" / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
        content = fingerprint_pb2.FingerprintDef(saved_model_checksum=version).SerializeToString()
        (folder / "fingerprint.pb").write_bytes(content)

    def printed(state="unchanged", baseline=1, **values):
        run = made(
            "semantic", state=state, pushed_version=2, pushed_path=str(tmp_path / "serving" / "2"),
            baseline_version=baseline, has_pushed=state == "pushed",
            **{"baseline_metrics": {"mean_iou": 0.77}, **values},
        )  # fmt: skip
        text = io.StringIO()
        print_summary(Console(file=text, width=200), run, str(tmp_path / "my run.yaml"))
        return text.getvalue()

    return printed


def test_what_is_called_deployed_is_deployed(printed, tmp_path):
    destination = tmp_path / "serving"
    roll_back(str(destination), 2)
    pushed = printed("pushed")
    assert "\nVersion 1, which it replaced: 0.7700\nPushed as version 2: " in pushed
    repeated = printed()
    assert (
        "\nVersion 1, which it replaced: 0.7700\nNothing new; the model is deployed already as version 2: " in repeated
    )
    assert "\nDeployed model (version 2, which is this one): 0.7700\n" in printed(baseline=2)
    assert "There was no deployed model" in printed(baseline=0, baseline_metrics=None)
    # The same run after rollbacks.
    roll_back(str(destination), 1)
    assert "\nDeployed model (version 1): 0.7700\n" in printed()


def test_a_model_that_was_rolled_back_is_found_and_brought_back(printed, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    destination = tmp_path / "serving"
    roll_back(str(destination), 1)
    text = printed()
    assert f"was rolled back, to {destination}/.rolled-back/2; version 1 is deployed now. To deploy it again:\n" in text
    assert f"{destination}/2" not in text
    command = text.partition("again:\n")[2].splitlines()[0]
    assert command.endswith(f" rollback --config '{tmp_path}/my run.yaml' 2")
    assert "predict" not in text
    # The command does it.
    values = {"name": "a", "output": str(tmp_path), "data": {"input": "x"}, "push": {"destination": str(destination)}}
    (tmp_path / "my run.yaml").write_text(json.dumps(values))
    assert CliRunner().invoke(rollback, shlex.split(command)[-3:], catch_exceptions=False).exit_code == 0
    assert deployed_version(str(destination)) == 2
    # An older one is brought back by the same command; of a removed one there is nothing to bring back.
    roll_back(str(destination), 3)
    assert f"is still there, {destination}/2; version 3 is deployed now. To deploy it again:" in printed()
    shutil.rmtree(destination / "2")
    text = printed()
    assert f"Its model was version 2, which was removed from {destination}; version 3 is deployed now." in text
    assert f"{destination}/2" not in text


def test_versions_that_cannot_be_compared_are_named():
    text = "\n".join(summary("semantic", 0.3, best=Best(17, 0.82, [3, 4])))
    assert "Best of the last versions on this test split (version 17): 0.8200\n  Not compared, as" in text
    assert "or not at all: 3, 4" in text
    assert "No other version was measured on this test split" in "\n".join(summary("semantic", best=Best(0, None, [])))


def test_a_first_model_that_mean_iou_alone_refuses_gets_a_way_on():
    def refused(baseline=0, reasons=1, **values):
        check = Check(**{"metric": "mean_iou", "slice": "", "value": 0.437, "bound": 0.5, "passed": False, **values})
        run = made("semantic", baseline_version=baseline, checks=[check], reasons=["because"] * reasons)
        text = io.StringIO()
        print_summary(Console(file=text, width=200), run, "my run.yaml", ["train.minutes=5", "name=my run"])
        return text.getvalue()

    key = "gate.min.mean_iou"
    lines = [line for line in refused(key=key).splitlines() if " run --config" in line]
    command = shlex.split(lines[0])
    assert command[1:] == [
        *("run", "--config", "my run.yaml"),
        *("--set", "train.minutes=5", "--set", "name=my run", "--set", f"{key}=0.43"),
    ]
    # Not where another version serves, or something else is wrong too.
    for others in ({"baseline": 3}, {"reasons": 2}, {"key": "gate.min.iou.car"}, {"value": None}):
        assert "--set" not in refused(**{"key": key, **others})
