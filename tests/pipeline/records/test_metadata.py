import pydantic
import pytest

from pipeline.records.settings import MetadataSettings


def test_postgresql_is_refused_with_what_to_use():
    with pytest.raises(pydantic.ValidationError, match="PostgreSQL is not supported"):
        MetadataSettings(database="postgresql")
