"""ONNX, which ONNX Runtime, Triton, TensorRT and OpenVINO read."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from models.exports.export_format import DESCRIPTION, ExportFormat, Maps, Segment, cores

if TYPE_CHECKING:
    import numpy as np

    from models.exports.network import Network

# The newest that tf2onnx is tested with, and old enough for what is deployed.
_OPSET = 17
# Images that Triton gives the network at once, at most: more make it hardly faster, and take memory.
_MAX_BATCH = 16


class ONNX(ExportFormat):
    """In 32-bit floats; the description is one of the file's `metadata_props`."""

    file = "model.onnx"
    runtime = "onnxruntime"
    packages = ("tf2onnx", "onnx", runtime)

    def convert(self, network: Network, images: list[np.ndarray], description: dict[str, Any]) -> bytes:
        import onnx
        import tf2onnx

        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        model, _ = tf2onnx.convert.from_function(
            network.segment, input_signature=network.segment.input_signature, opset=_OPSET
        )
        for values in (model.graph.input, model.graph.output):
            for value in values:
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.helper.set_model_props(model, {DESCRIPTION: json.dumps(description)})
        return model.SerializeToString()

    def companions(self, description: dict[str, Any]) -> dict[str, str]:
        def tensor(name: str, values: dict[str, Any]) -> str:
            _, *sizes = values["shape"]
            data_type = "TYPE_" + values["type"].upper().replace("FLOAT", "FP")
            return f'{{ name: "{name}" data_type: {data_type} dims: {sizes} }}'

        outputs = (f"output {tensor(name, values)}" for name, values in description["outputs"].items())
        lines = [
            "# NVIDIA Triton's configuration: the file goes to MODELS/NAME/config.pbtxt, model.onnx to MODELS/NAME/1/.",
            'backend: "onnxruntime"',
            f"max_batch_size: {_MAX_BATCH}",
            "dynamic_batching {}",
            f"input {tensor(description['input']['name'], description['input'])}",
            *outputs,
        ]
        return {"config.pbtxt": "\n".join(lines) + "\n"}

    def load(self, path: str) -> Segment:
        session = _session(path)

        def segment(pixels: np.ndarray) -> Maps:
            return Maps(*session.run(Maps._fields, {"pixels": pixels}))

        return segment

    def description(self, path: str) -> dict[str, Any]:
        return json.loads(_session(path).get_modelmeta().custom_metadata_map[DESCRIPTION])


def _session(path: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
