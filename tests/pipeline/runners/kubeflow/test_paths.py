import pytest

from pipeline.config import Config
from pipeline.runners.kubeflow.paths import on_cluster


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"encoder": "resnet50", "encoder_weights": "weights/resnet50.h5"}, "/segpipe/weights/resnet50.h5"),
        ({"encoder": "resnet50", "encoder_weights": "gs://bucket/resnet50.h5"}, "gs://bucket/resnet50.h5"),
        ({"encoder": "resnet50"}, ""),
        ({"encoder": "plain"}, ""),
    ],
)
def test_pretrained_weights_are_looked_for_on_the_volume(model, expected):
    config = Config.model_validate(
        {
            "name": "a",
            "output": "output",
            "data": {"input": "data", "label_map": "labels.yaml"},
            "model": model,
            "kubeflow": {"volume": {"claim": "segpipe", "path": "/segpipe"}},
        }
    )
    found = on_cluster(config).model
    assert found.encoder_weights == expected
    # It is still what a configuration can hold.
    assert type(found).model_validate(found.model_dump()) == found
