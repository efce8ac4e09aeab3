"""A run of the whole graph on the offline sample, with a small model, from which the tests of a file go on."""

import os

import pytest
from rich.console import Console

from pipeline.runners.local import run_locally


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "output"


@pytest.fixture(scope="module")
def first(small_config, output):
    return run_locally(small_config(output), Console(file=open(os.devnull, "w")))
