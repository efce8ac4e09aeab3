import pytest

from data.base.errors import UserError
from data.label_map import LabelMap
from data.spans import Window, choose_window, find_spans, parse_span, span_path, spans_beside


def test_spans_are_the_folders_with_a_number(tmp_path):
    for name in ("9", "010", "11.incomplete", "x", "³"):
        (tmp_path / f"day-{name}" / "records").mkdir(parents=True)
    pattern = f"{tmp_path}/day-{{SPAN}}/records"
    assert find_spans(pattern) == {9: f"{tmp_path}/day-9/records", 10: f"{tmp_path}/day-010/records"}
    assert span_path(pattern, 10) == f"{tmp_path}/day-010/records"
    assert span_path(pattern, 12) == f"{tmp_path}/day-12/records"
    (tmp_path / "day-10" / "records").mkdir(parents=True)
    with pytest.raises(UserError, match="are the same span; rename or remove one"):
        find_spans(pattern)
    with pytest.raises(UserError, match=r"no folder matches .*/night-"):
        find_spans(f"{tmp_path}/night-{{SPAN}}")


def test_a_window_is_of_the_newest_spans_and_its_test_split_of_the_oldest():
    assert choose_window([3, 1, 7], 0) == Window((1, 3, 7), 1, 7)
    assert choose_window([3, 1, 7], 2) == Window((3, 7), 1, 7)
    assert choose_window([3, 1, 7], 2, test=3) == Window((3, 7), 3, 7)
    assert choose_window([3, 1, 7], 1, newest=3) == Window((3,), 1, 3)
    assert choose_window([5], 4) == Window((5,), 5, 5)
    with pytest.raises(UserError, match=r"data\.test_span is 2, but there is no such span; the newest are 1, 3"):
        choose_window([3, 1], 0, test=2)


def test_dates_are_spans_too():
    assert (parse_span("12"), parse_span("2026-11-23")) == (12, 20261123)
    for text in ("-1", "2026-11-31", "newest", "1.5", ""):
        with pytest.raises(UserError, match="takes a number, or a date such as"):
            parse_span(text)


def test_spans_have_the_same_classes(tmp_path):
    pattern = f"{tmp_path}/{{SPAN}}"
    label_map = LabelMap.from_names(["road", "car"])
    assert not spans_beside(pattern, 1, label_map)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "labels.yaml").write_text(label_map.to_yaml())
    assert not spans_beside(pattern, 1, label_map)
    assert spans_beside(pattern, 2, label_map)
    with pytest.raises(UserError, match="has the classes road, car; this data has car, road"):
        spans_beside(pattern, 2, LabelMap.from_names(["car", "road"]))


def test_spans_may_be_in_a_bucket(bucket):
    label_map = LabelMap.from_names(["road", "car"])
    for span in ("3", "12", "12.incomplete"):
        bucket.blob(f"all/{span}/train-00000-of-00001.tfrecord").upload_from_string(b"")
    bucket.blob("all/12/labels.yaml").upload_from_string(label_map.to_yaml())
    pattern = "gs://segpipe/all/{SPAN}"
    assert find_spans(pattern) == {3: "gs://segpipe/all/3", 12: "gs://segpipe/all/12"}
    assert span_path(pattern, 13) == "gs://segpipe/all/13"
    assert spans_beside(pattern, 13, label_map)
    with pytest.raises(UserError, match=r"gs://segpipe/all/12/labels\.yaml has the classes road, car"):
        spans_beside(pattern, 13, LabelMap.from_names(["car", "road"]))
    # A slash at its end changes nothing.
    assert find_spans(pattern + "/") == find_spans(pattern)
