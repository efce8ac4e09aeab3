"""What is found out about a machine."""

import os
import stat

from models.encoders import ENCODERS
from pipeline.planning import Machine, this_machine


def nvidia_smi(folder, prints, status=0):
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{prints}'\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_it_is_this_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = this_machine()
    assert machine.cores == len(os.sched_getaffinity(0))
    assert 10**8 < machine.memory < 10**14
    assert machine.gpus == ()
    assert machine.pretrained <= set(ENCODERS)
    assert 0.01 < machine.core_speed < 20


def test_gpus_are_those_that_the_driver_lists_and_the_environment_leaves(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi(tmp_path, r"81559\n81559\n")
    assert this_machine().gpus == (81559 * 2**20,) * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert len(this_machine().gpus) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert this_machine().gpus == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia_smi(tmp_path, "No devices were found", status=6)
    assert this_machine().gpus == ()


def test_speed_counts_cores_or_gpus():
    assert Machine(2, 1).speed == 1
    assert Machine(8, 1).speed == 4
    assert Machine(8, 1, core_speed=0.25).speed == 1
    assert Machine(8, 1, (1, 1)).speed == 2 * Machine(8, 1, (1,)).speed > 8


def test_people_read_what_it_is():
    assert Machine(1, 4 * 10**9).words == "1 core, 4 GB, no GPU"
    assert Machine(8, 4 * 10**9, (80 * 10**9, 24 * 10**9)).words == "8 cores, 4 GB, 2 GPUs of 24 GB"
