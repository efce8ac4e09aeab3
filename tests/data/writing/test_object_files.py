"""The two files of objects that predict writes: whole or not at all, in little memory, and never over someone's own."""

import contextlib
import json
import os
import resource
import tracemalloc

import numpy as np
import pytest

from data.base.errors import UserError
from data.label_map import LabelMap
from data.writing.objects import (
    PANOPTIC,
    RESULTS,
    FoundObjects,
    is_edge,
    object_files,
    panoptic_colors,
    panoptic_ids,
)

LABELS = LabelMap.from_names(["ground", "car"])


def found(height=20, width=30):
    numbers = np.zeros([height, width], np.int32)
    numbers[2:9, 3:12] = 1
    return (numbers > 0).astype(np.uint8), FoundObjects.measured(numbers, np.array([1]), np.array([0.5]))


def write(folder, count=1):
    with object_files(str(folder), LABELS, ["car"]) as files:
        for index in range(count):
            files.add(f"{index}.png", f"{index}_panoptic.png", *found())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_both_appear_at_the_end_and_replace_those_of_an_earlier_run(tmp_path):
    write(tmp_path, 2)
    with object_files(str(tmp_path), LABELS, ["car"]) as files:
        # They would not go with the images of this run.
        assert names(tmp_path) == [f"{RESULTS}.partial", f"{PANOPTIC}.partial"]
        files.add("one.png", "one_panoptic.png", *found())
    assert names(tmp_path) == [RESULTS, PANOPTIC]
    assert len(json.loads((tmp_path / RESULTS).read_text())) == 1
    panoptic = json.loads((tmp_path / PANOPTIC).read_text())
    assert [image["file_name"] for image in panoptic["images"]] == ["one.png"]
    assert [item["area"] for item in panoptic["annotations"][0]["segments_info"]] == [63, 20 * 30 - 63]


@pytest.mark.parametrize("name", [RESULTS, PANOPTIC])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "broken link", "empty", "pipe"])
def test_someone_elses_file_stays(tmp_path, name, kind):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "mine.json").write_text('[{"image_id": 1}]')
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    elif "link" in kind:
        (folder / name).symlink_to(tmp_path / ("mine.json" if kind == "link" else "nothing"))
    else:
        (folder / name).write_text("" if kind == "empty" else '{"images": []}')
    before = os.lstat(folder / name)
    with pytest.raises(UserError, match=f"{name} exists and is no result of predict; .* choose another --output"):
        write(folder)
    assert os.lstat(folder / name).st_mtime_ns == before.st_mtime_ns
    assert names(folder) == [name]
    assert (tmp_path / "mine.json").read_text() == '[{"image_id": 1}]'


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_none(tmp_path, error):
    write(tmp_path)

    def interrupted():
        with object_files(str(tmp_path), LABELS, ["car"]) as files:
            files.add("one.png", "one_panoptic.png", *found())
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == []


def test_what_a_run_that_was_killed_left_is_no_obstacle(tmp_path):
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / f"{RESULTS}.partial").symlink_to(tmp_path / "mine.json")
    (tmp_path / f"{PANOPTIC}.partial").write_text("half")
    write(tmp_path)
    assert names(tmp_path) == ["mine.json", RESULTS, PANOPTIC]
    assert (tmp_path / "mine.json").read_text() == "mine"


@contextlib.contextmanager
def files_of_at_most(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("count", [1, 200])  # Which fails at the end, or before.
def test_a_full_disk_ends_the_run_with_a_sentence_and_leaves_none(tmp_path, count):
    with files_of_at_most(100), pytest.raises(UserError, match=f"cannot write {RESULTS} .* choose another --output"):
        write(tmp_path, count)
    assert names(tmp_path) == []


def test_memory_does_not_grow_with_what_is_stuff(tmp_path):
    class_ids, objects = found(2000, 2000)
    with object_files(str(tmp_path), LABELS, ["car"]) as files:
        tracemalloc.start()
        try:
            files.add("large.png", "large_panoptic.png", class_ids, objects)
            _, most = tracemalloc.get_traced_memory()
            assert most < 8 * class_ids.size
            tracemalloc.reset_peak()
            colors = panoptic_colors(panoptic_ids(class_ids, objects))
            assert tracemalloc.get_traced_memory()[1] < 14 * class_ids.size
            del colors
            tracemalloc.reset_peak()
            is_edge(objects.numbers)
            assert tracemalloc.get_traced_memory()[1] < 10 * class_ids.size
            tracemalloc.reset_peak()
            FoundObjects.measured(objects.numbers, objects.class_ids, objects.scores)
            assert tracemalloc.get_traced_memory()[1] < 6 * class_ids.size
        finally:
            tracemalloc.stop()
