"""What can be configured about where runs are recorded."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from data.base.secret import Secret
from data.base.section import Section


class MetadataSettings(Section):
    """Where runs are recorded.

    Attributes:
      database: `sqlite` is a file in the output folder; the others, of which `mysql` is MariaDB, too, are servers that
        several machines may share.
      host: of the server.
      port: by default 3306 for `mysql` and 5432 for `postgresql`.
      name: of the database, which is made if it is not there and the user may.
      user: of the database.
      password: of the user.
    """

    database: Literal["sqlite", "mysql", "postgresql"] = "sqlite"
    host: Annotated[str, pydantic.Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 0
    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_]+$")] = "segpipe"
    user: str = ""
    password: Secret | None = None
