import numpy as np
import pytest

from models.training.learning_rates import learning_rates
from models.training.pace import ByEpochs, ByMinutes, pace_of
from models.training.settings import TrainSettings

STAGES = [(2, 0.4), (1, 0.8), (0, 1.0)]
# By stage; not in proportion to the pixels.
STEP_SECONDS, EVALUATION_SECONDS = [0.1, 0.3, 1.0], [0.2, 0.5, 2.0]


class Training:
    """A training on a machine whose clock stands still between steps."""

    def __init__(self, minutes, stages=STAGES, steps_per_epoch=20, **settings):
        self.now, self.slowness = 0.0, 1.0
        self.settings = TrainSettings(minutes=minutes, **settings)
        self.pace = self.started(stages, steps_per_epoch)
        self.steps, self.positions, self.evaluations = [0] * len(stages), [], []
        self.evaluation_seconds = 0.0

    def started(self, stages, steps_per_epoch):
        return ByMinutes(self.settings, stages, steps_per_epoch, lambda: self.now)

    def measure(self, wrong_by=1.0, startup=1.0):
        for stage in self.pace.unmeasured:
            halvings = 2 - self.pace.stages[stage][0]
            self.pace.measured(stage, wrong_by * STEP_SECONDS[halvings], wrong_by * EVALUATION_SECONDS[halvings], 3)
            self.now += startup

    def run(self, until=float("inf")):
        """Trains to the end, or to a time in seconds; within an epoch then."""
        pace = self.pace
        while not pace.is_finished and self.now < until:
            stage, size = pace.stage, 2 - pace.stages[pace.stage][0]
            pace.begin()
            self.positions.append((pace.progress, pace.warmup))
            self.now += self.slowness * STEP_SECONDS[size]
            pace.after_step()
            self.steps[stage] += 1
            if pace.evaluates:
                pace.begin()
                self.now += self.slowness * EVALUATION_SECONDS[size]
                self.evaluation_seconds += self.slowness * EVALUATION_SECONDS[size]
                pace.after_evaluation()
                self.evaluations.append((stage, pace.step))

    def learning_rates(self, *of):
        """Of some steps, by index, such as -1."""
        rate = learning_rates(self.settings, self.pace.small_sizes)
        return np.array([rate(*self.positions[index]) for index in of])


def test_an_epoch_is_evaluated_and_each_step_is_worth_the_same():
    pace = pace_of(TrainSettings(epochs=5, warmup_epochs=2), [(1, 0.4), (0, 1.0)], 6)
    assert isinstance(pace, ByEpochs)
    seen = []
    while not pace.is_finished:
        before = (pace.stage, pace.progress)
        pace.after_step()
        if pace.evaluates:
            pace.after_evaluation()
            seen.append((pace.step, pace.point, pace.describe(), *before))
    assert [step for step, *_ in seen] == [6, 12, 18, 24, 30]
    assert [point for _, point, *_ in seen] == [0, 1, 2, 3, 4]
    assert [words for _, _, words, *_ in seen] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert [stage for *_, stage, _ in seen] == [0, 0, 1, 1, 1]
    assert seen[2][-1] == 17 / 30
    assert pace.warmup == 0.4


@pytest.mark.parametrize("minutes", [1, 10, 40])
def test_the_whole_schedule_fits_into_the_time(minutes):
    training = Training(minutes)
    training.measure()
    training.run()
    assert training.now == pytest.approx(60 * minutes, abs=1.1)
    few = [*range(10), *range(10, len(training.positions) - 1, len(training.positions) // 50), -1]
    rates = training.learning_rates(*few)
    assert rates.max() == pytest.approx(training.settings.learning_rate)
    assert rates[0] == 0
    assert rates[-1] < 0.05 * rates.max()
    at_peak = int(np.argmax(rates > 0.999 * rates.max()))
    assert (np.diff(rates[: at_peak + 1]) > 0).all()
    assert (np.diff(rates[at_peak:]) <= 1e-6).all()
    # The shares are those of the steps, as by epochs.
    shares = np.array(training.steps) / sum(training.steps)
    np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=0.04)
    # The last steps are evaluated, at the full size.
    assert training.evaluations[-1] == (2, training.pace.step)
    assert training.evaluation_seconds < 0.15 * training.now


@pytest.mark.parametrize(
    ("minutes", "asked", "expected"), [(4, "auto", 0.7), (15, "auto", 0.4), (40, "auto", 0.2), (4, 0.2, 0.2)]
)
def test_images_stay_small_for_longer_where_few_of_the_full_size_fit(minutes, asked, expected):
    """240, 900 and 2,400 steps of 8 images."""
    stages = [(2, 0.1), (1, 0.2), (0, 1.0)]
    training = Training(minutes, stages, small_sizes=asked)
    training.measure()
    training.pace.begin_schedule()
    assert training.pace.small_sizes == pytest.approx(expected)
    training.run(until=100)
    # Killed: the next process times the stages that are left, and keeps what was decided.
    before = training.pace
    training.pace = training.started(stages, 20)
    training.pace.go_on(before.step, before.state)
    training.measure()
    training.pace.begin_schedule()
    np.testing.assert_allclose(training.pace.stages, before.stages)
    training.run()
    assert training.now == pytest.approx(60 * minutes, abs=4.1)
    shares = np.array(training.steps) / sum(training.steps)
    np.testing.assert_allclose(shares, [expected / 2, expected / 2, 1 - expected], atol=0.05)


@pytest.mark.parametrize("slowness", [0.4, 1.7, 5])
@pytest.mark.parametrize("at", [5, 200, 500])
def test_a_machine_that_gets_slower_or_faster_changes_the_steps_but_not_the_end(slowness, at):
    training, steady = Training(10), Training(10)
    for one in (training, steady):
        one.measure()
    training.run(until=at)
    training.slowness = slowness
    training.run()
    steady.run()
    assert training.now == pytest.approx(600, abs=max(2, 2 * slowness))
    if at < 200:
        shares = np.array(training.steps) / sum(training.steps)
        np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=0.1)
    assert (training.pace.step < steady.pace.step) == (slowness > 1)
    assert training.learning_rates(-1) < 0.05 * training.settings.learning_rate


@pytest.mark.parametrize("wrong_by", [0.2, 5])
def test_a_wrong_measurement_at_the_beginning_is_made_good(wrong_by):
    training = Training(10)
    training.measure(wrong_by)
    training.run()
    assert training.now == pytest.approx(600, abs=2.1)
    assert training.learning_rates(-1) < 0.05 * training.settings.learning_rate
    assert all(training.steps)


def test_one_long_pause_takes_its_time_and_no_more():
    training = Training(10)
    training.measure()
    training.run(until=450)
    before = training.pace.progress
    training.pace.begin()
    training.now += 30
    training.pace.after_step()
    training.run(until=500)
    assert training.pace.progress - before < 0.2
    training.run()
    assert training.now == pytest.approx(600, abs=1.1)


def test_one_long_evaluation_neither_ends_the_training_early_nor_makes_evaluations_rare():
    training = Training(10)
    training.measure()
    training.run(until=300)
    before = len(training.evaluations)
    while not training.pace.evaluates:
        training.run(until=training.now + 0.01)
    training.pace.begin()
    training.now += 60
    training.pace.after_evaluation()
    training.run()
    assert training.now == pytest.approx(600, abs=2.1)
    assert len(training.evaluations) - before >= 5


def test_a_resumed_training_takes_the_time_that_is_left():
    training = Training(10)
    training.measure()
    training.run(until=250)
    if not training.pace.since_evaluation:
        training.run(until=training.now + 0.1)
    step, state = training.pace.step, training.pace.state
    assert training.pace.since_evaluation > 0
    progress = training.pace.progress
    # A day later, in another process.
    training.now += 86_400
    took, began = training.now - 86_400, training.now
    training.pace = training.started(STAGES, 20)
    training.pace.go_on(step, np.array(state))
    assert (training.pace.step, training.pace.progress) == (step, progress)
    np.testing.assert_allclose(training.pace.state, state)
    assert list(training.pace.unmeasured) == list(range(training.pace.stage, 3))
    training.measure()
    training.run()
    assert training.now - began == pytest.approx(600 - took, abs=1.1)
    assert training.learning_rates(-1) < 0.05 * training.settings.learning_rate


def test_what_ended_has_nothing_to_measure():
    training = Training(1)
    training.measure()
    training.run()
    again = training.started(STAGES, 20)
    again.go_on(training.pace.step, training.pace.state)
    assert again.is_finished
    assert not again.unmeasured
    assert again.describe() == f"{again.step / 20:.2g}, 1.0 of 1 minutes"


def test_a_time_too_short_for_one_epoch_is_evaluated_within_it():
    training = Training(10, steps_per_epoch=10_000)
    training.measure()
    training.run()
    assert training.pace.step < 10_000
    at_full_size = [step for stage, step in training.evaluations if stage == 2]
    assert len(at_full_size) > 5
    assert at_full_size[-1] == training.pace.step
    assert training.now == pytest.approx(600, abs=1.1)
    # The warm-up of two epochs would not end.
    middle = len(training.positions) // 2
    assert training.learning_rates(middle) == pytest.approx(training.settings.learning_rate)
    assert training.pace.epochs == training.pace.step / 10_000


def test_evaluations_that_take_long_are_rare_and_at_the_end_of_epochs():
    training = Training(20, steps_per_epoch=2)
    training.measure()
    training.run()
    steps_at_full_size = [step for stage, step in training.evaluations if stage == 2]
    # An evaluation takes as long as two steps.
    assert set(np.diff(steps_at_full_size[:-1])) == {20}
    assert not any(step % 2 for step in steps_at_full_size[:-1])
    assert training.now == pytest.approx(1200, abs=1.1)


def test_a_time_that_is_over_before_it_begins_ends_with_a_step_at_the_full_size():
    training = Training(0.01)
    training.measure(startup=5)
    training.run()
    assert training.steps == [1, 0, 1]
    assert training.evaluations[-1] == (2, 2)


def test_one_stage_alone_has_all_the_time():
    training = Training(10, stages=[(0, 1.0)], warmup_epochs=1, schedule="polynomial")
    training.measure()
    training.run()
    assert training.now == pytest.approx(600, abs=1.1)
    # A linear warm-up of an epoch.
    peak = training.settings.learning_rate
    np.testing.assert_allclose(training.learning_rates(*range(10)), np.arange(10) / 20 * peak, rtol=0.1)
    assert "of about" not in training.pace.describe()


def test_progress_is_told_in_epochs_and_minutes():
    training = Training(8)
    training.measure()
    training.run(until=186)
    trained, expected = training.pace.describe().removesuffix(", 3.1 of 8 minutes").split(" of about ")
    assert float(trained) == pytest.approx(training.pace.epochs, abs=0.5)
    training.run()
    assert float(expected) == pytest.approx(training.pace.epochs, rel=0.1)
