"""What a plan has to know about a machine."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess

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
    """

    cores: int
    memory: int
    gpus: tuple[int, ...] = ()
    pretrained: frozenset[str] = frozenset()

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
        """How many times as fast as two processor cores it trains."""
        if self.gpus:
            return float(numbers.GPU_SPEED * len(self.gpus))
        return min(self.cores, numbers.MOST_CORES) / 2


def this_machine() -> Machine:
    """The machine that this runs on. GPUs are those that NVIDIA's driver lists, and CUDA_VISIBLE_DEVICES leaves."""
    pretrained = {name for name in (numbers.PRETRAINED,) if name in ENCODERS and _has_weights(name)}
    return Machine(len(os.sched_getaffinity(0)), usable_memory(), _gpus(), frozenset(pretrained))


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
