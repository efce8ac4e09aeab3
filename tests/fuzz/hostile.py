"""Makes label files wrong: values of other kinds, numbers that cannot be, parts that are missing or there twice."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 3, 0.5, -0.0, 1e308, -1e308, 1e-320, 10**12, 2**31, 2**63, 2**64, 10**30,
    float("nan"), float("inf"), "", " ", "a\0b", "../../etc/passwd", "..", "/etc/passwd", "..\\..\\x.png", "x" * 5000,
    "\u202e\u0301", "\ud800", "1e400", "0x10", "1_0", "1,5", "true", "١", "{0}%s", [], {}, [[]], [1, 2], [[1, 2]],
    [[1, 2], [3]], [None] * 6, [1e9] * 6, [[1e9, 0, 0, 1e9, 5, 5]], ["a"] * 6, {"a": {"b": []}}, [0, 10**12],
    {"size": [10**9, 10**9], "counts": [10**18]}, {"size": [-1, -1], "counts": []}, {"counts": "PPPP", "size": [4, 4]},
    "data:image/png;base64,", "[[[[", "<!ENTITY", "@DEEP@", "@DEEP@", "@LONG@",
]  # fmt: skip
# What is too large for Python to make of values; each as JSON and as text.
_LARGE = {"@DEEP@": "[" * 50_000 + "]" * 50_000, "@LONG@": "[" + "1e5,7," * 50_000 + "3]"}
_ATTRIBUTE = re.compile(r'"[^"<>]*"|(?<=>)[^<>]+(?=<)')
_ELEMENT = re.compile(r"<(\w+)[^<>]*(/>|>[^<>]*</\1>)")
_WORD = re.compile(r"[^\s:\[\]{},]+")


def wrong(path: str, content: bytes, rng: np.random.Generator) -> bytes:
    """A label file with one to three things in it that are wrong."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        if path.endswith(".json"):
            content = _json(content, rng)
        elif path.endswith(".xml"):
            content = _text(content, rng, (_ATTRIBUTE, _ELEMENT))
        else:
            content = _text(content, rng, (_WORD,))
    return content


def _json(content: bytes, rng: np.random.Generator) -> bytes:
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # As it is wrong already.
        return content
    places: list[tuple[Any, Any]] = []
    _collect(value, places)
    if not places:
        return content
    holder, key = places[rng.integers(len(places))]
    kind = rng.choice(["replace", "replace", "replace", "delete", "twice", "other"])
    if kind == "replace":
        holder[key] = VALUES[rng.integers(len(VALUES))]
    elif kind == "delete":
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        # What stands somewhere else.
        other, place = places[rng.integers(len(places))]
        holder[key] = json.loads(json.dumps(other[place]))
    text = json.dumps(value)
    for name, large in _LARGE.items():
        text = text.replace(f'"{name}"', large)
    return text.encode()


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Where values are, without most of the numbers in long lists."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys)[:60]:
        places.append((value, key))
        if not isinstance(value, list) or key < 8:
            _collect(value[key], places)


def _text(content: bytes, rng: np.random.Generator, patterns: tuple[re.Pattern[str], ...]) -> bytes:
    text = content.decode("utf-8", "surrogateescape")
    found = list(patterns[rng.integers(len(patterns))].finditer(text))
    if not found:
        return content
    part = found[rng.integers(len(found))]
    value = str(VALUES[rng.integers(len(VALUES))])
    for name, large in _LARGE.items():
        value = value.replace(name, large.strip("[]") or "[" * 1000)
    quote = part[0][0] if part[0].startswith('"') else ""
    kind = rng.choice(["replace", "replace", "replace", "delete", "twice", "line"])
    new = {"replace": quote + value + quote, "delete": 2 * quote, "twice": 2 * part[0], "line": f"\n{part[0]}\n"}[kind]
    text = text[: part.start()] + new + text[part.end() :]
    return text.encode("utf-8", "surrogateescape" if "\ud800" not in text else "surrogatepass")
