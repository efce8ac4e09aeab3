"""Digests of the code that components run: TFX's cache knows about data and settings, not about code."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib
import re
import subprocess
from collections.abc import Iterable

_ROOT = pathlib.Path(__file__).parents[2]
_ROOMS = ("data", "models", "components", "pipeline")
_IMPORTS = re.compile(r"^[ \t]*(?:from +([\w.]+) +import +(\([^)]*\)|.*)|import +(.*))", re.MULTILINE)
_NAMES = re.compile(r"[\w.]+")


def code_digest(
    modules: Iterable[str],
    files: Iterable[pathlib.Path] = (),
    import_paths: Iterable[str] = (),
    root: pathlib.Path = _ROOT,
) -> str:
    """A digest of modules, of everything in segpipe that they import, of users' own code, and of further files.

    Args:
      modules: names; those outside segpipe's folders do not count.
      files: read by the code; those outside segpipe's folders count by their names and contents, not by their places.
      import_paths: of variants, `package.module:Class`. All Python files of the package count, wherever it is; a string
        that leads to none does not.
      root: folder that holds segpipe's folders.
    """
    import_paths = list(import_paths)
    paths: set[pathlib.Path] = set()
    seen: set[str] = set()
    waiting = [*modules, *(path.partition(":")[0] for path in import_paths)]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _path(module, root)
        waiting += [module.rpartition(".")[0]] if "." in module else []
        if path is not None and path not in paths:
            paths.add(path)
            waiting += _imported(path.read_bytes())
    named = {(_name(path, root), path) for path in paths.union(files)}
    return _digest(named.union(_own_files(import_paths).items()))


def tree_digest(import_paths: Iterable[str] = (), root: pathlib.Path = _ROOT) -> str:
    """A digest of all of segpipe's code, the files beside it, and users' own code.

    Args:
      import_paths: as in `code_digest`.
      root: folder that holds segpipe's folders.
    """
    paths = [path for room in _ROOMS for path in (root / room).rglob("*")]
    files = {_name(path, root): path for path in paths if path.is_file() and "__pycache__" not in path.parts}
    return _digest({**files, **_own_files(import_paths)}.items())


def code_name(import_paths: Iterable[str] = ()) -> str:
    """What tells code from any other: git's name of the commit, where there is one, and `tree_digest`."""
    return " ".join(filter(None, (code_version(), tree_digest(import_paths))))


def code_version(root: pathlib.Path = _ROOT) -> str:
    """What git calls the commit, with `-dirty` where files differ from it; "" where there is no git work tree."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if (root / ".git").exists() else ""


def _digest(files: Iterable[tuple[str, pathlib.Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files):
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _name(path: pathlib.Path, root: pathlib.Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _own_files(import_paths: Iterable[str]) -> dict[str, pathlib.Path]:
    """The Python files of the packages, or the single modules, that import paths begin with; segpipe's are left out."""
    files: dict[str, pathlib.Path] = {}
    for package in {path.partition(":")[0].partition(".")[0] for path in import_paths}.difference(_ROOMS):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # ValueError: of modules without one, such as __main__.
            continue
        if spec is None:
            continue
        if spec.submodule_search_locations is None:
            places = [pathlib.Path(spec.origin or "")]
            files |= {path.name: path for path in places if path.suffix == ".py"}
            continue
        for folder in map(pathlib.Path, spec.submodule_search_locations):
            files |= {f"{package}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    return files


@functools.cache
def _path(module: str, root: pathlib.Path) -> pathlib.Path | None:
    parts = module.split(".")
    if parts[0] not in _ROOMS:
        return None
    places = (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py"))
    return next((path for path in places if path.is_file()), None)


@functools.cache  # Each component's digest is of much the same files.
def _imported(code: bytes) -> set[str]:
    """Modules that code may import, and names that are none; parsing all of segpipe would take a second."""
    names = set()
    for package, members, modules in _IMPORTS.findall(code.decode()):
        names.update(_NAMES.findall(modules))
        names.update([package] if package else [], (f"{package}.{member}" for member in _NAMES.findall(members)))
    return names
