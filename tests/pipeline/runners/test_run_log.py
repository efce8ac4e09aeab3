import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from pipeline.runners.redaction import Redactor
from pipeline.runners.run_log import run_log

ROOT = pathlib.Path(__file__).parents[3]
PRINT = [sys.executable, "-I", "-S", "-c"]


def redacted(secrets, chunks):
    redactor = Redactor(secrets)
    return b"".join([*map(redactor.feed, chunks), redactor.end()])


@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        ([], b"nothing is secret", b"nothing is secret"),
        ([b""], b"nothing is secret", b"nothing is secret"),
        ([b"secret"], b"secret secrets se secre", b"******** ********s se secre"),
        ([b"abc", b"abcdef"], b"abcdefabcdeabc", b"****************de********"),
        ([b"abab"], b"xabababx", b"x********abx"),
        ([b"two\nlines"], b"two\nlines of two\nkinds", b"******** of two\nkinds"),
    ],
)
def test_secrets_become_asterisks_however_they_arrive(secrets, text, expected):
    assert redacted(secrets, [text]) == expected
    assert redacted(secrets, [bytes([byte]) for byte in text]) == expected
    order = random.Random(7)
    for _ in range(50):
        cuts = sorted(order.choices(range(len(text) + 1), k=4))
        assert redacted(secrets, [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == expected


def test_what_is_no_secret_is_not_held_back():
    redactor = Redactor([b"secret"])
    assert redactor.feed(b"progress\n") == b"progress\n"
    assert redactor.feed(b"a sec") == b"a "
    assert redactor.feed(b"ond") == b"second"


def test_children_print_no_secret_and_nothing_is_lost(tmp_path):
    path = tmp_path / "log"
    # In two writes, and as C++ libraries do.
    child = "import os, time; os.write(1, b'my pass'); time.sleep(0.2); os.write(1, b'word\\n'); os.write(2, b'end\\n')"
    with run_log(str(path), ["password", 'quo"te\n']):
        os.write(1, b"before, the password\n")
        subprocess.run([*PRINT, child], check=True)
        logging.getLogger("segpipe.test").info("after, the %s", "password")
        # As a protocol buffer with a line break in it is printed.
        logging.getLogger("tfx").info(r'connection "quo\"te\n"')
        # More than a pipe holds.
        subprocess.run([*PRINT, "print('line\\n' * 100_000)"], check=True)
    text = path.read_text()
    assert text.startswith("before, the ********\nmy ********\nend\n")
    assert "INFO segpipe.test: after, the ********\n" in text
    assert 'connection "********"' in text
    assert text.count("line\n") == 100_000
    assert text.endswith("line\n\n")
    os.write(1, b"this is not in the log")
    assert path.read_text() == text


def test_the_log_of_a_run_that_failed_is_complete_and_ends_with_the_reason(tmp_path):
    path = tmp_path / "log"

    def fail():
        with run_log(str(path), ["password"]):
            subprocess.run([*PRINT, "print('line\\n' * 100_000)"], check=True)
            raise ValueError("the password is wrong")

    with pytest.raises(ValueError, match="password"):
        fail()
    text = path.read_text()
    assert text.count("line\n") == 100_000
    assert "ERROR root: the run failed\nTraceback" in text
    assert text.endswith("ValueError: the ******** is wrong\n")


def test_a_child_that_outlives_the_run_does_not_keep_it(tmp_path):
    path = tmp_path / "log"
    with run_log(str(path), ["password"]):
        child = subprocess.Popen(
            [*PRINT, "import sys; print('password', flush=True); sys.stdin.read(); print('last', flush=True)"],
            stdin=subprocess.PIPE,
        )
        while not path.read_text():
            time.sleep(0.01)
    assert path.read_text() == "********\n"
    assert child.poll() is None
    child.communicate()
    while "last" not in path.read_text():
        time.sleep(0.01)
    assert path.read_text() == "********\nlast\n"


def test_the_last_words_of_a_killed_run_are_in_the_log(tmp_path):
    path = tmp_path / "log"
    code = (
        "import os, signal\n"
        "from pipeline.runners.run_log import run_log\n"
        f"with run_log({str(path)!r}, ['password']):\n"
        "    os.write(2, b'the end of password')\n"
        "    os.killpg(0, signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, check=False)
    assert result.returncode == -signal.SIGKILL
    while path.read_text() != "the end of ********":
        time.sleep(0.01)


def test_a_full_disk_stops_nobody_who_prints():
    with run_log("/dev/full", []):
        subprocess.run([*PRINT, "print('line\\n' * 100_000)"], check=True)
