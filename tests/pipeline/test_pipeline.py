from pipeline.pipeline import create_pipeline


def test_the_cache_notices_changed_code(small_config, tmp_path, monkeypatch):
    from pipeline import pipeline as module

    def flags():
        components = create_pipeline(small_config(tmp_path)).components
        return {component.id: list(component.executor_spec.extra_flags) for component in components}

    before = flags()
    assert all(of_one[0].startswith("--code=") for of_one in before.values())
    assert flags() == before
    monkeypatch.setitem(module._FILES, "ImportSchemaGen", [])
    monkeypatch.setitem(module._CODE, "Transform", "")
    after = flags()
    assert {name for name in before if after[name] != before[name]} == {"ImportSchemaGen", "Transform"}
