"""Finding the images that annotations name."""

import pytest

from data.annotations.image_files import ImageFiles
from data.decoding.errors import BadImageError

FILES = [
    "images/a.jpg",
    "images/b.png",
    "train/images/c.jpg",
    "val/images/c.jpg",
    "notes.txt",
    "images/é.jpg",
    "panoptic/m.png",
]


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


def test_capital_letters_count_only_where_they_tell_images_apart():
    images = ImageFiles("/data", ["images/a.JPG", "images/B.jpg", "images/b.jpg", "train/C.jpg", "val/C.jpg"])
    assert images.find("A.jpg") == "images/a.JPG"
    assert images.find("d:/Images/a.jpg") == "images/a.JPG"
    assert images.find("b.jpg") == "images/b.jpg"
    assert images.find("c.jpg", folders=["train"]) == "train/C.jpg"
    with pytest.raises(BadImageError, match=r"may be images/B\.jpg or images/b\.jpg"):
        images.find("b.JPG")
    with pytest.raises(BadImageError, match=r"may be train/C\.jpg or val/C\.jpg"):
        images.find("c.jpg")


def test_an_image_of_one_split_is_not_taken_for_one_of_another():
    images = ImageFiles("/data", ["val/a.jpg", "val/images/b.jpg"])
    for name in ("train/a.jpg", "/home/me/train/a.jpg", "/home/me/train/images/b.jpg"):
        with pytest.raises(BadImageError, match=r"there is no image .*; if val/.*jpg is meant, name that"):
            images.find(name)
    assert images.find("/home/me/photos/a.jpg") == "val/a.jpg"


def test_an_image_of_another_split_than_the_annotation_file_is_not_taken():
    images = ImageFiles("/data", ["train/images/a.jpg", "val/images/b.jpg", "c.jpg"])
    for name in ("b.jpg", "../images/b.jpg", "..\\images\\b.jpg", "C:\\photos\\b.jpg"):
        with pytest.raises(BadImageError, match=r"there is no image .*; if val/images/b.jpg is meant, name that"):
            images.find(name, beside="train/labels")
    assert images.find("../images/a.jpg", beside="train/labels") == "train/images/a.jpg"
    assert images.find("c.jpg", beside="train/labels") == "c.jpg"


def test_a_missing_image_in_a_folder_beside_does_not_lead_out():
    images = ImageFiles("/data", ["train/images/a.jpg"])
    with pytest.raises(BadImageError, match=r"^there is no image \.\./images/x\.jpg in /data$"):
        images.find("../images/x.jpg", beside="train/labels")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.jpg", "may be train/images/c.jpg or val/images/c.jpg"),
        ("x.jpg", "there is no image x.jpg in /data$"),
        ("m.jpg", "there is no image m.jpg in /data$"),
        ("a.png", "there is no image a.png in /data; if images/a.jpg is meant, name that$"),
        ("a", "there is no image a in /data; if images/a.jpg is meant, name that$"),
        ("../../x/b.png", "leads out of the data set; if images/b.png is meant, name that$"),
        ("../../etc/x.jpg", "leads out of the data set; name the folder above /data that has"),
        ("../../etc/a.jpg", "leads out of the data set"),
        ("", "names no image"),
        ("images/", "names no image"),
    ],
)
def test_names_without_an_image_are_explained(name, message):
    with pytest.raises(BadImageError, match=message):
        ImageFiles("/data", FILES).find(name)
