"""A plan: all that is decided from a data set and a machine."""

from __future__ import annotations

import dataclasses
import math
import re

from data.annotations.classes import is_background
from data.contract import SPLITS
from pipeline.planning import numbers
from pipeline.planning.choice import Choice
from pipeline.planning.facts import DataFacts
from pipeline.planning.machine import Machine
from pipeline.planning.sizes import Input, choose_input
from pipeline.planning.training import (
    budget_of,
    choose_encoder,
    choose_model,
    choose_training,
    sufficient_minutes,
)
from pipeline.planning.yaml_file import lay_out

# The words of a name, however they are told apart: left_lung, "Left lung", leftLung, LEFT-LUNG.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is proposed.

    Attributes:
      choices: keys with values and reasons, in the order of the file.
      facts: of the data set.
      machine: where it will run.
    """

    choices: tuple[Choice, ...]
    facts: DataFacts
    machine: Machine

    @property
    def decided(self) -> list[Choice]:
        """What was decided about the task, the model's input, the model and its training."""
        sections = ("task", "preprocessing.", "model.", "train.")
        return [choice for choice in self.choices if choice.reason and choice.key.startswith(sections)]

    def text(self, name: str, tfrecords: str) -> str:
        """The configuration file.

        Args:
          name: of the pipeline.
          tfrecords: folder with the data set.
        """
        output, counts = f"output/{name.replace('-', '_')}", self.facts.counts
        whole = [
            Choice("name", name),
            Choice("output", output, f"artifacts, metadata, logs; pushed models in {output}/serving"),
            *(choice for choice in self.choices if "." not in choice.key),
            Choice("data.input", tfrecords, f"{', '.join(f'{counts[split]:,} {split}' for split in SPLITS)} images"),
            *(choice for choice in self.choices if "." in choice.key),
        ]
        header = [
            f"# Planned by segpipe, which looked at {len(self.facts.sizes):,} of {sum(counts.values()):,} images, for",
            f"# {self.machine.words}. The reason for a value stands beside it; a value without one is the default.",
            "# docs/training.md and docs/evaluation.md have all keys.",
        ]
        return "\n".join([*header, *lay_out(whole)]) + "\n"


def make_plan(facts: DataFacts, machine: Machine, minutes: float | None = None) -> Plan:
    """Plans a first run.

    Args:
      facts: of the data set.
      machine: where it will run.
      minutes: of training; None lets the plan decide.
    """
    encoder = choose_encoder(facts, machine)
    budget = budget_of(encoder, machine, minutes or numbers.MINUTES)
    chosen = choose_input(facts, budget)
    if minutes is None:
        budget = budget_of(encoder, machine, sufficient_minutes(facts, budget, chosen))
    channels = 1 if facts.is_gray else facts.bands
    why_channels = "all images are gray" if facts.is_gray else "images have colors"
    if channels not in (1, 3):
        why_channels = f"images have {facts.bands} bands"
    choices = [
        *_task(facts),
        Choice("preprocessing.height", chosen.height, chosen.reason),
        Choice("preprocessing.width", chosen.width, "for the same reason"),
        Choice("preprocessing.channels", channels, why_channels),
        Choice("preprocessing.resize", chosen.resize, chosen.resize_reason),
        *choose_model(facts, machine, chosen, budget),
        *choose_training(facts, machine, chosen, budget, minutes is not None),
        *_augmentation(facts),
        *_gate(facts),
        *_serving(facts, chosen),
    ]
    return Plan(tuple(choices), facts, machine)


def _task(facts: DataFacts) -> list[Choice]:
    things = facts.things.tolist()
    if facts.objects is None or not things:
        return []
    counts = ", ".join(f"{facts.objects[:, class_id].sum():,} of {facts.classes[class_id]}" for class_id in things)
    stuff = [name for index, name in enumerate(facts.classes) if index not in things and not is_background(name)]
    why = f"the masks tell objects apart, {counts} in {len(facts.objects):,} images; semantic would find classes alone"
    if stuff:
        why += (
            f". panoptic finds the same, and counts {', '.join(stuff)} when a model is compared with the deployed one"
        )
    return [Choice("task", "instance", why)]


def _augmentation(facts: DataFacts) -> list[Choice]:
    sided = [name for name in facts.classes if {"left", "right"} & set(map(str.lower, _WORD.findall(name)))]
    flip_reason = f"mirrored, {sided[0]} would be on the other side" if sided else "no class's name has left or right"
    gray = "in gray images, the level may be what tells classes apart"
    return [
        Choice("train.augmentation.flip_horizontal", not sided, flip_reason),
        Choice("train.augmentation.flip_vertical", False, "true for images without an upside, as from a microscope"),
        *(Choice(f"train.augmentation.{key}", 0, gray) for key in ("brightness", "contrast") if facts.is_gray),
    ]


def _gate(facts: DataFacts) -> list[Choice]:
    # A class that is too rare for the sample has a pixel somewhere, or there is nothing to learn.
    shares, occurring = facts.shares, max(len(facts.occurring), 2)
    largest = int(shares.argmax())
    baseline = float(shares[largest]) / occurring
    way = min(1 / 4, 2 / occurring)
    threshold = math.floor(100 * (baseline + (1 - baseline) * way)) / 100
    asked = "a quarter" if way == 1 / 4 else f"{way:.0%}, as {occurring} classes are many,"
    absolute = Choice(
        "gate.min.mean_iou",
        threshold,
        f"{facts.classes[largest]} everywhere would have {baseline:.2f}; this asks for {asked} of the way from there "
        "to 1. Raise it to what you need; gate.min.iou takes values by class",
    )
    if facts.counts["test"] < numbers.TELLING:
        why = f"{facts.counts['test']} test images cannot tell small differences from chance"
        return [absolute, Choice("gate.regression", "not_significantly_worse", why)]
    compared = "panoptic quality of things" if facts.things.size else "mean IoU"
    why = f"how far below the deployed model's {compared} a new one may be"
    return [absolute, Choice("gate.regression", 0.01, why)]


def _serving(facts: DataFacts, chosen: Input) -> list[Choice]:
    largest = float(facts.sizes.prod(axis=1).max()) / 1e6
    seconds = max(5, math.ceil(5 * largest)) if chosen.resize == "none" else 5
    why = f"for one image; the largest that was seen has {largest:.1f} million pixels"
    return [
        Choice("serving.max_latency_seconds", seconds, why),
        Choice("serving.max_memory_megabytes", 4096),
    ]
