"""Where runs are recorded: ML Metadata in a SQLite file, or in a MySQL, MariaDB or PostgreSQL server."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import time
from typing import Any

from google.protobuf.message import Message
from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2

from data.base.errors import UserError
from pipeline.config import Config

_ATTEMPTS = 5
_STAND_IN = "\x1c"
_CONFLICTS = ("try restarting transaction", "duplicate key value", "deadlock detected", "could not serialize access")
_PORTS = {"mysql": 3306, "postgresql": 5432}


@dataclasses.dataclass(frozen=True)
class Database:
    """A database of ML Metadata.

    Attributes:
      connection: what ML Metadata connects with; it may hold a password.
      description: for messages.
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
        """As it stands in the connection; "" for none."""
        return self.connection.mysql.password or self.connection.postgresql.password

    def open(self, read_only: bool = False) -> metadata_store.MetadataStore:
        """Connects.

        Args:
          read_only: a SQLite file is neither made nor changed.

        Raises:
          UserError: if that fails.
        """
        connection = metadata_store_pb2.ConnectionConfig()
        connection.CopyFrom(self.connection)
        if read_only and connection.HasField("sqlite"):
            connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        for attempt in range(_ATTEMPTS):
            try:
                return metadata_store.MetadataStore(connection)
            except (errors.StatusError, RuntimeError) as error:
                # Machines that make the tables at the same moment get into each other's way.
                if connection.HasField("sqlite") or attempt == _ATTEMPTS - 1:
                    raise self.failure(error) from None
                time.sleep(random.random())
        raise AssertionError("unreachable")

    def failure(self, error: Exception) -> UserError:
        """An error of ML Metadata's in words."""
        text = " ".join(str(error).split()) or type(error).__name__
        return UserError(f"the metadata in {self.description} cannot be used: {text}\n{self.remedy}")


def is_failure(error: BaseException) -> bool:
    """Whether an error came from ML Metadata, or from TFX's attempts to connect to it."""
    return isinstance(error, errors.StatusError) or "connection to Metadata storage" in str(error)


def sqlite_database(path: str) -> Database:
    """The database in a file; the first run makes it."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = path
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return Database(
        connection,
        path,
        "If it is damaged, move it and the folder artifacts beside it away; the next run then begins anew, and models "
        "that were pushed stay",
    )


def database_of(config: Config) -> Database:
    """The database of a pipeline's runs.

    Raises:
      UserError: if the password is not where the configuration says.
    """
    settings = config.metadata
    if settings.database == "sqlite":
        return sqlite_database(config.metadata_path)
    port = settings.port or _PORTS[settings.database]
    password = settings.password.read("metadata.password") if settings.password else ""
    connection = metadata_store_pb2.ConnectionConfig()
    _retry_conflicts()
    if settings.database == "mysql":
        connection.mysql.host, connection.mysql.port = settings.host, port
        connection.mysql.database = settings.name
        connection.mysql.user, connection.mysql.password = settings.user, password
    else:
        _mend_postgresql()
        connection.postgresql.host, connection.postgresql.port = settings.host, str(port)
        connection.postgresql.dbname = settings.name
        connection.postgresql.user, connection.postgresql.password = settings.user, _quoted(password)
    return Database(
        connection,
        f"the {settings.database} database {settings.name} at {settings.host}:{port}",
        f"Is the server up, and may {settings.user or 'this user'} use the database with the password given? See the "
        "section metadata of the configuration",
    )


def _quoted(value: str) -> str:
    """As PostgreSQL's connection strings want it, into which ML Metadata puts values as they are."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'" if value else ""


@functools.cache  # Once is enough.
def _retry_conflicts() -> None:
    """Has ML Metadata try again when two change the same at once.

    Its client does so for an AbortedError, which its server part makes of a deadlock in MySQL alone. For it, these are
    final: MariaDB from 11.6 on ends a transaction that reads what another one has just changed (error 1020); of two
    PostgreSQL transactions that replace a property, the second finds the first one's.
    """
    call = metadata_store.MetadataStore._call_method

    def mended(self: Any, method_name: str, request: Message, response: Message) -> None:
        try:
            call(self, method_name, request, response)
        except errors.InternalError as error:
            if any(phrase in str(error) for phrase in _CONFLICTS):
                raise errors.AbortedError(str(error)) from None
            raise

    metadata_store.MetadataStore._call_method = mended


@functools.cache
def _mend_postgresql() -> None:
    """Mends two things that ML Metadata does wrong with PostgreSQL.

    It breaks its own SQL with text that has a backslash: libpq quotes that as ` E'…'`, and ML Metadata takes the first
    and the last character for the quotes. So a character that no text of TFX's has stands in for it on the way.

    And what it gets by ids comes in any order, where TFX's cache expects that of the ids.
    """
    call = metadata_store.MetadataStore._call_method

    def mended(self: Any, method_name: str, request: Message, response: Message) -> None:
        sent = type(request)()
        sent.CopyFrom(request)
        _replace_text(sent, "\\", _STAND_IN)
        call(self, method_name, sent, response)
        _replace_text(response, _STAND_IN, "\\")
        if method_name.endswith("ByID"):
            _sort_as_asked(request, response)

    metadata_store.MetadataStore._call_method = mended


def _sort_as_asked(request: Message, response: Message) -> None:
    asked = {field.name: value for field, value in request.ListFields()}
    for field, items in response.ListFields():
        kind = "type" if field.name.endswith("_types") else field.name.removesuffix("s")
        places = {number: place for place, number in enumerate(asked.get(f"{kind}_ids", []))}
        if places:
            items.sort(key=lambda item, places=places: places.get(item.id, len(places)))


def _replace_text(message: Message, old: str, new: str) -> None:
    """Replaces text in all strings of a message."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            is_map = field.message_type.GetOptions().map_entry
            items = value.values() if is_map else value if field.label == field.LABEL_REPEATED else [value]
            for item in items:
                if isinstance(item, Message):
                    _replace_text(item, old, new)
        elif field.type == field.TYPE_STRING:
            if field.label == field.LABEL_REPEATED:
                value[:] = [item.replace(old, new) for item in value]
            elif old in value:
                setattr(message, field.name, value.replace(old, new))
