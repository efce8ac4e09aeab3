from pipeline.pipeline import create_pipeline


def test_example_gen_reads_the_newest_span(small_config, brain_mri, tmp_path):
    from tfx.components.example_gen import utils
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    for span in (9, 10):
        folder = tmp_path / f"span-{span}" / "tfrecords"
        folder.mkdir(parents=True)
        for path in brain_mri.iterdir():
            (folder / path.name).symlink_to(path)
    config = small_config(tmp_path / "output", data={"input": f"{tmp_path}/span-{{SPAN}}/tfrecords"})
    (example_gen,) = (item for item in create_pipeline(config).components if item.id == "ImportExampleGen")
    input_config = example_gen_pb2.Input()
    proto_utils.json_to_proto(example_gen.exec_properties["input_config"], input_config)
    _, span, _ = utils.calculate_splits_fingerprint_span_and_version(
        example_gen.exec_properties["input_base"], input_config.splits
    )
    assert span == 10
    # TFX has put the span into the patterns.
    assert [split.pattern for split in input_config.splits] == [
        f"span-10/tfrecords/{split}*" for split in ("train", "eval", "test")
    ]


def test_the_cache_notices_changed_code(small_config, tmp_path, monkeypatch):
    from pipeline import pipeline as module

    def flags():
        components = create_pipeline(small_config(tmp_path)).components
        return {component.id: list(component.executor_spec.extra_flags) for component in components}

    before = flags()
    assert all(len(of_one) == 1 for of_one in before.values())
    assert flags() == before
    monkeypatch.setitem(module._FILES, "ImportSchemaGen", [])
    monkeypatch.setitem(module._CODE, "Transform", "")
    after = flags()
    assert {name for name in before if after[name] != before[name]} == {"ImportSchemaGen", "Transform"}
