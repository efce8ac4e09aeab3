"""The section `beam` of the configuration."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pydantic

from data.base.section import Section
from data.base.variants import check_options, find_variant
from pipeline.runners.beam import RUNNERS
from pipeline.runners.beam.base import Runner
from pipeline.runners.beam.direct import DirectRunner

# The components that are Beam pipelines.
Component = Literal["ImportExampleGen", "StatisticsGen", "DataGate", "Transform", "Evaluator"]
COMPONENTS: tuple[Component, ...] = get_args(Component)
# Keys that the section had when it held the options of all runners side by side.
_MOVED = {
    "flink": "options",
    "spark": "options",
    "dataflow": "options",
    "workers": "options.workers",
    "environment": "options.environment",
}


class RunnerSettings(Section):
    """How Beam runs a step.

    Attributes:
      runner: where Beam runs: `direct`, this machine, or one of the runners in docs/scaling.md; or your own by import
        path, `package.module:Class`.
      options: the runner's own options.
      arguments: further Beam pipeline options, as on Beam's own command lines: `--name=value`.
    """

    runner: str = "direct"
    options: pydantic.SerializeAsAny[Runner] = DirectRunner()
    arguments: list[str] = []

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        moved = [f"the key {key} is now {_MOVED[key]}" for key in _MOVED if key in values]
        if moved:
            raise ValueError("; ".join(moved))
        return {"options": {}, **values}  # The default is that of the runner.

    @pydantic.field_validator("runner")
    @classmethod
    def _check_runner(cls, name: str) -> str:
        _find(name)
        return name

    @pydantic.field_validator("options", mode="plain")
    @classmethod
    def _read_options(cls, value: Any, info: pydantic.ValidationInfo) -> Runner:
        name = info.data.get("runner")
        if name is None:  # The error is another key's.
            return DirectRunner()
        variant = _find(name)
        if isinstance(value, dict):
            check_options(value, variant.model_fields, f"runner {name}")
        return variant.model_validate(value)

    @pydantic.field_validator("arguments")
    @classmethod
    def _check_arguments(cls, arguments: list[str]) -> list[str]:
        if any(argument.startswith("--runner") for argument in arguments):
            raise ValueError("the runner is beam.runner, not one of the arguments")
        return arguments

    def pipeline_arguments(self, job: str) -> list[str]:
        """Beam pipeline options.

        Args:
          job: name of the job, for the cluster's user interface.
        """
        # Of an option that is given twice Beam takes the last value, but of an experiment the first.
        experiments = [argument for argument in self.arguments if argument.startswith("--experiments=")]
        others = [argument for argument in self.arguments if argument not in experiments]
        return [*experiments, *self.options.pipeline_arguments(job), *others]


class BeamSettings(RunnerSettings):
    """How Beam runs the data steps.

    Attributes:
      components: settings of single components. They override those above key by key; a component with another runner
        starts from that runner's default options.
    """

    components: dict[Component, RunnerSettings] = {}

    @pydantic.field_validator("components", mode="before")
    @classmethod
    def _add_common(cls, components: Any, info: pydantic.ValidationInfo) -> Any:
        if not isinstance(components, dict):
            return components
        if not {"runner", "options", "arguments"} <= info.data.keys():  # The errors are other keys'.
            return {}
        common = {**info.data, "options": info.data["options"].model_dump()}
        return {name: _merged(common, own) if isinstance(own, dict) else own for name, own in components.items()}

    def component(self, name: str) -> RunnerSettings:
        """How one component runs."""
        return {str(key): settings for key, settings in self.components.items()}.get(name, self)

    def runners(self) -> list[Runner]:
        """The different runners of all components."""
        found: list[Runner] = []
        for name in COMPONENTS:
            runner = self.component(name).options
            found += [] if runner in found else [runner]
        return found

    def check(self) -> None:
        """Checks that what runs the components' jobs is there, before anything starts.

        Raises:
          UserError: if it is not, saying what is missing and what to do.
        """
        for runner in self.runners():
            runner.check()

    def caveats(self) -> list[str]:
        """What users should know of the runners of this configuration before they rely on them."""
        return list(dict.fromkeys(runner.caveat for runner in self.runners() if runner.caveat))


def _find(name: str) -> type[Runner]:
    return find_variant(name, RUNNERS, Runner, "Beam runner")  # type: ignore[type-abstract]


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The keys of both, at each level; `own` takes precedence."""
    if own.get("runner", common.get("runner")) != common.get("runner"):
        common = {key: value for key, value in common.items() if key != "options"}
    nested = {
        key: _merged(common[key], value)
        for key, value in own.items()
        if isinstance(value, dict) and isinstance(common.get(key), dict)
    }
    return {**common, **own, **nested}
