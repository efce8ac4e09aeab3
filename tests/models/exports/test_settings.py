"""What can be configured of exports, and what is refused before anything starts."""

import pydantic
import pytest

from models.exports.settings import ExportSettings
from pipeline.config import Config


def test_a_list_is_short_for_formats():
    settings = ExportSettings.model_validate(["onnx", "tflite_int8"])
    assert settings == ExportSettings(formats=["onnx", "tflite_int8"])
    assert settings.max_losses == {"onnx": 0.01, "tflite_int8": 0.03}
    assert ExportSettings().max_losses == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["coreml"], "there is no format 'coreml'; there are tflite, tflite_float16, tflite_int8, onnx"),
        (["onnx", "onnx"], "names a format twice"),
        ({"formats": ["onnx"], "max_loss": -0.1}, "greater than or equal to 0"),
        ({"format": ["onnx"]}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ExportSettings.model_validate(values)


SEGNET = {"encoder": "vgg16", "decoder": "segnet"}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": SEGNET}, "decoder segnet cannot be exported: its pooling indices"),
        ({"task": "panoptic"}, "export: with task: panoptic, objects are grouped outside the network"),
    ],
    ids=["segnet", "objects"],
)
def test_what_cannot_be_exported_is_said_before_a_run(tmp_path, sections, message):
    values = {"name": "small", "output": str(tmp_path), "data": {"input": str(tmp_path)}, **sections}
    Config.model_validate(values)
    with pytest.raises(pydantic.ValidationError, match=message):
        Config.model_validate({**values, "export": ["onnx"]})
