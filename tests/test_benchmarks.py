"""Every benchmark runs, with sizes at which its figures mean nothing."""

import json
import math
import pathlib
import shutil

import pytest

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = pytest.mark.one_line
_SMALL = ("--small", "8", "--large", "12")
_MODEL = ("--filters", "2", "--pixels", "16", "--depth", "1")
SIZES = {
    "ingest": _SMALL,
    "coco": ("--images", "12", "--pixels", "32"),
    "transform": (*_SMALL, "--pixels", "32"),
    "memory": (*_SMALL, "--pixels", "32"),
    "stored_bytes": (*_SMALL, "--pixels", "32"),
    "scale": (
        *("--small", "8", "--medium", "12", "--large", "16", "--side", "32", "--pixels", "32"),
        *("--seconds", "1", "--shards", "2"),
    ),
    "workers": (*_SMALL, "--pixels", "32", "--workers", "1"),
    "input_pipeline": ("--images", "8", "--batch-size", "4", *_MODEL, "--epochs", "1", "--steps", "1"),
    "train_step": ("--images", "8", "--batch-size", "4", *_MODEL, "--epochs", "1", "--rounds", "1"),
    "step": ("--pixels", "32", "--batch-size", "2", "--steps", "1", "--rounds", "1"),
    "predict": (*_MODEL, "--images", "4", "--rounds", "1"),
    "serve": (*_MODEL, "--images", "4", "--seconds", "0.2", "--turns", "1"),
    "monitor": ("--pixels", "32", "--epochs", "1", "--train", "12", "--images", "36", "--day", "10", "--days", "5"),
    "evaluate": (*_SMALL, *_MODEL),
    # Smaller ones lack some classes.
    "evaluate_memory": (*_SMALL, "--filters", "2", "--pixels", "96", "--depth", "1"),
    "fixed_cost": ("--images", "12", "--imports", "1", *_MODEL),
    # `thin_structures` trains the default one.
    "quality": (
        *("--seconds", "1", "--seeds", "1", "--filters", "2", "--pixels", "32"),
        *("--contenders", "former_default,keras,pytorch"),
    ),
    "plan": ("--seconds", "1", "--sets", "1", "--configurations", "1"),
    "thin_structures": (
        *("--seconds", "1", "--train", "12", "--evaluation", "4", "--test", "4"),
        *("--filters", "2", "--height", "32", "--width", "48"),
    ),
    "panoptic": (
        *("--seconds", "1", "--train", "12", "--evaluation", "4", "--test", "4"),
        *("--height", "32", "--width", "48"),
    ),
    "instances": ("--seconds", "1", "--seeds", "1", "--pixels", "32"),
    "inference": ("--networks", "unet", "--sizes", "1", "--batch", "2", "--seconds", "0.01"),
    "audit": ("--seeds", "1", "--pixels", "32", "--epochs", "1"),
    "suggest": ("--pixels", "32", "--filters", "2", "--steps", "2", "--seeds", "1", "--rounds", "1"),
    "architectures": ("--seconds", "1", "--models", "1", "--pixels", "16"),
}
# They share what is imported, and a folder of data sets.
_RUN_ALL = """
import contextlib, io, json, pathlib, runpy, sys, traceback

folder, sizes = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
sys.path.insert(0, str(folder))
for name, arguments in sizes.items():
    sys.argv = [str(folder / f"{name}.py"), *arguments]
    printed, error = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(sys.argv[0], run_name="__main__")
    except BaseException:
        error = traceback.format_exc()
    print(json.dumps([name, printed.getvalue(), error]), flush=True)
"""


@pytest.fixture(scope="module")
def results(request, warm_python, tmp_path_factory):
    """Of each script what it printed and its error, run from a copy, which makes its own data sets of the sample.

    Only scripts whose tests are selected run.
    """
    tests = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    selected = {test.callspec.params.get("name") for test in tests}
    sizes = {name: arguments for name, arguments in SIZES.items() if name in selected}
    folder = tmp_path_factory.mktemp("checkout") / "benchmarks"
    for name in ("benchmarks", "configs"):
        shutil.copytree(ROOT / name, folder.with_name(name))
    finished = warm_python("-c", _RUN_ALL, str(folder), json.dumps(sizes), PYTHONPATH=str(ROOT))
    lines = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith('["')]
    assert len(lines) == len(sizes), finished.stderr
    return {name: (printed, error) for name, printed, error in lines}


@pytest.mark.parametrize("name", SIZES)
def test_a_benchmark_prints_its_line(results, name):
    printed, error = results[name]
    assert not error, error
    line = json.loads(printed.splitlines()[-1])
    assert line["name"] == name
    assert math.isfinite(line["value"])


@pytest.mark.nightly  # A minute, for four runs.
def test_the_table_compares_this_tree_with_another_commit(warm_python, tmp_path):
    script = f"stored_bytes={' '.join(SIZES['stored_bytes'])}"
    arguments = ("--rounds", "2", "--output", str(tmp_path), "--compare", "HEAD")
    finished = warm_python("benchmarks/table.py", *arguments, script, PYTHONPATH=str(ROOT))
    assert finished.returncode == 0, finished.stderr
    assert "round 2 of 2: stored_bytes (before)" in finished.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    (figure,) = table["figures"]
    assert figure["value"] == figure["before"]
    assert figure["verdict"] == "within the noise"
    assert {"date", "commit", "compared_with", "machine", "versions", "rounds"} < table.keys()
    assert "within the noise" in (tmp_path / "table.md").read_text()
    assert not (ROOT / "output" / "benchmarks" / "commit" / "segpipe").exists()


@pytest.mark.parametrize(
    ("unit", "before", "now", "expected"),
    [
        ("images/s", [10, 9, 11], [20, 19, 21], "faster"),
        ("images/s, plain", [20, 19, 21], [10, 9, 11], "slower"),
        ("s", [20, 19, 21], [10, 9, 11], "faster"),
        ("bytes/example", [10, 9, 11], [20, 19, 21], "slower"),
        ("MB", [10, 9, 11], [11, 10, 12], "within the noise"),
        ("s", [100, 99.9, 100.1], [101, 100.9, 101.1], "within the noise"),
    ],
)
def test_what_became_faster_or_slower(monkeypatch, unit, before, now, expected):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from table import verdict

    assert verdict(unit, before, now) == expected


def test_none_is_left_out():
    """Only Flink's needs more than is here: `make test-flink` fetches it. PyTorch's are parts of others."""
    parts = {"common", "reference", "recipes", "streets", "plain_keras", "table"}
    parts |= {"plain_pytorch", "pretrained_pytorch", "inference_pytorch", "step_pytorch"}
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == {*SIZES, *parts, "flink"}
