import contextlib
import json
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from models.inputs import input_pipeline
from models.inputs.order import TrainingOrder
from models.settings import ModelSettings
from models.training import checkpoints, trainer
from models.training.checkpoints import Checkpoints, delete_exported, mark_exported, run_folder
from models.training.loop import TrainingError, fit
from models.training.pace import pace_of
from models.training.settings import TrainerConfig, TrainSettings

pytestmark = pytest.mark.one_line
ROOT = pathlib.Path(__file__).parents[3]
SCRIPT = pathlib.Path(__file__).with_name("resumable_training.py")
STEPS = 30  # 5 epochs of 22 examples in batches of 4.


@pytest.fixture
def train(warm_python):
    """Trains in a process of its own; returns its exit status and what it printed at its end."""

    def train(folder, settings, ends_by=0, after_step=0):
        os.makedirs(folder, exist_ok=True)
        arguments = (str(folder), json.dumps(settings), str(int(ends_by)), str(after_step))
        finished = warm_python(str(SCRIPT), *arguments, PYTHONPATH=str(ROOT))
        if finished.returncode not in (0, -ends_by, 128 + ends_by):
            pytest.fail(finished.stderr[-3000:])
        return finished.returncode, json.loads(finished.stdout.splitlines()[-1]) if finished.returncode == 0 else None

    return train


def newest_step(folder):
    return max(int(path.stem.rsplit("-", 1)[1]) for path in (folder / "checkpoints" / "steps").glob("*.index"))


def test_augmentation_on_the_device_trains_the_same_weights(train, tmp_path):
    settings = {"epochs": 2, "augmentation": {"rotation_degrees": 30, "brightness": 0.1}}
    host, device = (train(tmp_path / place, {**settings, "augment_on": place})[1] for place in ("host", "device"))
    # Other graphs may be optimized in other ways, so not to the bit.
    np.testing.assert_allclose(device["norms"], host["norms"], rtol=1e-4)
    assert (device["steps"], device["best"]) == (host["steps"], pytest.approx(host["best"], rel=1e-3))


@pytest.mark.nightly
def test_a_run_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(train, tmp_path):
    settings = {"checkpoint_steps": 4}
    _, undisturbed = train(tmp_path / "undisturbed", settings)
    assert undisturbed["steps"] == STEPS

    folder = tmp_path / "killed"
    assert train(folder, settings, signal.SIGKILL, 3)[0] == -signal.SIGKILL  # Before there is any checkpoint.
    assert not (folder / "checkpoints").exists()
    assert train(folder, settings, signal.SIGKILL, 15)[0] == -signal.SIGKILL
    assert newest_step(folder) == 12
    # A damaged checkpoint is passed over for the one before.
    (data,) = (folder / "checkpoints" / "steps").glob("ckpt-12.data*")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 255
    data.write_bytes(content)
    # Asked to end, it saves first: at once, or after the step that has begun.
    assert train(folder, settings, signal.SIGTERM, 21)[0] == 128 + signal.SIGTERM
    assert newest_step(folder) in (21, 22)
    assert train(folder, settings)[1] == undisturbed


@pytest.mark.nightly
def test_a_run_goes_on_without_cache_and_with_a_moving_average_and_stops_early(train, tmp_path):
    settings = {
        **{"checkpoint_steps": 4, "cache": "none", "ema_momentum": 0.9, "optimizer": "sgd"},
        **{"early_stopping_epochs": 1, "learning_rate": 1e-9, "epochs": 9},
        **{"model": {"depth": 3, "deep_supervision": True}},
    }
    _, undisturbed = train(tmp_path / "undisturbed", settings)
    assert 6 < undisturbed["steps"] < 9 * 6
    folder = tmp_path / "killed"
    assert train(folder, settings, signal.SIGKILL, 9)[0] == -signal.SIGKILL
    assert train(folder, settings)[1] == undisturbed
    # What has ended trains nothing more.
    assert train(folder, settings, signal.SIGKILL, undisturbed["steps"] + 1) == (0, undisturbed)


def test_a_run_goes_on_before_at_and_after_a_change_of_size(train, tmp_path):
    settings = {"checkpoint_steps": 4, "small_sizes": 0.8, "ema_momentum": 0.5, "model": {"depth": 1}}
    _, undisturbed = train(tmp_path / "undisturbed", settings)
    assert undisturbed["steps"] == STEPS
    # Of five epochs of six steps two are at a quarter of the size and two at half of it.
    folder = tmp_path / "killed"
    assert train(folder, settings, signal.SIGKILL, 10)[0] == -signal.SIGKILL
    # Asked to end in the very step after which the size changes.
    assert train(folder, settings, signal.SIGTERM, 12)[0] == 128 + signal.SIGTERM
    assert newest_step(folder) == 12
    for step in (18, 26):  # The newest checkpoint of the latter is of the step after which the size changes.
        assert train(folder, settings, signal.SIGKILL, step)[0] == -signal.SIGKILL
    assert newest_step(folder) == 24
    assert train(folder, settings)[1] == undisturbed


def test_a_run_by_minutes_goes_on_for_the_time_that_was_left(train, tmp_path):
    settings = {"minutes": 0.2, "small_sizes": 0.8, "checkpoint_steps": 1, "ema_momentum": 0.5, "model": {"depth": 1}}
    assert train(tmp_path, settings, signal.SIGTERM, 1)[0] == 128 + signal.SIGTERM
    killed_at = newest_step(tmp_path)
    _, finished = train(tmp_path, settings)
    # However slow the machine is, both sizes have a step, and there is a model.
    assert finished["steps"] > killed_at
    assert finished["best"] > 0
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "steps"))
    _, progress, seconds, evaluations, _ = saved.get_tensor("pace/.ATTRIBUTES/VARIABLE_VALUE")
    assert progress == 1
    assert seconds > 0.9 * 12
    assert evaluations >= 2
    # The time is over for a third one.
    assert train(tmp_path, settings, signal.SIGKILL, finished["steps"] + 1) == (0, finished)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_images(tmp_path):
    script = runpy.run_path(str(SCRIPT))
    path = str(tmp_path / "examples.tfrecord")
    script["write_examples"](path)
    settings = TrainSettings(epochs=1, batch_size=4, precision="float32", checkpoint_steps=1)
    config = TrainerConfig(
        preprocessing=script["SHAPE"],
        model=ModelSettings(encoder="plain", filters=2, depth=1),
        train=settings,
        label_map=[],
    )
    examples = input_pipeline.DecodedExamples([path], script["transform"], script["SHAPE"], script["EXAMPLES"], "")
    # One image alone has the class whose weight is infinite.
    poisoned = 7
    examples.labels[:] = 0
    examples.labels[poisoned] = 1
    order = TrainingOrder(script["EXAMPLES"], 4, 0)
    step = next(step for step in range(order.steps_per_epoch) if poisoned in order.step(step))
    model = trainer.compiled_model(config, 2, "float32", np.array([1.0, np.inf]))
    pace = pace_of(settings, [(0, 1.0)], order.steps_per_epoch)
    saved = Checkpoints(str(tmp_path / "checkpoints"), settings, pace)
    strategy, logs = tf.distribute.get_strategy(), str(tmp_path / "logs")
    with pytest.raises(TrainingError, match="no longer a finite number") as caught:
        fit(lambda _: model, pace, strategy, examples, examples, order, settings, saved, logs)
    assert f"at step {step}, " in str(caught.value)
    for index in order.step(step):
        assert f"example_{index}" in str(caught.value)
    # What the step made of the weights is in no checkpoint.
    assert saved.step == step


def test_a_batch_of_fewer_images_than_replicas_is_refused():
    strategy = types.SimpleNamespace(num_replicas_in_sync=4)
    with pytest.raises(TrainingError, match="batch_size: 3 is too small for 4 replicas"):
        fit(None, None, strategy, None, None, None, TrainSettings(batch_size=3), None, "")


def test_another_identity_has_another_folder_and_exported_ones_are_deleted(tmp_path, monkeypatch):
    folders = [run_folder(str(tmp_path), {"epochs": epochs}, ["train"]) for epochs in (1, 2, 3)]
    assert len(set(folders)) == 3
    assert run_folder(str(tmp_path), {"epochs": 1}, ["train"]) == folders[0]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "package_versions", lambda: {"tensorflow": "another"})
        assert run_folder(str(tmp_path), {"epochs": 1}, ["train"]) not in folders
    for folder in folders:
        os.mkdir(folder)
    for folder in folders[:2]:
        mark_exported(folder)
    delete_exported(str(tmp_path), keep=folders[0])
    assert [os.path.exists(folder) for folder in folders] == [True, False, True]


@pytest.mark.nightly
def test_two_workers_train_as_one_and_the_first_alone_saves(train, tmp_path):
    # Without dropout, which each worker draws for itself.
    settings = {"checkpoint_steps": 4, "epochs": 3, "ema_momentum": 0.5, "model": {"dropout": 0}}
    _, alone = train(tmp_path / "alone", settings)

    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets]
    folders = [tmp_path / f"worker{index}" for index in range(2)]
    processes = []
    for index, folder in enumerate(folders):
        folder.mkdir()
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [
                    sys.executable,
                    str(SCRIPT),
                    str(folder),
                    json.dumps({**settings, "strategy": "multi_worker"}),
                    "0",
                    "0",
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(cluster)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][1][-3000:] + outputs[1][1][-3000:]
    together = json.loads(outputs[0][0].splitlines()[-1])
    assert together["steps"] == alone["steps"] == 18
    np.testing.assert_allclose(together["norms"], alone["norms"], rtol=1e-3)
    assert (folders[0] / "checkpoints").exists()
    assert not (folders[1] / "checkpoints").exists()
