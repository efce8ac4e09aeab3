"""What is found in a data set before anything is trained on it."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.contract import IGNORE_LABEL, SPLITS, SegmentationExample
from data.decoding import orientation
from data.decoding.image_type import ImageType
from data.decoding.images import EncodedImage, encode_png
from data.decoding.notes import Notes, note
from data.formats import LabeledImage, Listing, Reader, SetAside, Source
from data.formats.mask_folder import MaskFolderReader
from data.inspection.page.pictures import choose, draw
from data.inspection.survey.doubts import Doubt, find_doubts, reasons
from data.inspection.survey.inputs import DataSet, Records, are_tfrecords
from data.inspection.survey.measures import measure
from data.inspection.survey.processes import Processes
from data.inspection.survey.summary import summarize
from data.inspection.survey.survey import survey
from data.label_map import LabelMap

NAMES = ("ground", "thing", "rare")


class Made(Reader):
    """Examples that a test made, `split/name` → pixels and ids."""

    examples: dict
    groups: dict = {}
    noted: str = ""

    @property
    def label_map(self):
        return LabelMap.from_names(NAMES)

    def listing(self):
        return Listing(
            [Source(name, name.split("/")[0], name, name, group=self.groups.get(name, "")) for name in self.examples]
        )

    def read(self, source):
        if self.noted:
            note(self.noted)
        pixels, ids = self.examples[source.image]
        return LabeledImage(EncodedImage(encode_png(pixels), "png", *pixels.shape[:2]), ids)


def noise(seed, shape=(40, 60, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def mask_of(rectangle=(10, 30, 10, 40), index=1, shape=(40, 60), rest=0):
    ids = np.full(shape, rest, np.uint8)
    ids[rectangle[0] : rectangle[1], rectangle[2] : rectangle[3]] = index
    return ids


def good_examples(count=4):
    examples = {}
    for number, split in enumerate(SPLITS):
        for index in range(count):
            ids = mask_of()
            ids[0:8, 0:8] = 2
            examples[f"{split}/{index}"] = (noise(100 * number + index), ids)
    return examples


def look(origin, inputs, workers=1, **options):
    with Processes(inputs, workers) as processes:
        return survey(origin, processes, **options)


def survey_of(examples, **options):
    return look("made", DataSet(Made(examples=examples, **options)))


def titles(found):
    return [doubt.title for doubt in find_doubts(found)]


def doubt_of(found, title):
    (doubt,) = [doubt for doubt in find_doubts(found) if doubt.title == title]
    return doubt


def test_good_data_has_its_figures_and_no_doubts():
    found = survey_of(good_examples())
    assert titles(found) == []
    assert found.images == 12
    train = found.splits["train"]
    assert (train.images, train.ignored) == (4, 0)
    assert train.pixels.tolist() == [4 * (2400 - 600 - 64), 4 * 600, 4 * 64]
    assert train.with_class.tolist() == [4, 4, 4]
    assert train.objects[1].tolist() == [4 if power == 9 else 0 for power in range(32)]  # 512 to 1,023 pixels.
    assert found.sizes == {(60, 40): 12}
    assert {name: counts.sum() for name, counts in found.values.items()} == dict.fromkeys(
        ["red", "green", "blue"], 12 * 2400
    )
    lines = summarize(found, [])
    assert lines[0] == "made: 12 images, 3 classes"
    assert lines[2].split() == ["train", "4", "72.3%", "25.0%", "2.7%"]
    assert lines[-1] == "No doubts."


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_is_read_as_the_conversion_reads_it(tmp_path, workers):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(30):
        Image.fromarray(noise(index)).save(tmp_path / "images" / f"{index:02}.jpg")
        Image.fromarray(mask_of(index=1 + index % 2)).save(tmp_path / "masks" / f"{index:02}.png")
    (tmp_path / "images" / "00.jpg").write_bytes(b"no image")
    (tmp_path / "images" / "01.jpg").write_bytes((tmp_path / "images" / "02.jpg").read_bytes()[:700])
    Image.fromarray(mask_of(index=9)).save(tmp_path / "masks" / "03.png")
    Image.fromarray(mask_of(shape=(50, 60))).save(tmp_path / "masks" / "04.png")
    Image.fromarray(mask_of(index=7)).save(tmp_path / "masks" / "05.png")
    (tmp_path / "masks" / "06.png").unlink()
    steps = []
    inputs = DataSet(MaskFolderReader(folder=str(tmp_path), classes=NAMES))
    found = look(str(tmp_path), inputs, workers=workers, progress=lambda done, total: steps.append((done, total)))
    assert found.images == 24
    assert found.kinds == {"JPEG, RGB": 24}
    assert steps == [(done, 29) for done in range(1, 30)]
    assert [pathlib.Path(entry.input).name for entry in found.set_aside] == [
        "06.jpg", "00.jpg", "01.jpg", "03.jpg", "04.jpg", "05.jpg",
    ]  # fmt: skip
    grouped = reasons(found.set_aside)
    assert (grouped[0].found.count, [pathlib.Path(name).name for name in grouped[0].found.names]) == (
        2,
        ["03.jpg", "05.jpg"],
    )
    assert "class id 9" in grouped[0].text
    doubt = doubt_of(found, "Many inputs cannot be used")
    assert doubt.stops
    assert "6 of 30 inputs (20.0%)" in doubt.text


def test_reasons_that_differ_in_names_and_numbers_are_one():
    entries = [SetAside(f"a/{name}.jpg", f"no mask /x/masks/{name}.*") for name in ("one", "two", "three")]
    entries.append(SetAside("a/b.jpg", "unreadable"))
    assert [(reason.text, reason.found.count) for reason in reasons(entries)] == [
        ("no mask /x/masks/one.*", 3),
        ("unreadable", 1),
    ]


def test_an_error_that_no_reader_should_raise_sets_one_input_aside():
    examples = good_examples()
    examples["test/1"] = (noise(1), None)
    found = survey_of(examples)
    assert [entry.input for entry in found.set_aside] == ["test/1"]


def test_data_of_which_nothing_can_be_used_is_an_error():
    with pytest.raises(UserError, match=r"made: none of the 2 inputs can be used:\n  train/0 and 1 more: "):
        survey_of({"train/0": (noise(0), None), "eval/0": (noise(1), None)})
    with pytest.raises(UserError, match="no image with its labels was found"):
        survey_of({})


def test_splits_without_images_labels_or_a_class_are_doubted():
    examples = {name: example for name, example in good_examples().items() if not name.startswith("eval")}
    for index in range(4):
        examples[f"test/{index}"] = (noise(900 + index), np.full((40, 60), IGNORE_LABEL, np.uint8))
        examples[f"train/{index}"][1][examples[f"train/{index}"][1] == 2] = 0
    found = survey_of(examples)
    assert "eval would have no image" in doubt_of(found, "A split is empty").text
    assert doubt_of(found, "test has no labels").stops
    assert "id 2" in doubt_of(found, "rare never occurs").text
    assert doubt_of(found, "thing does not occur in test").text.startswith(
        "Images with thing: 4 in train, 0 in eval, 0 in test."
    )
    assert doubt_of(found, "Masks without a label").text.startswith("In 4 masks")


def test_masks_of_one_class_and_images_of_one_color_are_doubted():
    examples = good_examples()
    examples["train/0"] = (noise(0), np.zeros((40, 60), np.uint8))
    examples["train/1"] = (np.full((40, 60, 3), 7, np.uint8), examples["train/1"][1])
    found = survey_of(examples)
    assert doubt_of(found, "Masks of ground alone").names == ("train/0",)
    assert doubt_of(found, "Images of one color").names == ("train/1",)


def test_specks_are_counted_by_class():
    examples = good_examples()
    big = mask_of(shape=(200, 200))
    big[100, 100] = big[150:152, 150:153] = 2  # 1 and 6 pixels.
    big[60:63, 60:64] = 2  # 12 pixels: no speck.
    big[180:184, 20:24][np.eye(4, dtype=bool)] = 1  # Touches at corners: one region of 4 pixels.
    examples["eval/0"] = (noise(5, (200, 200, 3)), big)
    found = survey_of(examples)
    assert found.specks.tolist() == [0, 1, 2]
    doubt = doubt_of(found, "Specks")
    assert "1 mask of 12 has connected regions of fewer than 10 pixels (rare 2, thing 1)" in doubt.text
    assert doubt.names == ("eval/0",)


def test_a_small_object_of_a_small_mask_is_no_speck():
    measures = measure(
        EncodedImage(encode_png(noise(0, (20, 20))), "png", 20, 20), mask_of((5, 7, 5, 7), shape=(20, 20))
    )
    assert measures.classes[1].specks == 0
    assert measures.classes[1].objects[2] == 1


def test_a_class_along_edges_alone_is_doubted():
    examples = good_examples()
    for _, ids in examples.values():
        ids[ids == 2] = 0
        # What smoothing 0 and 1 to values in between leaves.
        ids[9, 10:40] = ids[30, 10:40] = 2
    found = survey_of(examples)
    doubt = doubt_of(found, "rare lies along edges only")
    assert "100.0% of the pixels of rare touch another class" in doubt.text
    assert len(doubt.names) == 5


def test_a_group_in_two_splits_is_doubted():
    groups = {"train/0": "anna", "eval/0": "anna", "train/1": "bert", "train/2": "bert"}
    doubt = doubt_of(survey_of(good_examples(), groups=groups), "Groups are in several splits")
    assert doubt.stops
    assert doubt.text.startswith("1 group of 2 is in more than one split, such as anna (1 in train, 1 in eval)")


def test_near_duplicates_are_shown_across_and_within_splits():
    examples = good_examples()
    smooth = np.array(Image.fromarray(noise(7, (8, 8, 3))).resize((60, 40), Image.Resampling.BICUBIC))
    brighter = np.clip(smooth.astype(int) + 6, 0, 255).astype(np.uint8)
    examples["train/0"] = (smooth, examples["train/0"][1])
    examples["test/0"] = (brighter, examples["test/0"][1])
    other = np.array(Image.fromarray(noise(8, (8, 8, 3))).resize((60, 40), Image.Resampling.BICUBIC))
    examples["eval/1"] = (other, examples["eval/1"][1])
    examples["eval/2"] = (other.copy(), examples["eval/2"][1])
    found = survey_of(examples)
    across = doubt_of(found, "Near-duplicates across splits")
    assert "1 pair of images in different splits look alike (1 train/test)" in across.text
    assert [[source.image for source in pair] for pair in across.pairs] == [["train/0", "test/0"]]
    within = doubt_of(found, "Near-duplicates within a split")
    assert [[source.image for source in pair] for pair in within.pairs] == [["eval/1", "eval/2"]]


def test_images_that_exif_turns_either_way_are_told_of():
    doubt = doubt_of(survey_of(good_examples(), noted=orientation.ASSUMED), "Images that EXIF turns")
    assert "12, read as viewers show them; --orientation stored reads them as stored" in doubt.text


def test_files_that_contradict_each_other_are_a_doubt_and_no_end(monkeypatch):
    def contradict(notes):
        assert notes.counts == {"one way": 12}
        raise UserError("some masks mean this, others that")

    monkeypatch.setattr("data.inspection.survey.doubts.check_consistency", contradict)
    first, *_ = find_doubts(survey_of(good_examples(), noted="one way"))
    assert (first.text, first.stops) == ("some masks mean this, others that", True)


def test_the_sample_shows_each_class_however_rare_it_is():
    examples = {f"train/{index:03}": (noise(index), mask_of()) for index in range(200)}
    examples["train/077"] = (noise(77), mask_of((0, 2, 0, 2), index=2))
    chosen = choose(survey_of(examples))
    assert chosen[0].image == "train/077"
    assert len(chosen) == len(set(chosen)) == 24


@pytest.fixture
def deep(tmp_path):
    """Images of 12 bits in files of 16."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for index in range(30):
        values = np.random.default_rng(index).integers(1000, 3000, (40, 60)).astype(np.uint16)
        values[0, :2] = 1000, 2999
        Image.fromarray(values).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(mask_of()).save(tmp_path / "masks" / f"{index}.png")
    return tmp_path


def test_deep_images_are_shown_by_what_differs_in_them(deep):
    steps = []
    inputs = DataSet(MaskFolderReader(folder=str(deep), classes=NAMES[:2]))
    found = look("deep", inputs, progress=lambda done, total: steps.append((done, total)))
    assert found.images == 30
    assert found.kinds == {"PNG, gray, 16 bits": 30}
    assert found.image_type == ImageType("uint16", 1)
    assert found.values == {}
    assert found.blank.count == 0
    assert doubt_of(found, "Images of many bits or bands").text == "images: 1 band of uint16"
    assert steps[-1] == (30, 30)
    with Processes(inputs, 1) as processes:
        assert len(draw(processes, choose(found), found.image_type)) == 24


def test_deep_images_beside_others_are_shown_though_the_conversion_refuses_them(deep):
    Image.fromarray(noise(0)).save(deep / "images" / "7.png")
    found = look("deep", DataSet(MaskFolderReader(folder=str(deep), classes=NAMES[:2])))
    assert found.images == 30
    assert found.image_type is None
    doubt = doubt_of(found, "The files contradict each other")
    assert doubt.stops
    assert "values of uint16, and" in doubt.text


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """TFRecords, one of them with mistakes."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("records")
    (folder / "labels.yaml").write_text(LabelMap.from_names(NAMES).to_yaml())
    for split in SPLITS:
        examples = [example for name, example in good_examples().items() if name.startswith(split)]
        kind = "GZIP" if split == "eval" else ""
        path = folder / f"{split}-00000-of-00001.tfrecord{'.gz' if kind else ''}"
        with tf.io.TFRecordWriter(str(path), kind) as writer:
            for index, (pixels, ids) in enumerate(examples):
                whole = SegmentationExample(
                    encode_png(pixels), "png", 40, 60, encode_png(ids), f"{split}_{index}", group=f"group {index}"
                )
                writer.write(whole.serialize())
                if split == "train" and index == 1:
                    wrong = mask_of(index=9)
                    for fields in (
                        {"image": b"no image"},
                        {"mask": encode_png(wrong)},
                        {"mask": b""},
                        {"mask": encode_png(noise(0))},
                        {"mask": encode_png(ids[1:])},
                    ):
                        writer.write(dataclasses.replace(whole, source_id=f"bad {fields}"[:20], **fields).serialize())
                    writer.write(b"no example")
    test = folder / "test-00000-of-00001.tfrecord"
    test.write_bytes(test.read_bytes()[:-10])
    report = {
        "splits": {split: {"examples": 4} for split in SPLITS},
        "set_aside": [{"input": "x.jpg", "reason": "broken"}],
        "ignored": [],
        "notes": Notes({orientation.ASSUMED: 2}, {orientation.ASSUMED: "a.jpg"}).to_json(),
    }
    (folder / "conversion.json").write_text(json.dumps(report))
    (folder / "trainval-0.tfrecord").write_bytes((folder / "train-00000-of-00001.tfrecord").read_bytes())
    return folder


def test_tfrecords_are_read_with_what_their_conversion_reported(records):
    assert are_tfrecords(str(records))
    found = look("records", Records(str(records)))
    assert [counts.images for counts in found.splits.values()] == [4, 4, 3]
    assert [entry.reason.split(" of ")[0] for entry in found.set_aside] == [
        "broken",
        "not a JPEG or PNG image, nor an array in NumPy's format",
        "class id 9 in the mask",
        "bad {'mask': b''} has no image/segmentation/class/encoded",
        "the mask",
        "sizes differ: the image",
        "not a tf.train.Example",
        "the file is damaged from here on",
    ]
    assert "Groups are in several splits" in titles(found)
    assert doubt_of(found, "Images that EXIF turns").text.startswith(
        "images that EXIF turns, with a mask that fits both"
    )
    assert [pathlib.Path(entry.input).name for entry in found.ignored] == ["trainval-0.tfrecord"]


def test_tfrecords_of_all_spans_are_read(records, tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).symlink_to(records)
    found = look("spans", Records(str(tmp_path / "{SPAN}")))
    assert [counts.images for counts in found.splits.values()] == [8, 8, 6]


def test_a_folder_without_tfrecords_is_an_error(tmp_path):
    (tmp_path / "labels.yaml").write_text(LabelMap.from_names(NAMES).to_yaml())
    assert not are_tfrecords(str(tmp_path))
    with pytest.raises(UserError, match=r"holds no TFRecords named train\*, eval\*, test\*"):
        Records(str(tmp_path))
    with pytest.raises(UserError, match="is not a folder"):
        Records(str(tmp_path / "nowhere"))
    (tmp_path / "train-0.tfrecord").write_bytes(b"x")
    (tmp_path / "conversion.json").write_text("[]")
    with pytest.raises(UserError, match=r"conversion.json is not the report of a conversion"):
        Records(str(tmp_path))


def test_doubts_have_the_lines_to_write(tmp_path):
    """In the terminal each in a line of its own, so that they can be copied."""
    for index in range(8):
        for kind, pixels in (("images", noise(index)), ("masks", np.repeat([[0, 4]], 40, 0).repeat(30, 1))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / f"{index}.png")
    inputs = DataSet(MaskFolderReader(folder=str(tmp_path), classes="a,b"))
    proposed = pytest.raises(UserError, match=r'none of the 8(.|\n)*\n  - \{id: 1, name: "b", value: 4\}')
    with Processes(inputs, 1) as processes, proposed:
        survey("made", processes)
    doubt = Doubt("Many", "proposed:\n  - {id: 0}\n  - {id: 1}", stops=True)
    found = survey_of(good_examples())
    assert summarize(found, [doubt])[-3:] == ["  ! Many: proposed:", "      - {id: 0}", "      - {id: 1}"]


def test_an_empty_split_has_the_shares_that_fill_it(tmp_path):
    for index in range(4):
        for kind, pixels in (("images", noise(index)), ("masks", np.repeat([[0, 1]], 40, 0).repeat(30, 1))):
            (tmp_path / kind / "train").mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / "train" / f"{index}.png")
    with Processes(DataSet(MaskFolderReader(folder=str(tmp_path), classes="a,b")), 1) as processes:
        found = survey("made", processes)
    assert "--split train=" in doubt_of(found, "A split is empty").text
