"""A small model to attack."""

import pytest

from tests.components.conftest import push  # noqa: F401


@pytest.fixture(scope="session")
def model(push, tmp_path_factory):  # noqa: F811
    """Folder of versions with one model."""
    destination = tmp_path_factory.mktemp("attacked") / "serving"
    push(destination, 1, 1)
    return destination
