"""Versions of the packages that results depend on."""

from __future__ import annotations

import importlib.metadata
import platform

_PACKAGES = ("tfx", "tensorflow", "keras", "tensorflow-transform", "tensorflow-model-analysis", "apache-beam")


def package_versions() -> dict[str, str]:
    """The installed versions by package, Python's first."""
    return {
        "Python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }
