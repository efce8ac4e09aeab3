import json

from pipeline import pipeline as module
from pipeline.pipeline import CACHE_KEY, create_pipeline


def test_the_cache_notices_changed_code_and_packages(small_config, tmp_path, monkeypatch):
    def keys():
        components = create_pipeline(small_config(tmp_path)).components
        return {component.id: json.loads(component.exec_properties[CACHE_KEY]) for component in components}

    def changed():
        after = keys()
        return {name for name in before if after[name] != before[name]}

    before = keys()
    assert changed() == set()
    assert {key["artifacts"] for key in before.values()} == {str(tmp_path / "artifacts")}
    with monkeypatch.context() as patch:
        patch.setitem(module._FILES, "ImportSchemaGen", [])
        patch.setitem(module._CODE, "Transform", "")
        assert changed() == {"ImportSchemaGen", "Transform"}
    monkeypatch.setattr(module, "package_versions", lambda others: {"tensorflow": "newer"})
    assert changed() == set(before)
