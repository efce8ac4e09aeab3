"""Variants: the kinds in which something comes, each of which declares itself; a user's own has an import path."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Mapping
from typing import TypeVar

Variant = TypeVar("Variant")


def is_import_path(name: str) -> bool:
    """Whether a name is that of a user's own variant, `package.module:Class`."""
    return ":" in name


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
            f"there is no {what} {name!r}; there are {', '.join(variants)}, and your own by import path, "
            "package.module:Class"
        )
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # The module is a user's, so it may raise anything.
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{name}: there is no module {error.name}; install it, or put its folder into PYTHONPATH"
            ) from None
        line = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{line.filename}, line {line.lineno}"
        raise ValueError(f"{name}: importing {module_name} failed: {type(error).__name__}: {error} ({place})") from None
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        problem = "has no" if found is None else f"has no class of {base.__module__}.{base.__qualname__} called"
        raise ValueError(f"{name}: {module.__file__} {problem} {class_name}")
    return found
