"""TensorFlow Lite's format, which LiteRT runs on phones, boards and in browsers: in floats, or in integers."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models.exports.export_format import DESCRIPTION, ExportFormat, Maps, Segment, cores

if TYPE_CHECKING:
    import numpy as np

    from models.exports.network import Network


class TFLite(ExportFormat):
    """In 32-bit floats.

    The description is a file in a zip archive at the end, as TFLite's metadata has it: `zipfile` and `unzip` find it.
    """

    file = "model.tflite"
    runtime = "ai_edge_litert"
    packages = (runtime,)

    def convert(self, network: Network, images: list[np.ndarray], description: dict[str, Any]) -> bytes:
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [network.segment.get_concrete_function()], network.saved_model
        )
        self._configure(converter, images)
        buffer = io.BytesIO(converter.convert())
        with zipfile.ZipFile(buffer, "a") as archive:
            # With a time of its own, the same model would give another file each time.
            archive.writestr(zipfile.ZipInfo(DESCRIPTION), json.dumps(description, indent=2))
        return buffer.getvalue()

    def _configure(self, converter: Any, images: list[np.ndarray]) -> None:
        """Sets what kind of numbers the network computes in."""

    def load(self, path: str) -> Segment:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=cores())
        (signature,) = interpreter.get_signature_list()
        runner = interpreter.get_signature_runner(signature)

        def segment(pixels: np.ndarray) -> Maps:
            return Maps(**runner(pixels=pixels))

        return segment

    def description(self, path: str) -> dict[str, Any]:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(DESCRIPTION))


class TFLiteFloat16(TFLite):
    """With weights in 16-bit floats, which halves the file; computed in 32 bits where the hardware has no 16."""

    file = "model_float16.tflite"

    def _configure(self, converter: Any, images: list[np.ndarray]) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]


class TFLiteInt8(TFLite):
    """In 8-bit integers (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
    Only Inference", 2018), with scales found on training images; a quarter of the size."""

    file = "model_int8.tflite"
    is_quantized = True

    def _configure(self, converter: Any, images: list[np.ndarray]) -> None:
        import tensorflow as tf

        def samples() -> Iterator[list[np.ndarray]]:
            for image in images:
                yield [image[None]]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        # What has no integer form, such as the normalization of the pixels, stays in floats.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
