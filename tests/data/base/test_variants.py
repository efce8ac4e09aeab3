import abc
import sys
import types

import pytest

from data.base.section import Section
from data.base.variants import check_options, find_variant, import_paths


class Shape(Section):
    @abc.abstractmethod
    def area(self):
        pass


class Square(Shape):
    side: float = 1

    def area(self):
        return self.side**2


KNOWN = {"square": Square}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Puts a user's module `own_shapes` where Python finds it: `own(text)`."""

    def write(text):
        (tmp_path / "own_shapes.py").write_text(text)
        return tmp_path / "own_shapes.py"

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    sys.modules.pop("own_shapes", None)


def find(name):
    return find_variant(name, KNOWN, Shape, "shape")


def test_variants_are_found_by_name_and_by_import_path(own, monkeypatch):
    known = types.ModuleType("known_shapes")
    known.Shape = Shape
    monkeypatch.setitem(sys.modules, "known_shapes", known)
    own("from known_shapes import Shape\nclass Disk(Shape):\n    def area(self):\n        return 3\n")
    assert find("square") is Square
    assert find("own_shapes:Disk")().area() == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cube", "there is no shape 'cube'; there are square, and your own by import path, package.module:Class"),
        ("", "there is no shape ''"),
        ("own shapes:Disk", "there is no shape 'own shapes:Disk'"),
        (":Disk", "there is no shape ':Disk'"),
        (".own_shapes:Disk", "there is no shape"),
        ("nowhere:Disk", "nowhere:Disk: there is no module nowhere; install it, or add .* PYTHONPATH"),
        ("own_shapes.more:Disk", "own_shapes.more:Disk: there is no module own_shapes.more"),
        ("own_shapes:Cube", r"own_shapes:Cube: /.*/own_shapes\.py has no Cube$"),
        ("own_shapes:SIZE", r"SIZE in /.*/own_shapes\.py must be a class that derives from .*Shape$"),
        ("own_shapes:Other", r"Other in /.*/own_shapes\.py must be a class that derives from .*Shape$"),
    ],
)
def test_what_is_none_is_refused_in_one_sentence(own, name, message):
    own("SIZE = 3\nclass Other:\n    pass\n")
    with pytest.raises(ValueError, match=message):
        find(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere", "importing own_shapes failed: ModuleNotFoundError: No module named 'nowhere' .*, line 1"),
        ("\n1 / 0", r"importing own_shapes failed: ZeroDivisionError: division by zero \(/.*own_shapes\.py, line 2\)$"),
        ("class", r"importing own_shapes failed: SyntaxError: .*\(own_shapes\.py, line 1\)$"),
        ("import sys; sys.exit(2)", r"importing own_shapes failed: SystemExit: 2 \("),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_reason(own, text, message):
    own(text)
    with pytest.raises(ValueError, match=message):
        find("own_shapes:Disk")


def test_a_class_that_lacks_a_method_is_refused():
    with pytest.raises(ValueError, match=r"Shape in /.* must implement area, as .*Shape describes it"):
        find_variant(f"{Shape.__module__}:Shape", KNOWN, Shape, "shape")


def test_unknown_options_are_refused():
    check_options(["side"], Square.model_fields, "shape square")
    with pytest.raises(ValueError, match="edge is not an option of shape square; its options are side"):
        check_options(["edge"], Square.model_fields, "shape square")
    with pytest.raises(ValueError, match="edge is not an option of shape point; it has none"):
        check_options(["edge"], [], "shape point")


def test_import_paths_are_found_wherever_they_stand():
    class Nested(Section):
        name: str = "a.b:C"
        terms: dict[str, Square] = {"d.e:F": Square()}
        space: dict[str, list[str]] = {"key": ["plain", "g:H"]}
        others: tuple[str, ...] = ("gs://bucket", "host:80", "C:\\x", "a:b c", "env:")
        nothing: str | None = None

    assert import_paths([Nested(), None, {"x": {"y": "i:J"}}]) == ["a.b:C", "d.e:F", "g:H", "i:J"]
