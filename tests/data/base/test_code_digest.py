import pathlib

import pytest

from data.base.code_digest import code_digest, tree_digest

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
        return code_digest(["models.training.trainer", "tfx.components", ""], [tree / "data/schema.pbtxt"], root=tree)

    before = digest()
    assert digest() == before
    with (tree / changed).open("a") as file:
        file.write("# changed\n")
    assert (digest() != before) == counts


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's folder on Python's path, with a package and a module."""
    folder = tmp_path / "own"
    for name in ("digest_team/nets.py", "digest_team/parts/blocks.py", "digest_team/notes.txt", "digest_losses.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("digest_team/nets.py", True),
        ("digest_team/parts/blocks.py", True),
        ("digest_losses.py", True),
        ("digest_team/notes.txt", False),
    ],
)
def test_own_code_counts(tree, own, changed, counts):
    paths = ["digest_team.nets:Encoder", "digest_losses:Loss", "no_such_thing:X", "sys:X", "__main__:X"]

    def digests():
        return code_digest(["models.training.trainer"], import_paths=paths, root=tree), tree_digest(paths, tree)

    before = digests()
    assert digests() == before
    (own / changed).write_text("changed = True\n")
    assert all((old != new) == counts for old, new in zip(before, digests(), strict=True))


def test_own_code_counts_by_its_content_not_by_its_place(tree, own, monkeypatch):
    def digest():
        return code_digest([], import_paths=["digest_team.nets:Encoder"], root=tree)

    before = digest()
    moved = own.rename(own.with_name("moved"))
    monkeypatch.syspath_prepend(moved)
    assert digest() == before != code_digest([], root=tree)


def test_an_import_path_into_segpipe_is_followed_like_a_module(tree):
    assert code_digest([], import_paths=["models.unet:Encoder"], root=tree) == code_digest(["models.unet"], root=tree)


def test_a_file_elsewhere_counts_by_its_content(tree, tmp_path_factory):
    weights = tmp_path_factory.mktemp("elsewhere") / "weights.h5"
    weights.write_bytes(b"1")
    before = code_digest(["models.unet"], [weights], root=tree)
    moved = weights.rename(tmp_path_factory.mktemp("elsewhere") / weights.name)
    assert code_digest(["models.unet"], [moved], root=tree) == before
    moved.write_bytes(b"2")
    assert code_digest(["models.unet"], [moved], root=tree) != before


def test_formats_of_data_sets_do_not_retrain():
    formats = set((ROOT / "data" / "formats").glob("*.py")) | {ROOT / "data" / "convert.py"}
    before = code_digest(["models.training.trainer"])
    assert code_digest(["models.training.trainer"], formats) != before


@pytest.mark.parametrize("folder", ["encoders", "decoders", "losses", "layers"])
def test_parts_of_models_do(folder):
    files = set((ROOT / "models" / folder).glob("*.py"))
    assert len(files) > 3
    assert code_digest(["models.training.trainer"], files) == code_digest(["models.training.trainer"])
