"""What a person should do next about a pipeline."""

from __future__ import annotations

import dataclasses
from typing import Any

from models.evaluation.gate import MIN_MEAN_IOU_KEY
from models.evaluation.metric_table import format_value, in_words
from pipeline.records.runs import Run

_RUN = "segpipe run --config FILE"
_RETRAIN = "segpipe retrain --config FILE"
# The names of so many spans are told.
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes:
      text: why, and what.
      commands: that do it; `FILE` in them stands for the configuration.
      is_urgent: whether something is wrong.
    """

    text: str
    commands: tuple[str, ...] = ()
    is_urgent: bool = False


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the next steps depend on.

    Attributes:
      run: the newest.
      decided: the newest whose model was evaluated, or None.
      deployed: the deployed version, or None.
      rolled_back: the newest version that was rolled back and is newer than the deployed one, or None.
      new_data: names of spans that no run has trained on.
      alerts: of the monitor, about the deployed version.
      kept: folder of the traffic that is watched, as it is typed; "" if the configuration names none.
    """

    run: Run
    decided: Run | None
    deployed: int | None
    rolled_back: int | None
    new_data: list[str]
    alerts: list[dict[str, Any]]
    kept: str = ""


def next_steps(facts: Facts, watched: str) -> list[Step]:
    """What to do, the most urgent first; never nothing.

    Args:
      facts: about the pipeline.
      watched: the metric that decides about its models.
    """
    steps = [*_of_the_last_run(facts), *_of_alerts(facts), *_of_data(facts), *_of_the_gate(facts, watched)]
    if facts.rolled_back is not None:
        text = f"Version {facts.rolled_back} was rolled back. To deploy it again:"
        steps.append(Step(text, (f"segpipe rollback --config FILE {facts.rolled_back}",)))
    if not steps:
        text = "Nothing needs to be done. When there is new data, this trains on it, and pushes what passes the gate:"
        steps.append(Step(text, (_RETRAIN,)))
    return steps


def _of_the_last_run(facts: Facts) -> list[Step]:
    run = facts.run
    if run.state == "failed":
        reason = run.reasons[0].partition("\n")[0] if run.reasons else "see its log"
        return [Step(f"The last run failed: {reason}. Once that is mended, run it again:", (_RUN,), True)]
    if run.state == "interrupted":
        return [Step("The last run was interrupted. It goes on where it stopped with:", (_RUN,), True)]
    if run.state in ("running", "unfinished"):
        return [Step("A run is going on.")]
    if run.state == "tuned":
        return [Step("Hyperparameters were searched for. To train with the best ones:", (_RUN,))]
    return []


def _of_alerts(facts: Facts) -> list[Step]:
    if not facts.alerts:
        return []
    newest = facts.alerts[-1]
    text = (
        f"What production sees differs from what version {facts.deployed} learned from ({newest['what']}, "
        f"{newest['day']}). Label the images that help most, out of what `segpipe serve --keep` has kept; suggest "
        "prints what brings their labels back. Then train:"
    )
    commands = (
        f"segpipe suggest --config FILE --from {facts.kept or 'kept/'} --count 20 --output to_label",
        _RETRAIN,
    )
    return [Step(text, commands, True)]


def _of_data(facts: Facts) -> list[Step]:
    if not facts.new_data:
        return []
    named = ", ".join(facts.new_data[-_NAMED:])
    more = len(facts.new_data) - _NAMED
    what = f"Spans {named}" if len(facts.new_data) > 1 else f"Span {named}"
    what += f" and {more} before" if more > 0 else ""
    have = "have" if len(facts.new_data) > 1 else "has"
    return [Step(f"{what} {have} not been trained on yet:", (_RETRAIN,))]


def _of_the_gate(facts: Facts, watched: str) -> list[Step]:
    run = facts.decided
    if run is None or run.state != "refused":
        return []
    reasons = "; ".join(run.reasons)
    if facts.deployed is not None:
        text = f"The last model was refused, and version {facts.deployed} stays deployed: {reasons}. Its report shows "
        return [Step(text + "on which images it is wrong: label more like these, or train longer (train.minutes).")]
    text = f"No model has passed the gate yet: {reasons}. Train longer (train.minutes), or with more images"
    if [check.key for check in run.checks if not check.passed] == [MIN_MEAN_IOU_KEY]:
        value = format_value(watched, run.metrics.get(watched))
        return [Step(f"{text}; or, if {in_words(watched)} {value} will do, lower {MIN_MEAN_IOU_KEY}.")]
    return [Step(f"{text}.")]
