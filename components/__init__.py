"""What TFX lacks: one file per component, each usable in another TFX pipeline."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Kubeflow finds an artifact type by its TYPE_NAME, `module.Class` with one dot; importing it here at once would
    # import TFX wherever a component's helper is used.
    if name == "DataStatistics":
        from components.data_gate import DataStatistics

        return DataStatistics
    raise AttributeError(f"module {__name__} has no attribute {name}")
