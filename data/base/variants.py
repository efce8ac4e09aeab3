"""Variants: the kinds in which something comes, each of which declares itself; a user's own has an import path."""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import pydantic

from data.base.errors import did_you_mean

Variant = TypeVar("Variant")

_NAME = r"[^\W\d]\w*"
_IMPORT_PATH = re.compile(rf"({_NAME})(\.{_NAME})*:{_NAME}")


def is_import_path(name: str) -> bool:
    """Whether a name is that of a user's own variant, `package.module:Class`."""
    return _IMPORT_PATH.fullmatch(name) is not None


def find_variant(name: str, variants: Mapping[str, type[Variant]], base: type[Variant], what: str) -> type[Variant]:
    """The class that declares a variant.

    Args:
      name: a key of `variants`, or the import path of a user's own, `package.module:Class`.
      variants: the classes that segpipe has, by name.
      base: what all of them derive from, a user's own too.
      what: what they are variants of, for messages, such as `encoder`.

    Raises:
      ValueError: if there is no such variant, or the import path does not lead to one.
    """
    if not is_import_path(name):
        if name in variants:
            return variants[name]
        raise ValueError(
            f"there is no {what} {name!r}{did_you_mean(name, variants)}; there are {', '.join(variants)}, and your own "
            "by import path, package.module:Class"
        )
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # The module is a user's, so it may raise anything.
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{name}: there is no module {error.name}; install it, or add the folder that holds it to PYTHONPATH"
            ) from None
        raise ValueError(
            f"{name}: importing {module_name} failed: {type(error).__name__}: {error}{_place(error)}"
        ) from None
    file = getattr(module, "__file__", None) or module_name
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"{name}: {file} has no {class_name}")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{name}: {class_name} in {file} must be a class that derives from {_path_of(base)}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ValueError(f"{name}: {class_name} in {file} must implement {missing}, as {_path_of(base)} describes it")
    return found


def check_options(options: Iterable[str], known: Collection[str], whose: str) -> None:
    """Raises a ValueError if there is an option that is not known; the message names those that are.

    Args:
      options: names in the configuration.
      known: names that the variant declares.
      whose: the variant, for messages, such as `loss dice`.
    """
    for name in options:
        if name not in known:
            options = f"its options are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{name} is not an option of {whose}; {options}")


def import_paths(values: Any) -> list[str]:
    """All strings that read as import paths of variants, among keys and values of sections, dictionaries and lists."""
    return sorted(set(_import_paths(values)))


def _import_paths(values: Any) -> Iterable[str]:
    if isinstance(values, pydantic.BaseModel):
        values = values.model_dump()
    if isinstance(values, str):
        return [values] if is_import_path(values) else []
    if isinstance(values, Mapping):
        values = [*values.keys(), *values.values()]
    return [path for value in values for path in _import_paths(value)] if isinstance(values, list | tuple) else []


def _place(error: BaseException) -> str:
    """Where a module failed: the file and line that raised."""
    if isinstance(error, SyntaxError):  # Its message says so itself.
        return ""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({frame.filename}, line {frame.lineno})"


def _path_of(base: type) -> str:
    return f"{base.__module__}.{base.__qualname__}"
