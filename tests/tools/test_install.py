import pathlib
import platform
import runpy
import sys

import pytest

INSTALL = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "tools" / "install.py"))


@pytest.mark.parametrize(
    ("glibc", "line", "pythons"),
    [
        ("2.36", "1.16", ("3.10",)),
        ("2.39", "1.21", ("3.13", "3.12", "3.11", "3.10")),
        ("2.41", "1.21", ("3.13", "3.12", "3.11", "3.10")),
    ],
)
def test_the_c_library_chooses_the_line(monkeypatch, glibc, line, pythons):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", glibc))
    assert INSTALL["choose_line"]() == (line, pythons)


@pytest.mark.parametrize(
    ("machine", "libc", "message"),
    [
        ("aarch64", ("glibc", "2.41"), "needs Linux on x86-64"),
        ("x86_64", ("glibc", "2.17"), "needs glibc 2.28 or newer"),
        ("x86_64", ("", ""), "here is another"),
    ],
)
def test_an_unsupported_machine_gets_one_sentence(monkeypatch, machine, libc, message):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    with pytest.raises(SystemExit, match=message) as caught:
        INSTALL["choose_line"]()
    assert "\n" not in str(caught.value)


def test_only_an_interpreter_of_the_right_version_is_taken():
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert INSTALL["find_python"]((version,))
    assert INSTALL["find_python"](("3.1",)) is None
