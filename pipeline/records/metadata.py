"""Where runs are recorded: ML Metadata in a SQLite file, or in a MySQL or MariaDB server."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2

from data.base.errors import UserError
from pipeline.config import Config

_LOG = logging.getLogger("segpipe.metadata")
_ATTEMPTS = 10
_CONFLICT = "try restarting transaction"
_BUSY, _REFUSED = "Concurrent writes aborted", "Access denied"


class Store:
    """ML Metadata's `MetadataStore` with the same methods, which are repeated when two clients change the same rows.

    ML Metadata's own client repeats what its server side reports as aborted, which is a deadlock in MySQL. Everything
    else is final to it, and so is what MariaDB from 11.6 on answers to a transaction that reads what another one has
    just changed (error 1020). Each method is one transaction, which the server has rolled back when it says so.

    Args:
      store: to call.
    """

    def __init__(self, store: metadata_store.MetadataStore):
        self._store = store

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return _repeated(value) if callable(value) else value


def _repeated(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        for attempt in range(_ATTEMPTS):
            try:
                return method(*arguments, **options)
            except errors.InternalError as error:
                if _CONFLICT not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
                _LOG.info("%s conflicts with another client and is repeated", method.__name__)
                time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
        raise AssertionError("unreachable")

    return call


@dataclasses.dataclass(frozen=True)
class Database:
    """A database of ML Metadata.

    Attributes:
      connection: what ML Metadata connects with; it may hold a password.
      description: the database's name in messages.
      remedy: what a user can do if it cannot be opened.
    """

    connection: metadata_store_pb2.ConnectionConfig = dataclasses.field(repr=False)
    description: str
    remedy: str

    @property
    def exists(self) -> bool:
        """False for a SQLite file that no run has made yet."""
        return not self.connection.HasField("sqlite") or os.path.exists(self.connection.sqlite.filename_uri)

    @property
    def password(self) -> str:
        """The password in the connection, "" if there is none."""
        return self.connection.mysql.password

    def open(self, read_only: bool = False) -> Store:
        """Connects to the database.

        Args:
          read_only: neither create nor change a SQLite file.

        Raises:
          UserError: if that fails.
        """
        connection = metadata_store_pb2.ConnectionConfig()
        connection.CopyFrom(self.connection)
        if read_only and connection.HasField("sqlite"):
            connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        for attempt in range(_ATTEMPTS):
            try:
                return Store(metadata_store.MetadataStore(connection))
            except (errors.StatusError, RuntimeError) as error:
                # Clients that create the tables at the same moment get in each other's way, servers restart, and a
                # SQLite file may be written just now.
                is_final = _BUSY not in str(error) if connection.HasField("sqlite") else _REFUSED in str(error)
                if is_final or attempt == _ATTEMPTS - 1:
                    raise self.failure(error) from None
                time.sleep(random.random())
        raise AssertionError("unreachable")

    def failure(self, error: Exception) -> UserError:
        """An error of ML Metadata in words."""
        text = " ".join(str(error).split()) or type(error).__name__
        return UserError(f"the metadata in {self.description} cannot be used: {text}\n{self.remedy}")


def is_failure(error: BaseException) -> bool:
    """Whether an error came from ML Metadata."""
    return isinstance(error, errors.StatusError)


def sqlite_database(path: str) -> Database:
    """The database in a file, which the first run creates."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = path
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return Database(
        connection,
        path,
        "If the file is damaged, move it and the folder artifacts beside it away; the next run then starts afresh, and "
        "models that were pushed stay",
    )


def database_of(config: Config) -> Database:
    """The database of a pipeline's runs.

    Raises:
      UserError: if the password is not where the configuration says.
    """
    settings = config.metadata
    if settings.database == "sqlite":
        return sqlite_database(config.metadata_path)
    connection = metadata_store_pb2.ConnectionConfig()
    connection.mysql.host, connection.mysql.port = settings.host, settings.port
    connection.mysql.database = settings.name
    connection.mysql.user = settings.user
    connection.mysql.password = settings.password.read("metadata.password") if settings.password else ""
    return Database(
        connection,
        f"the {settings.database} database {settings.name} at {settings.host}:{settings.port}",
        f"Is the server up, and may {settings.user or 'this user'} use the database with this password? See the "
        "section metadata of the configuration",
    )
