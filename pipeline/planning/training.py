"""Model and training: what learns, for how long, and from what."""

from __future__ import annotations

import math

from pipeline.planning import numbers
from pipeline.planning.choice import Choice
from pipeline.planning.facts import DataFacts
from pipeline.planning.machine import Machine
from pipeline.planning.sizes import Budget, Input


def choose_encoder(facts: DataFacts, machine: Machine) -> str:
    """The encoder: a pretrained one where its weights are, and images are not too small for it."""
    is_small = min(facts.middle) < numbers.LEAST_SIDE_PRETRAINED
    return numbers.PRETRAINED if numbers.PRETRAINED in machine.pretrained and not is_small else numbers.RANDOM


def budget_of(encoder: str, machine: Machine, minutes: float) -> Budget:
    """What a training with an encoder can do in a time."""
    of_encoder = numbers.ENCODERS[encoder]
    images = 60 * minutes * of_encoder.images_per_second * machine.speed * numbers.USEFUL_SHARE
    memory = numbers.MEMORY_SHARE * machine.training_memory
    most_area = memory / (of_encoder.bytes_per_pixel * numbers.LEAST_BATCH_SIZE)
    return Budget(encoder, minutes, images * 128 * 128, int(most_area))


def sufficient_minutes(facts: DataFacts, budget: Budget, chosen: Input) -> float:
    """The minutes of a budget, or as many as are enough for an input."""
    enough = numbers.ENOUGH * max(numbers.SHOWN, numbers.PASSES * facts.train)
    return min(budget.minutes, math.ceil(budget.minutes * enough / max(budget.shown(chosen.size), 1)))


def choose_model(facts: DataFacts, machine: Machine, chosen: Input, budget: Budget) -> list[Choice]:
    """Encoder and decoder."""
    encoder = budget.encoder
    if encoder == numbers.PRETRAINED:
        why = "its ImageNet weights are on this machine, from which it learns sooner than from random ones"
        choices = [Choice("model.encoder", encoder, why), Choice("model.decoder", "unet")]
        if budget.enlarges(chosen.size) is False:
            why = "auto would enlarge images this small for the encoder, for which there is no time"
            choices.append(Choice("model.enlargement", 1, why))
        return choices
    if min(facts.middle) < numbers.LEAST_SIDE_PRETRAINED:
        why = f"images are too small for {numbers.PRETRAINED}, which halves them five times"
    else:
        why = (
            f"starts from random weights; with segpipe's extra pretrained, {numbers.PRETRAINED} would start from "
            "ImageNet's, and learn sooner"
        )
    height, width = chosen.height, chosen.width
    depth = max(1, min(4, int(math.log2(min(height, width))) - 2))
    smallest = f"{-(-height // 2**depth)}x{-(-width // 2**depth)}"
    filters, device = (numbers.PLAIN_FILTERS_GPU, "a GPU") if machine.gpus else (numbers.PLAIN_FILTERS, "a CPU")
    more = "; on a GPU, 32 or 64 learn more" if not machine.gpus else ""
    return [
        Choice("model.encoder", encoder, why),
        Choice("model.decoder", "unet"),
        Choice("model.filters", filters, f"for training on {device}{more}"),
        Choice("model.depth", depth, f"halved so often, {height}x{width} become {smallest}"),
    ]


def choose_training(facts: DataFacts, machine: Machine, chosen: Input, budget: Budget, is_asked: bool) -> list[Choice]:
    """The section `train`, without its augmentation.

    Args:
      facts: of the data set.
      machine: where it runs.
      chosen: the input.
      budget: of the minutes that were decided.
      is_asked: whether these were the user's.
    """
    why = "as you asked" if is_asked else "of training; as long as you allow it, a longer one is as good or better"
    if not is_asked and budget.minutes < numbers.MINUTES:
        why = f"enough for about {budget.shown(chosen.size):,} images; after that, more of the same adds little"
    return [
        Choice(
            "train.minutes",
            int(budget.minutes) if float(budget.minutes).is_integer() else budget.minutes,
            f"{why}; the whole schedule fits into it, on any machine",
        ),
        _batch_size(facts, machine, chosen, budget),
        *_loss(facts),
    ]


def _batch_size(facts: DataFacts, machine: Machine, chosen: Input, budget: Budget) -> Choice:
    if facts.train < 16:
        few = max(2, min(4, facts.train))
        return Choice("train.batch_size", few, f"of {facts.train} images, for several steps in each epoch")
    size = numbers.BATCH_SIZE_GPU * len(machine.gpus) or numbers.BATCH_SIZE
    reason = "what a GPU needs to be busy" if machine.gpus else ""
    while size > numbers.LEAST_BATCH_SIZE and budget.shown(chosen.size) / size < numbers.LEAST_STEPS:
        size, reason = size // 2, "small, for more steps in the time"
    step = budget.work(chosen.size) * numbers.ENCODERS[budget.encoder].bytes_per_pixel
    while size > 1 and size * step > numbers.MEMORY_SHARE * machine.training_memory:
        size, reason = size // 2, f"for {machine.training_memory / 1e9:.0f} GB of memory"
    return Choice("train.batch_size", size, reason)


def _loss(facts: DataFacts) -> list[Choice]:
    shares = facts.shares
    rarest = min(facts.occurring, key=lambda class_id: shares[class_id])
    most = max(facts.occurring, key=lambda class_id: shares[class_id])
    is_rare = shares[rarest] < numbers.RARE
    rarest_has = f"{facts.classes[rarest]}, the rarest class, has {_percent(shares[rarest])} of the pixels"
    times = shares[most] / shares[rarest]
    is_balanced = times <= numbers.BALANCED
    return [
        Choice(
            "train.loss",
            {"cross_entropy": 1, "dice": 1} if is_rare else "cross_entropy",
            rarest_has + ("; dice counts each class alike" if is_rare else ", so none needs a loss of its own"),
        ),
        Choice(
            "train.class_weights",
            "none" if is_balanced else "root_median_frequency",
            f"{facts.classes[most]} has {times:.3g} times as many pixels as {facts.classes[rarest]}"
            + (", which is little" if is_balanced else "; a rare class's pixels count more"),
        ),
    ]


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"
