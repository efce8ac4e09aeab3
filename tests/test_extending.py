"""docs/extending.md: a new kind is one new file and one line of a dictionary."""

import ast
import pathlib
import re

import pytest

from data.formats import FORMATS
from models.decoders import DECODERS
from models.encoders import ENCODERS
from models.losses import LOSSES
from pipeline.runners.beam import RUNNERS

pytestmark = pytest.mark.one_line
ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("data", "models", "components", "pipeline", "kubeflow")
CODE = {path: path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
KINDS = {
    "data/formats": FORMATS,
    "models/encoders": ENCODERS,
    "models/decoders": DECODERS,
    "models/losses": LOSSES,
    "pipeline/runners/beam": RUNNERS,
}
# What is taken if nothing else is said has to be named where that is decided.
DEFAULTS = {"plain", "unet", "cross_entropy", "direct"}


def depends_on(text, name, kind):
    """Whether code imports a kind, or looks whether something is called by its name."""
    nodes = list(ast.walk(ast.parse(text)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == kind.__module__]
    comparisons = [node for node in nodes if isinstance(node, ast.Compare | ast.MatchValue)]
    constants = {item.value for node in comparisons for item in ast.walk(node) if isinstance(item, ast.Constant)}
    return kind.__name__ in {alias.name for node in imports for alias in node.names} or name in constants


@pytest.mark.parametrize(
    ("folder", "name"), [(folder, name) for folder, kinds in KINDS.items() for name in kinds if name not in DEFAULTS]
)
def test_a_kind_is_one_file_and_one_line(folder, name):
    kind = KINDS[folder][name]
    own = ROOT / pathlib.Path(*kind.__module__.split(".")).with_suffix(".py")
    found = {str(path.relative_to(ROOT)) for path, text in CODE.items() if depends_on(text, name, kind)}
    assert ROOT / folder in own.parents
    assert found == {f"{folder}/__init__.py"}
    lines = [line for line in CODE[ROOT / folder / "__init__.py"].splitlines() if f'"{name}"' in line]
    assert len(lines) == 1


def test_the_table_names_each_dictionary_and_base_class():
    text = (ROOT / "docs" / "extending.md").read_text()
    for folder, kinds in KINDS.items():
        (dictionary,) = re.findall(r"^([A-Z]+): dict", CODE[ROOT / folder / "__init__.py"], re.MULTILINE)
        assert f"`{dictionary}` in `{folder}/__init__.py`" in text
        bases = {base.__name__ for kind in kinds.values() for base in kind.__mro__}
        row = next(line for line in text.splitlines() if f"`{dictionary}`" in line)
        assert set(re.findall(r"`(\w+)`", row.split(" | ")[2])) & bases
