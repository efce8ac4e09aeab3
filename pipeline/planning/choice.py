"""What a plan is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True)
class Choice:
    """A key of the configuration with its value, and the reason for it; a value without a reason is the default.

    Attributes:
      key: with dots between its levels.
      value: as YAML has it.
      reason: for people, without a full stop.
    """

    key: str
    value: Any
    reason: str = ""

    @property
    def in_yaml(self) -> str:
        """The last level of the key, and the value, in one line."""
        text = yaml.safe_dump(self.value, default_flow_style=True, width=1000, allow_unicode=True)
        return f"{self.key.rpartition('.')[2]}: {text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}"
