"""Which split an example belongs to."""

from __future__ import annotations

import hashlib
import math

from data.base.errors import UserError
from data.contract import SPLITS


def parse_shares(text: str) -> dict[str, float]:
    """Reads `train=0.8,eval=0.1,test=0.1`: the share of the examples that each split gets.

    Raises:
      UserError: if a split is unknown or named twice, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if name not in SPLITS or name in shares or not 0 <= share <= 1:
            raise UserError(
                f"--split {text}: cannot read {part!r}; it takes shares such as train=0.8,eval=0.1,test=0.1"
            )
        shares[name] = share
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise UserError(f"--split {text}: the shares add up to {sum(shares.values()):g}, they must add up to 1")
    return shares


def split_of(source_id: str, shares: dict[str, float]) -> str:
    """The split of an example, by a hash of its name alone.

    An example stays in its split for ever, however many are added around it and in whichever order the shares come.
    """
    position = int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8], "big") / 2**64
    ordered = [name for name in SPLITS if shares.get(name)]
    upper = 0.0
    for name in ordered:
        upper += shares[name]
        if position < upper:
            return name
    return ordered[-1]
