"""TFX's access to the records of runs, by our connections."""

from __future__ import annotations

from typing import Any

from tfx.orchestration import metadata

from pipeline.records.metadata import Database, Store


class MetadataHandle(metadata.Metadata):
    """What TFX's launcher reads and writes a database with.

    TFX's own class connects by itself, with a client that gives up when two pipelines change the same rows of a server.
    `tests/pipeline/runners/test_metadata_handle.py` fails if a release of TFX connects by any other way than this one.

    Args:
      database: to connect to each time that the handle is entered.
    """

    def __init__(self, database: Database):
        super().__init__(database.connection)
        self._database = database
        self._stores: list[Store] = []

    def __enter__(self) -> MetadataHandle:
        self._stores.append(self._database.open())
        return self

    def __exit__(self, *_: Any) -> None:
        self._stores.pop()

    @property
    def store(self) -> Store:
        """The connection.

        Raises:
          RuntimeError: if the handle is not entered.
        """
        if not self._stores:
            raise RuntimeError("the handle is used outside of its `with` block")
        return self._stores[-1]
