"""The model's input: how large, and whether images are resized to it or cut into patches of it."""

from __future__ import annotations

import dataclasses
import math

from models.encoders import ENCODERS
from pipeline.planning import numbers
from pipeline.planning.facts import DataFacts


@dataclasses.dataclass(frozen=True)
class Input:
    """The model's input.

    Attributes:
      height: pixels.
      width: pixels.
      resize: `stretch`, `pad` or `none`, as in the configuration.
      reason: why it has this size.
      resize_reason: why images are resized, or not.
    """

    height: int
    width: int
    resize: str
    reason: str
    resize_reason: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a training can do.

    Attributes:
      encoder: its name.
      minutes: that it takes.
      pixels: that it trains on in this time.
      most_area: pixels of an input that fits into the memory with a batch of the least size.
    """

    encoder: str
    minutes: float
    pixels: float
    most_area: int

    def enlarges(self, size: tuple[int, int]) -> bool | None:
        """Whether the encoder should enlarge inputs of a height and width; None if it would not anyway."""
        if getattr(ENCODERS[self.encoder]().for_input(*size), "enlargement", 1) == 1:
            return None
        return self.pixels / (size[0] * size[1] * self._enlarged) >= numbers.SHOWN_ENLARGED

    @property
    def _enlarged(self) -> float:
        return numbers.ENCODERS[self.encoder].enlarged

    def work(self, size: tuple[int, int]) -> float:
        """An input's pixels, counted as often as the encoder's enlargement of the image costs more time and memory."""
        return size[0] * size[1] * (self._enlarged if self.enlarges(size) else 1.0)

    def shown(self, size: tuple[int, int]) -> int:
        """Inputs of a height and width that it trains on."""
        return int(self.pixels / self.work(size))

    def affords(self, size: tuple[int, int], needed: int) -> bool:
        """Whether so many inputs of a height and width can be shown, and fit into the memory."""
        return self.work(size) <= min(self.pixels / needed, self.most_area)


def choose_input(facts: DataFacts, budget: Budget) -> Input:
    """Chooses the largest input for which there is time, and patches where resizing would lose too much.

    Args:
      facts: of the data set.
      budget: time and memory.
    """
    resize, resize_reason = _resize(facts)
    candidates = _candidates(facts)
    least = next(
        (index for index, (height, width) in enumerate(candidates) if height * width >= numbers.LEAST_AREA), -1
    )
    candidates = candidates[least:] or candidates
    needed = max(numbers.SHOWN, numbers.PASSES * facts.train)
    affordable = _largest(candidates, budget, needed)
    if _lost(facts, affordable) <= numbers.MOST_LOST:
        return Input(*affordable, resize, _reason(facts, budget, affordable, candidates), resize_reason)
    # Less of a training, on images in which thin structures are still there, is better than none of them.
    stretched = _largest(candidates, budget, needed // 2)
    sufficient = [size for size in candidates if _lost(facts, size) <= numbers.MOST_LOST]
    if sufficient and sufficient[0] <= stretched:
        why = f"the smallest at which {_thin(facts)} can still be seen; {_passes(facts, budget, sufficient[0])}"
        return Input(*sufficient[0], resize, f"images are {_typical(facts)}; {why}", resize_reason)
    if patch := _patch(facts, budget, needed):
        height, width = stretched
        why = (
            f"at {width}x{height} pixels, for which there is time, {_lost(facts, stretched):.0%} of what the classes "
            f"cover would be narrower than {numbers.LEAST_WIDTH:g} pixels, such as {_thin(facts)}; so patches are cut"
        )
        return Input(patch, patch, "none", f"of the patches; images are {_typical(facts)}", why)
    height, width = stretched
    why = (
        f"{_reason(facts, budget, stretched, candidates)}. To show {_thin(facts)} it is too small: plan with more "
        "--minutes, or for a GPU"
    )
    return Input(height, width, resize, why, resize_reason)


def _lost(facts: DataFacts, size: tuple[int, int]) -> float:
    """The share of the classes' pixels, as their mean, that is narrow in images stretched to a size, and was not."""
    narrow = facts.narrower(numbers.LEAST_WIDTH, facts.shrinking(*size)) - facts.narrower(numbers.LEAST_WIDTH)
    return float(narrow[facts.occurring].mean())


def _resize(facts: DataFacts) -> tuple[str, str]:
    low, high = facts.aspects
    aspect = _aspect(facts)
    most = max(high / aspect, aspect / low)
    is_one = high <= 1.05 * low
    if is_one and most <= 1.05:
        return "stretch", "images have one shape, and the input has it too, so nothing is distorted much"
    shapes = f"width / height is {low:.2f}" + ("" if is_one else f" to {high:.2f}")
    if most <= numbers.MOST_STRETCHED:
        return "stretch", f"{shapes}, so objects are stretched by at most {most:.2f}, and no pixel is left unused"
    return "pad", f"{shapes}; this keeps it, and objects in shape"


def _aspect(facts: DataFacts) -> float:
    """Width / height in the middle between the widest and the highest images."""
    low, high = facts.aspects
    return min(max(math.sqrt(low * high), 1 / 4), 4.0)


def _candidates(facts: DataFacts) -> list[tuple[int, int]]:
    """Heights and widths with the images' aspect ratio, from small to the images' own size."""
    aspect = _aspect(facts)
    height, width = facts.middle
    own = math.sqrt(height * width)
    step = numbers.STEP if min(height, width) >= numbers.SMALL_IMAGE else numbers.SMALL_STEP
    longest = max(step, round(own * max(aspect, 1 / aspect) ** 0.5 / step) * step)
    times = max(aspect, 1 / aspect)
    of_shorter: dict[int, list[int]] = {}
    for longer in range(step, longest + 1, step):
        of_shorter.setdefault(max(step, round(longer / times / step) * step), []).append(longer)
    found = []
    for shorter, fits in of_shorter.items():
        _, longer = min((abs(longer / shorter - times), longer) for longer in fits)
        found.append((shorter, longer) if aspect >= 1 else (longer, shorter))
    return found


def _largest(candidates: list[tuple[int, int]], budget: Budget, needed: int) -> tuple[int, int]:
    """The largest candidate of which so many images can be shown, or the smallest there is."""
    fitting = (size for size in candidates if size[0] * size[1] <= numbers.MOST_AREA and budget.affords(size, needed))
    return max(fitting, default=candidates[0])


def _patch(facts: DataFacts, budget: Budget, needed: int) -> int | None:
    """The side of patches; None where they would be about as large as images, or would not see them often enough."""
    sides = range(numbers.LEAST_PATCH, min(numbers.MOST_PATCH, *facts.middle) + 1, numbers.STEP)
    side = max((side for side in sides if budget.affords((side, side), needed)), default=numbers.LEAST_PATCH)
    if budget.shown((side, side)) * side**2 < numbers.LEAST_PATCH_PASSES * facts.train * facts.mean_area:
        return None
    return side if 2 * side**2 <= facts.mean_area and side <= min(facts.middle) else None


def _reason(facts: DataFacts, budget: Budget, size: tuple[int, int], candidates: list[tuple[int, int]]) -> str:
    passes = _passes(facts, budget, size)
    if size == candidates[-1]:
        return f"images are {_typical(facts)}, which is about the input's size, too; {passes}"
    if size[0] * size[1] > 0.8 * numbers.MOST_AREA or budget.work(size) > 0.8 * budget.most_area:
        return f"images are {_typical(facts)}; larger ones would need more memory; {passes}"
    shape = "" if facts.aspects[1] > 1.05 * facts.aspects[0] else " of their shape"
    return f"images are {_typical(facts)}; the largest{shape} for which there is time: {passes}"


def _passes(facts: DataFacts, budget: Budget, size: tuple[int, int]) -> str:
    shown = budget.shown(size)
    passes = shown / facts.train
    often = f"{passes:.0f}" if passes >= 10 else f"{passes:.1f}"
    return f"{budget.minutes:g} minutes show about {shown:,} at this size, {often} times the {facts.train:,} there are"


def _typical(facts: DataFacts) -> str:
    height, width = facts.middle
    is_one = (facts.sizes == facts.sizes[0]).all()
    return f"{width}x{height} (width x height){'' if is_one else ' in the middle'}"


def _thin(facts: DataFacts) -> str:
    class_id = min(facts.occurring, key=lambda class_id: (facts.width(class_id, 0.5), facts.width(class_id, 0.1)))
    return f"{facts.classes[class_id]} (about {facts.width(class_id, 0.5)} pixels wide in the images)"
