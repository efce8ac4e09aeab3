"""Plans for made-up data sets and machines: each decision, and what turns it."""

import dataclasses

import numpy as np
import pytest
import yaml

from data.base.errors import UserError
from data.inspection.sample import Pair, Sample
from data.inspection.widths import WIDTHS
from data.label_map import LabelMap
from pipeline.config import Config
from pipeline.planning import DataFacts, Machine, make_plan
from pipeline.planning.numbers import ENCODERS, ENOUGH, LEAST_AREA, MINUTES, PRETRAINED, RANDOM, SHOWN

LAPTOP = Machine(2, 16 * 10**9, (), frozenset({PRETRAINED}))
BARE = Machine(2, 16 * 10**9)
SERVER = Machine(16, 128 * 10**9, (80 * 10**9,), frozenset({PRETRAINED}))


def facts(sizes=((360, 480),), train=367, test=233, thin=64, share=0.3, gray=False, names=("road", "pole")):
    """Two classes: one is wide everywhere, the other as wide as `thin`, with a share of the pixels."""
    sizes = np.array([sizes[index % len(sizes)] for index in range(12)])
    widths = np.zeros((12, len(names), len(WIDTHS)), int)
    widths[:, 0, WIDTHS.index(128)] = (1 - share) * sizes.prod(axis=1)
    widths[:, 1, WIDTHS.index(thin)] = share * sizes.prod(axis=1)
    return DataFacts({"train": train, "eval": 50, "test": test}, tuple(names), sizes, widths, gray)


def with_objects(*objects, names=("road", "pole")):
    """The same, with so many objects of each class in all images."""
    return dataclasses.replace(facts(names=names), objects=np.tile(objects, (12, 1)))


@pytest.mark.parametrize(
    ("of", "task"),
    [
        (facts(), ""),
        (with_objects(0, 2), "instance"),
        (with_objects(0, 1), ""),  # One in an image is all of its class.
        (with_objects(0, 0), ""),
        (with_objects(3, 2), ""),  # Nothing is left for pixels of no object.
    ],
)
def test_objects_are_told_apart_where_the_masks_do(of, task):
    plan = make_plan(of, LAPTOP)
    assert [choice.value for choice in plan.choices if choice.key == "task"] == [task] * bool(task)
    config = Config.model_validate(yaml.safe_load(plan.text("a", "b")))
    assert config.task == (task or "semantic")
    compared = {choice.key: choice.reason for choice in plan.choices}["gate.regression"]
    assert ("panoptic quality of things" in compared) == bool(task)


def test_stuff_beside_the_background_is_a_reason_for_a_panoptic_task():
    (task,) = (choice for choice in make_plan(with_objects(0, 2), LAPTOP).decided if choice.key == "task")
    assert task.reason.startswith("the masks tell objects apart, 24 of pole in 12 images; ")
    assert "panoptic finds the same, and counts road when" in task.reason
    of = with_objects(0, 2, names=("background", "pole"))
    (task,) = (choice for choice in make_plan(of, LAPTOP).decided if choice.key == "task")
    assert "panoptic" not in task.reason
    lines = make_plan(of, LAPTOP).text("a", "b").splitlines()
    assert lines.index("data:") > next(place for place, line in enumerate(lines) if line.startswith("task: instance  "))


def test_stuff_in_the_label_map_has_no_objects():
    entries = LabelMap.from_names(["road", "car"]).model_dump()
    widths, objects = np.zeros((256, len(WIDTHS)), int), np.zeros(256, int)
    widths[:2, 0], objects[:2] = 8, 3
    sample = Sample([Pair(4, 4, False, widths, objects=objects)], [])
    counts = {"train": 1, "eval": 1, "test": 1}
    of = DataFacts.of_sample(counts, sample, LabelMap.model_validate([{**entries[0], "kind": "stuff"}, entries[1]]))
    assert of.things.tolist() == [1]
    mixed = Sample([Pair(4, 4, False, widths, objects=objects), Pair(4, 4, False, widths)], [])
    assert DataFacts.of_sample(counts, mixed, LabelMap.model_validate(entries)).things.size == 0


def planned(of=None, machine=LAPTOP, minutes=MINUTES):
    return {choice.key: choice for choice in make_plan(of or facts(), machine, minutes).choices}


def value(key, *arguments, **options):
    return planned(*arguments, **options)[key].value


def size(*arguments, **options):
    plan = planned(*arguments, **options)
    return plan["preprocessing.height"].value, plan["preprocessing.width"].value


def test_more_minutes_allow_larger_images_up_to_their_own_size():
    sizes = [size(minutes=minutes) for minutes in (1, 5, 10, 20, 40, 80, 1000)]
    areas = [height * width for height, width in sizes]
    assert areas == sorted(areas)
    assert len(set(areas)) >= 4
    assert areas[0] >= LEAST_AREA
    assert sizes[-1] == (352, 480)


@pytest.mark.parametrize(
    ("own", "aspect"), [((720, 960), 4 / 3), ((500, 500), 1), ((1080, 1920), 16 / 9), ((800, 400), 1 / 2)]
)
def test_the_input_has_the_images_shape_in_multiples_of_32(own, aspect):
    for minutes in (3, 30):
        height, width = size(facts([own]), minutes=minutes)
        assert not height % 32
        assert not width % 32
        assert width / height == pytest.approx(aspect, rel=0.2)
    assert value("preprocessing.resize", facts([own])) == "stretch"


def test_as_many_images_are_shown_as_a_training_needs():
    reason = planned()["preprocessing.height"].reason
    assert reason.startswith("images are 480x360 (width x height); the largest of their shape for which there is time")
    shown = int(reason.partition("show about ")[2].partition(" at")[0].replace(",", ""))
    assert SHOWN <= shown < 2 * SHOWN


def test_images_that_the_encoder_enlarges_are_counted_as_what_they_cost():
    shown = []
    for machine in (LAPTOP, BARE):
        reason = planned(facts([(128, 128)]), machine)["preprocessing.height"].reason
        shown.append(int(reason.partition("show about ")[2].partition(" at")[0].replace(",", "")))
    pretrained, plain = ENCODERS[PRETRAINED], ENCODERS[RANDOM]
    costs = plain.images_per_second / pretrained.images_per_second * pretrained.enlarged
    assert shown[0] == pytest.approx(shown[1] / costs, rel=0.01)
    assert "model.enlargement" not in planned(facts([(128, 128)]))
    # In a minute it would show too few of them.
    short = planned(facts([(128, 128)]), minutes=1)
    assert short["model.enlargement"].value == 1
    assert "no time" in short["model.enlargement"].reason
    assert "model.enlargement" not in planned(facts([(360, 480)]), minutes=15)


def test_many_training_images_have_to_be_seen_more_than_once():
    few, many = size(facts(train=300)), size(facts(train=5000))
    assert many[0] * many[1] < few[0] * few[1]


def test_a_gpu_and_more_cores_allow_larger_images_and_batches():
    large = facts([(720, 960)])
    areas = [
        np.prod(size(large, machine)) for machine in (LAPTOP, Machine(8, LAPTOP.memory, (), LAPTOP.pretrained), SERVER)
    ]
    assert areas == sorted(set(areas))
    assert size(large, SERVER) == (704, 928)
    assert value("train.batch_size", large, SERVER) > value("train.batch_size", large, LAPTOP)


def test_little_memory_makes_smaller_batches_and_then_smaller_images():
    own = facts([(720, 960)])
    cramped = Machine(16, 32 * 10**9, (16 * 10**9,), frozenset({PRETRAINED}))
    assert value("train.batch_size", own, cramped) < value("train.batch_size", own, SERVER)
    tiny = Machine(16, 8 * 10**9, (4 * 10**9,), frozenset({PRETRAINED}))
    assert np.prod(size(own, tiny)) < np.prod(size(own, cramped))
    assert "memory" in planned(own, tiny)["preprocessing.height"].reason


def test_thin_structures_keep_images_from_being_made_small():
    wide, thin = (facts([(720, 960)], thin=pixels) for pixels in (64, 6))
    assert size(thin, minutes=14)[0] > size(wide, minutes=14)[0]
    # As small as they can be: three times smaller, poles of 6 pixels have 2.
    assert size(thin, minutes=14) == (256, 352)
    assert "the smallest at which pole (about 6 pixels wide in the images) can still be seen" in (
        planned(thin, minutes=14)["preprocessing.height"].reason
    )


def test_large_images_with_thin_structures_are_cut_into_patches():
    own = [(1500, 2000)]
    plan = planned(facts(own, train=20, thin=4))
    assert plan["preprocessing.resize"].value == "none"
    assert plan["preprocessing.height"].value == plan["preprocessing.width"].value >= 128
    assert "such as pole (about 4 pixels wide" in plan["preprocessing.resize"].reason
    assert plan["serving.max_latency_seconds"].value == 15
    assert value("preprocessing.resize", facts(own, train=20, thin=96)) == "stretch"
    # Where patches would not see all of the images, a plan says what is missing.
    plan = planned(facts(own, train=2000, thin=4))
    assert plan["preprocessing.resize"].value == "stretch"
    assert "To show pole (about 4 pixels wide in the images) it is too small: plan with more --minutes" in (
        plan["preprocessing.height"].reason
    )


def test_images_of_several_shapes_are_stretched_a_little_or_padded():
    assert value("preprocessing.resize", facts([(300, 400), (400, 300)])) == "stretch"
    assert size(facts([(300, 400), (400, 300)]))[0] == size(facts([(300, 400), (400, 300)]))[1]
    plan = planned(facts([(300, 900), (900, 300)]))
    assert plan["preprocessing.resize"].value == "pad"
    assert plan["preprocessing.resize"].reason.startswith("width / height is 0.33 to 3.00")


def test_panoramas_that_are_wider_than_an_input_may_be_are_padded():
    plan = planned(facts([(200, 3200)]))
    assert plan["preprocessing.width"].value <= 4.5 * plan["preprocessing.height"].value
    assert plan["preprocessing.resize"].value == "pad"
    assert plan["preprocessing.resize"].reason.startswith("width / height is 16.00; this keeps it")


def test_the_encoder_is_the_one_whose_weights_are_here():
    with_weights, without = planned(), planned(machine=BARE)
    assert with_weights["model.encoder"].value == PRETRAINED
    assert "model.filters" not in with_weights
    assert without["model.encoder"].value == RANDOM
    assert "extra pretrained" in without["model.encoder"].reason
    assert {"model.filters", "model.depth"} <= set(without)
    small = planned(facts([(48, 48)]))
    assert small["model.encoder"].value == RANDOM
    assert "too small" in small["model.encoder"].reason
    assert size(facts([(48, 48)])) == (48, 48)


def test_training_ends_of_its_own_accord_when_it_has_seen_enough():
    small = facts([(64, 64)])
    plan = planned(small, minutes=None)
    assert plan["train.minutes"].value < MINUTES
    shown = int(plan["train.minutes"].reason.partition("about ")[2].partition(" images")[0].replace(",", ""))
    assert shown >= ENOUGH * SHOWN
    assert value("train.minutes", small, minutes=45.5) == 45.5
    assert planned(small, minutes=45.5)["train.minutes"].reason.startswith("as you asked")
    assert value("train.minutes", minutes=None) == MINUTES


@pytest.mark.parametrize(("train", "batch_size"), [(3, 3), (10, 4), (200, 8)])
def test_few_images_make_small_batches(train, batch_size):
    assert value("train.batch_size", facts(train=train)) == batch_size


def test_rare_classes_count_more():
    rare, frequent = planned(facts(share=0.02)), planned(facts(share=0.3))
    assert rare["train.loss"].value == {"cross_entropy": 1, "dice": 1}
    assert rare["train.loss"].reason.startswith("pole, the rarest class, has 2.0% of the pixels")
    assert frequent["train.loss"].value == "cross_entropy"
    assert rare["train.class_weights"].value == "root_median_frequency"
    assert "road has 49 times as many pixels as pole" in rare["train.class_weights"].reason
    assert frequent["train.class_weights"].value == "none"


def test_gray_images_keep_their_levels():
    gray, colored = planned(facts(gray=True)), planned(facts())
    assert (gray["preprocessing.channels"].value, colored["preprocessing.channels"].value) == (1, 3)
    for key in ("brightness", "contrast"):
        assert gray[f"train.augmentation.{key}"].value == 0
        assert f"train.augmentation.{key}" not in colored


@pytest.mark.parametrize("name", ["left_lung", "Left lung", "lung-right", "leftLung", "LUNG RIGHT"])
def test_sides_are_not_mirrored(name):
    plan = planned(facts(names=("nothing", name)))
    assert plan["train.augmentation.flip_horizontal"].value is False
    assert plan["train.augmentation.flip_horizontal"].reason == f"mirrored, {name} would be on the other side"


@pytest.mark.parametrize("name", ["pole", "bright spot", "cleft", "copyright"])
def test_what_has_no_side_is_mirrored(name):
    assert value("train.augmentation.flip_horizontal", facts(names=("nothing", name))) is True


def test_the_gate_asks_for_more_than_one_class_everywhere():
    plan = planned(facts(share=0.4))
    assert plan["gate.min.mean_iou"].value == pytest.approx(0.3 + 0.7 / 4, abs=0.01)
    assert plan["gate.regression"].value == 0.01
    assert value("gate.regression", facts(test=99)) == "not_significantly_worse"


def test_a_class_that_the_sample_misses_does_not_make_the_gate_ask_for_everything():
    assert value("gate.min.mean_iou", facts(share=0)) == 0.62


def test_classes_without_a_pixel_do_not_count():
    of = facts(names=("road", "pole", "unicorn"), share=0.3)
    plan = planned(of)
    assert plan["train.loss"].value == "cross_entropy"
    assert size(of) == size(facts())


def test_the_file_is_yaml_with_its_reasons_in_lines_that_can_be_read():
    text = make_plan(facts(share=0.02), BARE).text("my-run", "output/my_tfrecords")
    assert max(map(len, text.splitlines())) <= 120
    values = yaml.safe_load(text)
    assert list(values) == ["name", "output", "data", "preprocessing", "model", "train", "gate", "serving"]
    assert values["data"] == {"input": "output/my_tfrecords"}
    assert "2 cores, 16 GB, no GPU" in text
    assert "12 of 650 images" in text
    # What has no reason is the default, as the file says.
    decided = {section: {} for section in ("preprocessing", "model", "train", "serving")}
    defaults = Config.model_validate(values | decided)
    for choice in make_plan(facts(), LAPTOP).choices:
        if not choice.reason:
            section, key = choice.key.split(".")
            assert choice.value == getattr(getattr(defaults, section), key)


def test_masks_without_a_class_and_splits_without_an_image_are_refused():
    pair = Pair(4, 4, False, np.zeros((256, len(WIDTHS)), int))
    with pytest.raises(UserError, match=r"in the 1 masks .* all pixels are ignored"):
        DataFacts.of_sample({"train": 1, "eval": 1, "test": 1}, Sample([pair], []), LabelMap.from_names(["a", "b"]))
    pair.widths[0, 3] = 16
    with pytest.raises(UserError, match="no example is in eval; a run needs some in each of train, eval, test"):
        DataFacts.of_sample({"train": 1, "eval": 0, "test": 1}, Sample([pair], []), LabelMap.from_names(["a", "b"]))


@pytest.mark.parametrize("length", [5, 60, 80, 100, 150, 300])
def test_a_long_path_leaves_room_for_its_reason(length):
    path = "/" + "x" * length
    text = make_plan(facts(), LAPTOP).text("name", path)
    assert yaml.safe_load(text)["data"]["input"] == path
    assert max(len(line) for line in text.splitlines() if path not in line) <= 120
