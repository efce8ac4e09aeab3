import json
import pathlib
import re
import runpy
import signal

import numpy as np
import pytest
import tensorflow as tf

from data.base.errors import UserError
from data.contract import IMAGE, MASK
from data.splits import fold_of
from models.ensemble import folds, out_of_fold
from models.evaluation import metrics
from models.inputs.input_pipeline import DecodedExamples
from models.serving import signatures
from models.training import trainer
from models.training.settings import TrainerConfig
from models.training.warm_start import warm_start

ROOT = pathlib.Path(__file__).parents[3]
SCRIPT = pathlib.Path(__file__).with_name("folds_training.py")
FOLDS = 2


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def train(warm_python):
    """Trains in a process of its own; returns a digest of all weights, or None if it was killed."""

    def train(folder, settings, ends_by=0, model="", step=0):
        folder.mkdir(exist_ok=True)
        (folder / "run").mkdir(exist_ok=True)
        arguments = (str(folder), json.dumps(settings), str(int(ends_by)), model, str(step))
        finished = warm_python(str(SCRIPT), *arguments, PYTHONPATH=str(ROOT))
        if finished.returncode != -ends_by:
            pytest.fail(finished.stderr[-3000:])
        return None if ends_by else finished.stdout.split()[-1]

    return train


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    """A folder with a training of several models, and the digest of their weights."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(folder, {"folds": FOLDS})


@pytest.fixture(scope="module")
def models(undisturbed, script):
    """The models one by one, as their files of weights hold them."""
    folder, _ = undisturbed
    result = []
    for name in folds.member_names(FOLDS):
        config = TrainerConfig.model_validate(script["config"](folder, {}))
        result.append(trainer._build(config, script["CLASSES"], "float32"))
        result[-1].load_weights(folder / "run" / name / "best.weights.h5")
    return result


def decoded(script, folder):
    """All examples of a training, as the trainer has them."""
    files = [str(folder / split) for split in script["EXAMPLES"]]
    shape = TrainerConfig.model_validate(script["config"](folder, {})).preprocessing
    return DecodedExamples(files, script["transform"], shape, sum(script["EXAMPLES"].values()), "")


def test_each_model_is_measured_on_what_it_did_not_learn_from(undisturbed, script):
    folder, _ = undisturbed
    examples = decoded(script, folder)
    config = TrainerConfig.model_validate(script["config"](folder, {"folds": FOLDS, "seed": 5}))
    members = folds.members(config, [examples])
    everything = sorted(examples.source_ids(np.arange(examples.count)))
    measured = []
    for index, member in enumerate(members):
        learned, held_out = (part.source_ids(np.arange(part.count)) for part in (member.training, member.evaluation))
        assert sorted(learned + held_out) == everything
        assert {fold_of(group, FOLDS) for group in member.evaluation.groups()} == {index}
        assert index not in {fold_of(group, FOLDS) for group in member.training.groups()}
        measured += held_out
        # What is taken are the images with these names.
        images, _ = member.evaluation.take(tf.range(member.evaluation.count, dtype=tf.int64))
        wanted = [everything_by_name(examples)[name] for name in held_out]
        np.testing.assert_array_equal(images, wanted)
    assert sorted(measured) == everything
    assert [member.name for member in members] == ["fold1", "fold2"]
    assert [member.config.train.seed for member in members] == [10, 11]
    # The first four of each split are of one group.
    for split in script["EXAMPLES"]:
        group = {f"{split}_{index}" for index in range(script["GROUPED"])}
        assert (
            sum(
                bool(group & set(member.evaluation.source_ids(np.arange(member.evaluation.count))))
                for member in members
            )
            == 1
        )


def everything_by_name(examples):
    images, _ = examples.take(tf.range(examples.count, dtype=tf.int64))
    return dict(zip(examples.source_ids(np.arange(examples.count)), images.numpy(), strict=True))


def test_without_folds_one_model_learns_from_the_splits(script, tmp_path):
    for number in (0, 1):
        config = TrainerConfig.model_validate(script["config"](tmp_path, {"folds": number}))
        assert folds.members(config, ["train", "eval"]) == [folds.Member("", config, "train", "eval")]


def test_a_fold_without_images_is_refused_with_a_number_that_would_do(undisturbed, script):
    folder, _ = undisturbed
    examples = decoded(script, folder)
    few = examples.select(np.array([4, 5, 6, 7]))
    config = TrainerConfig.model_validate(script["config"](folder, {"folds": 15}))
    with pytest.raises(UserError, match=r"train.folds: 15 would leave a fold empty: .* have 4 images") as caught:
        folds.members(config, [few])
    number = int(re.search(r"set it to (\d+)$", str(caught.value))[1])
    assert number > 1
    assert len(folds.members(config.with_values({"train.folds": number}), [few])) == number


def test_the_exported_model_averages_the_probabilities(undisturbed, models, script):
    folder, _ = undisturbed
    examples = list(script["examples"]("eval"))
    images = tf.constant([example.image for example in examples])
    normalized = script["transform"]({IMAGE: images})["image"]
    expected = np.mean([tf.nn.softmax(model(normalized)) for model in models], axis=0)
    serve = tf.saved_model.load(str(folder / "model")).signatures["serving_default"](images)
    np.testing.assert_allclose(serve[signatures.CONFIDENCE], expected.max(axis=-1), atol=1e-5)
    best_two = np.sort(expected, axis=-1)[..., -2:]
    clear = best_two[..., 1] - best_two[..., 0] > 1e-5
    np.testing.assert_array_equal(serve[signatures.CLASS_IDS][clear], expected.argmax(axis=-1)[clear])
    # The models are not the same one.
    assert not np.allclose(models[0](normalized), models[1](normalized), atol=0.01)
    facts = signatures.read_facts(str(folder / "model"))
    assert (facts["train"]["folds"], facts["held_out"]) == (FOLDS, True)


def test_each_image_is_judged_by_the_model_that_did_not_learn_from_it(undisturbed, models, script):
    folder, _ = undisturbed
    doubts = out_of_fold.read(str(folder / "run" / folds.DOUBTS_FILE))
    assert [doubt.mean_iou for doubt in doubts] == sorted(doubt.mean_iou for doubt in doubts)
    by_name = {doubt.image: doubt for doubt in doubts}
    examples = [example for split in script["EXAMPLES"] for example in script["examples"](split)]
    assert sorted(by_name) == sorted(example.source_id for example in examples)
    assert len(doubts) == len(examples)
    for example in examples:
        doubt = by_name[example.source_id]
        assert doubt.fold == fold_of(example.group or example.source_id, FOLDS) + 1
        features = script["transform"]({IMAGE: tf.constant([example.image]), MASK: tf.constant([example.mask])})
        label = features["label"].numpy()[0]
        logits = models[doubt.fold - 1](features["image"])[0]
        confusion = metrics.confusion_matrix(label, tf.argmax(logits, axis=-1), script["CLASSES"])
        assert doubt.mean_iou == pytest.approx(metrics.mean_iou(metrics.class_totals(confusion)), abs=0.02)
        probabilities = np.take_along_axis(tf.nn.softmax(logits).numpy(), label[..., np.newaxis].astype(int), axis=-1)
        assert doubt.cross_entropy == pytest.approx(-np.log(probabilities).mean(), rel=1e-3)


@pytest.mark.one_line
def test_a_run_that_is_killed_goes_on_with_the_model_it_was_at(train, undisturbed, tmp_path):
    _, expected = undisturbed
    folder, settings = tmp_path / "killed", {"folds": FOLDS}
    # Of the second model there is no checkpoint yet.
    assert train(folder, settings, signal.SIGKILL, "fold2", 1) is None
    (checkpoints,) = (folder / "checkpoints").iterdir()
    assert [path.name for path in checkpoints.iterdir()] == ["fold1"]
    first = {path: path.stat().st_mtime_ns for path in checkpoints.glob("fold1/*/*.index")}
    assert train(folder, settings) == expected
    assert {path: path.stat().st_mtime_ns for path in checkpoints.glob("fold1/*/*.index")} == first
    assert (checkpoints / "exported").exists()


@pytest.mark.parametrize(
    ("number", "index", "begins_as"), [(FOLDS, 1, 1), (0, 0, 0), (3, 1, 0)], ids=["the same folds", "none", "others"]
)
def test_a_warm_start_takes_the_model_of_the_same_fold(undisturbed, models, script, number, index, begins_as):
    folder, _ = undisturbed
    config = TrainerConfig.model_validate(
        {**script["config"](folder, {"folds": number}), "deployed_model": str(folder / "model"), "member": index}
    )
    model = trainer._build(config, script["CLASSES"], "float32")
    assert warm_start(model, config)
    for weight, expected in zip(model.get_weights(), models[begins_as].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    # With other folds, a model has seen some of what it would be measured on.
    assert folds.are_held_out(config) == (number == FOLDS)


def test_a_deployed_model_whose_facts_are_damaged_fails_no_training(script, tmp_path):
    path = tmp_path / "model" / signatures.FACTS_PATH
    path.parent.mkdir(parents=True)
    path.write_text("{")
    config = script["config"](tmp_path, {"folds": FOLDS}) | {"deployed_model": str(tmp_path / "model")}
    assert not folds.are_held_out(TrainerConfig.model_validate(config))


def test_what_models_doubt_is_written_worst_first_and_read_again(tmp_path):
    doubts = [
        out_of_fold.Doubt('a, "b"', 1, 0.5, 0.1),
        out_of_fold.Doubt("Ärger\n", 2, 0.25, 1.5),
        out_of_fold.Doubt("c", 1, 0.5, 0.2),
    ]
    path = str(tmp_path / "doubts.csv")
    assert out_of_fold.read(path) == []
    out_of_fold.write(doubts, path)
    assert out_of_fold.read(path) == [doubts[1], doubts[2], doubts[0]]
