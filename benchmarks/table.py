"""Runs benchmarks several times in turn, and writes a table of what they print, in Markdown and in JSON.

A figure is the median over the rounds, with the smallest and the largest; so is its ratio to the reference, which each
script measures in the same minute. With `--compare`, the scripts of another commit run beside this tree's, in turn and
with the same packages, and the table says what became faster or slower: where all rounds of one lie beyond all of the
other, and the medians differ by more than 3 %.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from common import CACHE, ROOT

# Sizes with which several rounds take minutes.
_SIZES = {
    "ingest": "--large 3000",
    "coco": "--images 2000",
    "transform": "--large 3000",
    "stored_bytes": "--large 3000",
    "input_pipeline": "--epochs 3",
    "train_step": "--rounds 1",
    "step": "--rounds 1 --steps 5 --kinds eager",  # To compile takes minutes, and is not faster on processors.
    "evaluate": "--large 200",
    "fixed_cost": "--imports 1",
    "memory": "--large 3000",
    "workers": "--large 3000",
    "serve": "--turns 2 --seconds 3",
    "predict": "--images 100 --rounds 1",
}
# Those that run by name alone: three rounds of them take ten minutes, or measure what cannot vary.
_BY_NAME = ("stored_bytes", "workers", "serve")
_PACKAGES = ("tensorflow", "keras", "tfx", "apache-beam", "numpy")
# Of figures in these units, less is better.
_COSTS = ("s", "ms", "MB", "bytes")
# What differs by less may be anything.
_LEAST_CHANGE = 0.03


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each script runs (default: 3)")
    parser.add_argument("--output", default=str(CACHE), help="folder for table.md and table.json (output/benchmarks)")
    parser.add_argument("--compare", metavar="COMMIT", help="another commit to compare this tree with")
    parser.add_argument(
        "scripts",
        nargs="*",
        metavar="NAME[=ARGUMENTS]",
        help="which scripts, such as 'ingest=--large 600' (the quick)",
    )
    arguments = parser.parse_args()
    named = dict(each.partition("=")[::2] for each in arguments.scripts)
    if unknown := [name for name in named if not pathlib.Path(__file__).with_name(f"{name}.py").exists()]:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    sizes = {name: own or _SIZES.get(name, "") for name, own in named.items()} or {
        name: own for name, own in _SIZES.items() if name not in _BY_NAME
    }
    with contextlib.ExitStack() as stack:
        trees = {"": ROOT}
        if arguments.compare:
            trees["before"] = stack.enter_context(_checkout(arguments.compare))
        results = _measured(trees, sizes, arguments.rounds)
    facts = _facts(arguments.rounds, arguments.compare)
    figures = {tree: [_figure(lines) for lines in of_tree.values()] for tree, of_tree in results.items()}
    if arguments.compare:
        before = {(figure["name"], figure["unit"]): figure for figure in figures["before"]}
        for figure in figures[""]:
            if other := before.get((figure["name"], figure["unit"])):
                figure |= {
                    "before": other["value"],
                    "verdict": verdict(figure["unit"], other["value"], figure["value"]),
                }
    table = _table(facts, figures[""], bool(arguments.compare))
    folder = pathlib.Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(json.dumps({**facts, "figures": figures[""]}, indent=2) + "\n")
    (folder / "table.md").write_text(table)
    print(table)


def _measured(
    trees: dict[str, pathlib.Path], sizes: dict[str, str], rounds: int
) -> dict[str, dict[tuple[str, str], list[dict[str, Any]]]]:
    """Of each tree the lines of each figure, by its name and unit."""
    found: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {tree: {} for tree in trees}
    for index in range(rounds):
        for name, own in sizes.items():
            for tree, root in trees.items():
                script = root / "benchmarks" / f"{name}.py"
                if not script.exists():
                    continue
                started = datetime.datetime.now()
                for line in _lines(root, script, shlex.split(own)):
                    found[tree].setdefault((line["name"], line["unit"]), []).append(line)
                seconds = (datetime.datetime.now() - started).total_seconds()
                told = f"round {index + 1} of {rounds}: {name}{f' ({tree})' if tree else ''}, {seconds:.0f} s"
                print(told, file=sys.stderr, flush=True)
    return found


def _lines(root: pathlib.Path, script: pathlib.Path, arguments: list[str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-W", "ignore", str(script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    finished = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{script.stem} failed:\n{finished.stderr}")
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith('{"name"')]


@contextlib.contextmanager
def _checkout(commit: str) -> Iterator[pathlib.Path]:
    """Another commit's tree, with the same shared data beside it."""
    folder = CACHE / "commit"
    tree, data = folder / "segpipe", folder / "shared"
    subprocess.run(["git", "-C", str(ROOT), "worktree", "prune"], check=True)
    added = subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--force", "--detach", str(tree), commit], check=False
    )
    if added.returncode:
        sys.exit(f"git has no commit {commit}, or cannot check it out into {tree}")
    try:
        if (ROOT.parent / "shared").is_dir() and not data.exists():
            data.symlink_to(ROOT.parent / "shared")
        yield tree
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)


def _figure(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure over all rounds: value, reference and ratio are median, smallest and largest."""
    figure = {"name": lines[0]["name"], "unit": lines[0]["unit"], "reference": lines[0]["reference"]}
    for key in ("value", "reference_value", "ratio"):
        values = [line[key] for line in lines if line[key] is not None]
        figure[key] = [statistics.median(values), min(values), max(values)] if values else None
    return figure


def verdict(unit: str, before: list[float], now: list[float]) -> str:
    """Whether a figure became `faster` or `slower`, or lies `within the noise`.

    Args:
      unit: decides whether less is better.
      before: median, smallest and largest.
      now: likewise.
    """
    apart = now[1] > before[2] or now[2] < before[1]
    if not apart or abs(now[0] - before[0]) <= _LEAST_CHANGE * abs(before[0]):
        return "within the noise"
    return "faster" if (now[0] < before[0]) == (re.split("[ /,]", unit)[0] in _COSTS) else "slower"


def _facts(rounds: int, compared: str | None) -> dict[str, Any]:
    described = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.date.today().isoformat(),
        "commit": described.stdout.strip(),
        **({"compared_with": compared} if compared else {}),
        "machine": f"{model}, {len(os.sched_getaffinity(0))} cores, {memory / 1e9:.0f} GB",
        "versions": {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "rounds": rounds,
    }


def _table(facts: dict[str, Any], figures: list[dict[str, Any]], compared: bool) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        f"{facts['date']}, commit {facts['commit'] or 'unknown'}, {facts['machine']}; {versions}; medians of "
        f"{facts['rounds']} rounds (smallest to largest).",
        "",
        "| name | measured | reference | ratio |" + (" before | |" if compared else ""),
        "|---|---|---|---|" + ("---|---|" if compared else ""),
    ]
    for figure in figures:
        reference = figure["reference"]
        if figure["reference_value"]:
            reference = f"{_spread(figure['reference_value'])}: {reference}"
        cells = [
            f"`{figure['name']}`",
            f"{_spread(figure['value'])} {figure['unit']}",
            reference,
            _spread(figure["ratio"]),
        ]
        if compared:
            cells += [_spread(figure.get("before")), figure.get("verdict", "new")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float] | None) -> str:
    if values is None:
        return ""
    median, smallest, largest = (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}" for value in values)
    return median if smallest == largest else f"{median} ({smallest} to {largest})"


if __name__ == "__main__":
    main()
