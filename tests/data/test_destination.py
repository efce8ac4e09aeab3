"""How a finished conversion replaces an earlier one in a bucket, where files can only be copied one by one."""

import itertools
import re

import pytest
from apache_beam.utils.retry import PermanentException

from data.base.errors import UserError
from data.contract import LABEL_MAP_FILE, REPORT_FILE
from data.destination import check_destination, replace

DESTINATION = "gs://segpipe/all/out"
# Names that both have, and names that only one has.
OLD = dict.fromkeys((LABEL_MAP_FILE, REPORT_FILE, "train-00000-of-00001"), b"old")
NEW = dict.fromkeys((LABEL_MAP_FILE, REPORT_FILE, "train-00000-of-00002"), b"new")


class AwayError(OSError, PermanentException):
    """An error that Beam does not wait for to pass."""


def contents(bucket, folder):
    prefix = folder.removeprefix("gs://segpipe/") + "/"
    return {blob.name.removeprefix(prefix): blob.download_as_bytes() for blob in bucket.list_blobs(prefix=prefix)}


def fill(bucket, folder, files):
    for name, content in files.items():
        bucket.blob(f"{folder.removeprefix('gs://segpipe/')}/{name}").upload_from_string(content)


@pytest.fixture
def failing(monkeypatch, bucket):
    """Numbers of the requests to copy or delete an object that fail: from the first up to but not the second."""
    state = {"from": 0, "to": 0, "requests": 0}

    def counted(request):
        def call(*arguments, **options):
            state["requests"] += 1
            if state["from"] <= state["requests"] < state["to"]:
                raise AwayError("the bucket is away")
            return request(*arguments, **options)

        return call

    for name in ("copy_blob", "delete_blob"):
        monkeypatch.setattr(type(bucket), name, counted(getattr(type(bucket), name)))
    return state


@pytest.mark.parametrize("lasts", [1, 1000])
def test_an_earlier_conversion_survives_a_failure_at_any_step(bucket, failing, lasts):
    endings = set()
    for step in itertools.count(1):
        failing.update({"from": 0, "to": 0})
        bucket.delete_blobs(list(bucket.list_blobs()))
        fill(bucket, DESTINATION, OLD)
        fill(bucket, f"{DESTINATION}.incomplete", NEW)
        failing.update({"from": step, "to": step + lasts, "requests": 0})
        message = ""
        try:
            replace(DESTINATION, f"{DESTINATION}.incomplete")
        except (OSError, UserError) as error:
            message = str(error)
        has_failed = failing["requests"] >= step
        failing.update({"from": 0, "to": 0})
        there = contents(bucket, DESTINATION)
        if backup := re.search(r"The earlier conversion is in (\S+):", message):
            endings.add("copied")
            assert contents(bucket, backup[1]) == OLD
            # No pipeline takes a folder without a label map; and another try succeeds.
            assert LABEL_MAP_FILE not in there or there in (OLD, NEW)
            fill(bucket, f"{DESTINATION}.incomplete", NEW)
            check_destination(DESTINATION, overwrite=True)
            replace(DESTINATION, f"{DESTINATION}.incomplete")
            assert contents(bucket, DESTINATION) == NEW
        else:
            endings.add("kept" if message else "replaced")
            assert there == (OLD if message else NEW)
        if not has_failed:
            break
    assert endings == {"kept", "replaced"} | ({"copied"} if lasts > 1 else set())


def test_an_interrupted_replacement_is_not_taken_for_nothing(bucket):
    backup = f"{DESTINATION}.replaced-0123"
    fill(bucket, backup, OLD)
    for left in ({}, {"train-00000-of-00002": b"new"}):
        fill(bucket, DESTINATION, left)
        with pytest.raises(UserError, match=rf"{DESTINATION} is not complete.*{backup}: copy it back"):
            check_destination(DESTINATION, overwrite=False)
        check_destination(DESTINATION, overwrite=True)
    fill(bucket, f"{DESTINATION}.incomplete", NEW)
    replace(DESTINATION, f"{DESTINATION}.incomplete")
    assert contents(bucket, DESTINATION) == NEW
    assert {blob.name.partition("/out")[2].partition("/")[0] for blob in bucket.list_blobs()} == {""}


def test_a_first_conversion_that_fails_leaves_nothing(bucket, failing):
    fill(bucket, f"{DESTINATION}.incomplete", NEW)
    failing.update({"from": 3, "to": 4})
    with pytest.raises(OSError, match="the bucket is away"):
        replace(DESTINATION, f"{DESTINATION}.incomplete")
    assert contents(bucket, DESTINATION) == {}
