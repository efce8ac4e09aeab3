"""In which forms can a model leave, beside the SavedModel? One file for each kind; `FORMATS` names them."""

from models.exports.export_format import ExportFormat
from models.exports.onnx import ONNX
from models.exports.tflite import TFLite, TFLiteFloat16, TFLiteInt8

__all__ = ["FORMATS", "SAVED_MODEL", "ExportFormat"]

# What the model itself is called beside its exports.
SAVED_MODEL = "saved_model"

FORMATS: dict[str, type[ExportFormat]] = {
    "tflite": TFLite,
    "tflite_float16": TFLiteFloat16,
    "tflite_int8": TFLiteInt8,
    "onnx": ONNX,
}
