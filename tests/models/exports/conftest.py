"""A small model, and all its exports."""

import pytest

from models.exports import FORMATS
from models.exports.exports import FOLDER, make_exports
from models.exports.network import Network
from tests.models.exports import small


@pytest.fixture(scope="session")
def exported(once_for_all):
    """Folder of a SavedModel that holds all exports."""

    def make(folder):
        small.make_model(folder)
        (folder / FOLDER).mkdir(parents=True)
        network, found = Network(str(folder)), small.examples(12)
        training = [image for image, _ in found]
        make_exports(network, list(FORMATS), str(folder / FOLDER), training, network.seen(found))

    return once_for_all("exported", make)
