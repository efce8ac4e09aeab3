"""Finding the images that annotations name."""

import pytest

from data.annotations.image_files import ImageFiles
from data.decoding.errors import BadImageError

FILES = ["images/a.jpg", "images/b.png", "train/images/c.jpg", "val/images/c.jpg", "notes.txt", "images/é.jpg"]


def test_images_are_found_beside_in_folders_and_by_the_end_of_a_path():
    images = ImageFiles("/data", FILES)
    assert images.relative["images/a.jpg"] == "/data/images/a.jpg"
    assert images.find("images/a.jpg") == "images/a.jpg"
    assert images.find("a.jpg", folders=["images"]) == "images/a.jpg"
    assert images.find("../images/a.jpg", beside="annotations") == "images/a.jpg"
    assert images.find("C:\\labels\\images\\a.jpg") == "images/a.jpg"
    assert images.find("https://example.org/x/b.png") == "images/b.png"
    assert images.find("c.jpg", folders=["val/images"]) == "val/images/c.jpg"
    assert images.find("/home/me/val/images/c.jpg") == "val/images/c.jpg"
    assert images.find("images/e\u0301.jpg") == "images/é.jpg"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.jpg", "may be train/images/c.jpg or val/images/c.jpg"),
        ("x.jpg", "there is no image x.jpg in /data"),
        ("../../etc/a.jpg", "leads out of the data set"),
        ("", "names no image"),
        ("images/", "names no image"),
    ],
)
def test_names_without_an_image_are_explained(name, message):
    with pytest.raises(BadImageError, match=message):
        ImageFiles("/data", FILES).find(name)
