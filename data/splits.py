"""Which split an example belongs to."""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any

import pydantic

from data.contract import SPLITS


def parse_shares(text: str) -> dict[str, float]:
    """Reads `train=0.8,eval=0.1,test=0.1`: the share of the examples that each split gets.

    Raises:
      ValueError: if a split is unknown or occurs twice, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if name not in SPLITS or name in shares or not 0 <= share <= 1:
            raise ValueError(f"cannot read {part!r}; it takes shares such as train=0.8,eval=0.1,test=0.1")
        shares[name] = share
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ValueError(f"the shares add up to {sum(shares.values()):g} instead of 1")
    return shares


def _read_shares(value: Any) -> Any:
    text = ",".join(f"{name}={share}" for name, share in value.items()) if isinstance(value, dict) else value
    return parse_shares(text) if isinstance(text, str) else value


# The share of each split; as text, `train=0.8,eval=0.1,test=0.1`.
Shares = Annotated[dict[str, float], pydantic.BeforeValidator(_read_shares), pydantic.Field(title="SHARES")]


def split_of(source_id: str, shares: dict[str, float]) -> str:
    """The split of an example, by a hash of its name alone.

    An example stays in its split forever, however many are added around it and whatever the order of the shares.
    """
    position = int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8], "big") / 2**64
    ordered = [name for name in SPLITS if shares.get(name)]
    upper = 0.0
    for name in ordered:
        upper += shares[name]
        if position < upper:
            return name
    return ordered[-1]
