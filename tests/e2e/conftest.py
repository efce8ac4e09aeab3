"""A run of the whole graph on the offline sample, with a small model, from which tests of several files go on.

One process has them all (`_SHARING_FIRST` in tests/conftest.py). Those of the report come before those that push
another model.
"""

import os

import pytest
from rich.console import Console

from pipeline.runners.local import run_locally


@pytest.fixture(scope="session")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "output"


@pytest.fixture(scope="session")
def first(small_config, output):
    return run_locally(small_config(output), Console(file=open(os.devnull, "w")))
