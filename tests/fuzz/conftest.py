"""A small model to attack."""

import pytest


@pytest.fixture(scope="session")
def model(push, tmp_path_factory):
    """Folder of versions with one model."""
    destination = tmp_path_factory.mktemp("attacked") / "serving"
    push(destination, 1, 1)
    return destination
