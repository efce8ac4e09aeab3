import pathlib

import pytest

from data.base.code_digest import code_digest

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path):
    for name, text in {
        "models/__init__.py": "",
        "models/training/trainer.py": "import models.unet\ndef run_fn():\n    from data.contract import IMAGE\n",
        "models/unet.py": "",
        "models/other.py": "",
        "data/__init__.py": "",
        "data/contract.py": "import models.training.trainer\n",
        "data/schema.pbtxt": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("models/training/trainer.py", True),
        ("models/unet.py", True),
        ("data/contract.py", True),
        ("data/schema.pbtxt", True),
        ("models/__init__.py", True),
        ("data/__init__.py", True),
        ("models/other.py", False),
    ],
)
def test_what_changes_a_digest(tree, changed, counts):
    def digest():
        return code_digest(["models.training.trainer", "tfx.components", ""], [tree / "data/schema.pbtxt"], tree)

    before = digest()
    assert digest() == before
    with (tree / changed).open("a") as file:
        file.write("# changed\n")
    assert (digest() != before) == counts


def test_formats_of_data_sets_do_not_retrain():
    formats = set((ROOT / "data" / "formats").glob("*.py")) | {ROOT / "data" / "convert.py"}
    before = code_digest(["models.training.trainer"])
    assert code_digest(["models.training.trainer"], formats) != before


def test_architectures_do():
    architectures = set((ROOT / "models" / "architectures").glob("*.py"))
    assert ROOT / "models" / "architectures" / "unet.py" in architectures
    assert code_digest(["models.training.trainer"], architectures) == code_digest(["models.training.trainer"])
