"""What a Beam runner says about itself."""

from __future__ import annotations

import socket
from typing import Annotated, ClassVar

import pydantic

from data.base.errors import UserError
from data.base.section import Section

Address = Annotated[str, pydantic.Field(pattern=r"^[^:/\s]+:\d+$")]
TIMEOUT_SECONDS = 10.0
# Otherwise each job carries a list of the packages here, which Beam asks pip for: environments made by uv have no pip.
NO_PACKAGE_LIST = "--experiments=disable_logging_submission_environment"


class Runner(Section):
    """A Beam runner: its fields are its options, the section `beam.options` of the configuration.

    Attributes:
      caveat: what users of this runner should know before they rely on it; shown when it is used.
    """

    caveat: ClassVar[str] = ""

    @property
    def needs_checkout(self) -> bool:
        """Whether segpipe is packed for the workers, which takes a checkout where the job is submitted."""
        return False

    def pipeline_arguments(self, job: str) -> list[str]:
        """Beam pipeline options.

        Args:
          job: name of the job, for the cluster's user interface.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Checks that what runs the jobs is there, before anything starts.

        Raises:
          UserError: if it is not, saying what is missing and what to do.
        """


def is_address(text: str) -> bool:
    """Whether a text is `host:port`."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()


def check_reachable(address: str, what: str, key: str) -> None:
    """Checks that something listens at an address.

    Args:
      address: `host:port`.
      what: what should be there, for the message.
      key: of the configuration, for the message.

    Raises:
      UserError: if nothing does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), TIMEOUT_SECONDS).close()
    except OSError as error:
        raise UserError(f"{what} at {address} cannot be reached ({error}); start it, or change {key}") from None
