"""How far a training is, and so how large its images are, when it evaluates, and when it ends: by epochs or minutes."""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from models.training.settings import TrainSettings

# Of a training by minutes: about the share of the time that evaluations may take, and the longest one between two.
_EVALUATION_SHARE, _BETWEEN_EVALUATIONS = 0.1, 0.05
# `small_sizes: auto` by minutes: below so many images of the full size that would fit, the share of the training in
# which they are small. What few steps cannot teach at the full size, many at half of it can.
_SHORT_SMALL_SIZES = {2_500: 0.7, 10_000: 0.4}
# The largest share of a training by minutes that its warm-up takes.
_LONGEST_WARMUP = 0.1
# Steps and evaluations over which their time is averaged, and how much longer than the average one may count: a pause
# of the machine is no reason to end early, nor to evaluate less often.
_AVERAGED_STEPS, _AVERAGED_EVALUATIONS, _LONGEST = 20, 3, 3.0


class Pace(abc.ABC):
    """The position of a training in its schedule.

    Args:
      settings: of the training run.
      stages: how often images are halved, and up to which share of the training; the last is (0, 1.0).
      steps_per_epoch: of the training data.

    Attributes:
      step: number of steps trained.
      since_evaluation: number of steps since the last evaluation.
      evaluates: whether an evaluation is due after the last step.
    """

    def __init__(self, settings: TrainSettings, stages: list[tuple[int, float]], steps_per_epoch: int):
        self.stages = stages
        self.step = self.since_evaluation = 0
        self.evaluates = False
        self._settings, self._steps_per_epoch = settings, steps_per_epoch

    @property
    @abc.abstractmethod
    def progress(self) -> float:
        """Share of the training that is done, 0 to 1; the learning rate depends on it."""

    @property
    @abc.abstractmethod
    def warmup(self) -> float:
        """Share of the training in which the learning rate rises."""

    @property
    @abc.abstractmethod
    def point(self) -> int:
        """Where the last evaluation belongs on the axis of the learning curves, counted from 0."""

    @abc.abstractmethod
    def describe(self) -> str:
        """How far the training is, for people."""

    @abc.abstractmethod
    def _state(self) -> list[float]: ...

    @abc.abstractmethod
    def _set_state(self, state: Sequence[float]) -> None: ...

    @abc.abstractmethod
    def _advance(self) -> bool:
        """Counts the step that has just ended, and returns whether an evaluation is due within its stage."""

    @property
    def epochs(self) -> float:
        """Passes over the train split so far."""
        return self.step / self._steps_per_epoch

    @property
    def is_finished(self) -> bool:
        """Whether the schedule has come to its end."""
        return self.progress >= 1

    @property
    def stage(self) -> int:
        """Index of the stage of the next step; at the end that of the last one."""
        ends = [end for _, end in self.stages[:-1]]
        return sum(self.progress >= end for end in ends)

    @property
    def small_sizes(self) -> float:
        """Share of the training in which images are small."""
        return self.stages[-2][1] if len(self.stages) > 1 else 0.0

    @property
    def unmeasured(self) -> range:
        """Indices of the stages whose steps must be timed before the training begins."""
        return range(0)

    @property
    def state(self) -> list[float]:
        """What a checkpoint must keep beside `step`; as many numbers at any time."""
        return [self.since_evaluation, *self._state()]

    def go_on(self, step: int, state: Sequence[float]) -> None:
        """Goes on at a checkpoint's step, with the state that it kept."""
        self.step, self.since_evaluation = step, round(state[0])
        self._set_state(state[1:])

    def begin(self) -> None:  # noqa: B027 - a training by epochs has nothing to do here.
        """Notes that a step or an evaluation begins."""

    def after_step(self) -> None:
        """Counts a step."""
        stage = self.stage
        self.step += 1
        self.since_evaluation += 1
        is_due = self._advance()
        self.evaluates = is_due or self.is_finished or self.stage != stage

    def after_evaluation(self) -> None:
        """Notes that an evaluation has ended."""
        self.since_evaluation = 0


class ByEpochs(Pace):
    """A training of `train.epochs` epochs: each step is worth the same, and each epoch is evaluated."""

    @property
    def progress(self) -> float:
        return self.step / (self._settings.epochs * self._steps_per_epoch)

    @property
    def warmup(self) -> float:
        epochs = self._settings.epochs
        return min(self._settings.warmup_epochs, epochs - 1) / epochs

    @property
    def point(self) -> int:
        return (self.step - 1) // self._steps_per_epoch

    def describe(self) -> str:
        return f"{self.step // self._steps_per_epoch}/{self._settings.epochs}"

    def _state(self) -> list[float]:
        return []

    def _set_state(self, state: Sequence[float]) -> None:
        pass

    def _advance(self) -> bool:
        return self.step % self._steps_per_epoch == 0


@dataclasses.dataclass
class _Cost:
    """What steps of a stage and evaluations at its size take.

    Attributes:
      step: mean of the last steps, seconds.
      evaluation_steps: an evaluation takes as long as so many steps; a slow machine is slow at both.
      weight: steps that the mean is of.
      evaluations: evaluations that the mean is of.
    """

    step: float
    evaluation_steps: float
    weight: int
    evaluations: int = 0

    @property
    def evaluation(self) -> float:
        """Seconds."""
        return self.evaluation_steps * self.step

    def add(self, seconds: float) -> None:
        """Adds a step to the mean."""
        self.weight = min(self.weight + 1, _AVERAGED_STEPS)
        self.step += (min(seconds, _LONGEST * self.step) - self.step) / self.weight

    def add_evaluation(self, seconds: float) -> None:
        """Adds an evaluation to the mean."""
        self.evaluations = min(self.evaluations + 1, _AVERAGED_EVALUATIONS)
        steps = min(seconds / self.step, _LONGEST * self.evaluation_steps)
        self.evaluation_steps += (steps - self.evaluation_steps) / self.evaluations


class ByMinutes(Pace):
    """A training of `train.minutes` minutes.

    It goes through the schedule of a training by epochs, of as many as fit: each step is worth as large a share of the
    schedule that is left as it would take of the time that is left if all steps of all stages took as long as the last
    ones did. So a machine that gets slower or faster changes how many steps there are, and neither when the training
    ends nor that its learning rate gets to the end of its schedule.

    Args:
      settings: of the training run.
      stages: as in `Pace`.
      steps_per_epoch: of the training data.
      clock: seconds; the training begins now.
    """

    def __init__(
        self,
        settings: TrainSettings,
        stages: list[tuple[int, float]],
        steps_per_epoch: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(settings, stages, steps_per_epoch)
        self._clock, self._started = clock, clock()
        self._allowed, self._before = 60 * settings.minutes, 0.0
        self._progress, self._evaluations = 0.0, 0
        self._costs: dict[int, _Cost] = {}
        self._began, self._gain, self._trained = 0.0, 0.0, 0

    @property
    def progress(self) -> float:
        return self._progress

    @property
    def warmup(self) -> float:
        steps = self._settings.warmup_epochs * self._steps_per_epoch
        return min(_LONGEST_WARMUP, steps / max(self._expected_steps, 1))

    @property
    def point(self) -> int:
        return max(self._evaluations - 1, 0)

    @property
    def seconds(self) -> float:
        """How long the training has taken, without what killed runs did after their last checkpoint."""
        return self._before + self._clock() - self._started

    @property
    def unmeasured(self) -> range:
        return range(0) if self.is_finished else range(self.stage, len(self.stages))

    def begin_schedule(self) -> None:
        """Decides how long images are small, once all stages are measured and if nothing is trained yet."""
        if self._settings.small_sizes != "auto" or self.step:
            return
        images = self._seconds_left / self._costs[len(self.stages) - 1].step * self._settings.batch_size
        share = next((share for below, share in _SHORT_SMALL_SIZES.items() if images < below), self.small_sizes)
        self._set_small_sizes(share)

    def _set_small_sizes(self, share: float) -> None:
        if self.small_sizes:
            ends = [(halvings, end / self.small_sizes * share) for halvings, end in self.stages[:-1]]
            self.stages = [*ends, self.stages[-1]]

    def measured(self, stage: int, step_seconds: float, evaluation_seconds: float, steps: int) -> None:
        """Tells how long a step and an evaluation of a stage take, by a few steps."""
        self._costs[stage] = _Cost(step_seconds, evaluation_seconds / step_seconds, steps)

    def describe(self) -> str:
        trained, expected = (_number(steps / self._steps_per_epoch) for steps in (self.step, self._expected_steps))
        minutes = f"{self.seconds / 60:.1f} of {self._settings.minutes:g} minutes"
        return f"{trained}{'' if self.is_finished else f' of about {expected}'}, {minutes}"

    def begin(self) -> None:
        self._began = self._clock()
        self._gain = 1 / max(self._steps_of_all, 1.0)

    def after_evaluation(self) -> None:
        super().after_evaluation()
        self._evaluations += 1
        self._costs[self._trained].add_evaluation(self._clock() - self._began)

    def _state(self) -> list[float]:
        return [self._progress, self.seconds, self._evaluations, self.small_sizes]

    def _set_state(self, state: Sequence[float]) -> None:
        self._progress, self._before, self._evaluations = float(state[0]), float(state[1]), round(state[2])
        self._set_small_sizes(float(state[3]))

    def _advance(self) -> bool:
        stage = self._trained = self.stage
        cost = self._costs[stage]
        before = cost.step
        cost.add(self._clock() - self._began)
        for later in range(stage + 1, len(self.stages)):  # What slows this stage down slows the others down, too.
            self._costs[later].step *= cost.step / before
        is_last = stage == len(self.stages) - 1
        # Half a step is rounded up. If the time is over before the full size, one step of it is still taken: otherwise
        # there would be no model.
        gain = 1.0 if self._seconds_left < cost.step / 2 else self._gain
        self._progress = min(self._progress + gain, 1.0 if is_last else self.small_sizes)
        return self._is_evaluation_due(stage)

    def _is_evaluation_due(self, stage: int) -> bool:
        interval = self._evaluation_interval(stage)
        if interval < self._steps_per_epoch:
            is_due = self.since_evaluation >= interval
        else:  # At the end of an epoch; a stage may begin within one.
            is_due = self.step % self._steps_per_epoch == 0 and self.since_evaluation > interval - self._steps_per_epoch
        # There is one at the end of the stage anyway.
        left = (self.stages[stage][1] - self._progress) * self._steps_of_all
        return is_due and left >= interval / 2

    def _evaluation_interval(self, stage: int) -> int:
        """Number of steps between evaluations of a stage; of whole epochs if it is longer than one."""
        cost, epoch = self._costs[stage], self._steps_per_epoch
        steps = max(
            min(epoch, _BETWEEN_EVALUATIONS * self._allowed / cost.step), cost.evaluation_steps / _EVALUATION_SHARE
        )
        return math.ceil(steps) if steps < epoch else round(steps / epoch) * epoch

    @property
    def _seconds_left(self) -> float:
        """Seconds left for steps, and for all evaluations but that at the end."""
        return self._allowed - self.seconds - self._costs[len(self.stages) - 1].evaluation

    @property
    def _steps_of_all(self) -> float:
        """How many steps the whole schedule would have if it went on as it must from here."""
        seconds, start = 0.0, 0.0
        for stage, (_, end) in enumerate(self.stages):
            share = end - max(start, self._progress)
            if share > 0:
                cost = self._costs[stage]
                seconds += share * (cost.step + cost.evaluation / self._evaluation_interval(stage))
            start = end
        return max(self._seconds_left, 0.0) / seconds if seconds else 0.0

    @property
    def _expected_steps(self) -> float:
        return self.step + (1 - self._progress) * self._steps_of_all


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def pace_of(settings: TrainSettings, stages: list[tuple[int, float]], steps_per_epoch: int) -> Pace:
    """The pace that the settings ask for; arguments as of `Pace`."""
    return (ByMinutes if settings.minutes else ByEpochs)(settings, stages, steps_per_epoch)
