"""What a plan has to know about a machine."""

from __future__ import annotations

import dataclasses
import os
import shutil
import statistics
import subprocess
import time

from data.base.memory import usable_memory
from models.encoders import ENCODERS
from pipeline.planning import numbers


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where the training will run.

    Attributes:
      cores: of the processor, that this process may use.
      memory: bytes.
      gpus: memory of each GPU, bytes.
      pretrained: encoders whose ImageNet weights are on this machine.
      core_speed: of its cores, against those that `numbers` has the speeds of.
    """

    cores: int
    memory: int
    gpus: tuple[int, ...] = ()
    pretrained: frozenset[str] = frozenset()
    core_speed: float = 1.0

    @property
    def words(self) -> str:
        """For people: `2 cores, 24 GB, no GPU`."""
        count = len(self.gpus)
        gpus = f"{count} {'GPU' if count == 1 else 'GPUs'} of {min(self.gpus) / 1e9:.0f} GB" if count else "no GPU"
        return f"{self.cores} {'core' if self.cores == 1 else 'cores'}, {self.memory / 1e9:.0f} GB, {gpus}"

    @property
    def training_memory(self) -> int:
        """Bytes of the memory that a training step uses: the GPU's, where there is one."""
        return min(self.gpus) if self.gpus else self.memory

    @property
    def speed(self) -> float:
        """How many times as fast it trains as the two processor cores that `numbers` has the speeds of."""
        if self.gpus:
            return float(numbers.GPU_SPEED * len(self.gpus))
        return self.core_speed * min(self.cores, numbers.MOST_CORES) / 2


def this_machine() -> Machine:
    """The machine that this runs on. GPUs are those that NVIDIA's driver lists, and CUDA_VISIBLE_DEVICES leaves."""
    pretrained = {name for name in (numbers.PRETRAINED,) if name in ENCODERS and _has_weights(name)}
    cores, gpus = len(os.sched_getaffinity(0)), _gpus()
    return Machine(cores, usable_memory(), gpus, frozenset(pretrained), 1.0 if gpus else _core_speed(cores))


def _core_speed(cores: int) -> float:
    """How fast processor cores train, by the block of convolutions of a U-Net at full size, which takes a second.

    Cores that are sold as the same differ fivefold: in what they compute at once, in whether they have bfloat16, in how
    fast their memory is, and in how much of a core of the machine each is.
    """
    import tensorflow as tf

    from models.layers.blocks import ConvolutionBlock
    from models.training.settings import TrainSettings
    from models.training.trainer import resolve_precision

    precision = resolve_precision(TrainSettings())
    dtype = "float32" if precision == "float32" else "bfloat16"
    block = ConvolutionBlock(16, dtype=precision)
    maps = tf.fill([8 * min(cores, numbers.MOST_CORES), 128, 128, 16], tf.constant(0.5, dtype))
    block.build(maps.shape)

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(maps, training=True))
        return tape.gradient(loss, block.trainable_variables)[0]

    step().numpy()
    seconds: list[float] = []
    end = time.perf_counter() + 1
    while not seconds or time.perf_counter() < end:
        started = time.perf_counter()
        step().numpy()
        seconds.append(time.perf_counter() - started)
    return numbers.BLOCK_SECONDS / statistics.median(seconds)


def _has_weights(encoder: str) -> bool:
    return bool(ENCODERS[encoder]().starting_weights().path)


def _gpus() -> tuple[int, ...]:
    program, visible = shutil.which("nvidia-smi"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None or visible in ("", "-1", "NoDevFiles"):
        return ()
    try:
        found = subprocess.run(
            [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        gpus = tuple(int(line) * 2**20 for line in found.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):  # A program without a driver.
        return ()
    return gpus[: len(visible.split(","))] if visible else gpus
