import pathlib
import re

import pytest
import yaml
from kubernetes import client

MANIFESTS = pathlib.Path(__file__).parent.parent.parent / "kubeflow" / "manifests"
PRIMITIVES = {"str": str, "int": int, "bool": bool, "float": float, "datetime": str, "object": object}


def check(value, kind, where):
    """Checks a value against the type of the Kubernetes API that the client's generated models describe."""
    of_list, of_dict = re.fullmatch(r"list\[(.*)\]", kind), re.fullmatch(r"dict\((\w+), (.*)\)", kind)
    if of_list:
        assert isinstance(value, list), where
        for index, item in enumerate(value):
            check(item, of_list[1], f"{where}[{index}]")
    elif of_dict:
        assert isinstance(value, dict), where
        for key, item in value.items():
            check(item, of_dict[2], f"{where}.{key}")
    elif kind in PRIMITIVES:
        assert isinstance(value, PRIMITIVES[kind]), f"{where} is no {kind}"
    else:
        model = getattr(client, kind)
        names = {json_name: name for name, json_name in model.attribute_map.items()}
        assert isinstance(value, dict), where
        for key, item in value.items():
            assert key in names, f"{where}: {kind} has no {key}"
            check(item, model.openapi_types[names[key]], f"{where}.{key}")
        # The models raise for what is missing.
        model(**{names[key]: item for key, item in value.items()})


def documents():
    for path in sorted(MANIFESTS.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield pytest.param(document, id=f"{path.name}-{document['kind']}")


@pytest.mark.parametrize("document", documents())
def test_a_manifest_is_valid_by_the_kubernetes_api(document):
    version = document["apiVersion"].rpartition("/")[2].capitalize()
    check(document, f"{version}{document['kind']}", document["kind"])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"replica": 1}, "has no replica"), ({"replicas": "2"}, "is no int"), ({"selector": None}, "")],
)
def test_the_check_finds_mistakes(change, message):
    document = next(item.values[0] for item in documents() if item.values[0]["kind"] == "Deployment")
    broken = {**document, "spec": {**document["spec"], **change}}
    with pytest.raises((AssertionError, ValueError), match=message):
        check(broken, "V1Deployment", "Deployment")


def test_the_guide_names_each_manifest_and_no_other():
    guide = (MANIFESTS.parent.parent / "docs" / "kubeflow.md").read_text()
    assert set(re.findall(r"kubeflow/manifests/([\w-]+\.yaml)", guide)) == {path.name for path in MANIFESTS.iterdir()}
