"""Which split an example belongs to."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pydantic

from data.contract import SPLITS

DEFAULT_SHARES = {"train": 0.8, "eval": 0.1, "test": 0.1}
_ALSO = {"val": "eval", "valid": "eval", "validation": "eval"}
# A split that got less than this part of its share is too small, if other shares make it larger.
_LEAST_PART = 0.5


def parse_shares(text: str) -> dict[str, float]:
    """Reads `train=0.8,eval=0.1,test=0.1`: the share of the examples that each split gets; `val` stands for `eval`.

    Raises:
      ValueError: if a split is unknown or occurs twice, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (text.strip() for text in part.partition("="))
        name = _ALSO.get(name, name)
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


def share_text(shares: Mapping[str, float]) -> str:
    """Shares as `parse_shares` reads them."""
    return ",".join(f"{name}={share:g}" for name, share in shares.items())


def split_of(key: str, shares: Mapping[str, float]) -> str:
    """The split of an example, by a hash of its name or its group alone.

    An example stays in its split forever, however many are added around it and whatever the order of the shares. So a
    split of a small set may be empty. No rule that knows only the present examples could fill it and keep its promise:
    what it borrowed from the examples of train would have to be in train again once the set is large enough for this
    rule to fill all splits, and what was tested on would be trained on. The way out are other shares, which hold from
    the beginning: `working_shares`.
    """
    position = _position(key)
    ordered = [name for name in SPLITS if shares.get(name)]
    upper = 0.0
    for name in ordered:
        upper += shares[name]
        if position < upper:
            return name
    return ordered[-1]


def fold_of(key: str, folds: int) -> int:
    """The fold of an example, 0 … folds - 1, by a hash of its name or its group alone.

    As in `split_of`, it stays there however many examples are added. The hash is another one: those of the train split
    have the lower part of that one's range, so the folds would differ in size.
    """
    return min(int(_position(f"fold {key}") * folds), folds - 1)


def _position(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def working_shares(keys: Sequence[str], splits: Sequence[str] = SPLITS) -> dict[str, float]:
    """Shares that leave no split empty: of those with few decimals the nearest to 0.8, 0.1 and 0.1.

    Each split gets at least half of its share of the examples, if that can be had, and at least one example. The same
    keys give the same shares; who goes on with these shares when examples are added moves none of those that are there.

    Args:
      keys: what `split_of` gets for each example: its name or its group.
      splits: the splits to fill, `train` among them; train gets what the others leave, 0.1 each.

    Raises:
      ValueError: if the keys are too few.
    """
    names = [name for name in SPLITS if name in splits]
    target = dict.fromkeys(names, 0.1) | {"train": 1 - 0.1 * (len(names) - 1)}
    positions = sorted(map(_position, keys))
    if len(names) == 1:
        return {"train": 1.0}
    if len(set(positions)) < len(names):
        raise ValueError(f"{len(names)} splits need as many names or groups, and there are only {len(set(positions))}")
    least = [max(1, math.floor(_LEAST_PART * target[name] * len(keys))) for name in names]
    for wanted, digits in itertools.product((least, [1] * len(names)), (2, 3)):
        if cuts := _nearest_cuts(positions, [target[name] for name in names], wanted, 10**digits):
            bounds = [0, *cuts, 10**digits]
            widths = [upper - lower for lower, upper in itertools.pairwise(bounds)]
            return {name: width / 10**digits for name, width in zip(names, widths, strict=True)}
    raise ValueError(
        f"no shares divide {len(keys)} examples into {', '.join(names)}, since the hashes of their names are alike"
    )


def _nearest_cuts(positions: list[float], target: list[float], least: list[int], parts: int) -> tuple[int, ...]:
    """Where to cut [0, parts), so that at least so many positions are in each piece; empty if that cannot be.

    A cut is kept a little away from any position, where rounding could count it on the other side.
    """
    below = [bisect.bisect_left(positions, cut / parts) for cut in range(parts + 1)]
    is_safe = [
        bisect.bisect_left(positions, cut / parts - 1e-9) == bisect.bisect_right(positions, cut / parts + 1e-9)
        for cut in range(parts + 1)
    ]
    inner = [cut for cut in range(1, parts) if is_safe[cut]]
    best: tuple[float, tuple[int, ...]] = (math.inf, ())
    for first in inner:
        if below[first] < least[0]:
            continue
        for others in [(second,) for second in inner if second > first] if len(target) == 3 else [()]:
            bounds = (0, first, *others, parts)
            counts = [below[upper] - below[lower] for lower, upper in itertools.pairwise(bounds)]
            if any(count < fewest for count, fewest in zip(counts, least, strict=True)):
                continue
            distance = sum(
                ((upper - lower) / parts - share) ** 2
                for (lower, upper), share in zip(itertools.pairwise(bounds), target, strict=True)
            )
            best = min(best, (round(distance, 9), (first, *others)))
    return best[1]
