"""Training on several machines: each worker of TF_CONFIG's cluster trains in a process of its own.

TensorFlow must set up the cluster before it does anything else in a process, which is too late once other components
have run. The first worker is the one that runs the pipeline; it tells the others what to train in a file.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any

from data.base.errors import UserError
from data.base.packages import package_versions
from models.training.settings import TrainerConfig

if TYPE_CHECKING:
    import tensorflow as tf

_LOG = logging.getLogger("segpipe.training")
_JOB_FILE = "multi_worker.json"
_BEAT_SECONDS = 1.0
_REFUSED = 3


@dataclasses.dataclass(frozen=True)
class Worker:
    """A process's place among all that train one model.

    Attributes:
      index: 0 for the first.
      count: of all workers.
      replicas: of the model in this process, each on a device of its own.
    """

    index: int = 0
    count: int = 1
    replicas: int = 1

    def share(self, batch_size: int) -> tuple[int, int]:
        """The first of its images in a step's batch, and the first after them."""
        return batch_size * self.index // self.count, batch_size * (self.index + 1) // self.count

    def divided(self, batches: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """A batch for each replica in turn, of batches of its share."""
        if self.replicas == 1:
            return batches
        ends = [batch_size * replica // self.replicas for replica in range(self.replicas + 1)]
        return batches.rebatch([end - start for start, end in itertools.pairwise(ends)])


ALONE = Worker()


def this_worker() -> Worker:
    """Reads TF_CONFIG.

    Raises:
      UserError: if it is not set, or describes no cluster of workers.
    """
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        values = json.loads(os.environ["TF_CONFIG"])
        count, index = len(values["cluster"]["worker"]), int(values["task"]["index"])
        if values["task"]["type"] != "worker" or not 0 <= index < count:
            raise ValueError
    except (KeyError, ValueError, TypeError):
        raise UserError(
            f"train.strategy: multi_worker needs the environment variable TF_CONFIG, such as TF_CONFIG='{example}'; "
            f"here it is {os.environ.get('TF_CONFIG') or 'not set'}"
        ) from None
    return Worker(index, count)


def run_fn(fn_args: Any) -> None:
    """Trains as the first worker; TFX's Trainer calls it.

    Args:
      fn_args: as for `models.training.trainer.run_fn`.

    Raises:
      UserError: if the training fails by a mistake of the user, or TF_CONFIG does not fit.
    """
    worker = this_worker()
    if worker.index != 0:
        raise UserError(
            "worker 0 runs the pipeline, but TF_CONFIG here is that of another worker: run `segpipe join` instead"
        )
    names = ("train_files", "eval_files", "transform_output", "serving_model_dir", "model_run_dir")
    job = {name: getattr(fn_args, name) for name in (*names, "custom_config", "hyperparameters")}
    job["packages"] = package_versions()
    job["weights"] = _initial_weights(fn_args.custom_config)
    folder = fn_args.custom_config["checkpoints"]
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, _JOB_FILE)
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(_BEAT_SECONDS if number else 0):
            number += 1
            with open(path + ".new", "w", encoding="utf-8") as file:
                json.dump({"beat": number, "job": job}, file)
            os.replace(path + ".new", path)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        _LOG.info("waiting for %d other worker(s): `segpipe join` with their TF_CONFIG", worker.count - 1)
        _train(job)
    finally:
        ended.set()
        beating.join()
        os.remove(path)


def join(folder: str) -> None:
    """Waits for a training to begin, and takes part in it.

    Args:
      folder: of the checkpoints, on a file system that all workers share.

    Raises:
      UserError: if the training fails by a mistake of the user, or TF_CONFIG does not fit.
    """
    if this_worker().index == 0:
        raise UserError("worker 0 runs the pipeline, and TF_CONFIG here is that of worker 0: run `segpipe run` instead")
    path = os.path.join(folder, _JOB_FILE)
    _LOG.info("waiting for a training to be announced in %s", path)
    first = None
    while True:
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except FileNotFoundError:
            content = None
        # In a file left by a killed process, the number no longer changes.
        if content is not None and first is not None and content["beat"] != first:
            break
        first = content and content["beat"]
        time.sleep(2 * _BEAT_SECONDS)
    job = content["job"]
    _check_packages(job.pop("packages"))
    _check_weights(job.pop("weights"), job["custom_config"])
    _train(job)


def _check_packages(expected: dict[str, str]) -> None:
    """Raises a UserError if worker 0 has other packages: this worker would look for checkpoints of another training."""
    found = package_versions()
    different = [
        f"{name} {expected.get(name)}, here {found[name]}" for name in found if expected.get(name) != found[name]
    ]
    if different:
        raise UserError(f"worker 0 has {'; '.join(different)}; all workers need the same versions")


def _initial_weights(custom_config: dict[str, Any]) -> str:
    config = TrainerConfig.model_validate(custom_config)
    return config.model.chosen_encoder.starting_weights(download=True).words


def _check_weights(expected: str, custom_config: dict[str, Any]) -> None:
    """Raises a UserError if this worker would start from other weights than worker 0 does."""
    found = _initial_weights(custom_config)
    if found != expected:
        raise UserError(
            f"worker 0 starts from {expected}, this one from {found}; install the same weights on all workers, or set "
            "model.encoder_weights to none"
        )


def _train(job: dict[str, Any]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "models.training.multi_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        line = ""
        for line in process.stdout:
            _LOG.info("%s", line.rstrip("\n"))
        status = process.wait()
    finally:
        process.kill()
    if status:
        raise UserError(line.strip() if status == _REFUSED else f"the training process ended with status {status}")


def main() -> None:
    """Trains what standard input describes; progress and user errors go to standard output."""
    job = json.loads(sys.stdin.readline())
    # Standard input ends when the parent process does.
    threading.Thread(target=lambda: os._exit(1 if sys.stdin.read() == "" else 0), daemon=True).start()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    for noisy in ("tensorflow", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from models.training import trainer

    try:
        trainer.train(types.SimpleNamespace(**job), strategy)
    except UserError as error:
        print(" ".join(str(error).split()), flush=True)
        sys.exit(_REFUSED)


if __name__ == "__main__":
    main()
