"""docs/training.md says what the declarations say."""

import pathlib
import re

import pytest

from models.decoders import DECODERS
from models.encoders import ENCODERS
from models.losses import LOSSES, PixelLoss

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "training.md").read_text()


def table(header):
    """The rows of a table by their first cells."""
    _, _, rows = TEXT.partition(f"\n| `{header}` |")
    cells = [line.strip("| ").split(" | ") for line in rows.partition("\n\n")[0].splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def documented(cell):
    """`name: default` of each option in a cell."""
    return re.findall(r"`([^`]+)`", re.sub(r"\(.*?\)", "", cell))


def declared(kind):
    defaults = {name: field.default for name, field in kind.model_fields.items()}
    return [name if default == "" else f"{name}: {_in_yaml(default)}" for name, default in defaults.items()]


def _in_yaml(value):
    return str(value).lower() if isinstance(value, bool) else value


@pytest.mark.parametrize(
    ("header", "kinds"), [("encoder", ENCODERS), ("decoder", DECODERS), ("train.loss", LOSSES)], ids=str
)
def test_tables_have_all_kinds_with_their_options(header, kinds):
    rows = table(header)
    assert {name: documented(row[-1]) for name, row in rows.items()} == {
        name: declared(kind) for name, kind in kinds.items()
    }


def test_the_table_says_what_a_loss_is_reduced_over():
    for name, row in table("train.loss").items():
        assert row[1] == ("pixels" if issubclass(LOSSES[name], PixelLoss) else "images"), name


@pytest.mark.parametrize("kinds", [ENCODERS, DECODERS, LOSSES], ids=["encoders", "decoders", "losses"])
def test_each_option_is_described(kinds):
    for kind in kinds.values():
        for name in kind.model_fields:
            assert re.search(rf"^ +{name}: ", kind.__doc__, re.MULTILINE), f"{kind}: {name}"
