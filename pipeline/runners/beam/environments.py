"""What runs segpipe's code on the workers of a cluster."""

from __future__ import annotations

import importlib.metadata
import pathlib
from typing import Literal

import pydantic

from data.base.errors import UserError
from data.base.section import Section
from pipeline.runners.beam.base import Address

_ROOT = pathlib.Path(__file__).parents[3]


class _Environment(Section):
    """What all kinds have.

    Attributes:
      kind: `docker`, `packages` or more.
      image: container image with segpipe and Beam's boot program.
    """

    kind: str
    image: str = ""

    @pydantic.model_validator(mode="after")
    def _check_image(self) -> _Environment:
        if (self.kind == "docker") != bool(self.image):
            raise ValueError("kind: docker and image belong together")
        return self

    def pipeline_arguments(self) -> list[str]:
        """Beam pipeline options."""
        if self.kind == "docker":
            return [f"--sdk_container_image={self.image}"]
        return [
            f"--setup_file={_ROOT / 'setup.py'}",
            f"--requirements_file={_constraints()}",
            "--requirements_cache=skip",  # Workers fetch the packages from their own index, not from here.
        ]

    def check(self) -> None:
        """Checks that what is packed for the workers is here.

        Raises:
          UserError: if it is not.
        """
        if self.kind == "packages":
            _constraints()


class ContainerEnvironment(_Environment):
    """What runs segpipe's code on workers that the cluster starts itself.

    Attributes:
      kind: `docker`, a container of `image`; or `packages`, Beam's own image, in which each worker first installs the
        pinned packages and segpipe.
      image: container image with segpipe and Beam's boot program.
    """

    kind: Literal["docker", "packages"] = "packages"


class WorkerEnvironment(_Environment):
    """What runs segpipe's code beside each worker of a Flink or Spark cluster.

    Attributes:
      kind: `pool`, a Beam worker pool at `pool`: on Kubernetes a sidecar with segpipe's image; `docker`, a container of
        `image`, which the worker starts; or `packages`, Beam's own image, in which each worker first installs the
        pinned packages and segpipe.
      pool: `host:port`, as seen from the worker.
      image: container image with segpipe and Beam's boot program.
    """

    kind: Literal["pool", "docker", "packages"] = "pool"
    pool: Address = "localhost:50000"

    def pipeline_arguments(self) -> list[str]:
        if self.kind == "pool":
            return [
                "--environment_type=EXTERNAL",
                f"--environment_config={self.pool}",
                "--sdk_container_image=none",  # Otherwise TFX would package itself for the workers.
            ]
        return [*(["--environment_type=DOCKER"] if self.kind == "docker" else []), *super().pipeline_arguments()]


def _constraints() -> pathlib.Path:
    """The pinned packages of the TFX line that is installed here."""
    line = ".".join(importlib.metadata.version("tfx").split(".")[:2])
    path = _ROOT / "constraints" / f"tfx-{line}.txt"
    if not path.exists():
        raise UserError(f"{path} does not exist; environment.kind: packages needs a checkout of segpipe")
    return path
