"""The push destination: versions appear whole, and the baseline is what stood there before the candidate."""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf
from tfx.components.pusher import executor as tfx_pusher_executor
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components import pusher
from components.deployed_model import MEASURED_PROPERTY, NO_VERSION, find_baseline, measured_versions
from components.evaluator import BASELINE_VERSION_PROPERTY
from data.base.errors import UserError
from models.evaluation.gate import Measured
from models.serving.signatures import FACTS_PATH
from models.serving.versions import (
    MARKERS,
    NotAModelError,
    deployed_version,
    fingerprint,
    model_folder,
    numbers,
    read_measured,
    roll_back,
    rollbacks,
    rolled_back,
    servable_versions,
    taken_numbers,
    version_path,
)


def save_model(folder, value, class_names=("a", "b")):
    """A SavedModel with one weight, and the facts that segpipe keeps with a model."""
    module = tf.Module()
    module.weight = tf.Variable(float(value))
    module.serve = tf.function(lambda: {"y": module.weight + 0.0}, input_signature=[])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    path = folder / FACTS_PATH
    path.parent.mkdir(exist_ok=True)
    labels = ",".join(f'{{"id": {index}, "name": "{name}"}}' for index, name in enumerate(class_names))
    path.write_text(f'{{"label_map": [{labels}]}}')
    return str(folder)


def test_a_fingerprint_is_tensorflows_and_found_without_it(tmp_path):
    model = save_model(tmp_path / "model", 1)
    of_tensorflow = tf.saved_model.experimental.read_fingerprint(model)
    values = (of_tensorflow.saved_model_checksum, of_tensorflow.checkpoint_hash)
    script = (
        "import sys; from models.serving.versions import fingerprint; "
        "print(fingerprint(sys.argv[1]), [name for name in ('tensorflow', 'tfx') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script, model], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "{:x}-{:x} []".format(*values)


def artifact(kind, path):
    result = kind()
    result.uri = str(path)
    return result


def push_to(destination, model_uri, executor=pusher.Executor, baseline_version=None, measured=""):
    """Pushes a model as the Pusher component would; the artifact's folder is new each time."""
    blessing = standard_artifacts.ModelBlessing()
    blessing.set_int_custom_property("blessed", 1)
    blessing.set_string_custom_property(MEASURED_PROPERTY, measured)
    if baseline_version is not None:
        blessing.set_int_custom_property(BASELINE_VERSION_PROPERTY, baseline_version)
    pushed = artifact(standard_artifacts.PushedModel, model_uri.parent / f"pushed_{os.urandom(4).hex()}")
    config = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(destination))
    )
    executor().Do(
        {"model": [artifact(standard_artifacts.Model, model_uri)], "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": proto_utils.proto_to_json(config)},
    )
    return pushed


@pytest.fixture
def push(tmp_path):
    """Pushes to a folder of this machine."""
    destination = str(tmp_path / "serving")
    return functools.partial(push_to, destination), destination


def test_fingerprints_tell_weights_apart(tmp_path):
    one = save_model(tmp_path / "one", 1)
    two = save_model(tmp_path / "two", 2)
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(two)
    for marker in MARKERS:
        pathlib.Path(two, marker).rename(tmp_path / "elsewhere")
        with pytest.raises(NotAModelError, match=f"has no {marker}"):
            fingerprint(two)
        (tmp_path / "elsewhere").rename(pathlib.Path(two, marker))
    pathlib.Path(two, "fingerprint.pb").write_bytes(b"no fingerprint")
    with pytest.raises(NotAModelError):
        fingerprint(two)


def test_the_names_of_versions_are_numbers(tmp_path):
    for name in ("3", "20", ".incoming", "notes", "007", "²", "٣"):
        (tmp_path / name).mkdir()
    assert numbers(str(tmp_path)) == [3, 20]
    assert numbers(str(tmp_path / "nowhere")) == []


def test_what_is_no_model_hides_no_version(tmp_path):
    save_model(tmp_path / "5", 5)
    save_model(tmp_path / "6", 6)
    (tmp_path / "6" / "saved_model.pb").unlink()
    (tmp_path / "7").mkdir()
    (tmp_path / "8").touch()
    assert list(servable_versions(str(tmp_path))) == [5]
    assert deployed_version(str(tmp_path)) == 5
    assert model_folder(str(tmp_path)) == model_folder(str(tmp_path / "5")) == str(tmp_path / "5")
    for folder in ("7", "nowhere"):
        with pytest.raises(UserError, match=f"{folder} holds no model"):
            model_folder(str(tmp_path / folder))


def test_versions_appear_whole_and_grow(push, tmp_path):
    push_model, destination = push
    for value in (1, 2):
        uri = tmp_path / f"model_{value}"
        save_model(uri / "Format-Serving", value)
        # What a push that was killed leaves behind.
        killed = tmp_path / "serving" / ".incoming-killed" / "saved_model.pb"
        killed.parent.mkdir(parents=True)
        killed.touch()
        os.utime(killed, (0, 0))
        pushed = push_model(uri)
        newest = numbers(destination)[-1]
        assert pushed.get_string_custom_property("pushed_version") == str(newest)
        assert fingerprint(version_path(destination, newest)) == fingerprint(str(uri / "Format-Serving"))
        assert sorted(os.listdir(destination)) == [str(version) for version in numbers(destination)]
    # Two pushes within a second still are two versions.
    assert len(numbers(destination)) == 2


def test_a_push_beside_one_that_is_going_on_and_after_one_that_failed(push, tmp_path, monkeypatch):
    push_model, destination = push
    going_on = tmp_path / "serving" / ".incoming-other" / "saved_model.pb"
    going_on.parent.mkdir(parents=True)
    going_on.touch()
    save_model(tmp_path / "model" / "Format-Serving", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            push_model(tmp_path / "model")
    assert os.listdir(destination) == [".incoming-other"]
    push_model(tmp_path / "model")
    assert going_on.exists()
    assert len(numbers(destination)) == 1


def test_stray_folders_hide_no_model_and_are_numbered_over(push, tmp_path):
    push_model, destination = push
    save_model(tmp_path / "serving" / "5", 5)
    stray = 4_000_000_000
    (tmp_path / "serving" / str(stray)).mkdir()
    candidate = save_model(tmp_path / "model" / "Format-Serving", 1)
    assert find_baseline(destination, candidate) == 5
    pushed = push_model(tmp_path / "model")
    assert pushed.get_string_custom_property("pushed_version") == str(stray + 1)
    assert find_baseline(destination, candidate) == stray + 1


def test_an_entry_for_ignore_makes_no_other_classes(tmp_path):
    candidate = save_model(tmp_path / "candidate", 1)
    deployed = save_model(tmp_path / "serving" / "2", 2)
    facts = pathlib.Path(deployed, FACTS_PATH)
    entries = json.loads(facts.read_text())["label_map"]
    facts.write_text(json.dumps({"label_map": [*entries, {"id": 255, "name": "ignore"}]}))
    assert find_baseline(str(tmp_path / "serving"), candidate) == 2


@pytest.mark.parametrize(
    ("input_", "baseline"),
    [({"channels": 1}, 2), ({"intensity_range": [0, 4095]}, 2), ({"type": "uint16"}, 0), ({"bands": 4}, 0)],
)
def test_a_model_of_images_of_another_type_or_bands_cannot_be_compared(tmp_path, input_, baseline):
    candidate = save_model(tmp_path / "candidate", 1)
    facts = pathlib.Path(save_model(tmp_path / "serving" / "2", 2), FACTS_PATH)
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "preprocessing": input_}))
    assert find_baseline(str(tmp_path / "serving"), candidate) == baseline


def test_a_model_that_is_deployed_is_not_pushed_again(push, tmp_path):
    push_model, destination = push
    save_model(tmp_path / "model" / "Format-Serving", 1)
    first = push_model(tmp_path / "model")
    second = push_model(tmp_path / "model", baseline_version=numbers(destination)[0])
    assert len(numbers(destination)) == 1
    assert first.get_string_custom_property("pushed_version") == second.get_string_custom_property("pushed_version")
    assert second.get_int_custom_property("pushed") == 1
    # A run that was killed after it had pushed, compared with what it replaced; so does the one that repeats it.
    repeated = push_model(tmp_path / "model", baseline_version=NO_VERSION)
    assert [item.get_int_custom_property(pusher.FOUND_PROPERTY) for item in (first, second, repeated)] == [0, 1, 0]


def test_a_model_is_pushed_only_over_what_it_was_compared_with(push, tmp_path):
    """Several pipelines may push to one destination, and people roll back while a run goes on."""
    push_model, destination = push
    first, second, third = push_three(push_model, tmp_path)
    save_model(tmp_path / "model_4" / "Format-Serving", 4)
    for compared, message in ((second, f"version {second}"), (NO_VERSION, "no version")):
        with pytest.raises(
            UserError, match=f"version {third} is deployed, but .* compared with {message}, which .*again"
        ):
            push_model(tmp_path / "model_4", baseline_version=compared)
    roll_back(destination)
    with pytest.raises(UserError, match=f"version {second} is deployed, but .* compared with version {third}"):
        push_model(tmp_path / "model_4", baseline_version=third)
    assert numbers(destination) == [first, second]
    assert not [name for name in os.listdir(destination) if name.startswith(".incoming")]
    assert push_model(tmp_path / "model_4", baseline_version=second).get_int_custom_property("pushed") == 1
    # What stands there already is not pushed, whatever it was compared with.
    assert push_model(tmp_path / "model_4", baseline_version=first).get_int_custom_property("pushed") == 1


def test_the_baseline_is_what_is_deployed_even_if_that_is_the_candidate(tmp_path):
    destination = tmp_path / "serving"
    candidate = save_model(tmp_path / "candidate", 3)
    assert find_baseline(str(destination), candidate) == NO_VERSION
    save_model(destination / "1", 1)
    save_model(destination / "2", 2)
    assert find_baseline(str(destination), candidate) == 2
    shutil.copytree(candidate, destination / "3")
    assert find_baseline(str(destination), candidate) == 3
    # A rollback changes the answer, also to a run that repeats the one that pushed it.
    roll_back(str(destination))
    assert find_baseline(str(destination), candidate) == 2
    assert find_baseline(str(destination), candidate, repeated_version=3) == 2
    # A model of other classes cannot be compared with.
    save_model(destination / "4", 4, class_names=("a", "c"))
    assert find_baseline(str(destination), candidate) == NO_VERSION


def test_a_run_that_repeats_the_one_that_pushed_the_candidate_asks_what_that_one_did(tmp_path):
    destination = tmp_path / "serving"
    candidate = save_model(destination / "3", 3)
    assert find_baseline(str(destination), candidate, repeated_version=3) == NO_VERSION
    save_model(destination / "1", 1)
    save_model(destination / "2", 2)
    assert find_baseline(str(destination), candidate, repeated_version=3) == 2
    # Of what is deployed no more, nothing is repeated.
    save_model(destination / "4", 4)
    assert find_baseline(str(destination), candidate, repeated_version=3) == 4
    # A rollback by deletion changes the answer.
    for version in ("4", "2"):
        shutil.rmtree(destination / version)
    assert find_baseline(str(destination), candidate, repeated_version=3) == 1


def test_what_was_measured_of_a_model_is_kept_with_its_version(push, tmp_path):
    push_model, destination = push
    numbers = []
    for value in (1, 2, 3, 4):
        save_model(tmp_path / f"model_{value}" / "Format-Serving", value, class_names=("a", "c" if value == 2 else "b"))
        measured = dataclasses.asdict(Measured(0, "digest", "model", {"mean_iou": value / 10}))
        pushed = push_model(tmp_path / f"model_{value}", measured=json.dumps(measured) if value != 3 else "")
        numbers.append(int(pushed.get_string_custom_property("pushed_version")))
    candidate = str(tmp_path / "model_4" / "Format-Serving")
    assert fingerprint(version_path(destination, numbers[3])) == fingerprint(candidate)
    assert read_measured(destination, numbers[3]).metrics == {"mean_iou": 0.4}
    # The second has other classes; an earlier release, which kept nothing, pushed the third; the last is the candidate.
    first, third = Measured(numbers[0], "digest", "model", {"mean_iou": 0.1}), Measured(numbers[2])
    assert measured_versions(destination, candidate, 10) == [first, third]
    assert measured_versions(destination, candidate, 2) == [third]
    assert measured_versions(destination, candidate, 0) == []
    # What was rolled back was good on the test split, and not in production.
    roll_back(destination, numbers[0])
    assert measured_versions(destination, candidate, 10) == [first]


def push_three(push_model, tmp_path):
    numbers = []
    for value in (1, 2, 3):
        save_model(tmp_path / f"model_{value}" / "Format-Serving", value)
        numbers.append(int(push_model(tmp_path / f"model_{value}").get_string_custom_property("pushed_version")))
    return numbers


def test_a_rollback_moves_what_is_newer_aside_and_back(push, tmp_path, monkeypatch):
    push_model, destination = push
    first, second, third = push_three(push_model, tmp_path)
    present = []
    rename = os.rename

    def watched(source, target):
        present.append(max(servable_versions(destination)))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    assert roll_back(destination, first) == (third, first)
    # The newest was deployed until it was the last to go.
    assert present == [third, third]
    assert numbers(destination) == [first]
    assert list(rolled_back(destination)) == [second, third]
    assert roll_back(destination, second) == (first, second)
    assert numbers(destination) == [first, second]
    assert roll_back(destination) == (second, first)
    assert [(event["from"], event["to"]) for event in rollbacks(destination)] == [
        (third, first),
        (first, second),
        (second, first),
    ]
    assert tf.saved_model.load(version_path(destination, first)).signatures["serving_default"]()["y"] == 1


def test_a_model_that_was_rolled_back_is_not_pushed_again(push, tmp_path):
    push_model, destination = push
    _, second, third = push_three(push_model, tmp_path)
    roll_back(destination)
    exports = tmp_path / "model_3" / "Format-Serving" / "assets.extra" / "exports" / "exports.json"
    for listed in ("", '{"onnx": {"mean_iou": 0.8, "agreement": 1, "milliseconds": 5}}'):
        if listed:
            exports.parent.mkdir(parents=True)
            exports.write_text(listed)
        again = push_model(tmp_path / "model_3")
        assert again.get_int_custom_property("pushed") == 0
        assert f"it is version {third}, which was rolled back" in again.get_string_custom_property("reason")
    # Numbers of versions that were rolled back are not given again.
    save_model(tmp_path / "model_4" / "Format-Serving", 4)
    assert find_baseline(destination, str(tmp_path / "model_4" / "Format-Serving")) == second
    assert int(push_model(tmp_path / "model_4").get_string_custom_property("pushed_version")) > third


def test_a_folder_without_a_model_survives_a_rollback_and_breaks_no_push(push, tmp_path):
    push_model, destination = push
    first, second, third = push_three(push_model, tmp_path)
    stray = third + 10
    pathlib.Path(destination, str(stray)).mkdir()
    assert roll_back(destination) == (third, second)
    assert numbers(destination) == [first, second]
    assert list(rolled_back(destination)) == [third]
    with pytest.raises(UserError, match=f"no version {stray}"):
        roll_back(destination, stray)
    save_model(tmp_path / "model_4" / "Format-Serving", 4)
    fourth = int(push_model(tmp_path / "model_4").get_string_custom_property("pushed_version"))
    assert fourth == deployed_version(destination) == stray + 1
    assert taken_numbers(destination) == {first, second, third, stray, fourth}
    # Nor does a rollback mix a folder with another of the same number.
    pathlib.Path(destination, str(third)).mkdir()
    with pytest.raises(UserError, match=rf"\.rolled-back/{third} exists already"):
        roll_back(destination, second)
    assert deployed_version(destination) == fourth


def test_an_artifact_says_of_a_push_what_tfx_would_say(push, tmp_path):
    """Its executor has no public method for that, so the names of the properties are written out here."""
    push_model, _ = push
    save_model(tmp_path / "model" / "Format-Serving", 1)
    theirs = push_to(tmp_path / "other", tmp_path / "model", tfx_pusher_executor.Executor)
    ours = push_model(tmp_path / "model")
    names = {"pushed", "pushed_destination", "pushed_version"}
    for pushed in (theirs, ours):
        assert set(pushed.mlmd_artifact.custom_properties) == names
        version = pushed.get_string_custom_property("pushed_version")
        assert os.path.basename(pushed.get_string_custom_property("pushed_destination")) == version
        assert pushed.get_int_custom_property("pushed") == 1
        assert fingerprint(pushed.uri) == fingerprint(str(tmp_path / "model" / "Format-Serving"))


def test_in_a_bucket_a_version_becomes_a_model_with_its_last_file(bucket, tmp_path):
    """As nothing there appears at once; a bucket's generations are in the order in which its files were written."""
    destination = "gs://segpipe/serving"

    def files(folder):
        blobs = bucket.list_blobs(prefix=f"serving/{folder}/")
        return [blob.name.rpartition("/")[2] for blob in sorted(blobs, key=lambda blob: int(blob.generation))]

    _, second, third = push_three(functools.partial(push_to, destination), tmp_path)
    assert files(third)[-2:] == list(MARKERS)
    assert {blob.name.split("/")[1] for blob in bucket.list_blobs()} == {str(n) for n in numbers(destination)}
    candidate = str(tmp_path / "model_3" / "Format-Serving")
    assert fingerprint(version_path(destination, third)) == fingerprint(candidate)
    assert find_baseline(destination, candidate) == third
    assert find_baseline(destination, candidate, repeated_version=third) == second
    # A version of which half is there.
    bucket.blob(f"serving/{third + 5}/variables/variables.index").upload_from_string(b"1")
    assert (deployed_version(destination), max(numbers(destination))) == (third, third + 5)
    assert roll_back(destination) == (third, second)
    assert [event["to"] for event in rollbacks(destination)] == [second]
    assert files(f".rolled-back/{third}")[-2:] == list(MARKERS)
    assert files(third) == []
    again = push_to(destination, tmp_path / "model_3")
    assert f"it is version {third}, which was rolled back" in again.get_string_custom_property("reason")
    assert roll_back(destination, third) == (second, third)


def test_in_a_bucket_what_killed_pushes_left_is_deleted_in_time(bucket, tmp_path, monkeypatch):
    destination, left = "gs://segpipe/serving", bucket.blob("serving/.incoming-other/saved_model.pb")
    left.upload_from_string(b"1")
    for value, is_stale in ((1, False), (2, True)):
        save_model(tmp_path / f"model_{value}" / "Format-Serving", value)
        with monkeypatch.context() as patch:
            if is_stale:
                patch.setattr(pusher, "_STALE_SECONDS", 0)
            push_to(destination, tmp_path / f"model_{value}")
        assert left.exists() == (not is_stale)


def test_rollbacks_that_are_none_are_refused(push, tmp_path):
    push_model, destination = push
    with pytest.raises(UserError, match="holds no version"):
        roll_back(destination)
    save_model(tmp_path / "model" / "Format-Serving", 1)
    version = int(push_model(tmp_path / "model").get_string_custom_property("pushed_version"))
    for wanted, message in ((None, "no version before"), (version, "deployed already"), (7, f"there are {version}")):
        with pytest.raises(UserError, match=message):
            roll_back(destination, wanted)
    assert numbers(destination) == [version]
    assert rollbacks(destination) == []
