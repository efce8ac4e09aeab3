"""Which run a report is of, so that a file that somebody has can be found among the runs."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types

from components.pusher import REASON_PROPERTY
from components.serving_check import REASON_PROPERTY as SERVING_REASON
from data.base.code_digest import code_name
from data.base.variants import import_paths
from data.spans import INPUTS_PROPERTY
from models.evaluation.gate import Verdict, why_not_pushed

# Folders of a data set that are named; of more, such as many spans, the first and the last.
_NAMED_FOLDERS = 5


def identity(
    run: str, inputs: dict[str, types.Artifact], configuration: dict[str, Any], verdict: Verdict
) -> dict[str, Any]:
    """What tells a run from all others.

    Args:
      run: its name.
      inputs: of the component, by name.
      configuration: of the run.
      verdict: the gate's.

    Returns:
      `run`; `version`, "" if none was pushed, then for the reasons `why_not_pushed`; `data_set`, where it is;
      `commit` and `code`, git's name of the commit, "" without git, and a digest of all code.
    """
    pushed = inputs["pushed_model"]
    is_pushed = bool(pushed.get_int_custom_property("pushed"))
    serving = inputs["infra_blessing"].get_string_custom_property(SERVING_REASON)
    reasons = why_not_pushed(verdict, serving, pushed.get_string_custom_property(REASON_PROPERTY))
    commit, _, code = code_name(import_paths(configuration)).rpartition(" ")
    return {
        "run": run,
        "version": pushed.get_string_custom_property("pushed_version") if is_pushed else "",
        "why_not_pushed": [] if is_pushed else reasons,
        "data_set": _data_set(inputs["examples"]) or configuration["data"]["input"],
        "commit": commit,
        "code": code,
    }


def _data_set(examples: types.Artifact) -> str:
    """The folder of the examples; of several that are in one, that folder and their names."""
    of_splits = json.loads(examples.get_string_custom_property(INPUTS_PROPERTY) or "{}")
    folders = sorted({folder for found in of_splits.values() for folder in found}, key=lambda path: (len(path), path))
    parents = {os.path.dirname(folder) for folder in folders}
    shared = f"{parents.pop()}/" if len(folders) > 1 and len(parents) == 1 else ""
    names = [folder.removeprefix(shared) for folder in folders]
    if len(names) > _NAMED_FOLDERS:
        names[1:-1] = [f"… {len(names) - 2} others …"]
    return (f"{shared}: " if shared else "") + ", ".join(names)
