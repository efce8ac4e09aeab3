"""Values that do not belong into a configuration."""

from __future__ import annotations

import os
import pathlib

import pydantic

from data.base.errors import UserError
from data.base.section import Section


class Secret(Section):
    """A value that does not belong into a configuration; exactly one of the two says where it is.

    Attributes:
      environment: name of an environment variable.
      file: path of a file; white space at its end does not count.
    """

    environment: str = ""
    file: str = ""

    @pydantic.model_validator(mode="after")
    def _check_one(self) -> Secret:
        if bool(self.environment) == bool(self.file):
            raise ValueError("takes either environment, the name of a variable, or file, a path")
        return self

    def read(self, key: str) -> str:
        """The value.

        Args:
          key: of the configuration, for the message.

        Raises:
          UserError: if it is not there.
        """
        if self.environment:
            if not os.environ.get(self.environment):
                raise UserError(f"{key}: the environment variable {self.environment} is not set")
            return os.environ[self.environment]
        try:
            value = pathlib.Path(self.file).read_text(encoding="utf-8").rstrip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{key}: cannot read {self.file}: {getattr(error, 'strerror', 'it is not a text file')}"
            ) from None
        if not value:
            raise UserError(f"{key}: {self.file} is empty")
        return value
