import apache_beam as beam
import google_crc32c
import pytest
import tensorflow as tf
from apache_beam.io import tfrecordio
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import statecache
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import core

from pipeline.runners.quick_beam import make_quick


class Add(beam.DoFn):
    def process(self, element, number=beam.DoFn.TimestampParam, other=1):
        yield element + other


class Subtract(Add):
    def process(self, element, *, other=2):
        yield element - other


def described(function):
    names, defaults = core.get_function_args_defaults(function)
    return names, list(map(str, defaults))


def test_a_functions_arguments_are_looked_at_once(monkeypatch):
    functions = [Add().process, Add.process, Subtract().process, Add().setup, Add().process, lambda x, y=3: x, len]
    expected = [described(function) for function in functions]
    assert expected[0] != expected[1]
    looked_at, describe = [], core.get_function_args_defaults
    monkeypatch.setattr(core, "get_function_args_defaults", lambda f: (looked_at.append(f), describe(f))[1])
    make_quick()
    make_quick()
    for _ in range(3):
        assert [described(function) for function in functions] == expected
    # A built-in function cannot be remembered by every Python.
    assert len([function for function in looked_at if function is not len]) == 5


def test_a_side_input_is_not_measured(monkeypatch):
    measured = []
    monkeypatch.setattr(statecache.objsize, "get_deep_size", lambda *_, **__: measured.append(1) or 1)
    make_quick()
    with beam.Pipeline(options=PipelineOptions(["--direct_num_workers=1"])) as pipeline:
        side = pipeline | "Side" >> beam.Create([{"number": 5}])
        numbers = pipeline | beam.Create([1, 2])
        sums = numbers | beam.Map(lambda one, other: one + other["number"], beam.pvalue.AsSingleton(side))
        assert_that(sums, equal_to([6, 7]))
    assert not measured


def test_checksums_of_records_are_fast_and_still_looked_at(tmp_path, monkeypatch):
    path, checked, value = tmp_path / "records", [], google_crc32c.value
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(b"some bytes")
    assert google_crc32c.implementation == "c"
    monkeypatch.setattr(tfrecordio._default_crc32c_fn, "fn", None)
    monkeypatch.setattr(google_crc32c, "value", lambda data: (checked.append(data), value(data))[1])
    make_quick()
    options = PipelineOptions(["--direct_num_workers=1"])
    with beam.Pipeline(options=options) as pipeline:
        assert_that(pipeline | beam.io.ReadFromTFRecord(str(path)), equal_to([b"some bytes"]))
    assert b"some bytes" in checked
    path.write_bytes(path.read_bytes().replace(b"some", b"sOme"))
    with pytest.raises(Exception, match="Mismatch of data mask"), beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.io.ReadFromTFRecord(str(path))
