"""Damaged, hostile and odd input to what finds and describes data: label maps, groups, names, requests, folders."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import shutil

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from data.base.errors import UserError
from data.consistency import check_consistency
from data.contract import IGNORE_LABEL, SPLITS
from data.decoding.errors import BadImageError
from data.decoding.notes import Notes, collecting
from data.input_files import find_input_files
from data.inspection.recognize import look, recognize
from data.label_map import LabelMap
from data.label_map_files import load_labels
from data.listing.groups import groups_by_pattern, groups_of_table
from data.splits import parse_shares, share_text, split_of
from models.serving.server.requests import BadRequestError, read_request
from tests.data.formats.layouts import layouts, write
from tests.data.masks.encodings import png
from tests.fuzz import data_sets
from tests.fuzz.cases import CASES, check_message, fuzz, mutated
from tests.fuzz.values import VALUES

FEW = fuzz(CASES // 10)

LABEL_FILES = {
    ".yaml": [
        LabelMap.from_names(["nothing", "cat", "dog"]).to_yaml().encode(),
        b"- {id: 0, name: a, color: [0, 0, 0]}\n- {id: 1, name: b, color: '#ff0000', value: [4, 7]}\n- {ignore: [0]}\n",
        b"classes:\n  a: {id: 0}\n  b: {id: 1}\n",
        b"0: a\n1: b\n",
        b"a: '#ff0000'\nb: '#0f0'\n",
    ],
    ".csv": [b"name,r,g,b\na,0,0,0\nb,255,0,0\n", b"\xef\xbb\xbfid;name;color\n1;a;#fff\n4;\"b;c\";#000\n"],
    ".json": [b'[{"id": 1, "name": "a", "color": "#ff0000"}, {"id": 2, "name": "b", "color": [0, 1, 2]}]',
              b'{"categories": [{"id": 3, "name": "a"}, {"id": 9, "name": "b", "supercategory": "c"}]}'],
    ".txt": [b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\n", b"a\nb\nc\n"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.one_line
@hypothesis.settings(fuzz(CASES // 5))
@hypothesis.given(st.data())
def test_label_maps(folder, data):
    ending = data.draw(st.sampled_from(sorted(LABEL_FILES)))
    dump = {".json": lambda value: json.dumps(value, default=str)}.get(ending, yaml.safe_dump)
    path = folder / f"labels{ending}"
    path.write_bytes(
        data.draw(mutated(LABEL_FILES[ending]) | VALUES.map(lambda value: dump(value).encode(errors="replace")))
    )
    try:
        found = load_labels(str(path))
    except UserError as error:
        check_message(error, path)
        return
    names = found.label_map.names
    assert LabelMap.parse(found.label_map.to_yaml(), "again").names == names
    assert set(found.values.values()) - {IGNORE_LABEL} <= set(range(len(names)))


@pytest.mark.one_line
@hypothesis.settings(FEW)
@hypothesis.given(
    st.text(max_size=30)
    | st.sampled_from(["train=nan,eval=1", "train=1e999", "train=0.5,train=0.5", "val=0.5,eval=0.5", "train=1,"])
    | st.lists(
        st.tuples(
            st.sampled_from(["train", "eval", "val", "valid", "validation", "test", "Test", " train "]),
            st.sampled_from(["0.8", "0.1", ".1", "1", "0", "1e-1", "-0", "0.2", "0,5", "50%", ""]),
        ),
        max_size=4,
    ).map(lambda parts: ",".join(f"{name}={share}" for name, share in parts)),
)
def test_shares(text):
    try:
        shares = parse_shares(text)
    except ValueError as error:
        check_message(error)
        return
    assert abs(sum(shares.values()) - 1) < 1e-5
    assert set(shares) <= set(SPLITS)
    again = parse_shares(share_text(shares))
    assert all(split_of(key, shares) == split_of(key, again) for key in ("a", "b", "c"))


PARTS = st.sampled_from(
    ["a", "p", r"\d", r"\w", ".", "(", ")", "*", "+", "?", "|", "[^_]", "^", "$", "_", "{2,}", "(?P<g>", r"\1", "é"]
)  # fmt: skip
FILES = st.lists(st.sampled_from(["a" * 60, "p1_a", "p1_b", "p22/x_1", "é/é", "a" * 30 + "!", "__", "1"]), max_size=4)


@pytest.mark.one_line
@hypothesis.settings(FEW)
@hypothesis.given(st.lists(PARTS, max_size=8).map("".join) | st.text(max_size=12), FILES)
def test_patterns_of_groups(pattern, names):
    try:
        re.compile(pattern)
    except re.error:
        return
    try:
        found = groups_by_pattern(pattern, {name: name for name in names})
    except UserError as error:
        check_message(error, "--group-by")
        return
    assert found.keys() == set(names)
    assert all(group in name for name, group in found.items())


@pytest.mark.one_line
@hypothesis.settings(FEW)
@hypothesis.given(
    mutated([b"image,patient\na,1\nb,2\nc/d.png,1\n", b"patient;file\n1;a.jpg\n2;b.jpg\n3;c/d.jpg\n"])
    | st.binary(max_size=40)
)
def test_tables_of_groups(folder, content):
    path = folder / "groups.csv"
    path.write_bytes(content)
    files = {"a": "images/a.jpg", "b": "images/b.jpg", "c/d": "images/c/d.jpg"}
    try:
        found = groups_of_table(f"{path}:patient", files)
    except UserError as error:
        check_message(error, path)
        return
    assert found.keys() == files.keys()
    assert all(found.values())


FILE_NAMES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["train", "eval", "test", "trainval", "Train", "training", "val", "", "atrain"]),
    st.sampled_from(["", "-00000-of-00002", "2", "-1", "_night", ".v2", "é", " (1)", "-val", "[a]", "*", "\n"]),
    st.sampled_from(["", ".tfrecord", ".tfrecord.gz", ".tfrecords", ".record", ".txt", ".json", ".zip", ".idx"]),
    st.sampled_from(["", "", ".part", ".bak", "~", ".tmp"]),
)


@pytest.mark.one_line
@hypothesis.settings(FEW)
@hypothesis.given(st.lists(FILE_NAMES, min_size=1, max_size=6, unique=True))
def test_names_of_tfrecords(folder, names):
    place = folder / "records [1]*"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in names:
        if name:
            (place / name).write_bytes(b"")
    try:
        found = find_input_files(str(place))
    except UserError as error:
        check_message(error, place)
        return
    taken = {split: [pathlib.Path(file.path).name for file in files] for split, files in found.of_split.items()}
    everything = [name for files in taken.values() for name in files]
    everything += [pathlib.Path(path).name for path in found.left_out]
    assert len(set(everything)) == len(everything)
    assert set(everything) <= set(names)
    for split, files in taken.items():
        assert all(re.match(rf"{split}\d*([-_. (~]|$)", name) for name in files)
    # Nothing that is called a TFRecord is passed over without a word.
    records = {name for name in names if name.endswith((".tfrecord", ".tfrecord.gz")) and not name.startswith(".")}
    assert records <= set(everything)


def forms(content: bytes) -> dict[str, object]:
    """Base64 as clients write it."""
    text = base64.b64encode(content).decode()
    return {
        "plain": text,
        "lines": base64.encodebytes(content).decode(),
        "returns": base64.encodebytes(content).decode().replace("\n", "\r\n"),
        "no padding": text.rstrip("="),
        "for URLs": base64.urlsafe_b64encode(content).decode(),
        "data URL": f"data:image/png;base64,{text}",
        "hexadecimal": content.hex(),
        "printed": repr(base64.b64encode(content)),
        "twice": base64.b64encode(text.encode()).decode(),
        "numbers": list(content),
        "text": content.decode("latin-1"),
        "nothing": None,
    }


FORMS = sorted(forms(b""))


@pytest.mark.one_line
@hypothesis.settings(FEW)
@hypothesis.given(
    st.sampled_from(FORMS), st.binary(max_size=20), st.sampled_from(["instances", "inputs"]), st.booleans()
)
def test_base64(form, tail, key, is_named):
    content = b"\x89PNG\r\n\x1a\n" + tail
    value: object = {"b64": forms(content)[form]}
    request = {key: [{"image_bytes": value} if is_named and key == "instances" else value]}
    try:
        [found] = read_request(json.dumps(request).encode(), 8).images
    except BadRequestError as error:
        check_message(error, f"{key}[0]")
        assert form not in ("plain", "lines", "returns", "no padding")
        return
    assert found == content


ODD_NAMES = st.sampled_from(
    ["images/{}.png", "masks/{}.png", "labels/{}_mask.png", "train/images/{}.png", "val/masks/{}.png", "{}.png",
     "{}_mask.png", "a/b/c/d/e/{}.png", "annotations/{}.json", "{}.txt", "labels.txt", "labelmap.txt", "classes.json",
     "data.yaml", "images/{}.jpg", "masks/.{}.png", "__MACOSX/{}.png", "train-{}.tfrecord", "fold{}/images/a.png"]
)  # fmt: skip
CONTENTS = [png(data_sets.AREAS), png(data_sets.AREAS * 85), b"", b"text", b"a\nb\n", b"[]", b"\xff\xfe"]


@pytest.mark.one_line
@hypothesis.settings(FEW)
@hypothesis.given(
    st.lists(
        st.tuples(ODD_NAMES, st.integers(0, 5), st.sampled_from(CONTENTS) | mutated([*CONTENTS[:2], b"- a\n- b\n"])),
        max_size=12,
    )
)
def test_any_folder_is_recognized_or_refused(folder, files):
    place = folder / "any"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, number, content in files:
        path = place / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    recognize_and_read(place)


def recognize_and_read(place):
    """Recognizes a folder, and reads all of it as the conversion would."""
    try:
        recognized = recognize(str(place))
        seen = look(recognized)
    except UserError as error:
        check_message(error)
        return
    known = {path for path, _ in seen.unusable}
    reader, notes, unusable = recognized.reader, Notes(), set()
    for source in reader.listing().sources:
        with collecting(source.image) as noted:
            try:
                reader.read(source)
            except BadImageError as error:
                check_message(error)
                unusable.add(source.image)
                continue
        notes.add(noted)
    assert unusable == known
    check_consistency(notes)


@pytest.mark.one_line
@hypothesis.settings(fuzz(CASES // 10, shrinks=False))
@hypothesis.given(data_sets.data_sets(), layouts())
def test_what_is_recognized_converts(folder, drawn, layout):
    _, pictures = drawn
    place = folder / "layout"
    shutil.rmtree(place, ignore_errors=True)
    write([picture.example for picture in pictures], place, data_sets.fitting(layout, pictures))
    recognize_and_read(place / "source")
