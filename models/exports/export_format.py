"""What every form of an exported network is: how it is made, and how it is run."""

from __future__ import annotations

import abc
import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from data.base.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from models.exports.network import Network


class Maps(NamedTuple):
    """What a network gives of a batch.

    Attributes:
      class_ids: [batch, height, width] uint8.
      confidence: [batch, height, width] float32.
      logits: [batch, height, width, C] float32, of which whoever wants maps of another size makes them.
    """

    class_ids: np.ndarray
    confidence: np.ndarray
    logits: np.ndarray


# Of [batch, height, width, channels] pixels.
Segment = Callable[["np.ndarray"], Maps]
# The name of the file's own description: a member of the file, or one of its properties.
DESCRIPTION = "segpipe.json"


class ExportFormat(abc.ABC):
    """A form of the network.

    Attributes:
      file: the name of the file.
      runtime: the package that runs it.
      packages: what making and running it imports, beside segpipe's own packages.
      is_quantized: whether the network computes in integers, whose ranges are found on training images.
    """

    file: ClassVar[str]
    runtime: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    is_quantized: ClassVar[bool] = False

    @classmethod
    def require_packages(cls) -> None:
        """Raises a UserError if something is missing that this form is made or run with."""
        missing = [package for package in cls.packages if importlib.util.find_spec(package) is None]
        if missing:
            raise UserError(f"{cls.file} is made with {' and '.join(missing)}: pip install 'segpipe[export]'")

    @classmethod
    def runs_here(cls) -> bool:
        """Whether what runs it is installed."""
        return importlib.util.find_spec(cls.runtime) is not None

    @abc.abstractmethod
    def convert(self, network: Network, images: list[np.ndarray], description: dict[str, Any]) -> bytes:
        """Makes the file.

        Args:
          network: what to export.
          images: training images, each [height, width, channels] as the network takes them, to find ranges of values;
            none where no form of those that are made is quantized.
          description: what a user of the file alone has to know, which it carries.
        """

    def companions(self, description: dict[str, Any]) -> dict[str, str]:
        """What a server of models takes beside the file: names of files to texts."""
        return {}

    @abc.abstractmethod
    def load(self, path: str) -> Segment:
        """The network in that file, ready to run on all cores.

        Raises:
          Exception: nearly anything, if the file is damaged.
        """

    @abc.abstractmethod
    def description(self, path: str) -> dict[str, Any]:
        """What `convert` put into the file."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
