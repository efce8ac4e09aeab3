"""Beam's direct runner: this machine."""

from __future__ import annotations

from typing import Annotated

import pydantic

from pipeline.runners.beam.base import Runner


class DirectRunner(Runner):
    """This machine.

    Attributes:
      workers: processes; 1 runs everything in the main process.
    """

    workers: Annotated[int, pydantic.Field(ge=1)] = 1

    def pipeline_arguments(self, job: str) -> list[str]:
        mode = "in_memory" if self.workers == 1 else "multi_processing"
        return [
            f"--direct_running_mode={mode}",
            f"--direct_num_workers={self.workers}",
            # Starts faster; newer versions of Beam have it as their default.
            "--pickle_library=cloudpickle",
            # Starts faster; users of segpipe cannot get types wrong.
            "--no_pipeline_type_check",
            # Nothing uses it. Without it, TFX would package itself for remote workers, each time.
            "--sdk_container_image=none",
        ]
