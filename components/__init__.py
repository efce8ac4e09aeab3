"""What TFX lacks: one file per component, each usable in another TFX pipeline."""

import os
from typing import Any

# Before TensorFlow starts: else the first process on a GPU takes all of its memory, and the evaluator or the serving
# check, which are others, find none.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def __getattr__(name: str) -> Any:
    # Kubeflow finds an artifact type by its TYPE_NAME, `module.Class` with one dot; importing it here at once would
    # import TFX wherever a component's helper is used.
    if name == "DataStatistics":
        from components.data_gate import DataStatistics

        return DataStatistics
    if name == "CheckedThresholds":
        from components.threshold_check import CheckedThresholds

        return CheckedThresholds
    if name == "RunReport":
        from components.report.component import RunReport

        return RunReport
    raise AttributeError(f"module {__name__} has no attribute {name}")
