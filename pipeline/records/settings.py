"""What can be configured about where runs are recorded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from data.base.secret import Secret
from data.base.section import Section


class MetadataSettings(Section):
    """Where runs are recorded.

    Attributes:
      database: `sqlite` is a file in the output folder; `mysql` is a MySQL or MariaDB server, which several machines
        may share.
      host: the server's name or address.
      port: the server's port.
      name: the database on the server; it is created if it does not exist and the user may create it.
      user: who connects.
      password: the user's password.
    """

    database: Literal["sqlite", "mysql"] = "sqlite"
    host: Annotated[str, pydantic.Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, pydantic.Field(ge=1, le=65535)] = 3306
    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_]+$")] = "segpipe"
    user: str = ""
    password: Secret | None = None

    @pydantic.field_validator("database", mode="before")
    @classmethod
    def _not_postgresql(cls, database: Any) -> Any:
        if database == "postgresql":
            raise ValueError(
                "PostgreSQL is not supported, because ML Metadata breaks on texts with backslashes there; use mysql, a "
                "MySQL or MariaDB server"
            )
        return database
