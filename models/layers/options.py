"""Types of options that several encoders and decoders have."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

Filters = Annotated[int, pydantic.Field(ge=1, le=512)]
Normalization = Literal["batch", "group", "none"]
