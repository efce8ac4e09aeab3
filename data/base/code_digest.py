"""Digests of the code that components run: TFX's cache knows of data and settings, not of code."""

from __future__ import annotations

import ast
import hashlib
import pathlib
import subprocess
from collections.abc import Iterable

_ROOT = pathlib.Path(__file__).parents[2]
_ROOMS = ("data", "models", "components", "pipeline")


def code_digest(modules: Iterable[str], files: Iterable[pathlib.Path] = (), root: pathlib.Path = _ROOT) -> str:
    """A digest of modules, of everything of segpipe's that they import, and of further files.

    Args:
      modules: names; those outside segpipe's folders do not count.
      files: that the code reads.
      root: folder that holds segpipe's folders.
    """
    paths: set[pathlib.Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = _path(module, root)
        waiting += [module.rpartition(".")[0]] if "." in module else []
        if path is not None and path not in paths:
            paths.add(path)
            waiting += _imported(path)
    digest = hashlib.sha256()
    for path in sorted(paths.union(files)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def tree_digest(root: pathlib.Path = _ROOT) -> str:
    """A digest of all of segpipe's code and the files beside it."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def code_version(root: pathlib.Path = _ROOT) -> str:
    """What git calls the commit, with `-dirty` where files differ from it; "" where there is no git work tree."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if (root / ".git").exists() else ""


def _path(module: str, root: pathlib.Path) -> pathlib.Path | None:
    parts = module.split(".")
    if parts[0] not in _ROOMS:
        return None
    places = (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py"))
    return next((path for path in places if path.is_file()), None)


def _imported(path: pathlib.Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
