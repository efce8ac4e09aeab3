"""The house: rooms import only from rooms before their own, and no floor and no file is too large to be read."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("data", "models", "components", "pipeline")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MOST_LINES = 400
MOST_FILES = 8


def imported(path):
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield str(node.module)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_from_rooms_before_them(room):
    later = ROOMS[ROOMS.index(room) + 1 :]
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] == room
        for name in imported(path)
        if name.partition(".")[0] in later
    }
    assert not wrong


def test_no_file_is_too_long():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES}


@pytest.mark.parametrize("room", ["pipeline", "models"])
def test_no_floor_has_too_many_files(room):
    floors = {path.parent for path in FILES if path.relative_to(ROOT).parts[0] == room}
    counts = {floor: len([path for path in floor.glob("*.py") if path.name != "__init__.py"]) for floor in floors}
    assert not {str(floor): count for floor, count in counts.items() if count > MOST_FILES}


def test_each_folder_says_which_question_it_answers():
    folders = {path.parent for path in FILES}
    silent = [
        str(folder) for folder in folders if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert not silent
