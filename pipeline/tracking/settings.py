"""What can be configured about trackers of experiments."""

from __future__ import annotations

import importlib.util
import urllib.parse
from typing import Annotated

import pydantic

from data.base.errors import UserError
from data.base.section import Section


class MlflowSettings(Section):
    """A server of MLflow that gets each run; who may write there is said by MLflow's own environment variables.

    Attributes:
      uri: of the server, as MLflow has it, such as `http://127.0.0.1:5000`.
      experiment: whose runs they are; by default the pipeline's name. It is made if there is none.
      model_megabytes: a pushed model is uploaded if it is not larger; 0 for never.
    """

    uri: Annotated[str, pydantic.Field(min_length=1)]
    experiment: str = ""
    model_megabytes: Annotated[float, pydantic.Field(ge=0)] = 500.0

    # Of the whole section, as a message about a key shows its value.
    @pydantic.model_validator(mode="after")
    def _without_password(self) -> MlflowSettings:
        if urllib.parse.urlsplit(self.uri).username is not None:
            raise ValueError(
                "uri must not hold who may write there; MLflow takes that from the environment variables "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        return self


class TrackSettings(Section):
    """Which trackers of experiments get a run; one that is down fails no run.

    Attributes:
      mlflow: MLflow; not without this section.
    """

    mlflow: MlflowSettings | None = None

    def require_packages(self) -> None:
        """Raises a UserError if a tracker's package is missing."""
        if self.mlflow and importlib.util.find_spec("mlflow") is None:
            raise UserError("track.mlflow: the package mlflow-skinny is missing: pip install 'segpipe[mlflow]'")
