import pytest

from data.base.errors import UserError
from pipeline.config import Config
from pipeline.runners.kubeflow.paths import on_cluster


def config(model):
    return Config.model_validate(
        {
            "name": "a",
            "output": "output",
            "data": {"input": "data", "label_map": "labels.yaml"},
            "model": model,
            "kubeflow": {"volume": {"claim": "segpipe", "path": "/segpipe"}},
        }
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"encoder": "resnet50", "encoder_weights": "weights/resnet50.h5"}, "/segpipe/weights/resnet50.h5"),
        ({"encoder": "resnet50", "encoder_weights": "gs://bucket/resnet50.h5"}, "gs://bucket/resnet50.h5"),
        ({"encoder": "resnet50"}, "auto"),
        ({"encoder": "plain"}, None),
    ],
)
def test_pretrained_weights_are_looked_for_on_the_volume(model, expected):
    found = on_cluster(config(model)).model
    assert found.model_dump().get("encoder_weights") == expected
    # It is still what a configuration can hold.
    assert type(found).model_validate(found.model_dump()) == found


def test_weights_that_the_image_does_not_hold_must_be_named():
    with pytest.raises(UserError, match=r"no ImageNet weights of encoder vgg16; put their file \(https://.*h5\) on"):
        on_cluster(config({"encoder": "vgg16", "decoder": "segnet", "encoder_weights": "imagenet"}))
