"""Messages, whatever they quote."""

import pickle

import pytest

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats import SetAside


@pytest.mark.parametrize("kind", [UserError, BadImageError, lambda text: SetAside("a.png", text).reason])
def test_what_a_file_holds_cannot_flood_or_paint_the_terminal(kind):
    path = "/".join(["x" * 250] * 9)
    text = str(kind(f"{path}: no class {'y' * 5000}\n\x1b[31mred\x00\tas \ud800 said"))
    assert text == f"{path}: no class {'y' * 60}…\n\\x1b[31mred\\x00\tas \\ud800 said"


def test_options_to_copy_stay_whole():
    classes = ",".join(f"class_{index}" for index in range(200))
    assert str(UserError(f"--classes {classes} reads them")) == f"--classes {classes} reads them"


def test_what_is_too_long_for_options_does_not():
    assert str(UserError(f"no image {'1e5,7,' * 50_000}3 there")) == f"no image {'1e5,7,' * 10}… there"


def test_errors_travel_between_processes():
    for error in (UserError("a\0"), BadImageError("a\0")):
        assert str(pickle.loads(pickle.dumps(error))) == "a\\x00"


def test_messages_of_other_packages_come_without_addresses():
    connection = "<urllib3.connection.HTTPConnection object at 0x7f2499b8cd60>"
    reason = "Failed to establish a new connection: [Errno 111] Connection refused"
    assert str(UserError(f"s3://bucket: {connection}: {reason}")) == f"s3://bucket: {reason}"
    assert str(UserError(f"(Caused by NewConnectionError('{connection}: {reason}'))")) == (
        f"(Caused by NewConnectionError('{reason}'))"
    )
    assert str(UserError(f"cannot pickle {test_errors_travel_between_processes} and {object()}")) == (
        "cannot pickle <function test_errors_travel_between_processes> and <object>"
    )
